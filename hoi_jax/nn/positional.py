"""Positions in attention: sine codes of feature maps, and a learned spatial prior around a point (SMCA).

SMCA: Gao et al., ICCV 2021.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike


def sine_positions(
    valid: Bool[ArrayLike, "batch height width"], dim: int, *, temperature: float = 10000.0
) -> Float[Array, "batch height width {dim}"]:
    """DETR's sine code of a padded map: dim / 2 channels for y, then dim / 2 for x.

    The coordinate of a cell is its number (from 1) among the valid cells of its column (y) or row (x), divided by their
    count and multiplied by 2 pi. Channel i of a half is sin (i even) or cos (i odd) of coordinate / temperature **
    (2 floor(i / 2) / (dim / 2)). Only valid cells count, so padding does not affect the codes of valid cells.

    Raises:
      ValueError: `dim` is not a multiple of 4.
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
    """The code of `sine_positions` for points relative to the image: dim / 2 channels for y, then dim / 2 for x."""
    if dim % 4:
        raise ValueError(f"dim is {dim}, expected a multiple of 4")
    return jnp.concatenate([_sine_code(points_xy[..., i], dim // 2, temperature) for i in (1, 0)], axis=-1)


def _sine_code(
    coordinate: Float[Array, "*shape"], channels: int, temperature: float
) -> Float[Array, "*shape channels"]:
    """Sine code of a coordinate in [0, 1]; formula in `sine_positions`."""
    exponent = 2 * (np.arange(channels) // 2) / channels
    lead = (1,) * coordinate.ndim
    frequency = jnp.asarray(temperature**-exponent, jnp.float32).reshape((*lead, channels))
    is_cosine = jnp.asarray(np.arange(channels) % 2 == 1).reshape((*lead, channels))
    angle = (coordinate * (2 * math.pi))[..., None] * frequency
    return jnp.where(is_cosine, jnp.cos(angle), jnp.sin(angle))


SHIFT, SPREAD = 0.1, 0.15
"""Initial distance of the heads' centres from the point, and initial width (shares of the image's sides)."""


class Focus(NamedTuple):
    """Positions of queries and tokens, (x, y) relative to the unpadded image: [B, Q, 2] and [B, T, 2]."""

    points_xy: Array
    tokens_xy: Array


def spread_points(count: int) -> np.ndarray:
    """Points [count, 2] that cover (0, 1)^2 evenly for any count (the R2 sequence of Roberts, 2018)."""
    root = 1.32471795724474602596  # x^3 = x + 1
    return np.asarray((0.5 + np.arange(1, count + 1)[:, None] * np.asarray([1 / root, 1 / root**2])) % 1.0, np.float32)


class SpatialFocus(nn.Module):
    """Log of an axis-aligned Gaussian per query and head, to be added to attention logits.

    Its centre is the query's point plus a shift. Shift and width are predicted from the query; at initialisation they
    are the same for all queries.
    """

    heads: int

    @nn.compact
    def __call__(
        self, queries: Float[Array, "batch queries dim"], focus: Focus
    ) -> Float[Array, "batch heads queries tokens"]:
        """-(d_x^2 / s_x^2 + d_y^2 / s_y^2) / 2, where d is the distance of a token to the centre; float32."""
        angle = 2 * math.pi * np.arange(self.heads) / self.heads
        start = np.stack([SHIFT * np.cos(angle), SHIFT * np.sin(angle), *[np.full_like(angle, math.log(SPREAD))] * 2])

        def bias(key, shape, dtype=jnp.float32):
            return jnp.asarray(start.T.reshape(shape), dtype)

        raw = nn.Dense(4 * self.heads, kernel_init=nn.initializers.zeros, bias_init=bias, name="place")(
            queries.astype(jnp.float32)
        )
        raw = raw.reshape((*raw.shape[:2], self.heads, 4))
        centre = focus.points_xy[:, :, None] + raw[..., :2]
        scale = jnp.exp(-jnp.clip(raw[..., 2:], math.log(0.01), math.log(10.0)))
        distance = (focus.tokens_xy[:, None, None] - centre[..., None, :]) * scale[..., None, :]
        return jax.numpy.moveaxis(-0.5 * jnp.sum(jnp.square(distance), axis=-1), 1, 2)
