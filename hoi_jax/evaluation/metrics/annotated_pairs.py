"""Action scores from label files that list pairs only, with confidence intervals.

Such files (V-COCO as JSON of pairs) lack every person without an annotated object. The scores therefore differ from
the official ones:

- Agents: only people with at least one annotated pair count, and only actions that take an object (22 of V-COCO's 26).
  A person who acts without a visible object, and has another pair, is labelled as not doing it.
- Roles: every annotated (person, object, verb) is a positive; officially it is one object per person and role, and
  people without an annotated object count as well (scenario 1: as "no box", scenario 2: as any box).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.alignment import (
    action_detections,
    action_truth,
    align,
    distinct_pairs,
    pair_detections,
    pair_truth,
)
from hoi_jax.evaluation.metrics.ap import ApMode, mean_defined
from hoi_jax.evaluation.metrics.hico_det import (
    PairTruth,
    RankedHits,
    rank_detections,
    score_classes,
)
from hoi_jax.evaluation.metrics.protocols import ActionProtocol, HoiProtocol
from hoi_jax.evaluation.metrics.resampling import ClassRanking, resampled_ap
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.metrics.vcoco import (
    ActionRanking,
    headline_roles,
    rank_actions,
    role_verbs,
)
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary


def has_people(annotations: Annotations, vocabulary: Vocabulary) -> bool:
    """Whether anybody is labelled for an action of the vocabulary."""
    return annotations.actions_vocabulary_name == vocabulary.name and bool((annotations["persons_actions"] >= 0).any())


def agent_ap_over_pairs(
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool = True
) -> EvaluationResult:
    """Agent AP over people with annotated pairs, for actions that take an object. This is NOT the official AP_agent.

    A person's score for an action is that of the agent row, or else of the person's best pair. Matching and AP are
    those of the official script (`vcoco.evaluate_actions`).

    Returns:
      metric `pairs_agent_ap/A`, A being the number of these actions (V-COCO: 22); per class `pairs_agent_ap/ap` over
      all actions, NaN for those without object.

    Raises:
      ValueError: no person is labelled in the vocabulary.
    """
    if not has_people(annotations, vocabulary):
        raise ValueError(f"no person of the annotations is labelled in {vocabulary.name!r}: agents cannot be scored")
    ranking = _agent_ranking(predictions, annotations, vocabulary, use_nis=use_nis)
    ap = resampled_ap(ranking, np.ones((annotations.num_images, 1), np.int32))[:, 0]
    (metric, mask) = next(iter(ranking.means.items()))
    ap = np.where(mask, ap, np.nan)
    positives = np.bincount(ranking.positive_label, minlength=len(ap))
    about = {"vocabulary": vocabulary.name, "agents_protocol": dataclasses.asdict(ActionProtocol())}
    return EvaluationResult(
        {metric: mean_defined(ap)},
        {"pairs_agent_ap/ap": ap, "pairs_agent_ap/num_positives": np.where(mask, positives, 0)},
        {**about, "num_images": annotations.num_images},
    )


def _agent_ranking(
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool
) -> ClassRanking:
    protocol = ActionProtocol()
    found = action_detections(predictions, align(predictions, annotations, use_nis), vocabulary)
    ranked = rank_actions(action_truth(annotations, vocabulary), found, vocabulary, protocol)[0]["agent"]
    with_object = np.array([bool(roles) for roles in vocabulary.action_roles], bool)
    positives = (ranked.positive_label, ranked.positive_image)
    means = {f"pairs_agent_ap/{with_object.sum()}": with_object}
    return _class_ranking(ranked, positives, annotations.num_images, protocol.ap, means)


def _class_ranking(
    ranked: RankedHits | ActionRanking,
    positives: tuple[np.ndarray, np.ndarray],
    num_images: int,
    ap: ApMode,
    means: Mapping[str, Bool[np.ndarray, " c"]],
) -> ClassRanking:
    num_classes = len(next(iter(means.values())))
    return ClassRanking(
        ranked.label, ranked.image, ranked.hit, *positives, num_images, num_classes, ap, "matlab", "float64", means
    )


PAIRS_PROTOCOL = HoiProtocol("role AP over annotated pairs", ap="area", plus_one=False, prediction_shift=0.0)


def role_ap_over_pairs(
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool = True
) -> EvaluationResult:
    """Role AP from annotated (person, object, verb) pairs only. This is NOT the official AP_role.

    Use it for label files that list only pairs: they lack people without an annotated object, so neither scenario 1
    nor 2 can be computed. A prediction is right when both boxes reach IoU 0.5 and the verb agrees. The metric is the
    area AP per role class, averaged over the classes that have a pair. Identical annotations of a pair count once.

    Returns:
      metric `pairs_role_ap/R` with R role classes (V-COCO: 24, without `point_instr`); per class `pairs_role_ap/ap`
      and `pairs_role_ap/num_positives` over all role classes in the order of `vcoco.role_verbs`.
    """
    truth, ranked, manifest = ranked_role_pairs(predictions, annotations, vocabulary, use_nis=use_nis)
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
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool = True
) -> tuple[PairTruth, RankedHits, dict[str, object]]:
    """Annotated pairs by role class (order of `vcoco.role_verbs`), all predictions ranked against them, manifest."""
    aligned = align(predictions, annotations, use_nis)
    roles = np.array(role_verbs(vocabulary), np.int64)
    role_of_verb = np.full(len(vocabulary.verbs), -1)
    role_of_verb[roles] = np.arange(len(roles))
    truth = distinct_pairs(pair_truth(annotations, role_of_verb[annotations["pairs_verb"]]))
    label = role_of_verb[predictions.triplet_verb[aligned.triplet_rows]]
    ranked = rank_detections(truth, pair_detections(predictions, aligned, label), len(roles), PAIRS_PROTOCOL)
    return truth, ranked, aligned.manifest


def pair_rankings(
    predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary, *, use_nis: bool = True
) -> tuple[ClassRanking, ...]:
    """Rankings for the bootstrap of `pairs_role_ap/R` and, where people are labelled, of `pairs_agent_ap/A`."""
    truth, ranked = ranked_role_pairs(predictions, annotations, vocabulary, use_nis=use_nis)[:2]
    headline = headline_roles(vocabulary)
    roles = _class_ranking(
        ranked, (truth.label, truth.image), annotations.num_images, PAIRS_PROTOCOL.ap,
        {f"pairs_role_ap/{headline.sum()}": headline},
    )  # fmt: skip
    if not has_people(annotations, vocabulary):
        return (roles,)
    return roles, _agent_ranking(predictions, annotations, vocabulary, use_nis=use_nis)
