"""body_part hyperparameters. Defaults are the paper's, or our choice where the paper gives none.

QPIC, CDN and DETR-style detection of pairs are settings of the same parts: `verbs.source` and `interactiveness` select
which decoder feeds which head. Where the authors' released code differs from the paper, both are values of a switch.
"""

import dataclasses
from typing import Literal

from hoi_jax.backbones.settings import ComputeSettings, ResNetSettings, TransformerSettings
from hoi_jax.settings import check_not_negative, check_positive, check_share


@dataclasses.dataclass(frozen=True)
class BackboneConfig(ResNetSettings):
    """The feature extractor.

    Attributes:
      mask_padding: set padded cells to zero after every layer; a cell is padding if the image does not reach it. False
        reproduces the released code: padding affects the features, and a cell is padding if its sampled pixel is.
    """


@dataclasses.dataclass(frozen=True)
class TransformerConfig(TransformerSettings):
    """Settings of the transformer, with the numbers of layers of its encoder and its box decoder."""

    encoder_layers: int = 6
    box_layers: int = 6

    def __post_init__(self):
        super().__post_init__()
        check_positive(box_layers=self.box_layers)


@dataclasses.dataclass(frozen=True)
class VerbConfig:
    """Verb head.

    Attributes:
      source: "none" (stage 1), "box_decoder" (QPIC) or "decoder", a second one with `layers` layers (stage 2, CDN).
      layers: of the verb decoder.
      prior: probability of every verb at initialisation.
    """

    source: Literal["none", "box_decoder", "decoder"] = "none"
    layers: int = 6
    prior: float = 0.5

    def __post_init__(self):
        check_positive(layers=self.layers)
        if not 0 < self.prior < 1:
            raise ValueError(f"prior is {self.prior}, expected a probability between 0 and 1")


@dataclasses.dataclass(frozen=True)
class PartsConfig:
    """The interactiveness classifier. The paper's value comes first, then the released code's or Table 5's ablations.

    Attributes:
      scheme: "one_pass"; "six_pass", one pass per part and a whole-image pass (the intuitive scheme, section 3.2);
        "instance", the same decoder without body parts.
      masks: "progressive" (Eqs. 3 to 5); "parts", the cells of the selected parts in all layers; "none".
      part_filter: "global", the best `keep_share` of all scores of an image, or "per_query", `keep_count` of each.
      merge_parts: parts summed in Eq. 7: "selected" or "all".
      part_query: "ffn" or "affine" (a scale and a shift per channel).
      other_humans: "minus" or "xor".
      layer3_mask: "target_human" or "same".
      cell_rule: "corner" or "floor".
      pose_failure: "person_box" replaces missing parts by the person's box; "skip" omits such a person.
      person_score: minimum score of detections whose body parts are used.
    """

    scheme: Literal["one_pass", "six_pass", "instance"] = "one_pass"
    masks: Literal["progressive", "parts", "none"] = "progressive"
    part_filter: Literal["global", "per_query"] = "global"
    keep_share: float = 0.25
    keep_count: int = 3
    merge_parts: Literal["selected", "all"] = "selected"
    part_query: Literal["ffn", "affine"] = "ffn"
    other_humans: Literal["minus", "xor"] = "minus"
    layer3_mask: Literal["target_human", "same"] = "target_human"
    cell_rule: Literal["corner", "floor"] = "corner"
    pose_failure: Literal["person_box", "skip"] = "person_box"
    person_score: float = 0.3

    def __post_init__(self):
        check_share(keep_share=self.keep_share, person_score=self.person_score)
        if not 1 <= self.keep_count <= 6:
            raise ValueError(f"keep_count is {self.keep_count}, expected 1 to 6")


@dataclasses.dataclass(frozen=True)
class MatchingConfig:
    """Weights of the assignment cost.

    Attributes:
      aux: assignment of intermediate layers: that of the "final" layer, or their "own".
      interactiveness_score: "sigmoid" of the second logit (body-part) or "softmax" (CDN).
    """

    object: float = 1.0
    box: float = 2.5
    giou: float = 1.0
    verb: float = 0.0
    interactiveness: float = 1.0
    interactiveness_score: Literal["sigmoid", "softmax"] = "sigmoid"
    aux: Literal["final", "own"] = "final"


