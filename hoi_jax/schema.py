"""Table schemas: fields of records, batches and predictions.

All systems share one set of field names. A field is declared once, here, with its shape, dtype and unit; readers, the
pipeline, systems and the evaluators refer to it by name. This module imports only NumPy, so that data preparation and
evaluation do not need JAX.

Conventions: boxes are continuous corners (x1, y1, x2, y2), so that width is x2 - x1; `_px` means pixels; an
unused row of a padded table is zero, its index columns are -1, and its `_valid` column is False.

Axis letters: B batch, H W image, G ground-truth instances, D detections, P pairs, N persons with action labels,
U faces, E external pairs, V verbs, A actions, C HOI classes, K keypoints (17, COCO order), R body parts (10, HAKE
order), S merged body parts (6), h w mask grid, y x F cells and channels of a feature map.
"""

import dataclasses
import difflib
import functools
from collections.abc import Callable, Iterable, Mapping

import numpy as np

NUM_KEYPOINTS = 17
NUM_PARTS = 10
NUM_MERGED_PARTS = 6

KEYPOINT_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""COCO order."""

PART_NAMES = (
    "right_foot", "right_leg", "left_leg", "left_foot", "hip", "head",
    "right_hand", "right_arm", "left_arm", "left_hand",
)  # fmt: skip
"""HAKE order (specs of the HICO-DET instance-level file)."""

MERGED_PART_NAMES = ("feet", "legs", "hip", "hands", "arms", "head")
PART_TO_MERGED = (0, 1, 1, 0, 2, 5, 3, 4, 4, 3)

KEYPOINT_MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
"""Index of each keypoint's left-right counterpart, with which it changes places in a mirrored image."""
PART_MIRROR = (3, 2, 1, 0, 4, 5, 9, 8, 7, 6)


class SchemaError(ValueError):
    """A table has a missing field, or a field of the wrong shape or dtype."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One column: axes (letters of the module docstring or fixed sizes), dtype, and meaning with unit."""

    axes: tuple[str | int, ...]
    dtype: str
    meaning: str


def _instance_columns(prefix: str, axis: str) -> dict[str, Field]:
    return {
        f"{prefix}_xyxy_px": Field((axis, 4), "float32", "box, pixels of `image`"),
        f"{prefix}_class": Field((axis,), "int32", "object class of the vocabulary"),
        f"{prefix}_keypoints_px": Field((axis, 17, 3), "float32", "x, y, score; score 0 = absent"),
        f"{prefix}_face_xyxy_px": Field((axis, 4), "float32", "face box; zero area = none"),
        f"{prefix}_parts_xyxy_px": Field((axis, 10, 4), "float32", "body-part boxes; zero area = none"),
        f"{prefix}_mask": Field((axis, "h", "w"), "bool", "visible mask on a grid over `image`"),
        f"{prefix}_valid": Field((axis,), "bool", "row is used"),
    }


BATCH_FIELDS: Mapping[str, Field] = {
    "image": Field(("H", "W", 3), "uint8", "RGB, padded with zeros at the right and bottom"),
    "image_features": Field(("y", "x", "F"), "float16", "feature map of a frozen extractor for `image`, from a cache"),
    "image_hw_px": Field((2,), "int32", "height, width of the unpadded part of `image`"),
    "original_hw_px": Field((2,), "int32", "height, width of the image in its file"),
    "image_id": Field((), "int32", "the dataset's own image number"),
    "example_id": Field((), "int32", "position in the split; random draws are keyed by it"),
    "source_id": Field((), "int32", "index of the example's dataset in a mixture"),
    "batch_valid": Field((), "bool", "False for examples that pad the last batch"),
    **_instance_columns("instances", "G"),
    **_instance_columns("detections", "D"),
    "detections_score": Field(("D",), "float32", "detector confidence in [0, 1]"),
    "faces_xyxy_px": Field(("U", 4), "float32", "faces of the image, not assigned to people; zero area = none"),
    "pairs_human": Field(("P",), "int32", "row of `instances`"),
    "pairs_object": Field(("P",), "int32", "row of `instances`, -1 = no object"),
    "pairs_verbs": Field(("P", "V"), "bool", "verbs of the pair"),
    "pairs_verbs_known": Field(("P", "V"), "bool", "False where the label is unknown"),
    "pairs_part_states": Field(("P", 6), "int32", "1 part acts, 0 it does not, -1 unknown"),
    "pairs_valid": Field(("P",), "bool", "row is used"),
    "persons_instance": Field(("N",), "int32", "row of `instances`"),
    "persons_actions": Field(("N", "A"), "int32", "1 does, 0 does not, -1 not labelled"),
    "persons_roles": Field(("N", "A", 2), "int32", "row of `instances` per role, -1 = none"),
    "persons_valid": Field(("N",), "bool", "row is used"),
    "hoi_labels": Field(("C",), "int32", "image level: 1 yes, 0 ambiguous, -1 no, -2 unknown"),
    "external_human_xyxy_px": Field(("E", 4), "float32", "pairs given by another detector"),
    "external_object_xyxy_px": Field(("E", 4), "float32", "pairs given by another detector"),
    "external_object_class": Field(("E",), "int32", "object class of the vocabulary"),
    "external_human_score": Field(("E",), "float32", "confidence in [0, 1]"),
    "external_object_score": Field(("E",), "float32", "confidence in [0, 1]"),
    "external_valid": Field(("E",), "bool", "row is used"),
}

