"""Pair-wise non-maximum suppression, a post-processing step of CDN and GEN-VLKT that no evaluator includes."""

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.metrics.hico_det import PairDetections
from hoi_jax.evaluation.metrics.matching import candidate_chunks, matched_iou
from hoi_jax.predictions import best_per_image


def pair_nms(
    detections: PairDetections,
    *,
    threshold: float = 0.7,
    human_power: float = 1.0,
    object_power: float = 0.5,
    max_per_image: int | None = 100,
) -> PairDetections:
    """Suppress repeated triplets as in CDN, greedily by falling score within an image and class.

    A triplet is removed when IoU_human ** human_power * IoU_object ** object_power with a better-scored remaining one
    exceeds `threshold`; IoU counts inclusive pixels (+1). Only the `max_per_image` best triplets of each image take
    part (None = all), the others are removed first. Of equal scores the earlier row counts as better.

    Args:
      detections: 0-based or 1-based inclusive pixels.

    Returns:
      The same pairs with fewer `triplet_*` rows. Rows without a class or with a NaN score remain (evaluation counts and
      ignores them) and suppress nothing.
    """
    label, score = detections.triplet_label.astype(np.int64), detections.triplet_score
    image = detections.pair_image[detections.triplet_pair].astype(np.int64)
    ignored = (label < 0) | np.isnan(score)
    rows = np.flatnonzero(~ignored)
    if max_per_image is not None:
        rows = best_per_image(rows, image[rows], score[rows], max_per_image)
    group = image[rows] * (int(label.max(initial=0)) + 1) + label[rows]
    pair = detections.triplet_pair[rows]
    better, worse = _suppressing_edges(detections, pair, group, score[rows], threshold, human_power, object_power)
    stays = ignored.copy()
    stays[rows[_survivors(better, worse, len(rows))]] = True
    return PairDetections(
        detections.pair_image,
        detections.pair_human_xyxy_px,
        detections.pair_object_xyxy_px,
        detections.triplet_pair[stays],
        detections.triplet_label[stays],
        detections.triplet_score[stays],
    )


def _suppressing_edges(
    detections: PairDetections,
    pair: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    score: Float[np.ndarray, " n"],
    threshold: float,
    human_power: float,
    object_power: float,
) -> tuple[Int[np.ndarray, " e"], Int[np.ndarray, " e"]]:
    """(better row, worse row) of the same group that overlap too much."""
    humans = detections.pair_human_xyxy_px.astype(np.float64)
    objects = detections.pair_object_xyxy_px.astype(np.float64)
    rank = np.empty(len(score), np.int64)
    rank[np.argsort(-score, kind="stable")] = np.arange(len(score))
    edges = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for left, right in candidate_chunks(group, group):
        ordered = rank[left] < rank[right]
        left, right = left[ordered], right[ordered]
        a, b = pair[left], pair[right]
        overlap = matched_iou(humans[a], humans[b], plus_one=True) ** human_power
        overlap *= matched_iou(objects[a], objects[b], plus_one=True) ** object_power
        edges.append((left[overlap > threshold], right[overlap > threshold]))
    return np.concatenate([edge[0] for edge in edges]), np.concatenate([edge[1] for edge in edges])


def _survivors(better: Int[np.ndarray, " e"], worse: Int[np.ndarray, " e"], count: int) -> Bool[np.ndarray, " n"]:
    """Rows left by greedy suppression along the edges; all groups at once, one round per link of the longest chain."""
    stays, open_ = np.zeros(count, bool), np.ones(count, bool)
    while open_.any():
        # No undecided row is better than these, so they remain, and the rows they suppress are removed.
        threatened = np.zeros(count, bool)
        threatened[worse[open_[better]]] = True
        new = open_ & ~threatened
        stays |= new
        open_ &= threatened
        open_[worse[new[better]]] = False
    return stays
