"""Reads the flat V-COCO layout: persons, labels and roles by annotation id, detections with sparse role rows.

Keys are described where the layout is made (`vcoco_eval_*_gt.npz`, `vcoco_eval_*_preds.npz`).
"""

from collections.abc import Mapping

import numpy as np

from hoi_jax.evaluation.vcoco import ActionDetections, ActionTruth
from hoi_jax.io import DataError

PERSON_CATEGORY = 1


def rows_of(keys: np.ndarray, wanted: np.ndarray, what: str) -> np.ndarray:
    """Position of every entry of `wanted` in the distinct `keys`. Raises DataError for one that is absent."""
    if not len(keys) and np.size(wanted):
        raise DataError(f"{what} {np.ravel(wanted)[0]} is unknown")
    if not len(keys):
        return np.zeros(np.shape(wanted), np.int64)
    order = np.argsort(keys, kind="stable")
    position = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    if np.any(keys[position] != wanted):
        raise DataError(f"{what} {np.asarray(wanted)[keys[position] != wanted].flat[0]} is unknown")
    return position


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
    """Detections of the flat layout, for the images `image_ids` (row order). Raises DataError for others."""
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
