"""V-COCO: agent AP and role AP in scenarios 1 and 2 (Gupta and Malik, 2015), as in the official script.

Works for any vocabulary of action style. The functions take flat arrays with boxes in the official convention
(inclusive pixels, IoU with +1); `alignment.py` makes them from predictions and annotations. Where the official script
crashes (a prediction in an image without people) the prediction is a false positive.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.metrics.ap import mean_defined, score_ranking
from hoi_jax.evaluation.metrics.matching import best_truth, first_hits, matched_iou, ranking
from hoi_jax.evaluation.metrics.protocols import ActionProtocol
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.vocab.datasets import HEADLINE_EXCLUDES
from hoi_jax.vocab.tables import Vocabulary


@dataclasses.dataclass(frozen=True)
class ActionTruth:
    """All annotated people with their action labels; unlabelled people are included, with labels of -1.

    Attributes:
      num_images: images of the split.
      person_image: [K] row of the image.
      person_xyxy_px: [K, 4] inclusive pixels.
      labels: [K, A] 1 = performs the action, 0 = does not, -1 = not labelled (detections of the person are ignored).
      role_xyxy_px: [K, A, S, 4] box of each role, NaN = none annotated.
    """

    num_images: int
    person_image: Int[np.ndarray, " k"]
    person_xyxy_px: Float[np.ndarray, "k 4"]
    labels: Int[np.ndarray, "k a"]
    role_xyxy_px: Float[np.ndarray, "k a s 4"]


@dataclasses.dataclass(frozen=True)
class ActionDetections:
    """Detected people, their action scores, and sparse role predictions.

    Attributes:
      image: [D] row of the image.
      person_xyxy_px: [D, 4] inclusive pixels.
      agent_scores: [D, A], NaN = no prediction.
      role_detection, role_action, role_slot: [R] detection, action and role slot of each role box.
      role_xyxy_px: [R, 4]; all zeros or all NaN = the role is not visible.
      role_score: [R]; rows with NaN are ignored.
    """

    image: Int[np.ndarray, " d"]
    person_xyxy_px: Float[np.ndarray, "d 4"]
    agent_scores: Float[np.ndarray, "d a"]
    role_detection: Int[np.ndarray, " r"]
    role_action: Int[np.ndarray, " r"]
    role_slot: Int[np.ndarray, " r"]
    role_xyxy_px: Float[np.ndarray, "r 4"]
    role_score: Float[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True)
class ActionRanking:
    """Counted detections of all classes (actions, or roles), ordered by class and falling score.

    Attributes:
      label, image, hit: [t] class, image, and whether it is a true positive.
      positive_label, positive_image: [g] class and image of each positive person.
      num_classes: A for agents, R for roles.
    """

    label: Int[np.ndarray, " t"]
    image: Int[np.ndarray, " t"]
    hit: Bool[np.ndarray, " t"]
    positive_label: Int[np.ndarray, " g"]
    positive_image: Int[np.ndarray, " g"]
    num_classes: int


def _ranked(
    label: np.ndarray,
    score: np.ndarray,
    image: np.ndarray,
    person: np.ndarray,
    passes: np.ndarray,
    does: np.ndarray,
    person_image: np.ndarray,
) -> ActionRanking:
    """Rank one row per counted detection; a person is found once per class. `does` [K, C]: positives."""
    num_classes = does.shape[1]
    order = ranking(label, score, image)
    label, positive = label[order], np.nonzero(does)
    hits = first_hits(person[order] * num_classes + label, passes[order])
    return ActionRanking(label, image[order], hits, positive[1], person_image[positive[0]], num_classes)


def _class_aps(ranked: ActionRanking, protocol: ActionProtocol) -> np.ndarray:
    """AP per class [C]."""
    edges = np.searchsorted(ranked.label, np.arange(ranked.num_classes + 1))
    positives = np.bincount(ranked.positive_label, minlength=ranked.num_classes)
    return np.array(
        [
            score_ranking(ranked.hit[edges[c] : edges[c + 1]], int(count), mode=protocol.ap).ap
            for c, count in enumerate(positives)
        ]
    )


def _ranked_agents(truth: ActionTruth, found: ActionDetections, person: np.ndarray, near: np.ndarray) -> ActionRanking:
    row, action = np.nonzero(~np.isnan(found.agent_scores))
    label = _label_of(truth, person[row], action)
    row, action, label = row[label >= 0], action[label >= 0], label[label >= 0]
    score, passes = found.agent_scores[row, action], near[row] & (label == 1)
    return _ranked(action, score, found.image[row], person[row], passes, truth.labels == 1, truth.person_image)


def _label_of(truth: ActionTruth, person: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Label of each row; 0 (a false positive) where the image has no person."""
    if len(truth.labels) == 0:
        return np.zeros(len(person), np.int64)
    return np.where(person >= 0, truth.labels[person, action], 0)


