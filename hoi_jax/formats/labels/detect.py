"""Label files of every layout, told apart by their content.

Read here: our own `annotations_<split>.npz`; one's own data (`own_files`); HICO-DET as JSON of fredzzhang/hicodet, as
HOI-A JSON, as HAKE's instance-level JSON or flat npz, or as official `anno_bbox.mat`; HICO's `anno.mat`; V-COCO as
official action tables (with COCO's instances), as pair JSON of fredzzhang/vcoco, as HOI-A JSON, or as flat npz
(`vcoco_eval_*_gt.npz`); HOI-W as HOI-A JSON; PIC as `relations_*.json` with its folders of PNG files. JSON may be
gzipped.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from hoi_jax import io
from hoi_jax import npz as arrays
from hoi_jax.annotations import Annotations
from hoi_jax.formats.labels import custom as own_files
from hoi_jax.formats.labels import hake as hake_files
from hoi_jax.formats.labels import hake as hake_flat
from hoi_jax.formats.labels import hico_det as hico_files
from hoi_jax.formats.labels import hico_mat, vcoco_flat
from hoi_jax.formats.labels import hoi_a as hoi_a_files
from hoi_jax.formats.labels import pic as pic_files
from hoi_jax.formats.labels import vcoco as vcoco_files
from hoi_jax.formats.labels.label_file import FAULTS, LabelFile, label_file_of

Path = str | os.PathLike[str]


def read_annotations(
    path: Path, *, coco_instances: Sequence[Path] = (), image_labels: Path | None = None, split: str = "test"
) -> Annotations:
    """A split from a label file of any known layout.

    Args:
      coco_instances: COCO's `instances_*.json`, which the official V-COCO layout needs for its boxes.
      image_labels: HICO's `anno.mat`, for Known Object by image-level labels.
      split: "train" or "test", for `.mat` files, which hold both.

    Raises:
      io.DataError: naming the file, and the record and field that are wrong; or that the layout is unknown.
    """
    annotations = open_labels(path, coco_instances=coco_instances, split=split).annotations()
    if image_labels is None:
        return annotations
    if annotations.vocabulary_name != "hico_det":
        raise io.DataError(f"{image_labels}: image labels of HICO do not fit labels in {annotations.vocabulary_name!r}")
    return hico_mat.with_image_labels(annotations, image_labels, split)


def open_labels(
    path: Path, *, coco_instances: Sequence[Path] = (), split: str = "test", dataset: str | None = None
) -> LabelFile:
    """A label file of any known layout, opened; its records are read one at a time.

    Args:
      coco_instances, split: see `read_annotations`.
      dataset: which dataset's numbers a HOI-A JSON uses; None = told from its content.

    Raises:
      io.DataError: naming the file; or that the layout is unknown.
    """
    return _named(path, lambda: _open_labels(path, coco_instances, split, dataset))


def _named(path: Path, opening: Callable[[], LabelFile]) -> LabelFile:
    """What `opening` gives; whatever a malformed file makes it raise becomes an error that names the file."""
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
        if arrays.META in content:
            return label_file_of(Annotations.load(path), path, "hoi_jax annotations")
        if vcoco_flat.is_flat_truth(content):
            return label_file_of(vcoco_flat.annotations_from_flat(content, path), path, "V-COCO flat")
        if hake_flat.is_flat_pairs(content):
            return label_file_of(hake_flat.annotations_of_flat_pairs(content, path), path, "HAKE flat")
        raise io.CorruptFileError(f"{path}: npz of no known label layout; it has {sorted(content)}")
    if io.is_mat(head):
        return (hico_mat.open_image_labels if hico_mat.is_image_labels(path) else hico_mat.open_mat)(path, split)
    return open_table(io.read_json(path), path, coco_instances=coco_instances, dataset=dataset)


def open_table(table: Any, path: Path, *, coco_instances: Sequence[Path] = (), dataset: str | None = None) -> LabelFile:
    """Parsed JSON of any known layout; see `open_labels`."""
    return _named(path, lambda: _open_table(table, path, coco_instances, dataset))


def _open_table(table: Any, path: Path, coco_instances: Sequence[Path], dataset: str | None) -> LabelFile:
    if own_files.is_custom(table):
        return own_files.open_custom(table, path)
    if hico_files.is_instances(table):
        return hico_files.open_instances(hico_files.checked_instances(table, path), path)
    if vcoco_files.is_official(table):
        if not coco_instances:
            raise io.DataError(f"{path}: official V-COCO layout; its boxes are in COCO's files: give --coco-instances")
        return vcoco_files.open_official(table, path, vcoco_files.CocoInstances(coco_instances))
    if vcoco_files.is_pairs(table):
        return vcoco_files.open_pairs(table, path)
    if hoi_a_files.is_hoi_a(table):
        return hoi_a_files.open_hoi_a(table, path, dataset)
    if hake_files.is_hake(table):
        return hake_files.open_hake(table, path)
    if pic_files.is_relations(table):
        return pic_files.open_pic(table, path)
    keys = sorted(map(str, table))[:9] if isinstance(table, dict) else type(table).__name__
    raise io.CorruptFileError(f"{path}: JSON of no known label layout ({keys})")
