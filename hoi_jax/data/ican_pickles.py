"""The pickles of iCAN and of TIN: detections of Faster R-CNN (ResNet-50-FPN), pairs for training, poses.

Layouts, from the authors' code (iCAN `lib/models/test_HICO.py`, `misc/Object_Detector.py`; TIN `lib/ult/ult.py`,
`lib/models/test_HICO_pose_pattern_all_wise_pair.py`) and iCAN's issues 4 and 32:

- `Test_Faster_RCNN_R-50-PFN_2x_*.pkl`: {image: [[image, "Human" or "Object", box, nan, class, score, pose], ...]}
- `Trainval_Neg_*.pkl`: {image: [[image, class of "no interaction", human box, object box, HOI classes of the object,
  class, score of the object, pose], ...]}
- `Trainval_GT_*.pkl`: [[image, classes, human box, object box, ..., pose], ...]: annotations.

Poses (51 numbers, COCO's 17 joints, or None) are in the files `*_with_pose.pkl` only. Classes are COCO's, 1 (person) to
80 without gaps. Boxes are x1, y1, x2, y2 in inclusive pixels, as written by Detectron; here they become continuous
corners with x2 and y2 one pixel larger. No code in the file is run (`serialization.plain_pickle`).
"""

import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import schema
from hoi_jax.data.image_rows import Key
from hoi_jax.io import CorruptFileError, DataError, read_bytes, read_head
from hoi_jax.serialization.plain_pickle import loads

NUM_CLASSES = 80
PERSON = 1
_TORCH_MAGIC = b"\x8a\x0a"
_FARTHEST_PX = 1e6
_ROUNDING = 1e-5
_FAULTS = (ValueError, TypeError, IndexError, KeyError, OverflowError)


@dataclasses.dataclass(frozen=True)
class IcanBox:
    """One detection: image, corners [4], class 1 to 80, score, and pose [17, 3] or None."""

    image: Key
    xyxy_px: np.ndarray
    number: int
    score: float
    pose: np.ndarray | None


