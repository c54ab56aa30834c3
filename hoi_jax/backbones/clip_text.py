"""CLIP's text tower (Radford et al., 2021)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax.nn.pre_norm import PreNormBlock


class TextTower(nn.Module):
    """Tokens through causal pre-norm blocks; the feature is read where the text ends and projected.

    Attributes:
      vocabulary, context: entries of the token table, and the longest text in tokens.
      output: length of the feature.
    """

    vocabulary: int = 49408
    context: int = 77
    width: int = 512
    layers: int = 12
    heads: int = 8
    output: int = 512
    dtype: Any = None

    @nn.compact
    def __call__(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch out"]:
        """[B, output], not normalised. `tokens` end with the largest number of their row; what follows is ignored."""
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(f"texts have {length} tokens, the longest allowed has {self.context}")
        table = self.param("token_embedding", nn.initializers.normal(0.02), (self.vocabulary, self.width))
        position = self.param("positional_embedding", nn.initializers.normal(0.01), (self.context, self.width))
        x = jnp.take(table, tokens, axis=0) + position[None, :length]
        x = x if self.dtype is None else x.astype(self.dtype)
        causal = jnp.asarray(np.tri(length, dtype=bool))[None]
        for number in range(self.layers):
            x = PreNormBlock(self.width, self.heads, dtype=self.dtype, name=f"blocks_{number}")(x, causal)
        last = jnp.take_along_axis(x, jnp.argmax(tokens, axis=-1)[:, None, None], axis=1)[:, 0]
        last = nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name="norm")(last)
        init = nn.initializers.normal(self.width**-0.5)
        projection = self.param("projection", init, (self.width, self.output))
        return jnp.dot(last, projection.astype(last.dtype), precision=jax.lax.Precision.HIGHEST)
