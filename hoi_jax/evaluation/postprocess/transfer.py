"""Transfer of interactiveness scores from one prediction file to the pairs of another.

Body-part's verb network and interactiveness network are two sets of weights (ECCV 2022), TIN's P is trained
separately, and either can score the pairs of any detector. A pair takes the scores of the pair of the same image with
the largest min(IoU_human, IoU_object). With a calibration (`nis_thresholds`), suppression is applied as well.
"""

import dataclasses
from pathlib import Path

import numpy as np

from hoi_jax.evaluation.metrics.matching import best_truth
from hoi_jax.evaluation.postprocess.suppression import apply_thresholds, read_calibration
from hoi_jax.predictions import Predictions, load_predictions
from hoi_jax.vocab import get_vocabulary


def transfer_interactiveness(predictions: Predictions, source: Predictions) -> Predictions:
    """`predictions` with interactiveness and part scores of the nearest pairs of `source`; other fields are unchanged.

    The nearest pair has the largest min(IoU_human, IoU_object), however small (ties: its earlier row); classes are not
    compared. A pair without object (NaN box) and a pair of an image without any pair in `source` get NaN.

    Raises:
      ValueError: `source` lacks an image of `predictions`, or has no interactiveness at all.
    """
    missing = np.setdiff1d(predictions.image_id, source.image_id)
    if len(missing):
        raise ValueError(f"the interactiveness predictions lack {len(missing)} images, for example {missing[:5]}")
    if np.isnan(source.pair_interactiveness).all() and len(source.pair_image):
        raise ValueError("the interactiveness predictions have no interactiveness scores")
    rows = np.flatnonzero(np.isfinite(source.pair_interactiveness) & _has_boxes(source))
    wanted = np.flatnonzero(_has_boxes(predictions))
    boxes = [
        (s.pair_human_xyxy_px.astype(np.float64), s.pair_object_xyxy_px.astype(np.float64))
        for s in (predictions, source)
    ]
    best, _ = best_truth(
        predictions.image_id[predictions.pair_image[wanted]],
        boxes[0],
        wanted,
        source.image_id[source.pair_image[rows]],
        (boxes[1][0][rows], boxes[1][1][rows]),
        plus_one=False,
    )
    score = np.full(len(predictions.pair_image), np.nan, np.float32)
    parts = np.full((len(predictions.pair_image), source.pair_part_scores.shape[1]), np.nan, np.float32)
    found = best >= 0
    score[wanted[found]] = source.pair_interactiveness[rows[best[found]]]
    parts[wanted[found]] = source.pair_part_scores[rows[best[found]]]
    manifest = {**predictions.manifest, "interactiveness_from": dict(source.manifest)}
    return dataclasses.replace(predictions, manifest=manifest, pair_interactiveness=score, pair_part_scores=parts)


def with_interactiveness(predictions: Predictions, source: Path | None, calibration: Path | None) -> Predictions:
    """Predictions with another network's interactiveness and with fitted suppression; None leaves either out."""
    vocabulary = get_vocabulary(predictions.vocabulary_name)
    if source:
        predictions = transfer_interactiveness(predictions, load_predictions(source))
    if calibration:
        predictions = apply_thresholds(predictions, read_calibration(calibration, vocabulary), vocabulary)
    return predictions


def _has_boxes(predictions: Predictions) -> np.ndarray:
    both = np.concatenate([predictions.pair_human_xyxy_px, predictions.pair_object_xyxy_px], axis=1)
    return np.asarray(np.isfinite(both).all(axis=1))
