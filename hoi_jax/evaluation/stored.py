"""Scores of a prediction store against the annotations of a split: hop 8 of the walk of a batch.

Stores and annotations hold continuous corners. The official evaluators count in inclusive pixels; boxes are
moved into their frame here, once, so that IoU with +1 there equals plain IoU of ours.
"""

import dataclasses

import numpy as np

from hoi_jax.evaluation.action_frame import action_detections, action_truth, has_whole_action_labels
from hoi_jax.evaluation.alignment import ZERO_BASED, align
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.ap import mean_defined
from hoi_jax.evaluation.hico_det import (
    PairDetections,
    PairTruth,
    RankedHits,
    evaluate_hoi,
    rank_detections,
    score_classes,
)
from hoi_jax.evaluation.pair_frame import ONE_BASED, distinct_pairs, hoi_labels, pair_detections, pair_truth
from hoi_jax.evaluation.protocols import ActionProtocol, HoiProtocol, hoi_protocol
from hoi_jax.evaluation.result import EvaluationResult, merge
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.evaluation.vcoco import (
    evaluate_actions,
    headline_roles,
    role_verbs,
)
from hoi_jax.vocab import Vocabulary, get_vocabulary


def evaluate(
    store: PredictionStore,
    annotations: Annotations,
    *,
    protocol: str | HoiProtocol = "official",
    use_nis: bool = True,
) -> EvaluationResult:
    """Every score that the annotations allow for the vocabulary of the store.

    HOI style: `evaluate_store`. Action style: `evaluate_actions_store` where persons are labelled for all actions, and
    `role_ap_over_pairs` where pairs carry verbs.

    Args:
      protocol: of HOI style; a preset name or options.
      use_nis: drop the pairs that the system suppressed as non-interactive.

    Raises:
      ValueError: the annotations have no labels in the store's vocabulary.
    """
    vocabulary = get_vocabulary(store.vocabulary_name)
    pairs_fit = annotations.vocabulary_name == vocabulary.name
    if pairs_fit and not vocabulary.actions:
        hoi = hoi_protocol(protocol) if isinstance(protocol, str) else protocol
        return evaluate_store(store, annotations, vocabulary, hoi, use_nis=use_nis)
    results = []
    if annotations.actions_vocabulary_name == vocabulary.name and has_whole_action_labels(annotations):
        results.append(evaluate_actions_store(store, annotations, vocabulary, use_nis=use_nis))
    if pairs_fit and len(annotations["pairs_verb"]):
        results.append(role_ap_over_pairs(store, annotations, vocabulary, use_nis=use_nis))
    if not results:
        raise ValueError(
            f"predictions speak {vocabulary.name!r}; the annotations have pairs in "
            f"{annotations.vocabulary_name!r}, persons in {annotations.actions_vocabulary_name!r}"
        )
    return merge(*results)


def evaluate_store(
    store: PredictionStore,
    annotations: Annotations,
    vocabulary: Vocabulary,
    protocol: HoiProtocol | None = None,
    *,
    use_nis: bool = True,
) -> EvaluationResult:
    """HOI detection mAP of a store, for vocabularies of HOI classes (hico_det, hoi_scenes).

    Verb and object class of a prediction name its HOI class; combinations that do not exist are ignored and
    counted. See `hico_det.evaluate_hoi` for the metrics.
    """
    truth, detections, manifest = hoi_inputs(store, annotations, vocabulary, use_nis=use_nis)
    result = evaluate_hoi(
        truth,
        detections,
        vocabulary,
        protocol or hoi_protocol("official"),
        image_labels=annotations.image_labels(len(vocabulary.hois)),
    )
    return dataclasses.replace(result, manifest={**result.manifest, **manifest})


