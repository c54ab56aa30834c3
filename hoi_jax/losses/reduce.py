"""Masked means that are right on any number of devices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def valid_mean(
    values: Float[Array, "*shape"], valid: Bool[Array, "*shape"], axis_name: str | None = None
) -> Float[Array, ""]:
    """Mean of `values` over True entries of `valid` in the global batch; 0 if there are none.

    The count is averaged over `axis_name`, so that the mean of the results over devices is the global mean even
    where devices hold different numbers of valid entries. Values under False may be anything finite.
    """
    total = jnp.sum(jnp.where(valid, values, 0.0))
    count = jnp.sum(valid.astype(values.dtype))
    if axis_name is not None:
        count = jax.lax.pmean(count, axis_name)
    return total / jnp.where(count > 0, count, 1.0)


def global_count(
    count: Float[Array, "*shape"], axis_name: str | None = None, *, at_least: float = 0.0, plus: float = 0.0
) -> Float[Array, "*shape"]:
    """What to divide a device's sum by, so that the mean of the quotients over devices is sum / count of all of them.

    That count is max(count of all devices, at_least) + plus: a floor means the same on one device and on eight.
    """
    if axis_name is None:
        return jnp.maximum(count, at_least) + plus
    devices = jax.lax.psum(1, axis_name)
    return jnp.maximum(jax.lax.pmean(count, axis_name), at_least / devices) + plus / devices
