"""Builds without images: boxes, classes and labels of any label file, for networks without pixel input.

Annotated boxes serve as detections with score 1. HICO-DET draws new boxes for every annotated pair; boxes of one class
that overlap by more than `SAME` become one detection, the first of them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from data_prep.builder import DatasetSource, Record
from hoi_jax import schema
from hoi_jax.annotations import COLUMNS, Annotations
from hoi_jax.evaluation.metrics.matching import pairwise_iou
from hoi_jax.formats.labels.detect import read_annotations

SAME = 0.7


def labels_source(name: str, files: Sequence[tuple[str, Path]], coco_instances: Sequence[Path] = ()) -> DatasetSource:
    """Dataset source of label files; files of the same split are concatenated. Raises DataError or ValueError."""
    parts: dict[str, list[Annotations]] = {}
    for split, path in files:
        parts.setdefault(split or "test", []).append(read_annotations(path, coco_instances=coco_instances, split=split))
    first = next(iter(parts.values()))[0]
    splits = {
        split: (sum(a.num_images for a in tables), lambda t=tables: (r for a in t for r in records_of(a)))
        for split, tables in parts.items()
    }
    return DatasetSource(
        name=name,
        version="1.0.0",
        description="labels without images; annotated boxes as detections",
        pairs_vocabulary=first.vocabulary_name,
        persons_vocabulary=first.actions_vocabulary_name or "",
        splits=splits,
        settings={"layout": "labels", "same": SAME},
    )


def distinct_boxes(boxes: Float[np.ndarray, "n 4"], classes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " kept"]:
    """Rows of distinct boxes; a box of the same class as an earlier distinct one with IoU above `SAME` repeats it."""
    same = (pairwise_iou(boxes, boxes) > SAME) & (classes[:, None] == classes[None])
    kept: list[int] = []
    for row in range(len(boxes)):
        if not same[row, kept].any():
            kept.append(row)
    return np.asarray(kept, np.int64)


def records_of(annotations: Annotations) -> Iterator[Record]:
    """Raw records without images. A missing image size becomes the smallest that contains all boxes."""
    ends = {table: np.cumsum(count) for table, count in annotations.counts.items()}
    actions = annotations["persons_actions"].shape[1]
    for row, number in enumerate(annotations.image_id):
        record: Record = dict(schema.empty_record(actions))
        for table, names in {**COLUMNS, "hoi_labels": ("hoi_labels",)}.items():
            stop = int(ends[table][row])
            rows = slice(stop - int(annotations.counts[table][row]), stop)
            record |= {name: annotations[name][rows] for name in names}
        boxes, classes = np.asarray(record["instances_xyxy_px"]), np.asarray(record["instances_class"])
        kept = distinct_boxes(boxes.astype(np.float64), classes)
        for column in ("xyxy_px", "class", "keypoints_px", "face_xyxy_px"):
            record[f"detections_{column}"] = np.asarray(record[f"instances_{column}"])[kept]
        record["detections_score"] = np.ones(len(kept), np.float32)
        record["instances_mask_png"] = [b""] * len(classes)
        size = annotations.original_hw_px[row]
        if not size.all():
            corner = boxes[:, 2:].max(axis=0, initial=1.0) if len(boxes) else np.ones(2)
            size = np.ceil(corner[::-1]).astype(np.int32)
        record |= {
            "image_id": np.int64(number),
            "file_name": str(annotations.file_name[row]).encode(),
            "original_hw_px": np.asarray(size, np.int32),
        }
        yield record
