"""HICO-DET labels from the JSON layout of fredzzhang/hicodet (`instances_{train,test}2015.json`).

Its boxes are the official ones: 1-based inclusive pixels (x1, y1, x2, y2). They become continuous corners
[x1 - 1, y1 - 1, x2, y2], whose plain IoU equals the official evaluator's "+1" IoU. Every annotated row keeps its own
two boxes: HICO-DET draws new boxes for every HOI class, and merging them is an option of the input pipeline.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.formats.labels.rows import Columns, instance_columns, pair_columns, whole_numbers
from hoi_jax.io import CorruptFileError, DataError
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.datasets import OBJECTS_ALPHABETICAL

TO_CORNERS = np.array([-1, -1, 0, 0], np.float32)
"""Offset from 1-based inclusive pixels to continuous corners."""

_NEEDED = {"filenames", "size", "annotation", "correspondence"}


def is_instances(table: object) -> bool:
    """Whether parsed JSON has this layout."""
    return isinstance(table, dict) and set(table) >= _NEEDED


def checked_instances(table: Any, path: str | os.PathLike[str]) -> dict[str, Any]:
    """`table` itself. Raises io.CorruptFileError for another outer layout."""
    if not is_instances(table):
        raise CorruptFileError(f"{path}: is not in HICO-DET's instances layout, which needs the keys {sorted(_NEEDED)}")
    lists = [table[name] for name in ("filenames", "size", "annotation")]
    if not all(isinstance(rows, list) for rows in lists) or len({len(rows) for rows in lists}) != 1:
        raise CorruptFileError(f"{path}: filenames, size and annotation are not lists of one length")
    return table


def pair_rows(annotation: Any, vocabulary: Vocabulary, where: str) -> Columns:
    """Instances and pairs of one image; row r has the human 2r and the object 2r + 1.

    Raises:
      io.CorruptFileError: the annotation is malformed; the message begins with `where` and names the field.
    """
    try:
        human, obj, hoi = annotation["boxes_h"], annotation["boxes_o"], annotation["hoi"]
        boxes = np.stack([np.reshape(human, (-1, 4)), np.reshape(obj, (-1, 4))], 1).astype(np.float64)
        hoi = whole_numbers(hoi)
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptFileError(f"{where}: malformed annotation ({error!r})") from error
    return columns_of_pairs(boxes, hoi, vocabulary, where)


def columns_of_pairs(
    boxes_px: Float[np.ndarray, "p 2 4"], hoi: Int[np.ndarray, "..."], vocabulary: Vocabulary, where: str
) -> Columns:
    """Columns from human and object boxes in 1-based inclusive pixels and HOI classes; see `pair_rows`."""
    count = len(boxes_px)
    if hoi.shape != (count,) or np.any((hoi < 0) | (hoi >= len(vocabulary.hois))):
        raise CorruptFileError(f"{where}: field 'hoi' does not fit {count} pairs and {len(vocabulary.hois)} classes")
    if not np.all(np.isfinite(boxes_px)) or np.any(boxes_px[..., 2:] < boxes_px[..., :2]):
        raise CorruptFileError(f"{where}: a box is not finite or has x2 < x1")
    verb, obj = vocabulary.hoi_pairs[hoi].T
    classes = np.stack([np.full(count, vocabulary.human_class), obj], 1).reshape(-1)
    rows = np.arange(0, 2 * count, 2)
    boxes = (boxes_px.astype(np.float32) + TO_CORNERS).reshape(-1, 4)
    return {**instance_columns(boxes, classes), **pair_columns(rows, rows + 1, verb)}


def open_instances(table: Mapping[str, Any], path: str | os.PathLike[str]) -> LabelFile:
    """Open a checked file; `image_id` is the position in it, as in records."""
    vocabulary = get_vocabulary("hico_det")
    names = [Path(str(name)).name for name in table["filenames"]]

    def where(row: int) -> str:
        return f"{path}: record {row} ({names[row]})"

    return LabelFile(
        os.fspath(path),
        "HICO-DET JSON",
        "hico_det",
        None,
        names,
        list(range(len(names))),
        [_size(size, where(row)) for row, size in enumerate(table["size"])],
        lambda row: pair_rows(table["annotation"][row], vocabulary, where(row)),
    )


def _size(size: Any, where: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in size)
    except (TypeError, ValueError, OverflowError) as error:
        raise CorruptFileError(f"{where}: field 'size' is {size!r}, expected width and height") from error
    return height, width


def class_order_fault(table: Mapping[str, Any]) -> str | None:
    """Description of a contradiction between the file's class lists and the official order, or None."""
    vocabulary = get_vocabulary("hico_det")
    for field, names in (("verbs", vocabulary.verbs), ("objects", OBJECTS_ALPHABETICAL)):
        given = table.get(field)
        if isinstance(given, list) and given:
            found = [str(name).replace(" ", "_") for name in given]
            if found != list(names):
                wrong = next((i for i, (a, b) in enumerate(zip(found, names, strict=False)) if a != b), len(found))
                return (
                    f"field {field!r}, entry {wrong}: {found[wrong : wrong + 1]}, expected {names[wrong : wrong + 1]}"
                )
    rows = table.get("correspondence") or []
    alphabetical = [OBJECTS_ALPHABETICAL.index(name) for name in vocabulary.objects]
    expected = [[hoi, alphabetical[obj], verb] for hoi, (verb, obj) in enumerate(vocabulary.hois)]
    for place, row in enumerate(rows):
        if place >= len(expected) or row != expected[place]:
            return f"field 'correspondence', entry {place}: {row}, expected {expected[place : place + 1]}"
    return None


