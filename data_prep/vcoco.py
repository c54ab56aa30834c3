"""V-COCO from its official files (with COCO instances), or from the pair layout of fredzzhang/vcoco.

COCO boxes are (x, y, width, height); they become continuous corners (x, y, x + width, y + height). The official
evaluator's own convention (x2 = x + max(0, width - 1)) belongs to evaluation and is applied there.

The layout is recognised by content:
- official: a list of 26 action tables; boxes come from `--coco-instances`;
- pairs: {"annotations": [...], "classes": 24 names, "images": ids}: only pairs with an annotated object survive in it,
  so persons get 0 for the role actions they lack, and -1 (unknown) for actions without object and for `point`;
- pairs by split: the same with {"annotations": {split: [...]}}; all splits together become one split.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.builder import DatasetSource, Record
from data_prep.hico_det import instance_columns
from data_prep.pictures import PictureFolder
from hoi_jax import schema
from hoi_jax.io import CorruptFileError, DataError, read_json
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.coco import COCO_CATEGORY_IDS


def vcoco_source(name: str, files: Mapping[str, Path], images: Path, coco_instances: Sequence[Path]) -> DatasetSource:
    """One split per annotation file ("" becomes "union"). Raises DataError naming file, record and field."""
    folder = PictureFolder(images)
    splits, layouts, coco = {}, set(), None
    for split, path in files.items():
        table = read_json(path)
        if isinstance(table, list):
            layouts.add("official")
            if not coco_instances:
                raise DataError(f"{path}: official V-COCO layout; boxes are in COCO's files: give --coco-instances")
            coco = coco or CocoInstances(coco_instances)
            people = OfficialTable(path, table)
            splits[split or "union"] = (len(people.images), lambda p=people, c=coco: iterate_official(p, c, folder))
        else:
            layouts.add("pairs")
            rows = pair_annotations(path, table)
            splits[split or "union"] = (len(rows), lambda p=path, t=table, r=rows: iterate_pairs(p, t, r, folder))
    return DatasetSource(
        name=name,
        version="1.0.0",
        description="V-COCO",
        pairs_vocabulary="vcoco",
        persons_vocabulary="vcoco",
        splits=splits,
        settings={"layout": "+".join(sorted(layouts))},
    )


def pair_annotations(path: Path, table: Any) -> list[dict[str, Any]]:
    """The rows of a pair file, splits put together in the file's order."""
    if not isinstance(table, dict) or not {"annotations", "classes"} <= set(table):
        raise CorruptFileError(f"{path}: not a V-COCO layout; expected 26 action tables, or annotations and classes")
    rows = table["annotations"]
    if isinstance(rows, dict):
        rows = [row for split in rows.values() for row in split]
    return rows


def iterate_pairs(
    path: Path, table: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], folder: PictureFolder
) -> Iterator[Record]:
    """One record per picture of the pair layout."""
    vocabulary = get_vocabulary("vcoco")
    class_to_verb = np.asarray([_verb_of(name, vocabulary, path) for name in table["classes"]], np.int32)
    for position, row in enumerate(rows):
        where = f"{path}: record {position} ({row.get('file_name')})"
        try:
            file_name = row["file_name"]
            record = schema.empty_record(len(vocabulary.actions))
            data, hw = folder.read(file_name)
            record |= {
                "image": data,
                "image_id": np.int64(_number_in(file_name)),
                "file_name": file_name.encode(),
                "original_hw_px": np.asarray(hw, np.int32),
            }
            record |= persons_from_pairs(row, class_to_verb, vocabulary)
        except (KeyError, TypeError, IndexError) as error:
            raise CorruptFileError(f"{where}: malformed annotation ({error!r})") from error
        yield record


