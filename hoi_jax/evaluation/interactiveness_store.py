"""Interactiveness AP of a prediction store, whole body and per body part."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.alignment import ZERO_BASED, Aligned, align
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.ap import mean_defined
from hoi_jax.evaluation.hico_det import PairDetections, PairTruth
from hoi_jax.evaluation.interactiveness import (
    ALIGNED,
    PUBLISHED,
    binary_detections,
    evaluate_interactiveness,
    truth_from_published,
)
from hoi_jax.evaluation.pair_frame import ONE_BASED, distinct_pairs, pair_truth
from hoi_jax.evaluation.result import EvaluationResult, merge
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.evaluation.vcoco import headline_roles, role_verbs
from hoi_jax.io import DataError
from hoi_jax.schema import MERGED_PART_NAMES, NUM_MERGED_PARTS, PART_TO_MERGED
from hoi_jax.vocab import Vocabulary

_CORNERS = dataclasses.replace(PUBLISHED, name="interactiveness,continuous corners")

_ROLE_ROW_FORMATS = ("flat-npz", "vcoco-pickle")
"""Layouts of the official V-COCO script: inclusive pixels, and one row per role prediction instead of per pair."""


def evaluate_interactiveness_store(
    store: PredictionStore,
    annotations: Annotations,
    vocabulary: Vocabulary,
    published: Mapping[str, np.ndarray] | None = None,
    *,
    aligned: bool = False,
) -> EvaluationResult:
    """Interactiveness AP of all pairs of a store, suppressed ones included (NIS reads the same score).

    Against `published`, predictions enter as the published code gets them: 0-based inclusive pixels on HICO-DET and
    for files in the layout of the official V-COCO script, continuous corners otherwise. That is one pixel off the
    published boxes in the first two cases; `aligned` corrects it.

    Args:
      published: arrays of the published ground truth (`truth_from_published`), if at hand.
      aligned: move predictions onto the published boxes. `complete` is always aligned.

    Returns:
      metrics `interactiveness/{ap,max_recall}` and `interactiveness_unique/...` against `published`, and
      `interactiveness_complete/...` against the annotations. The manifest says where the score came from.

    Raises:
      ValueError: the annotations have no pairs in the vocabulary of the store and `published` is None.
      DataError: the published arrays are malformed.
    """
    counted = align(store, annotations, use_nis=False)
    score, source = interactiveness_scores(store, vocabulary)
    inclusive = vocabulary.name == "hico_det"
    results = []
    if published is not None:
        truth, counts = truth_from_published(published, image_keys(annotations, vocabulary))
        in_file = inclusive or (_has_role_rows(store, vocabulary) and not aligned)
        detections = _detections(store, counted, score, vocabulary, in_file)
        protocol = (ALIGNED if aligned else PUBLISHED) if in_file else _CORNERS
        results.append(evaluate_interactiveness(truth, detections, protocol))
        unique = distinct_pairs(truth)
        results.append(evaluate_interactiveness(unique, detections, protocol, name="interactiveness_unique"))
        results.append(EvaluationResult({}, {}, {"published_truth": counts}))
    if annotations.vocabulary_name == vocabulary.name:
        truth = interactive_truth(annotations, vocabulary, inclusive)
        detections = _detections(store, counted, score, vocabulary, inclusive)
        protocol = ALIGNED if inclusive else _CORNERS
        results.append(evaluate_interactiveness(truth, detections, protocol, name="interactiveness_complete"))
    if not results:
        raise ValueError(f"the annotations have pairs in {annotations.vocabulary_name!r}, not {vocabulary.name!r}")
    about = {"vocabulary": vocabulary.name, "interactiveness_score": source, **counted.provenance}
    return merge(*results, EvaluationResult({}, {}, about))


def _has_role_rows(store: PredictionStore, vocabulary: Vocabulary) -> bool:
    return bool(vocabulary.actions) and store.manifest.get("format") in _ROLE_ROW_FORMATS


def interactiveness_scores(store: PredictionStore, vocabulary: Vocabulary) -> tuple[Float[np.ndarray, " p"], str]:
    """(score per pair of the store, where it comes from).

    A system without interactiveness gets the mean of the pair's scores over all interactive classes (as the
    body-part-map authors do for other systems: 520 on HICO-DET, 24 role classes on V-COCO); scores that the store
    leaves out are zero. Where each row is one role prediction there is nothing to average: its own score counts.
    """
    if not np.isnan(store.pair_interactiveness).all():
        return store.pair_interactiveness, "pair_interactiveness"
    if _has_role_rows(store, vocabulary):
        score = np.full(len(store.pair_kept), np.nan)
        score[store.trip_pair] = store.trip_score
        return score, "role score, every role prediction being a pair"
    if vocabulary.actions:
        counts = np.zeros(len(vocabulary.verbs), bool)
        counts[np.array(role_verbs(vocabulary))[headline_roles(vocabulary)]] = True
        classes = int(counts.sum())
    else:
        counts = np.arange(len(vocabulary.verbs)) != vocabulary.no_interaction
        classes = sum(verb != vocabulary.no_interaction for verb, _ in vocabulary.hois)
    used = counts[store.trip_verb] & ~np.isnan(store.trip_score)
    total = np.bincount(store.trip_pair[used], store.trip_score[used], minlength=len(store.pair_kept))
    return total / classes, f"mean over {classes} interactive classes"


def _detections(
    store: PredictionStore,
    counted: Aligned,
    score: Float[np.ndarray, " p"],
    vocabulary: Vocabulary,
    inclusive: bool,
) -> PairDetections:
    """Pairs with an object; `inclusive`: in 0-based inclusive pixels.

    In action style the object must have a class and a width, as published: V-COCO's "object not visible" is a class
    of its own and an empty box.
    """
    shift = ZERO_BASED * inclusive
    human, obj = (boxes[counted.pair_rows] + shift for boxes in (store.pair_human_xyxy_px, store.pair_object_xyxy_px))
    used = ~np.isnan(obj).any(-1)
    if vocabulary.actions:
        used &= (store.pair_object_class[counted.pair_rows] >= 0) & (obj[:, 2] > obj[:, 0])
    return binary_detections(counted.pair_image[used], human[used], obj[used], score[counted.pair_rows][used])


def image_keys(annotations: Annotations, vocabulary: Vocabulary) -> Int[np.ndarray, " i"]:
    """The number by which published ground truth names each image.

    On HICO-DET this is the number at the end of the file name (`image_id` may be a position in a list), elsewhere
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
    """Merged parts (`schema.MERGED_PART_NAMES`) that act: the left or the right one does; unknown counts as no."""
    merged = np.zeros((len(part_states), NUM_MERGED_PARTS), bool)
    for part, group in enumerate(PART_TO_MERGED):
        merged[:, group] |= part_states[:, part] == 1
    return merged