def is_pickle(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a pickle, of any protocol, that PyTorch did not write."""
    head = read_head(path, 4)
    if head[:1] == b"\x80":
        return head[2:4] != _TORCH_MAGIC
    return head[:2] in (b"(d", b"(l", b"}q", b"]q", b"}.", b"].")


def read_detections(path: str | os.PathLike[str]) -> list[IcanBox]:
    """Detections from a file of detections, or the distinct boxes of negative pairs.

    A negative pair has only the score of its object. The score of its human is that of the same box where it is also an
    object of class person, else 1: the authors paired people above a threshold that is not in the file.

    Raises:
      DataError: a row is malformed, or the file has annotated pairs; the message names file, image and row.
    """
    table = _table(path)
    if isinstance(table, list):
        raise DataError(
            f"{path}: has annotated pairs instead of detections; give Trainval_Neg_*.pkl for training and "
            "Test_Faster_RCNN_*.pkl for test as detections. This file has poses if its name ends in _with_pose"
        )
    boxes: list[IcanBox] = []
    for image, rows in table.items():
        if _is_pair(rows):
            boxes += _boxes_of_pairs(image, rows, path)
        else:
            boxes += [_detection(image, row, _where(path, image, index)) for index, row in enumerate(rows)]
    return boxes


def read_poses(path: str | os.PathLike[str]) -> Iterator[tuple[Key, np.ndarray, np.ndarray]]:
    """(image, corners [4], pose [17, 3]) of all people with a pose, from a file of any of the layouts.

    Raises:
      DataError: a row is malformed; the message names file, image and row.
    """
    table = _table(path)
    if isinstance(table, list):
        rows = ((row[0] if isinstance(row, list) and row else None, row, 2, 5) for row in table)
    else:
        rows = ((image, row, 2, 7 if _is_pair(listed) else 6) for image, listed in table.items() for row in listed)
    for index, (image, row, box, pose) in enumerate(rows):
        where = _where(path, image, index)
        try:
            if not isinstance(row, list) or not isinstance(image, str | int):
                raise ValueError("is not a list that begins with an image")
            joints = _pose(row[pose]) if len(row) > pose else None
            if joints is not None and joints[:, 2].any():
                yield _image(image), _corners(row[box]), joints
        except _FAULTS as error:
            raise CorruptFileError(f"{where}: {error}") from error


def _table(path: str | os.PathLike[str]) -> dict[Key, list[Any]] | list[Any]:
    data = read_bytes(path)
    table = loads(data, path)
    if isinstance(table, dict) and sum(len(rows) for rows in table.values() if isinstance(rows, list)) > len(data):
        # Many images can refer to one list, so that a small file could cause any amount of work.
        raise CorruptFileError(f"{path}: has more rows than bytes")
    if isinstance(table, list) and all(isinstance(row, list) for row in table):
        return table
    if isinstance(table, dict) and all(isinstance(rows, list) for rows in table.values()):
        return table
    raise CorruptFileError(f"{path}: expected rows by image, or a list of pairs (iCAN, TIN)")


def _where(path: str | os.PathLike[str], image: object, index: int) -> str:
    return f"{path}: image {str(image)[:40]}, row {index}"


def _image(key: Key) -> Key:
    return Path(key).name if isinstance(key, str) else key


def _is_pair(rows: list[Any]) -> bool:
    """Whether rows are negative pairs, with a class in the place of a detection's "Human" or "Object"."""
    return bool(rows) and isinstance(rows[0], list) and len(rows[0]) > 3 and not isinstance(rows[0][1], str)


def _detection(image: Key, row: Any, where: str) -> IcanBox:
    try:
        if not isinstance(row, list) or row[1] not in ("Human", "Object"):
            raise ValueError("expected [image, 'Human' or 'Object', box, nan, class, score]")
        # "Human" marks people; the authors' code never reads their class.
        number, pose = PERSON if row[1] == "Human" else _number(row[4]), _pose(row[6]) if len(row) > 6 else None
        return IcanBox(_image(image), _corners(row[2]), number, _score(row[5]), pose)
    except _FAULTS as error:
        raise CorruptFileError(f"{where}: {error}") from error


def _boxes_of_pairs(image: Key, rows: list[Any], path: str | os.PathLike[str]) -> list[IcanBox]:
    people: dict[tuple[float, ...], np.ndarray | None] = {}
    objects: dict[tuple[float, ...], float] = {}
    for index, row in enumerate(rows):
        try:
            if not isinstance(row, list) or len(row) < 7:
                raise ValueError("expected [image, class, human box, object box, classes, class, score]")
            human, place = tuple(_corners(row[2]).tolist()), tuple(_corners(row[3]).tolist())
            people[human] = people.get(human) if len(row) < 8 else _pose(row[7])
            objects[(*place, _number(row[5]))] = _score(row[6])
        except _FAULTS as error:
            raise CorruptFileError(f"{_where(path, image, index)}: {error}") from error
    key = _image(image)
    found = [
        IcanBox(key, np.array(human), PERSON, objects.get((*human, PERSON), 1.0), pose)
        for human, pose in people.items()
    ]
    others = [(place[:4], int(place[4]), score) for place, score in objects.items()]
    return found + [
        IcanBox(key, np.array(place), number, score, None)
        for place, number, score in others
        if number != PERSON or place not in people
    ]


def _numbers(value: Any, count: int, what: str) -> np.ndarray:
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != count:
        raise ValueError(f"{what} is {str(value)[:60]}, expected {count} numbers")
    table = np.array([float(number) for number in value], np.float64)
    if not np.isfinite(table).all() or np.abs(table).max() > _FARTHEST_PX:
        raise ValueError(f"{what} {str(value)[:60]} is not finite, or beyond {_FARTHEST_PX:.0f} pixels")
    return table


def _corners(value: Any) -> np.ndarray:
    """Continuous corners of an inclusive box."""
    return _numbers(value, 4, "box") + [0.0, 0.0, 1.0, 1.0]


def _number(value: Any) -> int:
    number = int(np.asarray(value, np.float64).reshape(()))
    if number != value or not 1 <= number <= NUM_CLASSES:
        raise ValueError(f"class {str(value)[:20]} is not one of 1 to {NUM_CLASSES}")
    return number


def _score(value: Any) -> float:
    # An array of one or several numbers, of which the largest counts, as in the authors' np.max(row[5]).
    score = float(np.max(np.asarray(value, np.float64)))
    if not (math.isfinite(score) and 0 <= score <= 1 + _ROUNDING):
        raise ValueError(f"score {str(value)[:40]} is not in [0, 1]")
    return min(score, 1.0)


def _pose(value: Any) -> np.ndarray | None:
    """Pose [17, 3], or None for values that are not 51 numbers, as in the authors' code."""
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 3 * schema.NUM_KEYPOINTS:
        return None
    return clipped_pose(_numbers(value, 3 * schema.NUM_KEYPOINTS, "pose"))


def clipped_pose(values: np.ndarray) -> np.ndarray:
    """Pose [17, 3] with scores clipped to [0, 1] (heat-map peaks may exceed 1) and zeros for absent joints."""
    pose = np.reshape(values, (schema.NUM_KEYPOINTS, 3))
    scores = np.clip(pose[:, 2:], 0, 1)
    return np.where(scores > 0, np.concatenate([pose[:, :2], scores], 1), 0).astype(np.float32)
