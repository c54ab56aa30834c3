"""Detections, poses, faces and body-part boxes put beside the labels, given to people by where they are.

A pose belongs to a person's box if it is the one that overlaps it most, and by more than `POSE_OVERLAP` (the recipe
that the body-part paper follows). HICO-DET draws several boxes around one person: each may get the same pose. A face
belongs to a person's box if most of it lies inside; of several the one that fills the upper third best.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hoi_jax import io, schema
from hoi_jax.data.coco_results import DetectionFile, entries_of, image_number
from hoi_jax.evaluation.boxes import box_area, pairwise_iou
from hoi_jax.evaluation.files.own_files import keypoints_of
from hoi_jax.vocab import Vocabulary

POSE_OVERLAP = 0.7
FACE_INSIDE = 0.8
Record = dict[str, object]


class PoseFile:
    """Poses by picture: COCO's keypoint annotations or results, or AlphaPose's results.

    All are rows with 17 times x, y, score (AlphaPose's models of 26 and 136 joints begin with these 17) and "bbox" or
    "box" = [x, y, width, height]; without one, the box is the tightest around the joints.

    Raises:
      DataError: naming file, row and field.
    """

    def __init__(self, path: Path):
        self._poses: dict[str | int, list[tuple[np.ndarray, np.ndarray]]] = {}
        for index, row in enumerate(entries_of(path)):
            try:
                if not row.get("keypoints"):
                    continue
                pose = _pose(row["keypoints"])
                if (pose[:, 2] > 0).any():
                    self._poses.setdefault(_picture(row), []).append((_pose_box(row, pose), pose))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise io.CorruptFileError(f"{path}: row {index}: malformed pose ({error!r})") from error

    def of(self, name: str) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, "n 17 3"]]:
        """Boxes and poses in a picture, pixels."""
        rows = _rows_of(self._poses, name)
        boxes = np.array([box for box, _ in rows]).reshape(-1, 4)
        return boxes, np.array([pose for _, pose in rows]).reshape(-1, schema.NUM_KEYPOINTS, 3)


class FaceFile:
    """Face boxes by picture: rows with "bbox" = [x, y, width, height]. Raises DataError naming file, row and field."""

    def __init__(self, path: Path):
        self._faces: dict[str | int, list[np.ndarray]] = {}
        for index, row in enumerate(entries_of(path)):
            try:
                self._faces.setdefault(_picture(row), []).append(_corners(row["bbox"]))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise io.CorruptFileError(f"{path}: row {index}: malformed face ({error!r})") from error

    def of(self, name: str) -> Float[np.ndarray, "n 4"]:
        """Boxes in a picture, pixels."""
        return np.array(_rows_of(self._faces, name)).reshape(-1, 4)


def _rows_of(table: Mapping[str | int, list[Any]], name: str) -> list[Any]:
    number = image_number(Path(name))
    keys: list[str | int] = [name, Path(name).stem]
    return [row for key in keys + ([] if number is None else [number]) for row in table.get(key, [])]


def _picture(row: Mapping[str, Any]) -> str | int:
    key = row.get("file_name", row.get("image_id"))
    if isinstance(key, str):
        return Path(key).name
    if isinstance(key, int) and not isinstance(key, bool):
        return key
    raise ValueError("has neither 'file_name' nor 'image_id'")


def _corners(xywh: object) -> np.ndarray:
    x, y, width, height = np.asarray(xywh, np.float64).reshape(4)
    if not np.isfinite([x, y, width, height]).all() or width < 0 or height < 0:
        raise ValueError(f"box {[x, y, width, height]} is not finite or has a negative side")
    return np.array([x, y, x + width, y + height])


def _pose(values: object) -> np.ndarray:
    table = np.asarray(values, np.float64).reshape(-1)
    if len(table) not in (51, 78, 408):
        raise ValueError(f"field 'keypoints' holds {len(table)} numbers, expected 51 (17 joints), 78 or 408")
    if not np.isfinite(table[:51]).all():
        raise ValueError("field 'keypoints' is not finite")
    return keypoints_of(table[:51])


def _pose_box(row: Mapping[str, Any], pose: np.ndarray) -> np.ndarray:
    given = row.get("bbox", row.get("box"))
    if given is not None:
        return _corners(given)
    seen = pose[pose[:, 2] > 0, :2]
    return np.concatenate([seen.min(0), seen.max(0)])


def nearest_pose(
    people_xyxy: Float[np.ndarray, "n 4"], poses_xyxy: Float[np.ndarray, "m 4"], *, overlap: float = POSE_OVERLAP
) -> Int[np.ndarray, " n"]:
    """Row of the pose of every person, -1 = none: the largest IoU, if above `overlap`."""
    if not len(poses_xyxy) or not len(people_xyxy):
        return np.full(len(people_xyxy), -1)
    shared = pairwise_iou(people_xyxy, poses_xyxy)
    return np.where(shared.max(1) > overlap, shared.argmax(1), -1)


def nearest_face(
    people_xyxy: Float[np.ndarray, "n 4"], faces_xyxy: Float[np.ndarray, "m 4"], *, inside: float = FACE_INSIDE
) -> Int[np.ndarray, " n"]:
    """Row of the face of every person, -1 = none: `inside` of its area in the box, best IoU with the upper third."""
    people, faces = np.asarray(people_xyxy, np.float64), np.asarray(faces_xyxy, np.float64)
    if not len(faces) or not len(people):
        return np.full(len(people), -1)
    low, high = np.maximum(people[:, None, :2], faces[None, :, :2]), np.minimum(people[:, None, 2:], faces[None, :, 2:])
    within = np.prod(np.maximum(high - low, 0), -1) >= inside * np.maximum(box_area(faces), 1e-9)[None]
    head = people.copy()
    head[:, 3] = people[:, 1] + (people[:, 3] - people[:, 1]) / 3
    fit = np.where(within, pairwise_iou(head, faces), 0)
    return np.where(fit.max(1) > 0, fit.argmax(1), -1)


class SideInputs:
    """What a build adds to every record; false when there is nothing to add.

    Attributes:
      settings: names and fingerprints of the files, for the dataset's meta data.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        detections: Path | None = None,
        poses: Path | None = None,
        faces: Path | None = None,
        *,
        parts: bool = False,
    ):
        self._human = vocabulary.human_class
        self._detections = DetectionFile(detections, vocabulary) if detections else None
        self._poses, self._faces = (PoseFile(poses) if poses else None), (FaceFile(faces) if faces else None)
        self._parts = parts
        files = {"detections": detections, "poses": poses, "faces": faces}
        self.settings: dict[str, object] = {
            name: hashlib.sha256(io.read_bytes(path)).hexdigest()[:16] for name, path in files.items() if path
        }
        if parts:
            self.settings["part_boxes"] = "HAKE"

    def __bool__(self) -> bool:
        return bool(self.settings)

    def add_to(self, record: Record) -> Record:
        """The record with the tables that the files know of its picture. Labels' own poses and faces are kept where
        the files have none for a person."""
        name = record["file_name"]
        name = name.decode() if isinstance(name, bytes) else str(name)
        record = dict(record)
        if self._detections is not None:
            found = self._detections.of(Path(name))
            record |= {f"detections_{column}": values for column, values in found.items()}
            record["detections_face_xyxy_px"] = np.zeros((len(found["class"]), 4), np.float32)
        for table in ("instances", "detections"):
            boxes = np.asarray(record[f"{table}_xyxy_px"])
            people = np.flatnonzero(np.asarray(record[f"{table}_class"]) == self._human)
            if self._poses is not None:
                places, poses = self._poses.of(name)
                _put(record, f"{table}_keypoints_px", people, nearest_pose(boxes[people], places), poses)
            if self._faces is not None:
                faces = self._faces.of(name)
                _put(record, f"{table}_face_xyxy_px", people, nearest_face(boxes[people], faces), faces)
        if self._parts:
            record["instances_parts_xyxy_px"] = self._part_boxes(record)
        return record

    def _part_boxes(self, record: Record) -> np.ndarray:
        from data_prep.part_boxes import part_boxes  # JAX, which nothing else here needs.

        parts = np.array(record["instances_parts_xyxy_px"], np.float32)
        keypoints, boxes = np.asarray(record["instances_keypoints_px"]), np.asarray(record["instances_xyxy_px"])
        seen = (np.asarray(record["instances_class"]) == self._human) & (keypoints[..., 2] > 0).any(1)
        rows = np.flatnonzero(seen & ~parts.any((1, 2)))
        parts[rows] = part_boxes(keypoints[rows], boxes[rows])
        return parts


def _put(record: Record, column: str, people: np.ndarray, chosen: np.ndarray, values: np.ndarray) -> None:
    rows = chosen >= 0
    table = np.array(record[column], np.float32)
    table[people[rows]] = values[chosen[rows]]
    record[column] = table
