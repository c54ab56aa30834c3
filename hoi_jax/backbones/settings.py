"""What configs say about a backbone; systems add their own values to these."""

import dataclasses
from typing import Literal

from hoi_jax.settings import check_positive

ComputeDtype = Literal["float32", "bfloat16"]
"""What a network computes in; parameters and losses are float32 either way."""


@dataclasses.dataclass(frozen=True)
class ResNetSettings:
    """A ResNet and the pictures that it reads; `resnet.make_resnet` and `resnet.normalised_pixels` follow it.

    Attributes:
      stage_sizes, stage_strides, width, kind, norm, stem: see `resnet.ResNet`.
      mask_padding: padded cells stay zero after every layer, and no statistic sees them.
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
        """Pixels per cell behind the stem."""
        return 4 if self.stem == "imagenet" else 2
