"""HICO-DET's official label files: `anno_bbox.mat` (boxes) and `anno.mat` (image-level labels).

Both hold two splits: `bbox_train`, `bbox_test`, and `anno_train`, `anno_test` with `list_train`, `list_test`. Boxes
are stored as x1, x2, y1, y2 in 1-based inclusive pixels; classes count from 1.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.formats.labels.hico_det import columns_of_pairs
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.formats.labels.rows import Columns, whole_numbers
from hoi_jax.io import CorruptFileError, DataError, read_mat
from hoi_jax.vocab import get_vocabulary


def open_mat(path: str | os.PathLike[str], split: str = "test") -> LabelFile:
    """Open one split of `anno_bbox.mat`; `image_id` is the position in it.

    Entries marked `invis` have no box and are left out.

    Raises:
      io.DataError: the file is malformed; the message names file, record and field.
    """
    images = _variable(path, f"bbox_{split}")
    vocabulary = get_vocabulary("hico_det")
    names, sizes = [], []
    for position, image in enumerate(images):
        try:
            names.append(Path(text_of(image["filename"])).name)
            size = image["size"].ravel()[0]
            sizes.append(tuple(int(whole_numbers(number_of(size[side]))) for side in ("height", "width")))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise CorruptFileError(f"{path}: bbox_{split} record {position}: malformed ({error!r})") from error

    def columns(row: int) -> Columns:
        where = f"{path}: bbox_{split} record {row}"
        try:
            boxes, hoi = _pairs(images[row]["hoi"])
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise CorruptFileError(f"{where}: malformed ({error!r})") from error
        return columns_of_pairs(boxes, hoi, vocabulary, where)

    layout = "HICO-DET anno_bbox.mat"
    return LabelFile(os.fspath(path), layout, "hico_det", None, names, list(range(len(names))), sizes, columns)


def is_image_labels(path: str | os.PathLike[str]) -> bool:
    """Whether a `.mat` file is `anno.mat` rather than `anno_bbox.mat`. Raises DataError if it is unreadable."""
    return bool(read_mat(path, ("list_test", "list_train")))


def open_image_labels(path: str | os.PathLike[str], split: str = "test") -> LabelFile:
    """Open one split of `anno.mat`, labels of whole images. Raises io.CorruptFileError naming file and field."""
    names, labels = read_image_labels(path, split)
    count = len(names)
    return LabelFile(
        os.fspath(path), "HICO anno.mat", "hico_det", None, names, list(range(count)), [(0, 0)] * count,
        lambda row: {"hoi_labels": labels[row]},
    )  # fmt: skip


def _pairs(entries: np.ndarray) -> tuple[Float[np.ndarray, "p 2 4"], Int[np.ndarray, " p"]]:
    """Boxes (human, object) and 0-based classes of the visible entries of one image."""
    boxes, classes = [np.zeros((0, 2, 4))], [np.zeros(0, np.int64)]
    for entry in entries.ravel():
        if number_of(entry["invis"]):
            continue
        connection = whole_numbers(entry["connection"]).reshape(-1, 2)
        human, obj = _boxes(entry["bboxhuman"]), _boxes(entry["bboxobject"])
        for column, rows in zip(connection.T, (human, obj), strict=True):
            if len(column) and (column.min() < 1 or column.max() > len(rows)):
                raise ValueError(f"'connection' has {column.min()}..{column.max()} for {len(rows)} boxes")
        boxes.append(np.stack([human[connection[:, 0] - 1], obj[connection[:, 1] - 1]], 1))
        classes.append(np.full(len(connection), whole_numbers(number_of(entry["id"])) - 1))
    return np.concatenate(boxes), np.concatenate(classes)


def _boxes(rows: np.ndarray) -> Float[np.ndarray, "n 4"]:
    corners = [[number_of(row[side]) for side in ("x1", "y1", "x2", "y2")] for row in rows.ravel()]
    return np.asarray(corners, np.float64).reshape(-1, 4)


def read_image_labels(
    path: str | os.PathLike[str], split: str = "test"
) -> tuple[list[str], Int[np.ndarray, "images 600"]]:
    """File names and labels of one split of `anno.mat`: +1, 0 and -1 as in the file, and -2 for NaN (unknown).

    Raises:
      io.CorruptFileError: the file is malformed; the message names file and field.
    """
    content = read_mat(path, (f"anno_{split}", f"list_{split}"))
    if len(content) != 2:
        raise CorruptFileError(f"{path}: variables 'anno_{split}', 'list_{split}' are absent")
    try:
        labels = np.asarray(content[f"anno_{split}"], np.float64)
        names = [Path(text_of(name)).name for name in content[f"list_{split}"].ravel()]
    except (TypeError, ValueError) as error:
        raise CorruptFileError(f"{path}: fields 'anno_{split}', 'list_{split}' are malformed ({error})") from error
    classes = len(get_vocabulary("hico_det").hois)
    if labels.shape != (classes, len(names)):
        raise CorruptFileError(
            f"{path}: field 'anno_{split}' has shape {labels.shape}, expected ({classes}, {len(names)})"
        )
    if not np.isin(labels[~np.isnan(labels)], (1, 0, -1)).all():
        raise CorruptFileError(f"{path}: field 'anno_{split}' has numbers other than 1, 0, -1 and NaN")
    return names, np.where(np.isnan(labels), -2, labels).astype(np.int32).T


def with_image_labels(annotations: Annotations, path: str | os.PathLike[str], split: str = "test") -> Annotations:
    """`annotations` with the image-level labels of `anno.mat`, joined by file name.

    The labels are +1, 0 and -1 as in the file, and -2 for NaN (unknown).

    Raises:
      io.DataError: an image of `annotations` is not in the file, or the file is malformed.
    """
    names, labels = read_image_labels(path, split)
    column_of = {name: column for column, name in enumerate(names)}
    missing = [name for name in annotations.file_name.tolist() if name not in column_of]
    if missing:
        raise DataError(f"{path}: has no labels for {len(missing)} images, the first of which is {missing[0]!r}")
    values = labels[[column_of[name] for name in annotations.file_name.tolist()]]
    classes = values.shape[1]
    return Annotations(
        annotations.vocabulary_name,
        annotations.actions_vocabulary_name,
        annotations.image_id,
        annotations.original_hw_px,
        annotations.file_name,
        {**annotations.counts, "hoi_labels": np.full(annotations.num_images, classes, np.int64)},
        {**annotations.columns, "hoi_labels": values.reshape(-1)},
    )


def _variable(path: str | os.PathLike[str], name: str) -> np.ndarray:
    content = read_mat(path, (name,))
    images = content.get(name)
    if not isinstance(images, np.ndarray) or not set(images.dtype.names or ()) >= {"filename", "size", "hoi"}:
        raise CorruptFileError(f"{path}: is not in the anno_bbox layout, which needs the struct array {name!r}")
    return images.ravel()


def number_of(value: Any) -> float:
    """The number in a MATLAB value. Raises ValueError if it is not a single number."""
    flat = np.ravel(value)
    if flat.size != 1:
        raise ValueError(f"{value!r} is not a single number")
    return float(flat[0])


def text_of(value: Any) -> str:
    """The string in a MATLAB value, at any depth of nesting. Raises ValueError if it is not a single string."""
    flat = np.ravel(value)
    if flat.size != 1:
        raise ValueError(f"{value!r} is not a single string")
    return str(text_of(flat[0]) if isinstance(flat[0], np.ndarray) else flat[0])
