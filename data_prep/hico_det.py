"""HICO-DET from the JSON layout of fredzzhang/hicodet (`instances_{train,test}2015.json`).

Its boxes are the official ones: 1-based inclusive pixels (x1, y1, x2, y2). They become continuous corners
[x1 - 1, y1 - 1, x2, y2], whose plain IoU equals the official evaluator's "+1" IoU. Every annotated row keeps its own
two boxes: HICO-DET draws new boxes for every HOI class, and merging them is the pipeline's named choice.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.builder import DatasetSource, Record
from data_prep.pictures import PictureFolder
from hoi_jax import schema
from hoi_jax.io import CorruptFileError, read_json
from hoi_jax.vocab import get_vocabulary


def hico_det_source(name: str, files: Mapping[str, Path], images: Path) -> DatasetSource:
    """Splits as named in `files` ("" becomes "test"). Raises DataError naming file, record and field."""
    folder = PictureFolder(images)
    splits = {}
    for split, path in files.items():
        table = read_instances(path)
        splits[split or "test"] = (len(table["filenames"]), lambda p=path, t=table: iterate(p, t, folder))
    return DatasetSource(
        name=name,
        version="1.0.0",
        description="HICO-DET (fredzzhang JSON)",
        pairs_vocabulary="hico_det",
        persons_vocabulary="",
        splits=splits,
        settings={"layout": "fredzzhang"},
    )


def read_instances(path: Path) -> dict[str, Any]:
    """The parsed file, its outer layout checked."""
    table = read_json(path)
    needed = {"filenames", "size", "annotation", "correspondence"}
    if not isinstance(table, dict) or not needed <= set(table):
        raise CorruptFileError(f"{path}: not the HICO-DET instances layout; it needs the keys {sorted(needed)}")
    if not len(table["filenames"]) == len(table["size"]) == len(table["annotation"]):
        raise CorruptFileError(f"{path}: filenames, size and annotation have different lengths")
    return table


def iterate(path: Path, table: Mapping[str, Any], folder: PictureFolder) -> Iterator[Record]:
    """One record per picture, in the file's order; `image_id` is the position in the file."""
    vocabulary = get_vocabulary("hico_det")
    for position, file_name in enumerate(table["filenames"]):
        record = schema.empty_record(1)
        data, hw = folder.read(file_name)
        record |= {"image": data, "image_id": np.int64(position), "file_name": file_name.encode()}
        record["original_hw_px"] = np.asarray(hw, np.int32)
        record |= pair_rows(table["annotation"][position], vocabulary, f"{path}: record {position} ({file_name})")
        yield record


def pair_rows(annotation: Mapping[str, Any], vocabulary: Any, where: str) -> Record:
    """Instances and pairs of one picture: row r has the human 2r and the object 2r + 1."""
    try:
        human, obj, hoi = annotation["boxes_h"], annotation["boxes_o"], annotation["hoi"]
        boxes = np.stack([np.reshape(human, (-1, 4)), np.reshape(obj, (-1, 4))], 1).astype(np.float32)
        hoi = np.asarray(hoi, np.int64)
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFileError(f"{where}: malformed annotation ({error!r})") from error
    if len(boxes) != len(hoi) or np.any((hoi < 0) | (hoi >= len(vocabulary.hois))):
        raise CorruptFileError(f"{where}: field 'hoi' does not fit {len(boxes)} pairs and 600 classes")
    if not np.all(np.isfinite(boxes)) or np.any(boxes[..., 2:] < boxes[..., :2]):
        raise CorruptFileError(f"{where}: a box is not finite or has x2 < x1")
    verb_object = np.asarray(vocabulary.hois, np.int32)[hoi].reshape(-1, 2)
    count = len(hoi)
    boxes = (boxes - np.float32([1, 1, 0, 0])).reshape(-1, 4)
    classes = np.stack([np.full(count, vocabulary.human_class), verb_object[:, 1]], 1).reshape(-1)
    return instance_columns(boxes, classes) | {
        "pairs_human": np.arange(0, 2 * count, 2, dtype=np.int32),
        "pairs_object": np.arange(1, 2 * count, 2, dtype=np.int32),
        "pairs_verb": verb_object[:, 0].astype(np.int32),
        "pairs_part_states": np.full((count, schema.NUM_PARTS), -1, np.int32),
    }


def instance_columns(boxes: np.ndarray, classes: np.ndarray, annotation_ids: np.ndarray | None = None) -> Record:
    """The `instances_*` columns for boxes [n, 4] without keypoints, faces, parts or masks."""
    count = len(boxes)
    ids = np.full(count, -1) if annotation_ids is None else annotation_ids
    return {
        "instances_xyxy_px": np.asarray(boxes, np.float32).reshape(count, 4),
        "instances_class": np.asarray(classes, np.int32).reshape(count),
        "instances_annotation_id": np.asarray(ids, np.int64).reshape(count),
        "instances_keypoints_px": np.zeros((count, schema.NUM_KEYPOINTS, 3), np.float32),
        "instances_face_xyxy_px": np.zeros((count, 4), np.float32),
        "instances_parts_xyxy_px": np.zeros((count, schema.NUM_PARTS, 4), np.float32),
        "instances_mask_png": [b""] * count,
    }