def _ranked_roles(
    truth: ActionTruth,
    found: ActionDetections,
    person: np.ndarray,
    near: np.ndarray,
    vocabulary: Vocabulary,
    protocol: ActionProtocol,
) -> tuple[ActionRanking, ActionRanking]:
    """Rankings of the role classes in scenarios 1 and 2."""
    roles = role_verbs(vocabulary)
    class_of = np.full((len(vocabulary.actions), truth.role_xyxy_px.shape[2]), -1)
    for index, verb in enumerate(roles):
        class_of[vocabulary.verb_action[verb], vocabulary.verb_role[verb]] = index
    role_class = class_of[found.role_action, found.role_slot]
    label = _label_of(truth, person[found.role_detection], found.role_action)
    rows = np.flatnonzero((role_class >= 0) & (label >= 0) & ~np.isnan(found.role_score))

    detection = found.role_detection[rows]
    action, slot, predicted = found.role_action[rows], found.role_slot[rows], found.role_xyxy_px[rows]
    target = np.full((len(rows), 4), np.nan)
    inside = person[detection] >= 0
    target[inside] = truth.role_xyxy_px[person[detection][inside], action[inside], slot[inside]]
    missing = np.isnan(target).any(-1)
    empty = (predicted == 0).all(-1) | np.isnan(predicted).all(-1)
    right = matched_iou(predicted, target, plus_one=True) >= protocol.min_overlap
    agent_right = near[detection] & (label[rows] == 1)
    does = truth.labels[:, [vocabulary.verb_action[verb] for verb in roles]] == 1

    def rank(role_right: np.ndarray) -> ActionRanking:
        return _ranked(
            role_class[rows],
            found.role_score[rows],
            found.image[detection],
            person[detection],
            agent_right & role_right,
            does,
            truth.person_image,
        )

    return rank(np.where(missing, empty, right)), rank(missing | right)


def role_verbs(vocabulary: Vocabulary) -> tuple[int, ...]:
    """Verbs that have an object: the role classes, in verb order."""
    return tuple(verb for verb, slot in enumerate(vocabulary.verb_role) if slot >= 0)


def headline_roles(vocabulary: Vocabulary) -> np.ndarray:
    """[R] bool: role classes of the headline mean; V-COCO's leaves out `point_instr` (24 of 25)."""
    excluded = HEADLINE_EXCLUDES if vocabulary.name == "vcoco" else ()
    return np.array([vocabulary.verbs[verb] not in excluded for verb in role_verbs(vocabulary)], bool)


def evaluate_actions(
    truth: ActionTruth,
    detections: ActionDetections,
    vocabulary: Vocabulary,
    protocol: ActionProtocol | None = None,
) -> EvaluationResult:
    """Official V-COCO scores.

    A detection belongs to the person of its image that it overlaps most. It is skipped when that person has no
    label; it is right when the label is 1, the person IoU is at least 0.5, the role fits, and no better-scored
    right detection of this person and class exists. When no role box is annotated, scenario 1 requires an empty
    prediction and scenario 2 accepts any.

    Returns:
      metrics `agent/A`, `role_s1/R`, `role_s2/R`, and with an excluded class also over the others (V-COCO:
      `agent/26`, `role_s1/24`, `role_s1/25`, ...); per class `agent/ap` [A], `role_s1/ap`, `role_s2/ap` [R] in
      the order of `role_verbs`, `num_positives` [A]. NaN where an action has no positive.

    Raises:
      ValueError: an image without people has detections, with `empty_person_images="error"`.
    """
    protocol = protocol or ActionProtocol()
    rankings, without_person = rank_actions(truth, detections, vocabulary, protocol)
    aps = {name: _class_aps(ranked, protocol) for name, ranked in rankings.items()}
    metrics = {name: mean_defined(aps[group][mask]) for name, (group, mask) in action_means(vocabulary).items()}
    per_class = {f"{name}/ap": ap for name, ap in aps.items()}
    per_class["num_positives"] = (truth.labels == 1).sum(0)
    manifest = {
        "vocabulary": vocabulary.name,
        "protocol": dataclasses.asdict(protocol),
        "num_images": truth.num_images,
        "num_labelled_persons": int((truth.labels >= 0).any(-1).sum()),
        "num_detections": len(detections.image),
        "num_role_predictions": len(detections.role_score),
        "detections_without_person_in_image": without_person,
        "role_classes": [vocabulary.verbs[verb] for verb in role_verbs(vocabulary)],
    }
    return EvaluationResult(metrics, per_class, manifest)


def action_means(vocabulary: Vocabulary) -> dict[str, tuple[str, Bool[np.ndarray, " c"]]]:
    """Headline metric -> (name of its ranking, mask of the classes it averages)."""
    headline = headline_roles(vocabulary)
    every, actions = np.ones_like(headline), np.ones(len(vocabulary.actions), bool)
    means = {f"agent/{len(actions)}": ("agent", actions)}
    for name in ("role_s1", "role_s2"):
        means[f"{name}/{headline.sum()}"] = (name, headline)
        means[f"{name}/{len(every)}"] = (name, every)
    return means


def rank_actions(
    truth: ActionTruth, detections: ActionDetections, vocabulary: Vocabulary, protocol: ActionProtocol
) -> tuple[dict[str, ActionRanking], int]:
    """(rankings `agent`, `role_s1` and `role_s2` with true positives, number of detections in images without people).

    Raises:
      ValueError: an image without people has detections, with `empty_person_images="error"`.
    """
    rows = np.arange(len(detections.image))
    person, overlap = best_truth(
        detections.image,
        (detections.person_xyxy_px,),
        rows,
        truth.person_image,
        (truth.person_xyxy_px,),
        plus_one=True,
    )
    if protocol.empty_person_images == "error" and np.any(person < 0):
        image = int(detections.image[person < 0][0])
        raise ValueError(f"{(person < 0).sum()} detections in images without people, first in image row {image}")
    near = overlap >= protocol.min_overlap
    scenario_1, scenario_2 = _ranked_roles(truth, detections, person, near, vocabulary, protocol)
    rankings = {
        "agent": _ranked_agents(truth, detections, person, near),
        "role_s1": scenario_1,
        "role_s2": scenario_2,
    }
    return rankings, int((person < 0).sum())
