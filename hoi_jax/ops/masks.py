"""Instance masks given over one rectangle, read over another."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def _axis_weights(source: tuple[Array, Array], target: tuple[Array, Array], cells: int, size: int) -> Array:
    """Bilinear weights [N, size, cells] of the middles of target cells on source cells; 0 off the source.

    At the border of the source the nearest cell is read: a mask does not fade within its own rectangle.
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
    masks: Float[Array, "*batch h w"],
    source_xyxy_px: Float[Array, "*batch 4"],
    target_xyxy_px: Float[Array, "*batch 4"],
    size: int | tuple[int, int],
) -> Float[Array, "*batch rows columns"]:
    """Each mask, known on an h x w grid over its source rectangle, on a grid of `size` over the target rectangle.

    Bilinear between the middles of cells; zero outside of the source. Masks over the whole picture have the picture as
    their source, predicted ones their box.
    """
    leading, (height, width) = masks.shape[:-2], masks.shape[-2:]
    out_height, out_width = (size, size) if isinstance(size, int) else size
    grid = masks.reshape((-1, height, width)).astype(jnp.float32)
    source, target = source_xyxy_px.reshape((-1, 4)), target_xyxy_px.reshape((-1, 4))
    columns = _axis_weights((source[:, 0], source[:, 2]), (target[:, 0], target[:, 2]), width, out_width)
    rows = _axis_weights((source[:, 1], source[:, 3]), (target[:, 1], target[:, 3]), height, out_height)
    out = jnp.einsum("nyh,nhw,nxw->nyx", rows, grid, columns, precision="highest")
    return out.reshape((*leading, out_height, out_width))


def square_around(boxes_xyxy_px: Float[Array, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """The square around a box, with its centre and its longer side: the frame of letterboxed pair maps."""
    centre = (boxes_xyxy_px[..., :2] + boxes_xyxy_px[..., 2:]) / 2
    half = jnp.max(boxes_xyxy_px[..., 2:] - boxes_xyxy_px[..., :2], axis=-1, keepdims=True) / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)
