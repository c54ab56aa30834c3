"""Transformer blocks with normalisation before attention and MLP, as in ViT and CLIP, also for single query tokens."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

HIDDEN = -1e30
"""Logit of a masked token; finite, so that a row without any visible token has no NaN gradient."""


def quick_gelu(x: Array) -> Array:
    """x * sigmoid(1.702 x), CLIP's activation."""
    return x * jax.nn.sigmoid(1.702 * x)


def exact_gelu(x: Array) -> Array:
    """x * Phi(x), the activation of ViT and BERT."""
    return jax.nn.gelu(x, approximate=False)


def tanh_gelu(x: Array) -> Array:
    """GELU by the tanh approximation, the default of Flax, with which Google's ViTs were trained."""
    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": exact_gelu, "tanh_gelu": tanh_gelu, "relu": nn.relu}


def for_softmax(x: Array) -> Array:
    """Cast to at least float32, because bfloat16 is not precise enough for logits and normalisers."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class SelfAttention(nn.Module):
    """Multi-head self-attention in separate steps, so that keys and values can be shared by several queries.

    Parameters are named and shaped as in `nn.transformer.MultiHeadAttention`. The mean over heads of the attention
    weights is sown as "weights" into "intermediates".
    """

    dim: int
    heads: int
    dtype: Any = None

    def setup(self):
        if self.dim % self.heads:
            raise ValueError(f"{self.dim} channels are not divisible by {self.heads} heads")

        def dense():
            return nn.Dense(self.dim, kernel_init=nn.initializers.xavier_uniform(), dtype=self.dtype)

        self.query, self.key, self.value, self.out = dense(), dense(), dense(), dense()

    def queries(self, x: Float[Array, "batch tokens dim"]) -> Float[Array, "batch tokens heads channels"]:
        """Scaled queries per head."""
        split = self._split(self.query(x))
        return split * split.shape[-1] ** -0.5

    def keys_values(self, x: Float[Array, "batch tokens dim"]) -> tuple[Array, Array]:
        """Keys and values per head, [B, T, H, C] each."""
        return self._split(self.key(x)), self._split(self.value(x))

    def join(self, x: Float[Array, "batch tokens heads channels"]) -> Float[Array, "batch tokens dim"]:
        """Concatenate heads and apply the output projection."""
        return self.out(x.reshape((*x.shape[:2], -1)))

    def __call__(
        self, x: Float[Array, "batch tokens dim"], allowed: Bool[Array, "#batch tokens tokens"] | None = None
    ) -> Float[Array, "batch tokens dim"]:
        """Attend; `allowed` [B or 1, queries, keys] is True where a query may attend to a key."""
        q, (k, v) = self.queries(x), self.keys_values(x)
        logits = for_softmax(jnp.einsum("bqhc,bkhc->bhqk", q, k))
        if allowed is not None:
            logits = jnp.where(allowed[:, None], logits, HIDDEN)
        weights = jax.nn.softmax(logits, axis=-1)
        self.sow("intermediates", "weights", jnp.mean(weights, axis=1))
        return self.join(jnp.einsum("bhqk,bkhc->bqhc", weights.astype(v.dtype), v))

    def _split(self, x: Array) -> Array:
        return x.reshape((*x.shape[:2], self.heads, -1))


class PreNormBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)).

    Attributes:
      activation: activation of the hidden layer (four times as wide), a name in `ACTIVATIONS`.
      epsilon: epsilon of both norms; 1e-5 in CLIP, 1e-6 in ImageNet ViTs.
    """

    dim: int
    heads: int
    activation: str = "quick_gelu"
    epsilon: float = 1e-5
    dtype: Any = None

    def setup(self):
        def norm():
            return nn.LayerNorm(epsilon=self.epsilon, use_fast_variance=False, dtype=self.dtype)

        init = nn.initializers.xavier_uniform()
        self.norm1, self.norm2 = norm(), norm()
        self.attention = SelfAttention(self.dim, self.heads, self.dtype)
        self.linear1 = nn.Dense(4 * self.dim, kernel_init=init, dtype=self.dtype)
        self.linear2 = nn.Dense(self.dim, kernel_init=init, dtype=self.dtype)

    def __call__(
        self, x: Float[Array, "batch tokens dim"], allowed: Bool[Array, "#batch tokens tokens"] | None = None
    ) -> Float[Array, "batch tokens dim"]:
        """Apply the block; tokens attend to all tokens, or to those in `allowed`."""
        return self._mlp(x + self.attention(self.norm1(x), allowed))

    def offer(self, x: Float[Array, "batch tokens dim"]) -> tuple[Array, Array]:
        """Keys and values [B, T, H, C] of tokens, for `read` and `average`."""
        return self.attention.keys_values(self.norm1(x))

    def read(
        self,
        reader: Float[Array, " batch #pairs dim"],
        keys: Float[Array, "batch tokens heads channels"],
        values: Float[Array, "batch tokens heads channels"],
        visible: Bool[Array, "batch pairs tokens"] | None = None,
    ) -> Float[Array, "batch pairs dim"]:
        """Apply the block to readers, which attend to themselves and to visible tokens; tokens do not attend to them.

        If there is one reader for all pairs, queries and logits are computed once.
        """
        h = self.norm1(reader)
        q, (k, v) = self.attention.queries(h), self.attention.keys_values(h)
        own = for_softmax(jnp.einsum("bphc,bphc->bph", q, k))[..., None]
        logits = for_softmax(jnp.einsum("bphc,bthc->bpht", q, keys))
        if visible is not None:
            logits = jnp.where(visible[:, :, None], logits, HIDDEN)
        peak = jax.lax.stop_gradient(jnp.maximum(own, jnp.max(logits, axis=-1, keepdims=True)))
        own, others = jnp.exp(own - peak), jnp.exp(logits - peak)
        total = own + jnp.sum(others, axis=-1, keepdims=True)
        self.sow("intermediates", "attention_of_reader", jnp.mean(others / total, axis=2))
        mixed = jnp.einsum("bpht,bthc->bphc", (others / total).astype(values.dtype), values)
        mixed = mixed + (own / total).astype(v.dtype) * v
        return self._mlp(reader + self.attention.join(mixed))

    def average(
        self,
        reader: Float[Array, " batch #pairs dim"],
        values: Float[Array, "batch tokens heads channels"],
        visible: Bool[Array, "batch pairs tokens"],
    ) -> Float[Array, "batch pairs dim"]:
        """Like `read`, but with the mean of visible tokens' values (DEFR, Eq. 6), or of all if none is visible."""
        used = visible | ~jnp.any(visible, axis=-1, keepdims=True)
        weights = used / jnp.sum(used, axis=-1, keepdims=True)
        mixed = jnp.einsum("bpt,bthc->bphc", weights.astype(values.dtype), values)
        return self._mlp(reader + self.attention.join(mixed))

    def _mlp(self, x: Array) -> Array:
        return x + self.linear2(ACTIVATIONS[self.activation](self.linear1(self.norm2(x))))
