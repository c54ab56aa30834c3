"""The network of TIN (Li et al., CVPR 2019): C classifies interactions, P says whether a pair interacts at all.

Everything that belongs to one person or one object is computed once per person or object (`instances`) and then
gathered to pairs (`pairs`), so that any number of pairs can be scored in chunks after one look at the picture.
"""

from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hoi_jax.backbones.resnet import valid_cells
from hoi_jax.nn.mlp import gather_rows
from hoi_jax.ops.raster import pair_maps
from hoi_jax.system import Batch
from hoi_jax.systems.tin.appearance import Appearance, Context
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.heads import Classifier, Instances, Interactiveness


def picture_field(config: TinConfig) -> tuple[str, ...]:
    """The batch field that the network sees: the picture, R's stored map of it, or nothing."""
    if not config.uses_pixels:
        return ()
    return ("image_features",) if config.backbone.cached else ("image",)


def picture_of(batch: Batch, config: TinConfig) -> Array:
    """That field, or a black pixel per example for a network that never looks at it."""
    for name in picture_field(config):
        return batch[name]
    return jnp.zeros((batch["detections_valid"].shape[0], 1, 1, 3), jnp.uint8)


class TinNet(nn.Module):
    """R, C and P together. `num_outputs` is the number of HOI classes, or of verbs in action style.

    `num_objects`: object classes, for a classifier that sees the object's class.
    """

    config: TinConfig
    num_outputs: int
    num_objects: int = 0

    def setup(self):
        c = self.config
        dtype = jnp.bfloat16 if c.compute_dtype == "bfloat16" else None
        if c.shares_stages:
            self.appearance = Appearance(c.backbone, not c.backbone.cached, dtype)
        if c.interactiveness_pixels and c.interactiveness.own_stages:
            with_extractor = not c.shares_stages and not c.backbone.cached
            self.interactiveness_stages = Appearance(c.backbone, with_extractor, dtype)
        if c.uses_context:
            self.context = Context(c.context, dtype)
        if c.classifier.streams:
            self.classifier = Classifier(c, self.num_outputs, dtype)
        if c.interactiveness.streams:
            self.interactiveness = Interactiveness(c, dtype)

    def features(self, image: Array, image_hw_px: Int[Array, "batch 2"]) -> Float[Array, "batch h w channels"]:
        """R's map: all that is computed from pixels alone, and what a cache holds."""
        extractor = self.appearance if self.config.shares_stages else self.interactiveness_stages
        return extractor.features(image, image_hw_px)

    def instances(
        self,
        image: Array,
        image_hw_px: Int[Array, "batch 2"],
        human_xyxy_px: Float[Array, "batch humans 4"],
        object_xyxy_px: Float[Array, "batch objects 4"],
        object_class: Int[Array, "batch objects"] | None = None,
        dropout_keys: Array | None = None,
    ) -> dict[str, Array]:
        """Everything that is computed once per person or object (`heads.Instances`).

        Among it the logits of C's streams over boxes: "logits_human" [B, N, K], "logits_object" [B, M, K].
        """
        c = self.config
        out: dict[str, Array] = {}
        if c.uses_pixels:
            features = image.astype(jnp.float32) if c.backbone.cached else self.features(image, image_hw_px)
            if c.backbone.frozen:
                features = jax.lax.stop_gradient(features)
            boxes = image_hw_px, human_xyxy_px, object_xyxy_px
            if c.shares_stages:
                out["human"], out["object"] = self.appearance.vectors(features, *boxes)
            if c.interactiveness_pixels and c.interactiveness.own_stages:
                out["p_human"], out["p_object"] = self.interactiveness_stages.vectors(features, *boxes)
            if c.uses_context:
                valid = valid_cells(image_hw_px, c.backbone.stride, features.shape[1], features.shape[2])
                valid = valid | (not c.backbone.mask_padding)
                own = "" if c.shares_stages else "p_"
                context = self.context(features, valid, out[f"{own}human"], out[f"{own}object"], dropout_keys)
                out["human_context"], out["object_context"] = context
        if c.classifier.object_class:
            if object_class is None:
                object_class = jnp.zeros(object_xyxy_px.shape[:2], jnp.int32)
            out["object_class"] = jax.nn.one_hot(object_class, self.num_objects)
        if c.classifier.streams:
            logits = self.classifier.of_instances(out, dropout_keys)
            out |= {f"logits_{name}": value for name, value in logits.items()}
        if c.interactiveness.streams:
            out |= self.interactiveness.of_instances(out, dropout_keys)
        return out

    def pairs(
        self,
        instances: Instances,
        human_xyxy_px: Float[Array, "batch humans 4"],
        object_xyxy_px: Float[Array, "batch objects 4"],
        human_keypoints_px: Float[Array, "batch humans 17 3"],
        human_index: Int[Array, "batch pairs"],
        object_index: Int[Array, "batch pairs"],
        negative: Array | None = None,
        dropout_keys: Array | None = None,
    ) -> dict[str, Array]:
        """Logits of pairs: "spatial", "joint" [B, P, K] as far as C has them, "interactiveness" [B, P, 1 or 2]."""
        c, maps = self.config, None
        if {"spatial", "pose", "joint"} & {*c.classifier.streams, *c.interactiveness.streams}:
            maps = self._pair_maps(human_xyxy_px, object_xyxy_px, human_keypoints_px, human_index, object_index)
        out: dict[str, Array] = {}
        spatial = None
        if c.classifier.streams:
            out, spatial = self.classifier.of_pairs(instances, maps, human_index, object_index, dropout_keys)
        if c.interactiveness.streams:
            out["interactiveness"] = self.interactiveness.of_pairs(
                instances, maps, spatial, human_index, object_index, negative, dropout_keys
            )
        return out

    def __call__(
        self,
        image: Array,
        image_hw_px: Int[Array, "batch 2"],
        human_xyxy_px: Float[Array, "batch humans 4"],
        object_xyxy_px: Float[Array, "batch objects 4"],
        human_keypoints_px: Float[Array, "batch humans 17 3"],
        human_index: Int[Array, "batch pairs"],
        object_index: Int[Array, "batch pairs"],
        dropout_keys: Array | None = None,
        object_class: Int[Array, "batch objects"] | None = None,
        negative: Array | None = None,
    ) -> dict[str, Array]:
        """Logits of an image's people, objects and pairs.

        Args:
          image: [B, H, W, 3] uint8, or R's map where it is cached; unused, and may be any shape, for a network without
            appearance streams.
          human_index, object_index: rows of the box tables that make up each pair.
          dropout_keys: one key per example in training, None otherwise.
          object_class: class of every object, for a classifier that sees it.
          negative: [B, P] training pairs without annotation (`legacy_negative_copy` only).

        Returns:
          "human" [B, N, K], "object" [B, M, K], "spatial" and "joint" [B, P, K] as far as C has these streams, and
          "interactiveness" [B, P, 1 or 2] if P is on. All float32 and before the sigmoid.
        """
        instances = self.instances(image, image_hw_px, human_xyxy_px, object_xyxy_px, object_class, dropout_keys)
        out = logits_of_boxes(instances)
        boxes = human_xyxy_px, object_xyxy_px, human_keypoints_px
        return out | self.pairs(instances, *boxes, human_index, object_index, negative, dropout_keys)

    def _pair_maps(self, human, obj, keypoints, human_index, object_index) -> Array:
        human_of_pair, object_of_pair = gather_rows(human, human_index), gather_rows(obj, object_index)
        pose = None
        if "pose" in self.config.interactiveness.streams:
            pose = jnp.take_along_axis(keypoints, human_index[:, :, None, None], axis=1)
        maps = self.config.maps
        boxes = human_of_pair, object_of_pair
        return pair_maps(*boxes, pose, min_score=maps.pose_min_score, size=maps.size, fit=maps.fit)


