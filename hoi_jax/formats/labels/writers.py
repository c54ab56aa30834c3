"""Label writers for the layouts of other code, with the information that each layout loses (`LAYOUTS`).

Every writer takes `Annotations` and returns the content of one JSON file, which `detect.read_annotations` reads.
Boxes keep all their digits, so that a round trip is bit-identical.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from hoi_jax.annotations import COLUMNS, Annotations
from hoi_jax.formats.labels.hoi_a import DIALECTS
from hoi_jax.formats.labels.rows import Columns
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.custom import custom_table
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS, OBJECTS_ALPHABETICAL


class CannotWriteError(ValueError):
    """The layout cannot represent something in the labels."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A label layout: its writer, the vocabularies it supports (None = any), and the information it loses."""

    write: Callable[[Annotations], Any]
    vocabularies: tuple[str, ...] | None
    cannot: tuple[str, ...]


FoundImage = tuple[str, int, tuple[int, int], Columns]
"""(file name, image number, (height, width), tables)."""


def iterate_images(annotations: Annotations) -> Iterator[FoundImage]:
    """Iterate over the images of a split with their rows."""
    ends = {table: annotations.counts[table].cumsum() for table in COLUMNS}
    for row in range(annotations.num_images):
        columns: Columns = {}
        for table, names in COLUMNS.items():
            stop = int(ends[table][row])
            rows = slice(stop - int(annotations.counts[table][row]), stop)
            columns |= {name: annotations[name][rows] for name in names}
        height, width = annotations.original_hw_px[row].tolist()
        yield str(annotations.file_name[row]), int(annotations.image_id[row]), (height, width), columns


def _numbers(values: object) -> list[Any]:
    """Plain Python numbers; float32 becomes the double of the same value."""
    return np.asarray(values).astype(np.float64).tolist()


def _official_boxes(columns: Columns, which: str) -> np.ndarray:
    """Human or object boxes of the pairs in 1-based inclusive pixels."""
    rows = np.asarray(columns[f"pairs_{which}"])
    if np.any(rows < 0):
        raise CannotWriteError("a pair has no object, which HICO-DET's layouts cannot represent")
    boxes = np.asarray(columns["instances_xyxy_px"])[rows].astype(np.float64)
    return boxes + [1, 1, 0, 0]


def _hois(columns: Columns, vocabulary: Vocabulary) -> np.ndarray:
    objects = np.asarray(columns["instances_class"])[np.asarray(columns["pairs_object"])]
    return vocabulary.hoi_table[np.asarray(columns["pairs_verb"]), objects]


def write_hico_json(annotations: Annotations) -> dict[str, Any]:
    """fredzzhang/hicodet's `instances_*.json`."""
    vocabulary = get_vocabulary("hico_det")
    alphabetical = [OBJECTS_ALPHABETICAL.index(name) for name in vocabulary.objects]
    rows = list(iterate_images(annotations))
    annotation = []
    for _, _, _, columns in rows:
        hoi = _hois(columns, vocabulary)
        verb, obj = np.asarray(vocabulary.hois)[hoi].reshape(-1, 2).T
        annotation.append(
            {
                "boxes_h": _numbers(_official_boxes(columns, "human")),
                "boxes_o": _numbers(_official_boxes(columns, "object")),
                "hoi": hoi.tolist(),
                "verb": verb.tolist(),
                "object": [alphabetical[o] for o in obj],
            }
        )
    return {
        "filenames": [name for name, *_ in rows],
        "size": [[width, height] for _, _, (height, width), _ in rows],
        "annotation": annotation,
        "empty": [position for position, entry in enumerate(annotation) if not entry["hoi"]],
        "correspondence": [[hoi, alphabetical[obj], verb] for hoi, (verb, obj) in enumerate(vocabulary.hois)],
        "objects": list(OBJECTS_ALPHABETICAL),
        "verbs": list(vocabulary.verbs),
        "rare": np.flatnonzero(vocabulary.rare).tolist(),
        "non_rare": np.flatnonzero(~vocabulary.rare).tolist(),
    }


def write_hake(annotations: Annotations) -> dict[str, Any]:
    """HAKE's instance-level JSON. Annotations lack the detailed state of an acting part, which is written as 0."""
    vocabulary = get_vocabulary("hico_det")
    table = {}
    for name, _, (height, width), columns in iterate_images(annotations):
        states = np.asarray(columns["pairs_part_states"])
        labels = []
        for human, obj, hoi, parts in zip(
            _official_boxes(columns, "human"),
            _official_boxes(columns, "object"),
            _hois(columns, vocabulary),
            states,
            strict=True,
        ):
            acting = [{"human_part": int(part), "partstate": 0} for part in np.flatnonzero(parts == 1)]
            row = {"hoi_id": int(hoi) + 1, "human_bbox": _numbers(human), "object_bbox": _numbers(obj)}
            labels.append(row | {"height": height, "width": width, "action_labels": acting})
        table[name] = {"labels": labels}
    return table


