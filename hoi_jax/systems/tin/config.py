"""TIN hyperparameters. Defaults are the paper's, or our choice where the paper gives none."""

import dataclasses
from typing import Literal

from hoi_jax.backbones.settings import ComputeSettings
from hoi_jax.settings import check_positive, check_share
from hoi_jax.systems.tin.network_config import (
    BackboneConfig,
    ClassifierConfig,
    ClassifierStream,
    ContextConfig,
    InteractivenessConfig,
    MapConfig,
    check_once,
)


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Image-centric sampling of training pairs.

    Attributes:
      group: maximum number of annotated pairs of an image in one step; the group is drawn at random.
      augment: number of copies, distributed over the G pairs of the group (15 + G positives in the paper).
      copies: "jittered" copies (the paper), or the "detected" boxes of the pair where the detector found them, as in
        prediction, and jittered ones elsewhere.
      jitter_iou, jitter_tries: minimum IoU of a copy with its box; proposals per copy.
      negatives: number of detected pairs without annotation, drawn uniformly.
      human_score, object_score: minimum confidence of detections in negatives.
      overlap: IoU above which a detection matches an annotated box.
    """

    group: int = 5
    augment: int = 15
    copies: Literal["jittered", "detected"] = "jittered"
    jitter_iou: float = 0.7
    jitter_tries: int = 4
    negatives: int = 45
    human_score: float = 0.8
    object_score: float = 0.4
    overlap: float = 0.8

    def __post_init__(self):
        check_positive(group=self.group, jitter_tries=self.jitter_tries)
        if self.augment < 0 or self.negatives < 0:
            raise ValueError(f"augment is {self.augment} and negatives is {self.negatives}, expected 0 or more")
        check_share(
            jitter_iou=self.jitter_iou,
            human_score=self.human_score,
            object_score=self.object_score,
            overlap=self.overlap,
        )

    @property
    def places(self) -> int:
        """Number of positive places of one image."""
        return self.group + self.augment


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms and of the classes.

    Attributes:
      weighting: use of ln(N / n): "logit_scale", as factor of the logit (released; in prediction too, see
        `ScoreConfig.weighted_logits`), "loss_scale", as factor of the loss of positives, or "none".
      counts: "vocabulary" or "released" (`release_tables.json`, which counts negatives as no_interaction).
      weighted: streams that are weighted (V-COCO as released: human and object).
      human, object, spatial, joint, interactiveness: weights of the terms; the authors double `human` on V-COCO.
      mean: over the entries of each "image" and then over images, so that one update on B images resembles B updates
        on one image (image-centric training), or over all entries of the "batch", which weights crowded images more.
    """

    weighting: Literal["logit_scale", "loss_scale", "none"] = "logit_scale"
    counts: Literal["vocabulary", "released"] = "vocabulary"
    weighted: tuple[ClassifierStream, ...] = ("human", "object", "spatial", "joint")
    human: float = 1.0
    object: float = 1.0
    spatial: float = 1.0
    joint: float = 1.0
    interactiveness: float = 1.0
    mean: Literal["image", "batch"] = "image"

    def __post_init__(self):
        check_once("weighted", self.weighted)


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """Selection of detections, and the combination of streams and confidences into scores.

    Attributes:
      human_threshold, object_threshold: minimum confidence of detections.
      fallback: in an image without any pair, pair this many best people with as many best other objects, whatever
        their confidence, and suppress none of them (released on HICO-DET: 4; 0 = off).
      fusion: "sum" of the streams of C (TIN), or "product", the sum of the appearance streams times the spatial one
        (iCAN, and TIN as released). A joint stream is used alone.
      times_interactiveness: multiply scores by f_P (Eq. 6; not in the released code).
      weighted_logits: apply the logit weights of training in prediction too, so that scores are the trained
        probabilities. The weights are not from the paper; the released code, which does not multiply scores by f_P,
        omits them.
      spare_no_interaction: do not multiply the score of "no interaction" by f_P, the probability of the opposite.
      lis: "paper" (Eq. 3 with scale, offset, slope), "none" (1) or "product" (the confidences themselves).
      prior: in action style, tables that must all allow a (verb, object class) combination: "vocabulary", "released"
        (written by hand for V-COCO); () = no restriction. HOI classes are always those of the vocabulary.
      agent: in action style, a person's score for an action is the human stream's ("human"), or, for actions with
        objects, that of the best pair before suppression ("pair", released).
      best_object: keep only the best object of each person and verb (released on V-COCO).
    """

    human_threshold: float = 0.6
    object_threshold: float = 0.4
    fallback: int = 0
    fusion: Literal["sum", "product"] = "sum"
    times_interactiveness: bool = True
    weighted_logits: bool = True
    spare_no_interaction: bool = True
    lis: Literal["paper", "none", "product"] = "paper"
    lis_scale: float = 8.4
    lis_offset: float = 12.0
    lis_slope: float = 10.0
    prior: tuple[Literal["vocabulary", "released"], ...] = ("vocabulary",)
    agent: Literal["human", "pair"] = "human"
    best_object: bool = False

    def __post_init__(self):
        check_share(human_threshold=self.human_threshold, object_threshold=self.object_threshold)


