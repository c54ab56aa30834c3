"""Index of the content of every image of a split, and queries on it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.triplets import (
    Interaction,
    Triplets,
    interactions_of,
    match,
    predicted_triplets,
    true_triplets,
)
from hoi_jax.predictions import Predictions
from hoi_jax.vocab import Vocabulary

ERRORS = ("wrong", "missed", "none")
"""Groups of images: with wrong predictions (most confident first), with missed pairs (most first), with neither."""
MANY = 6
"""Images with at least this number of people form one group."""


@dataclasses.dataclass(frozen=True)
class Query:
    """Conditions on images; an empty or None field matches every image."""

    verb: str = ""
    object: str = ""
    people: int | None = None
    errors: str = ""


@dataclasses.dataclass(frozen=True)
class Index:
    """Content of I images in memory, for queries.

    Attributes:
      has_object, has_verb: [I, objects], [I, verbs] whether an image has the object or verb.
      people: [I] number of annotated people.
      wrong_score: [I] score of the most confident wrong prediction; missed: [I] annotated interactions not found. Zeros
        without predictions.
      hit, found: whether each prediction is right, and whether each annotated interaction was found.
    """

    annotations: Annotations
    vocabulary: Vocabulary
    has_object: Bool[np.ndarray, "i o"]
    has_verb: Bool[np.ndarray, "i v"]
    people: Int[np.ndarray, " i"]
    truth: Triplets
    predicted: Triplets | None
    hit: np.ndarray
    found: np.ndarray
    wrong_score: np.ndarray
    missed: np.ndarray

    @property
    def num_images(self) -> int:
        return self.annotations.num_images


def build_index(
    annotations: Annotations,
    vocabulary: Vocabulary,
    predictions: Predictions | None = None,
    *,
    min_score: float | None = None,
) -> Index:
    """Index of a split.

    Args:
      predictions: predictions to judge, if any.
      min_score: predictions below it are left out. None takes the N best, N being the number of annotated interactions,
        since the scale of scores differs between systems.

    Raises:
      ValueError: annotations or predictions use another vocabulary.
    """
    if predictions is not None and predictions.vocabulary_name != vocabulary.name:
        raise ValueError(
            f"predictions use vocabulary {predictions.vocabulary_name!r}; the labels use {vocabulary.name!r}"
        )
    count = annotations.num_images
    truth = true_triplets(annotations, vocabulary)
    classes, of_image = annotations["instances_class"], annotations.image_rows("instances")
    has_object = _table(of_image, classes, count, len(vocabulary.objects))
    has_verb = _table(truth.image, truth.verb, count, len(vocabulary.verbs))
    labels = annotations.image_labels(len(vocabulary.hois)) if vocabulary.hois else None
    if labels is not None:
        image, hoi = np.nonzero(labels == 1)
        has_verb |= _table(image, np.array(vocabulary.hois)[hoi, 0], count, len(vocabulary.verbs))
        if not vocabulary.whole_image:
            has_object |= _table(image, np.array(vocabulary.hois)[hoi, 1], count, len(vocabulary.objects))
    people = np.bincount(of_image[classes == vocabulary.human_class], minlength=count)
    predicted, hit, found = None, np.zeros(0, bool), np.zeros(len(truth.image), bool)
    wrong_score, missed = np.zeros(count), np.zeros(count, np.int64)
    if predictions is not None:
        predicted = predicted_triplets(predictions, annotations, vocabulary)
        interactions = int(np.sum(truth.verb != vocabulary.no_interaction))
        predicted = predicted.take(_confident(predicted.score, min_score, interactions))
        hit, found = match(predicted, truth, vocabulary)
        np.maximum.at(wrong_score, predicted.image[~hit], predicted.score[~hit])
        lost = ~found & (truth.verb != vocabulary.no_interaction)
        missed = np.bincount(truth.image[lost], minlength=count)
    return Index(
        annotations, vocabulary, has_object, has_verb, people, truth, predicted, hit, found, wrong_score, missed
    )


def _confident(score: np.ndarray, min_score: float | None, count: int) -> Int[np.ndarray, " n"]:
    """Rows, in order, with a score of at least `min_score`, or of the `count` best and all ties with the last one."""
    if min_score is None:
        min_score = np.partition(score, -count)[-count] if 0 < count <= len(score) else -np.inf
    return np.flatnonzero(score >= min_score)


def _table(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    table = np.zeros((height, width), bool)
    good = (columns >= 0) & (columns < width)
    table[rows[good], columns[good]] = True
    return table


def select(index: Index, query: Query) -> Int[np.ndarray, " rows"]:
    """Rows of the images that match a query, in the order of the dataset or of `ERRORS`.

    Raises:
      ValueError: a name is unknown; the message has it.
    """
    good = np.ones(index.num_images, bool)
    if query.verb:
        good &= index.has_verb[:, _position(index.vocabulary.verbs, query.verb, "verb")]
    if query.object:
        good &= index.has_object[:, _position(index.vocabulary.objects, query.object, "object")]
    if query.people is not None:
        good &= (index.people >= MANY) if query.people >= MANY else (index.people == query.people)
    if not query.errors:
        return np.flatnonzero(good)
    _position(ERRORS, query.errors, "kind of error")
    if query.errors == "none":
        return np.flatnonzero(good & (index.wrong_score == 0) & (index.missed == 0))
    weight = index.wrong_score if query.errors == "wrong" else index.missed
    rows = np.flatnonzero(good & (weight > 0))
    return rows[np.argsort(-weight[rows], kind="stable")]


def _position(names: tuple[str, ...], name: str, what: str) -> int:
    if name not in names:
        raise ValueError(f"unknown {what} {name[:60]!r}")
    return names.index(name)


def facets(index: Index) -> dict[str, Any]:
    """Available filter values, with the number of images of each."""

    def named(names: tuple[str, ...], table: np.ndarray) -> list[dict[str, Any]]:
        counts = table.sum(axis=0).tolist()
        return [{"name": name, "count": count} for name, count in zip(names, counts, strict=True) if count]

    crowd = np.bincount(np.minimum(index.people, MANY), minlength=MANY + 1).tolist()
    errors = {kind: len(select(index, Query(errors=kind))) for kind in ERRORS} if index.predicted is not None else {}
    return {
        "images": index.num_images,
        "verbs": named(index.vocabulary.verbs, index.has_verb),
        "objects": named(index.vocabulary.objects, index.has_object),
        "people": [{"name": str(number), "count": count} for number, count in enumerate(crowd) if count],
        "errors": [{"name": name, "count": count} for name, count in errors.items()],
        "many": MANY,
    }


def annotated(index: Index, row: int, *, with_none: bool = True) -> list[Interaction]:
    """The annotated interactions of an image; with predictions, those not found are marked wrong.

    Args:
      with_none: include pairs labelled as no interaction, which are not expected to be found.
    """
    rows = np.flatnonzero(index.truth.image == row)
    if not with_none:
        rows = rows[index.truth.verb[rows] != index.vocabulary.no_interaction]
    judged = index.found if index.predicted is not None else None
    return interactions_of(index.truth, rows, index.vocabulary, judged, with_score=False)


def predicted(index: Index, row: int) -> list[Interaction]:
    """The predicted interactions of an image, best first, right and wrong ones marked."""
    if index.predicted is None:
        return []
    rows = np.flatnonzero(index.predicted.image == row)
    rows = rows[np.argsort(-index.predicted.score[rows], kind="stable")]
    return interactions_of(index.predicted, rows, index.vocabulary, index.hit, with_score=True)


def details(index: Index, row: int) -> Mapping[str, Any]:
    """Description of an image for the page. Raises IndexError for a row out of range."""
    if not 0 <= row < index.num_images:
        raise IndexError(f"row {row} of {index.num_images}")

    def lines(found: list[Interaction]) -> list[dict[str, Any]]:
        return [
            {
                "text": f"{', '.join(_said(*verb) for verb in one.verbs)}: {one.object_name.replace('_', ' ')}",
                "correct": one.correct,
            }
            for one in found
        ]

    height, width = (int(side) for side in index.annotations.original_hw_px[row])
    return {
        "row": row,
        "image_id": int(index.annotations.image_id[row]),
        "name": str(index.annotations.file_name[row]),
        "size": [width, height],
        "people": int(index.people[row]),
        "truth": lines(annotated(index, row)),
        "predicted": lines(predicted(index, row)),
    }


def _said(verb: str, score: float | None) -> str:
    return verb if score is None else f"{verb} {score:.2f}"
