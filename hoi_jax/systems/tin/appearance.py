"""Appearance features of TIN: R, the residual stages on crops, and iCAN's instance-centric attention."""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.resnet import ResidualStage, make_resnet, normalised_pixels
from hoi_jax.nn.dropout import example_dropout
from hoi_jax.ops.roi_align import crop_and_resize
from hoi_jax.systems.tin.network_config import BackboneConfig, ContextConfig

# The released crops include the last pixel of a box, whereas our box coordinates are continuous.
_LAST_PIXEL = np.array([0.0, 0.0, 1.0, 1.0], np.float32)


class Appearance(nn.Module):
    """R and the residual stages of people and objects; without R if `with_extractor` is False."""

    config: BackboneConfig
    with_extractor: bool = True
    dtype: Any = None

    def setup(self):
        c = self.config
        kind, norm = cast(Any, c.kind), cast(Any, c.norm)
        if self.with_extractor:
            self.backbone = make_resnet(c, self.dtype, layout=c.layout)
        self.human_stage = ResidualStage(c.roi_blocks, c.roi_width, 1, kind, norm, self.dtype)
        self.object_stage = ResidualStage(c.roi_blocks, c.roi_width, 1, kind, norm, self.dtype)

    def features(self, image: ArrayLike, image_hw_px: Int[ArrayLike, "batch 2"]) -> Float[Array, "batch h w channels"]:
        """R's map of a uint8 image [B, H, W, 3], with `config.stride` pixels per cell."""
        c = self.config
        pixels = normalised_pixels(image, image_hw_px, c)
        return self.backbone(pixels, image_hw_px)

    def vectors(
        self,
        features: Float[ArrayLike, "batch h w channels"],
        image_hw_px: Int[ArrayLike, "batch 2"],
        human_xyxy_px: Float[ArrayLike, "batch humans 4"],
        object_xyxy_px: Float[ArrayLike, "batch objects 4"],
    ) -> tuple[Array, Array]:
        """One vector per person [B, N, D] and per object [B, M, D], float32: mean of the residual stage on a crop."""
        cells = -(-image_hw_px // self.config.stride)

        def one(stage: ResidualStage, boxes: Array) -> Array:
            crops = crop_and_resize(
                features,
                boxes - _LAST_PIXEL[None, None],
                cells,
                stride=self.config.stride,
                size=self.config.roi_size,
            )
            x = stage(crops.reshape((-1, *crops.shape[2:])))
            return jnp.mean(x.astype(jnp.float32), axis=(1, 2)).reshape((*boxes.shape[:2], -1))

        return one(self.human_stage, human_xyxy_px), one(self.object_stage, object_xyxy_px)


class Context(nn.Module):
    """Instance-centric attention (Gao et al., iCAN, BMVC 2018): context vectors of people and of objects.

    Each box attends (query) to all cells of the image (key, value); the weighted values are averaged after a 1x1
    convolution that people and objects share. As released, the dot product is a mean over channels, and the average
    is divided by the number of cells although the weights already sum to one.
    """

    config: ContextConfig
    dtype: Any = None

    def setup(self):
        c = self.config
        self.key = nn.Conv(c.channels, (1, 1), dtype=self.dtype)
        self.value = nn.Conv(c.channels, (1, 1), dtype=self.dtype)
        self.human_query = nn.Dense(c.channels)
        self.object_query = nn.Dense(c.channels)
        self.bottleneck = nn.Dense(c.features, use_bias=c.bias)

    def __call__(
        self,
        features: Float[Array, "batch h w channels"],
        valid: Array,
        human: Float[Array, "batch humans dim"],
        obj: Float[Array, "batch objects dim"],
        dropout_keys: Array | None,
    ) -> tuple[Array, Array]:
        """Context vectors of people [B, N, F] and objects [B, M, F], float32; `valid` [B, h, w, 1] masks padding."""
        batch, seen = features.shape[0], valid.reshape(valid.shape[0], -1)
        key, value = (
            nn.relu(conv(features)).reshape(batch, -1, self.config.channels).astype(jnp.float32)
            for conv in (self.key, self.value)
        )
        count = jnp.maximum(jnp.sum(seen, axis=1), 1).astype(jnp.float32)

        def attend(query: nn.Dense, vectors: Array, name: str) -> Array:
            q = example_dropout(nn.relu(query(vectors)), dropout_keys, self.config.dropout, f"context/{name}")
            similar = jnp.einsum("bnc,bpc->bnp", q, key) / self.config.channels
            weight = jax.nn.softmax(jnp.where(seen[:, None], similar, -jnp.inf), axis=-1)
            if not self.config.bias:
                # a >= 0, so ReLU(W (a g)) = a ReLU(W g): once per cell instead of once per cell and box.
                return jnp.einsum("bnp,bpf->bnf", weight, nn.relu(self.bottleneck(value))) / count[:, None, None]
            return self._every_box(value, weight, seen) / count[:, None, None]

        return attend(self.human_query, human, "human"), attend(self.object_query, obj, "object")

    def _every_box(self, value: Array, weight: Array, seen: Array) -> Array:
        """Sum over cells of ReLU(W (a g) + b), one box at a time, so that memory does not grow with their number."""
        # Parameters cannot be created inside a mapped function, so they are created here.
        if self.is_initializing():
            self.bottleneck(value)
        dense = self.bottleneck.variables["params"]
        kernel, bias = dense["kernel"], dense["bias"]

        def one(a: Array) -> Array:
            mapped = nn.relu((value * a[:, :, None]) @ kernel + bias[None, None])
            return jnp.sum(jnp.where(seen[:, :, None], mapped, 0.0), axis=1)

        # Recomputed in the backward pass, so that the maps of all boxes need not be stored.
        return jnp.moveaxis(jax.lax.map(jax.checkpoint(one), jnp.moveaxis(weight, 1, 0)), 0, 1)
