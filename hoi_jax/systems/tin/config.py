"""TIN hyperparameters. Defaults are the paper's, or the specification's choice where the paper is silent."""

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
      group: at most this many annotated pairs of an image in one step; the group is drawn at random.
      augment: further copies, shared out among the pairs of the group (15 + G positives in the paper).
      copies: "jittered" copies (the paper), or the "detected" boxes of the pair where the detector found them and
        jittered ones elsewhere: what the network meets later.
      jitter_iou, jitter_tries: a copy must overlap its box by more than this; proposals per copy.
      negatives: detected pairs without annotation, drawn uniformly.
      human_score, object_score: confidence that a detection needs to appear in a negative.
      overlap: IoU above which a detection stands for an annotated box.
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
            raise ValueError(f"augment {self.augment} and negatives {self.negatives} must not be negative")
        check_share(
            jitter_iou=self.jitter_iou,
            human_score=self.human_score,
            object_score=self.object_score,
            overlap=self.overlap,
        )

    @property
    def places(self) -> int:
        """Positive places of one image."""
        return self.group + self.augment


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms and of the classes.

    Attributes:
      weighting: "logit_scale" (the logit times ln(N / n), released; at test too, see `ScoreConfig.weighted_logits`),
        "loss_scale" (the loss of positives times it), or "none".
      counts: "vocabulary" or "released" (`release_tables.json`, which counts negatives as no_interaction).
      weighted: streams that are weighted (V-COCO as released: human and object).
      human, object, spatial, joint, interactiveness: factors of the terms; the authors double `human` on V-COCO.
      mean: over the entries of each "image" and then over images, so that B images in one update pull as B updates
        of one image do (image-centric training), or over all entries of the "batch", crowded images more.
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
      human_threshold, object_threshold: confidences that detections need.
      fallback: in an image without any pair, pair so many best people with so many best other objects, whatever their
        confidence, and suppress none of them (released on HICO-DET: 4; 0 = off).
      fusion: "sum" of the streams of C (TIN), or "product", the sum of the appearance streams times the spatial one
        (iCAN, and TIN as released). A joint stream stands alone.
      times_interactiveness: whether scores are multiplied by f_P (Eq. 6; not in the released code).
      weighted_logits: the weights that scale logits in training scale them at test too, so that scores are the
        probabilities that were trained (the weights are not the paper's; left out in the released code, whose scores
        are not multiplied by f_P).
      spare_no_interaction: the score of "does not interact" is not multiplied by f_P, which says the opposite.
      lis: "paper" (Eq. 3 with scale, offset, slope), "none" (1) or "product" (the confidences themselves).
      prior: in action style, which (verb, object class) combinations may score: tables "vocabulary" and "released"
        (V-COCO by hand), both must allow; () = all. HOI classes are the vocabulary's in any case.
      agent: in action style, a person's score for an action is the human stream's ("human"), or, for actions with
        objects, that of the best pair before suppression ("pair", released).
      best_object: each person keeps its best object per verb only (released on V-COCO).
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
      rule: "s_p": those with s_P = f_P L(s_h) L(s_o) below `threshold` (paper); "two_sided": those with f_P below
        `interactive_below` and non-interactive score above `non_interactive_above` (released; with one logit that is
        1 - f_P).
      bounds: "global", or "released" for the two-sided bounds per object class of `release_tables.json`.
      drop_person_objects: pairs of two people are suppressed as well (released on V-COCO).
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
      max_humans, max_objects, max_pairs: static sizes: detections taken as people and as objects, pairs scored.
      pair_chunk: pairs whose maps are held at a time in prediction; chunks without any pair are skipped. 0 = all.
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
        """Whether C looks at pixels."""
        c = self.classifier
        return bool({"human", "object", "joint"} & {*c.streams}) or (c.spatial_human and "spatial" in c.streams)

    @property
    def interactiveness_pixels(self) -> bool:
        """Whether P looks at pixels."""
        return bool({"human", "object"} & {*self.interactiveness.streams})

    @property
    def uses_pixels(self) -> bool:
        """False for a network that looks at boxes, poses and classes only."""
        return self.classifier_pixels or self.interactiveness_pixels

    @property
    def shares_stages(self) -> bool:
        """Whether C's residual stages exist: for C itself, or for a P without stages of its own."""
        return self.classifier_pixels or (self.interactiveness_pixels and not self.interactiveness.own_stages)

    @property
    def uses_context(self) -> bool:
        """Whether anything reads context vectors."""
        p = self.interactiveness.context and self.interactiveness_pixels
        return (self.classifier.context and self.classifier_pixels) or p
