"""CALIPSO hyperparameters. Defaults are the paper's, or our choice where the paper gives none."""

import dataclasses
import math
from typing import Literal

from hoi_jax.backbones.settings import ComputeSettings, ResNetSettings
from hoi_jax.settings import check_positive, check_share

LEVELS = 5
"""P3 to P7."""


@dataclasses.dataclass(frozen=True)
class BackboneConfig(ResNetSettings):
    """ResNet and feature pyramid, trained together with the other parts.

    Attributes:
      pyramid_width, p6_source: see `backbones.fpn.FPN`, which reads the last three stages. P6 of torchvision's first
        COCO RetinaNet reads P5, that of its second one C5.
    """

    pyramid_width: int = 256
    p6_source: Literal["p5", "c5"] = "p5"

    def __post_init__(self):
        super().__post_init__()
        check_positive(pyramid_width=self.pyramid_width)
        if len(self.stage_sizes) < 3:
            raise ValueError(f"stage_sizes is {self.stage_sizes}, but the pyramid needs at least three stages")
        if self.stage_strides[-2:] != (2, 2):
            raise ValueError(
                f"stage_strides is {self.stage_strides}, but must end with 2, 2 so that each level halves the size"
            )

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of the five levels."""
        stride = self.stem_stride * math.prod(self.stage_strides[:-2])
        return tuple(stride * 2**level for level in range(LEVELS))


@dataclasses.dataclass(frozen=True)
class AnchorConfig:
    """Anchors, nine per cell by default.

    Attributes:
      sizes: base side per level in pixels.
      scales, ratios: multiples of the base side, and height / width; one anchor for each combination.
      rounded: round anchors to whole pixels (torchvision).
    """

    sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    scales: tuple[float, ...] = (1.0, 2.0 ** (1.0 / 3.0), 2.0 ** (2.0 / 3.0))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rounded: bool = True

    def __post_init__(self):
        if len(self.sizes) != LEVELS:
            raise ValueError(f"sizes has {len(self.sizes)} entries, expected one per level ({LEVELS})")
        if min(*self.sizes, *self.scales, *self.ratios) <= 0:
            raise ValueError("sizes, scales and ratios must be above 0")

    @property
    def per_cell(self) -> int:
        return len(self.scales) * len(self.ratios)


@dataclasses.dataclass(frozen=True)
class SubnetConfig:
    """The interaction network and its three tasks.

    Attributes:
      blocks: number of blocks of convolution, batch normalisation and ReLU; 8 in the paper, 5 and 11 in Table 1.
      width: channels of the blocks.
      share_levels: use the same weights on every level (Table 1: "w/o weight sharing" = False).
      statistics: batch statistics "per_level" with shared gain and offset, "joint" over all levels, or "frozen".
      passive: also predict passive verbs, those done to an instance (Table 1).
      target_presence: predict whether the object of a person's verb is visible (Table 1).
      embedding_dim: T.
      remat: recompute a block's activations in the backward pass instead of storing them.
    """

    blocks: int = 8
    width: int = 256
    share_levels: bool = True
    statistics: Literal["per_level", "joint", "frozen"] = "per_level"
    passive: bool = True
    target_presence: bool = True
    embedding_dim: int = 8
    remat: bool = False

    def __post_init__(self):
        check_positive(blocks=self.blocks, width=self.width, embedding_dim=self.embedding_dim)

    @property
    def halves(self) -> int:
        """2 for active and passive verbs, 1 for active verbs only."""
        return 2 if self.passive else 1


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Assignment of anchors, and Eqs. 4 to 9.

    Attributes:
      overlap: IoU above which an anchor is assigned to a box; force_best: always assign the best anchor of a box.
      max_foreground: maximum number of foreground anchors of an image in the loss; the paper uses all of them.
      background: "none" (the paper: verbs are learned "among A_G") or "focal": other anchors are trained to no verb.
      target_mask: train target presence for verbs that are "performed_only", so that it is the probability given the
        verb, as in Eq. 12, or for "all" verbs, so that it is the joint probability of verb and target.
      per: normalisation of cross-entropies: "anchor", the mean over foreground anchors of the sum over outputs (as in
        RetinaNet; Eq. 9 adds the terms without weights), or "output", the mean over both.
      min_count: minimum number of training pairs of a usual target class of a verb (L_v of Eq. 8).
      verb, target, embedding: weights of the terms of Eq. 9.
    """

    overlap: float = 0.5
    force_best: bool = False
    max_foreground: int = 2048
    background: Literal["none", "focal"] = "none"
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    target_mask: Literal["all", "performed_only"] = "performed_only"
    per: Literal["anchor", "output"] = "anchor"
    min_count: int = 1
    sigma: float = 2.0
    pull_weight: float = 10.0
    push_weight: float = 100.0
    verb: float = 1.0
    target: float = 1.0
    embedding: float = 1.0

    def __post_init__(self):
        check_share(overlap=self.overlap, focal_alpha=self.focal_alpha)
        check_positive(sigma=self.sigma, max_foreground=self.max_foreground)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Readout of network outputs at detections, and pair scores.

    Attributes:
      human_threshold, object_threshold: minimum confidence of detections used as people, and as objects.
      readout: "best", the anchor with the largest IoU, or "mean", the mean of probabilities and embeddings over the
        anchors above `loss.overlap`, at most `readout_anchors` of them, or the best one if there is none.
      norm: norm of the embedding distance in Eq. 10.
      keep: "best", one object per person and verb (the paper), or "all" triplets.
      threshold: minimum score; 0 for AP.
      max_pairs: maximum number of pairs returned.
      dense: compute the outputs at all anchors instead of the needed ones only; the values are the same.
    """

    human_threshold: float = 0.0
    object_threshold: float = 0.0
    readout: Literal["best", "mean"] = "best"
    readout_anchors: int = 16
    norm: Literal["l2", "l1"] = "l2"
    keep: Literal["best", "all"] = "best"
    threshold: float = 0.0
    max_pairs: int = 256
    dense: bool = False

    def __post_init__(self):
        check_share(
            human_threshold=self.human_threshold, object_threshold=self.object_threshold, threshold=self.threshold
        )
        check_positive(readout_anchors=self.readout_anchors, max_pairs=self.max_pairs)


@dataclasses.dataclass(frozen=True)
class CalipsoConfig(ComputeSettings):
    """CALIPSO. `max_humans`, `max_objects`: maximum numbers of detections used as people, and as objects."""

    backbone: BackboneConfig = BackboneConfig()
    anchors: AnchorConfig = AnchorConfig()
    subnet: SubnetConfig = SubnetConfig()
    loss: LossConfig = LossConfig()
    predict: PredictConfig = PredictConfig()
    max_humans: int = 16
    max_objects: int = 32

    def __post_init__(self):
        check_positive(max_humans=self.max_humans, max_objects=self.max_objects)
