"""Alignment of prediction rows with the images of a split."""

import dataclasses
import importlib.metadata
import platform

import numpy as np
from jaxtyping import Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth
from hoi_jax.evaluation.metrics.vcoco import ActionDetections, ActionTruth
from hoi_jax.io import DataError
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary, get_vocabulary

ZERO_BASED = np.array([0.0, 0.0, -1.0, -1.0])
"""Offset from continuous corners to 0-based inclusive pixels."""


@dataclasses.dataclass(frozen=True)
class Aligned:
    """The prediction rows that are scored, with the image rows of the annotations they belong to."""

    pair_rows: Int[np.ndarray, " p"]
    pair_image: Int[np.ndarray, " p"]
    triplet_rows: Int[np.ndarray, " t"]
    triplet_pair: Int[np.ndarray, " t"]
    agent_rows: Int[np.ndarray, " m"]
    agent_image: Int[np.ndarray, " m"]
    manifest: dict[str, object]

    @property
    def provenance(self) -> dict[str, object]:
        """The manifest without `use_nis`, for metrics that include suppressed pairs in any case."""
        return {name: value for name, value in self.manifest.items() if name != "use_nis"}


def align(predictions: Predictions, annotations: Annotations, use_nis: bool) -> Aligned:
    """Drop rows of unknown images and, with NIS, suppressed verb scores; count both.

    A suppressed pair loses its verbs but keeps its `no_interaction` score, with which the suppression agrees
    (TIN's authors suppress only the 520 real HOI classes of HICO-DET).
    """
    vocabulary = get_vocabulary(predictions.vocabulary_name)
    _check_classes(predictions, vocabulary)
    row_of = {int(image_id): row for row, image_id in enumerate(annotations.image_id)}
    image = np.array([row_of.get(int(image_id), -1) for image_id in predictions.image_id], np.int64)
    pair_image, agent_image = image[predictions.pair_image], image[predictions.agent_image]
    pair_used = (pair_image >= 0) & (predictions.pair_nis_keep | (not use_nis))
    spared = (predictions.triplet_verb == vocabulary.no_interaction) & (pair_image >= 0)[predictions.triplet_pair]
    triplet_rows = np.flatnonzero(pair_used[predictions.triplet_pair] | spared)
    pair_used[predictions.triplet_pair[triplet_rows]] = True
    new_row = np.cumsum(pair_used) - 1
    agent_rows = np.flatnonzero(agent_image >= 0)
    manifest = {
        "annotations_fingerprint": annotations.fingerprint,
        "use_nis": use_nis,
        "pairs_in_predictions": len(predictions.pair_nis_keep),
        "pairs_suppressed": int((~predictions.pair_nis_keep & (pair_image >= 0)).sum()),
        "unknown_images_ignored": int((image < 0).sum()),
        "images_without_predictions_entry": int(annotations.num_images - len(np.unique(image[image >= 0]))),
        "predictions": dict(predictions.manifest),
        "versions": versions(),
    }
    pair_rows = np.flatnonzero(pair_used)
    return Aligned(
        pair_rows,
        pair_image[pair_rows],
        triplet_rows,
        new_row[predictions.triplet_pair[triplet_rows]],
        agent_rows,
        agent_image[agent_rows],
        manifest,
    )


def _check_classes(predictions: Predictions, vocabulary: Vocabulary) -> None:
    for name, limit in (("triplet_verb", len(vocabulary.verbs)), ("pair_object_class", len(vocabulary.objects))):
        values = getattr(predictions, name)
        if len(values) and values.max() >= limit:
            raise DataError(f"predictions: field {name!r} has {values.max()}; {vocabulary.name} ends at {limit - 1}")
    if len(predictions.agent_image) and predictions.agent_scores.shape[1] != len(vocabulary.verbs):
        width = predictions.agent_scores.shape[1]
        raise DataError(f"predictions: field 'agent_scores' has {width} verbs, not {len(vocabulary.verbs)}")


def versions() -> dict[str, str]:
    """Software versions of a result."""
    try:
        own = importlib.metadata.version("hoi_jax")
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"  # run from a source folder
    return {"hoi_jax": own, "numpy": np.__version__, "python": platform.python_version()}


# Predictions and annotations as flat arrays of pairs, in continuous corners.

ONE_BASED = np.array([1.0, 1.0, 0.0, 0.0])
"""Offset from continuous corners to 1-based inclusive pixels."""


def pair_detections(predictions: Predictions, aligned: Aligned, label: Int[np.ndarray, " t"]) -> PairDetections:
    """The scored pairs of the predictions; `label` is the class of each scored verb, -1 = none."""
    return PairDetections(
        aligned.pair_image,
        predictions.pair_human_xyxy_px[aligned.pair_rows].astype(np.float64),
        predictions.pair_object_xyxy_px[aligned.pair_rows].astype(np.float64),
        aligned.triplet_pair,
        label,
        predictions.triplet_score[aligned.triplet_rows],
    )


def pair_truth(annotations: Annotations, label: Int[np.ndarray, " rows"]) -> PairTruth:
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


