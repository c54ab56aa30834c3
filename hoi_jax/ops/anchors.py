"""Anchor boxes on a feature pyramid, and their assignment to annotated or detected boxes.

The order is that of torchvision's RetinaNet: levels from fine to coarse, cells in row-major order, the anchors of a
cell by ratio and then by scale. The anchors of cell (x, y) are centred at (x * stride, y * stride).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.boxes import pairwise_iou

OCTAVE_SCALES = (1.0, 2.0 ** (1.0 / 3.0), 2.0 ** (2.0 / 3.0))


def cell_anchors(
    sizes: Sequence[float],
    *,
    scales: Sequence[float] = OCTAVE_SCALES,
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    rounded: bool = True,
) -> Float[np.ndarray, "levels anchors 4"]:
    """Boxes around (0, 0), one row per level: width s / sqrt(r), height s * sqrt(r) for ratio r and side s.

    Args:
      sizes: base side of every level, pixels.
      scales: multiples of the base side.
      rounded: truncate size * scale and round the corners, as torchvision does; otherwise exact.
    """
    sides = np.asarray(sizes, np.float64)[:, None] * np.asarray(scales)[None]  # [L, S]
    sides = np.floor(sides) if rounded else sides
    root = np.sqrt(np.asarray(ratios, np.float64))
    width = (sides[:, None] / root[None, :, None]).reshape(len(sides), -1)
    height = (sides[:, None] * root[None, :, None]).reshape(len(sides), -1)
    boxes = np.stack([-width, -height, width, height], axis=-1) / 2
    return np.round(boxes) if rounded else boxes


def make_anchors(
    image_hw: tuple[int, int], level_hw: Sequence[tuple[int, int]], cells: Float[np.ndarray, "levels anchors 4"]
) -> Float[np.ndarray, "total 4"]:
    """All anchors of a pyramid over an image of `image_hw` (including padding), pixels, as a NumPy array.

    The stride of a level is image size // map size per axis, as in torchvision, which is the true stride if the image
    size is a multiple of the coarsest stride.
    """
    levels = []
    for (rows, columns), boxes in zip(level_hw, cells, strict=True):
        y = np.arange(rows) * (image_hw[0] // rows)
        x = np.arange(columns) * (image_hw[1] // columns)
        centre = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)
        levels.append((np.tile(centre, 2)[:, :, None] + boxes[None, None]).reshape(-1, 4))
    return np.concatenate(levels)


def assign_anchors(
    anchors_xyxy: Float[ArrayLike, "total 4"],
    boxes_xyxy: Float[ArrayLike, "boxes 4"],
    anchor_valid: Bool[ArrayLike, " total"],
    box_valid: Bool[ArrayLike, " boxes"],
    *,
    overlap: float = 0.5,
    force_best: bool = False,
) -> tuple[Int[Array, " total"], Float[Array, " total"]]:
    """Assign to each anchor the box with the largest IoU, if that is above `overlap`.

    Args:
      force_best: also assign each valid box to the anchor of largest IoU with it (the first of equal ones), if that is
        above 0; an anchor that is best for two boxes is assigned to the later one.

    Returns:
      row of the box, or -1, and the largest IoU. Of equal IoUs the lowest row is taken.
    """
    shared = jnp.where(anchor_valid[:, None] & box_valid[None], pairwise_iou(anchors_xyxy, boxes_xyxy), 0.0)
    best = jnp.max(shared, axis=1)
    row = jnp.where(best > overlap, jnp.argmax(shared, axis=1), -1)
    if force_best:
        reach = jnp.max(shared, axis=0)
        rows = jnp.arange(boxes_xyxy.shape[0], dtype=row.dtype)
        requested = jnp.where(reach > 0, jnp.argmax(shared, axis=0), anchors_xyxy.shape[0])
        wish = jnp.full_like(row, -1).at[requested].max(rows, mode="drop")
        row = jnp.where(wish >= 0, wish, row)
    return row, best


def nearest_anchor(
    anchors_xyxy: Float[ArrayLike, "total 4"],
    boxes_xyxy: Float[ArrayLike, "boxes 4"],
    anchor_valid: Bool[ArrayLike, " total"],
) -> Int[Array, " boxes"]:
    """The valid anchor with the largest IoU with each box, the first of equal ones."""
    shared = pairwise_iou(boxes_xyxy, anchors_xyxy)
    return jnp.argmax(jnp.where(anchor_valid[None], shared, -1.0), axis=1)


def choose_foreground(
    row: Int[ArrayLike, " total"], overlap: Float[ArrayLike, " total"], limit: int
) -> tuple[Int[Array, " chosen"], Bool[Array, " chosen"]]:
    """Select at most `limit` assigned anchors, evenly over boxes: the best of every box, then the second best, ...

    The selection is deterministic.

    Returns:
      anchor indices (0 in unused places) and mask of used places, [min(limit, total)] each.
    """
    total = row.shape[0]
    order = jnp.lexsort((-overlap, row))
    ordered = row[order]
    starts = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
    place = jnp.arange(total)
    rank = place - jax.lax.cummax(jnp.where(starts, place, 0))  # Rank of an anchor within its box, 0 = largest IoU.
    score = jnp.where(ordered >= 0, -rank, -total)
    best, at = jax.lax.top_k(score, min(limit, total))
    used = best > -total
    return jnp.where(used, order[at], 0), used
