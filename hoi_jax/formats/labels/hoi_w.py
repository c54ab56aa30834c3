"""HOI-W's JSON layouts: annotations and results are lists of images with boxes and interactions between them.

Files in circulation have errors: numbers are strings, sometimes with a line break; some interactions refer to boxes
that do not exist or verbs outside 1 to 10. Such interactions are left out and counted, not repaired.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hoi_jax.evaluation.metrics.hoi_w import VERBS, Interactions
from hoi_jax.io import DataError


def read_hoi_w(
    annotations: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]]
) -> tuple[Interactions, Interactions, dict[str, int]]:
    """Ground truth, predictions and counts of parsed files.

    Interactions with a verb outside 1 to 10 are ignored. An annotated one that names a missing box counts as a
    positive that is never found, a predicted one as a false positive. Predictions for unknown images are skipped.

    Raises:
      DataError: content is malformed; the message names the file ("annotations" or "predictions"), record and field.
    """
    names = [_field(row, "file_name", f"annotations: record {n}") for n, row in enumerate(annotations)]
    row_of = {str(name): row for row, name in enumerate(names)}
    if len(row_of) != len(names):
        raise DataError("annotations: field 'file_name' has repeated names")
    counts = {"num_images": len(names), "unknown_images_ignored": 0, "repeated_images_ignored": 0}
    used: dict[int, tuple[int, Mapping[str, Any]]] = {}
    for number, record in enumerate(predictions):
        row = row_of.get(str(_field(record, "file_name", f"predictions: record {number}")))
        if row is None:
            counts["unknown_images_ignored"] += 1
        elif row in used:
            counts["repeated_images_ignored"] += 1
        else:
            used[row] = (number, record)
    truth, counts_truth = _collect(
        [(row, row, record) for row, record in enumerate(annotations)], "annotations", "hoi_annotation", False
    )
    found, counts_found = _collect(
        [(row, number, record) for row, (number, record) in used.items()], "predictions", "hoi_prediction", True
    )
    counts |= {f"annotated_{name}": value for name, value in counts_truth.items()}
    counts |= {f"predicted_{name}": value for name, value in counts_found.items()}
    counts["images_without_predictions_entry"] = len(names) - len(used)
    return truth, found, counts


def _field(record: Any, name: str, where: str) -> Any:
    if not isinstance(record, Mapping) or name not in record:
        raise DataError(f"{where}: field {name!r} is absent")
    return record[name]


def _number(record: Any, name: str, where: str) -> int:
    try:
        return int(_field(record, name, where))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: field {name!r} is not a whole number") from error


def _collect(
    images: Sequence[tuple[int, int, Mapping[str, Any]]], file: str, interactions: str, scored: bool
) -> tuple[Interactions, dict[str, int]]:
    counts = {"verbs_out_of_range_ignored": 0, "missing_boxes": 0}
    heads: list[tuple[int, ...]] = []
    boxes: list[np.ndarray] = []
    scores: list[float] = []
    for image, number, record in images:
        where = f"{file}: record {number}"
        classes, corners = _entities(_field(record, file, where), where)
        for relation in _field(record, interactions, where):
            verb = _number(relation, "category_id", where) - 1
            if not 0 <= verb < len(VERBS):
                counts["verbs_out_of_range_ignored"] += 1
                continue
            ends = [_number(relation, name, where) for name in ("subject_id", "object_id")]
            known = all(0 <= end < len(classes) for end in ends)
            counts["missing_boxes"] += not known
            heads.append((image, verb, *([classes[end] for end in ends] if known else (-1, -1))))
            boxes.append(corners[ends] if known else np.full((2, 4), np.nan))
            scores.append(_score(relation, where) if scored else 0.0)
    head = np.array(heads, np.int64).reshape(-1, 4)
    box = np.array(boxes, np.float64).reshape(-1, 2, 4)
    rows = Interactions(head[:, 0], head[:, 1], head[:, 2], box[:, 0], head[:, 3], box[:, 1], np.array(scores))
    return rows, counts


def _entities(rows: Sequence[Any], where: str) -> tuple[list[int], np.ndarray]:
    classes = [_number(row, "category_id", where) for row in rows]
    try:
        corners = np.array([_field(row, "bbox", where) for row in rows], np.float64).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: field 'bbox' does not have four numbers per row") from error
    if len(corners) != len(classes):
        raise DataError(f"{where}: field 'bbox' does not have four numbers per row")
    return classes, corners


def _score(relation: Any, where: str) -> float:
    try:
        return float(_field(relation, "score", where))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: field 'score' is not a number") from error