@dataclasses.dataclass(frozen=True)
class NisConfig:
    """Non-interaction suppression: the threshold below which a pair loses its verbs.

    Attributes:
      rule: suppressed pairs: "s_p", s_P = f_P L(s_h) L(s_o) below `threshold` (paper); "two_sided", f_P below
        `interactive_below` and the non-interactive score (1 - f_P with one logit) above `non_interactive_above`
        (released).
      bounds: "global", or "released" for the two-sided bounds per object class of `release_tables.json`.
      drop_person_objects: suppress pairs of two people as well (released on V-COCO).
    """

    enabled: bool = True
    rule: Literal["s_p", "two_sided"] = "s_p"
    threshold: float = 0.1
    interactive_below: float = 0.1
    non_interactive_above: float = 0.9
    bounds: Literal["global", "released"] = "global"
    drop_person_objects: bool = False


@dataclasses.dataclass(frozen=True)
class TinConfig(ComputeSettings):
    """TIN, and iCAN as a setting of it (no P).

    Attributes:
      max_humans, max_objects, max_pairs: maximum numbers of detections used as people and as objects, and of pairs.
      pair_chunk: pairs processed at a time in prediction; chunks without any valid pair are skipped. 0 = all at once.
    """

    backbone: BackboneConfig = BackboneConfig()
    context: ContextConfig = ContextConfig()
    maps: MapConfig = MapConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    interactiveness: InteractivenessConfig = InteractivenessConfig()
    sampling: SamplingConfig = SamplingConfig()
    loss: LossConfig = LossConfig()
    score: ScoreConfig = ScoreConfig()
    nis: NisConfig = NisConfig()
    max_humans: int = 16
    max_objects: int = 32
    max_pairs: int = 256
    pair_chunk: int = 0

    def __post_init__(self):
        check_positive(max_humans=self.max_humans, max_objects=self.max_objects, max_pairs=self.max_pairs)
        if not self.classifier.streams and not self.interactiveness.streams:
            raise ValueError(
                "classifier.streams and interactiveness.streams are both empty: there are no parameters to train"
            )
        if self.pair_chunk < 0:
            raise ValueError(f"pair_chunk is {self.pair_chunk}, expected 0 or more")

    @property
    def classifier_pixels(self) -> bool:
        """Whether C reads pixels."""
        c = self.classifier
        return bool({"human", "object", "joint"} & {*c.streams}) or (c.spatial_human and "spatial" in c.streams)

    @property
    def interactiveness_pixels(self) -> bool:
        """Whether P reads pixels."""
        return bool({"human", "object"} & {*self.interactiveness.streams})

    @property
    def uses_pixels(self) -> bool:
        """Whether the network reads pixels, rather than boxes, poses and classes only."""
        return self.classifier_pixels or self.interactiveness_pixels

    @property
    def shares_stages(self) -> bool:
        """Whether C's residual stages exist: used by C, or by a P without stages of its own."""
        return self.classifier_pixels or (self.interactiveness_pixels and not self.interactiveness.own_stages)

    @property
    def uses_context(self) -> bool:
        """Whether context vectors are used."""
        p = self.interactiveness.context and self.interactiveness_pixels
        return (self.classifier.context and self.classifier_pixels) or p
