"""Scores of a prediction file against the annotations of a split.

Predictions and annotations have continuous corners, and the official evaluators use inclusive pixels. Boxes are
converted here, once, so that IoU with +1 equals plain IoU of continuous corners.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.subsets import SUBSETS, evaluate_subsets
from hoi_jax.evaluation.metrics.alignment import (
    ONE_BASED,
    ZERO_BASED,
    action_detections,
    action_truth,
    align,
    has_whole_action_labels,
    hoi_labels,
    pair_detections,
    pair_truth,
)
from hoi_jax.evaluation.metrics.annotated_pairs import agent_ap_over_pairs, role_ap_over_pairs
from hoi_jax.evaluation.metrics.hico import evaluate_image_predictions, evaluate_mpii_predictions
from hoi_jax.evaluation.metrics.hico_det import (
    PairDetections,
    PairTruth,
    evaluate_hoi,
)
from hoi_jax.evaluation.metrics.hoi_w import evaluate_hoi_w_predictions
from hoi_jax.evaluation.metrics.interactiveness import (
    evaluate_interactiveness_predictions,
    evaluate_part_interactiveness,
)
from hoi_jax.evaluation.metrics.protocols import ActionProtocol, HoiProtocol, hoi_protocol
from hoi_jax.evaluation.metrics.result import EvaluationResult, merge
from hoi_jax.evaluation.metrics.suppression import nis_reduction
from hoi_jax.evaluation.metrics.vcoco import (
    evaluate_actions,
)
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary, get_vocabulary


def evaluate(
    predictions: Predictions,
    annotations: Annotations,
    *,
    protocol: str | HoiProtocol = "official",
    use_nis: bool = True,
) -> EvaluationResult:
    """All official scores that the annotations allow for the vocabulary of the predictions.

    HOI style: `evaluate_hoi_predictions`. Action style: `evaluate_action_predictions` where people are labelled for
    all actions, and `role_ap_over_pairs` where pairs carry verbs.

    Args:
      protocol: HOI protocol, as a preset name or as options.
      use_nis: drop the pairs that the system suppressed as non-interactive.

    Raises:
      ValueError: the annotations have no labels in the vocabulary of the predictions.
    """
    vocabulary = get_vocabulary(predictions.vocabulary_name)
    pairs_fit = annotations.vocabulary_name == vocabulary.name
    if pairs_fit and not vocabulary.actions:
        hoi = hoi_protocol(protocol) if isinstance(protocol, str) else protocol
        return evaluate_hoi_predictions(predictions, annotations, vocabulary, hoi, use_nis=use_nis)
    results = []
    if annotations.actions_vocabulary_name == vocabulary.name and has_whole_action_labels(annotations):
        results.append(evaluate_action_predictions(predictions, annotations, vocabulary, use_nis=use_nis))
    if pairs_fit and len(annotations["pairs_verb"]):
        results.append(role_ap_over_pairs(predictions, annotations, vocabulary, use_nis=use_nis))
    if not results:
        raise ValueError(
            f"predictions use vocabulary {vocabulary.name!r}; the annotations have pairs in "
            f"{annotations.vocabulary_name!r}, persons in {annotations.actions_vocabulary_name!r}"
        )
    return merge(*results)


def evaluate_hoi_predictions(
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    protocol: HoiProtocol | None = None,
    *,
    use_nis: bool = True,
) -> EvaluationResult:
    """HOI detection mAP of predictions, for vocabularies of HOI classes (hico_det, hoi_scenes).

    The HOI class of a prediction follows from its verb and object class; combinations that do not exist are ignored
    and counted. See `hico_det.evaluate_hoi` for the metrics.
    """
    truth, detections, manifest = hoi_inputs(predictions, annotations, vocabulary, use_nis=use_nis)
    result = evaluate_hoi(
        truth,
        detections,
        vocabulary,
        protocol or hoi_protocol("official"),
        image_labels=annotations.image_labels(len(vocabulary.hois)),
    )
    return dataclasses.replace(result, manifest={**result.manifest, **manifest})


def hoi_inputs(
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool = True
) -> tuple[PairTruth, PairDetections, dict[str, object]]:
    """Inputs of `evaluate_hoi` in official coordinates: (truth, detections, manifest of the alignment).

    Raises:
      ValueError: an annotated pair is not a class of the vocabulary.
    """
    aligned = align(predictions, annotations, use_nis)
    table = vocabulary.hoi_table
    object_class = predictions.pair_object_class[predictions.triplet_pair[aligned.triplet_rows]]
    verb = predictions.triplet_verb[aligned.triplet_rows]
    label = np.where(object_class >= 0, table[verb, object_class], -1)
    detections = pair_detections(predictions, aligned, label)

    truth = pair_truth(annotations, hoi_labels(annotations, vocabulary))
    return (
        dataclasses.replace(
            truth,
            human_xyxy_px=truth.human_xyxy_px + ONE_BASED,
            object_xyxy_px=truth.object_xyxy_px + ONE_BASED,
        ),
        dataclasses.replace(
            detections,
            pair_human_xyxy_px=detections.pair_human_xyxy_px + ZERO_BASED,
            pair_object_xyxy_px=detections.pair_object_xyxy_px + ZERO_BASED,
        ),
        aligned.manifest,
    )


def evaluate_action_predictions(
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    protocol: ActionProtocol | None = None,
    *,
    use_nis: bool = True,
) -> EvaluationResult:
    """Official V-COCO scores of predictions (also for hoi_scenes_actions); see `vcoco.evaluate_actions`.

    Raises:
      ValueError: no person is labelled, or only for some actions.
    """
    if not has_whole_action_labels(annotations):
        raise ValueError("persons are not labelled for all actions, so only `role_ap_over_pairs` can be computed")
    aligned = align(predictions, annotations, use_nis)
    truth = action_truth(annotations, vocabulary)
    detections = action_detections(predictions, aligned, vocabulary)
    result = evaluate_actions(truth, detections, vocabulary, protocol)
    return dataclasses.replace(result, manifest={**result.manifest, **aligned.manifest})


# Scoring settings, and all requested metrics of one prediction file.

METRICS = ("hoi", "actions", "role_pairs", "agent_pairs", "interactiveness", "parts", "nis", "image", "mpii", "hoi_w")


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Scoring settings.

    Attributes:
      batch_size: images per batch.
      metrics: "hoi" (HOI-class mAP), "actions" (official V-COCO agent and role AP), "role_pairs" and "agent_pairs"
        (role and agent AP over annotated pairs only, for label files that list only pairs), "interactiveness" (of
        whole bodies), "parts" (of body parts), "nis" (shares of suppressed pairs), "image" (image-level mAP of HICO),
        "mpii" (mAP of MPII, one class per image), "hoi_w" (HOI-W's mAP_rel).
      protocol: name of the HOI protocol.
      max_triplets: maximum number of verb scores per image, None = all.
      subsets: parts of the split (`subsets.SUBSETS`) on which all metrics are computed as well.
    """

    batch_size: int = 8
    metrics: tuple[str, ...] = ("hoi",)
    protocol: str = "official"
    max_triplets: int | None = None
    subsets: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.metrics or set(self.metrics) - set(METRICS):
            raise ValueError(f"metrics is {self.metrics}, expected some of {METRICS}")
        if set(self.subsets) - set(SUBSETS):
            raise ValueError(f"subsets is {self.subsets}, expected some of {tuple(SUBSETS)}")
        hoi_protocol(self.protocol)


