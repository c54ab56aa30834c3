"""Settings of networks that several systems share: arithmetic, ResNet, transformer. Systems extend them."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp

from hoi_jax.settings import check_positive, check_share


def check_heads(width: int, heads: int) -> None:
    """Raise ValueError unless `width` is a multiple of `heads`."""
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of heads {heads}")


@dataclasses.dataclass(frozen=True)
class ComputeSettings:
    """Arithmetic of a network.

    Attributes:
      compute_dtype: dtype of activations; parameters, losses and scores are always float32.
    """

    compute_dtype: Literal["float32", "bfloat16"] = "float32"

    @property
    def dtype(self) -> Any:
        """The `dtype` of linen layers: None, or bfloat16."""
        return jnp.bfloat16 if self.compute_dtype == "bfloat16" else None


@dataclasses.dataclass(frozen=True)
class TransformerSettings:
    """Widths of the layers of a transformer like DETR's (`nn.transformer`)."""

    hidden: int = 256
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1

    def __post_init__(self):
        check_positive(hidden=self.hidden, heads=self.heads, feedforward=self.feedforward)
        check_share(dropout=self.dropout)
        check_heads(self.hidden, self.heads)


@dataclasses.dataclass(frozen=True)
class ResNetSettings:
    """A ResNet and its input normalisation, for `resnet.make_resnet` and `resnet.normalised_pixels`.

    Attributes:
      stage_sizes, stage_strides, width, kind, norm, stem: see `resnet.ResNet`.
      mask_padding: set padded cells to zero after every layer, and exclude them from statistics.
      image_mean, image_std: per channel (RGB), in gray levels 0 to 255.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    stage_strides: tuple[int, ...] = (1, 2, 2, 2)
    width: int = 64
    kind: Literal["basic", "bottleneck"] = "bottleneck"
    norm: Literal["frozen_batch", "group", "none"] = "frozen_batch"
    stem: Literal["imagenet", "small"] = "imagenet"
    mask_padding: bool = True
    image_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    image_std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def __post_init__(self):
        check_positive(width=self.width)
        if len(self.stage_sizes) != len(self.stage_strides):
            raise ValueError(f"stage_sizes {self.stage_sizes} and stage_strides {self.stage_strides} differ in length")

    @property
    def stem_stride(self) -> int:
        """Pixels per cell after the stem."""
        return 4 if self.stem == "imagenet" else 2
