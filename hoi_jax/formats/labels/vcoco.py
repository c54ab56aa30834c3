"""V-COCO labels from their official files (with COCO instances), or from the pair layout of fredzzhang/vcoco.

COCO boxes are (x, y, width, height); they become continuous corners (x, y, x + width, y + height). The official
evaluator's convention (x2 = x + max(0, width - 1)) is applied in `evaluation.metrics.alignment`.

The layout is recognised by content:
- official: a list of 26 action tables; boxes come from COCO's own files;
- pairs: {"annotations": [...], "classes": 24 names, "images": ids}, which has only pairs with an annotated object;
  persons get 0 for the role actions they lack, and -1 (unknown) for actions without object and for `point`;
- pairs by split: the same with {"annotations": {split: [...]}}; all splits together become one split.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.formats.labels.rows import Columns, instance_columns, persons_and_pairs, whole_numbers
from hoi_jax.io import CorruptFileError, DataError, read_json
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS

CLASS_OF_CATEGORY = {category: index for index, category in enumerate(COCO_CATEGORY_IDS)}


def is_official(table: object) -> bool:
    """Whether parsed JSON is a list of action tables."""
    return isinstance(table, list) and bool(table) and isinstance(table[0], dict) and "action_name" in table[0]


def is_pairs(table: object) -> bool:
    """Whether parsed JSON is the pair layout."""
    return isinstance(table, dict) and set(table) >= {"annotations", "classes"}


def pair_annotations(path: str | os.PathLike[str], table: Any) -> list[dict[str, Any]]:
    """The rows of a pair file, with its splits concatenated in file order."""
    if not is_pairs(table):
        raise CorruptFileError(f"{path}: is not a V-COCO layout; expected 26 action tables, or annotations and classes")
    rows = table["annotations"]
    groups = list(rows.values()) if isinstance(rows, dict) else [rows]
    if not all(isinstance(group, list) and all(isinstance(row, dict) for row in group) for group in groups):
        raise CorruptFileError(f"{path}: field 'annotations' is neither a list of images nor lists by split")
    return [row for group in groups for row in group]


def verbs_of_classes(names: object, vocabulary: Vocabulary, path: str | os.PathLike[str]) -> np.ndarray:
    """Verb of each class of a pair file ("hit instr"). Raises io.CorruptFileError for an unknown class."""
    if not isinstance(names, list | tuple):
        raise CorruptFileError(f"{path}: field 'classes' is not a list")
    return np.asarray([_verb_of(name, vocabulary, path) for name in names], np.int32)


def _verb_of(class_name: str, vocabulary: Vocabulary, path: str | os.PathLike[str]) -> int:
    action, _, role = str(class_name).rpartition(" ")
    for verb, (a, slot) in enumerate(zip(vocabulary.verb_action, vocabulary.verb_role, strict=True)):
        if vocabulary.actions[a] == action and slot >= 0 and vocabulary.action_roles[a][slot] == role:
            return verb
    raise CorruptFileError(f"{path}: unknown class {class_name!r}")


def number_in(file_name: str) -> int:
    """The last number in a file name, as COCO names images. Raises KeyError when there is none."""
    numbers = re.findall(r"\d+", file_name)
    if not numbers:
        raise KeyError("file_name without a number")
    return int(numbers[-1])


def persons_from_pairs(
    row: Mapping[str, Any], class_to_verb: Int[np.ndarray, " classes"], vocabulary: Vocabulary
) -> Columns:
    """Instances and persons of one image; equal boxes of the same class are one instance.

    Raises:
      KeyError, TypeError, ValueError: a field is absent or malformed.
    """
    human = np.asarray(row["boxes_h"], np.float32).reshape(-1, 4)
    obj = np.asarray(row["boxes_o"], np.float32).reshape(-1, 4)
    object_class, action = whole_numbers(row["objects"]) - 1, whole_numbers(row["actions"])
    if not len(human) == len(obj) == len(object_class) == len(action):
        raise ValueError("boxes_h, boxes_o, objects and actions have different lengths")
    if not (np.isfinite(human).all() and np.isfinite(obj).all()):
        raise ValueError("a box is not finite")
    for name, values, limit in (
        ("objects", object_class, len(vocabulary.objects)),
        ("actions", action, len(class_to_verb)),
    ):
        if np.any((values < 0) | (values >= limit)):
            raise ValueError(f"field {name!r} refers to a class that does not exist")
    verbs = class_to_verb[action]
    rows = np.concatenate(
        [np.c_[np.full(len(human), vocabulary.human_class), human], np.c_[object_class.reshape(-1), obj]]
    )
    unique, index = np.unique(rows, axis=0, return_inverse=True) if len(rows) else (rows, np.zeros(0, np.int64))
    humans, objects = np.split(index.reshape(-1), 2)
    people, person_row = np.unique(humans, return_inverse=True)
    labelled = _actions_with_known_roles(class_to_verb, vocabulary)
    actions = np.where(labelled, 0, -1)[None].repeat(len(people), 0).astype(np.int32)
    roles = np.full((len(people), len(vocabulary.actions), 2), -1, np.int32)
    for person, verb, target in zip(person_row, verbs, objects, strict=True):
        action, role = vocabulary.verb_action[verb], vocabulary.verb_role[verb]
        actions[person, action] = 1
        roles[person, action, role] = target
    return instance_columns(unique[:, 1:], unique[:, 0].astype(np.int64)) | persons_and_pairs(
        people.astype(np.int32), actions, roles, vocabulary
    )


def _actions_with_known_roles(class_to_verb: np.ndarray, vocabulary: Vocabulary) -> Bool[np.ndarray, " actions"]:
    known = np.zeros(len(vocabulary.actions), bool)
    known[[vocabulary.verb_action[verb] for verb in class_to_verb]] = True
    return known


def open_pairs(table: Mapping[str, Any], path: str | os.PathLike[str]) -> LabelFile:
    """Open a file of the pair layout, which has no image sizes; `image_id` is the number in the file name."""
    vocabulary = get_vocabulary("vcoco")
    class_to_verb = verbs_of_classes(table["classes"], vocabulary, path)
    rows = pair_annotations(path, table)
    names, numbers = [], []
    for position, row in enumerate(rows):
        if not isinstance(row.get("file_name"), str):
            raise CorruptFileError(
                f"{path}: record {position}: malformed annotation, field 'file_name' is not a string"
            )
        names.append(Path(row["file_name"]).name)
        try:
            numbers.append(number_in(names[-1]))
        except KeyError as error:
            raise CorruptFileError(f"{path}: record {position}: malformed annotation ({error!r})") from error
    return LabelFile(
        os.fspath(path), "V-COCO pairs", "vcoco", "vcoco", names, numbers, [(0, 0)] * len(rows),
        lambda row: persons_from_pairs(rows[row], class_to_verb, vocabulary),
    )  # fmt: skip


class CocoInstances:
    """Boxes by annotation number and images by image number, from COCO's `instances_*.json` files."""

    def __init__(self, paths: Iterable[str | os.PathLike[str]]):
        self.images: dict[int, Mapping[str, Any]] = {}
        self.by_image: dict[int, list[Mapping[str, Any]]] = {}
        for path in paths:
            table = read_json(path)
            try:
                for image in table["images"]:
                    self.images[image["id"]] = image
                for row in table["annotations"]:
                    self.by_image.setdefault(row["image_id"], []).append(row)
            except (KeyError, TypeError) as error:
                raise CorruptFileError(f"{path}: is not in COCO's instances layout ({error!r})") from error


