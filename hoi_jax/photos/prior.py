"""Verb priors for photographs: exported checkpoints trained on real labels, whose only input is boxes and classes."""

from collections.abc import Mapping
from typing import Any

PRIORS = {"hico_det": "tin_hico_det_geometry", "vcoco": "tin_vcoco_geometry"}
"""Dataset of the verbs -> exported checkpoint."""


def with_detector_scores(model: Mapping[str, Any], min_score: float) -> dict[str, Any]:
    """The config of a TIN model with detector confidences in its scores.

    The priors were trained on annotated boxes, which are all certain. On photographs a pair's score is multiplied by
    both confidences (`score.lis="product"`), and every box above `min_score` is used.
    """
    score = {**model.get("score", {}), "lis": "product", "human_threshold": min_score, "object_threshold": min_score}
    return {**model, "score": score}


def origin_of_scores(boxes: str, dataset: str) -> str:
    """Description of the scores' origin.

    Args:
      boxes: origin of the boxes, such as "YOLOv4-tiny".
      dataset: a key of `PRIORS`.
    """
    return (
        f"score = confidence of the person's box x confidence of the object's box ({boxes}) x frequency of the verb "
        f"for boxes of these classes in this arrangement in {dataset}'s training labels "
        f"({PRIORS[dataset]}). The verbs were predicted without looking at the image."
    )
