"""Predictions of the PPDM, QPIC, CDN and GEN-VLKT family: a JSON list with one entry per image.

    {"file_name": "HICO_test2015_00000001.jpg",
     "predictions": [{"bbox": [x1, y1, x2, y2], "category_id": 1}, ...],
     "hoi_prediction": [{"subject_id": 0, "object_id": 1, "category_id": 37, "score": 0.9}, ...]}

Boxes are 0-based inclusive pixels; `subject_id`, `object_id` are indices into `predictions`. Three numberings exist:
- `ppdm-json`: COCO's category numbers (person 1), verbs from 1;
- `qpic-json` (also CDN): objects 0 to 79 (person 0; 80 = none), verbs from 0;
- `gen-vlkt-json`: objects as in QPIC, `category_id` of an HOI is its HOI class from 0.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.formats.labels.rows import whole_numbers
from hoi_jax.formats.predictions.build import (
    INCLUSIVE_TO_CORNERS,
    build_predictions,
    images_by_name,
    images_by_position,
)
from hoi_jax.io import CorruptFileError, DataError
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS

DIALECTS = ("ppdm-json", "qpic-json", "gen-vlkt-json")


def is_json_predictions(table: object) -> bool:
    """Whether parsed JSON has this layout; an empty list does (no predictions)."""
    return isinstance(table, list) and (not table or (isinstance(table[0], dict) and "hoi_prediction" in table[0]))


def predictions_from_json(
    table: Sequence[Any],
    path: str | os.PathLike[str],
    vocabulary: Vocabulary,
    annotations: Annotations,
    dialect: str | None = None,
) -> Predictions:
    """Predictions with one pair per entry of `hoi_prediction`.

    Args:
      dialect: one of `DIALECTS`; None detects it from the content: subjects are all 1 in PPDM's files and 0 in the
        others, and only HOI classes exceed the last verb.

    Raises:
      io.DataError: the content is malformed; the message names file, record and field.
    """
    entries = [_entry(entry, f"{path}: record {row}") for row, entry in enumerate(table)]
    starts = np.cumsum([0, *(len(entry["category"]) for entry in entries)])[:-1]
    boxes = _join(entries, "boxes", 4)
    category = _join(entries, "category")
    count = [len(entry["verb"]) for entry in entries]
    offset = np.repeat(starts, count).astype(np.int64)
    subject, obj = _join(entries, "subject") + offset, _join(entries, "object") + offset
    dialect = dialect or _dialect(category[subject], _join(entries, "verb"), vocabulary)
    record = np.repeat(np.arange(len(entries)), count)
    verb, object_class = _classes(dialect, _join(entries, "verb"), category[obj], record, vocabulary, path)
    image_id = _image_ids(table, path, annotations)
    corners = boxes + INCLUSIVE_TO_CORNERS
    object_px = np.where(object_class[:, None] >= 0, corners[obj], np.nan)
    return build_predictions(
        {"format": dialect},
        vocabulary,
        annotations,
        os.fspath(path),
        listed_images=image_id,
        pair_image_id=image_id[record],
        pair_boxes_px=(corners[subject], object_px),
        pair_object_class=object_class,
        triplet_pair=np.arange(len(verb)),
        triplet_verb=verb,
        triplet_score=_join(entries, "score"),
    )


def _entry(entry: Any, where: str) -> dict[str, np.ndarray]:
    """Arrays of one image, with checked indices."""
    if not isinstance(entry, Mapping):
        raise CorruptFileError(f"{where} is {type(entry).__name__}, expected an object")
    rows = {}
    for field in ("predictions", "hoi_prediction"):
        rows[field] = entry.get(field)
        if not isinstance(rows[field], list) or not all(isinstance(row, Mapping) for row in rows[field]):
            raise CorruptFileError(f"{where}: field {field!r} is absent or not a list of objects")
    result = {
        "boxes": _column(rows["predictions"], "bbox", np.float64, (4,), f"{where}: predictions"),
        "category": _column(rows["predictions"], "category_id", np.int64, (), f"{where}: predictions"),
        "score": _column(rows["hoi_prediction"], "score", np.float64, (), f"{where}: hoi_prediction"),
        "verb": _column(rows["hoi_prediction"], "category_id", np.int64, (), f"{where}: hoi_prediction"),
    }
    for name in ("subject", "object"):
        index = _column(rows["hoi_prediction"], f"{name}_id", np.int64, (), f"{where}: hoi_prediction")
        wrong = np.flatnonzero((index < 0) | (index >= len(result["category"])))
        if len(wrong):
            raise CorruptFileError(
                f"{where}: hoi_prediction {wrong[0]}: field '{name}_id' is {index[wrong[0]]}, there are "
                f"{len(result['category'])} predictions"
            )
        result[name] = index
    return result


def _column(rows: list[Mapping[str, Any]], name: str, dtype: type, tail: tuple[int, ...], where: str) -> np.ndarray:
    """One field of all rows as an array; null becomes NaN."""
    try:
        values = np.array([row[name] for row in rows], np.float64).reshape(len(rows), *tail)
        return whole_numbers(values) if dtype is np.int64 else values
    except (KeyError, TypeError, ValueError) as error:
        bad = next(
            (row for row, entry in enumerate(rows) if not _is_number(entry.get(name), tail, dtype is np.int64)), 0
        )
        raise CorruptFileError(f"{where} {bad}: field {name!r} is absent or malformed ({error!r})") from error


def _is_number(value: Any, tail: tuple[int, ...], whole: bool) -> bool:
    try:
        return np.shape(whole_numbers(value) if whole else np.asarray(value, np.float64)) == tail
    except (TypeError, ValueError):
        return False


def _join(entries: Sequence[Mapping[str, np.ndarray]], name: str, *tail: int) -> np.ndarray:
    dtype = np.float64 if name in ("boxes", "score") else np.int64
    return np.concatenate([np.zeros((0, *tail), dtype), *(entry[name] for entry in entries)])


def _dialect(subjects: np.ndarray, verbs: np.ndarray, vocabulary: Vocabulary) -> str:
    if len(subjects) and np.all(subjects == COCO_CATEGORY_IDS[vocabulary.human_class]):
        return "ppdm-json"
    if vocabulary.hois and len(verbs) and verbs.max() >= len(vocabulary.verbs):
        return "gen-vlkt-json"
    return "qpic-json"


def _classes(
    dialect: str,
    verb: np.ndarray,
    category: np.ndarray,
    record: np.ndarray,
    vocabulary: Vocabulary,
    path: str | os.PathLike[str],
) -> tuple[np.ndarray, np.ndarray]:
    """(verb, object class, -1 = none) as indices into the vocabulary."""
    objects = len(vocabulary.objects)
    if dialect == "ppdm-json":
        class_of = np.full(max(COCO_CATEGORY_IDS) + 1, -2)
        class_of[list(COCO_CATEGORY_IDS)] = np.arange(len(COCO_CATEGORY_IDS))
        inside = (category >= 0) & (category < len(class_of))
        object_class = np.where(inside, class_of[np.where(inside, category, 0)], -2)
        verb, limit = verb - 1, len(vocabulary.verbs)
    else:
        object_class = np.where(category == objects, -1, np.where((category < 0) | (category > objects), -2, category))
        limit = len(vocabulary.hois) if dialect == "gen-vlkt-json" else len(vocabulary.verbs)
    for name, wrong in (("category_id", (verb < 0) | (verb >= limit)), ("object_id", object_class == -2)):
        if np.any(wrong):
            row = int(np.flatnonzero(wrong)[0])
            first = int(np.searchsorted(record, record[row]))
            raise CorruptFileError(
                f"{path}: record {record[row]}: hoi_prediction {row - first}: field {name!r} refers to a class that "
                f"{vocabulary.name} does not have in the numbering of {dialect}"
            )
    if dialect == "gen-vlkt-json":
        # GEN-VLKT's evaluator uses only the HOI class and ignores the class of the object box.
        verb, object_class = np.array(vocabulary.hois, np.int64)[verb].reshape(-1, 2).T
    return verb, object_class


def _image_ids(
    table: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], annotations: Annotations
) -> np.ndarray:
    """Image number of every entry by file name, or by position in the split if no entry has a name."""
    names = [entry.get("file_name", entry.get("filename")) for entry in table]
    if names and all(name is None for name in names):
        if len(names) != annotations.num_images:
            raise DataError(f"{path}: entries have no 'file_name', and {len(names)} is not the number of images")
        return images_by_position(annotations, np.arange(len(names)))
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if not isinstance(name, str):
            raise CorruptFileError(f"{path}: record {row}: field 'file_name' is {name!r}, expected a string")
        if seen.setdefault(Path(name).name, row) != row:
            raise CorruptFileError(f"{path}: record {row}: {name!r} repeats record {seen[Path(name).name]}")
    return images_by_name(annotations, [Path(name).name for name in names])
