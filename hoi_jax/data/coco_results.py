"""Detections from public files of object detectors, by image."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import schema
from hoi_jax.data.box_folders import read_folder
from hoi_jax.data.ican_pickles import IcanBox, clipped_pose, is_pickle, read_detections
from hoi_jax.data.image_rows import ImageRows, Key, image_key
from hoi_jax.io import DataError, read_head, read_json
from hoi_jax.serialization.torch_file import read_plain_torch
from hoi_jax.vocab import Vocabulary
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS

_COCO_VOCABULARIES = ("hico_det", "vcoco")
POSE_LENGTHS = (51, 78, 399, 408)
"""Lengths of poses in files in circulation: 17, 26, 133 or 136 joints, of which the first 17 are COCO's."""
_EMPTY: dict[str, np.ndarray] = {
    "xyxy_px": np.zeros((0, 4), np.float32),
    "class": np.zeros(0, np.int32),
    "score": np.zeros(0, np.float32),
    "keypoints_px": np.zeros((0, schema.NUM_KEYPOINTS, 3), np.float32),
}


def category_classes(vocabulary: Vocabulary) -> dict[int, int]:
    """category_id of a detections file -> object class.

    Vocabularies with the 80 COCO objects use COCO's numbers (1 to 90 with gaps), the others the class index.
    """
    numbers = COCO_CATEGORY_IDS if vocabulary.name in _COCO_VOCABULARIES else range(len(vocabulary.objects))
    return {number: index for index, number in enumerate(numbers)}


def is_detectron2(path: str | Path) -> bool:
    """Whether a file of results was written by PyTorch."""
    return not is_pickle(path) and read_head(path, 8).startswith((b"PK", b"\x80"))


