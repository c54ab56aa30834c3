"""Two networks at inference: pairs of one prediction store take the interactiveness of another's.

Body-part's verb network and interactiveness network are two sets of weights (ECCV 2022), TIN's P comes from another
training, and either can serve any detector's pairs. A pair takes the scores of the pair of the same picture with the
largest min(IoU_human, IoU_object). With a calibration (`nis_thresholds`), suppression is applied as well.
"""

import dataclasses
from pathlib import Path

import numpy as np

from hoi_jax.evaluation.metrics.matching import best_truth
from hoi_jax.evaluation.postprocess.suppression import apply_thresholds, read_calibration
from hoi_jax.predictions import PredictionStore, load_predictions
from hoi_jax.vocab import get_vocabulary


def join_interactiveness(store: PredictionStore, source: PredictionStore) -> PredictionStore:
    """`store` with interactiveness and part scores of the nearest pairs of `source`; everything else stays.

    The nearest pair has the largest min(IoU_human, IoU_object), however small (ties: its earlier row); classes are not
    compared. A pair without object (NaN box) and a pair of a picture without any pair in `source` get NaN.

    Raises:
      ValueError: `source` lacks a picture of `store`, or holds no interactiveness at all.
    """
    missing = np.setdiff1d(store.image_id, source.image_id)
    if len(missing):
        raise ValueError(f"the interactiveness predictions lack {len(missing)} pictures, for example {missing[:5]}")
    if np.isnan(source.pair_interactiveness).all() and len(source.pair_image):
        raise ValueError("the interactiveness predictions hold no interactiveness scores")
    rows = np.flatnonzero(np.isfinite(source.pair_interactiveness) & _has_boxes(source))
    wanted = np.flatnonzero(_has_boxes(store))
    boxes = [
        (s.pair_human_xyxy_px.astype(np.float64), s.pair_object_xyxy_px.astype(np.float64)) for s in (store, source)
    ]
    best, _ = best_truth(
        store.image_id[store.pair_image[wanted]],
        boxes[0],
        wanted,
        source.image_id[source.pair_image[rows]],
        (boxes[1][0][rows], boxes[1][1][rows]),
        plus_one=False,
    )
    score = np.full(len(store.pair_image), np.nan, np.float32)
    parts = np.full((len(store.pair_image), source.pair_part_scores.shape[1]), np.nan, np.float32)
    found = best >= 0
    score[wanted[found]] = source.pair_interactiveness[rows[best[found]]]
    parts[wanted[found]] = source.pair_part_scores[rows[best[found]]]
    manifest = {**store.manifest, "interactiveness_from": dict(source.manifest)}
    return dataclasses.replace(store, manifest=manifest, pair_interactiveness=score, pair_part_scores=parts)


def with_interactiveness(store: PredictionStore, source: Path | None, calibration: Path | None) -> PredictionStore:
    """The store with another network's interactiveness and fitted suppression, as far as files of them are given."""
    vocabulary = get_vocabulary(store.vocabulary_name)
    if source:
        store = join_interactiveness(store, load_predictions(source))
    if calibration:
        store = apply_thresholds(store, read_calibration(calibration, vocabulary), vocabulary)
    return store


def _has_boxes(store: PredictionStore) -> np.ndarray:
    both = np.concatenate([store.pair_human_xyxy_px, store.pair_object_xyxy_px], axis=1)
    return np.asarray(np.isfinite(both).all(axis=1))
