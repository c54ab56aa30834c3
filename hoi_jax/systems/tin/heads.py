"""C and P: everything after the vectors of people and objects and the maps of pairs.

Layers on a concatenation are split by its blocks (`nn.mlp.BlockDense`): what belongs to a person or an object is
multiplied once per person or object, and a pair costs its map convolutions and small matrix products only.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Int

from hoi_jax.nn.mlp import MLP
from hoi_jax.nn.streams import PairMapStream
from hoi_jax.systems.tin.config import TinConfig

Instances = Mapping[str, Array]
"""Vectors by name: "human" [B, N, D], "object" [B, M, D], "human_context", "object_context", "object_class" (one-hot),
with "p_" before them those of P's own stages, and what C and P computed from them once per box."""


class Classifier(nn.Module):
    """C: one logit per class from every stream."""

    config: TinConfig
    num_outputs: int
    dtype: Any = None

    def setup(self):
        c, maps = self.config.classifier, self.config.maps
        if {"spatial", "joint"} & {*c.streams}:
            self.maps = PairMapStream(maps.features, maps.kernel, self.dtype)
        for name in c.streams:
            layers = c.appearance_layers if name in ("human", "object") else c.spatial_layers
            setattr(self, name, MLP(layers, c.dropout, unit_norm=c.unit_norm))
            head = nn.Dense(
                self.num_outputs,
                kernel_init=nn.initializers.normal(0.01),
                bias_init=nn.initializers.constant(math.log(c.prior / (1 - c.prior))),
            )
            setattr(self, f"{name}_scores", head)

    def _logits(self, name: str, x: Any, keys: Array | None) -> Array:
        return getattr(self, f"{name}_scores")(getattr(self, name)(x, keys))

    def of_instances(self, instances: Instances, keys: Array | None) -> dict[str, Array]:
        """Logits of the human stream [B, N, K] and of the object stream [B, M, K]."""
        out = {}
        for name in ("human", "object"):
            if name in self.config.classifier.streams:
                x = instances[name]
                if self.config.classifier.context:
                    x = jnp.concatenate([x, instances[f"{name}_context"]], axis=-1)
                out[name] = self._logits(name, x, keys)
        return out

    def of_pairs(
        self,
        instances: Instances,
        maps: Array | None,
        human_index: Int[Array, "batch pairs"],
        object_index: Int[Array, "batch pairs"],
        keys: Array | None,
    ) -> tuple[dict[str, Array], Array | None]:
        """Logits [B, P, K] of the streams over pairs, and the features of the box maps, which P may share."""
        c = self.config.classifier
        if maps is None or not {"spatial", "joint"} & {*c.streams}:
            return {}, None
        spatial = self.maps(maps[..., :2]).astype(jnp.float32)
        shape: list[Any] = [(spatial, None)]
        if c.object_class:
            shape.append((instances["object_class"], object_index))
        out = {}
        if "spatial" in c.streams:
            first = [(instances["human"], human_index)] if c.spatial_human else []
            out["spatial"] = self._logits("spatial", [*first, *shape], keys)
        if "joint" in c.streams:
            blocks = [(instances["human"], human_index), (instances["object"], object_index)]
            if c.context:
                blocks += [
                    (instances["human_context"], human_index),
                    (instances["object_context"], object_index),
                ]
            out["joint"] = self._logits("joint", [*blocks, *shape], keys)
        return out, spatial


class Interactiveness(nn.Module):
    """P: one or two logits per pair."""

    config: TinConfig
    dtype: Any = None

    def setup(self):
        p, maps = self.config.interactiveness, self.config.maps
        init = nn.initializers.he_normal() if p.layout == "separate" else nn.initializers.xavier_uniform()
        if p.layout == "separate":
            for name in ("human", "object"):
                if name in p.streams:
                    setattr(self, name, MLP(p.stream_layers, p.dropout, kernel_init=init))
            if {"spatial", "pose"} & {*p.streams}:
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

    def of_instances(self, instances: Instances, keys: Array | None) -> dict[str, Array]:
        """What is computed once per box: the human and object streams of layout "separate"."""
        p, own = self.config.interactiveness, "p_" * self.config.interactiveness.own_stages
        if p.layout != "separate":
            return {}
        out = {}
        for name in ("human", "object"):
            if name in p.streams:
                x = instances[own + name]
                if p.context:
                    x = jnp.concatenate([x, instances[f"{name}_context"]], axis=-1)
                out[f"stream_{name}"] = getattr(self, name)(x, keys)
        return out

    def of_pairs(
        self,
        instances: Instances,
        maps: Array | None,
        spatial: Array | None,
        human_index: Int[Array, "batch pairs"],
        object_index: Int[Array, "batch pairs"],
        negative: Array | None,
        keys: Array | None,
    ) -> Array:
        """[B, P, logits]. `spatial`: C's map features. `negative` [B, P]: training pairs without annotation."""
        p = self.config.interactiveness
        if p.layout == "separate":
            joined = self._separate(instances, maps, human_index, object_index, keys)
        else:
            joined = self._joined(instances, maps, spatial, human_index, object_index, negative, keys)
        return self.score(self.pair(joined, keys))

    def _separate(self, instances: Instances, maps, human_index, object_index, keys) -> list[Any]:
        streams = self.config.interactiveness.streams
        joined = [
            (instances[f"stream_{name}"], index)
            for name, index in (("human", human_index), ("object", object_index))
            if name in streams
        ]
        channels = [0, 1] * ("spatial" in streams) + [2] * ("pose" in streams)
        if channels:
            x = self.maps(maps[..., channels[0] : channels[-1] + 1]).astype(jnp.float32)
            joined.append((self.spatial_pose(x, keys), None))
        return joined

    def _joined(self, instances: Instances, maps, spatial, human_index, object_index, negative, keys) -> list[Any]:
        p, own = self.config.interactiveness, "p_" * self.config.interactiveness.own_stages
        first, second = [], []
        if "human" in p.streams:
            first.append((instances[f"{own}human"], human_index))
            if p.context:
                branch = first if p.context_with == "human" else second
                branch.append((instances["human_context"], human_index))
        if "spatial" in p.streams:
            shared = spatial if shares_maps(self.config) else self.maps(maps[..., :2]).astype(jnp.float32)
            first.append((shared, None))
        if "pose" in p.streams:
            first.append((self.pose_maps(maps[..., 2:]).astype(jnp.float32), None))
        if "object" in p.streams:
            second.insert(0, (instances[f"{own}object"], object_index))
            if p.context:
                second.append((instances["object_context"], object_index))
        branches = [(first, self.human_branch), (second, self.object_branch)]
        joined = [mlp(blocks, keys) for blocks, mlp in branches if blocks]
        if p.legacy_negative_copy and negative is not None and len(joined) == 2:
            joined[1] = jnp.where(negative[:, :, None], joined[0], joined[1])
        return [(x, None) for x in joined]


def shares_maps(config: TinConfig) -> bool:
    """Whether P takes the features of the box maps from C: layout "joined", nothing of its own, and C has them."""
    p = config.interactiveness
    return p.layout == "joined" and not p.own_stages and bool({"spatial", "joint"} & {*config.classifier.streams})