def entries_of(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file of results.

    The file is a JSON list (COCO's results, AlphaPose), a COCO file with `annotations`, or detectron2's
    `instances_predictions.pth`, which is read without running code from it.

    Raises:
      DataError: the file is malformed, or a row is not an object; the message names the file.
    """
    table = read_plain_torch(path) if is_detectron2(path) else read_json(path)
    if isinstance(table, dict) and {"annotations", "images"} <= set(table):
        table = table["annotations"]
    if not isinstance(table, list):
        raise DataError(f"{path}: expected a list of detections (COCO results format)")
    rows = []
    for index, row in enumerate(table):
        if isinstance(row, dict) and isinstance(row.get("instances"), list):
            # detectron2 groups its rows by image.
            rows += [
                {"image_id": row.get("image_id"), **found} for found in row["instances"] if isinstance(found, dict)
            ]
        elif isinstance(row, dict):
            rows.append(row)
        else:
            raise DataError(f"{path}: detection {index}: is {str(row)[:60]}, expected an object")
    return rows


@dataclasses.dataclass(frozen=True)
class Choice:
    """Selection of boxes from a detection file.

    Attributes:
      min_score: boxes with a lower score are left out.
      top: maximum number of boxes per image, best first, half of them for people and half for other objects; places
        unused by one kind go to the other. So a crowd does not displace the objects. 0 = all.
    """

    min_score: float = 0.0
    top: int = 0

    def __post_init__(self):
        if not 0 <= self.min_score <= 1 or self.top < 0:
            raise ValueError(f"min_score is {self.min_score} and top {self.top}, expected a score and a count")

    def rows(self, score: np.ndarray, person: np.ndarray) -> np.ndarray:
        """The selected rows, in the order of the file."""
        kept = np.flatnonzero(score >= self.min_score)
        if not self.top or len(kept) <= self.top:
            return kept
        order = kept[np.argsort(-score[kept], kind="stable")]
        people, objects = order[person[order]], order[~person[order]]
        half = (self.top + 1) // 2
        people = people[: max(half, self.top - len(objects))]
        return np.sort(np.concatenate([people, objects[: self.top - len(people)]]))


ALL = Choice()


@dataclasses.dataclass(frozen=True)
class _Boxes:
    """Boxes of one image from one file; `size_hw` as in `box_folders.ImageBoxes`."""

    xyxy_px: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    keypoints_px: np.ndarray | None = None
    size_hw: tuple[float, float] | None = None


class DetectionFile:
    """Detections by image, from any of these sources:

    - a list (`entries_of`) of {"image_id" or "file_name", "category_id", "bbox": [x, y, width, height], "score"} in
      pixels of the image, each with optional "keypoints": 17 times x, y, score (COCO's results);
    - AlphaPose's results: detected people with their poses;
    - detectron2's `instances_predictions.pth`;
    - the pickles of iCAN and TIN (`ican_pickles`);
    - a folder with one JSON file per image (`box_folders`).

    Attributes:
      rows: boxes of the file, by image.
      without_area: number of boxes left out of pickles and folders because they have no area.

    Raises:
      DataError: an entry is malformed; the message names file and entry.
    """

    def __init__(self, path: str | Path, vocabulary: Vocabulary, choice: Choice = ALL):
        self.path, self._human, self._choice = Path(path), vocabulary.human_class, choice
        self.rows: ImageRows[_Boxes] = ImageRows()
        self.without_area = 0
        if self.path.is_dir():
            for image in read_folder(self.path, vocabulary):
                boxes = _Boxes(image.xyxy_px, image.classes, image.scores, None, image.size_hw)
                self.rows.add(image.stem, self._with_area(boxes))
            self._check_people()
        elif is_pickle(path):
            self._read_pickle(vocabulary)
        else:
            self._read_entries(vocabulary)

    def _read_pickle(self, vocabulary: Vocabulary) -> None:
        if vocabulary.name not in _COCO_VOCABULARIES:
            raise DataError(f"{self.path}: has COCO's 80 objects, which {vocabulary.name!r} does not use")
        by_image: dict[Key, list[IcanBox]] = {}
        for box in read_detections(self.path):
            by_image.setdefault(box.image, []).append(box)
        for key, found in by_image.items():
            none = np.zeros((schema.NUM_KEYPOINTS, 3), np.float32)
            poses = np.stack([none if box.pose is None else box.pose for box in found])
            boxes = _Boxes(
                np.stack([box.xyxy_px for box in found]),
                np.array([box.number - 1 for box in found]),
                np.array([box.score for box in found]),
                poses if poses.any() else None,
            )
            self.rows.add(key, self._with_area(boxes))

    def _read_entries(self, vocabulary: Vocabulary) -> None:
        classes = category_classes(vocabulary)
        if is_detectron2(self.path):
            # The file has detectron2's own class numbers 0, 1, 2, ..., unlike its JSON, which has COCO's.
            classes = {index: index for index in range(len(vocabulary.objects))}
        by_image: dict[Key, list[dict[str, Any]]] = {}
        for index, entry in enumerate(entries_of(self.path)):
            try:
                row = _row(_with_bbox(entry), classes, vocabulary.name)
                by_image.setdefault(image_key(entry), []).append(row)
            except ValueError as error:
                raise DataError(f"{self.path}: detection {index}: {error}") from error
        for key, found in by_image.items():
            columns = {name: np.array([row[name] for row in found]) for name in _EMPTY}
            poses = columns["keypoints_px"]
            self.rows.add(
                key, _Boxes(columns["xyxy_px"], columns["class"], columns["score"], poses if poses.any() else None)
            )

    def _with_area(self, boxes: _Boxes) -> _Boxes:
        """The boxes that have an area; detectors clip boxes to the image, which leaves some without."""
        good = (boxes.xyxy_px[:, 2:] > boxes.xyxy_px[:, :2]).all(1)
        if good.all():
            return boxes
        self.without_area += int((~good).sum())
        poses = None if boxes.keypoints_px is None else boxes.keypoints_px[good]
        return _Boxes(boxes.xyxy_px[good], boxes.classes[good], boxes.scores[good], poses, boxes.size_hw)

    def _check_people(self) -> None:
        classes = [boxes.classes for _, rows in self.rows.items() for boxes in rows]
        if not any((listed == self._human).any() for listed in classes):
            raise DataError(
                f"{self.path}: none of its files has a person, so labels may be in COCO's order instead of hicodet's "
                "alphabetical one; write them as COCO results"
            )

    def of(self, image: Path, original_hw: tuple[int, int] | None = None) -> dict[str, np.ndarray]:
        """Columns for `numpy_batch.batch_from_images`; no rows when the file has no entry for this image.

        An image is identified by its file name (with or without suffix) or by the number at its end. `original_hw` is
        its height and width, for files with boxes in pixels of a resized image.
        """
        found = self.rows.of(image.name)
        if not found:
            return dict(_EMPTY)
        columns = {
            "xyxy_px": np.concatenate([self._in_original(boxes, original_hw) for boxes in found]),
            "class": np.concatenate([boxes.classes for boxes in found]),
            "score": np.concatenate([boxes.scores for boxes in found]),
            "keypoints_px": np.concatenate([_keypoints(boxes) for boxes in found]),
        }
        kept = self._choice.rows(columns["score"], columns["class"] == self._human)
        return {name: columns[name][kept].astype(column.dtype) for name, column in _EMPTY.items()}

    def _in_original(self, boxes: _Boxes, original_hw: tuple[int, int] | None) -> np.ndarray:
        if boxes.size_hw is None:
            return boxes.xyxy_px
        if original_hw is None:
            raise DataError(f"{self.path}: boxes are in pixels of resized images; only a build has the original sizes")
        scale = np.divide(original_hw, boxes.size_hw)
        return boxes.xyxy_px * np.tile(scale[::-1], 2)


def _keypoints(boxes: _Boxes) -> np.ndarray:
    if boxes.keypoints_px is not None:
        return boxes.keypoints_px
    return np.zeros((len(boxes.classes), schema.NUM_KEYPOINTS, 3), np.float32)


def _numbers(entry: Mapping[str, Any], name: str, count: int) -> list[float]:
    values = entry.get(name)
    good = isinstance(values, list) and len(values) == count
    if not good or not all(_finite(v) for v in values or ()):
        raise ValueError(f"{name!r} is {values!r}, expected {count} finite numbers")
    return values or []


def _finite(value: object) -> bool:
    # Compared, not converted: a whole number of JSON may be too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _with_bbox(entry: dict[str, Any]) -> dict[str, Any]:
    """A row of COCO's results from one of AlphaPose's: a person, with the first 17 of 17, 26, 133 or 136 joints.

    AlphaPose's "score" is a sum that may exceed 3 (mean and largest score of the joints, and that of the box); it is
    replaced by the mean score of the joints.
    """
    joints = entry.get("keypoints")
    if "bbox" in entry or "box" not in entry or not isinstance(joints, list) or len(joints) not in POSE_LENGTHS:
        return entry
    joints = _numbers({"keypoints": joints[: POSE_LENGTHS[0]]}, "keypoints", POSE_LENGTHS[0])
    pose = clipped_pose(np.array(joints, np.float64))
    score = float(np.mean(pose[:, 2], dtype=np.float64))
    return {**entry, "bbox": entry["box"], "score": score, "keypoints": pose.astype(float).ravel().tolist()}


def _row(entry: object, classes: Mapping[int, int], vocabulary_name: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError(f"is {entry!r}, expected an object")
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