def known_object_source(annotations: Annotations, vocabulary: Vocabulary) -> Literal["image_labels", "visible_pairs"]:
    """Return "image_labels" where the annotations have them, else "visible_pairs" (a subset of those images)."""
    return "visible_pairs" if annotations.image_labels(len(vocabulary.hois)) is None else "image_labels"


def score(
    settings: EvaluationSettings,
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    use_nis: bool = True,
    published_interactiveness: Mapping[str, np.ndarray] | None = None,
    train: Annotations | None = None,
) -> EvaluationResult:
    """All metrics of the settings, on the split and on its subsets.

    Args:
      use_nis: whether suppressed pairs are left out of HOI and action scores; interactiveness includes all pairs.
      published_interactiveness: see `evaluate_interactiveness_predictions`.
      train: training labels, for the few-shot classes of "image"; ignored without image-level labels.

    Raises:
      ValueError, DataError: predictions or annotations lack something that a metric needs.
    """

    def protocol_for(part: Annotations) -> HoiProtocol:
        source = known_object_source(part, vocabulary)
        return dataclasses.replace(hoi_protocol(settings.protocol), known_object_source=source)

    few_shot = train if train is not None and train.counts["hoi_labels"].any() else None
    metrics: dict[str, Callable[[Annotations], EvaluationResult]] = {
        "hoi": lambda part: evaluate_hoi_predictions(
            predictions, part, vocabulary, protocol_for(part), use_nis=use_nis
        ),
        "actions": lambda part: evaluate_action_predictions(predictions, part, vocabulary, use_nis=use_nis),
        "role_pairs": lambda part: role_ap_over_pairs(predictions, part, vocabulary, use_nis=use_nis),
        "agent_pairs": lambda part: agent_ap_over_pairs(predictions, part, vocabulary, use_nis=use_nis),
        "interactiveness": lambda part: evaluate_interactiveness_predictions(
            predictions, part, vocabulary, published_interactiveness
        ),
        "parts": lambda part: evaluate_part_interactiveness(predictions, part, vocabulary),
        "nis": lambda part: nis_reduction(predictions, part, vocabulary),
        "image": lambda part: evaluate_image_predictions(predictions, part, train=few_shot),
        "mpii": lambda part: evaluate_mpii_predictions(predictions, part),
        "hoi_w": lambda part: evaluate_hoi_w_predictions(predictions, part, use_nis=use_nis),
    }

    def score_split(part: Annotations) -> EvaluationResult:
        return merge(*(metrics[name](part) for name in settings.metrics))

    whole = score_split(annotations)
    if not settings.subsets:
        return whole
    return merge(whole, evaluate_subsets(score_split, annotations, settings.subsets))
