"""Interactiveness AP: does a pair interact at all (Li et al., TIN++ 2021, as in the body-part-map repository)?

One ranking over all pairs of all images. A pair finds the annotated pair of its image that it overlaps most
(smaller IoU of human and object, sides x2 - x1, classes not compared); it is right when that overlap is at least
0.5 and the annotated pair is still free. 11-point AP with thresholds i/10.

Three ground truths are in use, and their numbers are not comparable:
- `published`: the files that papers used. HICO-DET's lacks 80 interactive classes by an off-by-one, so that a
  detector is punished for finding them; V-COCO's lists a pair once per role class, and a repeated row can never be
  found (`published_recall_bound`).
- `unique`: the published file with every pair once.
- `complete`: all annotated pairs whose verb is not `no_interaction`, each once (HICO-DET: 520 classes).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from hoi_jax.evaluation.hico_det import PairDetections, PairTruth, rank_detections, score_classes
from hoi_jax.evaluation.pair_frame import distinct_pairs
from hoi_jax.evaluation.protocols import HoiProtocol
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.io import DataError

PUBLISHED = HoiProtocol("interactiveness", thresholds="tenths", plus_one=False, prediction_shift=0.0)
"""Predictions are taken as they are: on HICO-DET one pixel off the 1-based annotation, as in the published code."""

ALIGNED = dataclasses.replace(PUBLISHED, name="interactiveness,aligned", prediction_shift=1.0)
"""For HICO-DET: 0-based predictions are moved onto the 1-based annotation first."""


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
    """Largest recall that any predictions can reach: of identical rows only the first can be found. NaN if empty."""
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
      The pairs, and counts for the manifest: pairs of other images are left out.

    Raises:
      DataError: a field is absent, of the wrong shape, or the counts do not add up.
    """
    for field, width in (("image_key", ()), ("count", ()), ("boxes", (8,))):
        if field not in arrays or arrays[field].ndim != 1 + len(width) or arrays[field].shape[1:] != width:
            raise DataError(f"interactiveness ground truth: field {field!r} is absent or not of shape [n, *{width}]")
    key, count, boxes = arrays["image_key"], arrays["count"].astype(np.int64), arrays["boxes"].astype(np.float64)
    if len(count) != len(key) or np.any(count < 0) or count.sum() != len(boxes):
        raise DataError(f"interactiveness ground truth: field 'count' does not count {len(boxes)} pairs per image")
    row_of = {int(number): row for row, number in enumerate(image_keys)}
    image = np.repeat(np.array([row_of.get(int(number), -1) for number in key], np.int64), count)
    used = image >= 0
    truth = PairTruth(len(image_keys), image[used], boxes[used, :4], boxes[used, 4:], np.zeros(used.sum(), np.int64))
    return truth, {"truth_pairs_of_other_images": int((~used).sum())}
