"""Body-part boxes from poses, by the recipe of HAKE-Action that the body-part paper follows."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike

# COCO keypoints: 1, 2 eyes; 5, 6 shoulders; 9, 10 wrists; 11, 12 hips; 13, 14 knees; 15, 16 ankles (left, right).
# Order of the ten parts: right foot, right leg, left leg, left foot, hip, head, right hand, right arm, left arm, left
# hand.
_PAIRS = {"pelvis": (11, 12), "neck": (5, 6), "head": (1, 2)}
_SINGLE = (16, 14, 13, 15, None, None, 10, 6, 5, 9)
_SIDE = (1.2, 1.0, 1.0, 1.2, 1.2, 1.2, 0.9, 1.0, 1.0, 0.9)
# If the trunk is not visible: the two ends of a limb whose length replaces it, and the joints that it requires.
_LIMB = ((16, 12), (16, 12), (15, 11), (15, 11), None, None, (10, 6), (10, 6), (9, 5), (9, 5))
_RIGHT_LEG, _LEFT_LEG, _RIGHT_ARM, _LEFT_ARM = (12, 14, 16), (11, 13, 15), (6, 8, 10), (5, 7, 9)
_GROUP = (
    _RIGHT_LEG, _RIGHT_LEG, _LEFT_LEG, _LEFT_LEG, None, None, _RIGHT_ARM, _RIGHT_ARM, _LEFT_ARM, _LEFT_ARM,
)  # fmt: skip
MIN_SCORE = 0.2
_EYES, _SHOULDERS, _HIPS = (1, 2), (5, 6), (11, 12)
_LIMB_ENDS = ((16, 12), (15, 11), (10, 6), (9, 5))


def with_stand_ins(keypoints_px: Float[ArrayLike, "*batch 17 3"]) -> Float[Array, "*batch 17 3"]:
    """Fill in positions of absent joints (score 0), which keep score 0.

    The recipe uses means and distances of two joints and assumes a detector, which gives a position for every joint. In
    annotations absent joints are at (0, 0), which would make these means and distances meaningless. Here an absent eye,
    shoulder or hip gets the position of its counterpart; if both eyes (or both shoulders) are absent, they get the
    middle of the shoulders (or eyes). A limb without one of its ends has length 0.
    """
    places = [keypoints_px[..., joint, :2] for joint in range(keypoints_px.shape[-2])]
    seen = [keypoints_px[..., joint, 2:] > 0 for joint in range(keypoints_px.shape[-2])]

    def stand_in(joint: int, wanted: ArrayLike, place: ArrayLike) -> None:
        places[joint] = jnp.where(wanted, place, places[joint])

    for left, right in (_EYES, _SHOULDERS, _HIPS):
        for joint, other in ((left, right), (right, left)):
            stand_in(joint, ~seen[joint] & seen[other], places[other])
    any_seen = {pair: seen[pair[0]] | seen[pair[1]] for pair in (_EYES, _SHOULDERS, _HIPS)}
    for pair, others in ((_EYES, _SHOULDERS), (_SHOULDERS, _EYES)):
        for joint in pair:
            middle = (places[others[0]] + places[others[1]]) / 2
            stand_in(joint, ~any_seen[pair] & any_seen[others], middle)
    for end, root in _LIMB_ENDS:
        placed = any_seen[_HIPS] if root in _HIPS else any_seen[_SHOULDERS] | any_seen[_EYES]
        stand_in(root, ~placed, places[end])
        stand_in(end, ~seen[end], places[root])
    return jnp.concatenate([jnp.stack(places, axis=-2), keypoints_px[..., 2:]], axis=-1)


def part_boxes_from_pose(
    keypoints_px: Float[ArrayLike, "*batch 17 3"], person_xyxy_px: Float[ArrayLike, "*batch 4"]
) -> Float[Array, "*batch 10 4"]:
    """Ten square boxes around joints, in HAKE's order; the person's box for parts that the pose does not determine.

    Half a side is half the distance from pelvis to thorax times a factor per part. If pelvis or thorax score below 0.2,
    it is the length of the limb (for the head, from neck to head) instead, provided that its three joints score over
    0.2 on average. A part with neither length, or with its own joint below 0.2, gets the box of the whole person.
    Absent joints (score 0) are filled in first (`with_stand_ins`).
    """
    keypoints_px = with_stand_ins(keypoints_px)
    mean = {name: keypoints_px[..., np.asarray(pair), :].mean(-2) for name, pair in _PAIRS.items()}
    thorax = 0.75 * mean["neck"] + 0.25 * mean["head"]

    def distance(a: ArrayLike, b: ArrayLike) -> Array:
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
        # A length between a joint and its own substitute is zero and does not count.
        good = (centre[..., 2] >= MIN_SCORE) & (trunk_seen | spare_seen) & (half[..., 0] > 0)
        boxes.append(jnp.where(good[..., None], square, person_xyxy_px))
    return jnp.stack(boxes, axis=-2)


def has_pose(keypoints_px: Float[ArrayLike, "*batch 17 3"]) -> Bool[Array, "*batch"]:
    """Whether any joint scores at least `MIN_SCORE`."""
    return jnp.any(keypoints_px[..., 2] >= MIN_SCORE, axis=-1)
