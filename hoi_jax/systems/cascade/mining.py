"""Implicit human semantic mining (paper, Eqs. 5 to 7): every place of a person looks at the places like it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def semantic_context(
    human: Float[Array, "*batch size size channels"], scale: float = 1.0
) -> Float[Array, "*batch size size channels"]:
    """C of Eq. 6: sum_j softmax_j(scale * h_i . h_j) h_j; float32, because dot products of 256 numbers are large."""
    places = human.reshape((*human.shape[:-3], -1, human.shape[-1])).astype(jnp.float32)
    logits = jnp.einsum("...ic,...jc->...ij", places, places, precision="highest") * scale
    context = jnp.einsum("...ij,...jc->...ic", jax.nn.softmax(logits, axis=-1), places, precision="highest")
    return context.reshape(human.shape).astype(human.dtype)


class NonLocal(nn.Module):
    """The released code's attention instead: 1x1 convolutions around softmax(theta . phi * scale) g, and a residual.

    Attributes:
      inner: width of theta, phi and g.
      inverted_scale: multiply logits by sqrt(inner), the defect of the release, instead of dividing.
    """

    inner: int = 128
    inverted_scale: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, human: Float[Array, "*batch size size channels"]) -> Array:
        places = human.reshape((*human.shape[:-3], -1, human.shape[-1]))
        theta, phi, g = (
            nn.Dense(self.inner, dtype=self.dtype, name=name)(places).astype(jnp.float32)
            for name in ("theta", "phi", "g")
        )
        scale = self.inner**0.5 if self.inverted_scale else self.inner**-0.5
        weights = jax.nn.softmax(jnp.einsum("...ic,...jc->...ij", theta, phi, precision="highest") * scale, axis=-1)
        mixed = jnp.einsum("...ij,...jc->...ic", weights, g, precision="highest")
        out = nn.Dense(human.shape[-1], kernel_init=nn.initializers.zeros, name="out")(mixed)
        return human + out.reshape(human.shape).astype(human.dtype)
