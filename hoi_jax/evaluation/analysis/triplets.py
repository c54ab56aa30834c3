"""Predictions and ground truth as (person, verb, object) rows, matched by the evaluators' own rules."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.matching import best_truth, first_hits, ranking
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary

MATCH_IOU = 0.5
"""IoU that both boxes must reach, as in the HICO-DET and V-COCO protocols; continuous corners."""


Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Interaction:
    """One person, one object or none, and the verbs between them.

    Attributes:
      human_xyxy_px, object_xyxy_px: continuous corners in pixels of the image.
      object_name: e.g. "sports_ball"; not shown where there is no object.
      verbs: names with scores, best first; a score None (ground truth) is not shown.
      correct: whether the prediction is right; None = not judged.
    """

    human_xyxy_px: Box
    object_xyxy_px: Box | None
    object_name: str
    verbs: tuple[tuple[str, float | None], ...]
    correct: bool | None = None


@dataclasses.dataclass(frozen=True)
class Triplets:
    """Triplets of person, verb and object, one per row, predicted or annotated. Every triplet has an object.

    Attributes:
      image: image row of the annotations. human, object: boxes in pixels of the original image.
      object_class, verb: indices into the vocabulary. score: 1 for ground truth.
    """

    image: Int[np.ndarray, " t"]
    human: Float[np.ndarray, "t 4"]
    obj: Float[np.ndarray, "t 4"]
    object_class: Int[np.ndarray, " t"]
    verb: Int[np.ndarray, " t"]
    score: Float[np.ndarray, " t"]

    def take(self, rows: np.ndarray) -> "Triplets":
        """Only these rows, in this order."""
        return Triplets(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def true_triplets(annotations: Annotations, vocabulary: Vocabulary) -> Triplets:
    """Annotated pairs with an object, each distinct one once, from `pairs` or, for actions, from `persons`."""
    if annotations.vocabulary_name == vocabulary.name and len(annotations["pairs_verb"]):
        image = annotations.image_rows("pairs")
        human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
        verb = annotations["pairs_verb"].astype(np.int64)
    elif annotations.actions_vocabulary_name == vocabulary.name:
        verb_of = np.full((len(vocabulary.actions), annotations["persons_roles"].shape[-1]), -1)
        for index, (action, role) in enumerate(zip(vocabulary.verb_action, vocabulary.verb_role, strict=True)):
            if role >= 0:
                verb_of[action, role] = index
        roles = annotations.instance_rows("persons_roles")
        person, action, slot = np.nonzero((roles >= 0) & (annotations["persons_actions"] == 1)[..., None])
        image = annotations.image_rows("persons")[person]
        human = annotations.instance_rows("persons_instance")[person]
        obj, verb = roles[person, action, slot], verb_of[action, slot]
    elif annotations.vocabulary_name == vocabulary.name:
        image = human = obj = verb = np.zeros(0, np.int64)
    else:
        raise ValueError(
            f"no labels use vocabulary {vocabulary.name!r}: the annotations have pairs in "
            f"{annotations.vocabulary_name!r}, persons in {annotations.actions_vocabulary_name!r}"
        )
    table = np.column_stack([image, human, obj, verb])[(obj >= 0) & (verb >= 0)]
    image, human, obj, verb = np.unique(table, axis=0).reshape(-1, 4).T
    boxes = annotations["instances_xyxy_px"].astype(np.float64).reshape(-1, 4)
    classes = annotations["instances_class"].astype(np.int64)
    return Triplets(image, boxes[human], boxes[obj], classes[obj], verb, np.ones(len(verb)))


def predicted_triplets(predictions: Predictions, annotations: Annotations, vocabulary: Vocabulary) -> Triplets:
    """The triplets that evaluators count: of annotated images, with an object, not suppressed, of existing classes."""
    row_of = {int(number): row for row, number in enumerate(annotations.image_id)}
    row_of_image = np.array([row_of.get(int(number), -1) for number in predictions.image_id], np.int64)
    pair, verb = predictions.triplet_pair, predictions.triplet_verb.astype(np.int64)
    image = row_of_image[predictions.pair_image[pair]]
    object_class = predictions.pair_object_class[pair].astype(np.int64)
    obj = predictions.pair_object_xyxy_px[pair].astype(np.float64)
    use = predictions.pair_nis_keep[pair] & (image >= 0) & (verb != vocabulary.no_interaction)
    use &= np.isfinite(obj).all(axis=1) & (object_class >= 0) & np.isfinite(predictions.triplet_score)
    if vocabulary.hois:
        use &= vocabulary.hoi_table[verb, object_class] >= 0
    human = predictions.pair_human_xyxy_px[pair].astype(np.float64)
    score = predictions.triplet_score.astype(np.float64)
    return Triplets(image, human, obj, object_class, verb, score).take(np.flatnonzero(use))


def match(
    predicted: Triplets, truth: Triplets, vocabulary: Vocabulary
) -> tuple[Bool[np.ndarray, " predicted"], Bool[np.ndarray, " truth"]]:
    """Match predictions with ground truth by the rule of the official evaluators.

    A match has the same image and class (verb and object; in action style the verb alone), and both boxes at IoU 0.5
    or more. An annotated triplet is found once, by the best-scored prediction that overlaps it most.

    Returns:
      (which predictions are right, which annotated triplets are found).
    """

    def label(t: Triplets) -> np.ndarray:
        return t.verb * len(vocabulary.objects) + t.object_class if vocabulary.hois else t.verb

    predicted_label, classes = label(predicted), len(vocabulary.verbs) * len(vocabulary.objects)
    order = ranking(predicted_label, predicted.score, predicted.image)
    best, overlap = best_truth(
        (predicted.image * classes + predicted_label)[order],
        (predicted.human, predicted.obj),
        order,
        truth.image * classes + label(truth),
        (truth.human, truth.obj),
        plus_one=False,
    )
    hits = first_hits(best, overlap >= MATCH_IOU)
    right, found = np.zeros(len(order), bool), np.zeros(len(truth.image), bool)
    right[order[hits]] = True
    found[best[hits]] = True
    return right, found


def interactions_of(
    triplets: Triplets,
    rows: Int[np.ndarray, " n"],
    vocabulary: Vocabulary,
    right: Bool[np.ndarray, " t"] | None,
    *,
    with_score: bool,
) -> list[Interaction]:
    """Drawable interactions of `rows`, in their order: verbs of one pair that are equally right become one entry.

    Args:
      right: whether each of all triplets is right; None = not judged. "No interaction" is never judged.
    """
    groups: dict[tuple[Box, Box, int, bool | None], list[tuple[str, float | None]]] = {}
    for row in rows.tolist():
        human, item = box_of(triplets.human[row]), box_of(triplets.obj[row])
        quiet = triplets.verb[row] == vocabulary.no_interaction
        key = (human, item, int(triplets.object_class[row]), None if right is None or quiet else bool(right[row]))
        score = float(triplets.score[row]) if with_score else None
        groups.setdefault(key, []).append((vocabulary.verb_words(int(triplets.verb[row])), score))
    return [
        Interaction(human, item, vocabulary.objects[obj], tuple(verbs), correct)
        for (human, item, obj, correct), verbs in groups.items()
    ]


def box_of(corners: np.ndarray) -> Box:
    """Four corners as plain numbers."""
    x1, y1, x2, y2 = (float(c) for c in corners)
    return (x1, y1, x2, y2)
