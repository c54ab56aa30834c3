"""HAKE's instance-level labels of HICO-DET's training images, with the states of body parts.

A JSON object: file name -> {"labels": [{"hoi_id" from 1, "human_bbox", "object_bbox" in 1-based inclusive pixels,
"width", "height", "action_labels": [{"human_part" 0..9, "partstate"}]}]}. Only acting parts are listed, and none for a
pair of a no_interaction class. A listed part acts and the others of the pair do not; where a pair lists none, all its
parts are unknown.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from hoi_jax.annotations import Annotations
from hoi_jax.formats.labels.hico_det import columns_of_pairs
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.formats.labels.rows import Columns, record_of, whole_numbers
from hoi_jax.formats.labels.vcoco import number_in
from hoi_jax.io import CorruptFileError
from hoi_jax.schema import NUM_PARTS
from hoi_jax.vocab import get_vocabulary


def is_hake(table: object) -> bool:
    """Whether parsed JSON has this layout."""
    if not isinstance(table, dict) or not table:
        return False
    first = next(iter(table.values()))
    return isinstance(first, dict) and "labels" in first


def part_states(pairs: int, pair: Int[np.ndarray, " s"], part: Int[np.ndarray, " s"]) -> Int[np.ndarray, "pairs 10"]:
    """States of all parts (1 acts, 0 does not, -1 unknown) from rows (pair, part) of the listed parts.

    Raises:
      ValueError: a part or pair does not exist.
    """
    if np.any((part < 0) | (part >= NUM_PARTS)):
        raise ValueError(f"field 'human_part' has numbers outside 0..{NUM_PARTS - 1}")
    if np.any((pair < 0) | (pair >= pairs)):
        raise ValueError(f"a part belongs to a pair outside 0..{pairs - 1}")
    found = np.full((pairs, NUM_PARTS), -1, np.int32)
    found[pair] = 0
    found[pair, part] = 1
    return found


def open_hake(table: Any, path: str | os.PathLike[str]) -> LabelFile:
    """Open HAKE's JSON; `image_id` is the number in the file name. Raises CorruptFileError for another layout."""
    if not is_hake(table):
        raise CorruptFileError(f"{path}: is not in HAKE's layout; expected file names with 'labels'")
    keys = list(table)
    names = [Path(key).name for key in keys]
    try:
        numbers = [number_in(name) for name in names]
    except KeyError as error:
        raise CorruptFileError(f"{path}: a file name has no number ({error})") from error

    def rows(row: int) -> list[Any]:
        entry = table[keys[row]]
        if not isinstance(entry, dict) or not isinstance(entry.get("labels"), list):
            raise CorruptFileError(f"{path}: record {row} ({names[row]}): field 'labels' is not a list")
        return entry["labels"]

    def size(row: int) -> tuple[int, int]:
        for label in rows(row):
            sides = [label.get(side) if isinstance(label, dict) else None for side in ("height", "width")]
            if all(isinstance(side, int) for side in sides):
                return sides[0], sides[1]  # type: ignore[return-value]
        return (0, 0)

    def columns(row: int) -> Columns:
        return _columns(rows(row), f"{path}: record {row} ({names[row]})")

    return LabelFile(
        os.fspath(path), "HAKE", "hico_det", None, names, numbers, [size(r) for r in range(len(keys))], columns
    )


def _columns(labels: list[Any], where: str) -> Columns:
    boxes = np.array([[row["human_bbox"], row["object_bbox"]] for row in labels], np.float64).reshape(-1, 2, 4)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2])  # at least one pixel, as in flat npz
    hoi = whole_numbers([row["hoi_id"] for row in labels]).reshape(-1) - 1
    states = [
        (place, mention["human_part"]) for place, row in enumerate(labels) for mention in row.get("action_labels") or ()
    ]
    pair, part = whole_numbers(states).reshape(-1, 2).T
    columns = columns_of_pairs(boxes, hoi, get_vocabulary("hico_det"), where)
    return columns | {"pairs_part_states": part_states(len(labels), pair, part)}


# HICO-DET's training pairs as flat arrays: boxes and HOI classes of HAKE's instance-level file, without images.
#
# An npz with `image_id` [I] (numbers of the files), `pair_image` [P] rows of it, `pair_hoi` [P] from 0, `pair_hbox` and
# `pair_obox` [P, 4] in 1-based inclusive pixels, `pair_image_wh` [P, 2]; optionally `part_pair` [S] rows of pairs and
# `part_id` [S], the body parts that act.

_NEEDED = ("image_id", "pair_image", "pair_hoi", "pair_hbox", "pair_obox", "pair_image_wh")


def is_flat_pairs(content: Mapping[str, np.ndarray]) -> bool:
    """Whether an npz file has this layout."""
    return set(_NEEDED) <= set(content)


def annotations_of_flat_pairs(content: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> Annotations:
    """Annotations of the flat layout; `image_id` is the number in the image's file name.

    Raises:
      CorruptFileError: arrays are malformed; the message names file and image.
    """
    vocabulary = get_vocabulary("hico_det")
    numbers, image = np.asarray(content["image_id"], np.int64), np.asarray(content["pair_image"], np.int64)
    pairs = len(image)
    if any(len(content[name]) != pairs for name in _NEEDED[2:]) or np.any((image < 0) | (image >= len(numbers))):
        raise CorruptFileError(f"{path}: pair arrays differ in length, or refer to a missing image")
    boxes = np.stack([content["pair_hbox"], content["pair_obox"]], axis=1).astype(np.float64)
    # A few of HAKE's boxes end before they start; they become one pixel wide.
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2])
    try:
        states = part_states(
            pairs, *(np.asarray(content.get(name, ()), np.int64).reshape(-1) for name in ("part_pair", "part_id"))
        )
    except (ValueError, IndexError) as error:
        raise CorruptFileError(f"{path}: fields 'part_pair', 'part_id': {error}") from error
    order = np.argsort(image, kind="stable")
    starts = np.searchsorted(image[order], np.arange(len(numbers) + 1))
    records = []
    for row, number in enumerate(numbers):
        mine = order[starts[row] : starts[row + 1]]
        where = f"{path}: image {number}"
        columns = columns_of_pairs(boxes[mine], np.asarray(content["pair_hoi"], np.int64)[mine], vocabulary, where)
        columns |= {"pairs_part_states": states[mine]}
        width, height = content["pair_image_wh"][mine[0]] if len(mine) else (0, 0)
        name = f"HICO_train2015_{number:08d}.jpg"
        records.append(record_of(int(number), name, (int(height), int(width)), columns, 1))
    return Annotations.from_records(records, "hico_det")
