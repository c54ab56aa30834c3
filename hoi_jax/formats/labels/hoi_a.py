"""Labels in the JSON layout of HOI-A and HOI-W, which PPDM, QPIC, CDN and GEN-VLKT use for every dataset.

A list of {"file_name", "annotations": [{"bbox": [x1, y1, x2, y2], "category_id"}], "hoi_annotation": [{"subject_id",
"object_id", "category_id", "hoi_category_id"}]}; `subject_id` and `object_id` are indices into `annotations`. The
datasets differ in class numbers and box conventions (`DIALECTS`). Files in circulation have errors: numbers are
strings, and relations refer to boxes or verbs that do not exist. Such relations are left out and listed, not repaired.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.formats.labels.rows import Columns, instance_columns, pair_columns, persons_and_pairs
from hoi_jax.formats.labels.vcoco import CLASS_OF_CATEGORY, number_in
from hoi_jax.io import CorruptFileError
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.datasets import HOI_W


@dataclasses.dataclass(frozen=True)
class Dialect:
    """A dataset's variant of the layout.

    Attributes:
      vocabulary: name of the vocabulary. persons: whether relations become rows of `persons` (V-COCO).
      class_of: category number of the file -> object class.
      first_verb: number of the first verb in the file.
      end_shift_px: added to x2 and y2 to reach continuous corners; 1 where they are inclusive pixels.
    """

    vocabulary: str
    persons: bool
    class_of: Mapping[int, int]
    first_verb: int
    end_shift_px: int


DIALECTS = {
    "hico_det": Dialect("hico_det", False, CLASS_OF_CATEGORY, 1, 1),
    "vcoco": Dialect("vcoco", True, CLASS_OF_CATEGORY, 0, 0),
    "hoi_w": Dialect("hoi_w", False, {number + 1: number for number in range(len(HOI_W.objects))}, 1, 0),
}


def is_hoi_a(table: object) -> bool:
    """Whether parsed JSON has this layout (an empty list has none)."""
    return isinstance(table, list) and bool(table) and isinstance(table[0], dict) and "hoi_annotation" in table[0]


def dialect_name(table: Sequence[Mapping[str, Any]]) -> str:
    """Dataset of a file: HICO-DET if it has HOI class numbers, V-COCO if its images are COCO's, else HOI-W."""
    relations = (r for row in table for r in row.get("hoi_annotation") or () if isinstance(r, dict))
    if "hoi_category_id" in next(relations, {}) or str(table[0].get("file_name")).startswith("HICO"):
        return "hico_det"
    return "vcoco" if str(table[0].get("file_name")).startswith("COCO_") else "hoi_w"


def open_hoi_a(table: Any, path: str | os.PathLike[str], dataset: str | None = None) -> LabelFile:
    """Open a file; `dataset` is the name of its dialect, None = detected from the content.

    `image_id` is the position in the file, for V-COCO the number in the file name.

    Raises:
      CorruptFileError: the layout is another one, or a record has no file name.
    """
    if not is_hoi_a(table) or not all(isinstance(row, dict) for row in table):
        raise CorruptFileError(f"{path}: is not in the HOI-A layout; expected a list of images with 'hoi_annotation'")
    names = []
    for position, row in enumerate(table):
        if not isinstance(row.get("file_name"), str):
            raise CorruptFileError(f"{path}: record {position}: field 'file_name' is not a string")
        names.append(Path(row["file_name"]).name)
    dialect = DIALECTS[dataset or dialect_name(table)]
    vocabulary = get_vocabulary(dialect.vocabulary)
    try:
        numbers = [number_in(name) for name in names] if dialect.persons else list(range(len(names)))
    except KeyError as error:
        raise CorruptFileError(f"{path}: a file name has no number, unlike COCO's file names ({error})") from error
    return LabelFile(
        os.fspath(path),
        f"HOI-A ({dialect.vocabulary})",
        dialect.vocabulary,
        dialect.vocabulary if dialect.persons else None,
        names,
        numbers,
        [_size(row) for row in table],
        lambda row: _columns(table[row], dialect, vocabulary),
        lambda row: _relations(table[row], dialect, vocabulary)[1],
    )


