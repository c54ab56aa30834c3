"""Error kinds of false positives per HOI class, and the mAP gained by fixing each kind.

In the spirit of TIDE (Bolya et al., ECCV 2020), for pairs. "Fits" means IoU at the protocol's threshold (0.5), the
smaller of both boxes for a pair. Every counted false positive of class (verb, object) gets the first kind that holds:

  duplicate        it fits an annotated pair of its class that a better-scored detection has found
  wrong_verb       it fits an annotated pair of the same object class with other verbs
  wrong_object     it fits an annotated pair of another object class
  wrong_pairing    its human box fits the human of an annotated pair and its object box an object of its own class, but
                   no pair holds both
  bad_human_box    its best overlap with a pair of its class reaches 0.1 and does not fit; the human's IoU is smaller
  bad_object_box   the same, and the object's IoU is smaller or equal
  background       none of these

Fixes: a false positive with a bad box becomes the true positive of the pair that it nearly fits; where several
detections then find one pair, only the best-scored stays. All other kinds are removed from the ranking. The fix of
`missed` computes recall over the found pairs only. No fix can lower an AP. Each fix is applied alone, so the gains do
not add up.

Counts are given for all false positives, most of which have very low scores, and for the leading ones: the N best
detections of a class, with N its annotated pairs (as Hoiem et al., ECCV 2012, did for objects). In a perfect ranking
all leading detections are true positives.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.ap import mean_defined
from hoi_jax.evaluation.metrics.hico_det import (
    PairDetections,
    PairTruth,
    RankedHits,
    overlap_passes,
    rank_detections,
    score_classes,
    shifted_boxes,
)
from hoi_jax.evaluation.metrics.matching import candidate_chunks, first_hits, matched_iou
from hoi_jax.evaluation.metrics.protocols import HoiProtocol, hoi_protocol
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.score import hoi_inputs
from hoi_jax.predictions import Predictions
from hoi_jax.vocab.tables import Vocabulary

KINDS = (
    "duplicate",
    "wrong_verb",
    "wrong_object",
    "wrong_pairing",
    "bad_human_box",
    "bad_object_box",
    "background",
)
BACKGROUND_OVERLAP = 0.1

_HIT = -1
_REPAIRED = (KINDS.index("bad_human_box"), KINDS.index("bad_object_box"))


def error_kinds(
    truth: PairTruth,
    detections: PairDetections,
    ranked: RankedHits,
    vocabulary: Vocabulary,
    protocol: HoiProtocol,
) -> Int[np.ndarray, " t"]:
    """Index in `KINDS` of every ranked detection; -1 for true positives."""
    object_of_class = np.array([obj for _, obj in vocabulary.hois])
    pair = detections.triplet_pair[ranked.row]
    obj = object_of_class[ranked.label]
    fits = _pair_fits(truth, detections, object_of_class, protocol)
    human_iou, object_iou = _ious_with(truth, detections, ranked, protocol)
    near = ranked.overlap >= BACKGROUND_OVERLAP
    conditions = [
        ranked.hit,
        ranked.passes,
        fits.pair_of[pair, obj],
        np.any(fits.pair_of, axis=1)[pair],
        fits.human[pair] & fits.object_of[pair, obj],
        near & (human_iou < object_iou),
        near,
    ]
    kinds = [_HIT, *range(len(KINDS) - 1)]
    return np.select(conditions, kinds, len(KINDS) - 1)


@dataclasses.dataclass(frozen=True)
class _PairFits:
    """Matches of each predicted pair: with annotated pairs by object class, with humans, with objects by class."""

    pair_of: Bool[np.ndarray, "p objects"]
    human: Bool[np.ndarray, " p"]
    object_of: Bool[np.ndarray, "p objects"]


def _pair_fits(
    truth: PairTruth, detections: PairDetections, object_of_class: np.ndarray, protocol: HoiProtocol
) -> _PairFits:
    humans, objects = shifted_boxes(detections, protocol)
    shape = (len(detections.pair_image), int(object_of_class.max(initial=-1)) + 1)
    fits = _PairFits(np.zeros(shape, bool), np.zeros(shape[0], bool), np.zeros(shape, bool))
    for pair, row in candidate_chunks(detections.pair_image, truth.image):
        human = matched_iou(humans[pair], truth.human_xyxy_px[row], plus_one=protocol.plus_one)
        obj = matched_iou(objects[pair], truth.object_xyxy_px[row], plus_one=protocol.plus_one)
        human_fits, object_fits = overlap_passes(human, protocol), overlap_passes(obj, protocol)
        object_class = object_of_class[truth.label[row]]
        both = human_fits & object_fits
        fits.human[pair[human_fits]] = True
        fits.object_of[pair[object_fits], object_class[object_fits]] = True
        fits.pair_of[pair[both], object_class[both]] = True
    return fits


def _ious_with(
    truth: PairTruth, detections: PairDetections, ranked: RankedHits, protocol: HoiProtocol
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """IoU of human and object with those of `ranked.truth`; 0 where that is -1."""
    rows = np.flatnonzero(ranked.truth >= 0)
    result = []
    for predicted, annotated in zip(
        shifted_boxes(detections, protocol), (truth.human_xyxy_px, truth.object_xyxy_px), strict=True
    ):
        iou = np.zeros(len(ranked.truth))
        boxes = predicted[detections.triplet_pair[ranked.row[rows]]]
        iou[rows] = matched_iou(boxes, annotated[ranked.truth[rows]], plus_one=protocol.plus_one)
        result.append(iou)
    return result[0], result[1]


def analyse_errors(
    truth: PairTruth,
    detections: PairDetections,
    vocabulary: Vocabulary,
    protocol: HoiProtocol | None = None,
) -> EvaluationResult:
    """Kinds of false positives in the Default setting; arguments as of `hico_det.evaluate_hoi`.

    Returns:
      metrics `errors/<kind>/delta_{full,rare,non_rare}`: gain in mAP (0..1) from fixing the kind, also for `missed`.
      Per class [C] `errors/<kind>/count`, `errors/<kind>/delta_ap` (NaN for a class without annotated pairs),
      `errors/true_positive/count`, `errors/ap`. The manifest has the totals, of all detections and of the leading ones.

    Raises:
      ValueError: as `rank_detections`.
    """
    protocol = protocol or hoi_protocol("official")
    num_classes = len(vocabulary.hois)
    ranked = rank_detections(truth, detections, num_classes, protocol)
    kind = error_kinds(truth, detections, ranked, vocabulary, protocol)
    positives = np.bincount(truth.label, minlength=num_classes)
    base, _ = score_classes(ranked, None, positives, protocol)
    found = np.bincount(ranked.label[ranked.hit], minlength=num_classes)
    per_class: dict[str, np.ndarray] = {"errors/ap": base, "errors/true_positive/count": found}
    fixed: dict[str, np.ndarray] = {}
    for index, name in enumerate(KINDS):
        per_class[f"errors/{name}/count"] = np.bincount(ranked.label[kind == index], minlength=num_classes)
        fixed[name] = _fixed_ap(ranked, kind == index, index in _REPAIRED, positives, protocol)
    per_class["errors/missed/count"] = positives - found
    fixed["missed"] = _ap_without_misses(ranked, found, positives, protocol)

    metrics: dict[str, float] = {}
    groups = {"full": np.ones(num_classes, bool), "rare": vocabulary.rare, "non_rare": ~vocabulary.rare}
    for name, ap in fixed.items():
        per_class[f"errors/{name}/delta_ap"] = ap - base
        for group, mask in groups.items():
            metrics[f"errors/{name}/delta_{group}"] = mean_defined((ap - base)[mask])
    totals = {name: int(per_class[f"errors/{name}/count"].sum()) for name in ("true_positive", *fixed)}
    leading = kind[is_leading(ranked.label, positives)]
    leading_totals = {name: int((leading == index).sum()) for index, name in enumerate(("true_positive", *KINDS), _HIT)}
    return EvaluationResult(
        metrics,
        per_class,
        {
            "vocabulary": vocabulary.name,
            "protocol": dataclasses.asdict(protocol),
            "error_totals": totals,
            "leading_error_totals": leading_totals,
        },
    )


def is_leading(label: Int[np.ndarray, " t"], positives: Int[np.ndarray, " c"]) -> Bool[np.ndarray, " t"]:
    """Whether a detection is among the first `positives[class]` of its class; `label` is ordered as in `RankedHits`."""
    rank = np.arange(len(label)) - np.searchsorted(label, label)
    return rank < positives[label]


def _fixed_ap(
    ranked: RankedHits,
    chosen: Bool[np.ndarray, " t"],
    repair: bool,
    positives: Int[np.ndarray, " c"],
    protocol: HoiProtocol,
) -> Float[np.ndarray, " c"]:
    if not repair:
        return score_classes(ranked, ~chosen, positives, protocol)[0]
    hit = first_hits(ranked.truth, ranked.passes | chosen)
    superseded = (chosen | ranked.hit) & ~hit
    return score_classes(dataclasses.replace(ranked, hit=hit), ~superseded, positives, protocol)[0]


def _ap_without_misses(
    ranked: RankedHits, found: Int[np.ndarray, " c"], positives: Int[np.ndarray, " c"], protocol: HoiProtocol
) -> Float[np.ndarray, " c"]:
    """AP with recall over the found pairs; 1 where nothing was found, since the fix then finds every pair."""
    ap, _ = score_classes(ranked, None, found, protocol)
    ap[(found == 0) & (positives > 0)] = 1.0
    return ap


def analyse_prediction_errors(
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    protocol: HoiProtocol | None = None,
    *,
    use_nis: bool = True,
) -> EvaluationResult:
    """`analyse_errors` of predictions; needs a vocabulary of HOI classes."""
    truth, detections, manifest = hoi_inputs(predictions, annotations, vocabulary, use_nis=use_nis)
    result = analyse_errors(truth, detections, vocabulary, protocol)
    return dataclasses.replace(result, manifest={**result.manifest, **manifest})


# Average precision within an image, for finding the best and the worst images of a split.
#
# Go down the predictions (person, verb, object) of the image by score; at each right one note the share of right ones
# so far; sum these shares, and divide by the number of annotated interactions. An interaction that is never found
# counts 0. The value is 1 when every annotated interaction was found and no wrong prediction ranks above one of them.
# Unlike mAP it compares scores of different verbs with one another. It needs no threshold, and no benchmark uses it.


def per_image_ap(
    image: Int[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    num_positives: Int[np.ndarray, " images"],
) -> Float[np.ndarray, " images"]:
    """AP within each image; NaN where nothing is annotated.

    Args:
      image: row of the image of each prediction; score: for ranking, ties keep their order; right: whether it is a
        true positive.
      num_positives: annotated interactions per image.

    Raises:
      ValueError: more right predictions than annotated interactions.
    """
    count = len(num_positives)
    if np.any(np.bincount(image[right], minlength=count) > num_positives):
        raise ValueError("an image has more right predictions than annotated interactions")
    order = np.lexsort((-score, image))
    image, right = image[order], right[order]
    first = np.searchsorted(image, image)
    rank = np.arange(len(image)) - first + 1
    running = np.cumsum(right)
    before = np.concatenate([[0], running])[first]
    shares = np.where(right, (running - before) / rank, 0.0)
    total = np.bincount(image, shares, minlength=count)
    return np.where(num_positives > 0, total / np.maximum(num_positives, 1), np.nan)
