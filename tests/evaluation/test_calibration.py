"""Reliability: bins by hand, the error as a sum over predictions, and "right" as the evaluator counts it."""

import math

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.calibration import hoi_reliability, reliability
from hoi_jax.evaluation.metrics.hico_det import rank_detections
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.score import hoi_inputs
from hoi_jax.vocab.datasets import HICO
from tests.helpers.pair_worlds import make_image, predictions, world
from tests.helpers.typecheck import unchecked


def test_bins_and_errors_by_hand():
    score = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
    right = np.array([False, True, False, True, True])
    found = reliability(score, right)
    assert found.count.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.right.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    np.testing.assert_allclose(found.mean_score[[0, 1, 9]], [0.05, 0.15, 0.975])
    assert np.isnan(found.share_right[2]) and found.share_right[1] == 0.5
    # (1 x 0.05 + 2 x |0.15 - 0.5| + 2 x |0.975 - 1|) / 5; mean score 0.46, 0.6 are right.
    assert found.ece == pytest.approx(0.16) and found.gap == pytest.approx(-0.14)
    assert found.probabilities


def test_bins_of_equal_counts_by_hand():
    found = reliability(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True]), bins=2)
    # Halves: scores 0.3 against 1 right, 0.7 against 1 right.
    assert found.ece_equal_count == pytest.approx((0.7 + 0.3) / 4)
    assert found.ece == pytest.approx(abs(1.0 - 2) / 4)  # all four lie below 0.5


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_calibrated_scores_have_hardly_any_error_and_squared_ones_the_integral(power):
    rng = np.random.default_rng(0)
    chance = rng.uniform(size=200_000)
    found = reliability(chance**power, rng.uniform(size=chance.size) < chance)
    # Right with chance p, said p^2: the error is the integral of p - p^2, a sixth.
    assert found.ece == pytest.approx(0.0 if power == 1 else 1 / 6, abs=0.01)
    assert found.gap == pytest.approx(0.0 if power == 1 else -1 / 6, abs=0.01)


def test_a_loop_over_predictions_gives_the_same():
    rng = np.random.default_rng(1)
    score, right = rng.uniform(size=300), rng.uniform(size=300) < 0.4
    total = 0.0
    for number in range(10):
        rows = [i for i in range(300) if number / 10 <= score[i] < (number + 1) / 10]
        total += abs(sum(score[i] for i in rows) - sum(right[i] for i in rows))
    assert reliability(score, right).ece == pytest.approx(total / 300)


def test_scores_outside_the_unit_interval_are_no_probabilities():
    for values in ([-0.5, 0.2, 0.9], [0.1, 1.7]):
        found = reliability(np.array(values), np.zeros(len(values), bool))
        assert not found.probabilities and math.isnan(found.ece) and found.count.sum() == len(values)
        assert found.edges[0] == min(0, *values) and found.edges[-1] == max(1, *values)


def test_nothing_predicted_has_no_error_and_bad_input_is_refused():
    empty = reliability(np.zeros(0), np.zeros(0, bool))
    assert math.isnan(empty.ece) and empty.count.sum() == 0
    with pytest.raises(ValueError, match="not finite"):
        reliability(np.array([np.nan]), np.array([True]))
    with unchecked(), pytest.raises(ValueError, match="shape"):
        reliability(np.zeros(2), np.zeros(3, bool))


def test_right_are_the_hits_of_the_evaluator_and_a_duplicate_is_wrong():
    person, bicycle, ride = [10, 10, 30, 50], [40, 10, 60, 50], HICO.verbs.index("ride")
    annotations = world([make_image(1, [(person, bicycle, 1, ride)])])
    pair = {"image": 0, "human": person, "object": bicycle, "class": 1, "score": 0.9}
    found = predictions([1], [pair, pair], trips=[(0, ride, 0.85), (1, ride, 0.35)])
    result = hoi_reliability(found, annotations, HICO, hoi_protocol("official"))
    assert result.count[[3, 8]].tolist() == [1, 1] and result.right[[3, 8]].tolist() == [0, 1]
    truth, detections, _ = hoi_inputs(found, annotations, HICO)
    assert rank_detections(truth, detections, 600, hoi_protocol("official")).hit.sum() == result.right.sum()
