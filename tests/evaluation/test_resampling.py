"""Reweighted rankings equal the evaluator run on literally repeated images."""

import dataclasses

import numpy as np
import pytest

from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth, evaluate_hoi
from hoi_jax.evaluation.metrics.protocols import HOI_PRESETS, HoiProtocol, hoi_protocol
from hoi_jax.evaluation.metrics.resampling import (
    action_rankings,
    hoi_rankings,
    image_draws,
    mean_over_classes,
    resampled_ap,
)
from hoi_jax.evaluation.metrics.vcoco import ActionDetections, ActionTruth, evaluate_actions
from tests.helpers.worlds import ACTIONS_TOY, TOY, random_action_world, random_world

PROTOCOLS = {
    "official": hoi_protocol("official"),
    "qpic": hoi_protocol("qpic"),
    "upt": hoi_protocol("upt"),
    "consnet": hoi_protocol("consnet"),
    "area": HoiProtocol(ap="area"),
    "cap2": HoiProtocol(max_per_image=2, thresholds="tenths"),
}


def distinct_scores(values, seed):
    """Ties between different detections have no order that copies could keep."""
    ranks = np.random.default_rng(seed).permutation(values.size).reshape(values.shape) + 1.0
    return np.where(np.isnan(values), np.nan, ranks)


def means_of(rankings, weights):
    return {
        name: mean_over_classes(resampled_ap(ranking, weights), mask)
        for ranking in rankings
        for name, mask in ranking.means.items()
    }


def pair_world(seed):
    truth, found = random_world(seed)
    return truth, dataclasses.replace(found, triplet_score=distinct_scores(found.triplet_score, seed))


def repeated(copies, *images):
    """For each array of image rows: (rows to take, their new image), one new image per copy."""
    start = np.cumsum(copies) - copies
    for image in images:
        count = copies[image]
        rows = np.repeat(np.arange(len(image)), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        yield rows, start[image[rows]] + within


def repeat_pairs(truth, found, copies):
    (g, g_image), (p, p_image) = repeated(copies, truth.image, found.pair_image)
    triplet_copies = copies[found.pair_image[found.triplet_pair]] if len(found.triplet_pair) else np.zeros(0, int)
    trips = np.repeat(np.arange(len(found.triplet_pair)), triplet_copies)
    copy = np.arange(len(trips)) - np.repeat(np.cumsum(triplet_copies) - triplet_copies, triplet_copies)
    first = np.cumsum(copies[found.pair_image]) - copies[found.pair_image]
    return (
        PairTruth(int(copies.sum()), g_image, truth.human_xyxy_px[g], truth.object_xyxy_px[g], truth.label[g]),
        PairDetections(
            p_image,
            found.pair_human_xyxy_px[p],
            found.pair_object_xyxy_px[p],
            first[found.triplet_pair[trips]] + copy,
            found.triplet_label[trips],
            found.triplet_score[trips],
        ),
    )


@pytest.mark.parametrize("name", PROTOCOLS)
def test_weights_equal_repeated_images_in_both_settings(name):
    protocol, found_something = PROTOCOLS[name], 0
    for seed in range(120):
        truth, found = pair_world(seed)
        weights = image_draws(truth.num_images, 3, seed)
        rankings = hoi_rankings(truth, found, TOY, protocol)
        ours = [resampled_ap(ranking, weights) for ranking in rankings]
        means = means_of(rankings, weights)
        for column in range(3):
            literal = evaluate_hoi(*repeat_pairs(truth, found, weights[:, column]), TOY, protocol)
            for setting, ap in zip(("default", "known_object"), ours, strict=True):
                expected = literal.per_class[f"{setting}/ap"]
                np.testing.assert_allclose(ap[:, column], expected, rtol=0, atol=1e-12, err_msg=f"{seed}")
                found_something += np.nansum(expected) > 0
            for metric, values in means.items():
                assert values[column] == pytest.approx(literal.metrics[metric], abs=1e-12, nan_ok=True)
    assert found_something > 100


def repeat_actions(truth, found, copies):
    (k, k_image), (d, d_image) = repeated(copies, truth.person_image, found.image)
    first = np.cumsum(copies[found.image]) - copies[found.image]
    role_copies = copies[found.image[found.role_detection]] if len(found.role_detection) else np.zeros(0, int)
    r = np.repeat(np.arange(len(found.role_detection)), role_copies)
    copy = np.arange(len(r)) - np.repeat(np.cumsum(role_copies) - role_copies, role_copies)
    return (
        ActionTruth(int(copies.sum()), k_image, truth.person_xyxy_px[k], truth.labels[k], truth.role_xyxy_px[k]),
        ActionDetections(
            d_image,
            found.person_xyxy_px[d],
            found.agent_scores[d],
            first[found.role_detection[r]] + copy,
            found.role_action[r],
            found.role_slot[r],
            found.role_xyxy_px[r],
            found.role_score[r],
        ),
    )


def test_weights_equal_repeated_images_for_agents_and_roles():
    for seed in range(120):
        truth, found = random_action_world(seed)
        found = dataclasses.replace(
            found,
            agent_scores=distinct_scores(found.agent_scores, seed),
            role_score=distinct_scores(found.role_score, seed),
        )
        weights = image_draws(truth.num_images, 3, seed)
        means = means_of(action_rankings(truth, found, ACTIONS_TOY), weights)
        for column in range(3):
            literal = evaluate_actions(*repeat_actions(truth, found, weights[:, column]), ACTIONS_TOY)
            assert set(literal.metrics) == set(means)
            for metric, values in means.items():
                assert values[column] == pytest.approx(literal.metrics[metric], abs=1e-12, nan_ok=True), (seed, metric)


@pytest.mark.parametrize("name", HOI_PRESETS)
def test_one_copy_of_each_image_gives_the_score_itself_ties_included(name):
    for seed in range(200):
        truth, found = random_world(seed)
        result = evaluate_hoi(truth, found, TOY, HOI_PRESETS[name])
        for ranking in hoi_rankings(truth, found, TOY, HOI_PRESETS[name]):
            setting = next(iter(ranking.means)).split("/")[0]
            ap = resampled_ap(ranking, np.ones((truth.num_images, 1), np.int32))[:, 0]
            np.testing.assert_allclose(ap, result.per_class[f"{setting}/ap"], rtol=0, atol=1e-12)


def test_pieces_of_the_draws_give_the_same_as_all_at_once(monkeypatch):
    truth, found = pair_world(8)
    ranking, _ = hoi_rankings(truth, found, TOY, hoi_protocol("official"))
    weights = image_draws(truth.num_images, 40, 1)
    whole = resampled_ap(ranking, weights)
    monkeypatch.setattr("hoi_jax.evaluation.metrics.resampling._CELLS", 3 * len(ranking.label))
    np.testing.assert_array_equal(resampled_ap(ranking, weights), whole)


def test_draws_are_as_many_as_images_and_follow_the_seed():
    draws = image_draws(50, 200, 3)
    assert draws.shape == (50, 200) and (draws.sum(0) == 50).all()
    assert np.array_equal(draws, image_draws(50, 200, 3)) and not np.array_equal(draws, image_draws(50, 200, 4))
    assert abs(draws.var() - (1 - 1 / 50)) < 0.05  # of a binomial count
