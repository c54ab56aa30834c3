"""Scores of a prediction store against the annotations of a split: hop 8 of the walk of a batch.

Stores and annotations hold continuous corners. The official evaluators count in inclusive pixels; boxes are
moved into their frame here, once, so that IoU with +1 there equals plain IoU of ours.
"""

import dataclasses
import importlib.metadata
import platform

import numpy as np
from jaxtyping import Float, Int

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.ap import mean_defined
from hoi_jax.evaluation.hico_det import (
    PairDetections,
    PairTruth,
    evaluate_hoi,
    rank_detections,
    score_classes,
)
from hoi_jax.evaluation.protocols import ActionProtocol, HoiProtocol, hoi_protocol
from hoi_jax.evaluation.result import EvaluationResult, merge
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.evaluation.vcoco import (
    ActionDetections,
    ActionTruth,
    evaluate_actions,
    headline_roles,
    role_verbs,
)
from hoi_jax.io import DataError
from hoi_jax.vocab import Vocabulary, get_vocabulary

_ONE_BASED = np.array([1.0, 1.0, 0.0, 0.0])
_ZERO_BASED = np.array([0.0, 0.0, -1.0, -1.0])


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


@dataclasses.dataclass(frozen=True)
class _Aligned:
    """The part of a store that is counted, with image rows of the annotations."""

    pair_rows: Int[np.ndarray, " p"]
    pair_image: Int[np.ndarray, " p"]
    trip_rows: Int[np.ndarray, " t"]
    trip_pair: Int[np.ndarray, " t"]
    agent_rows: Int[np.ndarray, " m"]
    agent_image: Int[np.ndarray, " m"]
    manifest: dict[str, object]


def _align(store: PredictionStore, annotations: Annotations, use_nis: bool) -> _Aligned:
    """Drops pairs of unknown images and, with NIS, suppressed pairs; counts both, and images without prediction."""
    _check_classes(store, get_vocabulary(store.vocabulary_name))
    row_of = {int(image_id): row for row, image_id in enumerate(annotations.image_id)}
    image = np.array([row_of.get(int(image_id), -1) for image_id in store.image_id], np.int64)
    pair_image, agent_image = image[store.pair_image], image[store.agent_image]
    pair_used = (pair_image >= 0) & (store.pair_kept | (not use_nis))
    new_row = np.cumsum(pair_used) - 1
    trip_rows = np.flatnonzero(pair_used[store.trip_pair])
    agent_rows = np.flatnonzero(agent_image >= 0)
    manifest = {
        "annotations_fingerprint": annotations.fingerprint,
        "use_nis": use_nis,
        "pairs_in_store": len(store.pair_kept),
        "pairs_suppressed": int((~store.pair_kept & (pair_image >= 0)).sum()),
        "unknown_images_ignored": int((image < 0).sum()),
        "images_without_predictions_entry": int(annotations.num_images - len(np.unique(image[image >= 0]))),
        "predictions": dict(store.manifest),
        "versions": _versions(),
    }
    pair_rows = np.flatnonzero(pair_used)
    return _Aligned(
        pair_rows,
        pair_image[pair_rows],
        trip_rows,
        new_row[store.trip_pair[trip_rows]],
        agent_rows,
        agent_image[agent_rows],
        manifest,
    )


def _check_classes(store: PredictionStore, vocabulary: Vocabulary) -> None:
    for name, limit in (("trip_verb", len(vocabulary.verbs)), ("pair_object_class", len(vocabulary.objects))):
        values = getattr(store, name)
        if len(values) and values.max() >= limit:
            raise DataError(f"predictions: field {name!r} has {values.max()}, {vocabulary.name} ends at {limit - 1}")
    if len(store.agent_image) and store.agent_scores.shape[1] != len(vocabulary.verbs):
        width = store.agent_scores.shape[1]
        raise DataError(f"predictions: field 'agent_scores' has {width} verbs, not {len(vocabulary.verbs)}")


def _versions() -> dict[str, str]:
    try:
        own = importlib.metadata.version("hoi_jax")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"  # run from a source folder
    return {"hoi_jax": own, "numpy": np.__version__, "python": platform.python_version()}


