"""Stores and annotations of action style, in the frame of the official V-COCO script (inclusive pixels)."""

import numpy as np
from jaxtyping import Float

from hoi_jax.evaluation.alignment import ZERO_BASED, Aligned
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.evaluation.vcoco import ActionDetections, ActionTruth
from hoi_jax.vocab import Vocabulary


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
    than one pixel are dropped. People of `instances` without a row in `persons` are "not labelled". Where the size of
    the picture is unknown (0), nothing is clipped.
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


def action_detections(store: PredictionStore, aligned: Aligned, vocabulary: Vocabulary) -> ActionDetections:
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
        np.concatenate([people[:, 1:], agent_boxes]) + ZERO_BASED,
        np.concatenate([agent, spoken]),
        person[role],
        action[role],
        slot[role],
        store.pair_object_xyxy_px[pair].astype(np.float64) + ZERO_BASED,
        score[role],
    )


def _action_scores(verb_scores: Float[np.ndarray, "m v"], vocabulary: Vocabulary) -> Float[np.ndarray, "m actions"]:
    """Scores per action from scores per verb: the best of the verbs that belong to the action."""
    scores = np.full((len(verb_scores), len(vocabulary.actions)), np.nan, np.float32)
    if len(verb_scores):
        rows = np.arange(len(verb_scores))[:, None]
        np.fmax.at(scores, (rows, np.array(vocabulary.verb_action)[None]), verb_scores)
    return scores
