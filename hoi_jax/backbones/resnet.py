"""Residual networks (He et al., CVPR 2016) of any depth and width, invariant to padding.

The position of a stage's stride differs between frameworks, and weights of one layout cannot be used in another:
"torchvision" has it in the 3x3 convolution of the first block; "caffe" (also Keras) in the first 1x1 convolution of the
first block; "slim" (TensorFlow) in the 3x3 convolution of the *last block of the previous stage*, with subsampling as
its skip. All convolutions pad symmetrically, so a map of h cells becomes ceil(h / 2) under stride 2.
"""

from typing import Any, Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.settings import ResNetSettings

NormKind = Literal["frozen_batch", "group", "none"]
BlockKind = Literal["basic", "bottleneck"]
Layout = Literal["torchvision", "caffe", "slim"]
EXPANSION = {"basic": 1, "bottleneck": 4}


def valid_cells(
    image_hw_px: Int[ArrayLike, "batch 2"], stride: int, height: int, width: int
) -> Bool[Array, "batch height width 1"]:
    """Mask of the cells of a feature map over the unpadded part of the image (rounded up)."""
    cells = -(-image_hw_px // stride)
    rows = jnp.arange(height)[None, :] < cells[:, :1]
    columns = jnp.arange(width)[None, :] < cells[:, 1:]
    return rows[:, :, None, None] & columns[:, None, :, None]


def _masked(x: Array, valid: Array | None) -> Array:
    return x if valid is None else jnp.where(valid, x, jnp.zeros_like(x))


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with stored statistics, gain and bias, none of which is trained or updated.

    All four are in the collection "batch_stats", so that no optimizer rule applies to them.
    """

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w channels"]) -> Float[Array, "batch h w channels"]:
        width = x.shape[-1]
        zeros, ones = (lambda: jnp.zeros((width,))), (lambda: jnp.ones((width,)))
        mean = self.variable("batch_stats", "mean", zeros).value
        var = self.variable("batch_stats", "var", ones).value
        scale = self.variable("batch_stats", "scale", ones).value
        bias = self.variable("batch_stats", "bias", zeros).value
        gain = jax.lax.stop_gradient(scale * jax.lax.rsqrt(var + self.epsilon))
        offset = jax.lax.stop_gradient(bias - mean * gain)
        return x * gain.astype(x.dtype)[None, None, None] + offset.astype(x.dtype)[None, None, None]


class MaskedGroupNorm(nn.Module):
    """Group normalisation (Wu and He, ECCV 2018) with statistics over valid cells only; float32 inside."""

    channels_per_group: int = 8
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch h w channels"], valid: Bool[Array, "batch h w 1"] | None
    ) -> Float[Array, "batch h w channels"]:
        batch, height, width, channels = x.shape
        if channels % self.channels_per_group:
            raise ValueError(f"{channels} channels are not divisible into groups of {self.channels_per_group}")
        scale = self.param("scale", nn.initializers.ones, (channels,))[None, None, None]
        bias = self.param("bias", nn.initializers.zeros, (channels,))[None, None, None]
        groups = channels // self.channels_per_group

        def group_mean(values):
            if valid is None:
                per_channel = jnp.mean(values, axis=(1, 2))
            else:
                count = jnp.maximum(jnp.sum(valid, axis=(1, 2)), 1).astype(jnp.float32)
                per_channel = jnp.sum(jnp.where(valid, values, 0.0), axis=(1, 2)) / count
            mean = jnp.mean(per_channel.reshape(batch, groups, -1), axis=-1)
            return jnp.repeat(mean, self.channels_per_group, axis=-1)[:, None, None, :]

        y = x.astype(jnp.float32)
        centred = y - group_mean(y)
        normal = centred * jax.lax.rsqrt(group_mean(jnp.square(centred)) + self.epsilon)
        return (normal * scale + bias).astype(x.dtype)


class ConvNorm(nn.Module):
    """Convolution, then normalisation, then zeros in padded cells."""

    features: int
    kernel: int
    stride: int = 1
    norm: NormKind = "frozen_batch"
    dtype: Any = None
    groups: int = 1

    @nn.compact
    def __call__(self, x: ArrayLike, valid: ArrayLike | None = None) -> Array:
        pad = (self.kernel - 1) // 2
        x = nn.Conv(
            self.features,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=[(pad, pad), (pad, pad)],
            use_bias=self.norm == "none",
            feature_group_count=self.groups,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.norm == "frozen_batch":
            x = FrozenBatchNorm(name="norm")(x)
        elif self.norm == "group":
            x = MaskedGroupNorm(name="norm")(x, valid)
        return _masked(x, valid)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions (basic) or 1x1, 3x3, 1x1 with four times the width (bottleneck), around a skip."""

    width: int
    stride: int = 1
    kind: BlockKind = "bottleneck"
    norm: NormKind = "frozen_batch"
    dtype: Any = None
    layout: Layout = "torchvision"
    groups: int = 1
    group_width: int = 64

    @nn.compact
    def __call__(self, x: Array, valid: Array | None = None, valid_in: Array | None = None) -> Array:
        def conv(features, kernel, stride, name, groups=1):
            return ConvNorm(features, kernel, stride, self.norm, self.dtype, groups, name=name)

        out = self.width * EXPANSION[self.kind]
        if self.kind == "bottleneck":
            early, late = (self.stride, 1) if self.layout == "caffe" else (1, self.stride)
            inner = self.width * self.groups * self.group_width // 64 if self.groups > 1 else self.width
            y = nn.relu(conv(inner, 1, early, "conv1")(x, valid if early > 1 else valid_in))
            y = nn.relu(conv(inner, 3, late, "conv2", self.groups)(y, valid))
            y = conv(out, 1, 1, "conv3")(y, valid)
        else:
            y = nn.relu(conv(self.width, 3, self.stride, "conv1")(x, valid))
            y = conv(out, 3, 1, "conv2")(y, valid)
        if self.layout == "slim" and x.shape[-1] == out:
            x = x[:, :: self.stride, :: self.stride]
        elif self.stride != 1 or x.shape[-1] != out:
            x = conv(out, 1, self.stride, "downsample")(x, valid)
        return nn.relu(x + y)


class ResidualStage(nn.Module):
    """`blocks` residual blocks, the first (slim: the last) with `stride`. Also TIN's stage on RoI crops (stride 1).

    `valid` are the valid cells of the result, `valid_in` those of the input.
    """

    blocks: int
    width: int
    stride: int = 1
    kind: BlockKind = "bottleneck"
    norm: NormKind = "frozen_batch"
    dtype: Any = None
    layout: Layout = "torchvision"
    groups: int = 1
    group_width: int = 64

    @nn.compact
    def __call__(self, x: Array, valid: Array | None = None, valid_in: Array | None = None) -> Array:
        strided = self.blocks - 1 if self.layout == "slim" else 0
        for number in range(self.blocks):
            block = ResidualBlock(
                self.width,
                self.stride if number == strided else 1,
                self.kind,
                self.norm,
                self.dtype,
                self.layout,
                self.groups,
                self.group_width,
                name=f"block{number}",
            )
            before = valid_in if number <= strided else valid
            x = block(x, before if number < strided else valid, before)
        return x


class ResNet(nn.Module):
    """Stem and residual stages, returning the last map; any prefix of a ResNet, such as (3, 4, 6) for stride 16.

    Attributes:
      stage_sizes: blocks per stage.
      stage_strides: stride of each stage's first block; (1, 2, 2, 2) in the paper.
      width: channels of the stem; stage i has width * 2**i (times 4 at the output of bottlenecks).
      kind: "basic" or "bottleneck".
      norm: "frozen_batch" for pretrained weights, "group" or "none" for small networks trained from scratch.
      stem: "imagenet" (7x7 stride 2, then 3x3 max-pool stride 2) or "small" (3x3 stride 2, no pool).
      mask_padding: keep padded cells at zero and exclude them from statistics, so that padding does not affect results.
      layout: position of strides (module docstring). "slim" moves `stage_strides` one stage forward; the last stage
        then has stride 1, so that the stride of the result is the same.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    stage_strides: tuple[int, ...] = (1, 2, 2, 2)
    width: int = 64
    kind: BlockKind = "bottleneck"
    norm: NormKind = "frozen_batch"
    stem: Literal["imagenet", "small"] = "imagenet"
    mask_padding: bool = True
    dtype: Any = None
    layout: Layout = "torchvision"
    groups: int = 1
    group_width: int = 64

    def __call__(
        self, image: Float[ArrayLike, "batch height width 3"], image_hw_px: Int[ArrayLike, "batch 2"]
    ) -> Float[Array, "batch h w channels"]:
        """Features at `self.stride` pixels per cell of an image (normalised; zero in padding)."""
        return self.stages(image, image_hw_px)[-1]

    @nn.compact
    def stages(
        self, image: Float[ArrayLike, "batch height width 3"], image_hw_px: Int[ArrayLike, "batch 2"]
    ) -> tuple[Array, ...]:
        """The maps after every stage, finest first; the last one is what `__call__` returns."""

        def cells(x, stride):
            return valid_cells(image_hw_px, stride, x.shape[1], x.shape[2]) if self.mask_padding else None

        kernel = 7 if self.stem == "imagenet" else 3
        stride = 2
        half = valid_cells(image_hw_px, 2, -(-image.shape[1] // 2), -(-image.shape[2] // 2))
        stem = ConvNorm(self.width, kernel, 2, self.norm, self.dtype, name="stem")
        x = nn.relu(stem(image, half if self.mask_padding else None))
        if self.stem == "imagenet":
            # After ReLU a zero never exceeds a valid cell, so the map can be padded with zeros for max-pooling.
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            x, stride = nn.max_pool(x, (3, 3), strides=(2, 2)), 4
            x = _masked(x, cells(x, stride))
        strides = self.stage_strides
        if self.layout == "slim":
            if strides[:1] != (1,):
                raise ValueError(f"stage_strides is {strides}, expected 1 first: slim's first stage has stride 1")
            strides = (*strides[1:], 1)
        maps = []
        for number, (blocks, step) in enumerate(zip(self.stage_sizes, strides, strict=True)):
            valid_in = cells(x, stride)
            stride *= step
            size = -(-x.shape[1] // step), -(-x.shape[2] // step)
            valid = valid_cells(image_hw_px, stride, *size) if self.mask_padding else None
            stage = ResidualStage(
                blocks,
                self.width * 2**number,
                step,
                self.kind,
                self.norm,
                self.dtype,
                self.layout,
                self.groups,
                self.group_width,
                name=f"stage{number}",
            )
            x = stage(x, valid, valid_in)
            maps.append(x)
        return tuple(maps)

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the result."""
        total = 4 if self.stem == "imagenet" else 2
        for step in self.stage_strides:
            total *= step
        return total


def make_resnet(settings: ResNetSettings, dtype: Any = None, name: str | None = None, **more: Any) -> ResNet:
    """Build the network described by `settings`; `more` are `layout`, `groups`, `group_width`."""
    return ResNet(
        settings.stage_sizes,
        settings.stage_strides,
        settings.width,
        cast(Any, settings.kind),
        cast(Any, settings.norm),
        cast(Any, settings.stem),
        settings.mask_padding,
        dtype,
        name=name,
        **more,
    )


def normalised_pixels(
    image: UInt8[ArrayLike, "batch height width 3"], image_hw_px: Int[ArrayLike, "batch 2"], settings: ResNetSettings
) -> Float[Array, "batch height width 3"]:
    """Images in float32, normalised with mean and standard deviation of `settings`; zeros in padding."""
    mean, std = (np.asarray(v, np.float32)[None, None, None] for v in (settings.image_mean, settings.image_std))
    inside = valid_cells(image_hw_px, 1, image.shape[1], image.shape[2])
    return jnp.where(inside, (image.astype(jnp.float32) - mean) / std, 0.0)