ALWAYS_PRESENT = frozenset({"image_hw_px", "original_hw_px", "image_id", "example_id", "source_id", "batch_valid"})

# Axis letters of predictions: Q predicted pairs, M predicted people, I predicted instances.
PREDICTION_FIELDS: Mapping[str, Field] = {
    "human_xyxy_px": Field(("Q", 4), "float32", "box, pixels of `image`"),
    "object_xyxy_px": Field(("Q", 4), "float32", "box, pixels of `image`; NaN = no object"),
    "object_class": Field(("Q",), "int32", "object class of the vocabulary"),
    "human_score": Field(("Q",), "float32", "detector confidence of the human"),
    "object_score": Field(("Q",), "float32", "detector confidence of the object"),
    "verb_scores": Field(("Q", "V"), "float32", "final score per verb, for ranking"),
    "interactiveness": Field(("Q",), "float32", "score that the pair interacts at all"),
    "part_scores": Field(("Q", 6), "float32", "interactiveness of the merged body parts"),
    "kept": Field(("Q",), "bool", "False = suppressed as non-interactive (NIS)"),
    "pair_valid": Field(("Q",), "bool", "row is used"),
    "agent_xyxy_px": Field(("M", 4), "float32", "person box, pixels of `image`"),
    "agent_scores": Field(("M", "V"), "float32", "score per verb without its object"),
    "agent_valid": Field(("M",), "bool", "row is used"),
    "hoi_scores": Field(("C",), "float32", "image-level score per HOI class"),
    "instance_xyxy_px": Field(("I", 4), "float32", "box, pixels of `image`"),
    "instance_class": Field(("I",), "int32", "object class of the vocabulary"),
    "instance_score": Field(("I",), "float32", "confidence in [0, 1]"),
    "instance_mask": Field(("I", "h", "w"), "float32", "mask probability on a grid over `image`"),
    "instance_valid": Field(("I",), "bool", "row is used"),
}

# Records hold raw rows, in pixels of the original file; -1 in axes means any size.
RECORD_FIELDS: Mapping[str, Field] = {
    "image": Field((), "bytes", "JPEG or PNG file"),
    "image_id": Field((), "int64", "the dataset's own image number"),
    "file_name": Field((), "bytes", "name of the image"),
    "original_hw_px": Field((2,), "int32", "height, width"),
    "instances_xyxy_px": Field((-1, 4), "float32", "boxes"),
    "instances_class": Field((-1,), "int32", "object class"),
    "instances_annotation_id": Field((-1,), "int64", "the dataset's own number of the box, or -1"),
    "instances_keypoints_px": Field((-1, 17, 3), "float32", "x, y, score; score 0 = absent"),
    "instances_face_xyxy_px": Field((-1, 4), "float32", "zero area = none"),
    "instances_parts_xyxy_px": Field((-1, 10, 4), "float32", "zero area = none"),
    "instances_mask_png": Field((-1,), "bytes", "one 8-bit PNG per instance, empty = none"),
    "detections_xyxy_px": Field((-1, 4), "float32", "boxes"),
    "detections_class": Field((-1,), "int32", "object class"),
    "detections_score": Field((-1,), "float32", "confidence in [0, 1]"),
    "detections_keypoints_px": Field((-1, 17, 3), "float32", "x, y, score; score 0 = absent"),
    "detections_face_xyxy_px": Field((-1, 4), "float32", "zero area = none"),
    "faces_xyxy_px": Field((-1, 4), "float32", "faces that a detector found in the image, not assigned to people"),
    "pairs_human": Field((-1,), "int32", "row of instances"),
    "pairs_object": Field((-1,), "int32", "row of instances, -1 = none"),
    "pairs_verb": Field((-1,), "int32", "one row per pair and verb"),
    "pairs_part_states": Field((-1, 10), "int32", "1 acts, 0 does not, -1 unknown (HAKE order)"),
    "persons_instance": Field((-1,), "int32", "row of instances"),
    "persons_actions": Field((-1, "A"), "int32", "1, 0, -1 = not labelled"),
    "persons_roles": Field((-1, "A", 2), "int32", "row of instances, -1 = none"),
    "hoi_labels": Field((-1,), "int32", "one per HOI class; empty if not labelled"),
}


def check_names(names: Iterable[str], fields: Mapping[str, Field], where: str) -> None:
    """Raise SchemaError for the first name that is not in `fields`, and suggest the nearest one."""
    for name in names:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SchemaError(f"{where}: unknown field {name!r}{hint}")


