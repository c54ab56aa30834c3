"""Which patches of a square picture lie under the boxes of a pair."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def patches_under_boxes(
    boxes_xyxy: Float[Array, "*batch 4"], grid: tuple[int, int], patch: int
) -> Bool[Array, "*batch patches"]:
    """Patches (row by row) that a box touches: corners are rounded outwards to patch borders.

    Args:
      boxes_xyxy: in pixels of the picture that the patches were cut from; parts outside are ignored, and a box whose
        corners changed places is put right.
    """
    rows, columns = grid
    cells = jnp.reshape(boxes_xyxy / patch, (*boxes_xyxy.shape[:-1], 2, 2))
    low, high = jnp.floor(jnp.min(cells, axis=-2)), jnp.ceil(jnp.max(cells, axis=-2))

    def span(axis: int, count: int) -> Array:
        cell = jnp.arange(count, dtype=low.dtype).reshape((1,) * (low.ndim - 1) + (count,))
        return (cell >= low[..., axis, None]) & (cell < high[..., axis, None])

    covered = span(1, rows)[..., :, None] & span(0, columns)[..., None, :]
    return covered.reshape((*covered.shape[:-2], rows * columns))


def pair_patches(
    human_xyxy: Float[Array, "*batch 4"], object_xyxy: Float[Array, "*batch 4"], grid: tuple[int, int], patch: int
) -> Bool[Array, "*batch patches"]:
    """Patches under either box of each pair, not those between the boxes (DEFR, section 7.1.1)."""
    return patches_under_boxes(human_xyxy, grid, patch) | patches_under_boxes(object_xyxy, grid, patch)