def _pair_detections(store: PredictionStore, aligned: _Aligned, label: np.ndarray) -> PairDetections:
    return PairDetections(
        aligned.pair_image,
        store.pair_human_xyxy_px[aligned.pair_rows].astype(np.float64),
        store.pair_object_xyxy_px[aligned.pair_rows].astype(np.float64),
        aligned.trip_pair,
        label,
        store.trip_score[aligned.trip_rows],
    )


def _pair_truth(annotations: Annotations, label: np.ndarray) -> PairTruth:
    """Annotated pairs with an object whose `label` [rows of pairs] is not -1, in continuous corners."""
    human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
    used = np.flatnonzero((obj >= 0) & (label >= 0))
    boxes = annotations["instances_xyxy_px"].astype(np.float64)
    return PairTruth(
        annotations.num_images,
        annotations.image_rows("pairs")[used],
        boxes[human[used]],
        boxes[obj[used]],
        label[used],
    )


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
    protocol = protocol or hoi_protocol("official")
    aligned = _align(store, annotations, use_nis)
    table = vocabulary.hoi_table
    object_class = store.pair_object_class[store.trip_pair[aligned.trip_rows]]
    verb = store.trip_verb[aligned.trip_rows]
    label = np.where(object_class >= 0, table[verb, object_class], -1)
    detections = _pair_detections(store, aligned, label)

    obj = annotations.instance_rows("pairs_object")
    classes = annotations["instances_class"][obj] if len(obj) else obj
    truth_label = np.where(obj >= 0, table[annotations["pairs_verb"], classes], -1)
    if np.any((truth_label < 0) & (obj >= 0)):
        row = int(np.flatnonzero((truth_label < 0) & (obj >= 0))[0])
        verb_name = vocabulary.verbs[annotations["pairs_verb"][row]]
        object_name = vocabulary.objects[classes[row]]
        raise ValueError(f"annotated pair {row} is {verb_name!r} {object_name!r}, no class of {vocabulary.name}")
    truth = _pair_truth(annotations, truth_label)
    result = evaluate_hoi(
        dataclasses.replace(
            truth,
            human_xyxy_px=truth.human_xyxy_px + _ONE_BASED,
            object_xyxy_px=truth.object_xyxy_px + _ONE_BASED,
        ),
        dataclasses.replace(
            detections,
            pair_human_xyxy_px=detections.pair_human_xyxy_px + _ZERO_BASED,
            pair_object_xyxy_px=detections.pair_object_xyxy_px + _ZERO_BASED,
        ),
        vocabulary,
        protocol,
        image_labels=annotations.image_labels(len(vocabulary.hois)),
    )
    return dataclasses.replace(result, manifest={**result.manifest, **aligned.manifest})


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
    aligned = _align(store, annotations, use_nis)
    roles = np.array(role_verbs(vocabulary), np.int64)
    role_of_verb = np.full(len(vocabulary.verbs), -1)
    role_of_verb[roles] = np.arange(len(roles))
    truth = _distinct(_pair_truth(annotations, role_of_verb[annotations["pairs_verb"]]))
    label = role_of_verb[store.trip_verb[aligned.trip_rows]]
    ranked = rank_detections(truth, _pair_detections(store, aligned, label), len(roles), PAIRS_PROTOCOL)
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
            **aligned.manifest,
        },
    )


def _distinct(truth: PairTruth) -> PairTruth:
    table = np.column_stack([truth.image, truth.label, truth.human_xyxy_px, truth.object_xyxy_px])
    rows = np.sort(np.unique(table, axis=0, return_index=True)[1]) if len(table) else np.zeros(0, np.int64)
    return PairTruth(
        truth.num_images,
        truth.image[rows],
        truth.human_xyxy_px[rows],
        truth.object_xyxy_px[rows],
        truth.label[rows],
    )


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
    aligned = _align(store, annotations, use_nis)
    truth = action_truth(annotations, vocabulary)
    detections = _action_detections(store, aligned, vocabulary)
    result = evaluate_actions(truth, detections, vocabulary, protocol)
    return dataclasses.replace(result, manifest={**result.manifest, **aligned.manifest})


