"""Bicubic interpolation as two small matrices: of position tables (PyTorch's kernel) and of pictures (Pillow's)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TORCH_CUBIC = -0.75
PILLOW_CUBIC = -0.5


def cubic(distance: np.ndarray | Array, a: float):
    """Keys' cubic convolution kernel with coefficient `a`; zero beyond distance 2."""
    xp = np if isinstance(distance, np.ndarray) else jnp
    d = abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return xp.where(d <= 1, near, xp.where(d < 2, far, xp.zeros_like(d)))


def cubic_matrix(size_in: int, size_out: int, a: float = TORCH_CUBIC) -> Float[np.ndarray, "{size_out} {size_in}"]:
    """Weights of `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)` along one axis.

    Half-pixel centres, four taps, no low-pass when shrinking; taps beyond an end read the value at that end. Float64.
    """
    place = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    first = np.floor(place).astype(int)
    matrix = np.zeros((size_out, size_in))
    for tap in range(-1, 3):
        weight = cubic(place - first - tap, a)
        np.add.at(matrix, (np.arange(size_out), np.clip(first + tap, 0, size_in - 1)), weight)
    return matrix


def resize_positions(
    table: Float[Array, "rows dim"], grid_in: tuple[int, int], grid_out: tuple[int, int]
) -> Float[Array, "new_rows dim"]:
    """Position codes of another grid: row 0 (the class token's) stays, the rest is resized by `cubic_matrix`."""
    if table.shape[0] != 1 + grid_in[0] * grid_in[1]:
        raise ValueError(f"a table of {table.shape[0]} rows does not fit a grid of {grid_in} and a class token")
    if grid_in == grid_out:
        return table
    rows, columns = (
        jnp.asarray(cubic_matrix(n_in, n_out), table.dtype) for n_in, n_out in zip(grid_in, grid_out, strict=True)
    )
    cells = table[1:].reshape((*grid_in, -1))
    resized = jnp.einsum("yh,xw,hwd->yxd", rows, columns, cells, precision=jax.lax.Precision.HIGHEST)
    return jnp.concatenate([table[:1], resized.reshape((-1, table.shape[1]))])


def window_matrix(
    start: Float[Array, "batch"],
    length: Float[Array, "batch"],
    valid: Float[Array, "batch"],
    size_in: int,
    size_out: int,
    *,
    kernel: str = "bicubic",
    antialias: bool = True,
    first: Float[Array, "batch"] | None = None,
) -> Float[Array, "batch {size_out} {size_in}"]:
    """Weights that stretch the window start ... start + length of each example's axis to `size_out` cells.

    Pillow's rule: half-pixel centres; with `antialias` the kernel is as wide as an output cell where that covers more
    than one input cell; only cells below `valid` take part, and weights sum to one.

    Args:
      start, length: in cells of the input; may have fractions.
      valid: cells of the axis that are picture; the rest is padding.
      kernel: "bicubic" (a = -0.5) or "bilinear".
      first: cells below it take no part either, as where a window is cut out before it is resized; None = all do.
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