def logits_of_boxes(instances: Mapping[str, Array]) -> dict[str, Array]:
    """The logits of C's streams over boxes, under the streams' names."""
    return {n.removeprefix("logits_"): value for n, value in instances.items() if n.startswith("logits_")}


def pair_logits(
    net: TinNet,
    variables: Mapping[str, Any],
    instances: Instances,
    boxes: tuple[Array, Array, Array],
    human_index: Int[Array, "batch pairs"],
    object_index: Int[Array, "batch pairs"],
    pair_valid: Array,
) -> dict[str, Array]:
    """`TinNet.pairs` in chunks of `config.pair_chunk` pairs; a chunk without any valid pair costs nothing.

    Args:
      boxes: people, objects and keypoints. pair_valid: [B, P], used pairs; the others get zeros, or anything.
    """

    def some(human: Array, obj: Array) -> dict[str, Array]:
        return cast(dict[str, Array], net.apply(dict(variables), instances, *boxes, human, obj, method="pairs"))

    batch, pairs = human_index.shape
    chunk = net.config.pair_chunk
    if not chunk or chunk >= pairs:
        return some(human_index, object_index)
    fill = -pairs % chunk
    parts = [
        jnp.moveaxis(jnp.pad(table, [(0, 0), (0, fill)]).reshape(batch, -1, chunk), 1, 0)
        for table in (human_index, object_index, pair_valid)
    ]
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(some, parts[0][0], parts[1][0]))

    def one(part: tuple[Array, Array, Array]) -> dict[str, Array]:
        human, obj, valid = part
        return jax.lax.cond(jnp.any(valid), lambda: some(human, obj), lambda: empty)

    out = jax.lax.map(one, tuple(parts))
    return {name: jnp.moveaxis(x, 0, 1).reshape((batch, -1, *x.shape[3:]))[:, :pairs] for name, x in out.items()}
