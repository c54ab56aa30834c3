"""Thresholds of non-interaction suppression, one per HOI class, fitted on held-out training images.

The body-part paper keeps a pair in the ranking of a class if its interactiveness exceeds that class's threshold; its
600 thresholds are not public. Here each is the candidate with the best AP of the class; 0 suppresses nothing.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.score import evaluate_hoi_predictions
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary

CANDIDATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
MIN_PAIRS = 10
"""HICO-DET's limit for rare classes."""


def apply_thresholds(
    predictions: Predictions, thresholds: Float[np.ndarray, " hois"], vocabulary: Vocabulary
) -> Predictions:
    """Predictions without the verb scores of pairs that do not exceed their HOI class's threshold.

    Nothing is removed for a threshold of 0, a missing (NaN) interactiveness or a combination that is not a class.
    Pairs remain, with all their other scores. Resets any suppression applied by the system.
    """
    label = vocabulary.hoi_table[predictions.triplet_verb, predictions.pair_object_class[predictions.triplet_pair]]
    known = (label >= 0) & (predictions.pair_object_class[predictions.triplet_pair] >= 0)
    limit = np.where(known, thresholds[label], 0.0)
    score = predictions.pair_interactiveness[predictions.triplet_pair]
    stays = (limit <= 0) | ~(score <= limit)
    rows = {name: getattr(predictions, name)[stays] for name in ("triplet_pair", "triplet_verb", "triplet_score")}
    return dataclasses.replace(predictions, pair_nis_keep=np.ones_like(predictions.pair_nis_keep), **rows)


def fit_thresholds(
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    candidates: Sequence[float] = CANDIDATES,
    *,
    min_pairs: int = MIN_PAIRS,
) -> Float[np.ndarray, " hois"]:
    """The candidate threshold with the best AP per HOI class; on ties the lowest.

    A class with fewer than `min_pairs` annotated pairs gets 0, since the best of its APs would be chance.

    Raises:
      ValueError: the vocabulary has no HOI classes, or no pair has an interactiveness score.
    """
    if not vocabulary.hois:
        raise ValueError(f"vocabulary {vocabulary.name!r} has no HOI classes")
    if not np.isfinite(predictions.pair_interactiveness).any():
        raise ValueError("the predictions have no interactiveness scores")
    rising = np.sort(np.asarray(candidates, np.float64))
    tables = [
        evaluate_hoi_predictions(
            apply_thresholds(predictions, np.full(len(vocabulary.hois), value), vocabulary), annotations, vocabulary
        ).per_class
        for value in rising
    ]
    ap = np.stack([np.nan_to_num(table["default/ap"], nan=-1.0) for table in tables])
    # Ignore gains within rounding error.
    good = ap >= ap.max(axis=0, keepdims=True) - 1e-12
    return np.where(tables[0]["num_positives"] >= min_pairs, rising[np.argmax(good, axis=0)], 0.0)


def write_calibration(
    path: Path, thresholds: Float[np.ndarray, " hois"], predictions: Predictions, split: str, vocabulary: Vocabulary
) -> None:
    """Write `calibration.json`: the thresholds, the split they were fitted on, and a fingerprint of the scores."""
    content = np.ascontiguousarray(predictions.pair_interactiveness).tobytes() + np.sort(predictions.image_id).tobytes()
    value = {
        "vocabulary": vocabulary.name,
        "nis_thresholds": [float(t) for t in thresholds],
        "fitted_on": {"split": split, "images": len(predictions.image_id), "pairs": len(predictions.pair_image)},
        "fingerprint": hashlib.sha256(content).hexdigest()[:16],
    }
    io.write_json_atomic(path, value)


def read_calibration(path: Path, vocabulary: Vocabulary) -> Float[np.ndarray, " hois"]:
    """Thresholds from a calibration file. Raises io.DataError if it is not a calibration of this vocabulary."""
    value = io.read_json(path)
    if not isinstance(value, dict) or value.get("vocabulary") != vocabulary.name:
        raise io.DataError(f"{path}: is not a calibration for {vocabulary.name!r}")
    try:
        thresholds = np.asarray(value.get("nis_thresholds"), np.float64)
    except (TypeError, ValueError) as error:
        raise io.DataError(f"{path}: field 'nis_thresholds' is not a list of numbers") from error
    if thresholds.shape != (len(vocabulary.hois),) or not np.isfinite(thresholds).all():
        raise io.DataError(f"{path}: field 'nis_thresholds' must be {len(vocabulary.hois)} finite numbers")
    return thresholds
