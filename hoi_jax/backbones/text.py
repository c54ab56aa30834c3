"""Text encoders: CLIP's text tower (Radford et al., 2021) and BERT (Devlin et al., 2019) of any size (MiniLM)."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.nn.pre_norm import PreNormBlock, SelfAttention, exact_gelu
from hoi_jax.serialization.conversion import Entries, linear


class TextTower(nn.Module):
    """Text feature by causal pre-norm blocks, read at the end token and projected.

    Attributes:
      vocabulary, context: number of tokens in the table, and maximum length of texts.
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
        """Features [B, output], not normalised. Texts end with the largest number of their row; the rest is ignored."""
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(f"texts have {length} tokens, expected at most {self.context}")
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


def _norm(name: str, dtype: Any) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-12, use_fast_variance=False, dtype=dtype, name=name)


class BertLayer(nn.Module):
    """Attention, then a two-layer GELU network, each followed by a residual sum and a norm."""

    heads: int
    feedforward: int
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch tokens dim"], allowed: Bool[Array, "batch tokens tokens"]
    ) -> Float[Array, "batch tokens dim"]:
        dim = x.shape[-1]
        x = _norm("norm1", self.dtype)(x + SelfAttention(dim, self.heads, self.dtype, name="attention")(x, allowed))
        hidden = exact_gelu(nn.Dense(self.feedforward, dtype=self.dtype, name="linear1")(x))
        return _norm("norm2", self.dtype)(x + nn.Dense(dim, dtype=self.dtype, name="linear2")(hidden))


class Bert(nn.Module):
    """Hidden states of the last layer from word pieces.

    Attributes:
      vocabulary, positions: sizes of the tables of word pieces and positions.
    """

    vocabulary: int = 30522
    positions: int = 512
    width: int = 768
    layers: int = 12
    heads: int = 12
    feedforward: int = 3072
    dtype: Any = None

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch length"], valid: Bool[Array, "batch length"]
    ) -> Float[Array, "batch length dim"]:
        """Hidden states of tokens; `valid` is False for padding, which is masked. All tokens are of segment 0."""
        length = tokens.shape[1]
        if length > self.positions:
            raise ValueError(f"texts have {length} tokens, expected at most {self.positions}")
        init = nn.initializers.normal(0.02)
        words = self.param("word_embedding", init, (self.vocabulary, self.width))
        places = self.param("positional_embedding", init, (self.positions, self.width))
        segments = self.param("segment_embedding", init, (2, self.width))
        x = jnp.take(words, tokens, axis=0) + (places[:length] + segments[:1])[None]
        x = _norm("norm", self.dtype)(x)
        allowed = jnp.broadcast_to(valid[:, None, :], (len(tokens), length, length))
        for number in range(self.layers):
            x = BertLayer(self.heads, self.feedforward, self.dtype, name=f"blocks_{number}")(x, allowed)
        return x


_TABLES = {
    "word_embeddings": "word_embedding",
    "position_embeddings": "positional_embedding",
    "token_type_embeddings": "segment_embedding",
}
_LINEAR = {
    **{f"attention.self.{name}": f"attention/{name}" for name in ("query", "key", "value")},
    "attention.output.dense": "attention/out",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
}
_NORMS = {"attention.output.LayerNorm": "norm1", "output.LayerNorm": "norm2"}
_LEAF = {"weight": "scale", "bias": "bias", "gamma": "scale", "beta": "bias"}


def bert_rule(name: str, tensor: np.ndarray, *, prefix: str = "text") -> Entries | None:
    """Entries, below "params/`prefix`", for a tensor of Hugging Face's BERT, without pooler and other heads."""
    name = name.removeprefix("bert.")
    if name.startswith(("pooler.", "cls.")) or name == "embeddings.position_ids":
        return []
    if match := re.fullmatch(r"embeddings\.(\w+_embeddings)\.weight", name):
        return [(f"params/{prefix}/{_TABLES[match[1]]}", tensor)] if match[1] in _TABLES else None
    if match := re.fullmatch(r"embeddings\.LayerNorm\.(\w+)", name):
        return [(f"params/{prefix}/norm/{_LEAF[match[1]]}", tensor)] if match[1] in _LEAF else None
    match = re.fullmatch(r"encoder\.layer\.(\d+)\.([\w.]+)\.(\w+)", name)
    if not match:
        return None
    number, layer, leaf = match.groups()
    path = f"{prefix}/blocks_{number}"
    if layer in _LINEAR and leaf in ("weight", "bias"):
        return linear(f"{path}/{_LINEAR[layer]}", leaf, tensor)
    if layer in _NORMS and leaf in _LEAF:
        return [(f"params/{path}/{_NORMS[layer]}/{_LEAF[leaf]}", tensor)]
    return None
