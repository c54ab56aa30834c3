"""Resampling by one matrix per axis: bicubic for position tables (PyTorch) and images (Pillow), bilinear for masks."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.arrays import ArrayLike

TORCH_CUBIC = -0.75
PILLOW_CUBIC = -0.5


def cubic(distance: jax.Array | np.ndarray, a: float):
    """Keys' cubic convolution kernel with coefficient `a`; zero beyond distance 2."""
    xp = np if isinstance(distance, np.ndarray) else jnp
    d = abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return xp.where(d <= 1, near, xp.where(d < 2, far, xp.zeros_like(d)))


def cubic_matrix(size_in: int, size_out: int, a: float = TORCH_CUBIC) -> Float[np.ndarray, "{size_out} {size_in}"]:
    """Weights of `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)` along one axis.

    Half-pixel centres, four taps, no low-pass filter for smaller sizes; taps beyond an end read its value. Float64.
    """
    place = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    first = np.floor(place).astype(int)
    matrix = np.zeros((size_out, size_in))
    for tap in range(-1, 3):
        weight = cubic(place - first - tap, a)
        np.add.at(matrix, (np.arange(size_out), np.clip(first + tap, 0, size_in - 1)), weight)
    return matrix


def resize_positions(
    table: Float[ArrayLike, "rows dim"], grid_in: tuple[int, int], grid_out: tuple[int, int]
) -> Float[Array, "new_rows dim"]:
    """Resize position codes to another grid by `cubic_matrix`; row 0, of the class token, is kept.

    Raises:
      ValueError: the table does not have one row per cell of `grid_in` and one more.
    """
    if table.shape[0] != 1 + grid_in[0] * grid_in[1]:
        raise ValueError(f"a table of {table.shape[0]} rows does not fit a class token and a grid of {grid_in}")
    if grid_in == grid_out:
        return jnp.asarray(table)
    rows, columns = (
        jnp.asarray(cubic_matrix(n_in, n_out), table.dtype) for n_in, n_out in zip(grid_in, grid_out, strict=True)
    )
    cells = table[1:].reshape((*grid_in, -1))
    resized = jnp.einsum("yh,xw,hwd->yxd", rows, columns, cells, precision=jax.lax.Precision.HIGHEST)
    return jnp.concatenate([table[:1], resized.reshape((-1, table.shape[1]))])


def window_matrix(
    start: Float[ArrayLike, " batch"],
    length: Float[ArrayLike, " batch"],
    valid: Float[ArrayLike, " batch"],
    size_in: int,
    size_out: int,
    *,
    kernel: str = "bicubic",
    antialias: bool = True,
    first: Float[ArrayLike, " batch"] | None = None,
) -> Float[Array, "batch {size_out} {size_in}"]:
    """Weights that resample the window start ... start + length of each example's axis to `size_out` cells.

    Pillow's rule: half-pixel centres; with `antialias`, the kernel is scaled to the size of an output cell if that is
    more than one input cell; only cells below `valid` are used, and weights sum to one.

    Args:
      start, length: in cells of the input; may be fractional.
      valid: number of cells of the axis that are image; the others are padding.
      kernel: "bicubic" (a = -0.5) or "bilinear".
      first: cells below it are not used either, as if the window were cropped before it is resized; None = no limit.
    """
    scale = length / size_out
    width = jnp.maximum(scale, 1.0) if antialias else jnp.ones_like(scale)
    centre = start[:, None] + (jnp.arange(size_out)[None] + 0.5) * scale[:, None] - 0.5
    cell = jnp.arange(size_in, dtype=centre.dtype)[None, None]
    distance = (cell - centre[:, :, None]) / width[:, None, None]
    if kernel == "bicubic":
        weight = cubic(distance, PILLOW_CUBIC)
    elif kernel == "bilinear":
        weight = jnp.maximum(1.0 - jnp.abs(distance), 0.0)
    else:
        raise ValueError(f"kernel is {kernel!r}, expected 'bicubic' or 'bilinear'")
    used = cell < valid[:, None, None]
    if first is not None:
        used &= cell >= first[:, None, None]
    weight = jnp.where(used, weight, 0.0)
    total = jnp.sum(weight, axis=-1, keepdims=True)
    return weight / jnp.where(total == 0, 1.0, total)


def _axis_weights(
    source: tuple[ArrayLike, ArrayLike], target: tuple[ArrayLike, ArrayLike], cells: int, size: int
) -> Array:
    """Bilinear weights [N, size, cells] of the centres of target cells on source cells; 0 outside of the source.

    At the border of the source the nearest cell is read, so that masks do not fade inside their rectangles.
    """
    middle = (jnp.arange(size, dtype=jnp.float32) + 0.5)[None] / size
    at_px = target[0][:, None] + middle * (target[1] - target[0])[:, None]
    extent = (source[1] - source[0])[:, None]
    share = (at_px - source[0][:, None]) / jnp.where(extent > 0, extent, 1.0)
    inside = (share >= 0) & (share <= 1) & (extent > 0)
    at = jnp.clip(share * cells - 0.5, 0.0, cells - 1.0)
    distance = jnp.abs(at[..., None] - jnp.arange(cells, dtype=jnp.float32)[None, None])
    return jnp.where(inside[..., None], jnp.maximum(1.0 - distance, 0.0), 0.0)


def resample_masks(
    masks: Float[ArrayLike, "*batch h w"],
    source_xyxy_px: Float[ArrayLike, "*batch 4"],
    target_xyxy_px: Float[ArrayLike, "*batch 4"],
    size: int | tuple[int, int],
) -> Float[Array, "*batch rows columns"]:
    """Resample each mask from an h x w grid over its source rectangle to a grid of `size` over a target rectangle.

    Bilinear between the centres of cells; zero outside of the source. The source of a mask over the whole image is the
    image, that of a predicted mask is its box.
    """
    leading, (height, width) = masks.shape[:-2], masks.shape[-2:]
    out_height, out_width = (size, size) if isinstance(size, int) else size
    grid = masks.reshape((-1, height, width)).astype(jnp.float32)
    source, target = source_xyxy_px.reshape((-1, 4)), target_xyxy_px.reshape((-1, 4))
    columns = _axis_weights((source[:, 0], source[:, 2]), (target[:, 0], target[:, 2]), width, out_width)
    rows = _axis_weights((source[:, 1], source[:, 3]), (target[:, 1], target[:, 3]), height, out_height)
    out = jnp.einsum("nyh,nhw,nxw->nyx", rows, grid, columns, precision="highest")
    return out.reshape((*leading, out_height, out_width))


def square_around(boxes_xyxy_px: Float[ArrayLike, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """The square with a box's centre and its longer side, which is the frame of letterboxed pair maps."""
    centre = (boxes_xyxy_px[..., :2] + boxes_xyxy_px[..., 2:]) / 2
    half = jnp.max(boxes_xyxy_px[..., 2:] - boxes_xyxy_px[..., :2], axis=-1, keepdims=True) / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)
