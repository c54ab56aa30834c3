"""Predictions in flat arrays (npz): HICO-DET's `pair_*`, `trip_*`, and V-COCO's `det_*`, `role_*`.

HICO-DET: `pair_image` (position in the split), `pair_hbox`, `pair_obox` [P, 4] 0-based inclusive pixels,
`pair_object` (COCO order), `trip_pair`, `trip_verb`, `trip_score`; optional `pair_object_score`,
`pair_binary_score` (interactiveness).
V-COCO: `det_image` (COCO number), `det_person_box`, `det_agent_score` [D, 26] (NaN = none), `role_det`,
`role_action`, `role_slot`, `role_box` (zeros or NaN = role not visible), `role_score`; optional `role_label` (object
class, 80 = none). Boxes are in the coordinates of the official scripts.
"""

import os
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, Integer

from hoi_jax import npz as arrays
from hoi_jax.annotations import Annotations
from hoi_jax.formats.predictions.build import INCLUSIVE_TO_CORNERS, build_predictions, images_by_position
from hoi_jax.io import DataError
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary

_PAIR_FIELDS = {
    "pair_image": ("i", 1), "pair_hbox": ("f", 2), "pair_obox": ("f", 2), "pair_object": ("i", 1),
    "trip_pair": ("i", 1), "trip_verb": ("i", 1), "trip_score": ("f", 1),
}  # fmt: skip
_ACTION_FIELDS = {
    "det_image": ("i", 1), "det_person_box": ("f", 2), "det_agent_score": ("f", 2), "role_det": ("i", 1),
    "role_action": ("i", 1), "role_slot": ("i", 1), "role_box": ("f", 2), "role_score": ("f", 1),
}  # fmt: skip
_OPTIONAL = {"pair_object_score": ("f", 1), "pair_binary_score": ("f", 1), "role_label": ("i", 1)}


