"""Boxes on device: overlap, conversions, offset coding and non-maximum suppression.

Boxes are continuous corners (x1, y1, x2, y2), so that the width is x2 - x1.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike


def area(boxes_xyxy: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch"]:
    """Area per box; 0 for boxes with corners in the wrong order."""
    size = jnp.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0.0)
    return size[..., 0] * size[..., 1]


def _ratio(inter: ArrayLike, area_a: ArrayLike, area_b: ArrayLike) -> Array:
    union = area_a + area_b - inter
    return jnp.where(union > 0, inter / jnp.where(union > 0, union, 1.0), 0.0)


def iou(a_xyxy: Float[ArrayLike, "*batch 4"], b_xyxy: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch"]:
    """Intersection over union, row by row; 0 if both boxes are empty.

    For the "+1" IoU of inclusive pixel boxes, add one to the high corners.
    """
    low = jnp.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = jnp.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    inter = area(jnp.concatenate([low, high], axis=-1))
    return _ratio(inter, area(a_xyxy), area(b_xyxy))


def pairwise_iou(
    a_xyxy: Float[ArrayLike, "*batch rows 4"], b_xyxy: Float[ArrayLike, "*batch columns 4"]
) -> Float[Array, "*batch rows columns"]:
    """IoU of every box of `a_xyxy` with every box of `b_xyxy`; 0 if both are empty.

    >>> pairwise_iou(jnp.array([[0.0, 0.0, 2.0, 2.0]]), jnp.array([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 2.0]]))
    Array([[1. , 0.5]], dtype=float32)
    """
    a, b = a_xyxy[..., :, None, :], b_xyxy[..., None, :, :]
    # Corners are not stacked, because with 200,000 anchors the stacked array would take gigabytes.
    size = jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2]), 0.0)
    return _ratio(size[..., 0] * size[..., 1], area(a), area(b))


def clip_boxes(
    boxes_xyxy_px: Float[ArrayLike, "*batch rows 4"], image_hw_px: Int[ArrayLike, "*batch 2"]
) -> Float[Array, "*batch rows 4"]:
    """Clip boxes to the image, 0 <= x <= width and 0 <= y <= height."""
    limit = image_hw_px[..., None, ::-1].astype(boxes_xyxy_px.dtype)
    limit = jnp.concatenate([limit, limit], axis=-1)
    return jnp.clip(boxes_xyxy_px, 0.0, limit)


def union_box(a_xyxy: Float[ArrayLike, "*batch 4"], b_xyxy: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Smallest box that contains both."""
    low = jnp.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = jnp.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    return jnp.concatenate([low, high], axis=-1)


