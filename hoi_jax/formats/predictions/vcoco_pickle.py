"""The exchange format of V-COCO: a pickled list with one dict per detected person.

    {"image_id": 294, "person_box": [x1, y1, x2, y2], "hold_agent": 0.9, "hold_obj": [x1, y1, x2, y2, 0.8], ...}

Boxes are in the coordinates of the official script (inclusive pixels). A score of NaN means "no prediction"; a role box
of zeros or NaN means "the role is not visible". The script requires all keys of all actions. Missing keys are read as
no prediction, or, in UPT's cache, as score 0 with a tiny box, as in UPT's own reader.
"""

import dataclasses
import os
import struct
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.alignment import action_detections, align
from hoi_jax.evaluation.metrics.vcoco import ActionDetections
from hoi_jax.formats.predictions import vcoco_pickle as pickle_writer
from hoi_jax.formats.predictions.flat_npz import predictions_from_actions
from hoi_jax.predictions import Predictions
from hoi_jax.serialization import plain_pickle
from hoi_jax.vocab import Vocabulary

_TINY_BOX = (0.0, 0.0, 0.1, 0.1, 0.0)


def predictions_from_detections(
    data: bytes, path: str | os.PathLike[str], vocabulary: Vocabulary, annotations: Annotations
) -> Predictions:
    """Predictions from the content of a detections file.

    Raises:
      io.DataError: the content is malformed, or the pickle would build anything but plain data; the message names file,
        record and field.
    """
    entries = plain_pickle.loads(data, path)
    if not isinstance(entries, list):
        raise io.CorruptFileError(f"{path}: contains {type(entries).__name__}, expected a list of detections")
    actions, role_keys = vocabulary.actions, _role_keys(vocabulary)
    image_id = np.zeros(len(entries), np.int64)
    person = np.zeros((len(entries), 4))
    agents = np.full((len(entries), len(actions)), np.nan)
    roles = np.full((len(entries), len(role_keys), 5), np.nan)
    for row, entry in enumerate(entries):
        where = f"{path}: record {row}"
        if not isinstance(entry, dict):
            raise io.CorruptFileError(f"{where} is {type(entry).__name__}, expected a dict")
        filled = isinstance(entry, plain_pickle.FilledEntry)
        number = _numbers(entry, "image_id", 1, where)
        if not abs(number[0]) < 2**53 or number[0] != round(number[0]):
            raise io.CorruptFileError(f"{where}: field 'image_id' is {number[0]}, expected a whole number")
        image_id[row], person[row] = int(number[0]), _numbers(entry, "person_box", 4, where)
        if filled:
            agents[row], roles[row] = 0.0, _TINY_BOX
        for action, name in enumerate(actions):
            if f"{name}_agent" in entry:
                agents[row, action] = _numbers(entry, f"{name}_agent", 1, where)[0]
        for column, (name, _, _) in enumerate(role_keys):
            if name in entry:
                roles[row, column] = _numbers(entry, name, 5, where)
    detection, column = np.nonzero(~np.isnan(roles).all(-1))
    role = roles[detection, column]
    return predictions_from_actions(
        {"format": "vcoco-pickle"},
        vocabulary,
        annotations,
        os.fspath(path),
        image_id=image_id,
        person_px=person,
        agent_scores=agents,
        role_detection=detection,
        role_action=np.array([action for _, action, _ in role_keys])[column],
        role_slot=np.array([slot for _, _, slot in role_keys])[column],
        role_px=role[:, :4],
        role_score=role[:, 4],
        role_object=np.full(len(detection), -1),
    )


def _role_keys(vocabulary: Vocabulary) -> list[tuple[str, int, int]]:
    """(key of the file, action, slot) of every role."""
    return [
        (f"{vocabulary.actions[action]}_{role}", action, slot)
        for action, names in enumerate(vocabulary.action_roles)
        for slot, role in enumerate(names)
    ]


def _numbers(entry: dict[Any, Any], name: str, count: int, where: str) -> np.ndarray:
    """A field of `count` numbers as an array; the file may have a number, a list, a tuple or an array."""
    value = entry.get(name)
    if isinstance(value, np.ndarray):
        if value.size == count:
            return value.reshape(count).astype(np.float64)
    else:
        items = value if isinstance(value, list | tuple) else [value]
        if len(items) == count and all(isinstance(item, int | float) for item in items):
            return np.array(items, np.float64)
    kind = "absent" if name not in entry else f"{type(value).__name__}"
    raise io.CorruptFileError(f"{where}: field {name!r} is {kind}, expected {count} numbers")