def evaluate_part_interactiveness(
    store: PredictionStore, annotations: Annotations, vocabulary: Vocabulary
) -> EvaluationResult:
    """Interactiveness AP once per merged body part. The definition is ours: no public script or truth exists.

    Ground truth of a part are the distinct interactive pairs in which it acts; the score is the pair's score for
    the part; matching and AP are those of whole-body interactiveness (`complete`).

    Returns:
      metrics `part_interactiveness/<part>/{ap,max_recall}` and `part_interactiveness/mean_ap` over the parts that
      have a pair; per class `part_interactiveness/{ap,num_positives}` [6] in the order of `MERGED_PART_NAMES`.

    Raises:
      ValueError: the store has no part scores, or the annotations no part states or other verbs.
    """
    if annotations.vocabulary_name != vocabulary.name:
        raise ValueError(f"the annotations have pairs in {annotations.vocabulary_name!r}, not {vocabulary.name!r}")
    states = annotations["pairs_part_states"]
    if not np.any(states >= 0):
        raise ValueError("no annotated pair says which body parts act")
    if np.isnan(store.pair_part_scores).all():
        raise ValueError("the predictions hold no body-part scores")
    counted = align(store, annotations, use_nis=False)
    inclusive = vocabulary.name == "hico_det"
    active = active_parts(states)
    results = []
    for part, name in enumerate(MERGED_PART_NAMES):
        truth = interactive_truth(annotations, vocabulary, inclusive, active[:, part])
        detections = _detections(store, counted, store.pair_part_scores[:, part], vocabulary, inclusive)
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
