"""Label rows of one image, named as in `schema.RECORD_FIELDS`: the output of every label reader."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from hoi_jax import schema
from hoi_jax.vocab import Vocabulary

Columns = dict[str, object]


def instance_columns(
    boxes_xyxy_px: Float[np.ndarray, "n 4"],
    classes: Int[np.ndarray, " n"],
    annotation_ids: Int[np.ndarray, " n"] | None = None,
) -> Columns:
    """The `instances_*` columns for boxes without keypoints, faces, parts or masks.

    Boxes that extend beyond the image or have no area are left as annotated.

    Raises:
      ValueError: a box is not finite or ends before it begins.
    """
    count = len(boxes_xyxy_px)
    boxes = np.asarray(boxes_xyxy_px, np.float64).reshape(count, 4)
    wrong = np.flatnonzero(~np.isfinite(boxes).all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1))
    if len(wrong):
        raise ValueError(f"box {wrong[0]} is not finite or has x2 < x1, y2 < y1: {boxes[wrong[0]].tolist()}")
    ids = np.full(count, -1) if annotation_ids is None else annotation_ids
    return {
        "instances_xyxy_px": np.asarray(boxes_xyxy_px, np.float32).reshape(count, 4),
        "instances_class": np.asarray(classes, np.int32).reshape(count),
        "instances_annotation_id": np.asarray(ids, np.int64).reshape(count),
        "instances_keypoints_px": np.zeros((count, schema.NUM_KEYPOINTS, 3), np.float32),
        "instances_face_xyxy_px": np.zeros((count, 4), np.float32),
        "instances_parts_xyxy_px": np.zeros((count, schema.NUM_PARTS, 4), np.float32),
        "instances_mask_png": [b""] * count,
    }


def whole_numbers(values: object) -> Int[np.ndarray, "..."]:
    """Numbers of a label file as integers. Raises ValueError or TypeError for anything but whole numbers."""
    numbers = np.asarray(values, np.float64)
    if not np.all((np.abs(numbers) < 2**53) & (numbers == np.round(numbers))):
        raise ValueError(f"{numbers[(numbers != np.round(numbers)) | ~np.isfinite(numbers)][:1]} is not a whole number")
    return numbers.astype(np.int64)


def pair_columns(
    human: Int[np.ndarray, " p"], obj: Int[np.ndarray, " p"], verb: Int[np.ndarray, " p"]
) -> dict[str, np.ndarray]:
    """The `pairs_*` columns from instance rows and verbs, without part states."""
    return {
        "pairs_human": np.asarray(human, np.int32),
        "pairs_object": np.asarray(obj, np.int32),
        "pairs_verb": np.asarray(verb, np.int32),
        "pairs_part_states": np.full((len(verb), schema.NUM_PARTS), -1, np.int32),
    }


def persons_and_pairs(
    instance: Int[np.ndarray, " n"],
    actions: Int[np.ndarray, "n actions"],
    roles: Int[np.ndarray, "n actions 2"],
    vocabulary: Vocabulary,
) -> Columns:
    """The `persons_*` columns, and a raw pair row for every verb of a person (object -1: none or not visible)."""
    rows = [
        (instance[person], roles[person, action, slot] if slot >= 0 else -1, verb)
        for person in range(len(instance))
        for verb, (action, slot) in enumerate(zip(vocabulary.verb_action, vocabulary.verb_role, strict=True))
        if actions[person, action] == 1
    ]
    human, obj, verb = np.asarray(rows, np.int32).reshape(-1, 3).T
    persons = {"persons_instance": instance, "persons_actions": actions, "persons_roles": roles}
    return {**persons, **pair_columns(human, obj, verb)}


def record_of(
    image_id: int, file_name: str, original_hw_px: tuple[int, int], columns: Mapping[str, object], num_actions: int
) -> Columns:
    """A raw record without its image; tables that `columns` lacks are empty.

    Args:
      original_hw_px: height and width; (0, 0) where the label file does not give them.
    """
    return {
        **schema.empty_record(num_actions),
        "image_id": np.int64(image_id),
        "file_name": file_name.encode(),
        "original_hw_px": np.asarray(original_hw_px, np.int32),
        **columns,
    }
