"""Bootstrap: closed forms, paired differences, determinism, and intervals of real stores."""

import json

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.bootstrap import Resampled, difference, intervals, prediction_rankings, resample
from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.metrics.resampling import action_rankings, hoi_rankings, image_draws, resampled_ap
from hoi_jax.evaluation.score import evaluate
from hoi_jax.vocab.datasets import HICO
from tests.helpers.scored_splits import hico_split, predictions_of
from tests.helpers.worlds import ACTIONS_TOY, TOY, random_action_world, random_world


def one_pair_per_image(found_share, num_images=400):
    """Each image has one pair of class 1; in a share of them it is found, nothing else is predicted."""
    count = int(found_share * num_images)
    box = np.tile([[1.0, 1, 10, 10]], (num_images, 1))
    zero, rows = np.zeros(num_images, int), np.arange(num_images)
    truth = PairTruth(num_images, rows, box, box, zero + 1)
    found = PairDetections(
        rows[:count], box[:count] - 1, box[:count] - 1, rows[:count], zero[:count] + 1, np.linspace(1, 0.5, count)
    )
    return hoi_rankings(truth, found, TOY, hoi_protocol("official", ap="area"))


def test_the_standard_error_of_a_share_is_that_of_the_binomial():
    """Without false positives the area is the recall: a mean of independent images, whose error is known."""
    drawn = resample(one_pair_per_image(0.3), replicates=4000, seed=5)
    interval = intervals(drawn)["default/full"]
    exact = np.sqrt(0.3 * 0.7 / 399)
    assert interval.estimate == pytest.approx(0.3)
    assert interval.standard_error == pytest.approx(exact, rel=0.04)
    assert interval.high - interval.estimate == pytest.approx(1.959964 * interval.standard_error, rel=1e-5)
    assert interval.estimate - interval.low == pytest.approx(interval.high - interval.estimate)
    wide = intervals(drawn, level=0.99)["default/full"]
    assert (wide.high - wide.low) / (interval.high - interval.low) == pytest.approx(2.575829 / 1.959964, rel=1e-5)


@pytest.mark.parametrize("positives", [2, 3, 10])
def test_a_class_with_few_positives_has_the_spread_of_the_unbiased_variance(positives):
    """Recall of one class in many empty images; the draws' variance misses the unbiased one by (n - 1) / n."""
    num_images, half = 2000, positives // 2
    box, rows, zero = np.tile([[1.0, 1, 10, 10]], (positives, 1)), np.arange(positives), np.zeros(positives, int)
    truth = PairTruth(num_images, rows, box, box, zero + 1)
    hit = slice(0, half)
    found = PairDetections(rows[hit], box[hit] - 1, box[hit] - 1, rows[hit], zero[hit] + 1, np.linspace(1, 0.5, half))
    ranking = hoi_rankings(truth, found, TOY, hoi_protocol("official", ap="area"))[0]
    plain = resampled_ap(ranking, image_draws(num_images, 3000, 0))[1]
    drawn = resample([ranking], replicates=3000, seed=0)
    ratio = np.nanstd(drawn.samples["default/full"], ddof=1) / np.nanstd(plain, ddof=1)
    assert ratio == pytest.approx(np.sqrt(positives / (positives - 1)))


def test_perfect_predictions_have_no_uncertainty():
    interval = intervals(resample(one_pair_per_image(1.0), replicates=50))["default/full"]
    assert (interval.low, interval.estimate, interval.high) == (1.0, 1.0, 1.0)


def test_the_difference_of_a_ranking_with_itself_is_exactly_zero():
    drawn = resample(one_pair_per_image(0.5), replicates=50)
    for interval in intervals(difference(drawn, drawn)).values():
        if not np.isnan(interval.estimate):
            assert (interval.low, interval.high, interval.standard_error) == (0.0, 0.0, 0.0)


def test_a_paired_difference_is_surer_than_two_separate_scores():
    first, second = (resample(one_pair_per_image(share), replicates=500) for share in (0.5, 0.55))
    paired = intervals(difference(first, second))["default/full"]
    apart = [intervals(drawn)["default/full"].standard_error for drawn in (first, second)]
    assert paired.estimate == pytest.approx(0.05)
    assert paired.standard_error == pytest.approx(np.sqrt(0.05 * 0.95 / 399), rel=0.1)
    assert paired.standard_error < 0.5 * np.hypot(*apart)


