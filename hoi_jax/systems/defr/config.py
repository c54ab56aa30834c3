"""DEFR hyperparameters. Defaults are the paper's best model (ViT-B/16, Table 1), or the specification's choice."""

import dataclasses
from typing import Literal

from hoi_jax.backbones.settings import ComputeSettings, check_heads

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """The image encoder.

    Attributes:
      kind: "clip_vit", "imagenet_vit", "scenic_vit" (GELU by the tanh formula), "clip_resnet" or "resnet" (global
        average pool). Regional class tokens, and so detection, need a ViT.
      patch, width, layers, heads: of a ViT. `width` is also the stem's of a ResNet, `heads` also those of its pool.
      stem: of a ViT, "patch" or "convolutions" (small nets from scratch).
      stage_sizes: blocks per stage of a ResNet. output: length of the feature of "clip_resnet".
      norm: of "resnet", see `backbones.resnet.ResNet`.
      freeze_bn: "clip_resnet" keeps its stored statistics in training (the authors train them).
      remat: of a ViT, compute the inside of blocks again in the backward pass instead of keeping it.
    """

    kind: Literal["clip_vit", "imagenet_vit", "scenic_vit", "clip_resnet", "resnet"] = "clip_vit"
    patch: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    stem: Literal["patch", "convolutions"] = "patch"
    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    output: int = 1024
    norm: Literal["frozen_batch", "group", "none"] = "frozen_batch"
    freeze_bn: bool = False
    remat: bool = False

    def __post_init__(self):
        for name in ("patch", "width", "layers", "heads", "output"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.remat and not self.is_vit:
            raise ValueError(f"remat is for ViTs, kind is {self.kind!r}")
        if self.is_vit:
            check_heads(self.width, self.heads)

    @property
    def is_vit(self) -> bool:
        return self.kind.endswith("_vit")

    @property
    def stride(self) -> int:
        """Sides of the image must be multiples of this."""
        return self.patch if self.is_vit else 32


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """From the batch's image to the network's: stretched to a square, whatever its shape, and normalised.

    Attributes:
      size: side of the square, pixels.
      kernel, antialias: of the interpolation ("bicubic" or "bilinear").
      mean, std: per channel of values in [0, 1].
      brightness, contrast: training draws factors from 1 - x to 1 + x; 0 = off.
      crop_area, crop_ratio: training cuts a window of a random share of the image, from `crop_area` to 1, and random
        shape, and enlarges it again; crop_area 1 = off. Tried `crop_tries` times; then the whole image.
      crop_kernel: of that enlargement, which is the only interpolation here when the images come stretched
        (`sizes.fit="stretch"`): then training has the two of the authors, bicubic and bilinear.
    """

    size: int = 672
    kernel: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = True
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    brightness: float = 0.4
    contrast: float = 0.4
    crop_area: float = 0.7
    crop_ratio: tuple[float, float] = (0.7, 1.3)
    crop_tries: int = 10
    crop_kernel: Literal["bicubic", "bilinear"] = "bilinear"

    def __post_init__(self):
        if not 0 < self.crop_area <= 1 or not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_area is {self.crop_area} and crop_ratio {self.crop_ratio}: no valid crop window")
        if not (0 <= self.brightness <= 1 and 0 <= self.contrast <= 1):
            raise ValueError(f"brightness {self.brightness} and contrast {self.contrast} must lie in [0, 1]")
        if min(self.std) <= 0 or self.size < 1 or self.crop_tries < 1:
            raise ValueError(f"std {self.std}, size {self.size} and crop_tries {self.crop_tries} must be above 0")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """gamma: temperature of Eq. 1. linear: plain logits with a bias instead of cosines (ablation)."""

    gamma: float = 100.0
    linear: bool = False

    def __post_init__(self):
        if self.gamma <= 0:
            raise ValueError(f"gamma is {self.gamma}, expected a number above 0")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The classification loss.

    Attributes:
      kind: "lse_sign" (Eq. 2), "bce", "weighted_bce", "focal", or "softmax" for one label per image (MPII).
      mask_ambiguous: leave classes labelled 0 out; else they count as negative, as the authors have it.
      positive_weights: of "weighted_bce", negatives per positive of each class; or the file of
        `python -m hoi_jax.commands.count_labels`, which counts them on the training split. Read by training only.
      focal_alpha, focal_gamma: of "focal".
    """

    kind: Literal["lse_sign", "bce", "weighted_bce", "focal", "softmax"] = "lse_sign"
    mask_ambiguous: bool = False
    positive_weights: tuple[float, ...] | str = ()
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0

    def __post_init__(self):
        if (self.kind == "weighted_bce") != bool(self.positive_weights):
            raise ValueError(f"kind is {self.kind!r} and positive_weights has {len(self.positive_weights)} numbers")


@dataclasses.dataclass(frozen=True)
class DetectionConfig:
    """HOI detection from given boxes, without training (section 7.1).

    Attributes:
      min_score, nms_overlap: detections below, or overlapping a better one of their class by more, are left out.
      max_humans, max_objects: people and other objects that are paired, best first. Each person is paired with every
        other box, people included.
      rule, blocks, exact: of the regional class token, see `backbones.vit.ViT.regional`.
      prior_power: the score of a pair is sigmoid(s) * (human score * object score) ** prior_power; the paper
        multiplies (1), the released code takes 2.8.
      box_noise: standard deviation of what is added to every corner coordinate, as a share of the box's width or height
        (Eq. 7, the study of other detectors); drawn anew for each image, the same in every run. 0 = off.
      kernel, antialias: of the interpolation of images for pairs, where it is another one than `inputs` has; "" = the
        same. Another one costs a second pass: scores of whole images keep theirs.
      pair_chunk: pairs at a time where each needs whole blocks of its own (exact, three or more blocks).
    """

    enabled: bool = True
    min_score: float = 0.2
    nms_overlap: float = 0.5
    max_humans: int = 15
    max_objects: int = 15
    rule: Literal["mask", "average"] = "mask"
    blocks: int = 1
    exact: bool = True
    prior_power: float = 1.0
    box_noise: float = 0.0
    kernel: Literal["", "bicubic", "bilinear"] = ""
    antialias: bool = True
    pair_chunk: int = 16

    def __post_init__(self):
        if min(self.max_humans, self.max_objects, self.blocks, self.pair_chunk) < 1:
            raise ValueError("max_humans, max_objects, blocks and pair_chunk must be at least 1")
        if self.box_noise < 0:
            raise ValueError(f"box_noise is {self.box_noise}, expected 0 or more")
        if self.rule == "average" and self.blocks != 1:
            raise ValueError(f"blocks is {self.blocks}, rule 'average' changes the last block only")


@dataclasses.dataclass(frozen=True)
class DefrConfig(ComputeSettings):
    """DEFR.

    labels: "image", the records' image-level labels, or "pairs", what annotated pairs imply (HICO-DET files).
    """

    backbone: BackboneConfig = BackboneConfig()
    inputs: InputConfig = InputConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    loss: LossConfig = LossConfig()
    detection: DetectionConfig = DetectionConfig()
    labels: Literal["image", "pairs"] = "image"

    def __post_init__(self):
        if self.inputs.size % self.backbone.stride:
            raise ValueError(f"inputs.size {self.inputs.size} is not a multiple of {self.backbone.stride} pixels")
        if self.backbone.is_vit and self.detection.blocks > self.backbone.layers:
            raise ValueError(f"detection.blocks {self.detection.blocks} exceeds {self.backbone.layers} layers")

    @property
    def detects(self) -> bool:
        """Whether prediction pairs detections."""
        return self.detection.enabled and self.backbone.is_vit
