"""COCO's average precision of instances, by boxes or by masks, with the results of pycocotools.

IoU thresholds 0.50 to 0.95 in steps of 0.05, precision at 101 recalls, the best 100 detections of an image and class,
mean over the annotated classes. The annotations have no crowd regions here, so every match counts.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.metrics.matching import pairwise_iou

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100


@dataclasses.dataclass(frozen=True)
class Instances:
    """Annotated or detected instances of one image.

    Attributes:
      boxes_xyxy: [N, 4] continuous corners; label: [N] class; score: [N] (ones for annotations).
      masks: [N, h, w] over the image, or None.
    """

    boxes_xyxy: Float[np.ndarray, "n 4"]
    label: Int[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    masks: Bool[np.ndarray, "n h w"] | None = None

    def chosen(self, rows: Int[np.ndarray, " m"]) -> "Instances":
        masks = None if self.masks is None else self.masks[rows]
        return Instances(self.boxes_xyxy[rows], self.label[rows], self.score[rows], masks)


def box_iou(found: Instances, truth: Instances) -> Float[np.ndarray, "d g"]:
    """IoU of all boxes."""
    return pairwise_iou(np.asarray(found.boxes_xyxy, np.float64), np.asarray(truth.boxes_xyxy, np.float64))


def mask_iou(found: Instances, truth: Instances) -> Float[np.ndarray, "d g"]:
    """IoU of all masks; 0 where both are empty. Raises ValueError where one side has no masks."""
    if found.masks is None or truth.masks is None:
        raise ValueError("mask AP needs masks of detections and of annotations")
    first, second = (
        m.reshape((len(m), int(np.prod(m.shape[1:])))).astype(np.float64) for m in (found.masks, truth.masks)
    )
    shared = first @ second.T
    union = first.sum(1)[:, None] + second.sum(1)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def matches(iou: Float[np.ndarray, "d g"], threshold: float) -> Bool[np.ndarray, " d"]:
    """Mask of detections, best first, that match an annotation: the free one of largest IoU (on ties the last one)."""
    free = np.ones(iou.shape[1], bool)
    hit = np.zeros(len(iou), bool)
    for row in range(len(iou)):
        allowed = np.where(free, iou[row], -1.0)
        if allowed.size and allowed.max() >= min(threshold, 1 - 1e-10):
            best = allowed.size - 1 - int(allowed[::-1].argmax())
            free[best], hit[row] = False, True
    return hit


def precision_mean(hit: Bool[np.ndarray, " d"], score: Float[np.ndarray, " d"], truths: int) -> float:
    """Mean precision at 101 recalls, each the best precision at that recall or a larger one."""
    order = np.argsort(-score, kind="stable")
    positives = np.cumsum(hit[order]).astype(np.float64)
    precision = positives / (np.arange(len(hit)) + 1 + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(positives / truths, RECALLS, side="left")
    return float(np.where(at < len(hit), np.append(envelope, 0.0)[at], 0.0).mean())


def average_precision(
    found: Sequence[Instances],
    truth: Sequence[Instances],
    iou: Callable[[Instances, Instances], np.ndarray] = box_iou,
) -> Float[np.ndarray, "classes 10"]:
    """AP of every class and threshold, NaN for unannotated classes; `found` and `truth` have one entry per image."""
    classes = 1 + max((int(t.label.max()) for t in (*truth, *found) if len(t.label)), default=-1)
    table = np.full((classes, len(THRESHOLDS)), np.nan)
    for label in range(classes):
        truths, scores, hits = 0, [], []
        for detected, annotated in zip(found, truth, strict=True):
            rows = np.flatnonzero(detected.label == label)
            rows = rows[np.argsort(-detected.score[rows], kind="stable")][:MAX_DETECTIONS]
            marked = np.flatnonzero(annotated.label == label)
            truths += len(marked)
            overlap = iou(detected.chosen(rows), annotated.chosen(marked)) if len(rows) else np.zeros((0, len(marked)))
            scores.append(detected.score[rows])
            hits.append(np.stack([matches(overlap, threshold) for threshold in THRESHOLDS]))
        if truths:
            score, hit = np.concatenate(scores), np.concatenate(hits, axis=1)
            table[label] = [precision_mean(row, score, truths) for row in hit]
    return table


def summary(table: Float[np.ndarray, "classes 10"]) -> dict[str, float]:
    """AP, AP50 and AP75: means over the annotated classes; NaN without any."""
    seen = table[~np.isnan(table).all(axis=1)]
    if not len(seen):
        return {"AP": float("nan"), "AP50": float("nan"), "AP75": float("nan")}
    return {"AP": float(seen.mean()), "AP50": float(seen[:, 0].mean()), "AP75": float(seen[:, 5].mean())}