def hoi_inputs(
    store: PredictionStore, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool = True
) -> tuple[PairTruth, PairDetections, dict[str, object]]:
    """What `evaluate_hoi` takes, from a store: (truth, detections, manifest of the alignment), in the official frame.

    Raises:
      ValueError: an annotated pair is no class of the vocabulary.
    """
    aligned = align(store, annotations, use_nis)
    table = vocabulary.hoi_table
    object_class = store.pair_object_class[store.trip_pair[aligned.trip_rows]]
    verb = store.trip_verb[aligned.trip_rows]
    label = np.where(object_class >= 0, table[verb, object_class], -1)
    detections = pair_detections(store, aligned, label)

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


PAIRS_PROTOCOL = HoiProtocol("role AP over annotated pairs", ap="area", plus_one=False, prediction_shift=0.0)


def role_ap_over_pairs(
    store: PredictionStore, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool = True
) -> EvaluationResult:
    """Role AP from annotated (person, object, verb) pairs only. This is NOT the official AP_role.

    For label files that list nothing but pairs: people without an annotated object are lost there, so neither
    scenario 1 nor 2 can be told. A prediction is right when both boxes reach IoU 0.5 and the verb agrees; area AP
    per role class, mean over the classes that have a pair. Identical annotations of a pair count once.

    Returns:
      metric `pairs_role_ap/R` with R role classes (V-COCO: 24, without `point_instr`); per class `pairs_role_ap/ap`
      and `pairs_role_ap/num_positives` over all role classes in the order of `vcoco.role_verbs`.
    """
    truth, ranked, manifest = ranked_role_pairs(store, annotations, vocabulary, use_nis=use_nis)
    roles = role_verbs(vocabulary)
    positives = np.bincount(truth.label, minlength=len(roles))
    ap, _ = score_classes(ranked, None, positives, PAIRS_PROTOCOL)
    headline = headline_roles(vocabulary)
    return EvaluationResult(
        {f"pairs_role_ap/{headline.sum()}": mean_defined(ap[headline])},
        {"pairs_role_ap/ap": ap, "pairs_role_ap/num_positives": positives},
        {
            "vocabulary": vocabulary.name,
            "pairs_protocol": dataclasses.asdict(PAIRS_PROTOCOL),
            "role_classes": [vocabulary.verbs[verb] for verb in roles],
            "role_classes_with_pairs": int((positives[headline] > 0).sum()),
            "num_images": annotations.num_images,
            **manifest,
        },
    )


def ranked_role_pairs(
    store: PredictionStore, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool = True
) -> tuple[PairTruth, RankedHits, dict[str, object]]:
    """Annotated pairs by role class (order of `vcoco.role_verbs`), all predictions ranked against them, manifest."""
    aligned = align(store, annotations, use_nis)
    roles = np.array(role_verbs(vocabulary), np.int64)
    role_of_verb = np.full(len(vocabulary.verbs), -1)
    role_of_verb[roles] = np.arange(len(roles))
    truth = distinct_pairs(pair_truth(annotations, role_of_verb[annotations["pairs_verb"]]))
    label = role_of_verb[store.trip_verb[aligned.trip_rows]]
    ranked = rank_detections(truth, pair_detections(store, aligned, label), len(roles), PAIRS_PROTOCOL)
    return truth, ranked, aligned.manifest


def evaluate_actions_store(
    store: PredictionStore,
    annotations: Annotations,
    vocabulary: Vocabulary,
    protocol: ActionProtocol | None = None,
    *,
    use_nis: bool = True,
) -> EvaluationResult:
    """Official V-COCO scores of a store (also for hoi_scenes_actions); see `vcoco.evaluate_actions`.

    Raises:
      ValueError: no person is labelled, or only for some actions.
    """
    if not has_whole_action_labels(annotations):
        raise ValueError("persons are not labelled for all actions; only `role_ap_over_pairs` can be told")
    aligned = align(store, annotations, use_nis)
    truth = action_truth(annotations, vocabulary)
    detections = action_detections(store, aligned, vocabulary)
    result = evaluate_actions(truth, detections, vocabulary, protocol)
    return dataclasses.replace(result, manifest={**result.manifest, **aligned.manifest})
