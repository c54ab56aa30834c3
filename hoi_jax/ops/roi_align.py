"""Fixed-size features of boxes, cut out of a feature map."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def _sample_weights(
    start: Float[Array, "boxes"], stop: Float[Array, "boxes"], limit: Int[Array, ""], cells: int, size: int
) -> Float[Array, "boxes size cells"]:
    """Bilinear weights of `size` evenly spaced samples on one axis; all zero for a sample off the map."""
    step = (stop - start) / (size - 1)
    at = start[:, None] + jnp.arange(size, dtype=start.dtype)[None] * step[:, None]
    inside = (at >= 0) & (at <= (limit - 1).astype(at.dtype))
    distance = jnp.abs(at[:, :, None] - jnp.arange(cells, dtype=at.dtype)[None, None])
    return jnp.where(inside[:, :, None], jnp.maximum(1.0 - distance, 0.0), 0.0)


def crop_and_resize(
    features: Float[Array, "batch h w channels"],
    boxes_px: Float[Array, "batch boxes 4"],
    valid_hw: Int[Array, "batch 2"],
    *,
    stride: int,
    size: int = 7,
) -> Float[Array, "batch boxes size size channels"]:
    """Bilinear samples of each box on a size x size grid (TensorFlow's crop_and_resize, as TIN uses it).

    Sample j of an axis lies at x1 / stride + j * (x2 - x1) / (stride * (size - 1)) cells: both ends are sampled
    and there is no half-pixel shift, so boxes are (first, last) *inclusive* pixels here. A sample outside
    [0, valid - 1] is 0; cells past `valid_hw` are padding and are never read.

    The two axes are separable, so this is two small matrix products per box instead of gathers.

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
