"""The network of TIN (Li et al., CVPR 2019): C classifies interactions, P says whether a pair interacts at all.

Everything that belongs to one person or one object is computed once per person or object and then gathered to
pairs; a pair costs its map convolutions and small matrix products only.
"""

import math
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax.backbones.resnet import ResidualStage, ResNet, valid_cells
from hoi_jax.nn.mlp import MLP
from hoi_jax.nn.streams import PairMapStream
from hoi_jax.ops.raster import pair_maps
from hoi_jax.ops.roi_align import crop_and_resize
from hoi_jax.system import Batch
from hoi_jax.systems.tin.config import TinConfig

# Inclusive pixels: the released crops run from the first to the last pixel of a box, ours are continuous.
_LAST_PIXEL = np.array([0.0, 0.0, 1.0, 1.0], np.float32)


def gather_rows(rows: Float[Array, "batch rows dim"], index: Int[Array, "batch pairs"]) -> Array:
    """[B, P, dim]: the row of each pair's person or object."""
    return jnp.take_along_axis(rows, index[:, :, None], axis=1)


def picture_of(batch: Batch, config: TinConfig) -> Array:
    """The batch's image, or a black pixel per example for a network that never looks at it."""
    if config.uses_pixels:
        return batch["image"]
    return jnp.zeros((batch["detections_valid"].shape[0], 1, 1, 3), jnp.uint8)


