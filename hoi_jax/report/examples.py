"""Which pictures a report shows: confident right predictions, confident wrong ones, interactions not found.

What counts as right is decided by the evaluators' own matching, so that pictures and scores agree. The choice is
deterministic: by score, ties by the order of the store.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.matching import best_truth, first_hits, ranking
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.report.draw import Box, Interaction, draw_interactions
from hoi_jax.report.html import ExamplePicture
from hoi_jax.vocab import Vocabulary

MATCH_IOU = 0.5
"""Of both boxes, as in the HICO-DET and V-COCO protocols; continuous corners."""


@dataclasses.dataclass(frozen=True)
class Triplets:
    """Person, verb, object: one row each, of predictions or of ground truth. Objects are always there.

    Attributes:
      image: row of the annotations. human, thing: boxes in pixels of the original picture.
      object_class, verb: of the vocabulary. score: 1 for ground truth.
    """

    image: Int[np.ndarray, " t"]
    human: Float[np.ndarray, "t 4"]
    thing: Float[np.ndarray, "t 4"]
    object_class: Int[np.ndarray, " t"]
    verb: Int[np.ndarray, " t"]
    score: Float[np.ndarray, " t"]

    def take(self, rows: np.ndarray) -> "Triplets":
        """Only these rows, in this order."""
        return Triplets(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Example:
    """One picture worth showing.

    Attributes:
      verdict: "right", "wrong" (predicted, not there) or "missed" (there, not found at all).
      image_row: row of the annotations. image_id: the dataset's own number.
      title: e.g. "ride bicycle"; caption: what happened, in a sentence.
      predicted, true: what to draw on the left and on the right.
    """

    verdict: Literal["right", "wrong", "missed"]
    image_row: int
    image_id: int
    title: str
    caption: str
    predicted: tuple[Interaction, ...]
    true: tuple[Interaction, ...]


def choose_examples(
    store: PredictionStore,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    right: int = 4,
    wrong: int = 4,
    missed: int = 2,
) -> list[Example]:
    """The pictures to show: of each verdict no two of the same picture or the same class.

    Suppressed pairs, predictions without an object and the verb "no interaction" are left out.

    Args:
      right, wrong, missed: how many of each at most.

    Returns:
      Right ones first, then wrong ones, both by falling score, then missed ones: first those from pictures where
      most was missed.

    Raises:
      ValueError: the annotations have no labels in this vocabulary.
    """
    truth = true_triplets(annotations, vocabulary)
    predicted = predicted_triplets(store, annotations, vocabulary)
    hit, found = match(predicted, truth, vocabulary)
    order = np.argsort(-predicted.score, kind="stable")
    choice = _Choice(predicted, truth, hit, vocabulary, annotations)
    examples = [choice.of_prediction(row) for row in _spread(order[hit[order]], predicted, right)]
    examples += [choice.of_prediction(row) for row in _spread(order[~hit[order]], predicted, wrong)]
    unseen = np.flatnonzero(~found & (truth.verb != vocabulary.no_interaction))
    per_image = np.bincount(truth.image[unseen], minlength=annotations.num_images)
    unseen = unseen[np.argsort(-per_image[truth.image[unseen]], kind="stable")]
    return examples + [choice.of_missed(row, order) for row in _spread(unseen, truth, missed)]


def example_pictures(
    examples: Iterable[Example], images: Mapping[int, Float[np.ndarray, "h w 3"] | np.ndarray]
) -> list[ExamplePicture]:
    """The examples drawn, for `ReportInput.examples`.

    Args:
      images: `image_id` -> picture [H, W, 3] uint8 in its original size.

    Raises:
      ValueError: the picture of an example is not among `images`.
    """
    pictures = []
    for example in examples:
        if example.image_id not in images:
            raise ValueError(f"no picture given for image {example.image_id}, which example {example.title!r} shows")
        image = images[example.image_id]
        left, right = draw_interactions(image, example.predicted), draw_interactions(image, example.true)
        caption = f"{example.caption} (Image {example.image_id}.)"
        pictures.append(ExamplePicture(example.verdict, example.title, caption, left, right))
    return pictures


def true_triplets(annotations: Annotations, vocabulary: Vocabulary) -> Triplets:
    """Annotated pairs with an object, each distinct one once, from `pairs` or, for actions, from `persons`."""
    if annotations.vocabulary_name == vocabulary.name and len(annotations["pairs_verb"]):
        image = annotations.image_rows("pairs")
        human, thing = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
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
        thing, verb = roles[person, action, slot], verb_of[action, slot]
    elif annotations.vocabulary_name == vocabulary.name:
        image = human = thing = verb = np.zeros(0, np.int64)
    else:
        raise ValueError(
            f"no labels in {vocabulary.name!r}: the annotations have pairs in {annotations.vocabulary_name!r}, "
            f"persons in {annotations.actions_vocabulary_name!r}"
        )
    table = np.column_stack([image, human, thing, verb])[(thing >= 0) & (verb >= 0)]
    image, human, thing, verb = np.unique(table, axis=0).reshape(-1, 4).T
    boxes = annotations["instances_xyxy_px"].astype(np.float64).reshape(-1, 4)
    classes = annotations["instances_class"].astype(np.int64)
    return Triplets(image, boxes[human], boxes[thing], classes[thing], verb, np.ones(len(verb)))


def predicted_triplets(store: PredictionStore, annotations: Annotations, vocabulary: Vocabulary) -> Triplets:
    """What the evaluators count: kept pairs with an object, of annotated images, in combinations that exist."""
    row_of = {int(number): row for row, number in enumerate(annotations.image_id)}
    row_of_image = np.array([row_of.get(int(number), -1) for number in store.image_id], np.int64)
    pair, verb = store.trip_pair, store.trip_verb.astype(np.int64)
    image = row_of_image[store.pair_image[pair]]
    object_class = store.pair_object_class[pair].astype(np.int64)
    thing = store.pair_object_xyxy_px[pair].astype(np.float64)
    use = store.pair_kept[pair] & (image >= 0) & (verb != vocabulary.no_interaction)
    use &= np.isfinite(thing).all(axis=1) & (object_class >= 0) & np.isfinite(store.trip_score)
    if vocabulary.hois:
        use &= vocabulary.hoi_table[verb, object_class] >= 0
    human = store.pair_human_xyxy_px[pair].astype(np.float64)
    score = store.trip_score.astype(np.float64)
    return Triplets(image, human, thing, object_class, verb, score).take(np.flatnonzero(use))


def match(
    predicted: Triplets, truth: Triplets, vocabulary: Vocabulary
) -> tuple[Bool[np.ndarray, " predicted"], Bool[np.ndarray, " truth"]]:
    """(which predictions are right, which ground truth is found) by the rule of the official evaluators.

    Same picture and class (verb and object; in action style the verb alone), both boxes at IoU 0.5 or more; a
    ground truth is found once, by the best-scored prediction that overlaps it most.
    """

    def label(t: Triplets) -> np.ndarray:
        return t.verb * len(vocabulary.objects) + t.object_class if vocabulary.hois else t.verb

    predicted_label, classes = label(predicted), len(vocabulary.verbs) * len(vocabulary.objects)
    order = ranking(predicted_label, predicted.score, predicted.image)
    best, overlap = best_truth(
        (predicted.image * classes + predicted_label)[order],
        (predicted.human, predicted.thing),
        order,
        truth.image * classes + label(truth),
        (truth.human, truth.thing),
        plus_one=False,
    )
    hits = first_hits(best, overlap >= MATCH_IOU)
    right, found = np.zeros(len(order), bool), np.zeros(len(truth.image), bool)
    right[order[hits]] = True
    found[best[hits]] = True
    return right, found


def _spread(rows: Iterable[int], triplets: Triplets, limit: int) -> list[int]:
    """The first `limit` of `rows` that repeat neither a picture nor a class of those before."""
    seen: set[tuple[int, ...]] = set()
    kept: list[int] = []
    for row in rows:
        if len(kept) >= limit:
            break
        keys = {(int(triplets.image[row]),), (int(triplets.verb[row]), int(triplets.object_class[row]))}
        if not keys & seen:
            seen |= keys
            kept.append(int(row))
    return kept


def _box(corners: np.ndarray) -> Box:
    x1, y1, x2, y2 = (float(c) for c in corners)
    return (x1, y1, x2, y2)


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Turns chosen rows into examples."""

    predicted: Triplets
    truth: Triplets
    hit: np.ndarray
    vocabulary: Vocabulary
    annotations: Annotations

    def of_prediction(self, row: int) -> Example:
        p = self.predicted
        title = self._name(p, row)
        verdict = "right" if self.hit[row] else "wrong"
        return self._example(verdict, p, row, f"Score {p.score[row]:.2f}. {self._why(row)}", (self._drawn(row),), title)

    def of_missed(self, row: int, order: np.ndarray) -> Example:
        image = self.truth.image[row]
        strongest = order[self.predicted.image[order] == image][:3]
        caption = "No prediction has this class and fits both boxes. Drawn are the strongest of the picture."
        if not len(strongest):
            caption = "Nothing was predicted in this picture."
        drawn = tuple(self._drawn(int(r)) for r in strongest)
        return self._example("missed", self.truth, row, caption, drawn, self._name(self.truth, row))

    def _why(self, row: int) -> str:
        if self.hit[row]:
            return "Person, object and verb agree with the ground truth."
        here = self.truth.image == self.predicted.image[row]
        if not here.any():
            return "The picture has no labelled interaction."
        if not np.any(self.truth.verb[here] == self.predicted.verb[row]):
            return f"Nobody in the picture is labelled with {self._verb(self.predicted, row)!r}."
        return "The verb occurs in the picture, but with another object, elsewhere, or it was found already."

    def _verb(self, triplets: Triplets, row: int) -> str:
        return self.vocabulary.verbs[triplets.verb[row]].replace("_", " ")

    def _name(self, triplets: Triplets, row: int) -> str:
        return f"{self._verb(triplets, row)} {self._object(triplets.object_class[row]).replace('_', ' ')}"

    def _object(self, object_class: int) -> str:
        return self.vocabulary.objects[object_class]

    def _drawn(self, row: int) -> Interaction:
        p = self.predicted
        verbs = ((self.vocabulary.verbs[p.verb[row]], float(p.score[row])),)
        name = self._object(p.object_class[row])
        return Interaction(_box(p.human[row]), _box(p.thing[row]), name, verbs, bool(self.hit[row]))

    def _true_in(self, image: int, with_none: bool) -> tuple[Interaction, ...]:
        """Ground truth of one picture, the verbs of a pair together; pairs that do nothing only if asked for."""
        t, verbs = self.truth, dict[tuple[Box, Box, str], list[str]]()
        for row in np.flatnonzero((t.image == image) & (with_none | (t.verb != self.vocabulary.no_interaction))):
            key = (_box(t.human[row]), _box(t.thing[row]), self._object(t.object_class[row]))
            verbs.setdefault(key, []).append(self.vocabulary.verbs[t.verb[row]])
        return tuple(
            Interaction(human, thing, name, tuple((verb, None) for verb in names))
            for (human, thing, name), names in verbs.items()
        )

    def _example(
        self,
        verdict: Literal["right", "wrong", "missed"],
        triplets: Triplets,
        row: int,
        caption: str,
        drawn: tuple[Interaction, ...],
        title: str,
    ) -> Example:
        image = int(triplets.image[row])
        number = int(self.annotations.image_id[image])
        truth = self._true_in(image, with_none=triplets.verb[row] == self.vocabulary.no_interaction)
        return Example(verdict, image, number, title, caption, drawn, truth)
