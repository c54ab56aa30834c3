"""Position codes of feature maps."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def sine_positions(
    valid: Bool[Array, "batch height width"], dim: int, *, temperature: float = 10000.0
) -> Float[Array, "batch height width {dim}"]:
    """DETR's sine code of a padded map: dim / 2 channels for y, then dim / 2 for x.

    A cell's coordinate is its running number (from 1) among the valid cells of its column (y) or row (x), divided by
    their count and times 2 pi. Channel i of a half is sin (i even) or cos (i odd) of coordinate / temperature **
    (2 floor(i / 2) / (dim / 2)). Only valid cells count, so padding changes no code of a valid cell.
    """
    if dim % 4:
        raise ValueError(f"dim is {dim}, expected a multiple of 4")
    halves = []
    for axis in (1, 2):
        count = jnp.cumsum(valid.astype(jnp.float32), axis=axis)
        last = jnp.max(count, axis=axis, keepdims=True)
        halves.append(_sine_code(count / (last + 1e-6), dim // 2, temperature))
    return jnp.concatenate(halves, axis=-1)


def sine_points(
    points_xy: Float[Array, "*batch 2"], dim: int, *, temperature: float = 10000.0
) -> Float[Array, "*batch {dim}"]:
    """The code of `sine_positions` for points, given relative to the picture: dim / 2 channels for y, then for x."""
    if dim % 4:
        raise ValueError(f"dim is {dim}, expected a multiple of 4")
    return jnp.concatenate([_sine_code(points_xy[..., i], dim // 2, temperature) for i in (1, 0)], axis=-1)


def _sine_code(
    coordinate: Float[Array, "*shape"], channels: int, temperature: float
) -> Float[Array, "*shape channels"]:
    """Of a coordinate in [0, 1]; formula in `sine_positions`."""
    exponent = 2 * (np.arange(channels) // 2) / channels
    lead = (1,) * coordinate.ndim
    frequency = jnp.asarray(temperature**-exponent, jnp.float32).reshape((*lead, channels))
    is_cosine = jnp.asarray(np.arange(channels) % 2 == 1).reshape((*lead, channels))
    angle = (coordinate * (2 * math.pi))[..., None] * frequency
    return jnp.where(is_cosine, jnp.cos(angle), jnp.sin(angle))