def write_hoi_a(annotations: Annotations) -> list[dict[str, Any]]:
    """The JSON of PPDM, QPIC, CDN and GEN-VLKT, in the dialect of the labels' dataset."""
    dialect, vocabulary = DIALECTS[annotations.vocabulary_name], get_vocabulary(annotations.vocabulary_name)
    number_of = {index: number for number, index in dialect.class_of.items()}
    table = []
    for name, number, (height, width), columns in iterate_images(annotations):
        boxes = np.asarray(columns["instances_xyxy_px"]).astype(np.float64)
        boxes[:, 2:] -= dialect.end_shift_px
        objects = [
            {"bbox": box, "category_id": number_of[int(label)]}
            for box, label in zip(_numbers(boxes), np.asarray(columns["instances_class"]), strict=True)
        ]
        relations = []
        for human, obj, verb in zip(
            *(np.asarray(columns[f"pairs_{c}"]) for c in ("human", "object", "verb")), strict=True
        ):
            if obj < 0 and not dialect.persons:
                raise CannotWriteError(f"{name}: a pair has no object")
            row = {"subject_id": int(human), "object_id": int(obj), "category_id": int(verb) + dialect.first_verb}
            if vocabulary.hois:
                label = int(np.asarray(columns["instances_class"])[obj])
                row["hoi_category_id"] = int(vocabulary.hoi_table[verb, label]) + 1
            relations.append(row)
        image = {"file_name": name, "img_id": number, "annotations": objects, "hoi_annotation": relations}
        table.append(image | ({"height": height, "width": width} if height and width else {}))
    return table


def write_vcoco_pairs(annotations: Annotations) -> dict[str, Any]:
    """fredzzhang/vcoco's `instances_vcoco_*.json`: only pairs with an object, without "point"."""
    vocabulary = get_vocabulary("vcoco")
    classes = _role_classes(vocabulary)
    rows, ids = [], []
    for name, number, _, columns in iterate_images(annotations):
        human, obj, verb = (np.asarray(columns[f"pairs_{c}"]) for c in ("human", "object", "verb"))
        kept = [row for row in range(len(verb)) if obj[row] >= 0 and int(verb[row]) in classes]
        boxes, labels = np.asarray(columns["instances_xyxy_px"]), np.asarray(columns["instances_class"])
        row = {
            "boxes_h": _numbers(boxes[human[kept]]),
            "boxes_o": _numbers(boxes[obj[kept]]),
            "actions": [classes[int(verb[row])] for row in kept],
            "objects": (labels[obj[kept]] + 1).tolist(),
            "file_name": name,
        }
        rows.append(row)
        ids.append(number)
    names = [_role_class_name(vocabulary, verb) for verb in classes]
    return {"annotations": rows, "classes": names, "objects": ["background", *vocabulary.objects], "images": ids}


def _role_classes(vocabulary: Vocabulary) -> dict[int, int]:
    """Verb -> role class, of the 24 with an object; "point" is left out."""
    verbs = [
        v
        for v, slot in enumerate(vocabulary.verb_role)
        if slot >= 0 and vocabulary.actions[vocabulary.verb_action[v]] != "point"
    ]
    return {verb: index for index, verb in enumerate(verbs)}


def _role_class_name(vocabulary: Vocabulary, verb: int) -> str:
    action = vocabulary.verb_action[verb]
    return f"{vocabulary.actions[action]} {vocabulary.action_roles[action][vocabulary.verb_role[verb]]}"


def write_vcoco_official(annotations: Annotations) -> dict[str, Any]:
    """The 26 action tables ("actions") and their COCO instances ("coco").

    Boxes without a COCO number get the next free one.
    """
    vocabulary = get_vocabulary("vcoco")
    next_number = int(annotations["instances_annotation_id"].max(initial=0)) + 1
    images, boxes, people = [], [], []
    for name, number, (height, width), columns in iterate_images(annotations):
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        numbers = np.array(columns["instances_annotation_id"], np.int64)
        for row in np.flatnonzero(numbers < 0):
            numbers[row], next_number = next_number, next_number + 1
        corners = np.asarray(columns["instances_xyxy_px"]).astype(np.float64)
        xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        for identity, box, label in zip(numbers.tolist(), xywh.tolist(), columns["instances_class"], strict=True):  # type: ignore[arg-type]
            category = COCO_CATEGORY_IDS[int(label)]
            boxes.append({"id": identity, "image_id": number, "bbox": box, "category_id": category, "iscrowd": 0})
        actions, roles = np.asarray(columns["persons_actions"]), np.asarray(columns["persons_roles"])
        for place, instance in enumerate(np.asarray(columns["persons_instance"])):
            if np.any(actions[place] < 0):
                raise CannotWriteError(
                    f"{name}: a person is labelled for some actions only; the tables label all or none"
                )
            ids = np.where(roles[place] >= 0, numbers[roles[place]], 0)
            people.append((number, int(numbers[instance]), actions[place], ids))
    tables = []
    for action, name in enumerate(vocabulary.actions):
        names = vocabulary.action_roles[action]
        per_role = [[int(row[3][action, slot]) for row in people] for slot in range(len(names))]
        tables.append(
            {
                "action_name": name,
                "role_name": ["agent", *names],
                "include": [[]] * (1 + len(names)),
                "image_id": [row[0] for row in people],
                "ann_id": [row[1] for row in people],
                "label": [int(row[2][action]) for row in people],
                "role_object_id": [row[1] for row in people] + [number for role in per_role for number in role],
            }
        )
    categories = [
        {"id": n, "name": o.replace("_", " ")} for n, o in zip(COCO_CATEGORY_IDS, vocabulary.objects, strict=True)
    ]
    return {"actions": tables, "coco": {"images": images, "annotations": boxes, "categories": categories}}


