"""Pair maps and pose joints in float64, step by step in the order of the authors' code (see `hoi_jax.ops.raster`)."""

import numpy as np

from hoi_jax.ops.raster import MAP_SIZE

FARTHEST = 16_384
"""Largest distance of joints, which are clipped to it as in `pose_joints`."""


def letterbox_float64(
    human_xyxy: np.ndarray, object_xyxy: np.ndarray, size: int = MAP_SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """Grid boxes [N, 4] (int64) of pairs of boxes [N, 4] on the host, with the authors' order of operations."""
    human, obj = (np.array(box, np.float64) for box in (human_xyxy, object_xyxy))
    low = np.minimum(human[:, :2], obj[:, :2])
    extent = np.maximum(human[:, 2:], obj[:, 2:]) - low
    longest = extent.max(axis=1, keepdims=True)
    tall = extent[:, 1] > extent[:, 0]
    for box in (human, obj):
        box[:, :2] = size * (box[:, :2] - low) / longest
        box[:, 2:] = size * (box[:, 2:] - low) / longest - 1
    rows, long_axis = np.arange(len(human)), tall.astype(int)
    human_last = human[rows, 2 + long_axis] > obj[rows, 2 + long_axis]
    human[rows[human_last], 2 + long_axis[human_last]] = size - 1
    obj[rows[~human_last], 2 + long_axis[~human_last]] = size - 1
    short = 1 - long_axis
    shift = size / 2 - (np.maximum(human[rows, 2 + short], obj[rows, 2 + short]) + 1) / 2
    for box in (human, obj):
        box[rows, short] += shift
        box[rows, 2 + short] += shift
    return np.rint(human).astype(np.int64), np.rint(obj).astype(np.int64)


def pose_joints_float64(
    keypoints_px: np.ndarray, human_xyxy: np.ndarray, human_grid: np.ndarray, size: int = MAP_SIZE
) -> np.ndarray:
    """Joint pixels [N, 18, 2] (int64) on the host; see `pose_joints`."""
    corner, extent = human_xyxy[:, None, :2], human_xyxy[:, None, 2:] - human_xyxy[:, None, :2]
    grid_extent = human_grid[:, None, 2:] - human_grid[:, None, :2] + 1
    at = (keypoints_px[..., :2] - corner) / extent * grid_extent + human_grid[:, None, :2]
    away = np.copysign(np.floor(np.abs(at) + 0.5), at)
    joints = np.clip(away, -FARTHEST, size - 1).astype(np.int64)
    neck = np.trunc((joints[:, 5] + joints[:, 6]) / 2).astype(np.int64)
    return np.concatenate([joints, neck[:, None]], axis=1)
