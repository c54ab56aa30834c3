"""Reader of the flat V-COCO layout: persons, labels and roles by annotation id, detections with sparse role rows.

It is the layout of the golden files `vcoco_eval_*_gt.npz` and `vcoco_eval_*_preds.npz` (`tests/golden`).
"""

import os
from collections.abc import Mapping

import numpy as np

from hoi_jax import npz as named
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.vcoco import ActionDetections, ActionTruth
from hoi_jax.formats.labels.rows import instance_columns, persons_and_pairs, record_of
from hoi_jax.io import DataError
from hoi_jax.npz import rows_of
from hoi_jax.vocab import get_vocabulary

PERSON_CATEGORY = 1

_TRUTH_FIELDS = {
    "image_ids": ("i", 1), "ann_id": ("i", 1), "ann_image": ("i", 1), "ann_category": ("i", 1), "ann_xyxy": ("f", 2),
    "person_ann_id": ("i", 1), "person_image": ("i", 1), "label": ("i", 2), "role_ann_id": ("i", 3),
}  # fmt: skip
_TRUTH_ROWS = (
    ("ann_id", "ann_image", "ann_category", "ann_xyxy"),
    ("person_ann_id", "person_image", "label", "role_ann_id"),
)


def is_flat_truth(content: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays of an npz file are ground truth of this layout."""
    return set(content) >= set(_TRUTH_FIELDS)


def annotations_from_flat(content: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> Annotations:
    """Annotations from the flat layout, which has no image sizes.

    Raises:
      DataError: a field is malformed or refers to a missing row; the message names file and field.
    """
    vocabulary = get_vocabulary("vcoco")
    table = {name: named.take(content, name, kind, ndim, path) for name, (kind, ndim) in _TRUTH_FIELDS.items()}
    for names in _TRUTH_ROWS:
        if len({len(table[name]) for name in names}) != 1:
            raise DataError(f"{path}: fields {names} have different lengths")
    shapes = {"ann_xyxy": (4,), "label": (len(vocabulary.actions),), "role_ann_id": (len(vocabulary.actions), 2)}
    for name, shape in shapes.items():
        if table[name].shape[1:] != shape:
            raise DataError(f"{path}: field {name!r} has rows of {table[name].shape[1:]}, expected {shape}")
    category = table["ann_category"]
    if np.any((category < 1) | (category > len(vocabulary.objects))):
        raise DataError(f"{path}: field 'ann_category' has entries outside 1..{len(vocabulary.objects)}")
    records = []
    try:
        person_row = rows_of(table["ann_id"], table["person_ann_id"], "person annotation")
        person, action, slot = np.nonzero(table["role_ann_id"])
        found = rows_of(table["ann_id"], table["role_ann_id"][person, action, slot], "role annotation")
        rows_of(table["image_ids"], table["ann_image"], "image")
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    role_row = np.full(table["role_ann_id"].shape, -1)
    role_row[person, action, slot] = found
    for name, rows, owner in (("person_ann_id", person_row, slice(None)), ("role_ann_id", found, person)):
        wrong = np.flatnonzero(table["ann_image"][rows] != table["person_image"][owner])
        if len(wrong):
            number = table["ann_id"][rows[wrong[0]]]
            raise DataError(f"{path}: field {name!r}: annotation {number} is in another image than its person")
    for image_id in table["image_ids"].tolist():
        rows = np.flatnonzero(table["ann_image"] == image_id)
        people = np.flatnonzero(table["person_image"] == image_id)
        local = np.full(len(category) + 1, -1, np.int32)
        local[rows] = np.arange(len(rows))
        columns = instance_columns(table["ann_xyxy"][rows], category[rows] - 1, table["ann_id"][rows])
        columns |= persons_and_pairs(
            local[person_row[people]], table["label"][people].astype(np.int32), local[role_row[people]], vocabulary
        )
        records.append(record_of(image_id, str(image_id), (0, 0), columns, len(vocabulary.actions)))
    return Annotations.from_records(records, "vcoco", "vcoco")


def truth_from_flat(arrays: Mapping[str, np.ndarray]) -> ActionTruth:
    """Ground truth of the flat layout; `ann_xyxy` has x2 = x1 + w and becomes x1 + max(0, w - 1).

    Raises:
      DataError: a role or a person names an annotation that does not exist.
    """
    boxes = arrays["ann_xyxy"].astype(np.float64)
    boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:] - 1, boxes[:, :2])], axis=1)
    people = np.flatnonzero(arrays["ann_category"] == PERSON_CATEGORY)
    labelled = rows_of(arrays["ann_id"][people], arrays["person_ann_id"], "person annotation")
    roles = arrays["role_ann_id"]
    num_actions, num_slots = roles.shape[1:]
    labels = np.full((len(people), num_actions), -1, np.int64)
    labels[labelled] = arrays["label"]
    role_boxes = np.full((len(people), num_actions, num_slots, 4), np.nan)
    person, action, slot = np.nonzero(roles)
    target = rows_of(arrays["ann_id"], roles[person, action, slot], "role annotation")
    role_boxes[labelled[person], action, slot] = boxes[target]
    image = rows_of(arrays["image_ids"], arrays["ann_image"][people], "image")
    return ActionTruth(len(arrays["image_ids"]), image, boxes[people], labels, role_boxes)


def detections_from_flat(arrays: Mapping[str, np.ndarray], image_ids: np.ndarray) -> ActionDetections:
    """Detections of the flat layout, for the images `image_ids` (row order). Raises DataError for other images."""
    return ActionDetections(
        rows_of(image_ids, arrays["det_image"], "image"),
        arrays["det_person_box"].astype(np.float64),
        arrays["det_agent_score"],
        arrays["role_det"].astype(np.int64),
        arrays["role_action"].astype(np.int64),
        arrays["role_slot"].astype(np.int64),
        arrays["role_box"].astype(np.float64),
        arrays["role_score"],
    )
