"""Boxes of an object detector from a file in the COCO results format, looked up by picture."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import schema
from hoi_jax.files.torch_file import read_plain_torch
from hoi_jax.io import DataError, read_head, read_json
from hoi_jax.vocab import Vocabulary
from hoi_jax.vocab.coco import COCO_CATEGORY_IDS

_COCO_VOCABULARIES = ("hico_det", "vcoco")
_EMPTY: dict[str, np.ndarray] = {
    "xyxy_px": np.zeros((0, 4), np.float32),
    "class": np.zeros(0, np.int32),
    "score": np.zeros(0, np.float32),
    "keypoints_px": np.zeros((0, schema.NUM_KEYPOINTS, 3), np.float32),
}


def category_classes(vocabulary: Vocabulary) -> dict[int, int]:
    """category_id of a detections file -> object class.

    Vocabularies of the 80 COCO objects use COCO's numbers (1 to 90 with gaps), the others the class itself.
    """
    numbers = COCO_CATEGORY_IDS if vocabulary.name in _COCO_VOCABULARIES else range(len(vocabulary.objects))
    return {number: index for index, number in enumerate(numbers)}


def image_number(path: Path) -> int | None:
    """The number at the end of a file name, as COCO names pictures: COCO_val2014_000000000328.jpg is 328."""
    digits = path.stem[len(path.stem.rstrip("0123456789")) :]
    return int(digits) if digits else None


def is_detectron2(path: str | Path) -> bool:
    """Whether a file of results is one that PyTorch wrote."""
    return read_head(path, 8).startswith((b"PK", b"\x80"))


def entries_of(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file of results: a JSON list (COCO's results, AlphaPose), the `annotations` of a COCO file, or the
    `instances_predictions.pth` that detectron2 writes, which is read without running anything it names.

    Raises:
      DataError: naming the file; rows that are no group of keys are refused too.
    """
    table = read_plain_torch(path) if is_detectron2(path) else read_json(path)
    if isinstance(table, dict) and {"annotations", "images"} <= set(table):
        table = table["annotations"]
    if not isinstance(table, list):
        raise DataError(f"{path}: expected a list of detections (COCO results format)")
    rows = []
    for index, row in enumerate(table):
        if isinstance(row, dict) and isinstance(row.get("instances"), list):
            # detectron2 groups its rows by picture.
            rows += [
                {"image_id": row.get("image_id"), **found} for found in row["instances"] if isinstance(found, dict)
            ]
        elif isinstance(row, dict):
            rows.append(row)
        else:
            raise DataError(f"{path}: detection {index}: is {str(row)[:60]}, expected a group of keys")
    return rows


class DetectionFile:
    """Detections by picture.

    The file (`entries_of`) is a list of {"image_id" or "file_name", "category_id", "bbox": [x, y, width, height],
    "score"} in pixels of the picture, each with optional "keypoints": 17 times x, y, score.

    Raises:
      DataError: naming the file, the entry and what is wrong with it.
    """

    def __init__(self, path: str | Path, vocabulary: Vocabulary):
        entries = entries_of(path)
        classes = category_classes(vocabulary)
        if is_detectron2(path):
            # Saved before detectron2 turns its own numbers 0, 1, 2, ... into COCO's, as its JSON has them.
            classes = {index: index for index in range(len(vocabulary.objects))}
        self._by_number: dict[int, list[dict[str, Any]]] = {}
        self._by_name: dict[str, list[dict[str, Any]]] = {}
        for index, entry in enumerate(entries):
            try:
                row = _row(entry, classes, vocabulary.name)
                self._rows_of(entry).append(row)
            except ValueError as error:
                raise DataError(f"{path}: detection {index}: {error}") from error

    def _rows_of(self, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
        name, number = entry.get("file_name"), entry.get("image_id")
        if isinstance(name, str):
            return self._by_name.setdefault(Path(name).name, [])
        if isinstance(number, int) and not isinstance(number, bool):
            return self._by_number.setdefault(number, [])
        if isinstance(number, str):
            return self._by_name.setdefault(Path(number).name, [])
        raise ValueError("has neither 'image_id' nor 'file_name'")

    def of(self, picture: Path) -> dict[str, np.ndarray]:
        """Columns for `host.batch_from_images`; no rows when the file does not speak of this picture.

        A picture is found by its file name (with or without its ending) or by the number at its end.
        """
        number = image_number(picture)
        rows = [
            *self._by_name.get(picture.name, []),
            *self._by_name.get(picture.stem, []),
            *(self._by_number.get(number, []) if number is not None else []),
        ]
        if not rows:
            return dict(_EMPTY)
        return {name: np.array([row[name] for row in rows], column.dtype) for name, column in _EMPTY.items()}


def _numbers(entry: Mapping[str, Any], name: str, count: int) -> list[float]:
    values = entry.get(name)
    good = isinstance(values, list) and len(values) == count
    if not good or not all(_finite(v) for v in values or ()):
        raise ValueError(f"{name!r} is {values!r}, expected {count} finite numbers")
    return values or []


def _finite(value: object) -> bool:
    # Compared, not converted: a whole number of JSON may be too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _row(entry: object, classes: Mapping[int, int], vocabulary_name: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError(f"is {entry!r}, expected a group of keys")
    category = entry.get("category_id")
    if not isinstance(category, int) or isinstance(category, bool) or category not in classes:
        raise ValueError(
            f"unknown 'category_id' {category!r}; the {len(classes)} categories of {vocabulary_name!r} "
            f"are numbered {min(classes)} to {max(classes)}"
        )
    x, y, width, height = _numbers(entry, "bbox", 4)
    if width <= 0 or height <= 0:
        raise ValueError(f"'bbox' has width {width} and height {height}, expected both above 0")
    score = entry.get("score")
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"'score' is {score!r}, expected a number in [0, 1]")
    keypoints = np.zeros((schema.NUM_KEYPOINTS, 3))
    if entry.get("keypoints") is not None:
        keypoints = np.reshape(_numbers(entry, "keypoints", 3 * schema.NUM_KEYPOINTS), keypoints.shape)
    return {
        "xyxy_px": (x, y, x + width, y + height),
        "class": classes[category],
        "score": score,
        "keypoints_px": keypoints,
    }
