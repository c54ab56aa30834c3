"""Counts of unusual rows in predictions, such as unknown images, NaN scores or boxes outside the image."""

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary


def prediction_counts(predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary) -> dict[str, int]:
    """Counts for the manifest; only those in the first line are non-zero for clean predictions.

    Each count, and the treatment of its rows in evaluation:
    - `num_predictions` (verb scores of pairs), `num_predicted_pairs`, `num_predicted_people`;
    - `unknown_images`, `predictions_in_unknown_images`: images that are not in the split; left out;
    - `images_without_predictions`: images of the split without any; their ground truth is missed;
    - `nan_scores`: left out; `infinite_scores`: ranked like numbers;
    - `nan_human_boxes`, `inverted_boxes` (x2 < x1 or y2 < y1): match nothing, so they are false positives;
    - `boxes_outside_image`: boxes that extend more than a pixel beyond their image; matched without clipping;
    - `invalid_combinations`: verb scores whose verb and object form no class; left out of HOI class metrics.
    """
    known = np.isin(predictions.image_id, annotations.image_id)
    triplet_image = predictions.pair_image[predictions.triplet_pair]
    image = np.concatenate([predictions.pair_image, predictions.pair_image, predictions.agent_image])
    boxes = np.concatenate(
        [predictions.pair_human_xyxy_px, predictions.pair_object_xyxy_px, predictions.agent_xyxy_px]
    ).astype(float)
    people = np.concatenate([predictions.pair_human_xyxy_px, predictions.agent_xyxy_px])
    scored = np.unique(np.concatenate([triplet_image, predictions.agent_image]))
    size = predictions.image_hw_px[image][:, [1, 0]].astype(float)
    with np.errstate(invalid="ignore"):
        beyond = (boxes[:, :2] < -1).any(1) | (boxes[:, 2:] > size + 1).any(1)
        inverted = (boxes[:, 2:] < boxes[:, :2]).any(1)
    scores = predictions.triplet_score
    return {
        "num_predictions": len(scores),
        "num_predicted_pairs": len(predictions.pair_image),
        "num_predicted_people": len(predictions.agent_image),
        "unknown_images": int((~known).sum()),
        "predictions_in_unknown_images": int((~known)[triplet_image].sum() + (~known)[predictions.agent_image].sum()),
        "images_without_predictions": int(annotations.num_images - known[scored].sum()),
        "nan_scores": int(np.isnan(scores).sum()),
        "infinite_scores": int(np.isinf(scores).sum()),
        "nan_human_boxes": int(np.isnan(people).any(1).sum()),
        "inverted_boxes": int(inverted.sum()),
        "boxes_outside_image": int((beyond & (size > 0).all(1)).sum()),
        "invalid_combinations": _invalid(predictions, vocabulary),
    }


def _invalid(predictions: Predictions, vocabulary: Vocabulary) -> int:
    if not vocabulary.hois:
        return 0
    object_class = predictions.pair_object_class[predictions.triplet_pair]
    return int(((object_class < 0) | (vocabulary.hoi_table[predictions.triplet_verb, object_class] < 0)).sum())


EXPECTED = ("num_predictions", "num_predicted_pairs", "num_predicted_people")
"""Counts that are no cause for a warning."""


def warnings_of(counts: dict[str, int]) -> list[str]:
    """One warning line per non-zero count of unusual rows."""
    return [f"{name.replace('_', ' ')}: {count}" for name, count in counts.items() if count and name not in EXPECTED]
