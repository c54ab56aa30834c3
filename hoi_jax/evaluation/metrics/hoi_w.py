"""HOI-W: mAP_rel over ten verbs, as the dataset's authors compute it (Liao et al., PPDM, CVPR 2020).

Unlike HICO-DET's rule, a prediction takes *every* annotated interaction that it matches and that no better
prediction took: subject and object both of the annotated class with IoU of at least 0.5 (sides x2 - x1), same verb.
It is one true positive if it took any. One prediction can therefore find all duplicates of an annotation.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.alignment import align
from hoi_jax.evaluation.metrics.ap import score_ranking
from hoi_jax.evaluation.metrics.matching import candidate_chunks, matched_iou, ranking
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.predictions import Predictions
from hoi_jax.vocab.datasets import HOI_W

VERBS = HOI_W.verbs
"""Verb number 1 to 10 of the files is index 0 to 9 here."""

MIN_OVERLAP = 0.5


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Interactions of a split, one row each; predicted ones carry a score.

    Attributes:
      image: [N] row of the image.
      verb: [N] index into `VERBS`.
      subject_class, object_class: [N] class numbers; compared for equality only.
      subject_xyxy_px, object_xyxy_px: [N, 4] corners; NaN = the row names a box that does not exist, never a match.
      score: [N]; ignored for ground truth.
    """

    image: Int[np.ndarray, " n"]
    verb: Int[np.ndarray, " n"]
    subject_class: Int[np.ndarray, " n"]
    subject_xyxy_px: Float[np.ndarray, "n 4"]
    object_class: Int[np.ndarray, " n"]
    object_xyxy_px: Float[np.ndarray, "n 4"]
    score: Float[np.ndarray, " n"]


def evaluate_hoi_w(truth: Interactions, predictions: Interactions) -> EvaluationResult:
    """mAP_rel: area under the precision envelope per verb, mean over the ten verbs.

    A verb without ground truth or without prediction has AP 0, as in the published script. Rows with a NaN score
    are ignored and counted.

    Returns:
      metrics `hoi_w/map_rel`, `hoi_w/mean_max_recall`; per class (order of `VERBS`) `hoi_w/ap`, `hoi_w/max_recall`,
      `hoi_w/num_positives`, `hoi_w/num_predictions`, `hoi_w/true_positives`.
    """
    nan = np.isnan(predictions.score)
    rows = np.flatnonzero(~nan)
    rows = rows[ranking(predictions.verb[rows], predictions.score[rows], predictions.image[rows])]
    hits = _hits(truth, predictions, rows)
    verb = predictions.verb[rows]
    edges = np.searchsorted(verb, np.arange(len(VERBS) + 1))
    positives = np.bincount(truth.verb, minlength=len(VERBS))
    counts = np.diff(edges)
    found = np.array([hits[edges[v] : edges[v + 1]].sum() for v in range(len(VERBS))])
    scores = [
        score_ranking(hits[edges[v] : edges[v + 1]], int(positives[v]), mode="area") if positives[v] else (0.0, 0.0)
        for v in range(len(VERBS))
    ]
    ap, recall = np.array(scores).T
    return EvaluationResult(
        {"hoi_w/map_rel": float(ap.mean()), "hoi_w/mean_max_recall": float(recall.mean())},
        {
            "hoi_w/ap": ap,
            "hoi_w/max_recall": recall,
            "hoi_w/num_positives": positives,
            "hoi_w/num_predictions": counts,
            "hoi_w/true_positives": found,
        },
        {
            "dataset": "hoi_w",
            "protocol": {"name": "hoi_w official", "ap": "area", "min_overlap": MIN_OVERLAP},
            "num_truth_interactions": len(truth.verb),
            "num_predictions": len(predictions.verb),
            "nan_scores": int(nan.sum()),
        },
    )


def _hits(truth: Interactions, predictions: Interactions, ranked: np.ndarray) -> np.ndarray:
    """Whether each of the rows `ranked` (best first within a verb) takes any annotated interaction."""
    keys = [
        np.column_stack([rows.image, rows.verb, rows.subject_class, rows.object_class]) for rows in (truth, predictions)
    ]
    group = np.unique(np.concatenate(keys), axis=0, return_inverse=True)[1].reshape(-1)
    truth_group, group = group[: len(truth.verb)], group[len(truth.verb) :][ranked]
    hits = np.zeros(len(ranked), bool)
    taken = np.zeros(len(truth.verb), bool)
    # Chunks come in row order, so annotations taken by an earlier chunk are gone; within a chunk the first row wins.
    for row, target in candidate_chunks(group, truth_group):
        subject = matched_iou(predictions.subject_xyxy_px[ranked[row]], truth.subject_xyxy_px[target])
        obj = matched_iou(predictions.object_xyxy_px[ranked[row]], truth.object_xyxy_px[target])
        match = (subject >= MIN_OVERLAP) & (obj >= MIN_OVERLAP) & ~taken[target]
        targets, first = np.unique(target[match], return_index=True)
        hits[row[match][first]] = True
        taken[targets] = True
    return hits


LEAST_SCORE = 0.01
"""Smallest verb score that the authors of C-HOI write to HOI-W's result files."""


def evaluate_hoi_w_predictions(
    predictions: Predictions, annotations: Annotations, *, use_nis: bool = True, least_score: float = LEAST_SCORE
) -> EvaluationResult:
    """`evaluate_hoi_w` of predictions: the same as writing them with `formats.predictions.hoi_w` and scoring the file.

    Raises:
      ValueError: predictions or annotations use other verbs.
    """
    for what, name in (("predictions", predictions.vocabulary_name), ("annotations", annotations.vocabulary_name)):
        if name != HOI_W.name:
            raise ValueError(f"{what} use vocabulary {name!r}; metric 'hoi_w' needs {HOI_W.name!r}")
    aligned = align(predictions, annotations, use_nis)
    image = dict(zip(aligned.pair_rows.tolist(), aligned.pair_image.tolist(), strict=True))
    row = aligned.triplet_rows[predictions.triplet_score[aligned.triplet_rows] > least_score]
    pair = predictions.triplet_pair[row]
    found = Interactions(
        np.array([image[p] for p in pair.tolist()], np.int64), predictions.triplet_verb[row],
        np.full(len(row), HOI_W.human_class), predictions.pair_human_xyxy_px[pair],
        predictions.pair_object_class[pair], predictions.pair_object_xyxy_px[pair], predictions.triplet_score[row],
    )  # fmt: skip
    human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
    rows = np.flatnonzero(obj >= 0)
    human, obj = human[rows], obj[rows]
    label, boxes = annotations["instances_class"], annotations["instances_xyxy_px"]
    truth = Interactions(
        annotations.image_rows("pairs")[rows], annotations["pairs_verb"][rows], label[human], boxes[human],
        label[obj], boxes[obj], np.ones(len(rows)),
    )  # fmt: skip
    result = evaluate_hoi_w(truth, found)
    return EvaluationResult(result.metrics, result.per_class, {**aligned.manifest, **result.manifest})