def is_flat_pairs(content: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays of an npz file are HICO-DET predictions of this layout."""
    return set(content) >= set(_PAIR_FIELDS)


def is_flat_actions(content: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays of an npz file are V-COCO predictions of this layout."""
    return set(content) >= set(_ACTION_FIELDS)


def _fields(
    content: Mapping[str, np.ndarray], needed: Mapping[str, tuple[str, int]], where: str | os.PathLike[str]
) -> dict[str, np.ndarray]:
    present = {name: kind for name, kind in _OPTIONAL.items() if name in content}
    return {name: arrays.take(content, name, kind, ndim, where) for name, (kind, ndim) in {**needed, **present}.items()}


def check_index(name: str, values: Integer[np.ndarray, " n"], limit: int, where: str | os.PathLike[str]) -> None:
    """Check that values are in 0..limit-1. Raises io.DataError naming file, field and row."""
    wrong = np.flatnonzero((values < 0) | (values >= limit))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(f"{where}: field {name!r} row {row} is {values[row]}, expected 0..{limit - 1}")


def check_boxes(table: Mapping[str, np.ndarray], names: tuple[str, ...], where: str | os.PathLike[str]) -> None:
    """Check that the box fields `names` have four numbers per row. Raises io.DataError naming file and field."""
    for name in names:
        if table[name].shape[1] != 4:
            raise DataError(f"{where}: field {name!r} has {table[name].shape[1]} numbers per row, expected 4")


def check_rows(table: Mapping[str, np.ndarray], names: tuple[str, ...], where: str | os.PathLike[str]) -> None:
    """Check that those of the fields `names` that are present have equal lengths. Raises io.DataError naming them."""
    lengths = {name: len(table[name]) for name in names if name in table}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{where}: fields have different lengths: {lengths}")


def predictions_from_flat_pairs(
    content: Mapping[str, np.ndarray], path: str | os.PathLike[str], vocabulary: Vocabulary, annotations: Annotations
) -> Predictions:
    """Predictions from HICO-DET's flat layout. Raises io.DataError naming file, field and row."""
    table = _fields(content, _PAIR_FIELDS, path)
    names = ("pair_image", "pair_hbox", "pair_obox", "pair_object", "pair_object_score", "pair_binary_score")
    check_rows(table, names, path)
    check_rows(table, ("trip_pair", "trip_verb", "trip_score"), path)
    check_index("pair_object", table["pair_object"], len(vocabulary.objects), path)
    check_index("trip_verb", table["trip_verb"], len(vocabulary.verbs), path)
    check_index("pair_image", table["pair_image"], np.iinfo(np.int32).max, path)
    check_boxes(table, ("pair_hbox", "pair_obox"), path)
    image_id = images_by_position(annotations, table["pair_image"].astype(np.int64))
    return build_predictions(
        {"format": "flat-npz"},
        vocabulary,
        annotations,
        os.fspath(path),
        listed_images=image_id[:0],
        pair_image_id=image_id,
        pair_boxes_px=(table["pair_hbox"] + INCLUSIVE_TO_CORNERS, table["pair_obox"] + INCLUSIVE_TO_CORNERS),
        pair_object_class=table["pair_object"],
        pair_object_score=table.get("pair_object_score"),
        pair_interactiveness=table.get("pair_binary_score"),
        triplet_pair=table["trip_pair"],
        triplet_verb=table["trip_verb"],
        triplet_score=table["trip_score"],
    )


def predictions_from_flat_actions(
    content: Mapping[str, np.ndarray], path: str | os.PathLike[str], vocabulary: Vocabulary, annotations: Annotations
) -> Predictions:
    """Predictions from V-COCO's flat layout. Raises io.DataError naming file, field and row."""
    table = _fields(content, _ACTION_FIELDS, path)
    check_rows(table, ("det_image", "det_person_box", "det_agent_score"), path)
    names = ("role_det", "role_action", "role_slot", "role_box", "role_score", "role_label")
    check_rows(table, names, path)
    check_boxes(table, ("det_person_box", "role_box"), path)
    check_index("role_det", table["role_det"], len(table["det_image"]), path)
    label = table.get("role_label", np.full(len(table["role_det"]), len(vocabulary.objects)))
    check_index("role_label", label, len(vocabulary.objects) + 1, path)
    label = label.astype(np.int64)
    return predictions_from_actions(
        {"format": "flat-npz"},
        vocabulary,
        annotations,
        os.fspath(path),
        image_id=table["det_image"].astype(np.int64),
        person_px=table["det_person_box"],
        agent_scores=table["det_agent_score"],
        role_detection=table["role_det"].astype(np.int64),
        role_action=table["role_action"].astype(np.int64),
        role_slot=table["role_slot"].astype(np.int64),
        role_px=table["role_box"],
        role_score=table["role_score"],
        role_object=np.where(label < len(vocabulary.objects), label, -1),
    )


def predictions_from_actions(
    manifest: Mapping[str, object],
    vocabulary: Vocabulary,
    annotations: Annotations,
    where: str,
    *,
    image_id: Int[np.ndarray, " d"],
    person_px: Float[np.ndarray, "d 4"],
    agent_scores: Float[np.ndarray, "d actions"],
    role_detection: Int[np.ndarray, " r"],
    role_action: Int[np.ndarray, " r"],
    role_slot: Int[np.ndarray, " r"],
    role_px: Float[np.ndarray, "r 4"],
    role_score: Float[np.ndarray, " r"],
    role_object: Int[np.ndarray, " r"],
) -> Predictions:
    """Predictions of people with action scores, and one pair for each of their role boxes.

    Boxes are converted from inclusive pixels to continuous corners, including empty role boxes (all zeros), whose zeros
    the inverse conversion restores.

    Raises:
      io.DataError: an action or role is not in the vocabulary; the message names `where` and the row.
    """
    if agent_scores.shape[1:] != (len(vocabulary.actions),):
        raise DataError(
            f"{where}: agent scores have shape {agent_scores.shape}, expected {len(vocabulary.actions)} actions"
        )
    verb_of = np.full((len(vocabulary.actions), 2), -1)
    first_verb = np.full(len(vocabulary.actions), -1)
    for verb, (action, slot) in enumerate(zip(vocabulary.verb_action, vocabulary.verb_role, strict=True)):
        first_verb[action] = verb if first_verb[action] < 0 else first_verb[action]
        if slot >= 0:
            verb_of[action, slot] = verb
    check_index("role_action", role_action, len(vocabulary.actions), where)
    check_index("role_slot", role_slot, 2, where)
    verb = verb_of[role_action, role_slot]
    if np.any(verb < 0):
        row = int(np.flatnonzero(verb < 0)[0])
        action = vocabulary.actions[role_action[row]]
        raise DataError(f"{where}: role row {row}: action {action!r} has no role {role_slot[row]}")
    scores = np.full((len(image_id), len(vocabulary.verbs)), np.nan, agent_scores.dtype)
    scores[:, first_verb] = agent_scores
    person = person_px + INCLUSIVE_TO_CORNERS
    rows = np.arange(len(role_detection))
    return build_predictions(
        manifest,
        vocabulary,
        annotations,
        where,
        listed_images=image_id,
        pair_image_id=image_id[role_detection],
        pair_boxes_px=(person[role_detection], role_px + INCLUSIVE_TO_CORNERS),
        pair_object_class=role_object,
        triplet_pair=rows,
        triplet_verb=verb,
        triplet_score=role_score,
        agent_image_id=image_id,
        agent_xyxy_px=person,
        agent_scores=scores,
    )
