"""Transformer of DETR (Carion et al., ECCV 2020): masked attention, encoder and decoder layers.

Normalisation follows every residual sum. In boolean masks, True = may be attended to.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.nn.dropout import example_dropout
from hoi_jax.nn.positional import Focus, SpatialFocus

# PyTorch applies Xavier initialisation to one matrix of the three stacked input projections.
packed_xavier_uniform = nn.initializers.variance_scaling(0.5, "fan_avg", "uniform")


class MultiHeadAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v per head, softmax in float32.

    The mean over heads of the attention weights [B, Q, K] is sown as "weights" into "intermediates".

    Attributes:
      heads: number of heads, a divisor of the width of the query.
      dropout: dropout rate of the attention weights, which are not renormalised.
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
        allowed: Bool[Array, " batch #queries keys"] | None = None,
        dropout_keys: Array | None = None,
        bias: Float[Array, "batch heads queries keys"] | None = None,
    ) -> Float[Array, "batch queries dim"]:
        """Attend; the result has the width of `query`.

        Args:
          allowed: True = the query may attend to the token, for all heads; a row without any attends to all tokens.
          dropout_keys: one key per example in training, None otherwise.
          bias: added to the logits.
        """
        dim = query.shape[-1]
        if dim % self.heads:
            raise ValueError(f"{dim} channels are not divisible by {self.heads} heads")
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


def layer_norm(name: str, dtype: Any = None) -> nn.LayerNorm:
    """LayerNorm as in PyTorch (variance of the centred values, epsilon 1e-5)."""
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=dtype, name=name)


class _Residuals(nn.Module):
    """Common parts of encoder and decoder layers: residual sums, and the two-layer ReLU network at the end."""

    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    dtype: Any = None

    def _add(self, x: Array, branch: Array, number: int, keys: Array | None) -> Array:
        """norm(x + dropout(branch)) of the layer's residual sum `number`."""
        branch = example_dropout(branch, keys, self.dropout, "/".join((*self.path, f"residual{number}")))
        return layer_norm(f"norm{number}", self.dtype)(x + branch)

    def _feedforward(self, x: Array, keys: Array | None) -> Array:
        init = nn.initializers.xavier_uniform()
        hidden = nn.relu(nn.Dense(self.feedforward, kernel_init=init, dtype=self.dtype, name="linear1")(x))
        hidden = example_dropout(hidden, keys, self.dropout, "/".join((*self.path, "hidden")))
        return nn.Dense(x.shape[-1], kernel_init=init, dtype=self.dtype, name="linear2")(hidden)

    def _attention(self, name: str) -> MultiHeadAttention:
        return MultiHeadAttention(self.heads, self.dropout, self.dtype, name=name)


class EncoderLayer(_Residuals):
    """Self-attention among tokens, then the feed-forward network."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch tokens dim"],
        position: Float[Array, "batch tokens dim"],
        allowed: Bool[Array, " batch #tokens tokens"] | None = None,
        dropout_keys: Array | None = None,
    ) -> Float[Array, "batch tokens dim"]:
        """Apply the layer; `position` is added to queries and keys, not to values."""
        placed = x + position
        attended = self._attention("self_attention")(placed, placed, x, allowed, dropout_keys)
        x = self._add(x, attended, 1, dropout_keys)
        return self._add(x, self._feedforward(x, dropout_keys), 2, dropout_keys)


class DecoderLayer(_Residuals):
    """Self-attention among queries, attention to the image's tokens, feed-forward network."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch queries dim"],
        query_position: Float[Array, "batch queries dim"],
        memory: Float[Array, "batch tokens dim"],
        placed_memory: Float[Array, "batch tokens dim"],
        allowed: Bool[Array, " batch #queries tokens"] | None = None,
        dropout_keys: Array | None = None,
        focus: Focus | None = None,
    ) -> Float[Array, "batch queries dim"]:
        """Apply the layer.

        Args:
          x, query_position: content of the queries, and their position code, which is added in queries and keys.
          memory, placed_memory: values of the image's tokens, and their keys (memory plus position code).
          allowed: tokens to which a query may attend; the attention among queries is never masked.
          dropout_keys: one key per example in training, None otherwise.
          focus: positions for a spatial prior around each query's point (`SpatialFocus`); None = no prior, as in DETR.
        """
        placed = x + query_position
        attended = self._attention("self_attention")(placed, placed, x, None, dropout_keys)
        x = self._add(x, attended, 1, dropout_keys)
        placed = x + query_position
        bias = None if focus is None else SpatialFocus(self.heads, name="focus")(placed, focus)
        attended = self._attention("cross_attention")(placed, placed_memory, memory, allowed, dropout_keys, bias)
        x = self._add(x, attended, 2, dropout_keys)
        return self._add(x, self._feedforward(x, dropout_keys), 3, dropout_keys)


class Encoder(nn.Module):
    """A stack of encoder layers without a final norm."""

    layers: int = 6
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, position: Array, allowed: Array | None = None, dropout_keys: Array | None = None):
        """Apply all layers; shapes as in `EncoderLayer`."""
        for number in range(self.layers):
            layer = EncoderLayer(self.heads, self.feedforward, self.dropout, self.dtype, name=f"layer{number}")
            x = layer(x, position, allowed, dropout_keys)
        return x


class Decoder(nn.Module):
    """A stack of decoder layers with zeros as initial queries; the outputs of all layers share one final norm."""

    layers: int = 6
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        query_position: Float[Array, "batch queries dim"],
        memory: Float[Array, "batch tokens dim"],
        placed_memory: Float[Array, "batch tokens dim"],
        allowed: Bool[Array, " batch #queries tokens"] | None = None,
        dropout_keys: Array | None = None,
        focus: Focus | None = None,
    ) -> Float[Array, "layers batch queries dim"]:
        """Normalised outputs of all layers; each layer reads the previous output without the norm."""
        x, states = jnp.zeros_like(query_position), []
        norm = layer_norm("norm", self.dtype)
        for number in range(self.layers):
            layer = DecoderLayer(self.heads, self.feedforward, self.dropout, self.dtype, name=f"layer{number}")
            x = layer(x, query_position, memory, placed_memory, allowed, dropout_keys, focus)
            states.append(norm(x))
        return jnp.stack(states)