def _check_table(
    table: Mapping[str, np.ndarray],
    fields: Mapping[str, Field],
    leading: tuple[int, ...],
    axis_sizes: dict[str, int],
    where: str,
) -> None:
    check_names(table, fields, where)
    for name, array in table.items():
        field = fields[name]
        shape, dtype = np.shape(array), np.dtype(array.dtype).name
        if dtype != field.dtype:
            raise SchemaError(f"{where}: field {name!r} has dtype {dtype}, expected {field.dtype}")
        if len(shape) != len(leading) + len(field.axes) or shape[: len(leading)] != leading:
            raise SchemaError(f"{where}: field {name!r} has shape {shape}, expected {leading} + {field.axes}")
        for axis, size in zip(field.axes, shape[len(leading) :], strict=True):
            expected = axis if isinstance(axis, int) else axis_sizes.setdefault(axis, size)
            if size != expected:
                raise SchemaError(f"{where}: axis {axis} of field {name!r} has size {size}, expected {expected}")


def check_batch(batch: Mapping[str, np.ndarray], needs: Iterable[str] = (), where: str = "batch") -> None:
    """Check every field of a host batch: known names, dtypes, ranks, and axis sizes that agree between fields.

    Raises:
      SchemaError: a field is wrong, or a field of `needs` is missing; the message names it and what was expected.
    """
    missing = sorted((set(needs) | ALWAYS_PRESENT) - set(batch))
    if missing:
        raise SchemaError(f"{where}: required fields {missing} are missing; the batch has {sorted(batch)}")
    leading = np.shape(batch["batch_valid"])
    _check_table(batch, BATCH_FIELDS, leading, {}, where)


def check_predictions(predictions: Mapping[str, np.ndarray], batch_size: int, where: str = "predictions") -> None:
    """Check host predictions [B, ...] field by field. Raises SchemaError."""
    _check_table(predictions, PREDICTION_FIELDS, (batch_size,), {}, where)


def check_record(record: Mapping[str, object], num_actions: int, where: str) -> None:
    """Check one raw record before it is written: all fields are present and indices point inside their tables.

    Raises:
      SchemaError: a field is wrong; the message names it and `where` (the image).
    """
    missing = sorted(set(RECORD_FIELDS) - set(record))
    if missing:
        raise SchemaError(f"{where}: record has no fields {missing}")
    check_names(record, RECORD_FIELDS, where)
    arrays = {name: np.asarray(value) for name, value in record.items() if RECORD_FIELDS[name].dtype != "bytes"}
    rows: dict[str, int] = {}
    for name, array in arrays.items():
        expected = tuple(num_actions if axis == "A" else axis for axis in RECORD_FIELDS[name].axes)
        fits = array.ndim == len(expected) and all(
            want in (-1, got) for want, got in zip(expected, array.shape, strict=True)
        )
        if not fits:
            raise SchemaError(f"{where}: field {name!r} has shape {array.shape}, expected {expected}")
        if not np.all(np.isfinite(array)):
            raise SchemaError(f"{where}: field {name!r} contains NaN or infinite values")
        if name.endswith("xyxy_px") and np.any(array[..., 2:] < array[..., :2]):
            raise SchemaError(f"{where}: field {name!r} contains a box with x2 < x1 or y2 < y1")
        if expected[:1] == (-1,) and name != "hoi_labels":
            table = name.split("_")[0]
            if rows.setdefault(table, len(array)) != len(array):
                raise SchemaError(f"{where}: field {name!r} has {len(array)} rows, expected {rows[table]}")
    for name in ("pairs_human", "pairs_object", "persons_instance", "persons_roles"):
        lowest = 0 if name in ("pairs_human", "persons_instance") else -1
        array, count = arrays[name], rows["instances"]
        if array.size and (array.min() < lowest or array.max() >= count):
            raise SchemaError(f"{where}: field {name!r} has an index outside the {count} instances")


def empty_record(num_actions: int) -> dict[str, object]:
    """A record with all tables empty, to be filled by a reader; `image` is empty bytes, `image_id` is -1."""
    return {name: make() for name, make in _empty_fields(num_actions)}


@functools.cache
def _empty_fields(num_actions: int) -> tuple[tuple[str, Callable[[], object]], ...]:
    """(name, function that makes the empty value) of every field; label files have tens of thousands of records."""
    sizes = {-1: 0, "A": num_actions}
    made: list[tuple[str, Callable[[], object]]] = []
    for name, field in RECORD_FIELDS.items():
        if field.dtype == "bytes":
            made.append((name, bytes if field.axes == () else list))
        elif field.axes == ():
            made.append((name, functools.partial(np.int64, -1)))
        else:
            shape = tuple(int(sizes.get(axis, axis)) for axis in field.axes)
            made.append((name, functools.partial(np.zeros, shape, np.dtype(field.dtype))))
    return tuple(made)
