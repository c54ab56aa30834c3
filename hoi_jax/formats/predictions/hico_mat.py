"""The exchange format of HICO-DET: a folder of `detections_01.mat` to `detections_80.mat`, one per object.

Each has a cell array `all_boxes` [HOI classes of the object, images]: cells of [n, 9] numbers, human x1 y1 x2 y2,
object x1 y1 x2 y2, score, in 0-based inclusive pixels; an empty cell = no detections. Images are in the order of the
official test list, which is that of the label files.

Two object orders are in use: COCO's (person first), which the official evaluator expects, and alphabetical order, as
written by UPT and PViC. The reader distinguishes them by the number of HOI classes in each file.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.alignment import align
from hoi_jax.formats.predictions.build import INCLUSIVE_TO_CORNERS, build_predictions, images_by_position
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary

Order = Literal["coco", "alphabet"]
ORDERS: tuple[Order, ...] = ("coco", "alphabet")


def object_order(vocabulary: Vocabulary, order: Order) -> list[int]:
    """Object class of each file."""
    classes = range(len(vocabulary.objects))
    return sorted(classes, key=lambda c: vocabulary.objects[c]) if order == "alphabet" else list(classes)


def _hois_of(vocabulary: Vocabulary) -> list[list[int]]:
    """HOI classes of each object class, in vocabulary order."""
    rows: list[list[int]] = [[] for _ in vocabulary.objects]
    for hoi, (_, obj) in enumerate(vocabulary.hois):
        rows[obj].append(hoi)
    return rows


def predictions_from_detections(
    folder: str | os.PathLike[str], vocabulary: Vocabulary, annotations: Annotations
) -> Predictions:
    """Predictions from a folder of detection files; every row becomes a pair with one verb.

    Raises:
      io.DataError: a file is absent, malformed, or has a wrong number of images; the message names file and cell.
    """
    paths = [Path(folder) / f"detections_{number + 1:02d}.mat" for number in range(len(vocabulary.objects))]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise io.MissingFileError(f"{folder}: {len(missing)} of {len(paths)} files are missing, first {missing[0]}")
    counts = [len(hois) for hois in _hois_of(vocabulary)]
    cells = [_cells(path, annotations.num_images) for path in paths]
    heights = [len(table) for table in cells]
    heights = [len(table) for table in cells]
    fitting: list[Order] = [
        order for order in ORDERS if heights == [counts[obj] for obj in object_order(vocabulary, order)]
    ]
    if not fitting:
        raise io.CorruptFileError(f"{folder}: rows of 'all_boxes' fit the HOI classes of neither object order")
    hois = _hois_of(vocabulary)
    parts, image, label = [np.zeros((0, 9))], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for path, obj, table in zip(paths, object_order(vocabulary, fitting[0]), cells, strict=True):
        for hoi, row in zip(hois[obj], table, strict=True):
            for position in np.flatnonzero([cell.size for cell in row]).tolist():
                rows = _rows(row[position], f"{path}: field 'all_boxes' cell ({hois[obj].index(hoi)}, {position})")
                parts.append(rows)
                image.append(np.full(len(rows), position))
                label.append(np.full(len(rows), hoi))
    rows, hoi = np.concatenate(parts), np.concatenate(label)
    verb, object_class = np.array(vocabulary.hois, np.int64)[hoi].reshape(-1, 2).T
    return build_predictions(
        {"format": "hico-mat", "object_order": fitting[0]},
        vocabulary,
        annotations,
        os.fspath(folder),
        listed_images=annotations.image_id,
        pair_image_id=images_by_position(annotations, np.concatenate(image)),
        pair_boxes_px=(rows[:, :4] + INCLUSIVE_TO_CORNERS, rows[:, 4:8] + INCLUSIVE_TO_CORNERS),
        pair_object_class=object_class,
        triplet_pair=np.arange(len(rows)),
        triplet_verb=verb,
        triplet_score=rows[:, 8],
    )


def _cells(path: Path, num_images: int) -> np.ndarray:
    table = io.read_mat(path, ("all_boxes",)).get("all_boxes")
    if not isinstance(table, np.ndarray) or table.dtype != object or table.ndim != 2:
        raise io.CorruptFileError(f"{path}: the cell array 'all_boxes' is absent")
    if table.shape[1] != num_images:
        raise io.DataError(f"{path}: field 'all_boxes' has {table.shape[1]} images, the labels have {num_images}")
    return table


def _rows(cell: np.ndarray, where: str) -> Float[np.ndarray, "n 9"]:
    if cell.dtype.kind not in "fiu" or cell.ndim != 2 or cell.shape[1] != 9:
        raise io.CorruptFileError(f"{where} is {cell.dtype} {cell.shape}, expected [n, 9] numbers")
    return cell.astype(np.float64)


def write_detections(
    folder: str | os.PathLike[str],
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    order: Order = "coco",
    use_nis: bool = True,
) -> int:
    """Write predictions as detection files; return the number of rows.

    Rows of a cell are in the order of the predictions. Combinations that are not an HOI class and NaN scores are left
    out.
    """
    aligned = align(predictions, annotations, use_nis)
    pair = aligned.pair_rows[aligned.triplet_pair]
    score = predictions.triplet_score[aligned.triplet_rows].astype(np.float64)
    object_class = predictions.pair_object_class[pair]
    hoi = np.where(
        object_class >= 0, vocabulary.hoi_table[predictions.triplet_verb[aligned.triplet_rows], object_class], -1
    )
    used = np.flatnonzero((hoi >= 0) & ~np.isnan(score))
    boxes = [
        predictions.pair_human_xyxy_px[pair[used]].astype(np.float64) - INCLUSIVE_TO_CORNERS,
        predictions.pair_object_xyxy_px[pair[used]].astype(np.float64) - INCLUSIVE_TO_CORNERS,
    ]
    rows = np.concatenate([*boxes, score[used][:, None]], axis=1)
    image = aligned.pair_image[aligned.triplet_pair[used]]
    by_class = _split(rows, image, hoi[used], len(vocabulary.hois))
    Path(folder).mkdir(parents=True, exist_ok=True)
    hois = _hois_of(vocabulary)
    for number, obj in enumerate(object_order(vocabulary, order)):
        tables = [by_class[hoi] for hoi in hois[obj]]
        data = mat_with_cells("all_boxes", tables, annotations.num_images)
        io.write_bytes_atomic(Path(folder) / f"detections_{number + 1:02d}.mat", data)
    return len(rows)


def _split(rows: np.ndarray, image: np.ndarray, hoi: np.ndarray, num_classes: int) -> list[dict[int, np.ndarray]]:
    """Image -> its rows, in the given order, for every class."""
    tables: list[dict[int, np.ndarray]] = [{} for _ in range(num_classes)]
    order = np.lexsort((image, hoi))
    edges = np.flatnonzero(np.diff(hoi[order], prepend=-1) | np.diff(image[order], prepend=-1))
    for part in np.split(order, edges[1:]):
        if len(part):
            tables[hoi[part[0]]][int(image[part[0]])] = rows[part]
    return tables


def mat_with_cells(name: str, rows: list[dict[int, np.ndarray]], num_columns: int) -> bytes:
    """A compressed MATLAB 5 file with one cell array [len(rows), num_columns] of matrices; absent cells are empty.

    SciPy would take minutes for the millions of empty cells of a HICO-DET folder.
    """
    empty = _matrix(b"", np.zeros((0, 0)))
    cells = [empty] * (len(rows) * num_columns)
    for row, table in enumerate(rows):
        for column, matrix in table.items():
            cells[column * len(rows) + row] = _matrix(b"", matrix)
    body = _header(_CELL, (len(rows), num_columns), name.encode()) + b"".join(cells)
    packed = zlib.compress(_element(_MATRIX, body))
    text = b"MATLAB 5.0 MAT-file, written by hoi_jax".ljust(116) + bytes(8) + struct.pack("<H", 0x0100) + b"IM"
    return text + struct.pack("<II", _COMPRESSED, len(packed)) + packed


# Types of elements and classes of arrays in MATLAB's level 5 format.
_INT8, _INT32, _UINT32, _DOUBLES, _MATRIX, _COMPRESSED = 1, 5, 6, 9, 14, 15
_CELL, _DOUBLE = 1, 6


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def _header(array_class: int, shape: tuple[int, int], name: bytes) -> bytes:
    flags = _element(_UINT32, struct.pack("<II", array_class, 0))
    return flags + _element(_INT32, struct.pack("<ii", *shape)) + _element(_INT8, name)


def _matrix(name: bytes, values: np.ndarray) -> bytes:
    """A matrix of doubles, column by column."""
    height, width = values.shape
    data = _element(_DOUBLES, values.astype("<f8").tobytes(order="F"))
    return _element(_MATRIX, _header(_DOUBLE, (height, width), name) + data)