def cxcywh_to_xyxy(boxes_cxcywh: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Corners of boxes given by centre and size.

    >>> cxcywh_to_xyxy(jnp.array([5.0, 5.0, 4.0, 2.0]))
    Array([3., 4., 7., 6.], dtype=float32)
    """
    centre, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return jnp.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=-1)


def xyxy_to_cxcywh(boxes_xyxy: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Centre and size of boxes given by corners."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return jnp.concatenate([0.5 * (low + high), high - low], axis=-1)


def generalized_iou(
    a_xyxy: Float[ArrayLike, "*#batch 4"], b_xyxy: Float[ArrayLike, "*#batch 4"]
) -> Float[Array, "*#batch"]:
    """IoU minus the share of the smallest enclosing box that neither covers (Rezatofighi et al., CVPR 2019).

    Values are in [-1, 1]. Leading axes must broadcast by sizes of one, for example [Q, 1, 4] with [1, T, 4]. The IoU of
    two empty boxes is 0; the share of an empty enclosing box is 0 too.
    """
    low, high = jnp.maximum(a_xyxy[..., :2], b_xyxy[..., :2]), jnp.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    inter = area(jnp.concatenate([low, high], axis=-1))
    areas = area(a_xyxy), area(b_xyxy)
    union = areas[0] + areas[1] - inter
    around = jnp.minimum(a_xyxy[..., :2], b_xyxy[..., :2]), jnp.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    hull = area(jnp.concatenate(around, axis=-1))
    return _ratio(inter, *areas) - jnp.where(hull > 0, (hull - union) / jnp.where(hull > 0, hull, 1.0), 0.0)


MAX_LOG_RATIO = math.log(1000.0 / 16.0)
"""Limit of |log| of the ratio of sides in `decode_boxes`."""


def _centre_size(boxes: ArrayLike, extra: float) -> tuple[ArrayLike, ArrayLike]:
    side = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * side, side + extra


def _stds(stds: Sequence[float], ndim: int) -> np.ndarray:
    return np.asarray(stds, np.float32).reshape((1,) * (ndim - 1) + (4,))


def encode_boxes(
    reference_xyxy: Float[ArrayLike, "*batch 4"],
    target_xyxy: Float[ArrayLike, "*batch 4"],
    stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    *,
    plus_one: bool = False,
) -> Float[Array, "*batch 4"]:
    """Offsets (dx, dy, dw, dh) from `reference_xyxy` to `target_xyxy` (Girshick, ICCV 2015), divided by `stds`.

    Boxes without area (padding) give arbitrary finite numbers.

    Args:
      stds: standard deviations of the offsets; torchvision's weights are 1 / stds.
      plus_one: use x2 - x1 + 1 as sides, as in the first versions of mmdetection and the release of C-HOI.
    """
    extra = 1.0 if plus_one else 0.0
    centre, size = _centre_size(reference_xyxy, extra)
    goal, goal_size = _centre_size(target_xyxy, extra)
    size, goal_size = jnp.maximum(size, 1e-6), jnp.maximum(goal_size, 1e-6)
    deltas = jnp.concatenate([(goal - centre) / size, jnp.log(goal_size / size)], axis=-1)
    return deltas / _stds(stds, deltas.ndim)


def decode_boxes(
    reference_xyxy: Float[ArrayLike, "*batch 4"],
    deltas: Float[ArrayLike, "*batch 4"],
    stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    *,
    plus_one: bool = False,
    clip_shrinking: bool = True,
) -> Float[Array, "*batch 4"]:
    """Apply offsets to reference boxes, the inverse of `encode_boxes`; results are not clipped to the image.

    Args:
      stds, plus_one: as in `encode_boxes`.
      clip_shrinking: limit the ratio of sides to at least 16 / 1000 as well (mmdetection), not only to at most
        1000 / 16 (torchvision).
    """
    extra = 1.0 if plus_one else 0.0
    centre, size = _centre_size(reference_xyxy, extra)
    deltas = deltas * _stds(stds, deltas.ndim)
    log_ratio = jnp.minimum(deltas[..., 2:], MAX_LOG_RATIO)
    if clip_shrinking:
        log_ratio = jnp.maximum(log_ratio, -MAX_LOG_RATIO)
    centre = centre + deltas[..., :2] * size
    half = 0.5 * (jnp.exp(log_ratio) * size) - extra / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)


def class_nms(
    boxes_xyxy: Float[ArrayLike, "rows 4"],
    score: Float[ArrayLike, " rows"],
    label: Int[ArrayLike, " rows"],
    valid: Bool[ArrayLike, " rows"],
    *,
    overlap: float = 0.5,
) -> Bool[Array, " rows"]:
    """Mask of the boxes kept by non-maximum suppression per class with IoU threshold `overlap`.

    Of equal scores the earlier row ranks first.
    """
    order = jnp.argsort(-jnp.where(valid, score, -jnp.inf), stable=True)
    boxes, kind = boxes_xyxy[order], label[order]
    baselines = (pairwise_iou(boxes, boxes) > overlap) & (kind[:, None] == kind[None, :])
    rank = jnp.arange(score.shape[0])
    better = baselines & (rank[:, None] < rank[None])
    candidates = valid[order]

    # A box is kept iff no better kept box overlaps it, which has a unique solution. Every round decides at least one
    # more box, in practice all except those at the end of long chains of overlaps.
    def settle(state):
        kept, _ = state
        after = candidates & ~jnp.any(better & kept[:, None], axis=0)
        return after, jnp.any(after != kept)

    kept, _ = jax.lax.while_loop(lambda state: state[1], settle, (candidates, jnp.any(candidates)))
    return jnp.zeros_like(valid).at[order].set(kept)
