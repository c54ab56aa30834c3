"""Predictions in HOI-W's result layout, for its authors' script and for `evaluate_hoi_w_files`."""

from typing import Any

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.io import DataError
from hoi_jax.predictions import Predictions


def hoi_w_results(
    predictions: Predictions, annotations: Annotations, *, human_class: int = 0, least_score: float = 0.01
) -> list[dict[str, Any]]:
    """One record per predicted image: its distinct boxes, and an interaction per verb above `least_score`.

    Numbers of classes and verbs start from 1, as in the files; boxes are x1, y1, x2, y2 as in the predictions.

    Raises:
      DataError: the annotations lack an image.
    """
    name_of = dict(zip(annotations.image_id.tolist(), annotations.file_name.tolist(), strict=True))
    image_of_triplet = predictions.pair_image[predictions.triplet_pair]
    records = []
    for image, number in enumerate(predictions.image_id.tolist()):
        if number not in name_of:
            raise DataError(f"predictions: image {number} is not in the annotations")
        name = name_of[number]
        entities: dict[tuple[float, ...], int] = {}

        def entity(box: np.ndarray, label: int, table: dict[tuple[float, ...], int] = entities) -> int:
            return table.setdefault((*(float(v) for v in box), label), len(table))

        interactions = []
        for row in np.flatnonzero((image_of_triplet == image) & (predictions.triplet_score > least_score)):
            pair = predictions.triplet_pair[row]
            if np.isnan(predictions.pair_object_xyxy_px[pair]).any():
                continue
            interactions.append({
                "subject_id": entity(predictions.pair_human_xyxy_px[pair], human_class),
                "object_id": entity(predictions.pair_object_xyxy_px[pair], int(predictions.pair_object_class[pair])),
                "category_id": int(predictions.triplet_verb[row]) + 1,
                "score": float(predictions.triplet_score[row]),
            })  # fmt: skip
        boxes = [{"bbox": list(key[:4]), "category_id": int(key[4]) + 1} for key in entities]
        records.append({
            "file_name": name.decode() if isinstance(name, bytes) else str(name),
            "predictions": boxes,
            "hoi_prediction": interactions,
        })  # fmt: skip
    return records