def distinct_pairs(truth: PairTruth) -> PairTruth:
    """Identical rows (image, class, both boxes) once, in the order of their first occurrence."""
    table = np.column_stack([truth.image, truth.label, truth.human_xyxy_px, truth.object_xyxy_px])
    rows = np.sort(np.unique(table, axis=0, return_index=True)[1]) if len(table) else np.zeros(0, np.int64)
    return PairTruth(
        truth.num_images,
        truth.image[rows],
        truth.human_xyxy_px[rows],
        truth.object_xyxy_px[rows],
        truth.label[rows],
    )


def hoi_labels(annotations: Annotations, vocabulary: Vocabulary) -> Int[np.ndarray, " rows"]:
    """HOI class of every annotated pair row, -1 for a row without object.

    Raises:
      ValueError: a verb and an object form no class of the vocabulary.
    """
    obj = annotations.instance_rows("pairs_object")
    verb, object_class = annotations["pairs_verb"], annotations["instances_class"][obj] if len(obj) else obj
    label = np.where(obj >= 0, vocabulary.hoi_table[verb, object_class], -1)
    unknown = np.flatnonzero((label < 0) & (obj >= 0))
    if len(unknown):
        row = int(unknown[0])
        name = f"{vocabulary.verbs[verb[row]]!r} {vocabulary.objects[object_class[row]]!r}"
        raise ValueError(f"annotated pair {row} is {name}, which is not a class of {vocabulary.name}")
    return label


# Predictions and annotations of action style, in the coordinates of the official V-COCO script (inclusive pixels).


def has_whole_action_labels(annotations: Annotations) -> bool:
    """Whether persons have all the labels that the official score needs.

    Labels rebuilt from a list of pairs lack actions without an object (-1 for every person) and people without an
    object, so a score from them must not carry the official name.
    """
    labelled = annotations["persons_actions"] >= 0
    return bool(labelled.any() and (labelled.all(1) | ~labelled.any(1)).all())


def action_truth(annotations: Annotations, vocabulary: Vocabulary) -> ActionTruth:
    """People of a split in the coordinates of the official script.

    As in that script, boxes become inclusive (x2 - 1, but at least x1) and are clipped to the image, and people not
    larger than one pixel are dropped. People of `instances` without a row in `persons` are "not labelled". Where the
    size of the image is unknown (0), nothing is clipped.
    """
    boxes = annotations["instances_xyxy_px"].astype(np.float64)
    boxes = np.concatenate([boxes[:, :2], np.maximum(boxes[:, 2:] - 1, boxes[:, :2])], axis=1)
    image = annotations.image_rows("instances")
    size = annotations.original_hw_px[image][:, [1, 0, 1, 0]].astype(np.float64)
    boxes = np.where(size > 0, np.clip(boxes, 0.0, np.maximum(size - 1, 0.0)), boxes)
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


def action_detections(predictions: Predictions, aligned: Aligned, vocabulary: Vocabulary) -> ActionDetections:
    """One detection per distinct human box of an image, with the roles of all its pairs, and one per agent.

    Agent scores come from the agent rows. In predictions without agents they are, per person and action, the best
    score among the pairs of that person (as QPIC's export does for actions with two roles).
    """
    human = predictions.pair_human_xyxy_px[aligned.pair_rows].astype(np.float64)
    keys = np.column_stack([aligned.pair_image, human])
    people, person_of_pair = np.unique(keys, axis=0, return_inverse=True)
    person = person_of_pair.reshape(-1)[aligned.triplet_pair]
    verb, score = predictions.triplet_verb[aligned.triplet_rows], predictions.triplet_score[aligned.triplet_rows]
    action, slot = np.array(vocabulary.verb_action)[verb], np.array(vocabulary.verb_role)[verb]

    agent = np.full((len(people), len(vocabulary.actions)), np.nan, np.float32)
    if len(aligned.agent_rows) == 0:
        np.fmax.at(agent, (person, action), score)
    spoken = _action_scores(predictions.agent_scores[aligned.agent_rows], vocabulary)
    role = np.flatnonzero(slot >= 0)
    pair = aligned.pair_rows[aligned.triplet_pair[role]]
    agent_boxes = predictions.agent_xyxy_px[aligned.agent_rows].astype(np.float64)
    return ActionDetections(
        np.concatenate([people[:, 0].astype(np.int64), aligned.agent_image]),
        np.concatenate([people[:, 1:], agent_boxes]) + ZERO_BASED,
        np.concatenate([agent, spoken]),
        person[role],
        action[role],
        slot[role],
        predictions.pair_object_xyxy_px[pair].astype(np.float64) + ZERO_BASED,
        score[role],
    )


def _action_scores(verb_scores: Float[np.ndarray, "m v"], vocabulary: Vocabulary) -> Float[np.ndarray, "m actions"]:
    """Scores per action from scores per verb: the best of the verbs that belong to the action."""
    scores = np.full((len(verb_scores), len(vocabulary.actions)), np.nan, np.float32)
    if len(verb_scores):
        rows = np.arange(len(verb_scores))[:, None]
        np.fmax.at(scores, (rows, np.array(vocabulary.verb_action)[None]), verb_scores)
    return scores
