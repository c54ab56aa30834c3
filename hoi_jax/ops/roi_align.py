"""RoI pooling: features of fixed size for boxes on a feature map."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax.arrays import ArrayLike


def _sample_weights(
    start: Float[ArrayLike, " boxes"],
    stop: Float[ArrayLike, " boxes"],
    limit: Int[ArrayLike, ""],
    cells: int,
    size: int,
) -> Float[Array, "boxes size cells"]:
    """Bilinear weights of `size` evenly spaced samples on one axis; all zero for samples outside of the map."""
    step = (stop - start) / (size - 1)
    at = start[:, None] + jnp.arange(size, dtype=start.dtype)[None] * step[:, None]
    inside = (at >= 0) & (at <= (limit - 1).astype(at.dtype))
    distance = jnp.abs(at[:, :, None] - jnp.arange(cells, dtype=at.dtype)[None, None])
    return jnp.where(inside[:, :, None], jnp.maximum(1.0 - distance, 0.0), 0.0)


def crop_and_resize(
    features: Float[ArrayLike, "batch h w channels"],
    boxes_px: Float[ArrayLike, "batch boxes 4"],
    valid_hw: Int[ArrayLike, "batch 2"],
    *,
    stride: int,
    size: int = 7,
) -> Float[Array, "batch boxes size size channels"]:
    """Sample each box bilinearly on a size x size grid (TensorFlow's crop_and_resize, as used by TIN).

    Sample j of an axis is at x1 / stride + j * (x2 - x1) / (stride * (size - 1)) cells: both ends are sampled, without
    a half-pixel shift, so boxes are (first, last) *inclusive* pixels here. Samples outside [0, valid - 1] are 0; cells
    beyond `valid_hw` are padding and are never read.

    The two axes are separable, so that two small matrix products per box replace gathers.

    Args:
      features: one map per image.
      boxes_px: corners in pixels of the image.
      valid_hw: height and width of the unpadded part of `features`, in cells.
      stride: pixels per cell.
      size: samples per axis, at least 2.
    """
    _, height, width, _ = features.shape

    def one_image(feature, boxes, hw):
        scaled = boxes / stride
        rows = _sample_weights(scaled[:, 1], scaled[:, 3], hw[0], height, size).astype(feature.dtype)
        columns = _sample_weights(scaled[:, 0], scaled[:, 2], hw[1], width, size).astype(feature.dtype)
        precision = jax.lax.Precision.HIGHEST
        partial = jnp.einsum("nyh,hwc->nywc", rows, feature, precision=precision)
        return jnp.einsum("nxw,nywc->nyxc", columns, partial, precision=precision)

    return jax.vmap(one_image)(features, boxes_px, valid_hw)


def pyramid_level(
    boxes_xyxy_px: Float[ArrayLike, "*batch 4"], levels: int, *, finest_px: float = 56.0, plus_one: bool = False
) -> Int[Array, "*batch"]:
    """Pyramid level from which a box is pooled, one step coarser for every doubling of sqrt(area).

    Boxes below 2 * `finest_px` are pooled from level 0 (FPN, Eq. 1, with P2 as level 0 and 112 px as its limit).
    """
    side = boxes_xyxy_px[..., 2:] - boxes_xyxy_px[..., :2] + (1.0 if plus_one else 0.0)
    area = jnp.maximum(side[..., 0], 0.0) * jnp.maximum(side[..., 1], 0.0)
    level = jnp.floor(jnp.log2(jnp.sqrt(area) / finest_px + 1e-6))
    return jnp.clip(level, 0, levels - 1).astype(jnp.int32)


def _axis_samples(
    start: ArrayLike,
    length: ArrayLike,
    limit: ArrayLike,
    hole: tuple[ArrayLike, ArrayLike] | None,
    size: int,
    samples: int | None,
    max_samples: int,
) -> tuple[Array, Array, Array]:
    """(cells, weights, mask of the hole) of all samples of one axis, two cells per sample: [N, size, 2 * S] each."""
    per_bin = samples or max_samples
    step = length / size
    count = jnp.full_like(step, samples) if samples else jnp.ceil(step)
    number = jnp.arange(per_bin, dtype=start.dtype)[None, None]
    safe = jnp.maximum(count, 1.0)[:, None, None]
    bins = jnp.arange(size, dtype=start.dtype)[None, :, None]
    at = start[:, None, None] + (bins + (number + 0.5) / safe) * step[:, None, None]  # [N, size, S]
    last = (limit - 1).astype(at.dtype)[:, None, None]
    inside = (at >= -1.0) & (at <= last + 1.0) & (number < count[:, None, None])
    clamped = jnp.clip(at, 0.0, last)
    low = jnp.floor(clamped)
    share = clamped - low
    cells = jnp.stack([low, jnp.minimum(low + 1, last)], axis=-1).astype(jnp.int32)
    weights = jnp.where(inside[..., None], jnp.stack([1 - share, share], axis=-1) / safe[..., None], 0.0)
    holes = jnp.zeros(at.shape, bool)
    if hole is not None:
        holes = (at >= hole[0][:, None, None]) & (at < hole[1][:, None, None])
    shape = (start.shape[0], size, 2 * per_bin)
    holes = jnp.broadcast_to(holes[..., None], (*holes.shape, 2))
    return cells.reshape(shape), weights.reshape(shape), holes.reshape(shape)


def roi_align(
    levels: Sequence[ArrayLike],
    boxes_xyxy_px: Float[ArrayLike, "boxes 4"],
    level: Int[ArrayLike, " boxes"],
    valid_hw: Int[ArrayLike, "levels 2"],
    *,
    strides: Sequence[float],
    size: int = 7,
    samples: int | None = 2,
    max_samples: int = 2,
    aligned: bool = True,
    holes_xyxy_px: Float[ArrayLike, "boxes 4"] | None = None,
) -> Float[Array, "boxes size size channels"]:
    """Average bilinear samples in every cell of a size x size grid over each box of one image (Mask R-CNN).

    All levels are joined into one table, so that a box is pooled once, whatever its level; the corners of samples are
    summed one after another, so that no more memory is needed than for the result. Boxes get no gradient. Agrees with
    torchvision.

    Args:
      levels: maps [h, w, C] of one image.
      boxes_xyxy_px: corners in pixels; level: index of the map of each box.
      valid_hw: cells of each level over the unpadded image; cells beyond them are never read.
      strides: pixels per cell of each level.
      samples: samples per axis and bin; None = the number of cells in the bin, rounded up, at most `max_samples`.
      aligned: shift by half a cell, so that values are at the centres of cells; False is the older rule, where boxes
        are at least one cell wide.
      holes_xyxy_px: part of each box (x1 <= x < x2) where samples count as zero, as if the map were zero there. Holes
        without area have no effect.
    """
    boxes = jax.lax.stop_gradient(boxes_xyxy_px.astype(jnp.float32))
    sizes = [(m.shape[0], m.shape[1]) for m in levels]
    table = jnp.concatenate([m.reshape((-1, m.shape[-1])) for m in levels])
    first = jnp.asarray(np.cumsum([0] + [h * w for h, w in sizes[:-1]]), jnp.int32)[level]
    width = jnp.asarray([w for _, w in sizes], jnp.int32)[level]
    scale = 1.0 / jnp.asarray(strides, jnp.float32)[level][:, None]
    limit = valid_hw[level]
    shift = 0.5 if aligned else 0.0
    box = boxes * scale - shift
    length = box[:, 2:] - box[:, :2]
    length = length if aligned else jnp.maximum(length, 1.0)
    hole = None if holes_xyxy_px is None else holes_xyxy_px.astype(jnp.float32) * scale - shift

    def axis(place: int, side: int) -> tuple[Array, Array, Array]:
        gap = None if hole is None else (hole[:, place], hole[:, place + 2])
        return _axis_samples(box[:, place], length[:, place], limit[:, side], gap, size, samples, max_samples)

    (column, wx, hx), (row, wy, hy) = axis(0, 1), axis(1, 0)
    corners = row.shape[-1]

    def add(total: Array, corner: Array) -> tuple[Array, None]:
        y, x = corner // corners, corner % corners
        at = first[:, None, None] + row[:, :, y][:, :, None] * width[:, None, None] + column[:, :, x][:, None, :]
        weight = wy[:, :, y][:, :, None] * wx[:, :, x][:, None, :]
        if hole is not None:
            weight = jnp.where(hy[:, :, y][:, :, None] & hx[:, :, x][:, None, :], 0.0, weight)
        return total + weight[..., None] * table[at].astype(jnp.float32), None

    start = jnp.zeros((boxes.shape[0], size, size, table.shape[-1]), jnp.float32)
    total, _ = jax.lax.scan(add, start, jnp.arange(corners * corners))
    return total.astype(table.dtype)


def pyramid_roi_align(
    levels: Sequence[ArrayLike],
    boxes_xyxy_px: Float[ArrayLike, "batch boxes 4"],
    image_hw_px: Int[ArrayLike, "batch 2"],
    *,
    strides: Sequence[int],
    size: int = 7,
    finest_px: float = 56.0,
    holes_xyxy_px: Float[ArrayLike, "batch boxes 4"] | None = None,
    level_boxes_xyxy_px: Float[ArrayLike, "batch boxes 4"] | None = None,
) -> Float[Array, "batch boxes size size channels"]:
    """`roi_align` of a batch with two samples per axis, with the level of each box chosen by its size.

    Args:
      image_hw_px: unpadded sizes, so that padding does not affect results.
      level_boxes_xyxy_px: boxes whose sizes determine the levels, if not the pooled ones.
    """
    level = pyramid_level(
        boxes_xyxy_px if level_boxes_xyxy_px is None else level_boxes_xyxy_px, len(levels), finest_px=finest_px
    )
    valid_hw = jnp.maximum(jnp.stack([-(-image_hw_px // stride) for stride in strides], axis=1), 1)

    def one(maps, boxes, at, valid, holes):
        return roi_align(maps, boxes, at, valid, strides=strides, size=size, holes_xyxy_px=holes)

    return jax.vmap(one)(tuple(levels), boxes_xyxy_px, level, valid_hw, holes_xyxy_px)
