"""Average precision of a ranked list of hits and misses: the 11-point mean and the exact area.

The published evaluators of HICO-DET all average the interpolated precision at eleven recall thresholds, and
differ in the last bit of two of them: a recall of exactly 3/5 reaches MATLAB's 0.6 and misses NumPy's
0.6000000000000001. With few positives per class this moves the mean by a third of a point, so the thresholds are
written out here.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

ThresholdName = Literal["matlab", "arange", "tenths"]
ApMode = Literal["11pt", "area"]

RECALL_THRESHOLDS: dict[str, tuple[float, ...]] = {
    # 0:0.1:1 in MATLAB counts from both ends; the same doubles as torch.linspace(0, 1, 11).
    "matlab": (0.0, 0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    # numpy.arange(0, 1.1, 0.1), and 0:0.1:1 in Octave.
    "arange": (0.0, 0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6000000000000001, 0.7000000000000001, 0.8, 0.9, 1.0),
    "tenths": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
}  # fmt: skip


class RankingScore(NamedTuple):
    """Average precision and the recall at the end of the list; both NaN for a class without positives."""

    ap: float
    max_recall: float


def score_ranking(
    hits: Bool[np.ndarray, " n"],
    num_positives: int,
    *,
    mode: ApMode = "11pt",
    thresholds: ThresholdName = "matlab",
    precision: Literal["float64", "float32"] = "float64",
) -> RankingScore:
    """Average precision and final recall of one class.

    Args:
      hits: True where a prediction is a true positive, best score first.
      num_positives: ground-truth objects of the class, found or not.
      mode: `11pt` (VOC 2007: mean over eleven thresholds of the best precision at that recall or beyond) or
        `area` (VOC 2010: area under the precision envelope).
      thresholds: name of the eleven recall thresholds; only for `11pt`.
      precision: data type of recall, precision and thresholds.

    Returns:
      AP and last recall in [0, 1]. Without predictions both are 0.

    Raises:
      ValueError: more hits than positives.

    >>> score_ranking(np.array([True, False, True]), 2, mode="area").ap  # 1/2 * 1 + 1/2 * 2/3
    0.8333333333333333
    """
    if num_positives == 0:
        return RankingScore(float("nan"), float("nan"))
    if len(hits) == 0:
        return RankingScore(0.0, 0.0)
    true_positives = np.cumsum(hits, dtype=np.int64)
    if true_positives[-1] > num_positives:
        raise ValueError(f"{true_positives[-1]} hits for {num_positives} positives")
    recall = true_positives.astype(precision) / np.asarray(num_positives, precision)
    rank = np.arange(1, len(hits) + 1)
    precisions = true_positives.astype(precision) / rank.astype(precision)
    envelope = np.maximum.accumulate(precisions[::-1])[::-1]
    if mode == "area":
        value = _area_under(recall, envelope)
    else:
        value = _eleven_points(recall, envelope, np.asarray(RECALL_THRESHOLDS[thresholds], precision))
    return RankingScore(value, float(recall[-1]))


def _eleven_points(
    recall: Float[np.ndarray, " n"], envelope: Float[np.ndarray, " n"], thresholds: Float[np.ndarray, " t"]
) -> float:
    """Mean over the thresholds of the best precision at `recall >= threshold`, 0 where recall never gets there."""
    # Recall never falls, so the best precision beyond a threshold is the envelope at the first index reaching it.
    first = np.searchsorted(recall, thresholds, side="left")
    padded = np.append(envelope, envelope.dtype.type(0))
    return float(padded[first].astype(np.float64).mean())


def _area_under(recall: Float[np.ndarray, " n"], envelope: Float[np.ndarray, " n"]) -> float:
    """Sum of recall steps times the envelope at their end."""
    steps = np.diff(recall, prepend=recall.dtype.type(0))
    return float((steps * envelope).sum())


def mean_defined(values: Float[np.ndarray, " n"]) -> float:
    """Mean over the entries that are not NaN; NaN when there is none."""
    values = np.asarray(values, np.float64)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