def write_detections(
    path: str | os.PathLike[str],
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    use_nis: bool = True,
) -> int:
    """Write predictions as a detections file for the official script; return the number of records.

    A person with several objects for one role becomes several records with the same box; all but the first have NaN
    agent scores, which the script ignores.
    """
    found = action_detections(predictions, align(predictions, annotations, use_nis), vocabulary)
    records = _records(_people_joined(found), annotations.image_id, vocabulary)
    io.write_bytes_atomic(path, pickle_writer.dumps(records))
    return len(records)


def _people_joined(found: ActionDetections) -> ActionDetections:
    """The same predictions, with roles of people without agent scores moved to the scored person of the same box."""
    keys = np.column_stack([found.image, found.person_xyxy_px])
    group = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    scored = ~np.isnan(found.agent_scores).all(-1)
    rows = np.arange(len(keys))
    best = np.full(len(keys), -1)
    np.maximum.at(best, group[scored], rows[scored])
    target = np.where(scored | (best[group] < 0), rows, best[group])
    kept = target == rows
    new_row = np.cumsum(kept) - 1
    return dataclasses.replace(
        found,
        image=found.image[kept],
        person_xyxy_px=found.person_xyxy_px[kept],
        agent_scores=found.agent_scores[kept],
        role_detection=new_row[target[found.role_detection]],
    )


def _records(found: ActionDetections, image_id: np.ndarray, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    role_keys = _role_keys(vocabulary)
    key_of = np.full((len(vocabulary.actions), 2), -1)
    for column, (_, action, slot) in enumerate(role_keys):
        key_of[action, slot] = column
    column = key_of[found.role_action, found.role_slot]
    cell = found.role_detection * len(role_keys) + column
    turn = _occurrence(cell)  # index among the boxes of this person and role: one record each
    copies = np.ones(len(found.image), np.int64)
    np.maximum.at(copies, found.role_detection, turn + 1)
    first = np.cumsum(copies) - copies
    total = int(copies.sum())
    agents = np.full((total, len(vocabulary.actions)), np.nan)
    agents[first] = found.agent_scores
    roles = np.full((total, len(role_keys), 5), np.nan)
    row = first[found.role_detection] + turn
    roles[row, column, :4], roles[row, column, 4] = found.role_xyxy_px, found.role_score
    person = np.repeat(np.arange(len(copies)), copies)
    ids, boxes = image_id[found.image[person]].tolist(), found.person_xyxy_px[person].tolist()
    return [
        {
            "image_id": ids[r],
            "person_box": boxes[r],
            **dict(zip((f"{name}_agent" for name in vocabulary.actions), agents[r].tolist(), strict=True)),
            **dict(zip((key for key, _, _ in role_keys), roles[r].tolist(), strict=True)),
        }
        for r in range(total)
    ]


def _occurrence(values: np.ndarray) -> np.ndarray:
    """Number of equal earlier entries, for every entry."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    result = np.empty(len(values), np.int64)
    result[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered, side="left")
    return result


# Writer of plain-data pickles, for tools that read only pickles.


def dumps(value: Any) -> bytes:
    """A pickle (protocol 2, which Python 2 also reads) of lists, dicts, strings, integers and floats.

    Raises:
      TypeError: a value has any other type.
    """
    parts = [b"\x80\x02"]
    _emit(value, parts)
    return b"".join([*parts, b"."])


def _emit(value: Any, parts: list[bytes]) -> None:
    if isinstance(value, float):
        parts.append(b"G" + struct.pack(">d", value))
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value.bit_length() // 8 + 1
        parts.append(b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True))
    elif isinstance(value, str):
        text = value.encode()
        parts.append(b"X" + struct.pack("<I", len(text)) + text)
    elif isinstance(value, list):
        parts.append(b"](")
        for item in value:
            _emit(item, parts)
        parts.append(b"e")
    elif isinstance(value, dict):
        parts.append(b"}(")
        for key, item in value.items():
            _emit(key, parts)
            _emit(item, parts)
        parts.append(b"u")
    else:
        raise TypeError(f"cannot write {type(value).__name__}")
