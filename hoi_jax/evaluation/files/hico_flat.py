"""Reads HICO-DET's JSON layout and flat prediction arrays, both in the frame of the official files.

The JSON (`instances_test2015.json`) holds 1-based inclusive boxes. The flat arrays hold 0-based inclusive boxes:
`pair_image` (position in the JSON), `pair_hbox`, `pair_obox`, `pair_object` (COCO order), `trip_pair`, `trip_verb`,
`trip_score`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hoi_jax.evaluation.hico_det import PairDetections, PairTruth
from hoi_jax.io import DataError
from hoi_jax.vocab.tables import Vocabulary


def truth_from_json(content: Mapping[str, Any]) -> PairTruth:
    """Annotated pairs of a parsed HICO-DET JSON. Raises DataError naming the record and field."""
    rows = content.get("annotation")
    if not isinstance(rows, list):
        raise DataError("field 'annotation' is absent or not a list")
    parts: dict[str, list[np.ndarray]] = {"boxes_h": [], "boxes_o": [], "hoi": []}
    for number, row in enumerate(rows):
        for name, collected in parts.items():
            width = () if name == "hoi" else (4,)
            try:
                collected.append(np.asarray(row[name], np.float64).reshape(-1, *width))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"annotation {number}: field {name!r} is absent or malformed") from error
        sizes = {name: len(collected[-1]) for name, collected in parts.items()}
        if len(set(sizes.values())) != 1:
            raise DataError(f"annotation {number}: fields have different lengths: {sizes}")
    counts = [len(array) for array in parts["hoi"]]
    return PairTruth(
        len(rows),
        np.repeat(np.arange(len(rows)), counts),
        np.concatenate([np.zeros((0, 4)), *parts["boxes_h"]]),
        np.concatenate([np.zeros((0, 4)), *parts["boxes_o"]]),
        np.concatenate([np.zeros(0), *parts["hoi"]]).astype(np.int64),
    )


def detections_from_flat(arrays: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> PairDetections:
    """Flat prediction arrays; a verb and an object that form no class get label -1 (ignored and counted).

    Raises:
      DataError: an array is absent.
    """
    needed = ("pair_image", "pair_hbox", "pair_obox", "pair_object", "trip_pair", "trip_verb", "trip_score")
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise DataError(f"flat predictions lack {missing}")
    trip_pair = arrays["trip_pair"].astype(np.int64)
    return PairDetections(
        arrays["pair_image"].astype(np.int64),
        arrays["pair_hbox"].astype(np.float64),
        arrays["pair_obox"].astype(np.float64),
        trip_pair,
        vocabulary.hoi_table[arrays["trip_verb"], arrays["pair_object"][trip_pair]],
        arrays["trip_score"],
    )
