"""The model's scores, and beside them those of what it must beat."""

import dataclasses

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.baselines import box_distance_interactiveness, frequency_baseline
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.evaluation.scoring import EvaluationSettings, score
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.vocab import Vocabulary


def score_all(
    store: PredictionStore,
    annotations: Annotations,
    train: Annotations | None,
    settings: EvaluationSettings,
    vocabulary: Vocabulary,
) -> dict[str, EvaluationResult]:
    """The model as it is, without NIS if it suppressed anything, and what it must beat.

    The class-frequency baseline pairs detections; it has no scores of whole pictures. Where interactiveness is asked
    for, box distance ranks the model's own pairs, and all pairs of detections.
    """
    results = {"model": score(settings, store, annotations, vocabulary, train=train)}
    if not store.pair_kept.all():
        results["without NIS"] = score(settings, store, annotations, vocabulary, use_nis=False, train=train)
    nearness = dataclasses.replace(settings, metrics=("interactiveness",))
    if "interactiveness" in settings.metrics:
        results["own by distance"] = score(nearness, box_distance_interactiveness(store), annotations, vocabulary)
    of_pairs = tuple(name for name in settings.metrics if name not in ("image", "mpii"))
    labelled = bool(vocabulary.hois) or annotations.vocabulary_name == vocabulary.name
    if of_pairs and train is not None and labelled and len(annotations["detections_class"]):
        baseline = frequency_baseline(train, annotations, vocabulary)
        of_pairs_only = dataclasses.replace(settings, metrics=of_pairs)
        results["class frequency"] = score(of_pairs_only, baseline, annotations, vocabulary)
        if "interactiveness" in settings.metrics:
            near = box_distance_interactiveness(baseline)
            results["all by distance"] = score(nearness, near, annotations, vocabulary)
    return results
