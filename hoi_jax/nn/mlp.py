"""Fully connected stacks, with dropout that does not depend on where an example lies in the batch."""

import zlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def example_dropout(
    x: Float[Array, "batch rows dim"], keys: Array | None, rate: float, tag: str
) -> Float[Array, "batch rows dim"]:
    """Zeroes entries with probability `rate` and scales the rest by 1 / (1 - rate).

    Args:
      keys: one random key per example [batch]; None turns dropout off.
      tag: names the place in the network, so that no two places share their draws.
    """
    if keys is None or rate == 0.0:
        return x
    number = zlib.crc32(tag.encode())

    def mask(key):
        return jax.random.bernoulli(jax.random.fold_in(key, number), 1.0 - rate, x.shape[1:])

    return jnp.where(jax.vmap(mask)(keys), x / (1.0 - rate), jnp.zeros_like(x))


class MLP(nn.Module):
    """Dense layers, each followed by ReLU and dropout. Input [B, N, D], output [B, N, features[-1]]."""

    features: tuple[int, ...]
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch rows dim"], dropout_keys: Array | None = None
    ) -> Float[Array, "batch rows out"]:
        for layer, width in enumerate(self.features):
            dense = nn.Dense(width, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=f"fc{layer}")
            tag = "/".join((*self.path, str(layer)))
            x = example_dropout(nn.relu(dense(x)), dropout_keys, self.dropout, tag)
        return x
