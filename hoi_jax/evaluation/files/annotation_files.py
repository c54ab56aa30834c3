"""Label files of every layout, told apart by their content.

Read here: our own `annotations_<split>.npz`; HICO-DET as JSON of fredzzhang/hicodet or as official `anno_bbox.mat`;
HICO-DET's training pairs as flat npz (`hake_flat`);
V-COCO as official action tables (with COCO's instances), as pair JSON of fredzzhang/vcoco, or as flat npz
(`vcoco_eval_*_gt.npz`). JSON may be gzipped.
"""

import os
from collections.abc import Sequence

from hoi_jax import io
from hoi_jax.evaluation import arrays
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.files import hake_flat, hico_files, hico_mat, vcoco_files, vcoco_flat


def read_annotations(
    path: str | os.PathLike[str],
    *,
    coco_instances: Sequence[str | os.PathLike[str]] = (),
    image_labels: str | os.PathLike[str] | None = None,
    split: str = "test",
) -> Annotations:
    """A split from a label file of any known layout.

    Args:
      coco_instances: COCO's `instances_*.json`, which the official V-COCO layout needs for its boxes.
      image_labels: HICO's `anno.mat`, for Known Object by image-level labels.
      split: "train" or "test", for `.mat` files, which hold both.

    Raises:
      io.DataError: naming the file, and the record and field that are wrong; or that the layout is unknown.
    """
    annotations = _read(path, coco_instances, split)
    if image_labels is None:
        return annotations
    if annotations.vocabulary_name != "hico_det":
        raise io.DataError(f"{image_labels}: image labels of HICO do not fit labels in {annotations.vocabulary_name!r}")
    return hico_mat.with_image_labels(annotations, image_labels, split)


def _read(path: str | os.PathLike[str], coco_instances: Sequence[str | os.PathLike[str]], split: str) -> Annotations:
    head = io.read_head(path, 128)
    if head.startswith(b"PK"):
        content = io.read_npz(path)
        if arrays.META in content:
            return Annotations.load(path)
        if vcoco_flat.is_flat_truth(content):
            return vcoco_flat.annotations_from_flat(content, path)
        if hake_flat.is_flat_pairs(content):
            return hake_flat.annotations_of_flat_pairs(content, path)
        raise io.CorruptFileError(f"{path}: npz of no known label layout; it has {sorted(content)}")
    if io.is_mat(head):
        return hico_mat.annotations_of_mat(path, split)
    table = io.read_json(path)
    if hico_files.is_instances(table):
        return hico_files.annotations_of_instances(hico_files.checked_instances(table, path), path)
    if vcoco_files.is_official(table):
        if not coco_instances:
            raise io.DataError(f"{path}: official V-COCO layout; its boxes are in COCO's files: give --coco-instances")
        return vcoco_files.annotations_of_official(table, path, vcoco_files.CocoInstances(coco_instances))
    if vcoco_files.is_pairs(table):
        return vcoco_files.annotations_of_pairs(table, path)
    keys = sorted(table)[:9] if isinstance(table, dict) else type(table).__name__
    raise io.CorruptFileError(f"{path}: JSON of no known label layout ({keys})")
