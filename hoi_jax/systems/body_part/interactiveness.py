"""The interactiveness classifier: progressive body-part masks, part filter and merge (paper, sections 3.2 to 3.4)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.nn.transformer import DecoderLayer, layer_norm
from hoi_jax.ops.boxes import cxcywh_to_xyxy
from hoi_jax.ops.token_masks import cells_under_boxes, merge_parts, progressive_masks, select_parts, unblock
from hoi_jax.schema import NUM_MERGED_PARTS, PART_TO_MERGED
from hoi_jax.systems.body_part.config import PartsConfig, TransformerConfig

LAYERS = 3
"""Layers of f_dec2, one per mask of Eqs. 3 to 5."""


class Memory(NamedTuple):
    """The encoded image: tokens, and tokens plus position code, [B, T, D]; valid [B, T]; (H, W) of the map."""

    tokens: Array
    placed: Array
    valid: Array
    grid: tuple[int, int]

    @property
    def allowed(self) -> Bool[Array, "batch 1 tokens"]:
        return self.valid[:, None]


def torch_uniform(fan_in: int) -> Any:
    """U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), PyTorch's default for weights and biases of linear layers."""
    bound = fan_in**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class Head(nn.Module):
    """Linear layers with ReLU between them, initialised as in PyTorch."""

    features: tuple[int, ...]
    last_bias: float | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch out"]:
        x = x.astype(jnp.float32)
        for number, width in enumerate(self.features):
            last = number == len(self.features) - 1
            init = torch_uniform(x.shape[-1])
            bias = nn.initializers.constant(self.last_bias) if last and self.last_bias is not None else init
            x = nn.Dense(width, kernel_init=init, bias_init=bias, name=f"fc{number}")(x)
            x = x if last else nn.relu(x)
        return x


def part_cells(
    part_boxes_px: Float[ArrayLike, "batch people 10 4"],
    part_valid: Bool[ArrayLike, "batch people 10"],
    grid: tuple[int, int],
    stride: int,
    rule: str,
) -> Bool[Array, "batch 6 tokens"]:
    """Cells of each merged part, over all people and both sides of the body (Eq. 1)."""
    cells = cells_under_boxes(part_boxes_px, *grid, stride=stride, rule=rule) & part_valid[..., None, None]
    cells = jnp.any(cells, axis=1)
    merged = [
        jnp.any(cells[:, [part for part, into in enumerate(PART_TO_MERGED) if into == number]], axis=1)
        for number in range(NUM_MERGED_PARTS)
    ]
    return jnp.stack(merged, axis=1).reshape((cells.shape[0], NUM_MERGED_PARTS, -1))


def query_cells(
    boxes_cxcywh: Float[ArrayLike, "batch queries 4"],
    image_hw_px: Int[ArrayLike, "batch 2"],
    grid: tuple[int, int],
    stride: int,
    rule: str,
) -> Bool[Array, "batch queries tokens"]:
    """Cells of each query's predicted box (Eq. 2); gradients are stopped."""
    size = image_hw_px[:, None, ::-1].astype(jnp.float32)
    boxes = cxcywh_to_xyxy(jax.lax.stop_gradient(boxes_cxcywh)) * jnp.concatenate([size, size], axis=-1)
    return cells_under_boxes(boxes, *grid, stride=stride, rule=rule).reshape((*boxes.shape[:2], -1))


