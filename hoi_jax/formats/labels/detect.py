"""Label files of every layout, detected from file content.

Supported: this library's `annotations_<split>.npz`; custom data; HICO-DET as JSON of fredzzhang/hicodet, HOI-A JSON,
HAKE's instance-level JSON or flat npz, or official `anno_bbox.mat`; HICO's `anno.mat`; V-COCO as official action
tables (with COCO's instances), pair JSON of fredzzhang/vcoco, HOI-A JSON, or flat npz
(`vcoco_eval_*_gt.npz`); HOI-W as HOI-A JSON; PIC as `relations_*.json` with its folders of PNG files. JSON may be
gzipped. A new layout is a row of `JSON_LAYOUTS` or `NPZ_LAYOUTS`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hoi_jax import io, npz
from hoi_jax.annotations import Annotations
from hoi_jax.formats.labels import custom, hake, hico_det, hico_mat, hoi_a, pic, vcoco, vcoco_flat
from hoi_jax.formats.labels.label_file import FAULTS, LabelFile, label_file_of

Path = str | os.PathLike[str]


class JsonOptions(NamedTuple):
    """Optional inputs of a JSON layout in addition to the table; see `open_labels`."""

    coco_instances: Sequence[Path] = ()
    dataset: str | None = None


class JsonLayout(NamedTuple):
    """Recognition and opening of a JSON layout."""

    recognises: Callable[[Any], bool]
    open: Callable[[Any, Path, JsonOptions], LabelFile]


class NpzLayout(NamedTuple):
    """Recognition and reading of an npz layout, and its name."""

    name: str
    recognises: Callable[[Mapping[str, np.ndarray]], bool]
    read: Callable[[Mapping[str, np.ndarray], Path], Annotations]


def _open_official_vcoco(table: Any, path: Path, options: JsonOptions) -> LabelFile:
    if not options.coco_instances:
        raise io.DataError(f"{path}: the official V-COCO layout takes boxes from COCO's files; give --coco-instances")
    return vcoco.open_official(table, path, vcoco.CocoInstances(options.coco_instances))


JSON_LAYOUTS = (
    JsonLayout(custom.is_custom, lambda table, path, options: custom.open_custom(table, path)),
    JsonLayout(
        hico_det.is_instances,
        lambda table, path, options: hico_det.open_instances(hico_det.checked_instances(table, path), path),
    ),
    JsonLayout(vcoco.is_official, _open_official_vcoco),
    JsonLayout(vcoco.is_pairs, lambda table, path, options: vcoco.open_pairs(table, path)),
    JsonLayout(hoi_a.is_hoi_a, lambda table, path, options: hoi_a.open_hoi_a(table, path, options.dataset)),
    JsonLayout(hake.is_hake, lambda table, path, options: hake.open_hake(table, path)),
    JsonLayout(pic.is_relations, lambda table, path, options: pic.open_pic(table, path)),
)
"""Layouts in the order in which they are tried."""

NPZ_LAYOUTS = (
    NpzLayout("hoi_jax annotations", lambda content: npz.META in content, lambda content, path: Annotations.load(path)),
    NpzLayout("V-COCO flat", vcoco_flat.is_flat_truth, vcoco_flat.annotations_from_flat),
    NpzLayout("HAKE flat", hake.is_flat_pairs, hake.annotations_of_flat_pairs),
)
"""Layouts in the order in which they are tried."""


def read_annotations(
    path: Path, *, coco_instances: Sequence[Path] = (), image_labels: Path | None = None, split: str = "test"
) -> Annotations:
    """A split from a label file of any known layout.

    Args:
      coco_instances: COCO's `instances_*.json`, which the official V-COCO layout needs for its boxes.
      image_labels: HICO's `anno.mat`, for Known Object by image-level labels.
      split: "train" or "test", for `.mat` files, which hold both.

    Raises:
      io.DataError: the layout is unknown or the content malformed; the message names file, record and field.
    """
    annotations = open_labels(path, coco_instances=coco_instances, split=split).annotations()
    if image_labels is None:
        return annotations
    if annotations.vocabulary_name != "hico_det":
        raise io.DataError(
            f"{image_labels}: has image labels of HICO; the annotations use vocabulary {annotations.vocabulary_name!r}"
        )
    return hico_mat.with_image_labels(annotations, image_labels, split)


def open_labels(
    path: Path, *, coco_instances: Sequence[Path] = (), split: str = "test", dataset: str | None = None
) -> LabelFile:
    """Open a label file of any known layout; its records are read one at a time.

    Args:
      coco_instances, split: see `read_annotations`.
      dataset: dataset whose numbering a HOI-A JSON uses; None = detected from its content.

    Raises:
      io.DataError: the layout is unknown or the content malformed; the message names the file.
    """
    return _named(path, lambda: _open_labels(path, coco_instances, split, dataset))


def _named(path: Path, opening: Callable[[], LabelFile]) -> LabelFile:
    """Result of `opening`; any exception from a malformed file becomes an error that names the file."""
    try:
        return opening()
    except io.DataError:
        raise
    except FAULTS as error:
        raise io.CorruptFileError(f"{path}: malformed ({error!r})") from error


def _open_labels(path: Path, coco_instances: Sequence[Path], split: str, dataset: str | None) -> LabelFile:
    head = io.read_head(path, 128)
    if head.startswith(b"PK"):
        content = io.read_npz(path)
        for layout in NPZ_LAYOUTS:
            if layout.recognises(content):
                return label_file_of(layout.read(content, path), path, layout.name)
        raise io.CorruptFileError(f"{path}: is npz of no known label layout; its arrays are {sorted(content)}")
    if io.is_mat(head):
        return (hico_mat.open_image_labels if hico_mat.is_image_labels(path) else hico_mat.open_mat)(path, split)
    return open_table(io.read_json(path), path, coco_instances=coco_instances, dataset=dataset)


def open_table(table: Any, path: Path, *, coco_instances: Sequence[Path] = (), dataset: str | None = None) -> LabelFile:
    """Open parsed JSON of any known layout; see `open_labels`."""
    return _named(path, lambda: _open_table(table, path, JsonOptions(coco_instances, dataset)))


def _open_table(table: Any, path: Path, options: JsonOptions) -> LabelFile:
    for layout in JSON_LAYOUTS:
        if layout.recognises(table):
            return layout.open(table, path, options)
    keys = sorted(map(str, table))[:9] if isinstance(table, dict) else type(table).__name__
    raise io.CorruptFileError(f"{path}: is JSON of no known label layout ({keys})")
