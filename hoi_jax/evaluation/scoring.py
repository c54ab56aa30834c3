"""Which metrics an experiment asks for, and all of them computed for one prediction store."""

import dataclasses

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.protocols import hoi_protocol
from hoi_jax.evaluation.result import EvaluationResult, merge
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.evaluation.stored import evaluate_actions_store, evaluate_store, role_ap_over_pairs
from hoi_jax.vocab import Vocabulary

METRICS = ("hoi", "actions", "role_pairs")


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """How predictions are scored.

    Attributes:
      batch_size: pictures at a time.
      metrics: "hoi" (HOI-class mAP), "actions" (official V-COCO agent and role AP), "role_pairs" (role AP over
        annotated pairs only, for label files that hold nothing else).
      protocol: named HOI protocol.
      max_triplets: verb scores kept per picture, None = all.
    """

    batch_size: int = 8
    metrics: tuple[str, ...] = ("hoi",)
    protocol: str = "official"
    max_triplets: int | None = None

    def __post_init__(self):
        if not self.metrics or set(self.metrics) - set(METRICS):
            raise ValueError(f"metrics is {self.metrics}, expected some of {METRICS}")
        hoi_protocol(self.protocol)


def score(
    settings: EvaluationSettings,
    store: PredictionStore,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    use_nis: bool = True,
) -> EvaluationResult:
    """All metrics that the settings ask for. `use_nis`: whether suppressed pairs are left out."""
    results = []
    for name in settings.metrics:
        if name == "hoi":
            protocol = hoi_protocol(settings.protocol)
            results.append(evaluate_store(store, annotations, vocabulary, protocol, use_nis=use_nis))
        elif name == "actions":
            results.append(evaluate_actions_store(store, annotations, vocabulary, use_nis=use_nis))
        else:
            results.append(role_ap_over_pairs(store, annotations, vocabulary, use_nis=use_nis))
    return merge(*results)
