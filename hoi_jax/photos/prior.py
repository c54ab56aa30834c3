"""Verb priors for photographs: exported checkpoints trained on real labels, with boxes and classes as only input."""

from collections.abc import Mapping
from typing import Any

PRIORS = {"hico_det": "tin_hico_det_geometry", "vcoco": "tin_vcoco_geometry"}
"""Exported checkpoint by the dataset whose verbs it knows."""


def with_detector_scores(model: Mapping[str, Any], min_score: float) -> dict[str, Any]:
    """The config of a TIN model, told to believe a detector as far as it believes itself.

    The priors learned from annotated boxes, which are all certain. On photographs a pair's score is multiplied by both
    confidences (`score.lis="product"`), and every box above `min_score` counts.
    """
    score = {**model.get("score", {}), "lis": "product", "human_threshold": min_score, "object_threshold": min_score}
    return {**model, "score": score}


def origin_of_scores(boxes: str, dataset: str) -> str:
    """Description of the scores' origin.

    Args:
      boxes: what found the boxes, such as "YOLOv4-tiny".
      dataset: a key of `PRIORS`.
    """
    return (
        f"score = confidence of the person's box x confidence of the object's box ({boxes}) x how often people and "
        f"objects of these classes, with boxes placed like this, do this in {dataset}'s training labels "
        f"({PRIORS[dataset]}). The verbs were chosen without looking at the image."
    )
