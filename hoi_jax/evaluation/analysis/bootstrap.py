"""Bootstrap confidence intervals over images (Efron, 1979), of one set of predictions or of a paired difference.

An interval is estimate +- z * standard error, with the error taken from scores on images drawn with replacement. It
covers the mean score under this protocol over test sets of the same size and kind. Two biases are corrected
(`benchmarks/bootstrap_coverage.py` measures what remains of them):

- A draw holds fewer distinct images than the set, and the 11-point AP of few positives is too high: draws score above
  the estimate by more than one standard error. Percentiles of the draws inherit this, so only their spread is used.
- A class with positives in n images varies too little over the draws, by the factor (n - 1) / n in variance. Its
  deviations are therefore multiplied by sqrt(n / (n - 1)) before averaging (n = 2 for a single image, which has no
  spread of its own).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Float

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.alignment import (
    action_detections,
    action_truth,
    align,
    has_whole_action_labels,
)
from hoi_jax.evaluation.metrics.protocols import HoiProtocol, hoi_protocol
from hoi_jax.evaluation.metrics.resampling import (
    ClassRanking,
    action_rankings,
    hoi_rankings,
    image_draws,
    mean_over_classes,
    resampled_ap,
)
from hoi_jax.evaluation.score import hoi_inputs
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary

REPLICATES = 1000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number, the ends of its confidence interval, and its standard error."""

    estimate: float
    low: float
    high: float
    standard_error: float


@dataclasses.dataclass(frozen=True)
class Resampled:
    """Headline metrics of one set of predictions, as scored and under every draw of images.

    Attributes:
      estimates: metric -> value on the images as they are.
      samples: metric -> [B] values, with the full spread of small classes (see above).
      seed: seed of the draws; equal seed, size and number of images give equal draws.
      num_images: number of images that are drawn from.
    """

    estimates: Mapping[str, float]
    samples: Mapping[str, Float[np.ndarray, " b"]]
    seed: int
    num_images: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; samples are rounded to nine digits."""
        return {
            "seed": self.seed,
            "num_images": self.num_images,
            "estimates": {name: _or_none(value) for name, value in self.estimates.items()},
            "samples": {name: [_or_none(v) for v in values.round(9)] for name, values in self.samples.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Resampled":
        """Read the output of `to_json`. Raises ValueError for anything else."""
        try:
            return cls(
                {name: float("nan") if v is None else float(v) for name, v in content["estimates"].items()},
                {name: np.array(values, np.float64) for name, values in content["samples"].items()},
                int(content["seed"]),
                int(content["num_images"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the resampled metrics of an evaluation: {error}") from error


def resample(rankings: Sequence[ClassRanking], *, replicates: int = REPLICATES, seed: int = 0) -> Resampled:
    """Score `replicates` bootstrap draws of the images, without matching again.

    Raises:
      ValueError: no ranking, rankings of different images, or fewer than two replicates.
    """
    sizes = {ranking.num_images for ranking in rankings}
    if len(sizes) != 1:
        raise ValueError(f"rankings cover different numbers of images: {sorted(sizes)}")
    if replicates < 2:
        raise ValueError(f"{replicates} replicates, expected at least 2")
    num_images = sizes.pop()
    once, draws = np.ones((num_images, 1), np.int32), image_draws(num_images, replicates, seed)
    estimates: dict[str, float] = {}
    samples: dict[str, np.ndarray] = {}
    for ranking in rankings:
        ap = resampled_ap(ranking, once)
        drawn = _with_full_spread(resampled_ap(ranking, draws), ranking)
        for name, mask in ranking.means.items():
            estimates[name] = float(mean_over_classes(ap, mask)[0])
            samples[name] = mean_over_classes(drawn, mask)
    return Resampled(estimates, samples, seed, num_images)


def _with_full_spread(drawn: Float[np.ndarray, "classes b"], ranking: ClassRanking) -> Float[np.ndarray, "classes b"]:
    """APs with deviations from their mean over the draws scaled up for classes with positives in few images."""
    where = np.unique(ranking.positive_label * ranking.num_images + ranking.positive_image) // ranking.num_images
    images = np.maximum(np.bincount(where, minlength=ranking.num_classes), 2)
    defined = ~np.isnan(drawn)
    centre = np.where(defined, drawn, 0.0).sum(1) / np.maximum(defined.sum(1), 1)
    return centre[:, None] + (drawn - centre[:, None]) * np.sqrt(images / (images - 1))[:, None]


def intervals(resampled: Resampled, *, level: float = 0.95) -> dict[str, Interval]:
    """Confidence interval of every metric; NaN where a metric is undefined."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a number between 0 and 1")
    reach = NormalDist().inv_cdf((1 + level) / 2)
    result = {}
    for name, estimate in resampled.estimates.items():
        values = resampled.samples[name]
        values = values[~np.isnan(values)]
        error = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        result[name] = Interval(estimate, estimate - reach * error, estimate + reach * error, error)
    return result


def difference(first: Resampled, second: Resampled) -> Resampled:
    """`second` minus `first`, draw by draw, for the metrics that both have: the paired comparison.

    Raises:
      ValueError: the draws differ in images, seed or number, or the two share no metric.
    """
    if (first.seed, first.num_images) != (second.seed, second.num_images):
        raise ValueError(
            f"draws differ: seed {first.seed} of {first.num_images} images and "
            f"seed {second.seed} of {second.num_images} images; a paired comparison needs the same"
        )
    shared = [name for name in first.estimates if name in second.estimates]
    if not shared:
        raise ValueError(f"no metric in common: {sorted(first.estimates)} and {sorted(second.estimates)}")
    if any(len(first.samples[name]) != len(second.samples[name]) for name in shared):
        raise ValueError("the numbers of draws differ; a paired comparison needs the same")
    return Resampled(
        {name: second.estimates[name] - first.estimates[name] for name in shared},
        {name: second.samples[name] - first.samples[name] for name in shared},
        first.seed,
        first.num_images,
    )


def prediction_rankings(
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    protocol: HoiProtocol | None = None,
    *,
    use_nis: bool = True,
) -> tuple[ClassRanking, ...]:
    """Rankings behind the official scores of `score.evaluate`.

    Args:
      protocol: HOI protocol; the default is the official one.

    Raises:
      ValueError: the annotations are not complete enough for the official scores.
    """
    if not vocabulary.actions:
        truth, detections, _ = hoi_inputs(predictions, annotations, vocabulary, use_nis=use_nis)
        labels = annotations.image_labels(len(vocabulary.hois))
        return hoi_rankings(truth, detections, vocabulary, protocol or hoi_protocol("official"), image_labels=labels)
    if not has_whole_action_labels(annotations):
        raise ValueError("persons are not labelled for all actions, so there is no official score to give an interval")
    found = action_detections(predictions, align(predictions, annotations, use_nis), vocabulary)
    return action_rankings(action_truth(annotations, vocabulary), found, vocabulary)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