def _size(record: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width), which this library's writer and some forks add to the layout; (0, 0) where absent."""
    height, width = record.get("height", 0), record.get("width", 0)
    known = all(isinstance(side, int) and side > 0 for side in (height, width))
    return (height, width) if known else (0, 0)


def _integer(value: object, field: str) -> int:
    try:
        if isinstance(value, bool | float):
            raise ValueError("expected a whole number")
        return int(value)  # type: ignore[call-overload]  # Texts of digits, with blanks, are common.
    except (TypeError, ValueError) as error:
        raise ValueError(f"field {field!r} is {str(value)[:40]!r}") from error


def _boxes(record: Mapping[str, Any], dialect: Dialect) -> tuple[np.ndarray, np.ndarray]:
    rows = record["annotations"]
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(len(rows), 4)
    boxes[:, 2:] += dialect.end_shift_px
    numbers = [_integer(row["category_id"], "category_id") for row in rows]
    unknown = [number for number in numbers if number not in dialect.class_of]
    if unknown:
        raise ValueError(f"field 'category_id' is {unknown[0]}, not a category of {dialect.vocabulary}")
    return boxes, np.array([dialect.class_of[number] for number in numbers], np.int64)


def _relations(
    record: Mapping[str, Any], dialect: Dialect, vocabulary: Vocabulary
) -> tuple[list[tuple[int, int, int]], list[str]]:
    """((human, object or -1, verb) of the valid relations, descriptions of the invalid ones)."""
    _, classes = _boxes(record, dialect)
    count, rows, notes = len(classes), [], []
    for place, relation in enumerate(record["hoi_annotation"]):
        human = _integer(relation["subject_id"], "subject_id")
        obj = _integer(relation["object_id"], "object_id")
        verb = _integer(relation["category_id"], "category_id") - dialect.first_verb
        without = dialect.persons and obj == -1
        if not 0 <= verb < len(vocabulary.verbs):
            notes.append(f"relation {place}: verb {verb + dialect.first_verb} does not exist")
        elif not 0 <= human < count or not (without or 0 <= obj < count):
            notes.append(f"relation {place}: boxes {human}, {obj} do not both exist; there are {count}")
        elif classes[human] != vocabulary.human_class:
            notes.append(f"relation {place}: the subject is a {vocabulary.objects[classes[human]]}")
        elif vocabulary.hois and vocabulary.hoi_table[verb, classes[obj]] < 0:
            name = f"{vocabulary.verbs[verb]} {vocabulary.objects[classes[obj]]}"
            raise ValueError(f"{name!r} is not an HOI class; are verbs and categories in the official order?")
        else:
            given = relation.get("hoi_category_id")
            if vocabulary.hois and given is not None:
                hoi = int(vocabulary.hoi_table[verb, classes[obj]]) + 1
                if _integer(given, "hoi_category_id") != hoi:
                    raise ValueError(f"field 'hoi_category_id' is {given}, but verb and object are class {hoi}")
            rows.append((human, obj, verb))
    return rows, notes


def _columns(record: Mapping[str, Any], dialect: Dialect, vocabulary: Vocabulary) -> Columns:
    boxes, classes = _boxes(record, dialect)
    rows = _relations(record, dialect, vocabulary)[0]
    human, obj, verb = np.array(rows, np.int64).reshape(-1, 3).T
    instances = instance_columns(boxes, classes)
    if not dialect.persons:
        return instances | pair_columns(human, obj, verb)
    # The layout does not say whether a person without relations is unlabelled or does nothing; take unlabelled.
    people, person = np.unique(human, return_inverse=True)
    actions = np.zeros((len(people), len(vocabulary.actions)), np.int32)
    roles = np.full((*actions.shape, 2), -1, np.int32)
    for who, what, target in zip(person.reshape(-1), verb, obj, strict=True):
        action, slot = vocabulary.verb_action[what], vocabulary.verb_role[what]
        actions[who, action] = 1
        if slot >= 0:
            roles[who, action, slot] = target
    return instances | persons_and_pairs(people.astype(np.int32), actions, roles, vocabulary)
