"""Selection of example images: confident correct predictions, confident wrong ones, missed interactions.

The evaluators' matching decides which predictions are right, so that images and scores agree. The choice is
deterministic: by score, ties in the order of the predictions.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.triplets import Interaction, Triplets, box_of, interactions_of
from hoi_jax.report.analysis import Analysis
from hoi_jax.report.html import ExampleImage
from hoi_jax.visualization.interactions import draw_interactions
from hoi_jax.vocab import Vocabulary


@dataclasses.dataclass(frozen=True)
class Example:
    """One example image.

    Attributes:
      verdict: "right", "wrong" (predicted, but not annotated) or "missed" (annotated, but not found).
      image_row: row of the annotations. image_id: the dataset's image number.
      title: e.g. "ride bicycle"; caption: explanation in one sentence.
      predicted, true: interactions drawn on the left and on the right.
    """

    verdict: Literal["right", "wrong", "missed"]
    image_row: int
    image_id: int
    title: str
    caption: str
    predicted: tuple[Interaction, ...]
    true: tuple[Interaction, ...]


def choose_examples(
    analysis: Analysis,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    right: int = 4,
    wrong: int = 4,
    missed: int = 2,
) -> list[Example]:
    """Choose example images; within a verdict neither images nor classes repeat.

    Suppressed pairs, predictions without an object and the verb "no interaction" are left out.

    Args:
      right, wrong, missed: maximum number of each.

    Returns:
      Right ones, then wrong ones, both by falling score, then missed ones, starting with images with the most missed
      interactions.
    """
    truth, found, predicted, hit = analysis.truth, analysis.found, analysis.predicted, analysis.right
    order = np.argsort(-predicted.score, kind="stable")
    choice = _Choice(predicted, truth, hit, vocabulary, annotations)
    examples = [choice.of_prediction(row) for row in _spread(order[hit[order]], predicted, right)]
    examples += [choice.of_prediction(row) for row in _spread(order[~hit[order]], predicted, wrong)]
    unseen = np.flatnonzero(~found)
    per_image = np.bincount(truth.image[unseen], minlength=annotations.num_images)
    unseen = unseen[np.argsort(-per_image[truth.image[unseen]], kind="stable")]
    return examples + [choice.of_missed(row, order) for row in _spread(unseen, truth, missed)]


def example_images(examples: Iterable[Example], images: Mapping[int, UInt8[np.ndarray, "h w 3"]]) -> list[ExampleImage]:
    """Draw examples, for `ReportInput.examples`.

    Args:
      images: `image_id` -> image [H, W, 3] uint8 in its original size.

    Raises:
      ValueError: the image of an example is not among `images`.
    """
    photos = []
    for example in examples:
        if example.image_id not in images:
            raise ValueError(f"image {example.image_id} of example {example.title!r} is missing")
        image = images[example.image_id]
        left, right = draw_interactions(image, example.predicted), draw_interactions(image, example.true)
        caption = f"{example.caption} (Image {example.image_id}.)"
        photos.append(ExampleImage(example.verdict, example.title, caption, left, right))
    return photos


def _spread(rows: Int[np.ndarray, " rows"], triplets: Triplets, limit: int) -> list[int]:
    """The first `limit` of `rows` that do not repeat an image or class of an earlier one."""
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


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Converter of chosen rows to examples."""

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
        caption = "No prediction has this class and fits both boxes. The strongest predictions of the image are drawn."
        if not len(strongest):
            caption = "Nothing was predicted in this image."
        drawn = tuple(self._drawn(int(r)) for r in strongest)
        return self._example("missed", self.truth, row, caption, drawn, self._name(self.truth, row))

    def _why(self, row: int) -> str:
        if self.hit[row]:
            return "Person, object and verb agree with the ground truth."
        here = self.truth.image == self.predicted.image[row]
        if not here.any():
            return "The image has no labelled interaction."
        if not np.any(self.truth.verb[here] == self.predicted.verb[row]):
            return f"No person in the image is labelled with {self._verb(self.predicted, row)!r}."
        return "The verb occurs in the image, but with another object or elsewhere, or its pair was already found."

    def _verb(self, triplets: Triplets, row: int) -> str:
        return self.vocabulary.verbs[triplets.verb[row]].replace("_", " ")

    def _name(self, triplets: Triplets, row: int) -> str:
        return f"{self._verb(triplets, row)} {self._object(int(triplets.object_class[row])).replace('_', ' ')}"

    def _object(self, object_class: int) -> str:
        return self.vocabulary.objects[object_class]

    def _drawn(self, row: int) -> Interaction:
        p = self.predicted
        verbs = ((self.vocabulary.verbs[p.verb[row]], float(p.score[row])),)
        name = self._object(int(p.object_class[row]))
        return Interaction(box_of(p.human[row]), box_of(p.obj[row]), name, verbs, bool(self.hit[row]))

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
        rows = np.flatnonzero(self.truth.image == image)
        true = interactions_of(self.truth, rows, self.vocabulary, None, with_score=False)
        return Example(verdict, image, number, title, caption, drawn, tuple(true))
