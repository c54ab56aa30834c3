"""Folders with one JSON file of detections per image, as written by fredzzhang's `hicodet` and `vcoco` repositories.

A file HICO_train2015_00000001.json has "boxes" (x1, y1, x2, y2, continuous), "scores" and "labels". On HICO-DET labels
are 0 to 79 in alphabetical order (`preprocessing.py`, `coco80tohico80.json`), on V-COCO 1 to 80 in COCO's order. The
files of `h_detr_cache.py` also have a "size" (height, width): boxes are then in pixels of a resized image of that size.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax.io import MEGABYTE, CorruptFileError, DataError, read_json
from hoi_jax.vocab import Vocabulary
from hoi_jax.vocab.datasets import OBJECTS_ALPHABETICAL

_FAULTS = (ValueError, TypeError, KeyError, OverflowError)
_FARTHEST_PX = 1e6
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class ImageBoxes:
    """Detections of one image.

    Attributes: its name without suffix, corners [n, 4], classes [n], scores [n], and the size (height, width) of the
    image in whose pixels the corners are; None = the original image.
    """

    stem: str
    xyxy_px: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    size_hw: tuple[float, float] | None


def label_classes(vocabulary: Vocabulary) -> Mapping[int, int]:
    """Label of a file -> object class. Raises DataError for vocabularies that these repositories do not support."""
    if vocabulary.name == "hico_det":
        return {label: vocabulary.objects.index(name) for label, name in enumerate(OBJECTS_ALPHABETICAL)}
    if vocabulary.name == "vcoco":
        return {index + 1: index for index in range(len(vocabulary.objects))}
    raise DataError(f"a folder of detections numbers the objects of HICO-DET or V-COCO, not of {vocabulary.name!r}")


def files_of(folder: Path) -> list[Path]:
    """The JSON files in a folder and below, in order. Raises DataError without any, or for two of the same name."""
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise DataError(f"{folder}: there are no JSON files of detections in the folder or below")
    seen: dict[str, Path] = {}
    for path in paths:
        if seen.setdefault(path.name, path) is not path:
            raise DataError(f"{seen[path.name]} and {path} are for the same image; give the folder of one of them")
    return paths


def read_folder(folder: Path, vocabulary: Vocabulary) -> Iterator[ImageBoxes]:
    """Detections of all files in a folder. Raises DataError naming file and field."""
    classes = label_classes(vocabulary)
    known = np.full(max(classes) + 1, -1, np.int32)
    known[list(classes)] = list(classes.values())
    for path in files_of(folder):
        content = read_json(path, max_bytes=64 * MEGABYTE)
        try:
            yield _image_boxes(path.stem, content, known)
        except _FAULTS as error:
            raise CorruptFileError(f"{path}: {error}") from error


def _image_boxes(stem: str, content: Any, known: np.ndarray) -> ImageBoxes:
    if not isinstance(content, dict) or not {"boxes", "scores", "labels"} <= set(content):
        raise ValueError("expected 'boxes', 'scores' and 'labels'")
    boxes = np.asarray(content["boxes"], np.float64).reshape(-1, 4) if content["boxes"] else np.zeros((0, 4))
    scores, labels = (np.asarray(content[name], np.float64).reshape(-1) for name in ("scores", "labels"))
    if not len(boxes) == len(scores) == len(labels):
        raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels")
    if not np.isfinite(boxes).all() or np.abs(boxes).max(initial=0) > _FARTHEST_PX:
        raise ValueError(f"'boxes' are not finite, or beyond {_FARTHEST_PX:.0f} pixels")
    if not ((scores >= 0) & (scores <= 1 + _ROUNDING)).all():
        raise ValueError("'scores' are not all in [0, 1]")
    whole = (labels >= 0) & (labels < len(known)) & (labels == np.floor(labels))
    bad = ~whole
    bad[whole] = known[labels[whole].astype(int)] < 0
    if bad.any():
        numbers = np.flatnonzero(known >= 0)
        raise ValueError(f"label {labels[bad][0]:g} is not one of {numbers[0]} to {numbers[-1]}")
    return ImageBoxes(stem, boxes, known[labels.astype(int)], np.minimum(scores, 1), _size(content.get("size")))


def _size(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    height, width = (float(side) for side in value)
    if not (1 <= height <= _FARTHEST_PX and 1 <= width <= _FARTHEST_PX):
        raise ValueError(f"'size' is {value}, expected height and width")
    return height, width