# HICO-DET's JSON layout and flat prediction arrays, both in the coordinates of the official files.
#
# The JSON (`instances_test2015.json`) has 1-based inclusive boxes. The flat arrays have 0-based inclusive boxes:
# `pair_image` (position in the JSON), `pair_hbox`, `pair_obox`, `pair_object` (COCO order), `trip_pair`, `trip_verb`,
# `trip_score`.


def truth_from_json(content: Mapping[str, Any]) -> PairTruth:
    """Annotated pairs of a parsed HICO-DET JSON. Raises DataError naming the record and field."""
    rows = content.get("annotation")
    if not isinstance(rows, list):
        raise DataError("field 'annotation' is absent or not a list")
    parts: dict[str, list[np.ndarray]] = {"boxes_h": [], "boxes_o": [], "hoi": []}
    for number, row in enumerate(rows):
        for name, collected in parts.items():
            width = () if name == "hoi" else (4,)
            try:
                collected.append(np.asarray(row[name], np.float64).reshape(-1, *width))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"annotation {number}: field {name!r} is absent or malformed") from error
        sizes = {name: len(collected[-1]) for name, collected in parts.items()}
        if len(set(sizes.values())) != 1:
            raise DataError(f"annotation {number}: fields have different lengths: {sizes}")
    counts = [len(array) for array in parts["hoi"]]
    return PairTruth(
        len(rows),
        np.repeat(np.arange(len(rows)), counts),
        np.concatenate([np.zeros((0, 4)), *parts["boxes_h"]]),
        np.concatenate([np.zeros((0, 4)), *parts["boxes_o"]]),
        np.concatenate([np.zeros(0), *parts["hoi"]]).astype(np.int64),
    )


def detections_from_flat(arrays: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> PairDetections:
    """Flat prediction arrays; a verb and an object that form no class get label -1 (ignored and counted).

    Raises:
      DataError: an array is absent.
    """
    needed = ("pair_image", "pair_hbox", "pair_obox", "pair_object", "trip_pair", "trip_verb", "trip_score")
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise DataError(f"flat predictions lack {missing}")
    triplet_pair = arrays["trip_pair"].astype(np.int64)
    return PairDetections(
        arrays["pair_image"].astype(np.int64),
        arrays["pair_hbox"].astype(np.float64),
        arrays["pair_obox"].astype(np.float64),
        triplet_pair,
        vocabulary.hoi_table[arrays["trip_verb"], arrays["pair_object"][triplet_pair]],
        arrays["trip_score"],
    )
