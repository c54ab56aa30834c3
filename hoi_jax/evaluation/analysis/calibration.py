"""Calibration of scores: reliability diagrams and expected calibration error.

A prediction is right when average precision counts it as a true positive: both boxes have IoU 0.5 or more, and no
better-scored prediction found the same pair before. Low scores are by far the most frequent and dominate the expected
calibration error (ECE; Guo et al., ICML 2017), a mean over predictions. The error over bins of equally many predictions
(Nixon et al., 2019) and the counts per bin show how much.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.hico_det import rank_detections
from hoi_jax.evaluation.metrics.protocols import HoiProtocol
from hoi_jax.evaluation.score import hoi_inputs
from hoi_jax.predictions import Predictions
from hoi_jax.vocab.tables import Vocabulary

BINS = 10


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Reliability diagram: scores against the share of right predictions.

    Attributes:
      edges: ends of equally wide bins over [0, 1], or over all scores where some leave that range; a bin holds its
        lower end, the last one also its upper.
      probabilities: whether all scores are in [0, 1]; else only the shares per bin are meaningful, not the errors.
      count, right: predictions and right ones per bin.
      mean_score: NaN for an empty bin.
      ece: mean over predictions of |mean score - share right| of their bin. Like the next two, NaN without predictions
        and where scores are not probabilities.
      ece_equal_count: the same over `BINS` bins of equally many predictions (as nearly as the number allows).
      gap: mean score minus share right over all predictions: positive = overconfident.
    """

    edges: Float[np.ndarray, " b_1"]
    probabilities: bool
    count: Int[np.ndarray, " b"]
    right: Int[np.ndarray, " b"]
    mean_score: Float[np.ndarray, " b"]
    ece: float
    ece_equal_count: float
    gap: float

    @property
    def share_right(self) -> Float[np.ndarray, " b"]:
        """Share of right predictions per bin; NaN for an empty bin."""
        return np.where(self.count > 0, self.right / np.maximum(self.count, 1), np.nan)


def reliability(score: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], *, bins: int = BINS) -> Reliability:
    """Bin predictions by their scores.

    Raises:
      ValueError: the arrays differ in length, or a score is not finite.
    """
    score = np.asarray(score, np.float64)
    if score.shape != np.shape(right) or score.ndim != 1:
        raise ValueError(f"score has shape {score.shape}, right has {np.shape(right)}")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    low, high = score.min(initial=0.0), score.max(initial=1.0)
    edges, probabilities = np.linspace(low, high, bins + 1), bool(low == 0 and high == 1)
    place = np.minimum(np.searchsorted(edges, score, side="right") - 1, bins - 1)
    count, hits = np.bincount(place, minlength=bins), np.bincount(place[right], minlength=bins)
    total = np.bincount(place, score, minlength=bins)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    if not len(score) or not probabilities:
        return Reliability(edges, probabilities, count, hits, mean, float("nan"), float("nan"), float("nan"))
    parts = np.array_split(np.argsort(score, kind="stable"), bins)
    uneven = sum(abs(score[part].sum() - right[part].sum()) for part in parts)
    gap = float((score.sum() - right.sum()) / len(score))
    even = float(np.abs(total - hits).sum() / len(score))
    return Reliability(edges, True, count, hits, mean, even, float(uneven / len(score)), gap)


def hoi_reliability(
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary, protocol: HoiProtocol
) -> Reliability:
    """Reliability of all triplets that the HOI mAP counts, without suppressed pairs; needs HOI classes."""
    truth, detections, _ = hoi_inputs(predictions, annotations, vocabulary)
    ranked = rank_detections(truth, detections, len(vocabulary.hois), protocol)
    return reliability(detections.triplet_score[ranked.row].astype(np.float64), ranked.hit)
