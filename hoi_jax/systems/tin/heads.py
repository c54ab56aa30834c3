"""C and P: the layers after the vectors of people and objects and the pair maps.

Layers on a concatenation are split into its blocks (`nn.mlp.BlockDense`): products with features of a person or object
are computed once per person or object, so that a pair costs only its map convolutions and small matrix products.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Int

from hoi_jax.nn.mlp import MLP
from hoi_jax.nn.streams import PairMapStream
from hoi_jax.systems.tin.config import TinConfig

Block = tuple[Array, Array | None]
"""A block of a concatenation: rows, and the row of every pair (None if the rows are the pairs); see `nn.mlp.Blocks`."""


class Sides(NamedTuple):
    """Rows [B, N, D] of people and [B, M, D] of objects; None if the network does not compute them."""

    human: Array | None = None
    object: Array | None = None


class BoxFeatures(NamedTuple):
    """Features computed once per person or object.

    Attributes:
      vectors: outputs of C's residual stages, which P shares unless it has stages of its own.
      own_vectors: outputs of P's own stages.
      context: iCAN's context vectors.
      object_class: [B, M, objects] one-hot.
      logits: logits of C's human and object streams, [B, N, K] and [B, M, K].
      streams: P's human and object streams (layout "separate").
    """

    vectors: Sides = Sides()
    own_vectors: Sides = Sides()
    context: Sides = Sides()
    object_class: Array | None = None
    logits: Sides = Sides()
    streams: Sides = Sides()


class PairIndex(NamedTuple):
    """Rows of the person and of the object of every pair, [B, P] each."""

    human: Int[Array, "batch pairs"]
    object: Int[Array, "batch pairs"]


def _block(rows: Array | None, index: Array | None = None) -> Block:
    if rows is None:
        raise ValueError("a stream reads features that this configuration does not compute")
    return rows, index


def _with_context(vectors: Array | None, context: Array | None, wanted: bool) -> Array:
    """Vectors, with the context vectors appended if `wanted`."""
    parts = [_block(vectors)[0], _block(context)[0]] if wanted else [_block(vectors)[0]]
    return jnp.concatenate(parts, axis=-1)


def _map_channels(streams: tuple[str, ...]) -> slice | None:
    """Channels of the pair maps that streams read: 0 and 1 are the boxes ("spatial"), 2 is the pose ("pose")."""
    if "spatial" in streams:
        return slice(0, 3) if "pose" in streams else slice(0, 2)
    return slice(2, 3) if "pose" in streams else None


class Classifier(nn.Module):
    """C, with one logit per class from every stream."""

    config: TinConfig
    num_outputs: int
    dtype: Any = None

    def setup(self):
        c, maps = self.config.classifier, self.config.maps
        if "spatial" in c.streams or "joint" in c.streams:
            self.maps = PairMapStream(maps.features, maps.kernel, self.dtype)
        if "human" in c.streams:
            self.human, self.human_scores = self._stream(c.appearance_layers)
        if "object" in c.streams:
            self.object, self.object_scores = self._stream(c.appearance_layers)
        if "spatial" in c.streams:
            self.spatial, self.spatial_scores = self._stream(c.spatial_layers)
        if "joint" in c.streams:
            self.joint, self.joint_scores = self._stream(c.spatial_layers)

    def _stream(self, layers: tuple[int, ...]) -> tuple[MLP, nn.Dense]:
        c = self.config.classifier
        prior = nn.initializers.constant(math.log(c.prior / (1 - c.prior)))
        scores = nn.Dense(self.num_outputs, kernel_init=nn.initializers.normal(0.01), bias_init=prior)
        return MLP(layers, c.dropout, unit_norm=c.unit_norm), scores

    def of_boxes(self, boxes: BoxFeatures, keys: Array | None) -> Sides:
        """Logits of the human stream [B, N, K] and of the object stream [B, M, K]."""
        c, vectors, context = self.config.classifier, boxes.vectors, boxes.context
        human = obj = None
        if "human" in c.streams:
            human = self.human_scores(self.human(_with_context(vectors.human, context.human, c.context), keys))
        if "object" in c.streams:
            obj = self.object_scores(self.object(_with_context(vectors.object, context.object, c.context), keys))
        return Sides(human, obj)

    def of_pairs(
        self, boxes: BoxFeatures, maps: Array | None, index: PairIndex, keys: Array | None
    ) -> tuple[dict[str, Array], Array | None]:
        """(logits [B, P, K] of the pair streams, features of the box maps for sharing with P)."""
        c = self.config.classifier
        if maps is None or not ("spatial" in c.streams or "joint" in c.streams):
            return {}, None
        shape = self.maps(maps[..., :2]).astype(jnp.float32)
        kind = [_block(boxes.object_class, index.object)] if c.object_class else []
        logits = {}
        if "spatial" in c.streams:
            person = [_block(boxes.vectors.human, index.human)] if c.spatial_human else []
            logits["spatial"] = self.spatial_scores(self.spatial([*person, (shape, None), *kind], keys))
        if "joint" in c.streams:
            seen = [_block(boxes.vectors.human, index.human), _block(boxes.vectors.object, index.object)]
            if c.context:
                seen += [_block(boxes.context.human, index.human), _block(boxes.context.object, index.object)]
            logits["joint"] = self.joint_scores(self.joint([*seen, (shape, None), *kind], keys))
        return logits, shape


class Interactiveness(nn.Module):
    """P, with one or two logits per pair."""

    config: TinConfig
    dtype: Any = None

    def setup(self):
        p, maps = self.config.interactiveness, self.config.maps
        init = nn.initializers.he_normal() if p.layout == "separate" else nn.initializers.xavier_uniform()
        if p.layout == "separate":
            if "human" in p.streams:
                self.human = MLP(p.stream_layers, p.dropout, kernel_init=init)
            if "object" in p.streams:
                self.object = MLP(p.stream_layers, p.dropout, kernel_init=init)
            if _map_channels(p.streams):
                self.maps = PairMapStream(maps.features, maps.kernel, self.dtype)
                self.spatial_pose = MLP(p.stream_layers, p.dropout, kernel_init=init)
        else:
            if "spatial" in p.streams and not shares_maps(self.config):
                self.maps = PairMapStream(maps.features, maps.kernel, self.dtype)
            if "pose" in p.streams:
                self.pose_maps = PairMapStream(p.pose_features, maps.kernel, self.dtype)
            self.human_branch = MLP(p.stream_layers, p.dropout, kernel_init=init)
            self.object_branch = MLP(p.stream_layers, p.dropout, kernel_init=init)
        self.pair = MLP(p.pair_layers, p.dropout, kernel_init=init)
        self.score = nn.Dense(p.logits)

    def _vectors(self, boxes: BoxFeatures) -> Sides:
        return boxes.own_vectors if self.config.interactiveness.own_stages else boxes.vectors

    def of_boxes(self, boxes: BoxFeatures, keys: Array | None) -> Sides:
        """The human and object streams of layout "separate"."""
        p, vectors, context = self.config.interactiveness, self._vectors(boxes), boxes.context
        human = obj = None
        if p.layout == "separate" and "human" in p.streams:
            human = self.human(_with_context(vectors.human, context.human, p.context), keys)
        if p.layout == "separate" and "object" in p.streams:
            obj = self.object(_with_context(vectors.object, context.object, p.context), keys)
        return Sides(human, obj)

    def of_pairs(
        self,
        boxes: BoxFeatures,
        maps: Array | None,
        shape: Array | None,
        index: PairIndex,
        negative: Array | None,
        keys: Array | None,
    ) -> Array:
        """Logits of pairs, [B, P, logits].

        Args:
          shape: C's features of the box maps.
          negative: [B, P] training pairs without annotation.
        """
        if self.config.interactiveness.layout == "separate":
            blocks = self._separate(boxes, maps, index, keys)
        else:
            blocks = self._joined(boxes, maps, shape, index, negative, keys)
        return self.score(self.pair(blocks, keys))

    def _separate(self, boxes: BoxFeatures, maps: Array | None, index: PairIndex, keys: Array | None) -> list[Block]:
        """Blocks of layout "separate": human, object and maps, each through its own layers."""
        streams = self.config.interactiveness.streams
        blocks: list[Block] = []
        if "human" in streams:
            blocks.append(_block(boxes.streams.human, index.human))
        if "object" in streams:
            blocks.append(_block(boxes.streams.object, index.object))
        channels = _map_channels(streams)
        if channels and maps is not None:
            drawn = self.maps(maps[..., channels]).astype(jnp.float32)
            blocks.append((self.spatial_pose(drawn, keys), None))
        return blocks

    def _joined(
        self,
        boxes: BoxFeatures,
        maps: Array | None,
        shape: Array | None,
        index: PairIndex,
        negative: Array | None,
        keys: Array | None,
    ) -> list[Block]:
        """Blocks of layout "joined": the human with the maps in one branch, the object in the other (released)."""
        p, vectors = self.config.interactiveness, self._vectors(boxes)
        human_blocks: list[Block] = []
        object_blocks: list[Block] = []
        human_context = p.context and "human" in p.streams
        if "human" in p.streams:
            human_blocks.append(_block(vectors.human, index.human))
        if human_context and p.context_with == "human":
            human_blocks.append(_block(boxes.context.human, index.human))
        if "spatial" in p.streams and maps is not None:
            own = None if shares_maps(self.config) else self.maps(maps[..., :2]).astype(jnp.float32)
            human_blocks.append(_block(shape if own is None else own))
        if "pose" in p.streams and maps is not None:
            human_blocks.append((self.pose_maps(maps[..., 2:]).astype(jnp.float32), None))
        if "object" in p.streams:
            object_blocks.append(_block(vectors.object, index.object))
        if human_context and p.context_with == "object":
            object_blocks.append(_block(boxes.context.human, index.human))
        if p.context and "object" in p.streams:
            object_blocks.append(_block(boxes.context.object, index.object))
        human = self.human_branch(human_blocks, keys) if human_blocks else None
        obj = self.object_branch(object_blocks, keys) if object_blocks else None
        if p.legacy_negative_copy and negative is not None and human is not None and obj is not None:
            obj = jnp.where(negative[:, :, None], human, obj)
        return [(rows, None) for rows in (human, obj) if rows is not None]


def shares_maps(config: TinConfig) -> bool:
    """Whether P takes the features of the box maps from C: layout "joined", no stages of its own, and C has them."""
    p, streams = config.interactiveness, config.classifier.streams
    return p.layout == "joined" and not p.own_stages and ("spatial" in streams or "joint" in streams)