class InteractivenessDecoder(nn.Module):
    """h and f_dec2 of the paper: interactiveness from the box decoder's queries and body parts.

    The four decoder layers share one final norm, which is also applied between the layers of f_dec2.
    """

    parts: PartsConfig
    transformer: TransformerConfig
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "batch queries dim"],
        memory: Memory,
        human_cells: Bool[Array, "batch queries tokens"],
        object_cells: Bool[Array, "batch queries tokens"],
        part_cells: Bool[Array, "batch 6 tokens"],
        dropout_keys: Array | None = None,
    ) -> dict[str, Array]:
        """Compute the interactiveness logits of all queries.

        Args:
          queries: d, the last normalised output of the box decoder; gradients flow into it.
          human_cells, object_cells: from `query_cells`; part_cells: from `part_cells`.

        Returns:
          "interactiveness_logits" [B, Q, 2], index 1 = interacts; for the one-pass scheme also "part_logits"
          [B, Q, 6, 2], "part_kept" [B, Q, 6], "merged_query" [B, Q, D], "masks" [3, B, Q, T] (before padding is
          removed) and "states" [4, B, Q, D], the outputs of h and of the three layers.
        """
        p, t = self.parts, self.transformer
        norm = layer_norm("norm", self.dtype)

        def new_layer(name):
            return DecoderLayer(t.heads, t.feedforward, t.dropout, self.dtype, name=name)

        layers = [new_layer(f"layer{number}") for number in range(LAYERS)]

        def decode(query, memory, masks, keys):
            """Apply f_dec2; masks [3, B, Q, T] or None."""
            x, states = jnp.zeros_like(query), []
            for number, layer in enumerate(layers):
                allowed = memory.allowed if masks is None else unblock(masks[number], memory.allowed)
                x = norm(layer(x, query, memory.tokens, memory.placed, allowed, keys))
                states.append(x)
            return states

        if p.scheme == "instance":
            states = decode(queries, memory, None, dropout_keys)
            return {"interactiveness_logits": Head((2,), name="score")(states[-1]), "states": jnp.stack(states)}
        part_query = self._part_queries(queries)  # [B, Q, 6, D]
        rules = {"other_humans": p.other_humans, "last_layer": p.layer3_mask}
        any_part = jnp.any(part_cells, axis=1, keepdims=True)
        if p.scheme == "six_pass":
            masks = self._part_masks(part_cells, any_part, human_cells, object_cells, rules)
            return self._six_passes(queries, part_query, memory, masks, decode, dropout_keys)

        importance = new_layer("importance")(
            jnp.zeros_like(queries), queries, memory.tokens, memory.placed, memory.allowed, dropout_keys
        )
        importance = norm(importance)
        logits = Head((queries.shape[-1], 2 * NUM_MERGED_PARTS), name="part_score")(importance)
        logits = logits.reshape((*logits.shape[:2], NUM_MERGED_PARTS, 2))
        scores = jax.nn.softmax(logits, axis=-1)[..., 1]
        kept = select_parts(jax.lax.stop_gradient(scores), rule=p.part_filter, share=p.keep_share, count=p.keep_count)
        weights = jnp.where(kept, scores, 0.0) if p.merge_parts == "selected" else scores
        merged = queries + jnp.sum(weights[..., None].astype(queries.dtype) * part_query, axis=2)  # Eq. 7
        cells = merge_parts(part_cells, kept)  # Eq. 6
        masks = None
        if p.masks == "progressive":
            some = jnp.any(kept, axis=-1, keepdims=True)
            masks = progressive_masks(cells, any_part, human_cells, object_cells, some, **rules)
        elif p.masks == "parts":
            masks = jnp.broadcast_to(cells[None], (LAYERS, *cells.shape))
        states = decode(merged, memory, masks, dropout_keys)
        out = {
            "interactiveness_logits": Head((2,), name="score")(states[-1]),
            "part_logits": logits,
            "part_kept": kept,
            "merged_query": merged,
            "states": jnp.stack([importance, *states]),
        }
        return out if masks is None else {**out, "masks": masks}

    def _part_queries(self, queries: Array) -> Float[Array, "batch queries 6 dim"]:
        """f_part^k(d): an FFN per part (paper), or a scale and a shift per channel (released code)."""
        dim = queries.shape[-1]
        xavier = nn.initializers.xavier_uniform()
        if self.parts.part_query == "affine":
            scale = self.param("query_scale", xavier, (NUM_MERGED_PARTS, dim))[None, None]
            shift = self.param("query_shift", xavier, (NUM_MERGED_PARTS, dim))[None, None]
            return queries[:, :, None] * scale + shift
        per_part = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", batch_axis=(0,))
        x = queries.astype(jnp.float32)
        hidden = self.param("query_hidden", per_part, (NUM_MERGED_PARTS, dim, dim))
        out = self.param("query_out", per_part, (NUM_MERGED_PARTS, dim, dim))
        bias = [
            self.param(f"query_{n}_bias", nn.initializers.zeros, (NUM_MERGED_PARTS, dim)) for n in ("hidden", "out")
        ]
        x = nn.relu(jnp.einsum("bqd,kde->bqke", x, hidden) + bias[0][None, None])
        return jnp.einsum("bqkd,kde->bqke", x, out) + bias[1][None, None]

    def _part_masks(self, part_cells, any_part, human, obj, rules) -> Array | None:
        """Masks [3, B, 6, Q, T] of the pass of every part, or None."""
        if self.parts.masks == "none":
            return None
        part = jnp.broadcast_to(part_cells[:, :, None], (*part_cells.shape[:2], human.shape[1], part_cells.shape[-1]))
        if self.parts.masks == "parts":
            return jnp.broadcast_to(part[None], (LAYERS, *part.shape))
        return progressive_masks(part, any_part[:, None], human[:, None], obj[:, None], **rules)

    def _six_passes(self, queries, part_query, memory, masks, decode, keys) -> dict[str, Array]:
        """Apply f_dec2 once to the whole image and once per part; p_int is the maximum over parts (section 3.2).

        All seven passes run as one batch of 7 B images: weights are shared, and queries attend only to queries of the
        same pass.
        """
        batch, _, dim = queries.shape
        passes = 1 + NUM_MERGED_PARTS

        def fold(x):
            return x.reshape((batch * passes, *x.shape[2:]))

        def repeat(x):
            return fold(jnp.broadcast_to(x[:, None], (batch, passes, *x.shape[1:])))

        query = jnp.concatenate([queries[:, None], jnp.moveaxis(part_query, 2, 1)], axis=1)
        if masks is not None:
            whole = jnp.ones((LAYERS, batch, 1, *masks.shape[3:]), bool)
            masks = jnp.concatenate([whole, masks], axis=2)
            masks = masks.reshape((LAYERS, batch * passes, *masks.shape[3:]))
        if keys is not None:
            keys = jax.vmap(lambda key: jax.random.split(key, passes))(keys).reshape((batch * passes,))
        seen = Memory(repeat(memory.tokens), repeat(memory.placed), repeat(memory.valid), memory.grid)
        last = decode(fold(query), seen, masks, keys)[-1].reshape((batch, passes, -1, dim))
        joined = jnp.concatenate([last[:, 1:], jnp.broadcast_to(last[:, :1], last[:, 1:].shape)], axis=-1)
        logits = jnp.moveaxis(Head((2,), name="score")(joined), 1, 2)  # [B, Q, 6, 2]
        # The softmax of two logits grows with their difference, so the largest difference gives the maximum of p.
        best = jnp.argmax(logits[..., 1] - logits[..., 0], axis=-1)
        chosen = jnp.take_along_axis(logits, best[..., None, None], axis=2)[:, :, 0]
        return {"interactiveness_logits": chosen, "part_logits": logits}
