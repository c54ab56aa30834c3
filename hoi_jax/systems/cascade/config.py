"""Cascade hyperparameters. Defaults are the paper's; choices where it gives none are explained below.

Every switch of the paper's Tables 4 to 8 is a value, as is every deviation of the released code, so that the release is
a set of values (`configs/cascade_common.py`, option `preset=release`) without any special case in the code.
"""

import dataclasses
from typing import Literal

from hoi_jax.backbones.settings import ComputeSettings, ResNetSettings
from hoi_jax.settings import check_not_negative, check_positive, check_share

MAX_STAGES = 5


@dataclasses.dataclass(frozen=True)
class BackboneConfig(ResNetSettings):
    """ResNet and feature pyramid, shared by all stages; the pyramid reads every stage of the network.

    Attributes:
      groups, group_width: ResNeXt's groups (64 of width 4 in the paper's X-101); 1 group is a plain ResNet.
      pyramid_width: channels C of every level.
    """

    groups: int = 1
    group_width: int = 64
    pyramid_width: int = 256

    def __post_init__(self):
        super().__post_init__()
        check_positive(pyramid_width=self.pyramid_width, groups=self.groups, group_width=self.group_width)
        if any(step != 2 for step in self.stage_strides[1:]):
            raise ValueError(f"stage_strides is {self.stage_strides}, but each level must halve the size of the last")

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of the levels from which RoIs are pooled."""
        first = self.stem_stride * self.stage_strides[0]
        return tuple(first * 2**level for level in range(len(self.stage_sizes)))

    @property
    def coarsest(self) -> int:
        """Pixels per cell of the last level of region proposals."""
        return 2 * self.strides[-1]


@dataclasses.dataclass(frozen=True)
class RpnConfig:
    """Region proposals.

    Attributes:
      width: channels of the head; scale: anchor side in cells; ratios: height / width of the anchors of a cell.
      positive, negative, best: IoU of positives, of negatives, and of an annotated box's best anchor.
      samples, positive_share: anchors per image in the loss, and their maximum share of positives.
      per_level, total: numbers of best proposals per level before suppression, and over all levels after it.
      overlap: IoU threshold of non-maximum suppression.
    """

    width: int = 256
    scale: float = 8.0
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    positive: float = 0.7
    negative: float = 0.3
    best: float = 0.3
    samples: int = 256
    positive_share: float = 0.5
    per_level: int = 1000
    total: int = 1000
    overlap: float = 0.7

    def __post_init__(self):
        check_positive(
            width=self.width, scale=self.scale, samples=self.samples, per_level=self.per_level, total=self.total
        )
        check_share(
            positive=self.positive,
            negative=self.negative,
            best=self.best,
            overlap=self.overlap,
            positive_share=self.positive_share,
        )


@dataclasses.dataclass(frozen=True)
class BoxConfig:
    """The chain of box heads.

    Attributes:
      width: width of hidden layers; size: cells of pooled features; finest_px: see `ops.roi_align.pyramid_level`.
      overlaps: minimum IoU of positive RoIs per stage, for up to five stages.
      stds: standard deviations of box offsets (centre, size) per stage.
      samples, positive_share: RoIs per image and stage in the loss, and their maximum share of positives.
      merge: "union": detections of all stages above `score`, suppressed together (the paper); "mean_logits": the mean
        of the class logits on the boxes of the last stage (the release).
      score, overlap: minimum score of detections, and IoU threshold of their suppression.
      candidates, detections: maximum numbers of detections before and after suppression.
    """

    width: int = 1024
    size: int = 7
    finest_px: float = 56.0
    overlaps: tuple[float, ...] = (0.5, 0.6, 0.7, 0.75, 0.8)
    stds: tuple[tuple[float, float], ...] = ((0.1, 0.2), (0.05, 0.1), (0.033, 0.067), (0.033, 0.067), (0.033, 0.067))
    samples: int = 512
    positive_share: float = 0.25
    merge: Literal["union", "mean_logits"] = "union"
    score: float = 0.3
    overlap: float = 0.5
    candidates: int = 512
    detections: int = 100

    def __post_init__(self):
        check_positive(
            width=self.width,
            size=self.size,
            samples=self.samples,
            candidates=self.candidates,
            detections=self.detections,
            finest_px=self.finest_px,
        )
        check_share(score=self.score, overlap=self.overlap, positive_share=self.positive_share)
        if len(self.overlaps) != MAX_STAGES or len(self.stds) != MAX_STAGES:
            raise ValueError(f"overlaps and stds must have {MAX_STAGES} entries each, one per possible stage")


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    """Mask heads of relation segmentation. `rois`: positive RoIs per image and stage in the loss."""

    enabled: bool = False
    convs: int = 4
    width: int = 256
    size: int = 14
    rois: int = 128
    flow: bool = True

    def __post_init__(self):
        check_positive(convs=self.convs, width=self.width, size=self.size, rois=self.rois)


@dataclasses.dataclass(frozen=True)
class RelationConfig:
    """Relation features, ranking and classification (paper, section 3.3).

    Attributes:
      region: features of the "box", of the "mask", or of both ("box+mask_max", "box+mask_sum"; Table 8).
      box_size, mask_size: cells per side of box and mask features; box features are enlarged if both are combined.
      mining: implicit human semantic mining: "dot" (Eqs. 5 to 7), "nonlocal" (the release's block), "nonlocal_inverted"
        (with the release's defect: dot products are multiplied by sqrt(width) instead of divided) or "none".
      mining_scale: factor of the dot products.
      face: explicit facial region attending (Eqs. 8 to 10).
      geometry: "maps" (2 x map_size x map_size) or "vector" (28 numbers through two layers of 64; release).
      semantic: "learned" (FC and sigmoid on X_s) or "table" (X_s itself; release).
      streams: those of "s", "g", "v" that are used; fusion: combination of their scores (Table 7).
      visual: "joint" features of the pair, or "mean3", the mean probability of three classifiers: on these features,
        on the human and on the object, the latter two with one layer each (release).
      width, geometric_width, face_width: widths of hidden layers; map_features: channels of the map stream.
      map_size: cells per side of its maps (TIN's 64; the paper gives none).
      heads: one relation network after each of the "stages", which reads the features of the previous one, or one after
        the "last" (release).
      ranking: rank all pairs and classify the best (RRM).
      rank_width: width of a layer between the features and the ranking score (release: 512); 0 = none, as in Eq. 12.
      background: whether there is one more output for "no relation" (release).
      prior: "vocabulary", "uniform", "hoi_w_release" (the authors' table) or a file (`relation_features.read_prior`).
    """

    region: Literal["box", "mask", "box+mask_max", "box+mask_sum"] = "box"
    box_size: int = 7
    mask_size: int = 14
    mining: Literal["dot", "nonlocal", "nonlocal_inverted", "none"] = "dot"
    mining_scale: float = 1.0
    face: bool = True
    geometry: Literal["maps", "vector"] = "maps"
    semantic: Literal["learned", "table"] = "learned"
    streams: tuple[str, ...] = ("s", "g", "v")
    fusion: Literal["v+g+s", "v*g*s", "(v+g)*s"] = "(v+g)*s"
    visual: Literal["joint", "mean3"] = "joint"
    width: int = 1024
    geometric_width: int = 256
    face_width: int = 1024
    map_features: tuple[int, ...] = (64, 32)
    map_size: int = 64
    heads: Literal["stages", "last"] = "stages"
    ranking: bool = True
    rank_width: int = 0
    background: bool = False
    prior: str = "vocabulary"

    def __post_init__(self):
        check_positive(
            width=self.width,
            geometric_width=self.geometric_width,
            face_width=self.face_width,
            map_size=self.map_size,
            box_size=self.box_size,
            mask_size=self.mask_size,
        )
        if not self.streams or set(self.streams) - {"s", "g", "v"} or len(set(self.streams)) != len(self.streams):
            raise ValueError(f"streams is {self.streams}, expected distinct letters of 's', 'g', 'v'")
        check_not_negative(rank_width=self.rank_width)
        if self.ranking and "v" not in self.streams and "g" not in self.streams:
            raise ValueError("ranking needs visual or geometric features, but streams has neither 'v' nor 'g'")
        if self.visual == "mean3" and self.face:
            raise ValueError("visual 'mean3' classifies the object alone and so needs face=False, as in the release")

    @property
    def uses_masks(self) -> bool:
        return self.region != "box"

    @property
    def size(self) -> int:
        """Cells per side of relation features."""
        return self.mask_size if self.uses_masks else self.box_size

    def stages_of(self, stages: int) -> tuple[int, ...]:
        """Indices, from 0, of the box stages (out of `stages`) that have a relation network."""
        return tuple(range(stages)) if self.heads == "stages" else (stages - 1,)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Eq. 18: sum over stages of beta (box + mask) + gamma (ranking + classification), and region proposals.

    Attributes:
      beta, gamma: weights per stage.
      ranking_margin: margin of Eq. 14.
      ranking_reduce: "mean" over the combinations of an image, their "sum" (as printed) or "drawn", the mean over 64
        combinations drawn with replacement, with a loss on their hidden layers too (release; needs
        `relation.rank_width`).
      boxes: make pairs of "detected" and annotated boxes, or of "annotated" ones alone (release).
      pairs, pair_share: pairs per image and stage, and their maximum share of annotated ones; with a share of 1 other
        pairs fill the remaining places, so that all pairs are used if there are at most `pairs`.
      pair_overlap: minimum IoU of a box with an annotated one that it matches; None = that of the stage.
      verb_mean: weight every pair of a batch equally in the loss of verbs ("pairs"), or every image ("images",
        release).
      reversed_verbs: (verb, inverse verb) pairs for objects that are people: an annotation of one implies the other
        with exchanged roles (release on PIC: "in front of" and "behind"); a symmetric verb is its own inverse.
      parts: "joint", "detector" (phase 1) or "relations" (phase 2 with a frozen detector).
    """

    beta: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625)
    gamma: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625)
    ranking_margin: float = 0.2
    ranking_reduce: Literal["mean", "sum", "drawn"] = "mean"
    boxes: Literal["detected", "annotated"] = "detected"
    pairs: int = 128
    pair_share: float = 0.25
    pair_overlap: float | None = None
    verb_mean: Literal["pairs", "images"] = "pairs"
    reversed_verbs: tuple[tuple[str, str], ...] = ()
    parts: Literal["joint", "detector", "relations"] = "joint"

    def __post_init__(self):
        if self.pair_overlap is not None:
            check_share(pair_overlap=self.pair_overlap)
        check_share(pair_share=self.pair_share)
        check_positive(pairs=self.pairs)
        if len(self.beta) != MAX_STAGES or len(self.gamma) != MAX_STAGES:
            raise ValueError(f"beta and gamma must have {MAX_STAGES} entries each, one per possible stage")


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Selection and scores of pairs in prediction.

    Attributes:
      top_pairs: number of pairs that are classified: the best by ranking, or without it by detection scores.
      rank_by: ranking score of the "last" stage, or the "mean" over stages.
      times_detections: multiply verb scores by both detection scores.
      human_score, object_score: minimum detection scores of human and object, in addition to `boxes.score`.
      chunk: number of pairs whose features are computed at once.
    """

    top_pairs: int = 64
    rank_by: Literal["last", "mean"] = "last"
    times_detections: bool = True
    human_score: float = 0.3
    object_score: float = 0.3
    chunk: int = 256

    def __post_init__(self):
        check_share(human_score=self.human_score, object_score=self.object_score)
        check_positive(top_pairs=self.top_pairs, chunk=self.chunk)


@dataclasses.dataclass(frozen=True)
class CascadeConfig(ComputeSettings):
    """The cascade.

    Attributes:
      stages: T, 1 to 5.
      detector: "own": region proposals and box heads; "external": the batch's detections, with the same boxes at every
        stage (and their masks, if `relation.region` uses masks).
      max_humans: maximum number of people in pairs.
    """

    stages: int = 3
    detector: Literal["own", "external"] = "own"
    max_humans: int = 32
    backbone: BackboneConfig = BackboneConfig()
    rpn: RpnConfig = RpnConfig()
    boxes: BoxConfig = BoxConfig()
    masks: MaskConfig = MaskConfig()
    relation: RelationConfig = RelationConfig()
    loss: LossConfig = LossConfig()
    predict: PredictConfig = PredictConfig()

    def __post_init__(self):
        check_positive(max_humans=self.max_humans)
        if not 1 <= self.stages <= MAX_STAGES:
            raise ValueError(f"stages is {self.stages}, expected 1 to {MAX_STAGES}")
        if self.relation.uses_masks and self.detector == "own" and not self.masks.enabled:
            raise ValueError(f"relation.region {self.relation.region!r} needs masks.enabled with the own detector")
        if self.loss.ranking_reduce == "drawn" and not self.relation.rank_width:
            raise ValueError("loss.ranking_reduce 'drawn' has a loss on hidden layers: it needs relation.rank_width")
        if self.detector == "external" and (self.masks.enabled or self.loss.parts == "detector"):
            raise ValueError(
                "detector 'external' has no trainable parts: masks.enabled and loss.parts 'detector' cannot be used"
            )
