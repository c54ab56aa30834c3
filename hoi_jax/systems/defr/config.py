"""DEFR hyperparameters. Defaults are the paper's best model (ViT-B/16, Table 1), or our choice where it gives none."""

import dataclasses
from typing import Literal

from hoi_jax.backbones.settings import ComputeSettings, check_heads

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """The image encoder.

    Attributes:
      kind: "clip_vit", "imagenet_vit", "scenic_vit" (with the tanh approximation of GELU), "clip_resnet" or "resnet"
        (global average pool). Regional class tokens, and hence detection, need a ViT.
      patch, width, layers, heads: sizes of a ViT. For a ResNet, `width` is that of the stem and `heads` those of
        CLIP's attention pool.
      stem: "patch" or "convolutions" (for small ViTs trained from scratch).
      stage_sizes: blocks per stage of a ResNet.
      output: length of the feature of "clip_resnet".
      norm: normalisation of "resnet", see `backbones.resnet.ResNet`.
      freeze_bn: do not update the batch statistics of "clip_resnet" in training (the authors do).
      remat: recompute activations inside the blocks of a ViT in the backward pass instead of storing them.
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
            raise ValueError(f"remat needs a ViT, but kind is {self.kind!r}")
        if self.is_vit:
            check_heads(self.width, self.heads)

    @property
    def is_vit(self) -> bool:
        return self.kind.endswith("_vit")

    @property
    def stride(self) -> int:
        """Number of pixels of which the sides of the image must be multiples."""
        return self.patch if self.is_vit else 32


@dataclasses.dataclass(frozen=True)
class InputConfig:
    """Conversion of the batch's image to the network's input: stretched to a square and normalised.

    Attributes:
      size: side of the square, pixels.
      kernel, antialias: interpolation ("bicubic" or "bilinear").
      mean, std: per channel, of values in [0, 1].
      brightness, contrast: half-width x of the range [1 - x, 1 + x] of random factors in training; 0 = off.
      crop_area, crop_ratio: in training, crop a window with a random share of the image's area, from `crop_area` to 1,
        and a random aspect ratio, and resize it; crop_area 1 = off. After `crop_tries` failures, use the whole image.
      crop_kernel: interpolation of that crop. If the pipeline has already stretched the images (`sizes.fit="stretch"`),
        it is the second interpolation, as in the authors' training (bicubic, then bilinear).
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
            raise ValueError(f"crop_area {self.crop_area} and crop_ratio {self.crop_ratio} allow no crop window")
        if not (0 <= self.brightness <= 1 and 0 <= self.contrast <= 1):
            raise ValueError(f"brightness {self.brightness} and contrast {self.contrast} must lie in [0, 1]")
        if min(self.std) <= 0 or self.size < 1 or self.crop_tries < 1:
            raise ValueError(f"std {self.std}, size {self.size} and crop_tries {self.crop_tries} must be above 0")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """The classifier. `gamma`: temperature of Eq. 1; `linear`: logits with a bias instead of cosines (ablation)."""

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
      mask_ambiguous: ignore classes labelled 0; otherwise they are negative, as in the authors' code.
      positive_weights: for "weighted_bce", negatives per positive of each class, or a file written by
        `python -m hoi_jax.commands.count_labels` from the training split. Used in training only.
      focal_alpha, focal_gamma: parameters of "focal".
    """

    kind: Literal["lse_sign", "bce", "weighted_bce", "focal", "softmax"] = "lse_sign"
    mask_ambiguous: bool = False
    positive_weights: tuple[float, ...] | str = ()
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0

    def __post_init__(self):
        if (self.kind == "weighted_bce") != bool(self.positive_weights):
            raise ValueError(
                f"kind is {self.kind!r} and positive_weights has {len(self.positive_weights)} entries: "
                "positive_weights is for kind 'weighted_bce', which requires it"
            )


@dataclasses.dataclass(frozen=True)
class DetectionConfig:
    """HOI detection from given boxes, without training (section 7.1).

    Attributes:
      min_score: minimum score of detections.
      nms_overlap: maximum IoU of a detection with a better one of its class.
      max_humans, max_objects: maximum numbers of people and other objects, best first. Each person is paired with every
        other box, including people.
      rule, blocks, exact: settings of the regional class token, see `backbones.vit.ViT.regional`.
      prior_power: exponent in sigmoid(s) * (human score * object score) ** prior_power, the score of a pair; 1 in the
        paper, 2.8 in the released code.
      box_noise: standard deviation of noise on every corner coordinate, as a share of the box's width or height (Eq. 7,
        the study of other detectors); it depends on the image only, not on the run. 0 = off.
      kernel, antialias: interpolation of images for pairs; kernel "" = as in `inputs`. A different one needs a second
        pass, because whole images are scored with that of `inputs`.
      pair_chunk: pairs processed at a time if each needs its own pass through blocks (exact, three or more blocks).
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
            raise ValueError(f"blocks is {self.blocks}, expected 1: rule 'average' changes the last block only")


@dataclasses.dataclass(frozen=True)
class DefrConfig(ComputeSettings):
    """DEFR.

    Attributes:
      labels: "image", the image-level labels of the records, or "pairs", those implied by annotated pairs (HICO-DET).
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
        """Whether pairs of detections are scored."""
        return self.detection.enabled and self.backbone.is_vit
