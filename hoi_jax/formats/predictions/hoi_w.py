"""Stored predictions in HOI-W's result layout, for its authors' script and for `evaluate_hoi_w_files`."""

from typing import Any

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.io import DataError
from hoi_jax.predictions import PredictionStore


def hoi_w_results(
    store: PredictionStore, annotations: Annotations, *, human_class: int = 0, least_score: float = 0.01
) -> list[dict[str, Any]]:
    """One record per predicted image: its distinct boxes, and an interaction per verb above `least_score`.

    Numbers of classes and verbs start from 1, as in the files; boxes are x1, y1, x2, y2 as they are stored.

    Raises:
      DataError: an image that the annotations do not name.
    """
    name_of = dict(zip(annotations.image_id.tolist(), annotations.file_name.tolist(), strict=True))
    image_of_triplet = store.pair_image[store.trip_pair]
    records = []
    for image, number in enumerate(store.image_id.tolist()):
        if number not in name_of:
            raise DataError(f"predictions: image {number} is not among the annotated ones")
        name = name_of[number]
        entities: dict[tuple[float, ...], int] = {}

        def entity(box: np.ndarray, label: int, table: dict[tuple[float, ...], int] = entities) -> int:
            return table.setdefault((*(float(v) for v in box), label), len(table))

        interactions = []
        for row in np.flatnonzero((image_of_triplet == image) & (store.trip_score > least_score)):
            pair = store.trip_pair[row]
            if np.isnan(store.pair_object_xyxy_px[pair]).any():
                continue
            interactions.append({
                "subject_id": entity(store.pair_human_xyxy_px[pair], human_class),
                "object_id": entity(store.pair_object_xyxy_px[pair], int(store.pair_object_class[pair])),
                "category_id": int(store.trip_verb[row]) + 1,
                "score": float(store.trip_score[row]),
            })  # fmt: skip
        boxes = [{"bbox": list(key[:4]), "category_id": int(key[4]) + 1} for key in entities]
        records.append({
            "file_name": name.decode() if isinstance(name, bytes) else str(name),
            "predictions": boxes,
            "hoi_prediction": interactions,
        })  # fmt: skip
    return records
