"""A linear classifier on directions instead of vectors."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoi_jax.nn.pre_norm import for_softmax


def unit(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """x / |x|; a zero vector stays zero."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))


def cosine_logits(
    x: Float[Array, "*batch dim"], weight: Float[Array, "classes dim"], gamma: float
) -> Float[Array, "*batch classes"]:
    """gamma * cos(x, w_c) (DEFR, Eq. 1), at least in float32: an error of 2^-9 in a cosine is 0.2 in a logit."""
    x, weight = unit(for_softmax(x)), unit(for_softmax(weight))
    return gamma * jnp.einsum("...d,cd->...c", x, weight, precision=jax.lax.Precision.HIGHEST)


class CosineClassifier(nn.Module):
    """DEFR's classifier. One row of `kernel` [classes, dim] per class: the place of language embeddings.

    Attributes:
      gamma: temperature, 100 in the paper.
      linear: the ablation with plain logits x w + b: rows start at unit length, the bias at zero.
    """

    classes: int
    gamma: float = 100.0
    linear: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch classes"]:
        dim = x.shape[-1]

        def start(key, shape):
            weight = nn.initializers.normal(dim**-0.5)(key, shape)
            return unit(weight) if self.linear else weight

        weight = self.param("kernel", start, (self.classes, dim))
        if not self.linear:
            return cosine_logits(x, weight, self.gamma)
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        logits = jnp.einsum("...d,cd->...c", for_softmax(x), weight, precision=jax.lax.Precision.HIGHEST)
        return logits + bias.reshape((1,) * (logits.ndim - 1) + (-1,))