def has_whole_action_labels(annotations: Annotations) -> bool:
    """Whether persons carry the labels that the official score needs.

    Labels rebuilt from a list of pairs say nothing of actions without an object (-1 for everybody), and lack the
    people without one: a score from them must not carry the official name.
    """
    labelled = annotations["persons_actions"] >= 0
    return bool(labelled.any() and (labelled.all(1) | ~labelled.any(1)).all())


def action_truth(annotations: Annotations, vocabulary: Vocabulary) -> ActionTruth:
    """People of a split in the frame of the official script.

    As there, boxes become inclusive (x2 - 1, but at least x1), are clipped to the picture, and people not larger
    than one pixel are dropped. People of `instances` without a row in `persons` are "not labelled".
    """
    boxes = annotations["instances_xyxy_px"].astype(np.float64)
    boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:] - 1, boxes[:, :2])], axis=1)
    image = annotations.image_rows("instances")
    limit = annotations.original_hw_px[image][:, [1, 0, 1, 0]] - 1.0
    boxes = np.clip(boxes, 0.0, limit)
    labelled = annotations.instance_rows("persons_instance")
    is_person = annotations["instances_class"] == vocabulary.human_class
    is_person[labelled] = True
    people = np.flatnonzero(is_person & (boxes[:, 2:] > boxes[:, :2]).all(1))
    row_of = np.full(len(boxes), -1)
    row_of[people] = np.arange(len(people))

    labels = np.full((len(people), len(vocabulary.actions)), -1, np.int64)
    roles = annotations.instance_rows("persons_roles")
    role_boxes = np.full((len(people), len(vocabulary.actions), roles.shape[-1], 4), np.nan)
    kept = row_of[labelled] >= 0
    labels[row_of[labelled[kept]]] = annotations["persons_actions"][kept]
    person, action, slot = np.nonzero(roles[kept] >= 0)
    role_boxes[row_of[labelled[kept]][person], action, slot] = boxes[roles[kept][person, action, slot]]
    return ActionTruth(annotations.num_images, image[people], boxes[people], labels, role_boxes)


def _action_detections(store: PredictionStore, aligned: _Aligned, vocabulary: Vocabulary) -> ActionDetections:
    """One detection per distinct human box of an image, carrying the roles of all its pairs, and one per agent.

    Agent scores are those of the agents. A store without agents takes, per person and action, the best score
    among the pairs of that person (as QPIC's export does for actions with two roles).
    """
    human = store.pair_human_xyxy_px[aligned.pair_rows].astype(np.float64)
    keys = np.column_stack([aligned.pair_image, human])
    people, person_of_pair = np.unique(keys, axis=0, return_inverse=True)
    person = person_of_pair.reshape(-1)[aligned.trip_pair]
    verb, score = store.trip_verb[aligned.trip_rows], store.trip_score[aligned.trip_rows]
    action, slot = np.array(vocabulary.verb_action)[verb], np.array(vocabulary.verb_role)[verb]

    agent = np.full((len(people), len(vocabulary.actions)), np.nan, np.float32)
    if len(aligned.agent_rows) == 0:
        np.fmax.at(agent, (person, action), score)
    spoken = _action_scores(store.agent_scores[aligned.agent_rows], vocabulary)
    role = np.flatnonzero(slot >= 0)
    pair = aligned.pair_rows[aligned.trip_pair[role]]
    agent_boxes = store.agent_xyxy_px[aligned.agent_rows].astype(np.float64)
    return ActionDetections(
        np.concatenate([people[:, 0].astype(np.int64), aligned.agent_image]),
        np.concatenate([people[:, 1:], agent_boxes]) + _ZERO_BASED,
        np.concatenate([agent, spoken]),
        person[role],
        action[role],
        slot[role],
        store.pair_object_xyxy_px[pair].astype(np.float64) + _ZERO_BASED,
        score[role],
    )


def _action_scores(verb_scores: Float[np.ndarray, "m v"], vocabulary: Vocabulary) -> Float[np.ndarray, "m actions"]:
    """Scores per action from scores per verb: the best of the verbs that belong to the action."""
    scores = np.full((len(verb_scores), len(vocabulary.actions)), np.nan, np.float32)
    if len(verb_scores):
        rows = np.arange(len(verb_scores))[:, None]
        np.fmax.at(scores, (rows, np.array(vocabulary.verb_action)[None]), verb_scores)
    return scores