def write_custom(annotations: Annotations) -> dict[str, Any]:
    """The custom layout (`hoi_jax.formats.labels.custom`): COCO plus one entry of `pairs` per row and verb."""
    vocabulary = get_vocabulary(annotations.vocabulary_name)
    images, objects, pairs = [], [], []
    for name, number, (height, width), columns in iterate_images(annotations):
        size = {"height": height, "width": width} if height and width else {}
        images.append({"id": number, "file_name": name, **size})
        first = len(objects) + 1
        corners = np.asarray(columns["instances_xyxy_px"]).astype(np.float64)
        xywh = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).tolist()
        for row, (box, label) in enumerate(zip(xywh, columns["instances_class"], strict=True)):  # type: ignore[arg-type]
            item = {"id": first + row, "image_id": number, "category_id": int(label) + 1, "bbox": box}
            objects.append(item | _extras(columns, row))
        for human, obj, verb, parts in zip(
            *(np.asarray(columns[f"pairs_{c}"]) for c in ("human", "object", "verb", "part_states")), strict=True
        ):
            ends = {"human": first + int(human), "object": None if obj < 0 else first + int(obj)}
            row = {"image_id": number, **ends, "verbs": [vocabulary.verbs[verb]]}
            pairs.append(row | ({} if (parts < 0).all() else {"part_states": parts.tolist()}))
    table = custom_table(vocabulary)
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(table.pop("objects"))]
    head = {"format": "hoi_jax", "categories": categories, **table}
    return head | {"images": images, "annotations": objects, "pairs": pairs}


def _extras(columns: Columns, row: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    keypoints = np.asarray(columns["instances_keypoints_px"])[row].astype(np.float64)
    if keypoints[:, 2].any():
        found["keypoints"] = keypoints.reshape(-1).tolist()
    for name, column in (("face", "face_xyxy_px"), ("parts", "parts_xyxy_px")):
        boxes = np.asarray(columns[f"instances_{column}"])[row].astype(np.float64)
        if boxes.any():
            found[name] = np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1).tolist()
    return found


_PAIR_LOSSES = ("keypoints, faces, part boxes, masks", "detections", "image-level labels")
LAYOUTS: Mapping[str, Layout] = {
    "hico_json": Layout(
        write_hico_json,
        ("hico_det",),
        ("boxes outside pairs", "boxes shared by pairs", "part states", "image numbers", *_PAIR_LOSSES),
    ),
    "hake": Layout(
        write_hake,
        ("hico_det",),
        (
            "boxes outside pairs", "boxes shared by pairs", "sizes of images without pairs",
            "image numbers other than the file name's", "detailed states of parts", *_PAIR_LOSSES,
        ),
    ),
    "hoi_a": Layout(
        write_hoi_a,
        ("hico_det", "vcoco", "hoi_w"),
        (
            "image numbers (they become positions; V-COCO: the file name's)", "image sizes, for other readers",
            "part states", "V-COCO: people labelled without actions, and COCO's annotation numbers", *_PAIR_LOSSES,
        ),
    ),
    "vcoco_pairs": Layout(
        write_vcoco_pairs,
        ("vcoco",),
        (
            "actions without an annotated object", "point", "boxes outside pairs",
            "COCO's annotation numbers", "image sizes", "people labelled without actions", *_PAIR_LOSSES,
        ),
    ),
    "vcoco_official": Layout(
        write_vcoco_official,
        ("vcoco",),
        ("images without labelled people", "people labelled for some actions only (refused)", *_PAIR_LOSSES),
    ),
    "own": Layout(
        write_custom,
        None,
        (
            "V-COCO: which people were labelled, and actions labelled as absent",
            "COCO's annotation numbers (boxes are renumbered)", "masks (read, not written)", "detections",
            "image-level labels",
        ),
    ),
}  # fmt: skip
"""Layouts that can be written, by name."""


def write(annotations: Annotations, name: str) -> Any:
    """Content of a label file of the layout `name`.

    Raises:
      CannotWriteError: the layout cannot represent the labels.
      ValueError: the layout is unknown.
    """
    if name not in LAYOUTS:
        raise ValueError(f"unknown layout {name!r}; known layouts are {sorted(LAYOUTS)}")
    layout = LAYOUTS[name]
    if layout.vocabularies is not None and annotations.vocabulary_name not in layout.vocabularies:
        raise CannotWriteError(
            f"layout {name!r} is for {', '.join(layout.vocabularies)}; the labels use vocabulary "
            f"{annotations.vocabulary_name!r}"
        )
    return layout.write(annotations)
