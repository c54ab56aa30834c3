"""Side inputs of a build: detections, poses, faces and body-part boxes, assigned to people by position.

A person's box gets the pose that overlaps it most, if by more than `POSE_OVERLAP` (the recipe of the body-part paper).
HICO-DET draws several boxes around one person, all of which may get the same pose. A face belongs to a person's box if
most of it lies inside; of several, the box gets the one with the best IoU with its upper third.

Before a build, `SideInputs.join` counts the images that the files and the dataset have in common, so that a file of
other images is an error and does not lead to a dataset without detections.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hoi_jax import io, schema
from hoi_jax.data.box_folders import files_of
from hoi_jax.data.coco_results import ALL, POSE_LENGTHS, Choice, DetectionFile, entries_of
from hoi_jax.data.ican_pickles import clipped_pose, is_pickle, read_poses
from hoi_jax.data.image_rows import ImageRows, image_key
from hoi_jax.evaluation.metrics.matching import box_area, pairwise_iou
from hoi_jax.formats.labels.custom import keypoints_of
from hoi_jax.vocab import Vocabulary

POSE_OVERLAP = 0.7
FACE_INSIDE = 0.8
Record = dict[str, object]


class PoseFile:
    """Poses by image: COCO's keypoint annotations or results, AlphaPose's results, or pickles of TIN with poses.

    JSON rows have 17 times x, y, score (AlphaPose's models of 26, 133 and 136 joints begin with these 17) and "bbox" or
    "box" = [x, y, width, height]; without either, the box is the tightest around the joints.

    Raises:
      DataError: a row is malformed; the message names file, row and field.
    """

    def __init__(self, path: Path):
        self.rows: ImageRows[tuple[np.ndarray, np.ndarray]] = ImageRows()
        if is_pickle(path):
            for image, box, pose in read_poses(path):
                self.rows.add(image, (box, pose))
            return
        for index, row in enumerate(entries_of(path)):
            try:
                if not row.get("keypoints"):
                    continue
                pose = _pose(row["keypoints"])
                if (pose[:, 2] > 0).any():
                    self.rows.add(image_key(row), (_pose_box(row, pose), pose))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise io.CorruptFileError(f"{path}: row {index}: malformed pose ({error!r})") from error

    def of(self, name: str) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, "n 17 3"]]:
        """(boxes, poses) in an image, in pixels."""
        rows = self.rows.of(name)
        boxes = np.array([box for box, _ in rows]).reshape(-1, 4)
        return boxes, np.array([pose for _, pose in rows]).reshape(-1, schema.NUM_KEYPOINTS, 3)


class FaceFile:
    """Face boxes by image: rows with "bbox" = [x, y, width, height]. Raises DataError naming file, row and field."""

    def __init__(self, path: Path):
        self.rows: ImageRows[np.ndarray] = ImageRows()
        for index, row in enumerate(entries_of(path)):
            try:
                self.rows.add(image_key(row), _corners(row["bbox"]))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise io.CorruptFileError(f"{path}: row {index}: malformed face ({error!r})") from error

    def of(self, name: str) -> Float[np.ndarray, "n 4"]:
        """Face boxes in an image, in pixels."""
        return np.array(self.rows.of(name)).reshape(-1, 4)


def _corners(xywh: object) -> np.ndarray:
    x, y, width, height = np.asarray(xywh, np.float64).reshape(4)
    if not np.isfinite([x, y, width, height]).all() or width < 0 or height < 0:
        raise ValueError(f"box {[x, y, width, height]} is not finite or has a negative side")
    return np.array([x, y, x + width, y + height])


def _pose(values: object) -> np.ndarray:
    table = np.asarray(values, np.float64).reshape(-1)
    if len(table) not in POSE_LENGTHS:
        raise ValueError(f"field 'keypoints' has {len(table)} numbers, expected 51 (17 joints), 78, 399 or 408")
    if not np.isfinite(table[:51]).all():
        raise ValueError("field 'keypoints' is not finite")
    scores = table[2:51:3]
    # Annotations have 0, 1 or 2 here. Detector scores may slightly exceed 1 without being such visibilities.
    return keypoints_of(table[:51]) if (scores == np.floor(scores)).all() else clipped_pose(table[:51])


def _pose_box(row: Mapping[str, Any], pose: np.ndarray) -> np.ndarray:
    given = row.get("bbox", row.get("box"))
    if given is not None:
        return _corners(given)
    seen = pose[pose[:, 2] > 0, :2]
    return np.concatenate([seen.min(0), seen.max(0)])


def nearest_pose(
    people_xyxy: Float[np.ndarray, "n 4"], poses_xyxy: Float[np.ndarray, "m 4"], *, overlap: float = POSE_OVERLAP
) -> Int[np.ndarray, " n"]:
    """Row of the pose with the largest IoU of every person, -1 = none above `overlap`."""
    if not len(poses_xyxy) or not len(people_xyxy):
        return np.full(len(people_xyxy), -1)
    shared = pairwise_iou(people_xyxy, poses_xyxy)
    return np.where(shared.max(1) > overlap, shared.argmax(1), -1)


def nearest_face(
    people_xyxy: Float[np.ndarray, "n 4"], faces_xyxy: Float[np.ndarray, "m 4"], *, inside: float = FACE_INSIDE
) -> Int[np.ndarray, " n"]:
    """Row of the face of every person, -1 = none.

    A share of at least `inside` of the face is in the person's box; of several, the best IoU with its upper third wins.
    """
    people, faces = np.asarray(people_xyxy, np.float64), np.asarray(faces_xyxy, np.float64)
    if not len(faces) or not len(people):
        return np.full(len(people), -1)
    low, high = np.maximum(people[:, None, :2], faces[None, :, :2]), np.minimum(people[:, None, 2:], faces[None, :, 2:])
    within = np.prod(np.maximum(high - low, 0), -1) >= inside * np.maximum(box_area(faces), 1e-9)[None]
    head = people.copy()
    head[:, 3] = people[:, 1] + (people[:, 3] - people[:, 1]) / 3
    fit = np.where(within, pairwise_iou(head, faces), 0)
    return np.where(fit.max(1) > 0, fit.argmax(1), -1)


Files = Mapping[str, Sequence[Path]]
"""Files by split; those of "" are for all splits."""


@dataclasses.dataclass(frozen=True)
class SideFiles:
    """Files with side inputs.

    Attributes:
      detections, poses, faces: files, or folders of detections, by split.
      parts: whether to compute body-part boxes from the poses of annotated people.
      choice: selection of detections.
    """

    detections: Files = dataclasses.field(default_factory=dict)
    poses: Files = dataclasses.field(default_factory=dict)
    faces: Files = dataclasses.field(default_factory=dict)
    parts: bool = False
    choice: Choice = ALL

    @property
    def kinds(self) -> Mapping[str, Files]:
        return {"detections": self.detections, "poses": self.poses, "faces": self.faces}


class SideInputs:
    """Side inputs of every record; false without any.

    Attributes:
      settings: names and fingerprints of the files, for the dataset's metadata.
    """

    def __init__(self, vocabulary: Vocabulary, files: SideFiles):
        self._human, self._parts = vocabulary.human_class, files.parts
        self._detections = _read(files.detections, lambda path: DetectionFile(path, vocabulary, files.choice))
        self._poses, self._faces = _read(files.poses, PoseFile), _read(files.faces, FaceFile)
        self.settings: dict[str, object] = {}
        for kind, by_split in files.kinds.items():
            for split, paths in by_split.items():
                self.settings[f"{kind}:{split}" if split else kind] = " ".join(map(_fingerprint, paths))
        if files.parts:
            self.settings["part_boxes"] = "HAKE"
        if files.choice != ALL:
            self.settings["detections_kept"] = dataclasses.asdict(files.choice)

    def __bool__(self) -> bool:
        return bool(self.settings)

    def join(self, names: Mapping[str, Sequence[str]]) -> list[str]:
        """Text lines about the images that the files and each split (`names`: image file names) have in common.

        Raises:
          DataError: no image of a file is in the dataset, an image number is ambiguous, or the split of a file is not
            built.
        """
        lines = []
        kinds = {"detections": self._detections, "poses": self._poses, "faces": self._faces}
        for kind, by_split in kinds.items():
            for split, opened in by_split.items():
                if split and split not in names:
                    raise io.DataError(f"{opened[0][0]}: {kind} for {split!r}; the splits are {', '.join(names)}")
                theirs = {split: names[split]} if split else names
                for path, file in opened:
                    lines += file.rows.join(theirs, str(path)).lines(f"{kind} {path.name}")
                    if getattr(file, "without_area", 0):
                        lines.append(f"{kind} {path.name}: {file.without_area} boxes without area left out")
        return lines

    def add_to(self, record: Record, split: str = "") -> Record:
        """The record with the side inputs of its image.

        Poses and faces of the labels are kept for people without any in the files.
        """
        name = record["file_name"]
        name = name.decode() if isinstance(name, bytes) else str(name)
        record = dict(record)
        if files := _of(self._detections, split):
            height, width = np.asarray(record["original_hw_px"]).tolist()
            found = [file.of(Path(name), (height, width)) for file in files]
            columns = {f"detections_{c}": np.concatenate([table[c] for table in found]) for c in found[0]}
            record |= columns | {"detections_face_xyxy_px": np.zeros((len(columns["detections_class"]), 4), np.float32)}
        poses = [file.of(name) for file in _of(self._poses, split)]
        faces = [file.of(name) for file in _of(self._faces, split)]
        if faces:
            record["faces_xyxy_px"] = np.concatenate([record["faces_xyxy_px"], *faces]).astype(np.float32)
        for table in ("instances", "detections"):
            boxes = np.asarray(record[f"{table}_xyxy_px"])
            people = np.flatnonzero(np.asarray(record[f"{table}_class"]) == self._human)
            if poses:
                places, joints = (np.concatenate(parts) for parts in zip(*poses, strict=True))
                _put(record, f"{table}_keypoints_px", people, nearest_pose(boxes[people], places), joints)
            if faces:
                found = np.concatenate(faces)
                _put(record, f"{table}_face_xyxy_px", people, nearest_face(boxes[people], found), found)
        if self._parts:
            record["instances_parts_xyxy_px"] = self._part_boxes(record)
        return record

    def _part_boxes(self, record: Record) -> np.ndarray:
        from data_prep.part_boxes import part_boxes  # needs JAX, unlike the rest of this module

        parts = np.array(record["instances_parts_xyxy_px"], np.float32)
        keypoints, boxes = np.asarray(record["instances_keypoints_px"]), np.asarray(record["instances_xyxy_px"])
        seen = (np.asarray(record["instances_class"]) == self._human) & (keypoints[..., 2] > 0).any(1)
        rows = np.flatnonzero(seen & ~parts.any((1, 2)))
        parts[rows] = part_boxes(keypoints[rows], boxes[rows])
        return parts


def _read(files: Files, read: Callable[[Path], Any]) -> dict[str, list[tuple[Path, Any]]]:
    opened: dict[str, list[tuple[Path, Any]]] = {}
    for split, paths in files.items():
        for path in paths:
            print(f"reading {path}", file=sys.stderr)  # hundreds of megabytes take a minute
            opened.setdefault(split, []).append((path, read(path)))
    return opened


def _of(files: Mapping[str, list[tuple[Path, Any]]], split: str) -> list[Any]:
    """The opened files of a split: first those for all splits, then its own."""
    return [file for key in dict.fromkeys(("", split)) for _, file in files.get(key, ())]


def _fingerprint(path: Path) -> str:
    """Fingerprint of a file's content, or of the names and contents of all JSON files in a folder."""
    if not path.is_dir():
        return hashlib.sha256(io.read_bytes(path)).hexdigest()[:16]
    digest = hashlib.sha256()
    for file in files_of(path):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(io.read_bytes(file)).digest())
    return digest.hexdigest()[:16]


def _put(record: Record, column: str, people: np.ndarray, chosen: np.ndarray, values: np.ndarray) -> None:
    rows = chosen >= 0
    table = np.array(record[column], np.float32)
    table[people[rows]] = values[chosen[rows]]
    record[column] = table