def persons_from_pairs(row: Mapping[str, Any], class_to_verb: np.ndarray, vocabulary: Vocabulary) -> Record:
    """Instances and persons of one picture; equal boxes of the same class are one instance."""
    human = np.asarray(row["boxes_h"], np.float32).reshape(-1, 4)
    obj = np.asarray(row["boxes_o"], np.float32).reshape(-1, 4)
    object_class = np.asarray(row["objects"], np.int32) - 1
    verbs = class_to_verb[np.asarray(row["actions"], np.int32)]
    rows = np.concatenate(
        [
            np.c_[np.full(len(human), vocabulary.human_class), human],
            np.c_[object_class.reshape(-1), obj],
        ]
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
    return instance_columns(unique[:, 1:], unique[:, 0]) | persons_and_pairs(
        people.astype(np.int32), actions, roles, vocabulary
    )


def persons_and_pairs(instance: np.ndarray, actions: np.ndarray, roles: np.ndarray, vocabulary: Vocabulary) -> Record:
    """The `persons_*` columns, and a raw pair row for every verb that a person does (object -1: none, or not seen)."""
    rows = [
        (instance[person], roles[person, action, slot] if slot >= 0 else -1, verb)
        for person in range(len(instance))
        for verb, (action, slot) in enumerate(zip(vocabulary.verb_action, vocabulary.verb_role, strict=True))
        if actions[person, action] == 1
    ]
    human, obj, verb = np.asarray(rows, np.int32).reshape(-1, 3).T
    return {
        "persons_instance": instance,
        "persons_actions": actions,
        "persons_roles": roles,
        "pairs_human": human,
        "pairs_object": obj,
        "pairs_verb": verb,
        "pairs_part_states": np.full((len(rows), schema.NUM_PARTS), -1, np.int32),
    }


def _actions_with_known_roles(class_to_verb: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    known = np.zeros(len(vocabulary.actions), bool)
    known[[vocabulary.verb_action[verb] for verb in class_to_verb]] = True
    return known


def _verb_of(class_name: str, vocabulary: Vocabulary, path: Path) -> int:
    """Verb for a name such as "hit instr"."""
    action, _, role = class_name.rpartition(" ")
    for verb, (a, slot) in enumerate(zip(vocabulary.verb_action, vocabulary.verb_role, strict=True)):
        if vocabulary.actions[a] == action and slot >= 0 and vocabulary.action_roles[a][slot] == role:
            return verb
    raise CorruptFileError(f"{path}: unknown class {class_name!r}")


def _number_in(file_name: str) -> int:
    numbers = re.findall(r"\d+", file_name)
    if not numbers:
        raise KeyError("file_name without a number")
    return int(numbers[-1])


class CocoInstances:
    """Boxes and pictures of COCO `instances_*.json` files by annotation and image number."""

    def __init__(self, paths: Iterable[Path]):
        self.pictures: dict[int, Mapping[str, Any]] = {}
        self.by_image: dict[int, list[Mapping[str, Any]]] = {}
        for path in paths:
            table = read_json(path)
            try:
                for picture in table["images"]:
                    self.pictures[picture["id"]] = picture
                for row in table["annotations"]:
                    self.by_image.setdefault(row["image_id"], []).append(row)
            except (KeyError, TypeError) as error:
                raise CorruptFileError(f"{path}: not COCO's instances layout ({error!r})") from error


class OfficialTable:
    """`vcoco_<split>.json`: 26 actions over the same persons, regrouped by picture.

    Attributes:
      images: image numbers in order of first appearance.
      persons: image number -> rows of the tables below.
      ann_id [n], label [n, 26], role_ann_id [n, 26, 2] (0 = not annotated).
    """

    def __init__(self, path: Path, table: Sequence[Mapping[str, Any]]):
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
            raise CorruptFileError(f"{path}: not the official V-COCO layout ({error!r})") from error
        self.images = list(dict.fromkeys(image_id.tolist()))
        self.persons = {i: np.flatnonzero(image_id == i) for i in self.images}


def iterate_official(table: OfficialTable, coco: CocoInstances, folder: PictureFolder) -> Iterator[Record]:
    """One record per picture with all its COCO instances; persons without V-COCO labels stay unlabelled people."""
    vocabulary = get_vocabulary("vcoco")
    class_of = {category: index for index, category in enumerate(COCO_CATEGORY_IDS)}
    for image_id in table.images:
        if image_id not in coco.pictures:
            raise DataError(f"COCO instances: image {image_id} of V-COCO is not in them")
        annotations = coco.by_image.get(image_id, [])
        row_of = {a["id"]: row for row, a in enumerate(annotations)}
        persons = table.persons[image_id]
        if missing := [int(i) for i in table.ann_id[persons] if i not in row_of]:
            raise DataError(f"COCO instances: image {image_id} lacks the annotations {missing}")
        file_name = coco.pictures[image_id]["file_name"]
        data, hw = folder.read(file_name)
        record = schema.empty_record(len(vocabulary.actions))
        record |= {
            "image": data,
            "image_id": np.int64(image_id),
            "file_name": file_name.encode(),
            "original_hw_px": np.asarray(hw, np.int32),
        }
        xywh = np.asarray([a["bbox"] for a in annotations], np.float32).reshape(-1, 4)
        record |= instance_columns(
            np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
            np.asarray([class_of[a["category_id"]] for a in annotations], np.int32),
            np.asarray([a["id"] for a in annotations], np.int64),
        )
        roles = np.vectorize(lambda i, rows=row_of: rows.get(i, -1), otypes=[np.int32])(table.role_ann_id[persons])
        instance = np.asarray([row_of[i] for i in table.ann_id[persons]], np.int32)
        record |= persons_and_pairs(instance, table.label[persons], roles, vocabulary)
        yield record
