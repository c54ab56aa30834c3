"""Stores and annotations as flat arrays of pairs, in continuous corners."""

import numpy as np
from jaxtyping import Int

from hoi_jax.evaluation.alignment import Aligned
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.hico_det import PairDetections, PairTruth
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.vocab import Vocabulary

ONE_BASED = np.array([1.0, 1.0, 0.0, 0.0])
"""What turns continuous corners into 1-based inclusive pixels."""


def pair_detections(store: PredictionStore, aligned: Aligned, label: Int[np.ndarray, " t"]) -> PairDetections:
    """The counted pairs of a store; `label` is the class of each counted verb score, -1 = none."""
    return PairDetections(
        aligned.pair_image,
        store.pair_human_xyxy_px[aligned.pair_rows].astype(np.float64),
        store.pair_object_xyxy_px[aligned.pair_rows].astype(np.float64),
        aligned.trip_pair,
        label,
        store.trip_score[aligned.trip_rows],
    )


def pair_truth(annotations: Annotations, label: Int[np.ndarray, " rows"]) -> PairTruth:
    """Annotated pairs with an object whose `label` [rows of pairs] is not -1, in continuous corners."""
    human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
    used = np.flatnonzero((obj >= 0) & (label >= 0))
    boxes = annotations["instances_xyxy_px"].astype(np.float64)
    return PairTruth(
        annotations.num_images,
        annotations.image_rows("pairs")[used],
        boxes[human[used]],
        boxes[obj[used]],
        label[used],
    )


def distinct_pairs(truth: PairTruth) -> PairTruth:
    """Identical rows (image, class, both boxes) once, in the order of their first occurrence."""
    table = np.column_stack([truth.image, truth.label, truth.human_xyxy_px, truth.object_xyxy_px])
    rows = np.sort(np.unique(table, axis=0, return_index=True)[1]) if len(table) else np.zeros(0, np.int64)
    return PairTruth(
        truth.num_images,
        truth.image[rows],
        truth.human_xyxy_px[rows],
        truth.object_xyxy_px[rows],
        truth.label[rows],
    )


def hoi_labels(annotations: Annotations, vocabulary: Vocabulary) -> Int[np.ndarray, " rows"]:
    """HOI class of every annotated pair row, -1 for a row without object.

    Raises:
      ValueError: a verb and an object form no class of the vocabulary.
    """
    obj = annotations.instance_rows("pairs_object")
    verb, object_class = annotations["pairs_verb"], annotations["instances_class"][obj] if len(obj) else obj
    label = np.where(obj >= 0, vocabulary.hoi_table[verb, object_class], -1)
    unknown = np.flatnonzero((label < 0) & (obj >= 0))
    if len(unknown):
        row = int(unknown[0])
        name = f"{vocabulary.verbs[verb[row]]!r} {vocabulary.objects[object_class[row]]!r}"
        raise ValueError(f"annotated pair {row} is {name}, no class of {vocabulary.name}")
    return label
