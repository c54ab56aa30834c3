"""Body-part boxes for a build, by the same recipe as in the systems (`hoi_jax.ops.part_boxes`)."""

import jax
import numpy as np
from jaxtyping import Float

from hoi_jax.ops.part_boxes import part_boxes_from_pose

_ROWS = 16
_compiled = jax.jit(part_boxes_from_pose)


def part_boxes(
    keypoints_px: Float[np.ndarray, "n 17 3"], person_xyxy_px: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, "n 10 4"]:
    """Part boxes by `part_boxes_from_pose`, compiled once for sixteen people at a time."""
    count = len(keypoints_px)
    padded = -(-count // _ROWS) * _ROWS
    poses, people = np.zeros((padded, 17, 3), np.float32), np.zeros((padded, 4), np.float32)
    poses[:count], people[:count] = keypoints_px, person_xyxy_px
    parts = [np.asarray(_compiled(poses[at : at + _ROWS], people[at : at + _ROWS])) for at in range(0, padded, _ROWS)]
    return np.concatenate([np.zeros((0, 10, 4), np.float32), *parts])[:count]
