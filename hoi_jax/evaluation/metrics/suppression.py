"""Shares of pairs deleted by non-interaction suppression (TIN, Li et al., CVPR 2019, Table 4).

The paper gives no formula; the definition here follows its benchmark script. A candidate pair is *interactive* when
both its boxes overlap by more than 0.5 with an annotated pair of a real HOI and of the detected object class, else
*non-interactive* when the same holds for a `no_interaction` pair, else *unmatched*. The reduction is the share of
unmatched pairs that were deleted. Images without an annotated interaction are left out.
"""

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.alignment import align
from hoi_jax.evaluation.metrics.hico_det import MIN_OVERLAP
from hoi_jax.evaluation.metrics.interactiveness import interactive_rows
from hoi_jax.evaluation.metrics.matching import best_truth
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary


def nis_reduction(predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary) -> EvaluationResult:
    """Shares of suppressed candidate pairs (`pair_nis_keep` False) of each kind.

    Returns:
      metrics `nis/reduction` (deleted share of unmatched pairs; Table 4 prints it with a minus sign),
      `nis/lost_interactive` (deleted share of interactive pairs: lost recall), `nis/reduction_non_interactive`;
      NaN where there are no pairs of that kind. The manifest has counts under `nis`.

    Raises:
      ValueError: neither pairs nor people of the annotations are labelled in the vocabulary.
    """
    real, silent = _truth_pairs(annotations, vocabulary)
    aligned = align(predictions, annotations, use_nis=False)
    has_interaction = np.zeros(annotations.num_images, bool)
    has_interaction[real[:, 0]] = True
    counted = has_interaction[aligned.pair_image]
    rows, image = aligned.pair_rows[counted], aligned.pair_image[counted]

    interactive = _matched(predictions, rows, image, annotations, real, vocabulary)
    non_interactive = _matched(predictions, rows, image, annotations, silent, vocabulary) & ~interactive
    kinds = {
        "interactive": interactive,
        "non_interactive": non_interactive,
        "unmatched": ~interactive & ~non_interactive,
    }
    deleted = ~predictions.pair_nis_keep[rows]
    counts = {name: {"pairs": int(of.sum()), "deleted": int((of & deleted).sum())} for name, of in kinds.items()}

    def share(name: str) -> float:
        return counts[name]["deleted"] / counts[name]["pairs"] if counts[name]["pairs"] else float("nan")

    metrics = {
        "nis/reduction": share("unmatched"),
        "nis/lost_interactive": share("interactive"),
        "nis/reduction_non_interactive": share("non_interactive"),
    }
    about = {**counts, "images_with_interaction": int(has_interaction.sum())}
    return EvaluationResult(metrics, {}, {"vocabulary": vocabulary.name, "nis": about, **aligned.provenance})


def _truth_pairs(annotations: Annotations, vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """(image, human row, object row) of the interactive and of the non-interactive annotated pairs; [n, 3] each.

    In action style, pairs come from the people's roles where the pair table is labelled in another vocabulary.
    """
    if annotations.vocabulary_name == vocabulary.name:
        rows = np.stack(
            [annotations.image_rows("pairs"), *(annotations.instance_rows(f"pairs_{x}") for x in ("human", "object"))],
            1,
        )
        has_object = annotations["pairs_object"] >= 0
        silent = (annotations["pairs_verb"] == vocabulary.no_interaction) & has_object
        return rows[interactive_rows(annotations, vocabulary)], rows[silent]
    if annotations.actions_vocabulary_name != vocabulary.name:
        raise ValueError(f"the annotations have pairs in {annotations.vocabulary_name!r}, expected {vocabulary.name!r}")
    roles = annotations.instance_rows("persons_roles")
    person, action, slot = np.nonzero((roles >= 0) & (annotations["persons_actions"] == 1)[:, :, None])
    human = annotations.instance_rows("persons_instance")[person]
    rows = np.stack([annotations.image_rows("persons")[person], human, roles[person, action, slot]], 1)
    return rows, rows[:0]


def _matched(
    predictions: Predictions,
    rows: np.ndarray,
    image: np.ndarray,
    annotations: Annotations,
    truth: np.ndarray,
    vocabulary: Vocabulary,
) -> np.ndarray:
    """Mask of predicted pairs that overlap by more than 0.5 with a pair of `truth` of their image and object class."""
    truth_image, human, obj = truth.T
    boxes, classes = annotations["instances_xyxy_px"].astype(np.float64), annotations["instances_class"]
    num_classes = len(vocabulary.objects) + 1  # the last one is "no object": no annotated pair has it
    object_class = predictions.pair_object_class[rows]
    _, overlap = best_truth(
        image * num_classes + np.where(object_class >= 0, object_class, num_classes - 1),
        (predictions.pair_human_xyxy_px.astype(np.float64), predictions.pair_object_xyxy_px.astype(np.float64)),
        rows,
        truth_image * num_classes + classes[obj],
        (boxes[human], boxes[obj]),
        plus_one=False,
    )
    return overlap > MIN_OVERLAP
