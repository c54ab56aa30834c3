"""Body-part boxes from poses, by the recipe of HAKE-Action that the body-part paper follows."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# COCO keypoints: 1, 2 eyes; 5, 6 shoulders; 9, 10 wrists; 11, 12 hips; 13, 14 knees; 15, 16 ankles (left, right).
# Order of the ten parts: right foot, right leg, left leg, left foot, hip, head, right hand, right arm, left arm, left
# hand.
_PAIRS = {"pelvis": (11, 12), "neck": (5, 6), "head": (1, 2)}
_SINGLE = (16, 14, 13, 15, None, None, 10, 6, 5, 9)
_SIDE = (1.2, 1.0, 1.0, 1.2, 1.2, 1.2, 0.9, 1.0, 1.0, 0.9)
# Where the trunk is unseen: the two ends of a limb whose length replaces it, and the joints that must be seen for it.
_LIMB = ((16, 12), (16, 12), (15, 11), (15, 11), None, None, (10, 6), (10, 6), (9, 5), (9, 5))
_RIGHT_LEG, _LEFT_LEG, _RIGHT_ARM, _LEFT_ARM = (12, 14, 16), (11, 13, 15), (6, 8, 10), (5, 7, 9)
_GROUP = (
    _RIGHT_LEG, _RIGHT_LEG, _LEFT_LEG, _LEFT_LEG, None, None, _RIGHT_ARM, _RIGHT_ARM, _LEFT_ARM, _LEFT_ARM,
)  # fmt: skip
MIN_SCORE = 0.2


def part_boxes_from_pose(
    keypoints_px: Float[Array, "*batch 17 3"], person_xyxy_px: Float[Array, "*batch 4"]
) -> Float[Array, "*batch 10 4"]:
    """Ten square boxes around joints, in HAKE's order; the person's box where the pose fails.

    Half a side is half the distance from pelvis to thorax times a factor per part. If pelvis or thorax score below 0.2,
    it is the length of the limb instead (for the head, neck to head), if its three joints score over 0.2 on average. A
    part whose own joint scores below 0.2, and one without any measure, gets the box of the whole person.
    """
    mean = {name: keypoints_px[..., np.asarray(pair), :].mean(-2) for name, pair in _PAIRS.items()}
    thorax = 0.75 * mean["neck"] + 0.25 * mean["head"]

    def distance(a: Array, b: Array) -> Array:
        return jnp.linalg.norm(a[..., :2] - b[..., :2], axis=-1)

    trunk = 0.5 * distance(mean["pelvis"], thorax)
    trunk_seen = (mean["pelvis"][..., 2] >= MIN_SCORE) & (thorax[..., 2] >= MIN_SCORE)
    boxes = []
    for part, joint in enumerate(_SINGLE):
        limb, group = _LIMB[part], _GROUP[part]
        if joint is not None and limb is not None and group is not None:
            centre = keypoints_px[..., joint, :]
            spare = distance(keypoints_px[..., limb[0], :], keypoints_px[..., limb[1], :])
            spare_seen = keypoints_px[..., np.asarray(group), 2].mean(-1) > MIN_SCORE
        elif part == 5:
            centre = mean["head"]
            spare = distance(mean["neck"], mean["head"])
            spare_seen = (mean["neck"][..., 2] + mean["head"][..., 2] + thorax[..., 2]) / 3 > MIN_SCORE
        else:
            centre, spare, spare_seen = mean["pelvis"], trunk, jnp.zeros_like(trunk_seen)
        half = jnp.where(trunk_seen, _SIDE[part] * trunk, spare)[..., None]
        square = jnp.concatenate([centre[..., :2] - half, centre[..., :2] + half], axis=-1)
        good = (centre[..., 2] >= MIN_SCORE) & (trunk_seen | spare_seen)
        boxes.append(jnp.where(good[..., None], square, person_xyxy_px))
    return jnp.stack(boxes, axis=-2)


def has_pose(keypoints_px: Float[Array, "*batch 17 3"]) -> Bool[Array, "*batch"]:
    """Whether any joint is seen."""
    return jnp.any(keypoints_px[..., 2] >= MIN_SCORE, axis=-1)