class OfficialTable:
    """`vcoco_<split>.json`: 26 actions over the same persons, regrouped by image.

    Attributes:
      images: image numbers in order of first appearance.
      persons: image number -> rows of the tables below.
      ann_id [n], label [n, 26], role_ann_id [n, 26, 2] (0 = not annotated).
    """

    def __init__(self, path: str | os.PathLike[str], table: Sequence[Mapping[str, Any]]):
        vocabulary = get_vocabulary("vcoco")
        try:
            by_name = {entry["action_name"]: entry for entry in table}
            entries = [by_name[name] for name in vocabulary.actions]
            self.ann_id = np.asarray(entries[0]["ann_id"], np.int64)
            count = len(self.ann_id)
            self.label = np.stack([np.asarray(e["label"], np.int32) for e in entries], 1)
            self.role_ann_id = np.zeros((count, len(entries), 2), np.int64)
            for a, entry in enumerate(entries):
                ids = np.asarray(entry["role_object_id"], np.int64).reshape(-1, count)
                self.role_ann_id[:, a, : len(ids) - 1] = ids[1:].T
            image_id = np.asarray(entries[0]["image_id"], np.int64)
        except (KeyError, ValueError, TypeError) as error:
            raise CorruptFileError(f"{path}: is not in the official V-COCO layout ({error!r})") from error
        if self.label.shape[0] != count or image_id.shape != (count,):
            raise CorruptFileError(f"{path}: fields 'label', 'image_id', 'ann_id' have different lengths")
        if not np.isin(self.label, (0, 1)).all():
            raise CorruptFileError(f"{path}: field 'label' has values other than 0 and 1")
        self.images = list(dict.fromkeys(image_id.tolist()))
        self.persons = {i: np.flatnonzero(image_id == i) for i in self.images}


