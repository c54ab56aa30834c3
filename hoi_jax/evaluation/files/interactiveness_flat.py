"""Interactiveness AP of the flat prediction layouts (`flat-npz` of HICO-DET, and its V-COCO sibling)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from hoi_jax.evaluation.files.vcoco_flat import rows_of
from hoi_jax.evaluation.hico_det import PairDetections
from hoi_jax.evaluation.interactiveness import binary_detections
from hoi_jax.io import DataError

NO_OBJECT_LABEL = 80


def _take(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> list[np.ndarray]:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"flat predictions lack {missing}")
    return [arrays[name] for name in names]


def detections_from_hico_flat(arrays: Mapping[str, np.ndarray]) -> PairDetections:
    """Every pair with its `pair_binary_score`; boxes as stored (0-based inclusive). Raises DataError."""
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
