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
    half = dim // 2
    exponent = 2 * (np.arange(half) // 2) / half
    frequency = jnp.asarray(temperature**-exponent, jnp.float32)[None, None, None]
    is_cosine = jnp.asarray(np.arange(half) % 2 == 1)[None, None, None]
    halves = []
    for axis in (1, 2):
        count = jnp.cumsum(valid.astype(jnp.float32), axis=axis)
        last = jnp.max(count, axis=axis, keepdims=True)
        angle = (count / (last + 1e-6) * (2 * math.pi))[..., None] * frequency
        halves.append(jnp.where(is_cosine, jnp.cos(angle), jnp.sin(angle)))
    return jnp.concatenate(halves, axis=-1)
