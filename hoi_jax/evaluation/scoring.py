"""Which metrics are wanted, and all of them computed for one prediction store."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from hoi_jax.evaluation.annotated_pairs import agent_ap_over_pairs
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.image_level import evaluate_image_store, evaluate_mpii_store
from hoi_jax.evaluation.interactiveness_store import evaluate_interactiveness_store, evaluate_part_interactiveness
from hoi_jax.evaluation.nis import nis_reduction
from hoi_jax.evaluation.protocols import HoiProtocol, hoi_protocol
from hoi_jax.evaluation.relation_scores import evaluate_hoi_w_store
from hoi_jax.evaluation.result import EvaluationResult, merge
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.evaluation.stored import evaluate_actions_store, evaluate_store, role_ap_over_pairs
from hoi_jax.evaluation.subsets import SUBSETS, evaluate_subsets
from hoi_jax.vocab import Vocabulary

METRICS = ("hoi", "actions", "role_pairs", "agent_pairs", "interactiveness", "parts", "nis", "image", "mpii", "hoi_w")


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """How predictions are scored.

    Attributes:
      batch_size: pictures at a time.
      metrics: "hoi" (HOI-class mAP), "actions" (official V-COCO agent and role AP), "role_pairs" and "agent_pairs"
        (role and agent AP over annotated pairs only, for label files that hold nothing else), "interactiveness" (of
        whole bodies), "parts" (of body parts), "nis" (what suppression deleted), "image" (image-level mAP of HICO),
        "mpii" (mAP of MPII, one class per picture), "hoi_w" (HOI-W's mAP_rel).
      protocol: named HOI protocol.
      max_triplets: verb scores kept per picture, None = all.
      subsets: parts of the split (`subsets.SUBSETS`) on which all metrics are taken too.
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
    """Image-level labels where there are any, else visible pairs (a subset of those images)."""
    return "visible_pairs" if annotations.image_labels(len(vocabulary.hois)) is None else "image_labels"


def score(
    settings: EvaluationSettings,
    store: PredictionStore,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    use_nis: bool = True,
    published_interactiveness: Mapping[str, np.ndarray] | None = None,
    train: Annotations | None = None,
    prefer_image_labels: bool = False,
) -> EvaluationResult:
    """All metrics that the settings ask for, on the split and on the subsets of it.

    Args:
      use_nis: whether suppressed pairs are left out (of HOI and action scores; interactiveness looks at all pairs).
      published_interactiveness: see `evaluate_interactiveness_store`.
      train: training labels, for the few-shot classes of "image"; those without image-level labels are not used.
      prefer_image_labels: Known Object by image-level labels where there are any, whatever the protocol says.

    Raises:
      ValueError, DataError: what a metric needs is not in the predictions or the annotations.
    """

    def protocol_for(part: Annotations) -> HoiProtocol:
        protocol = hoi_protocol(settings.protocol)
        if not prefer_image_labels:
            return protocol
        return dataclasses.replace(protocol, known_object_source=known_object_source(part, vocabulary))

    few_shot = train if train is not None and train.counts["hoi_labels"].any() else None
    metrics: dict[str, Callable[[Annotations], EvaluationResult]] = {
        "hoi": lambda part: evaluate_store(store, part, vocabulary, protocol_for(part), use_nis=use_nis),
        "actions": lambda part: evaluate_actions_store(store, part, vocabulary, use_nis=use_nis),
        "role_pairs": lambda part: role_ap_over_pairs(store, part, vocabulary, use_nis=use_nis),
        "agent_pairs": lambda part: agent_ap_over_pairs(store, part, vocabulary, use_nis=use_nis),
        "interactiveness": lambda part: evaluate_interactiveness_store(
            store, part, vocabulary, published_interactiveness
        ),
        "parts": lambda part: evaluate_part_interactiveness(store, part, vocabulary),
        "nis": lambda part: nis_reduction(store, part, vocabulary),
        "image": lambda part: evaluate_image_store(store, part, train=few_shot),
        "mpii": lambda part: evaluate_mpii_store(store, part),
        "hoi_w": lambda part: evaluate_hoi_w_store(store, part, use_nis=use_nis),
    }

    def score_split(part: Annotations) -> EvaluationResult:
        return merge(*(metrics[name](part) for name in settings.metrics))

    whole = score_split(annotations)
    if not settings.subsets:
        return whole
    return merge(whole, evaluate_subsets(score_split, annotations, settings.subsets))
