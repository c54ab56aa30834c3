"""Analysis of one set of predictions for a report: errors, calibration, per-image AP."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.calibration import Reliability, hoi_reliability, reliability
from hoi_jax.evaluation.analysis.errors import analyse_prediction_errors, per_image_ap
from hoi_jax.evaluation.analysis.triplets import Triplets, match, predicted_triplets, true_triplets
from hoi_jax.evaluation.metrics.protocols import HoiProtocol
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The analysis of one set of predictions.

    Attributes:
      predicted, right: unsuppressed predictions with an object, and which of them are true positives.
      truth, found: annotated interactions (without "no interaction"), and which of them are found.
      errors: kinds of errors; None for vocabularies of actions, whose classes have no object class.
      reliability: calibration over the predictions that the mAP counts; for actions, over all with an object.
      in_image: [I] AP within each image, NaN without annotated interactions.
    """

    predicted: Triplets
    right: Bool[np.ndarray, " t"]
    truth: Triplets
    found: Bool[np.ndarray, " g"]
    errors: EvaluationResult | None
    reliability: Reliability
    in_image: Float[np.ndarray, " i"]

    def annotated_in(self, image: int) -> Int[np.ndarray, " k"]:
        """Rows of `truth` of one image."""
        return np.flatnonzero(self.truth.image == image)

    def best_in(self, image: int, count: int) -> Int[np.ndarray, " k"]:
        """Rows of the best `count` predictions of one image, best first."""
        rows = np.flatnonzero(self.predicted.image == image)
        return rows[np.argsort(-self.predicted.score[rows], kind="stable")][:count]


def analyse(
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary, protocol: HoiProtocol
) -> Analysis:
    """Analyse predictions under a protocol of HOI classes (actions have only the official one).

    Raises:
      ValueError: the annotations have no labels in this vocabulary.
    """
    truth = true_triplets(annotations, vocabulary)
    predicted = predicted_triplets(predictions, annotations, vocabulary)
    right, found = match(predicted, truth, vocabulary)
    asked = truth.verb != vocabulary.no_interaction
    truth, found = truth.take(np.flatnonzero(asked)), found[asked]
    positives = np.bincount(truth.image, minlength=annotations.num_images)
    if vocabulary.hois:
        errors = analyse_prediction_errors(predictions, annotations, vocabulary, protocol)
        scores = hoi_reliability(predictions, annotations, vocabulary, protocol)
    else:
        errors, scores = None, reliability(predicted.score, right)
    in_image = per_image_ap(predicted.image, predicted.score, right, positives)
    return Analysis(predicted, right, truth, found, errors, scores, in_image)
