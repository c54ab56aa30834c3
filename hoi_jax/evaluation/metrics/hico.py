"""Image-level HOI classification: HICO mAP (Chao et al., ICCV 2015) with Few@k, and MPII mAP.

One ranking of images per class, no boxes. HICO labels are 1 yes, 0 ambiguous, -1 no, -2 unknown (the object is not in
the image). The official script removes ambiguous images from the class and takes unknown ones as negative (Default),
or moves them behind all others (Known Object), which is the same as leaving them out.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.ap import ApMode, ThresholdName, mean_defined, score_ranking
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.io import DataError
from hoi_jax.predictions import Predictions
from hoi_jax.settings import choice
from hoi_jax.vocab.datasets import TRAIN_IMAGES_VISIBLE

FEW_SHOT = (1, 5, 10)


@dataclasses.dataclass(frozen=True)
class ImageProtocol:
    """Scoring options of an image ranking.

    Attributes:
      ap: `11pt` as in the official HICO script, or `area` as in many newer papers; they can differ by over a point.
      thresholds: the eleven recall thresholds.
    """

    ap: ApMode = "11pt"
    thresholds: ThresholdName = "matlab"

    def __post_init__(self) -> None:
        choice("ap", self.ap, ("11pt", "area"))
        choice("thresholds", self.thresholds, ("matlab", "arange", "tenths"))


def image_ap(
    scores: Float[np.ndarray, "i c"],
    positive: Bool[np.ndarray, "i c"],
    counted: Bool[np.ndarray, "i c"],
    protocol: ImageProtocol,
) -> Float[np.ndarray, " c"]:
    """AP of every class over its `counted` images; equal scores keep the order of images.

    An image whose score is NaN is not ranked: if positive, it is missed. NaN for a class without positives.
    """
    ap = np.full(scores.shape[1], np.nan)
    used = counted & ~np.isnan(scores)
    total = (positive & counted).sum(0)
    for c in range(scores.shape[1]):
        rows = np.flatnonzero(used[:, c])
        order = rows[np.argsort(-scores[rows, c], kind="stable")]
        ap[c] = score_ranking(positive[order, c], int(total[c]), mode=protocol.ap, thresholds=protocol.thresholds).ap
    return ap


def evaluate_hico_images(
    scores: Float[np.ndarray, "i c"],
    labels: Int[np.ndarray, "i c"],
    protocol: ImageProtocol | None = None,
    *,
    train_images: Int[np.ndarray, " c"] | None = None,
) -> EvaluationResult:
    """HICO mAP in both settings.

    Args:
      scores: any real numbers; logits are better than probabilities, which saturate into ties.
      labels: 1, 0, -1, -2 as above.
      train_images: positive training images per class, for Few@k (classes with at most k of them); None leaves
        Few@k out.

    Returns:
      metrics `image/{default,known_object}` and `image/few_{1,5,10}` (Default); per class `image/ap`,
      `image/known_object_ap`, `image/num_positives`.

    Raises:
      ValueError: shapes disagree, or a label is not one of the four.
    """
    protocol = protocol or ImageProtocol()
    if scores.shape != labels.shape:
        raise ValueError(f"scores have shape {scores.shape}, labels {labels.shape}")
    if not np.isin(labels, (1, 0, -1, -2)).all():
        raise ValueError(
            f"labels include {sorted(set(np.unique(labels).tolist()) - {1, 0, -1, -2})}, expected 1, 0, -1, -2"
        )
    positive = labels == 1
    default = image_ap(scores, positive, labels != 0, protocol)
    known = image_ap(scores, positive, (labels == 1) | (labels == -1), protocol)
    metrics = {"image/default": mean_defined(default), "image/known_object": mean_defined(known)}
    few = {}
    if train_images is not None:
        if np.shape(train_images) != default.shape:
            raise ValueError(f"train_images has shape {np.shape(train_images)}, expected {default.shape}")
        for most in FEW_SHOT:
            chosen = np.asarray(train_images) <= most
            metrics[f"image/few_{most}"] = mean_defined(default[chosen])
            few[f"few_{most}"] = int(chosen.sum())
    manifest = {
        "image_protocol": dataclasses.asdict(protocol),
        "num_images": len(scores),
        "ambiguous_labels_removed": int((labels == 0).sum()),
        "unknown_labels": int((labels == -2).sum()),
        "nan_scores": int(np.isnan(scores).sum()),
        "few_shot_classes": few,
    }
    per_class = {"image/ap": default, "image/known_object_ap": known, "image/num_positives": positive.sum(0)}
    return EvaluationResult(metrics, per_class, manifest)


def evaluate_mpii(
    scores: Float[np.ndarray, "i c"], label: Int[np.ndarray, " i"], protocol: ImageProtocol | None = None
) -> EvaluationResult:
    """MPII mAP: one class per image, every other class is negative.

    Args:
      scores: must be comparable between images: softmax probabilities, not logits (Fang et al., DEFR, 2021).
      label: class of each image.

    Returns:
      metrics `mpii/map`, `mpii/accuracy` (share of images whose best class is right); per class `mpii/ap`,
      `mpii/num_positives`.

    Raises:
      ValueError: lengths disagree or a label is outside the classes.
    """
    protocol = protocol or ImageProtocol()
    if len(label) != len(scores):
        raise ValueError(f"there are {len(scores)} rows of scores and {len(label)} labels")
    if len(label) and (label.min() < 0 or label.max() >= scores.shape[1]):
        raise ValueError(f"labels are {label.min()}..{label.max()}, expected 0..{scores.shape[1] - 1}")
    positive = np.asarray(label)[:, None] == np.arange(scores.shape[1])
    ap = image_ap(scores, positive, np.ones_like(positive), protocol)
    ranked = np.where(np.isnan(scores), -np.inf, scores)
    right = (ranked.argmax(1) == label) & ~np.isnan(scores).all(1)
    return EvaluationResult(
        {"mpii/map": mean_defined(ap), "mpii/accuracy": float(right.mean()) if len(right) else float("nan")},
        {"mpii/ap": ap, "mpii/num_positives": positive.sum(0)},
        {
            "image_protocol": dataclasses.asdict(protocol),
            "num_images": len(scores),
            "nan_scores": int(np.isnan(scores).sum()),
        },
    )


def aligned_scores(predictions: Predictions, annotations: Annotations) -> Float[np.ndarray, "i c"]:
    """Image-level scores in the order of the annotations; NaN rows for images without predictions.

    Raises:
      ValueError: the predictions have no image-level scores.
    """
    if not predictions.hoi_scores.shape[1]:
        raise ValueError("the predictions have no image-level scores")
    row_of = {int(image_id): row for row, image_id in enumerate(predictions.image_id)}
    row = np.array([row_of.get(int(image_id), -1) for image_id in annotations.image_id], np.int64)
    scores = np.full((annotations.num_images, predictions.hoi_scores.shape[1]), np.nan)
    scores[row >= 0] = predictions.hoi_scores[row[row >= 0]]
    return scores


def train_image_counts(train: Annotations, num_classes: int) -> Int[np.ndarray, " c"]:
    """Positive training images per class. Raises DataError when the annotations have no image-level labels."""
    labels = train.image_labels(num_classes)
    if labels is None:
        raise DataError("the training annotations have no image-level labels")
    return (labels == 1).sum(0)


def evaluate_image_predictions(
    predictions: Predictions,
    annotations: Annotations,
    protocol: ImageProtocol | None = None,
    *,
    train: Annotations | None = None,
) -> EvaluationResult:
    """HICO mAP of the predictions' `hoi_scores`; see `evaluate_hico_images`.

    Args:
      train: training annotations with image-level labels, for Few@k. Without them, HICO's classes are chosen by
        training images with a visible pair (51, 127, 165 classes where the paper has 49, 125, 162), which the
        manifest records.

    Raises:
      ValueError: the predictions have no image-level scores.
      DataError: the annotations have no image-level labels, or labels of another number of classes.
    """
    scores = aligned_scores(predictions, annotations)
    num_classes = scores.shape[1]
    labels = annotations.image_labels(num_classes)
    if labels is None:
        raise DataError("the annotations have no image-level labels")
    counts, source = None, "none"
    if train is not None:
        counts, source = train_image_counts(train, num_classes), "image-level training labels"
    elif predictions.vocabulary_name in ("hico", "hico_det"):
        counts, source = np.array(TRAIN_IMAGES_VISIBLE), "training images with a visible pair (proxy)"
    result = evaluate_hico_images(scores, labels, protocol, train_images=counts)
    about: Mapping[str, object] = {
        "vocabulary": predictions.vocabulary_name,
        "few_shot_source": source,
        "annotations_fingerprint": annotations.fingerprint,
        "images_without_predictions_entry": int(np.isnan(scores).all(1).sum()),
        "unknown_images_ignored": int((~np.isin(predictions.image_id, annotations.image_id)).sum()),
        "predictions": dict(predictions.manifest),
    }
    return dataclasses.replace(result, manifest={**result.manifest, **about})


def evaluate_mpii_predictions(
    predictions: Predictions, annotations: Annotations, protocol: ImageProtocol | None = None
) -> EvaluationResult:
    """MPII mAP of the predictions' `hoi_scores`, which are logits: ranked by their softmax over the classes.

    Raises:
      ValueError: the predictions have no image-level scores.
      DataError: an image does not have exactly one class.
    """
    logits = aligned_scores(predictions, annotations)
    labels = annotations.image_labels(logits.shape[1])
    if labels is None or ((labels == 1).sum(1) != 1).any():
        raise DataError("the annotations do not give every image exactly one class")
    logits = logits - np.max(logits, axis=1, keepdims=True)
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    result = evaluate_mpii(scores, (labels == 1).argmax(1), protocol)
    about = {"vocabulary": predictions.vocabulary_name, "annotations_fingerprint": annotations.fingerprint}
    return dataclasses.replace(result, manifest={**result.manifest, **about, "predictions": dict(predictions.manifest)})