class Appearance(nn.Module):
    """R, crops of people and of objects, their own residual stages, and the mean: one vector per box."""

    config: TinConfig
    dtype: Any = None

    @nn.compact
    def __call__(self, image, image_hw_px, human_xyxy_px, object_xyxy_px) -> tuple[Array, Array]:
        """uint8 image [B, H, W, 3], boxes [B, N, 4] and [B, M, 4] -> [B, N, D], [B, M, D] float32."""
        c = self.config.backbone
        net = ResNet(
            c.stage_sizes,
            c.stage_strides,
            c.width,
            cast(Any, c.kind),
            cast(Any, c.norm),
            cast(Any, c.stem),
            c.mask_padding,
            self.dtype,
            name="backbone",
        )
        mean, std = (np.asarray(v, np.float32)[None, None, None] for v in (c.image_mean, c.image_std))
        inside = valid_cells(image_hw_px, 1, image.shape[1], image.shape[2])
        pixels = jnp.where(inside, (image.astype(jnp.float32) - mean) / std, 0.0)
        features = net(pixels, image_hw_px)
        if c.frozen:
            features = jax.lax.stop_gradient(features)
        cells = -(-image_hw_px // net.stride)
        vectors = []
        for name, boxes in (("human", human_xyxy_px), ("object", object_xyxy_px)):
            crops = crop_and_resize(
                features, boxes - _LAST_PIXEL[None, None], cells, stride=net.stride, size=c.roi_size
            )
            stage = ResidualStage(
                c.roi_blocks,
                c.roi_width,
                1,
                cast(Any, c.kind),
                cast(Any, c.norm),
                self.dtype,
                name=f"{name}_stage",
            )
            x = stage(crops.reshape((-1, *crops.shape[2:])))
            vectors.append(jnp.mean(x.astype(jnp.float32), axis=(1, 2)).reshape((*boxes.shape[:2], -1)))
        return vectors[0], vectors[1]


class Classifier(nn.Module):
    """C: one logit per class from every stream; the scores are summed later (late fusion)."""

    config: TinConfig
    num_outputs: int
    dtype: Any = None

    @nn.compact
    def __call__(self, human, obj, maps, dropout_keys) -> dict[str, Array]:
        """human [B, N, D], obj [B, M, D], maps [B, P, s, s, 2] -> logits [B, N | M | P, K] by stream name."""
        c = self.config.classifier
        inputs = {"human": human, "object": obj}
        if "spatial" in c.streams:
            stream = PairMapStream(self.config.maps.features, self.config.maps.kernel, self.dtype, name="maps")
            inputs["spatial"] = stream(maps[..., :2]).astype(jnp.float32)
        logits = {}
        for name in c.streams:
            layers = c.spatial_layers if name == "spatial" else c.appearance_layers
            hidden = MLP(layers, c.dropout, name=name)(inputs[name], dropout_keys)
            head = nn.Dense(
                self.num_outputs,
                kernel_init=nn.initializers.normal(0.01),
                bias_init=nn.initializers.constant(math.log(c.prior / (1 - c.prior))),
                name=f"{name}_scores",
            )
            logits[name] = head(hidden)
        return logits


class Interactiveness(nn.Module):
    """P: streams of the human, the object and the maps, joined per pair into one logit [B, P]."""

    config: TinConfig
    dtype: Any = None

    @nn.compact
    def __call__(self, human, obj, maps, human_index, object_index, dropout_keys) -> Array:
        c = self.config.interactiveness
        joined = []
        if "human" in c.streams:
            x = MLP(c.stream_layers, c.dropout, name="human")(human, dropout_keys)
            joined.append(gather_rows(x, human_index))
        if "object" in c.streams:
            x = MLP(c.stream_layers, c.dropout, name="object")(obj, dropout_keys)
            joined.append(gather_rows(x, object_index))
        channels = [0, 1] * ("spatial" in c.streams) + [2] * ("pose" in c.streams)
        if channels:
            stream = PairMapStream(self.config.maps.features, self.config.maps.kernel, self.dtype, name="maps")
            x = stream(maps[..., channels[0] : channels[-1] + 1]).astype(jnp.float32)
            joined.append(MLP(c.stream_layers, c.dropout, name="spatial_pose")(x, dropout_keys))
        x = MLP(c.pair_layers, c.dropout, name="pair")(jnp.concatenate(joined, axis=-1), dropout_keys)
        return nn.Dense(1, name="score")(x)[..., 0]


class TinNet(nn.Module):
    """R, C and P together. `num_outputs` is the number of HOI classes, or of verbs in action style."""

    config: TinConfig
    num_outputs: int

    @nn.compact
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
    ) -> dict[str, Array]:
        """Logits of an image's people, objects and pairs.

        Args:
          image: [B, H, W, 3] uint8; unused, and may be any shape, for a network without appearance streams.
          human_index, object_index: rows of the box tables that make up each pair.
          dropout_keys: one key per example in training, None otherwise.

        Returns:
          "human" [B, N, K], "object" [B, M, K], "spatial" [B, P, K] as far as C has these streams, and
          "interactiveness" [B, P] if P is on. All float32 and before the sigmoid.
        """
        c = self.config
        dtype = jnp.bfloat16 if c.compute_dtype == "bfloat16" else None
        human = obj = maps = None
        if c.uses_pixels:
            appearance = Appearance(c, dtype, name="appearance")
            human, obj = appearance(image, image_hw_px, human_xyxy_px, object_xyxy_px)
        if {"spatial", "pose"} & {*c.classifier.streams, *c.interactiveness.streams}:
            maps = self._pair_maps(human_xyxy_px, object_xyxy_px, human_keypoints_px, human_index, object_index)
        out = Classifier(c, self.num_outputs, dtype, name="classifier")(human, obj, maps, dropout_keys)
        if c.interactiveness.streams:
            head = Interactiveness(c, dtype, name="interactiveness")
            out["interactiveness"] = head(human, obj, maps, human_index, object_index, dropout_keys)
        return out

    def _pair_maps(self, human, obj, keypoints, human_index, object_index) -> Array:
        human_of_pair, object_of_pair = gather_rows(human, human_index), gather_rows(obj, object_index)
        pose = None
        if "pose" in self.config.interactiveness.streams:
            pose = jnp.take_along_axis(keypoints, human_index[:, :, None, None], axis=1)
        maps = self.config.maps
        return pair_maps(human_of_pair, object_of_pair, pose, min_score=maps.pose_min_score, size=maps.size)
