"""Interactiveness AP of a prediction file, whole body and per body part."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.alignment import ONE_BASED, ZERO_BASED, Aligned, align, distinct_pairs, pair_truth
from hoi_jax.evaluation.metrics.ap import mean_defined
from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth, rank_detections, score_classes
from hoi_jax.evaluation.metrics.protocols import HoiProtocol
from hoi_jax.evaluation.metrics.result import EvaluationResult, merge
from hoi_jax.evaluation.metrics.vcoco import headline_roles, role_verbs
from hoi_jax.io import DataError
from hoi_jax.npz import rows_of
from hoi_jax.predictions import Predictions
from hoi_jax.schema import MERGED_PART_NAMES, NUM_MERGED_PARTS, PART_TO_MERGED
from hoi_jax.vocab import Vocabulary

PUBLISHED = HoiProtocol("interactiveness", thresholds="tenths", plus_one=False, prediction_shift=0.0)
"""Predictions unshifted, as in the published code: on HICO-DET they are one pixel off the 1-based annotations."""

ALIGNED = dataclasses.replace(PUBLISHED, name="interactiveness,aligned", prediction_shift=1.0)
"""For HICO-DET: 0-based predictions are shifted onto the 1-based annotations first."""

_CORNERS = dataclasses.replace(PUBLISHED, name="interactiveness,continuous corners")

_ROLE_ROW_FORMATS = ("flat-npz", "vcoco-pickle")
"""Layouts of the official V-COCO script: inclusive pixels, one row per role prediction instead of per pair."""


def evaluate_interactiveness_predictions(
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    published: Mapping[str, np.ndarray] | None = None,
    *,
    aligned: bool = False,
) -> EvaluationResult:
    """Interactiveness AP of all pairs, including suppressed ones (NIS uses the same score).

    Against `published`, predictions have the coordinates of the published code: 0-based inclusive pixels on HICO-DET
    and for files in the layout of the official V-COCO script, continuous corners otherwise. The first two are one
    pixel off the published boxes; `aligned` corrects it.

    Args:
      published: arrays of the published ground truth (`truth_from_published`), if available.
      aligned: move predictions onto the published boxes. `complete` is always aligned.

    Returns:
      metrics `interactiveness/{ap,max_recall}` and `interactiveness_unique/...` against `published`, and
      `interactiveness_complete/...` against the annotations. The manifest records the origin of the score.

    Raises:
      ValueError: the annotations have no pairs in the vocabulary of the predictions and `published` is None.
      DataError: the published arrays are malformed.
    """
    counted = align(predictions, annotations, use_nis=False)
    score, source = interactiveness_scores(predictions, vocabulary)
    inclusive = vocabulary.name == "hico_det"
    results = []
    if published is not None:
        truth, counts = truth_from_published(published, image_keys(annotations, vocabulary))
        in_file = inclusive or (_has_role_rows(predictions, vocabulary) and not aligned)
        detections = _detections(predictions, counted, score, vocabulary, in_file)
        protocol = (ALIGNED if aligned else PUBLISHED) if in_file else _CORNERS
        results.append(evaluate_interactiveness(truth, detections, protocol))
        unique = distinct_pairs(truth)
        results.append(evaluate_interactiveness(unique, detections, protocol, name="interactiveness_unique"))
        results.append(EvaluationResult({}, {}, {"published_truth": counts}))
    if annotations.vocabulary_name == vocabulary.name:
        truth = interactive_truth(annotations, vocabulary, inclusive)
        detections = _detections(predictions, counted, score, vocabulary, inclusive)
        protocol = ALIGNED if inclusive else _CORNERS
        results.append(evaluate_interactiveness(truth, detections, protocol, name="interactiveness_complete"))
    if not results:
        raise ValueError(f"the annotations have pairs in {annotations.vocabulary_name!r}, expected {vocabulary.name!r}")
    about = {"vocabulary": vocabulary.name, "interactiveness_score": source, **counted.provenance}
    return merge(*results, EvaluationResult({}, {}, about))


def _has_role_rows(predictions: Predictions, vocabulary: Vocabulary) -> bool:
    return bool(vocabulary.actions) and predictions.manifest.get("format") in _ROLE_ROW_FORMATS


def interactiveness_scores(predictions: Predictions, vocabulary: Vocabulary) -> tuple[Float[np.ndarray, " p"], str]:
    """(score per pair, description of its origin).

    A system without interactiveness gets the mean of the pair's scores over all interactive classes (as the
    body-part-map authors do for other systems: 520 on HICO-DET, 24 role classes on V-COCO); scores missing from the
    predictions are zero. Where each row is one role prediction, its own score is taken without averaging.
    """
    if not np.isnan(predictions.pair_interactiveness).all():
        return predictions.pair_interactiveness, "pair_interactiveness"
    if _has_role_rows(predictions, vocabulary):
        score = np.full(len(predictions.pair_nis_keep), np.nan)
        score[predictions.triplet_pair] = predictions.triplet_score
        return score, "role score, every role prediction being a pair"
    if vocabulary.actions:
        counts = np.zeros(len(vocabulary.verbs), bool)
        counts[np.array(role_verbs(vocabulary))[headline_roles(vocabulary)]] = True
        classes = int(counts.sum())
    else:
        counts = np.arange(len(vocabulary.verbs)) != vocabulary.no_interaction
        classes = sum(verb != vocabulary.no_interaction for verb, _ in vocabulary.hois)
    used = counts[predictions.triplet_verb] & ~np.isnan(predictions.triplet_score)
    total = np.bincount(
        predictions.triplet_pair[used], predictions.triplet_score[used], minlength=len(predictions.pair_nis_keep)
    )
    return total / classes, f"mean over {classes} interactive classes"


def _detections(
    predictions: Predictions,
    counted: Aligned,
    score: Float[np.ndarray, " p"],
    vocabulary: Vocabulary,
    inclusive: bool,
) -> PairDetections:
    """Pairs with an object; `inclusive`: in 0-based inclusive pixels.

    In action style the object must have a class and a width, as in the published code: V-COCO's "object not visible"
    is a class of its own with an empty box.
    """
    shift = ZERO_BASED * inclusive
    human, obj = (
        boxes[counted.pair_rows] + shift for boxes in (predictions.pair_human_xyxy_px, predictions.pair_object_xyxy_px)
    )
    used = ~np.isnan(obj).any(-1)
    if vocabulary.actions:
        used &= (predictions.pair_object_class[counted.pair_rows] >= 0) & (obj[:, 2] > obj[:, 0])
    return binary_detections(counted.pair_image[used], human[used], obj[used], score[counted.pair_rows][used])


def image_keys(annotations: Annotations, vocabulary: Vocabulary) -> Int[np.ndarray, " i"]:
    """Key of each image in the published ground truth.

    On HICO-DET it is the number at the end of the file name (`image_id` may be a position in a list), elsewhere
    `image_id`.

    Raises:
      DataError: a HICO-DET file name ends in no number.
    """
    if vocabulary.name != "hico_det":
        return annotations.image_id.astype(np.int64)
    numbers = []
    for name in annotations.file_name.tolist():
        digits = PurePath(name).stem.split("_")[-1]
        if not digits.isdecimal():
            raise DataError(f"field 'file_name' has {name!r}, which ends in no image number")
        numbers.append(int(digits))
    return np.array(numbers, np.int64)


def interactive_rows(annotations: Annotations, vocabulary: Vocabulary) -> Bool[np.ndarray, " rows"]:
    """Annotated pair rows that have an object and a verb other than `no_interaction`."""
    return (annotations["pairs_verb"] != vocabulary.no_interaction) & (annotations["pairs_object"] >= 0)


def interactive_truth(
    annotations: Annotations,
    vocabulary: Vocabulary,
    inclusive: bool,
    rows: Bool[np.ndarray, " rows"] | None = None,
) -> PairTruth:
    """Distinct interactive pairs (of `rows`, all by default), all with label 0; `inclusive`: 1-based pixels."""
    used = interactive_rows(annotations, vocabulary)
    if rows is not None:
        used &= rows
    truth = distinct_pairs(pair_truth(annotations, np.where(used, 0, -1)))
    shift = ONE_BASED * inclusive
    return dataclasses.replace(
        truth, human_xyxy_px=truth.human_xyxy_px + shift, object_xyxy_px=truth.object_xyxy_px + shift
    )


def active_parts(part_states: Int[np.ndarray, "rows 10"]) -> Bool[np.ndarray, "rows 6"]:
    """Merged parts (`schema.MERGED_PART_NAMES`) of which the left or the right one acts; unknown counts as no."""
    merged = np.zeros((len(part_states), NUM_MERGED_PARTS), bool)
    for part, group in enumerate(PART_TO_MERGED):
        merged[:, group] |= part_states[:, part] == 1
    return merged


def evaluate_part_interactiveness(
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary
) -> EvaluationResult:
    """Interactiveness AP per merged body part. The definition is ours, as no script or ground truth is public.

    The positives of a part are the distinct interactive pairs in which it acts; the score is the pair's score for
    the part; matching and AP are those of whole-body interactiveness (`complete`).

    Returns:
      metrics `part_interactiveness/<part>/{ap,max_recall}` and `part_interactiveness/mean_ap` over the parts that
      have a pair; per class `part_interactiveness/{ap,num_positives}` [6] in the order of `MERGED_PART_NAMES`.

    Raises:
      ValueError: the predictions have no part scores, or the annotations have no part states or another vocabulary.
    """
    if annotations.vocabulary_name != vocabulary.name:
        raise ValueError(f"the annotations have pairs in {annotations.vocabulary_name!r}, expected {vocabulary.name!r}")
    states = annotations["pairs_part_states"]
    if not np.any(states >= 0):
        raise ValueError("no annotated pair has body-part states")
    if np.isnan(predictions.pair_part_scores).all():
        raise ValueError("the predictions have no body-part scores")
    counted = align(predictions, annotations, use_nis=False)
    inclusive = vocabulary.name == "hico_det"
    active = active_parts(states)
    results = []
    for part, name in enumerate(MERGED_PART_NAMES):
        truth = interactive_truth(annotations, vocabulary, inclusive, active[:, part])
        detections = _detections(predictions, counted, predictions.pair_part_scores[:, part], vocabulary, inclusive)
        protocol = ALIGNED if inclusive else _CORNERS
        results.append(evaluate_interactiveness(truth, detections, protocol, name=f"part_interactiveness/{name}"))
    whole = merge(*results)
    ap = np.array([whole.metrics[f"part_interactiveness/{name}/ap"] for name in MERGED_PART_NAMES])
    positives = [whole.manifest[f"part_interactiveness/{name}"]["num_truth_pairs"] for name in MERGED_PART_NAMES]
    unknown = interactive_rows(annotations, vocabulary) & (states < 0).all(-1)
    about = {"pairs_without_part_states": int(unknown.sum()), "vocabulary": vocabulary.name, **counted.provenance}
    return EvaluationResult(
        {**whole.metrics, "part_interactiveness/mean_ap": mean_defined(ap)},
        {"part_interactiveness/ap": ap, "part_interactiveness/num_positives": np.array(positives)},
        {**whole.manifest, **about},
    )


# Interactiveness AP of the flat prediction layouts (`flat-npz` of HICO-DET, and its V-COCO sibling).

NO_OBJECT_LABEL = 80


def _take(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> list[np.ndarray]:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"flat predictions lack {missing}")
    return [arrays[name] for name in names]


def detections_from_hico_flat(arrays: Mapping[str, np.ndarray]) -> PairDetections:
    """Every pair with its `pair_binary_score`; boxes stay 0-based inclusive. Raises DataError for a missing array."""
    image, human, obj, score = _take(arrays, ("pair_image", "pair_hbox", "pair_obox", "pair_binary_score"))
    return binary_detections(image, human, obj, score)


def detections_from_vcoco_flat(arrays: Mapping[str, np.ndarray], image_ids: Int[np.ndarray, " i"]) -> PairDetections:
    """Every role prediction with a real object (`role_label` below 80, a box with x2 > x1), scored by `role_score`.

    Raises:
      DataError: an array is absent or an image is unknown.
    """
    names = ("det_image", "det_person_box", "role_det", "role_box", "role_score", "role_label")
    image, person, detection, box, score, label = _take(arrays, names)
    rows = np.flatnonzero((label < NO_OBJECT_LABEL) & (box[:, 2] > box[:, 0]))
    detection = detection[rows].astype(np.int64)
    return binary_detections(rows_of(image_ids, image[detection], "image"), person[detection], box[rows], score[rows])


# Interactiveness AP: does a pair interact at all (Li et al., TIN++ 2021, as in the body-part-map repository)?
#
# One ranking over all pairs of all images. A pair belongs to the annotated pair of its image that it overlaps most
# (smaller IoU of human and object, sides x2 - x1, classes not compared); it is right when that overlap is at least
# 0.5 and the annotated pair is not yet found. 11-point AP with thresholds i/10.
#
# Three ground truths are in use, and their numbers are not comparable:
# - `published`: the files used in papers. HICO-DET's lacks 80 interactive classes because of an off-by-one error, so
#   finding them is penalised; V-COCO's lists a pair once per role class, and a repeated row can never be found
#   (`published_recall_bound`).
# - `unique`: the published file with every pair once.
# - `complete`: all annotated pairs whose verb is not `no_interaction`, each once (HICO-DET: 520 classes).


def evaluate_interactiveness(
    truth: PairTruth, detections: PairDetections, protocol: HoiProtocol = PUBLISHED, *, name: str = "interactiveness"
) -> EvaluationResult:
    """Interactiveness AP of flat arrays.

    Args:
      truth: annotated pairs, all with label 0.
      detections: pairs with one score each, all with label 0.
      protocol: `PUBLISHED` or `ALIGNED`.
      name: prefix of the metrics.

    Returns:
      metrics `<name>/ap`, `<name>/max_recall`; counts in the manifest under `<name>`.
    """
    ranked = rank_detections(truth, detections, 1, protocol)
    ap, recall = score_classes(ranked, None, np.array([len(truth.label)]), protocol)
    manifest = {
        "protocol": dataclasses.asdict(protocol),
        "num_images": truth.num_images,
        "num_truth_pairs": len(truth.label),
        "recall_bound": published_recall_bound(truth),
        "true_positives": int(ranked.hit.sum()),
        **ranked.counts,
    }
    return EvaluationResult({f"{name}/ap": float(ap[0]), f"{name}/max_recall": float(recall[0])}, {}, {name: manifest})


def published_recall_bound(truth: PairTruth) -> float:
    """Upper bound of recall, since only the first of identical rows can be found; NaN if empty."""
    return len(distinct_pairs(truth).label) / len(truth.label) if len(truth.label) else float("nan")


def binary_detections(
    image: Int[np.ndarray, " p"],
    human_xyxy_px: Float[np.ndarray, "p 4"],
    object_xyxy_px: Float[np.ndarray, "p 4"],
    score: Float[np.ndarray, " p"],
) -> PairDetections:
    """Pairs with one score each."""
    rows = np.arange(len(image))
    human, obj = np.asarray(human_xyxy_px, np.float64), np.asarray(object_xyxy_px, np.float64)
    return PairDetections(np.asarray(image, np.int64), human, obj, rows, np.zeros_like(rows), np.asarray(score))


def truth_from_published(
    arrays: Mapping[str, np.ndarray], image_keys: Int[np.ndarray, " i"]
) -> tuple[PairTruth, dict[str, int]]:
    """Ground truth of the published layout for the images `image_keys`.

    Args:
      arrays: `image_key` [K], `count` [K] and `boxes` [sum(count), 8] (human then object; 1-based inclusive on
        HICO-DET, x2 = x1 + width on V-COCO).
      image_keys: file number (HICO-DET) or COCO number of every image of the split, in row order, distinct.

    Returns:
      The pairs of these images, and counts of pairs with and without them for the manifest.

    Raises:
      DataError: a field is absent, of the wrong shape, or the counts do not add up.
    """
    for field, width in (("image_key", ()), ("count", ()), ("boxes", (8,))):
        if field not in arrays or arrays[field].ndim != 1 + len(width) or arrays[field].shape[1:] != width:
            raise DataError(f"interactiveness ground truth: field {field!r} is absent or not of shape [n, *{width}]")
    key, count, boxes = arrays["image_key"], arrays["count"].astype(np.int64), arrays["boxes"].astype(np.float64)
    if len(count) != len(key) or np.any(count < 0) or count.sum() != len(boxes):
        raise DataError(f"interactiveness ground truth: field 'count' does not add up to {len(boxes)} pairs")
    row_of = {int(number): row for row, number in enumerate(image_keys)}
    image = np.repeat(np.array([row_of.get(int(number), -1) for number in key], np.int64), count)
    used = image >= 0
    truth = PairTruth(len(image_keys), image[used], boxes[used, :4], boxes[used, 4:], np.zeros(used.sum(), np.int64))
    return truth, {"truth_pairs_of_other_images": int((~used).sum())}
