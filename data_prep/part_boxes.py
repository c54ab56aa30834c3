"""Body-part boxes for a build, by the one recipe that the systems use too (`hoi_jax.ops.part_boxes`)."""

import jax
import numpy as np
from jaxtyping import Float

from hoi_jax.ops.part_boxes import part_boxes_from_pose

_ROWS = 16
_EYES, _SHOULDERS, _HIPS = (1, 2), (5, 6), (11, 12)
_LIMBS = ((16, 12), (15, 11), (10, 6), (9, 5))
"""End and root of the limbs whose length the recipe takes where it sees no trunk."""
_compiled = jax.jit(part_boxes_from_pose)


def with_stand_ins(keypoints_px: Float[np.ndarray, "n 17 3"]) -> Float[np.ndarray, "n 17 3"]:
    """Poses whose absent joints have a place, still with score 0.

    The recipe takes means and distances of two joints each. It was made for detectors, which place every joint; in
    annotations an absent one is at (0, 0): a mean with it lies anywhere, a distance to it is as long as the picture.
    An absent eye, shoulder or hip takes the place of the other of its pair; where both eyes or both shoulders are
    absent, they take that of the shoulders or eyes. A limb without one of its ends has no length.
    """
    out = keypoints_px.copy()
    absent = out[..., 2] == 0
    for pair in (_EYES, _SHOULDERS, _HIPS):
        for joint, other in (pair, pair[::-1]):
            lone = absent[:, joint] & ~absent[:, other]
            out[lone, joint, :2] = out[lone, other, :2]
    for pair, others in ((_EYES, _SHOULDERS), (_SHOULDERS, _EYES)):
        gone = absent[:, pair].all(1) & ~absent[:, others].all(1)
        out[gone[:, None] & np.isin(np.arange(out.shape[1]), pair), :2] = np.repeat(
            out[gone][:, others, :2].mean(1), 2, axis=0
        )
    for end, root in _LIMBS:
        pair = _HIPS if root in _HIPS else (*_SHOULDERS, *_EYES)
        nowhere = absent[:, pair].all(1)
        out[nowhere, root, :2] = out[nowhere, end, :2]
        lone = absent[:, end]
        out[lone, end, :2] = out[lone, root, :2]
    return out


def part_boxes(
    keypoints_px: Float[np.ndarray, "n 17 3"], person_xyxy_px: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "n 10 4"]:
    """See `part_boxes_from_pose`; compiled once, for sixteen people at a time. Absent joints: `with_stand_ins`."""
    keypoints_px = with_stand_ins(np.asarray(keypoints_px, np.float32))
    count = len(keypoints_px)
    padded = -(-count // _ROWS) * _ROWS
    poses, people = np.zeros((padded, 17, 3), np.float32), np.zeros((padded, 4), np.float32)
    poses[:count], people[:count] = keypoints_px, person_xyxy_px
    parts = [np.asarray(_compiled(poses[at : at + _ROWS], people[at : at + _ROWS])) for at in range(0, padded, _ROWS)]
    boxes = np.concatenate([np.zeros((0, 10, 4), np.float32), *parts])[:count]
    # A measure between a joint and its own stand-in is none: the whole person, as wherever the pose fails.
    measured = (boxes[..., 2:] > boxes[..., :2]).all(-1, keepdims=True)
    return np.where(measured, boxes, np.asarray(person_xyxy_px, np.float32)[:, None])
