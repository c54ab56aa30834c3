"""The network of TIN (Li et al., CVPR 2019): C classifies interactions, P predicts whether a pair interacts at all.

Everything that belongs to one person or one object is computed once per person or object (`TinNet.boxes`) and then
gathered to pairs (`TinNet.pairs`), so that any number of pairs can be scored in chunks after one pass over the image.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.resnet import valid_cells
from hoi_jax.ops.pairs import gather_rows
from hoi_jax.ops.raster import pair_maps
from hoi_jax.system import Batch
from hoi_jax.systems.tin.appearance import Appearance, Context
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.heads import BoxFeatures, Classifier, Interactiveness, PairIndex, Sides


def image_field(config: TinConfig) -> tuple[str, ...]:
    """The batch field that the network reads: the image, R's cached map of it, or none."""
    if not config.uses_pixels:
        return ()
    return ("image_features",) if config.backbone.cached else ("image",)


def image_of(batch: Batch, config: TinConfig) -> Array:
    """The field of `image_field`, or one black pixel per example if the network reads none."""
    for name in image_field(config):
        return jnp.asarray(batch[name])
    return jnp.zeros((batch["detections_valid"].shape[0], 1, 1, 3), jnp.uint8)


class PairInputs(NamedTuple):
    """Inputs of `TinNet`: an image batch, tables of people and objects, and pairs of their rows.

    Attributes:
      image: [B, H, W, 3] uint8, or R's map if it is cached; any shape for a network without appearance streams.
      image_hw_px: [B, 2].
      human_xyxy_px, human_keypoints_px: [B, N, 4], [B, N, 17, 3].
      object_xyxy_px, object_class: [B, M, 4], [B, M].
      human_index, object_index: [B, P] rows of these tables.
      negative: [B, P] training pairs without annotation (`legacy_negative_copy` only).
    """

    image: ArrayLike
    image_hw_px: ArrayLike
    human_xyxy_px: ArrayLike
    human_keypoints_px: ArrayLike
    object_xyxy_px: ArrayLike
    object_class: ArrayLike
    human_index: ArrayLike
    object_index: ArrayLike
    negative: ArrayLike | None = None


