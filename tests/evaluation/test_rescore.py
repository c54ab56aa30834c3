"""Pairs of one system scored by another: the function sees the right images and boxes, and its scores land there."""

import dataclasses

import numpy as np
import pytest

from hoi_jax.evaluation.postprocess.rescore import load_scorer, pairs_to_score, rescored
from hoi_jax.io import DataError
from hoi_jax.predictions import Predictions

VERBS = 3
NAN = np.float32(np.nan)


def example_predictions() -> Predictions:
    """Two images; pairs in mixed order, one without object, one suppressed, one outside its image."""
    human = np.array([[1, 1, 5, 9], [2, 0, 6, 6], [0, 0, 4, 4], [-3, 2, 4, 40], [3, 3, 9, 9], [30, 1, 40, 4]], float)
    obj = np.array([[5, 1, 9, 9], [6, 0, 8, 6], [4, 4, 7, 7], [4, 2, 99, 9], [NAN] * 4, [1, 1, 3, 3]], float)
    return Predictions(
        {"vocabulary": "toy", "system": "body_part"},
        image_id=np.array([70, 12]), image_hw_px=np.array([[20, 10], [12, 24]]),
        pair_image=np.array([1, 0, 1, 1, 0, 0]),
        pair_human_xyxy_px=human.astype(np.float32), pair_object_xyxy_px=obj.astype(np.float32),
        pair_object_class=np.array([2, 1, 0, 1, -1, 1]),
        pair_human_score=np.full(6, NAN), pair_object_score=np.float32([0.5, 0.25, 1, 0.5, 1, 1]),
        pair_interactiveness=np.float32([0.9, 0.2, 0.8, 0.6, 0.7, 0.9]), pair_part_scores=np.full((6, 6), NAN),
        pair_nis_keep=np.array([True, True, False, True, True, True]),
        triplet_pair=np.array([0]), triplet_verb=np.array([2]), triplet_score=np.float32([0.1]),
        agent_image=np.zeros(0, np.int64), agent_xyxy_px=np.zeros((0, 4), np.float32),
        agent_scores=np.zeros((0, VERBS), np.float32), hoi_scores=np.zeros((2, 0), np.float32),
    )  # fmt: skip


def iterate_images():
    """Every pixel says which image it is of."""
    yield 12, np.full((12, 24, 3), 12, np.uint8)
    yield 99, np.zeros((5, 5, 3), np.uint8)
    yield 70, np.full((20, 10, 3), 70, np.uint8)


def toy_scorer(image, human, obj, label):
    """Scores that can be told apart: image, left edge of the human box, right edge of the object, class."""
    number = np.full(len(human), float(image[0, 0, 0]))
    return np.stack([number + human[:, 0] / 16, obj[:, 2], label.astype(float)], axis=1)


def test_kept_pairs_with_an_object_inside_the_image_are_handed_on_by_image():
    predictions = example_predictions()
    np.testing.assert_array_equal(pairs_to_score(predictions), [1, 0, 3])
    np.testing.assert_array_equal(pairs_to_score(predictions, min_interactiveness=0.5), [0, 3])
    np.testing.assert_array_equal(pairs_to_score(predictions, max_per_image=1), [1, 0])
    nothing_known = dataclasses.replace(predictions, pair_interactiveness=np.full(6, NAN))
    assert len(pairs_to_score(nothing_known, min_interactiveness=0.5)) == 0
    np.testing.assert_array_equal(pairs_to_score(nothing_known), [1, 0, 3])


def test_scores_of_the_function_land_at_their_pairs_times_the_pairs_score_and_boxes_are_cut_to_the_image():
    predictions = example_predictions()
    joined = rescored(predictions, iterate_images(), toy_scorer, num_verbs=VERBS)
    got = {(p, v): s for p, v, s in zip(joined.triplet_pair, joined.triplet_verb, joined.triplet_score, strict=True)}
    assert got == {
        (0, 0): 0.5 * (12 + 1 / 16), (0, 1): 0.5 * 9, (0, 2): 0.5 * 2,
        (1, 0): 0.25 * (70 + 2 / 16), (1, 1): 0.25 * 8, (1, 2): 0.25 * 1,
        (3, 0): 0.5 * 12, (3, 1): 0.5 * 24, (3, 2): 0.5 * 1,
    }  # fmt: skip
    np.testing.assert_array_equal(joined.pair_nis_keep, [True, True, False, True, False, False])
    np.testing.assert_array_equal(joined.pair_interactiveness, predictions.pair_interactiveness)
    plain = rescored(predictions, iterate_images(), toy_scorer, num_verbs=VERBS, factors=())
    assert plain.triplet_score.max() == np.float32(70 + 2 / 16)
    both = rescored(
        predictions, iterate_images(), toy_scorer, num_verbs=VERBS, factors=("human_score", "interactiveness")
    )
    np.testing.assert_allclose(both.triplet_score[both.triplet_pair == 3][1], 24 * 0.6, rtol=1e-6)  # no human score: 1


@pytest.mark.parametrize(
    ("scorer", "shown", "message"),
    [
        (lambda *a: np.zeros((1, VERBS)), None, "the scores of 2 pairs have shape"),
        (lambda *a: np.full((len(a[1]), VERBS), np.nan), None, "finite"),
        (toy_scorer, [(12, np.zeros((12, 24, 3), np.uint8))], r"1 images with pairs are missing, .* \[70\]"),
        (toy_scorer, [(12, np.zeros((24, 12, 3), np.uint8))], "the predictions have"),
    ],
)
def test_wrong_scores_and_missing_images_are_refused(scorer, shown, message):
    with pytest.raises(ValueError, match=message):
        rescored(example_predictions(), iterate_images() if shown is None else shown, scorer, num_verbs=VERBS)


def test_a_scorer_is_found_by_name():
    assert load_scorer("operator:itemgetter", "a")({"a": 3}) == 3  # type: ignore[call-arg]
    with pytest.raises(DataError, match="package.module:function"):
        load_scorer("operator:nothing", "")
