"""Multi-head attention with boolean masks (Vaswani et al., 2017), laid out as in DETR."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.nn.mlp import example_dropout

# PyTorch packs the three input projections into one matrix of three times the height and applies Xavier to that.
packed_xavier_uniform = nn.initializers.variance_scaling(0.5, "fan_avg", "uniform")


class MultiHeadAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v per head, softmax in float32.

    The mean over heads of the attention weights [B, Q, K] is sown as "weights" into "intermediates".

    Attributes:
      heads: must divide the width of the query.
      dropout: rate on the attention weights, which are not scaled to sum to one again.
    """

    heads: int
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "batch queries dim"],
        key: Float[Array, "batch keys dim"],
        value: Float[Array, "batch keys dim"],
        allowed: Bool[Array, "batch #queries keys"] | None = None,
        dropout_keys: Array | None = None,
        bias: Float[Array, "batch heads queries keys"] | None = None,
    ) -> Float[Array, "batch queries dim"]:
        """Width of `query`.

        Args:
          allowed: True = the query sees the token, the same for all heads; a row without any sees all tokens.
          bias: added to the logits.
        """
        dim = query.shape[-1]
        if dim % self.heads:
            raise ValueError(f"{dim} channels cannot be split among {self.heads} heads")
        split = (self.heads, dim // self.heads)

        def project(x, name):
            y = nn.Dense(dim, kernel_init=packed_xavier_uniform, dtype=self.dtype, name=name)(x)
            return y.reshape((*y.shape[:2], *split))

        q, k, v = project(query, "query"), project(key, "key"), project(value, "value")
        logits = jnp.einsum("bqhd,bkhd->bhqk", q * split[1] ** -0.5, k).astype(jnp.float32)
        if bias is not None:
            logits = logits + bias
        if allowed is not None:
            logits = jnp.where(allowed[:, None], logits, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(logits, axis=-1)
        self.sow("intermediates", "weights", jnp.mean(weights, axis=1))
        rows = weights.reshape((weights.shape[0], -1, weights.shape[-1]))
        rows = example_dropout(rows, dropout_keys, self.dropout, "/".join((*self.path, "weights")))
        out = jnp.einsum("bhqk,bkhd->bqhd", rows.reshape(weights.shape).astype(v.dtype), v)
        out = out.reshape((*out.shape[:2], dim))
        return nn.Dense(dim, kernel_init=nn.initializers.xavier_uniform(), dtype=self.dtype, name="out")(out)
