"""Trivial baselines: class frequencies and box distances, scored without looking at the image."""

import dataclasses

import numpy as np
from jaxtyping import Float

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.matching import same_group
from hoi_jax.predictions import Predictions, check_prediction_arrays
from hoi_jax.vocab.tables import Vocabulary


def verb_frequencies(train: Annotations, vocabulary: Vocabulary) -> Float[np.ndarray, "verbs objects"]:
    """P(verb | object class) over the annotated pairs of `train`; zero for an object without pairs."""
    obj = train.instance_rows("pairs_object")
    verb, has_object = train["pairs_verb"], obj >= 0
    object_class = train["instances_class"][obj[has_object]]
    counts = np.zeros((len(vocabulary.verbs), len(vocabulary.objects)))
    np.add.at(counts, (verb[has_object], object_class), 1.0)
    return counts / np.maximum(counts.sum(0, keepdims=True), 1.0)


def verb_rates(train: Annotations, vocabulary: Vocabulary) -> Float[np.ndarray, "verbs objects"]:
    """Annotated pairs per candidate pair (a person with another detection), by verb and object class; at most 1.

    A stronger baseline than `verb_frequencies` where one class spans many objects: verbs of objects that often appear
    beside people without being used get low rates. For HOI classes, which have one object each, both rank alike.
    """
    obj = train.instance_rows("pairs_object")
    verb, has_object = train["pairs_verb"], obj >= 0
    annotated = np.zeros((len(vocabulary.verbs), len(vocabulary.objects)))
    np.add.at(annotated, (verb[has_object], train["instances_class"][obj[has_object]]), 1.0)
    image, classes = train.image_rows("detections"), train["detections_class"]
    people = np.bincount(image[classes == vocabulary.human_class], minlength=train.num_images)
    partners = people[image] - (classes == vocabulary.human_class)
    candidates = np.bincount(classes, partners, minlength=len(vocabulary.objects))
    return np.minimum(annotated / np.maximum(candidates, 1.0), 1.0)


def frequency_baseline(train: Annotations, test: Annotations, vocabulary: Vocabulary) -> Predictions:
    """All pairs of a detected person and another detection, scored by both detector scores times P(verb | object).

    Args:
      train: split whose verbs are counted. test: split whose `detections` are paired.

    Raises:
      ValueError: a split is not labelled in `vocabulary`, or `test` has no detections.
    """
    for split, name in ((train, "train"), (test, "test")):
        if split.vocabulary_name != vocabulary.name:
            raise ValueError(f"{name} is labelled in {split.vocabulary_name!r}, expected {vocabulary.name!r}")
    if not len(test["detections_class"]):
        raise ValueError("the test annotations hold no detections to pair")
    image = test.image_rows("detections")
    boxes, classes, confidence = (test[f"detections_{name}"] for name in ("xyxy_px", "class", "score"))
    people = np.flatnonzero(classes == vocabulary.human_class)
    human, obj = same_group(image[people], image)
    human = people[human]
    human, obj = human[human != obj], obj[human != obj]

    frequency = verb_frequencies(train, vocabulary)[:, classes[obj]].T
    pair, verb = np.nonzero(frequency)
    score = (confidence[human] * confidence[obj])[pair] * frequency[pair, verb]
    count, nothing = len(human), np.float32(np.nan)
    predictions = Predictions(
        {"vocabulary": vocabulary.name, "system": "class-frequency baseline", "train": train.fingerprint},
        image_id=test.image_id,
        image_hw_px=test.original_hw_px.astype(np.int64),
        pair_image=image[human],
        pair_human_xyxy_px=boxes[human],
        pair_object_xyxy_px=boxes[obj],
        pair_object_class=classes[obj].astype(np.int64),
        pair_human_score=confidence[human],
        pair_object_score=confidence[obj],
        pair_interactiveness=np.full(count, nothing),
        pair_part_scores=np.full((count, 6), nothing),
        pair_nis_keep=np.ones(count, bool),
        triplet_pair=pair,
        triplet_verb=verb,
        triplet_score=score.astype(np.float32),
        agent_image=np.zeros(0, np.int64),
        agent_xyxy_px=np.zeros((0, 4), np.float32),
        agent_scores=np.zeros((0, len(vocabulary.verbs)), np.float32),
        hoi_scores=np.zeros((test.num_images, 0), np.float32),
    )
    check_prediction_arrays(predictions, "class-frequency baseline")
    return predictions


def frequency_of_pairs(
    predictions: Predictions, train: Annotations, vocabulary: Vocabulary, *, per_candidate: bool = False
) -> Predictions:
    """The same candidate pairs as `predictions`, none suppressed, scored as in `frequency_baseline`.

    Args:
      per_candidate: score by `verb_rates` instead of `verb_frequencies`.

    Raises:
      ValueError: predictions or training labels are not in `vocabulary`.
    """
    for name, given in (("predictions", predictions.vocabulary_name), ("train", train.vocabulary_name)):
        if given != vocabulary.name:
            raise ValueError(f"{name} use vocabulary {given!r}, expected {vocabulary.name!r}")
    object_class = predictions.pair_object_class
    rows = np.where(object_class >= 0, object_class, 0)
    table = verb_rates(train, vocabulary) if per_candidate else verb_frequencies(train, vocabulary)
    frequency = np.where((object_class >= 0)[:, None], table[:, rows].T, 0.0)
    pair, verb = np.nonzero(frequency)
    confidence = np.nan_to_num(predictions.pair_human_score * predictions.pair_object_score, nan=1.0)
    return dataclasses.replace(
        predictions,
        manifest={**predictions.manifest, "system": "class frequency of the same pairs", "train": train.fingerprint},
        pair_interactiveness=np.full(len(rows), np.float32(np.nan)),
        pair_nis_keep=np.ones(len(rows), bool),
        triplet_pair=pair,
        triplet_verb=verb,
        triplet_score=(confidence[pair] * frequency[pair, verb]).astype(np.float32),
        agent_image=np.zeros(0, np.int64),
        agent_xyxy_px=np.zeros((0, 4), np.float32),
        agent_scores=np.zeros((0, len(vocabulary.verbs)), np.float32),
    )


def box_distance_interactiveness(predictions: Predictions) -> Predictions:
    """Interactiveness of the same pairs by box distance: human score x object score x exp(-distance).

    The distance is that of the box centres in units of the person's diagonal; a missing detector score counts as 1.
    This baseline is our own, not taken from a paper.
    """
    human, obj = (
        np.asarray(box, np.float64) for box in (predictions.pair_human_xyxy_px, predictions.pair_object_xyxy_px)
    )
    apart = np.linalg.norm((human[:, :2] + human[:, 2:] - obj[:, :2] - obj[:, 2:]) / 2, axis=1)
    diagonal = np.linalg.norm(human[:, 2:] - human[:, :2], axis=1)
    detected = [
        np.nan_to_num(score, nan=1.0) for score in (predictions.pair_human_score, predictions.pair_object_score)
    ]
    score = detected[0] * detected[1] * np.exp(-apart / np.maximum(diagonal, 1e-9))
    return dataclasses.replace(
        predictions,
        manifest={**predictions.manifest, "interactiveness": "box distance"},
        pair_interactiveness=np.where(np.isnan(score), 0.0, score).astype(np.float32),  # NaN: no object box
    )
