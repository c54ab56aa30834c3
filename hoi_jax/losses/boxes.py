"""Losses of box offsets; elementwise, nothing is averaged here."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def smooth_l1(
    prediction: Float[Array, "*shape"], target: Float[Array, "*shape"], *, beta: float = 1.0
) -> Float[Array, "*shape"]:
    """x^2 / (2 beta) where |x| < beta, else |x| - beta / 2, with x the difference (Girshick, ICCV 2015).

    Args:
      beta: 1 for box heads, 1/9 for region proposals.
    """
    distance = jnp.abs(prediction - target)
    return jnp.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)