class TinNet(nn.Module):
    """R, C and P together.

    Attributes:
      num_outputs: number of HOI classes, or of verbs in action style.
      num_objects: number of object classes, for a classifier that reads the object's class.
    """

    config: TinConfig
    num_outputs: int
    num_objects: int = 0

    def setup(self):
        c = self.config
        dtype = c.dtype
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

    def features(self, image: ArrayLike, image_hw_px: Int[ArrayLike, "batch 2"]) -> Float[Array, "batch h w channels"]:
        """R's map, which depends on pixels alone and can be cached."""
        extractor = self.appearance if self.config.shares_stages else self.interactiveness_stages
        return extractor.features(image, image_hw_px)

    def boxes(self, inputs: PairInputs, dropout_keys: Array | None = None) -> BoxFeatures:
        """Features computed once per person or object; pairs of `inputs` are not read."""
        c = self.config
        out = self._appearance(inputs, dropout_keys) if c.uses_pixels else BoxFeatures()
        if c.classifier.object_class:
            out = out._replace(object_class=jax.nn.one_hot(inputs.object_class, self.num_objects))
        if c.classifier.streams:
            out = out._replace(logits=self.classifier.of_boxes(out, dropout_keys))
        if c.interactiveness.streams:
            out = out._replace(streams=self.interactiveness.of_boxes(out, dropout_keys))
        return out

    def _appearance(self, inputs: PairInputs, dropout_keys: Array | None) -> BoxFeatures:
        """Appearance and context vectors of people and objects."""
        c, hw = self.config, inputs.image_hw_px
        features = inputs.image.astype(jnp.float32) if c.backbone.cached else self.features(inputs.image, hw)
        if c.backbone.frozen:
            features = jax.lax.stop_gradient(features)
        tables = hw, inputs.human_xyxy_px, inputs.object_xyxy_px
        out = BoxFeatures()
        if c.shares_stages:
            out = out._replace(vectors=Sides(*self.appearance.vectors(features, *tables)))
        if c.interactiveness_pixels and c.interactiveness.own_stages:
            out = out._replace(own_vectors=Sides(*self.interactiveness_stages.vectors(features, *tables)))
        if c.uses_context:
            valid = valid_cells(hw, c.backbone.stride, features.shape[1], features.shape[2])
            valid = valid | (not c.backbone.mask_padding)
            human, obj = cast(tuple[Array, Array], out.vectors if c.shares_stages else out.own_vectors)
            out = out._replace(context=Sides(*self.context(features, valid, human, obj, dropout_keys)))
        return out

    def pairs(self, boxes: BoxFeatures, inputs: PairInputs, dropout_keys: Array | None = None) -> dict[str, Array]:
        """Logits of pairs: C's "spatial" and "joint" [B, P, K], if enabled, and "interactiveness" [B, P, 1 or 2]."""
        c, index = self.config, PairIndex(inputs.human_index, inputs.object_index)
        streams = {*c.classifier.streams, *c.interactiveness.streams}
        maps = self._pair_maps(inputs) if {"spatial", "pose", "joint"} & streams else None
        logits: dict[str, Array] = {}
        shape = None
        if c.classifier.streams:
            logits, shape = self.classifier.of_pairs(boxes, maps, index, dropout_keys)
        if c.interactiveness.streams:
            interactive = self.interactiveness.of_pairs(boxes, maps, shape, index, inputs.negative, dropout_keys)
            logits["interactiveness"] = interactive
        return logits

    def __call__(self, inputs: PairInputs, dropout_keys: Array | None = None) -> dict[str, Array]:
        """Compute the logits of people, objects and pairs.

        Args:
          dropout_keys: one key per example in training, None otherwise.

        Returns:
          "human" [B, N, K], "object" [B, M, K], "spatial" and "joint" [B, P, K] for the streams that C has, and
          "interactiveness" [B, P, 1 or 2] if P is enabled. All float32, before the sigmoid.
        """
        boxes = self.boxes(inputs, dropout_keys)
        return logits_of_boxes(boxes) | self.pairs(boxes, inputs, dropout_keys)

    def _pair_maps(self, inputs: PairInputs) -> Array:
        human = gather_rows(inputs.human_xyxy_px, inputs.human_index)
        obj = gather_rows(inputs.object_xyxy_px, inputs.object_index)
        pose = None
        if "pose" in self.config.interactiveness.streams:
            pose = gather_rows(inputs.human_keypoints_px, inputs.human_index)
        maps = self.config.maps
        return pair_maps(human, obj, pose, min_score=maps.pose_min_score, size=maps.size, fit=maps.fit)


def logits_of_boxes(boxes: BoxFeatures) -> dict[str, Array]:
    """Logits of C's human and object streams, by the streams' names."""
    logits = {"human": boxes.logits.human, "object": boxes.logits.object}
    return {name: rows for name, rows in logits.items() if rows is not None}


def chunked_logits(
    net: TinNet, variables: Mapping[str, Any], inputs: PairInputs, pair_valid: Bool[Array, "batch pairs"]
) -> dict[str, Array]:
    """Logits as from `TinNet.__call__`, for prediction, with pairs in chunks of `config.pair_chunk`.

    Chunks without any valid pair are skipped; the values of unused pairs are undefined.
    """
    boxes = cast(BoxFeatures, net.apply(dict(variables), inputs, method="boxes"))

    def some(human: Array, obj: Array) -> dict[str, Array]:
        chosen = inputs._replace(human_index=human, object_index=obj)
        return cast(dict[str, Array], net.apply(dict(variables), boxes, chosen, method="pairs"))

    of_boxes = logits_of_boxes(boxes)
    batch, pairs = inputs.human_index.shape
    chunk = net.config.pair_chunk
    if not chunk or chunk >= pairs:
        return of_boxes | some(inputs.human_index, inputs.object_index)
    fill = -pairs % chunk
    parts = [
        jnp.moveaxis(jnp.pad(table, [(0, 0), (0, fill)]).reshape(batch, -1, chunk), 1, 0)
        for table in (inputs.human_index, inputs.object_index, pair_valid)
    ]
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(some, parts[0][0], parts[1][0]))

    def one(part: tuple[Array, Array, Array]) -> dict[str, Array]:
        human, obj, valid = part
        return jax.lax.cond(jnp.any(valid), lambda: some(human, obj), lambda: empty)

    out = jax.lax.map(one, tuple(parts))
    of_pairs = {name: jnp.moveaxis(x, 0, 1).reshape((batch, -1, *x.shape[3:]))[:, :pairs] for name, x in out.items()}
    return of_boxes | of_pairs
