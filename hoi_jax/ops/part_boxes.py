"""Body-part boxes from poses, by the recipe of HAKE-Action that the body-part paper follows."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike

# COCO keypoints: 1, 2 eyes; 5, 6 shoulders; 9, 10 wrists; 11, 12 hips; 13, 14 knees; 15, 16 ankles (left, right).
_EYES, _SHOULDERS, _HIPS = (1, 2), (5, 6), (11, 12)
_LIMB_ENDS = ((16, 12), (15, 11), (10, 6), (9, 5))
# Points that follow the 17 joints.
_PELVIS, _NECK, _HEAD, _THORAX = 17, 18, 19, 20
# Columns: centre; half a side as a share of the trunk; the two ends of a limb whose length replaces an invisible trunk;
# the three points that have to be seen on average for that. The hip has no limb.
_RIGHT_LEG, _LEFT_LEG = ((16, 12), (12, 14, 16)), ((15, 11), (11, 13, 15))
_RIGHT_ARM, _LEFT_ARM = ((10, 6), (6, 8, 10)), ((9, 5), (5, 7, 9))
_PARTS = (
    (16, 1.2, *_RIGHT_LEG),  # right foot
    (14, 1.0, *_RIGHT_LEG),
    (13, 1.0, *_LEFT_LEG),
    (15, 1.2, *_LEFT_LEG),  # left foot
    (_PELVIS, 1.2, (_PELVIS, _PELVIS), (_PELVIS, _PELVIS, _PELVIS)),  # hip
    (_HEAD, 1.2, (_NECK, _HEAD), (_NECK, _HEAD, _THORAX)),
    (10, 0.9, *_RIGHT_ARM),  # right hand
    (6, 1.0, *_RIGHT_ARM),
    (5, 1.0, *_LEFT_ARM),
    (9, 0.9, *_LEFT_ARM),  # left hand
)
_CENTRE, _SHARE, _LIMB, _GROUP = (np.array(column) for column in zip(*_PARTS, strict=True))
MIN_SCORE = 0.2


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
    points = with_stand_ins(keypoints_px)
    pelvis, neck, head = (points[..., np.array(pair), :].mean(-2) for pair in (_HIPS, _SHOULDERS, _EYES))
    thorax = 0.75 * neck + 0.25 * head
    points = jnp.concatenate([points, jnp.stack([pelvis, neck, head, thorax], axis=-2)], axis=-2)
    trunk = 0.5 * jnp.linalg.norm(pelvis[..., :2] - thorax[..., :2], axis=-1, keepdims=True)
    trunk_seen = (pelvis[..., 2:] >= MIN_SCORE) & (thorax[..., 2:] >= MIN_SCORE)
    ends = points[..., _LIMB, :2]
    limb = jnp.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1)
    limb_seen = points[..., _GROUP, 2].mean(-1) > MIN_SCORE
    half = jnp.where(trunk_seen, trunk * jnp.broadcast_to(_SHARE.astype(np.float32), limb.shape), limb)
    centre = points[..., _CENTRE, :]
    squares = jnp.concatenate([centre[..., :2] - half[..., None], centre[..., :2] + half[..., None]], axis=-1)
    # A limb between a joint and its own substitute has length zero, and so has that of the hip: neither counts.
    good = (centre[..., 2] >= MIN_SCORE) & (trunk_seen | limb_seen) & (half > 0)
    return jnp.where(good[..., None], squares, person_xyxy_px[..., None, :])


def has_pose(keypoints_px: Float[ArrayLike, "*batch 17 3"]) -> Bool[Array, "*batch"]:
    """Whether any joint scores at least `MIN_SCORE`."""
    return jnp.any(keypoints_px[..., 2] >= MIN_SCORE, axis=-1)
