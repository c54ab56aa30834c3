"""Which examples are chosen, and that right and wrong agree with the evaluators."""

import dataclasses

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.triplets import match, predicted_triplets, true_triplets
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.score import evaluate_hoi_predictions
from hoi_jax.report.analysis import analyse
from hoi_jax.report.examples import choose_examples, example_images
from tests.helpers.report_examples import (
    BALL,
    CUP,
    FAR,
    HOLD,
    KICK,
    LOOK,
    MAN,
    OBJECT,
    VOCABULARY,
    annotations,
    predictions,
)


def choose(predictions, truth, **limits):
    analysis = analyse(predictions, truth, VOCABULARY, hoi_protocol("official"))
    return choose_examples(analysis, truth, VOCABULARY, **limits)


def summary(examples):
    return [(e.verdict, e.image_id, e.title) for e in examples]


def test_right_wrong_and_missed_are_told_apart():
    truth = annotations([(1, KICK)], [(2, HOLD)], [(1, LOOK)])
    rows = [
        (0, MAN, OBJECT, BALL, KICK, 0.9),
        (1, MAN, OBJECT, BALL, HOLD, 0.8),  # the man holds the cup, not the ball
        (0, MAN, FAR, BALL, KICK, 0.3),
    ]
    examples = choose(predictions(rows, [100, 101]), truth)
    # The third prediction shares its class with none of the wrong ones, its image neither.
    assert summary(examples) == [
        ("right", 100, "kick ball"),
        ("wrong", 101, "hold ball"),
        ("wrong", 100, "kick ball"),
        ("missed", 101, "hold cup"),
        ("missed", 102, "look at ball"),
    ]
    assert examples[0].predicted[0].correct is True and examples[1].predicted[0].correct is False
    assert examples[3].true[0].verbs == (("hold", None),) and examples[3].true[0].object_name == "cup"
    assert "Nothing was predicted" in examples[4].caption


def test_a_ground_truth_is_found_once_and_by_the_best_score():
    truth = annotations([(1, KICK)])
    rows = [(0, MAN, OBJECT, BALL, KICK, 0.5), (0, MAN, OBJECT, BALL, KICK, 0.7)]
    predicted = predicted_triplets(predictions(rows, [100]), truth, VOCABULARY)
    right, found = match(predicted, true_triplets(truth, VOCABULARY), VOCABULARY)
    assert right.tolist() == [False, True] and found.tolist() == [True]


@pytest.mark.parametrize(("shift", "hit"), [(6.0, True), (7.0, False)])
def test_both_boxes_need_half_overlap(shift, hit):
    # Two 20 px squares shifted by s overlap with IoU (20-s)/(20+s): 14/26 and 13/27.
    moved = (OBJECT[0] + shift, OBJECT[1], OBJECT[2] + shift, OBJECT[3])
    truth = annotations([(1, KICK)])
    predicted = predicted_triplets(predictions([(0, MAN, moved, BALL, KICK, 0.5)], [100]), truth, VOCABULARY)
    right, _ = match(predicted, true_triplets(truth, VOCABULARY), VOCABULARY)
    assert right.tolist() == [hit]


def test_suppressed_pairs_no_interaction_and_missing_objects_are_not_shown():
    truth = annotations([(1, KICK)])
    nothing = (np.nan,) * 4
    rows = [
        (0, MAN, OBJECT, BALL, KICK, 0.9),
        (0, MAN, OBJECT, BALL, VOCABULARY.no_interaction, 0.8),
        (0, MAN, nothing, BALL, KICK, 0.7),
    ]
    examples = choose(predictions(rows, [100], kept=[False, True, True]), truth)
    assert summary(examples) == [("missed", 100, "kick ball")]


def test_no_image_and_no_class_comes_twice_with_one_verdict():
    truth = annotations(*[[(1, KICK), (2, HOLD), (1, LOOK)]] * 4)
    rows = [
        (image, MAN, OBJECT if v != HOLD else FAR, BALL if v != HOLD else CUP, v, 0.9 - 0.1 * image - 0.01 * v)
        for image in range(4)
        for v in (KICK, HOLD, LOOK)
    ]
    examples = choose(predictions(rows, [100, 101, 102, 103]), truth, right=9)
    assert summary(examples) == [
        ("right", 100, "kick ball"), ("right", 101, "hold cup"), ("right", 102, "look at ball"),
    ]  # fmt: skip


def test_right_predictions_are_those_that_the_evaluator_counts():
    """Right predictions per class over its 12 ground truths is the recall that the evaluator reports."""
    rng = np.random.default_rng(3)
    truth = annotations(*[[(1, KICK), (2, HOLD)] for _ in range(12)])
    rows = []
    for image in range(12):
        for box, cls, verb in ((OBJECT, BALL, KICK), (FAR, CUP, HOLD)):
            jitter = rng.normal(0, 4, 4)
            rows.append((image, np.add(MAN, jitter), np.add(box, jitter / 2), cls, verb, rng.uniform(0.1, 1)))
    every = predictions(rows, list(range(100, 112)))
    predicted = predicted_triplets(every, truth, VOCABULARY)
    right, found = match(predicted, true_triplets(truth, VOCABULARY), VOCABULARY)
    assert 0 < right.sum() < len(right)
    recall = evaluate_hoi_predictions(every, truth, VOCABULARY).per_class["default/max_recall"]
    for verb, cls in ((KICK, BALL), (HOLD, CUP)):
        expected = right[predicted.verb == verb].sum() / 12
        assert recall[VOCABULARY.hoi_table[verb, cls]] == pytest.approx(expected)
    assert found.sum() == right.sum()


def test_labels_of_another_vocabulary_are_refused():
    other = dataclasses.replace(annotations([(1, KICK)]), vocabulary_name="hico_det")
    with pytest.raises(ValueError, match="no labels use vocabulary 'hoi_scenes'"):
        true_triplets(other, VOCABULARY)


def test_examples_become_images_and_a_missing_image_is_named():
    truth = annotations([(1, KICK)])
    examples = choose(predictions([(0, MAN, OBJECT, BALL, KICK, 0.9)], [100]), truth)
    drawn = example_images(examples, {100: np.zeros((100, 100, 3), np.uint8)})
    assert [(d.verdict, d.prediction.size, d.truth.size) for d in drawn] == [("right", (640, 640), (640, 640))]
    with pytest.raises(ValueError, match="image 100"):
        example_images(examples, {})