def official_columns(table: OfficialTable, coco: CocoInstances, image_id: int) -> tuple[str, Columns]:
    """(file name, columns) of one image with all its COCO instances; persons without V-COCO labels are unlabelled.

    Raises:
      io.DataError: COCO's files lack the image, an annotation of it, or a field.
    """
    vocabulary = get_vocabulary("vcoco")
    where = f"COCO instances: image {image_id}"
    if image_id not in coco.images:
        raise DataError(f"{where} of V-COCO is absent")
    try:
        annotations = coco.by_image.get(image_id, [])
        ids = np.asarray([a["id"] for a in annotations], np.int64)
        xywh = np.asarray([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
        if not np.isfinite(xywh).all():
            raise ValueError("a box is not finite")
        classes = np.asarray([CLASS_OF_CATEGORY[a["category_id"]] for a in annotations], np.int32)
        file_name = Path(coco.images[image_id]["file_name"]).name
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{where}: malformed ({error!r})") from error
    row_of = {number: row for row, number in enumerate(ids.tolist())}
    persons = table.persons[image_id]
    if missing := [int(i) for i in table.ann_id[persons] if i not in row_of]:
        raise DataError(f"{where} lacks the annotations {missing}")
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    roles = np.vectorize(lambda number: row_of.get(number, -1), otypes=[np.int32])(table.role_ann_id[persons])
    instance = np.asarray([row_of[i] for i in table.ann_id[persons]], np.int32)
    rows = persons_and_pairs(instance, table.label[persons], roles, vocabulary)
    return file_name, instance_columns(boxes, classes, ids) | rows


def open_official(table: Any, path: str | os.PathLike[str], coco: CocoInstances) -> LabelFile:
    """Open a file of the official layout; images are in the order of their first person. Raises DataError."""
    people = OfficialTable(path, table)
    names, sizes = [], []
    for image_id in people.images:
        image = coco.images.get(image_id)
        if image is None:
            raise DataError(f"{path}: COCO instances: image {image_id} of V-COCO is absent")
        try:
            names.append(Path(image["file_name"]).name)
            sizes.append((int(image["height"]), int(image["width"])))
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"COCO instances: image {image_id}: no height and width, or no name ({error!r})"
            ) from error
    return LabelFile(
        os.fspath(path), "V-COCO official", "vcoco", "vcoco", names, people.images, sizes,
        lambda row: official_columns(people, coco, people.images[row])[1],
    )  # fmt: skip