@dataclasses.dataclass(frozen=True)
class ReweightConfig:
    """CDN's weights of classes (`systems.body_part.reweight`).

    Attributes:
      object, verb: "none"; "static", from counts of the training set; "dynamic", adapted to counts of recent batches.
        Object weights replace `no_object`; verb weights multiply the loss of positives.
      object_power, verb_power: exponent of the inverse frequencies.
      object_counts, verb_counts: training pairs per class; () = those of the vocabulary.
      background: count of queries without a pair or verb, as a multiple of all others.
      queue: number of loss calls (one per supervised layer and step) counted for dynamic weights.
    """

    object: Literal["none", "static", "dynamic"] = "none"
    verb: Literal["none", "static", "dynamic"] = "none"
    object_power: float = 0.7
    verb_power: float = 0.7
    object_counts: tuple[int, ...] = ()
    verb_counts: tuple[int, ...] = ()
    background: float = 3.0
    queue: int = 4704

    def __post_init__(self):
        check_not_negative(object_power=self.object_power, verb_power=self.verb_power)
        check_positive(background=self.background, queue=self.queue)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms.

    Attributes:
      object, box, giou, verb, interactiveness, consistency: weights (lambda) of the paper's terms.
      parts: weight of body-part labels (0.1 per part in the released code; the paper's main results use none).
      no_object: weight of the last class for queries without a pair.
      verb_loss: "focal" with `verb_alpha` (None = unweighted), or "bce".
      no_interaction_negative: count pairs annotated with `no_interaction` only as not interactive.
      reweight: weights of object and verb classes (CDN's second stage).
    """

    object: float = 1.0
    box: float = 2.5
    giou: float = 1.0
    verb: float = 1.0
    interactiveness: float = 1.0
    consistency: float = 1.0
    parts: float = 0.0
    no_object: float = 0.1
    verb_loss: Literal["focal", "bce"] = "focal"
    verb_alpha: float | None = 0.5
    no_interaction_negative: bool = False
    reweight: ReweightConfig = ReweightConfig()

    def __post_init__(self):
        if self.reweight.verb != "none" and self.verb_loss != "focal":
            raise ValueError("reweight.verb needs verb_loss 'focal': verb_loss 'bce' has no class weights")
        check_not_negative(
            object=self.object, box=self.box, giou=self.giou, verb=self.verb, interactiveness=self.interactiveness,
            consistency=self.consistency, parts=self.parts, no_object=self.no_object,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ProductNmsConfig:
    """CDN's suppression (`ops.scoring.product_nms`), used in its published results.

    Attributes:
      threshold: maximum of IoU_human ** human_power * IoU_object ** object_power; None = off.
      of: "triplet", among triplets of the same verb and object class (HICO-DET); "pair", among pairs of the same object
        class by their best verb (V-COCO). A suppressed pair gives no agent score either.
      best: maximum number of triplets per image that take part and remain (None = all).
    """

    threshold: float | None = None
    human_power: float = 1.0
    object_power: float = 0.5
    of: Literal["triplet", "pair"] = "triplet"
    best: int | None = 100

    def __post_init__(self):
        check_not_negative(human_power=self.human_power, object_power=self.object_power)
        if self.best is not None:
            check_positive(best=self.best)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Scores and suppression of pairs.

    Attributes:
      pair_nms: IoU of both boxes above which the weaker of two pairs of a class loses its verbs; None = off.
      product_nms: CDN's suppression, an alternative to `pair_nms`.
      nis_threshold: pairs of lower interactiveness are marked as suppressed; 0 = off. Thresholds per HOI class are
        fitted and applied to stored predictions instead.
      times_interactiveness: multiply verb scores by interactiveness (CDN).
    """

    pair_nms: float | None = 0.6
    product_nms: ProductNmsConfig = ProductNmsConfig()
    nis_threshold: float = 0.0
    times_interactiveness: bool = False

    def __post_init__(self):
        if self.pair_nms is not None and self.product_nms.threshold is not None:
            raise ValueError("pair_nms and product_nms both suppress repeated pairs; set one of them to None")


@dataclasses.dataclass(frozen=True)
class BodyPartConfig(ComputeSettings):
    """The whole system.

    Attributes:
      interactiveness: "parts" (this paper), "box_decoder" (CDN's matching head) or "none".
      queries: number of queries.
      query: "embedding", learned vectors (DETR, and the paper); "point", every query has a reference point, near which
        it attends at first (`nn.positional`) and from which its boxes are offsets. Use "point" to train from scratch.
    """

    backbone: BackboneConfig = BackboneConfig()
    transformer: TransformerConfig = TransformerConfig()
    verbs: VerbConfig = VerbConfig()
    parts: PartsConfig = PartsConfig()
    matching: MatchingConfig = MatchingConfig()
    loss: LossConfig = LossConfig()
    predict: PredictConfig = PredictConfig()
    interactiveness: Literal["parts", "box_decoder", "none"] = "parts"
    queries: int = 64
    query: Literal["embedding", "point"] = "embedding"

    def __post_init__(self):
        check_positive(queries=self.queries)
        if self.interactiveness == "none" and self.predict.times_interactiveness:
            raise ValueError("times_interactiveness needs an interactiveness head")

    @property
    def scores_parts(self) -> bool:
        """Whether the model predicts body-part scores."""
        return self.interactiveness == "parts" and self.parts.scheme == "one_pass"

    @property
    def uses_parts(self) -> bool:
        """Whether the model reads part boxes."""
        return self.interactiveness == "parts" and self.parts.scheme != "instance" and self.parts.masks != "none"