def test_equal_seeds_give_equal_draws_and_others_do_not():
    truth, found = random_world(7)
    rankings = hoi_rankings(truth, found, TOY, hoi_protocol("official"))
    drawn = [resample(rankings, replicates=30, seed=seed) for seed in (1, 1, 2)]
    for name in drawn[0].samples:
        np.testing.assert_array_equal(drawn[0].samples[name], drawn[1].samples[name])
    assert any(not np.array_equal(drawn[0].samples[n], drawn[2].samples[n], equal_nan=True) for n in drawn[0].samples)


def test_action_metrics_have_intervals_by_their_names():
    found = intervals(resample(action_rankings(*random_action_world(21), ACTIONS_TOY), replicates=100))
    assert list(found) == ["agent/2", "role_s1/2", "role_s2/2"]
    for interval in found.values():
        assert interval.low <= interval.estimate <= interval.high


def test_undefined_metrics_stay_undefined():
    truth, found = random_world(0)
    nobody = PairTruth(
        truth.num_images, *(getattr(truth, n)[:0] for n in ("image", "human_xyxy_px", "object_xyxy_px", "label"))
    )
    for interval in intervals(
        resample(hoi_rankings(nobody, found, TOY, hoi_protocol("official")), replicates=5)
    ).values():
        assert np.isnan([interval.estimate, interval.low, interval.high, interval.standard_error]).all()


def test_draws_survive_json():
    truth, found = random_world(7)
    drawn = resample(hoi_rankings(truth, found, TOY, hoi_protocol("official")), replicates=20, seed=4)
    again = Resampled.from_json(json.loads(json.dumps(drawn.to_json(), allow_nan=False)))
    assert (again.seed, again.num_images, again.estimates) == (4, truth.num_images, pytest.approx(drawn.estimates))
    for name, values in drawn.samples.items():
        np.testing.assert_allclose(again.samples[name], values, atol=1e-9)
    with pytest.raises(ValueError, match="not the resampled metrics"):
        Resampled.from_json({"seed": 3})


def test_draws_that_do_not_pair_are_refused():
    drawn = resample(one_pair_per_image(0.5), replicates=5)
    with pytest.raises(ValueError, match="seed 0 of 400 images and seed 1 of 400 images"):
        difference(drawn, resample(one_pair_per_image(0.5), replicates=5, seed=1))
    with pytest.raises(ValueError, match="seed 0 of 400 images and seed 0 of 40 images"):
        difference(drawn, resample(one_pair_per_image(0.5, 40), replicates=5))
    with pytest.raises(ValueError, match="numbers of draws differ"):
        difference(drawn, resample(one_pair_per_image(0.5), replicates=6))
    with pytest.raises(ValueError, match="no metric in common"):
        difference(drawn, Resampled({"role_s1/24": 0.5}, {"role_s1/24": np.zeros(5)}, 0, 400))


def test_impossible_settings_are_refused():
    rankings = one_pair_per_image(0.5)
    with pytest.raises(ValueError, match="1 replicates"):
        resample(rankings, replicates=1)
    with pytest.raises(ValueError, match="rankings cover different numbers of images"):
        resample([*rankings, *one_pair_per_image(0.5, 40)])
    with pytest.raises(ValueError, match="level is 95"):
        intervals(resample(rankings, replicates=5), level=95)


def test_a_prediction_file_is_resampled_under_the_numbers_that_it_scores():
    annotations = hico_split(1)
    predictions = predictions_of(annotations, jitter=9)
    result = evaluate(predictions, annotations)
    drawn = resample(prediction_rankings(predictions, annotations, HICO), replicates=20)
    assert {"default/rare", "known_object/full", "zero_shot/rf_uc/unseen"} <= set(drawn.estimates)
    for name, value in drawn.estimates.items():
        assert value == pytest.approx(result.metrics[name], abs=1e-12)
    assert drawn.samples["default/full"].std() > 0
