"""Per-class AP under bootstrap resampling weights.

Matching happens within an image, so drawing images anew changes which detections are in the ranking, but never which
of them are hits. A ranking is therefore computed once and weighted by the number of copies of each image.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.metrics.ap import RECALL_THRESHOLDS, ApMode, ThresholdName
from hoi_jax.evaluation.metrics.hico_det import (
    PairDetections,
    PairTruth,
    object_images,
    rank_detections,
    zero_shot_masks,
)
from hoi_jax.evaluation.metrics.protocols import ActionProtocol, HoiProtocol
from hoi_jax.evaluation.metrics.vcoco import ActionDetections, ActionTruth, action_means, rank_actions
from hoi_jax.vocab.tables import Vocabulary

SETTINGS = ("default", "known_object")

# Weights gathered at once: 2**25 int32 are 128 MB.
_CELLS = 1 << 25


@dataclasses.dataclass(frozen=True)
class ClassRanking:
    """One kind of AP (Default, Known Object, a V-COCO scenario) before any averaging.

    Attributes:
      label, image, hit: [t] class, image row and whether it is a true positive, ordered by class and falling score.
      positive_label, positive_image: [g] class and image row of every positive.
      num_images, num_classes: numbers of images and classes.
      ap, thresholds, precision: see `ap.score_ranking`.
      means: metric name -> mask [C] of the classes that it averages.
    """

    label: Int[np.ndarray, " t"]
    image: Int[np.ndarray, " t"]
    hit: Bool[np.ndarray, " t"]
    positive_label: Int[np.ndarray, " g"]
    positive_image: Int[np.ndarray, " g"]
    num_images: int
    num_classes: int
    ap: ApMode
    thresholds: ThresholdName
    precision: Literal["float64", "float32"]
    means: Mapping[str, Bool[np.ndarray, " c"]]


def hoi_rankings(
    truth: PairTruth,
    detections: PairDetections,
    vocabulary: Vocabulary,
    protocol: HoiProtocol,
    *,
    image_labels: Int[np.ndarray, "images classes"] | None = None,
) -> tuple[ClassRanking, ...]:
    """Rankings for Default and Known Object, with all means of `hico_det.evaluate_hoi` and its arguments."""
    ranked = rank_detections(truth, detections, len(vocabulary.hois), protocol)
    contains = object_images(truth, vocabulary, protocol.known_object_source, image_labels)
    known = contains[ranked.image, np.array([obj for _, obj in vocabulary.hois])[ranked.label]]
    every = np.ones_like(vocabulary.rare)
    groups = {"full": every, "rare": vocabulary.rare, "non_rare": ~vocabulary.rare}
    means = {setting: {f"{setting}/{name}": mask for name, mask in groups.items()} for setting in SETTINGS}
    means["default"] |= zero_shot_masks(vocabulary)
    return tuple(
        ClassRanking(
            ranked.label[rows],
            ranked.image[rows],
            ranked.hit[rows],
            truth.label,
            truth.image,
            truth.num_images,
            len(vocabulary.hois),
            protocol.ap,
            protocol.thresholds,
            protocol.precision,
            means[setting],
        )
        for setting, rows in zip(SETTINGS, (slice(None), known), strict=True)
    )


def action_rankings(
    truth: ActionTruth,
    detections: ActionDetections,
    vocabulary: Vocabulary,
    protocol: ActionProtocol | None = None,
) -> tuple[ClassRanking, ...]:
    """Rankings for agents and for roles in both scenarios, with the means of `vcoco.evaluate_actions`."""
    protocol = protocol or ActionProtocol()
    rankings, _ = rank_actions(truth, detections, vocabulary, protocol)
    means = action_means(vocabulary)
    return tuple(
        ClassRanking(
            ranked.label,
            ranked.image,
            ranked.hit,
            ranked.positive_label,
            ranked.positive_image,
            truth.num_images,
            ranked.num_classes,
            protocol.ap,
            "matlab",
            "float64",
            {metric: mask for metric, (group, mask) in means.items() if group == name},
        )
        for name, ranked in rankings.items()
    )


def image_draws(num_images: int, replicates: int, seed: int) -> Int[np.ndarray, "images replicates"]:
    """Number of occurrences of each image when `num_images` are drawn with replacement, one column per replicate."""
    generator = np.random.default_rng(seed)
    draws = np.zeros((num_images, replicates), np.int32)
    for column in range(replicates if num_images else 0):
        draws[:, column] = np.bincount(generator.integers(0, num_images, num_images), minlength=num_images)
    return draws


def resampled_ap(
    ranking: ClassRanking, weights: Int[np.ndarray, "images replicates"]
) -> Float[np.ndarray, "classes replicates"]:
    """AP of each class when image i occurs `weights[i]` times; NaN for a class without positives.

    Equals the evaluator's result on the repeated images: copies of a detection tie, and of the points that they add to
    the curve only the last can be the best at its recall, so the curve is needed only at the hits. (Where different
    detections tie, copies stay together instead of alternating; both orders are arbitrary.)
    """
    hits = np.flatnonzero(ranking.hit)
    # Rows up to and including a hit, back to the hit before it or the start of the class, are one segment.
    segment = np.cumsum(ranking.hit) - ranking.hit
    last = np.append(ranking.label[hits], -1)
    rows = np.flatnonzero(last[segment] == ranking.label)
    starts = np.flatnonzero(np.diff(segment[rows], prepend=-1))
    image, hit_image, hit_label = ranking.image[rows], ranking.image[hits], ranking.label[hits]
    order = np.argsort(ranking.positive_label, kind="stable")
    positive_label, positive_image = ranking.positive_label[order], ranking.positive_image[order]

    width = max(1, _CELLS // max(len(rows), len(order), 1))
    pieces = []
    for first in range(0, weights.shape[1], width):
        piece = np.ascontiguousarray(weights[:, first : first + width])
        positives = _sum_by_class(piece[positive_image], positive_label, ranking.num_classes)
        found = _running_sum(piece[hit_image], hit_label)
        counted = _running_sum(np.add.reduceat(piece[image], starts, axis=0) if len(hits) else found, hit_label)
        found = found.astype(ranking.precision)
        precision = found / np.maximum(counted, 1).astype(ranking.precision)
        with np.errstate(divide="ignore", invalid="ignore"):
            recall = found / positives[hit_label].astype(ranking.precision)
        pieces.append(_integrate(recall, precision, hit_label, positives, ranking))
    return np.concatenate([np.zeros((ranking.num_classes, 0)), *pieces], axis=1)


def mean_over_classes(
    ap: Float[np.ndarray, "classes replicates"], mask: Bool[np.ndarray, " classes"]
) -> Float[np.ndarray, " replicates"]:
    """Mean over the classes in `mask` for each replicate, without NaN entries; NaN when no entry is left."""
    defined = ~np.isnan(ap[mask])
    count = defined.sum(0)
    return np.where(count > 0, np.where(defined, ap[mask], 0.0).sum(0) / np.maximum(count, 1), np.nan)


def _starts(label: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.diff(label, prepend=-1))


def _sum_by_class(values: np.ndarray, label: np.ndarray, num_classes: int) -> np.ndarray:
    """Column sums [C, b] over the rows of each class; `label` is ordered."""
    total = np.zeros((num_classes, values.shape[1]), np.int64)
    starts = _starts(label)
    if len(starts):
        total[label[starts]] = np.add.reduceat(values, starts, axis=0)
    return total


def _running_sum(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Cumulative sum down the rows, restarted at each class; `label` is ordered."""
    total = np.cumsum(values, axis=0, dtype=np.int64)
    before = np.concatenate([np.zeros((1, values.shape[1]), np.int64), total])
    starts = _starts(label)
    return total - np.repeat(before[starts], np.diff(np.append(starts, len(label))), axis=0)


def _integrate(
    recall: np.ndarray, precision: np.ndarray, label: np.ndarray, positives: np.ndarray, ranking: ClassRanking
) -> np.ndarray:
    """AP [C, b] from recall and precision at the hits [h, b]."""
    ap = np.where(positives > 0, 0.0, np.nan)
    starts = _starts(label)
    classes = label[starts]
    if not len(starts):
        return ap
    if ranking.ap == "11pt":
        total = np.zeros((len(starts), recall.shape[1]))
        for threshold in np.asarray(RECALL_THRESHOLDS[ranking.thresholds], ranking.precision):
            total += np.maximum.reduceat(np.where(recall >= threshold, precision, 0.0), starts, axis=0)
        ap[classes] += total / 11
        return ap
    for row, start, stop in zip(classes, starts, np.append(starts[1:], len(label)), strict=True):
        envelope = np.maximum.accumulate(precision[start:stop][::-1])[::-1]
        steps = np.diff(recall[start:stop], axis=0, prepend=0.0)
        ap[row] += (steps * envelope).sum(0)
    return ap
