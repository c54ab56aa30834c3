"""PIC recall: closed forms on small label maps, properties, and the edges."""

import dataclasses
import math

import numpy as np
import pytest

from hoi_jax.evaluation.metrics.pic import (
    GEOMETRIC,
    RELATIONS,
    Scene,
    evaluate_pic,
    group_recall,
    recalled_triplets,
    resized,
)

NEXT_TO, TALK, HOLD = (RELATIONS.index(name) + 1 for name in ("next to", "talk", "hold"))


def scene(instances, relations, scores=None, shape=(8, 8)):
    """instances: (number, class, x0, y0, x1, y1), painted in order."""
    semantic, instance = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for number, label, x0, y0, x1, y1 in instances:
        semantic[y0:y1, x0:x1], instance[y0:y1, x0:x1] = label, number
    table = np.array(relations, np.int64).reshape(-1, 3)
    return Scene(semantic, instance, table, np.zeros(len(table)) if scores is None else np.array(scores, float))


MAN, DOG = (1, 1, 0, 0, 4, 8), (2, 138, 4, 0, 8, 8)


def random_scene(random, count):
    instances = []
    for number in range(1, 5):
        (x0, x1), (y0, y1) = np.sort(random.integers(0, 9, (2, 2)), axis=1)
        instances.append((number, int(random.integers(1, 3)), x0, y0, x1 + 1, y1 + 1))
    relations = np.column_stack([random.integers(0, 6, (count, 2)), random.integers(1, 5, count)])
    return scene(instances, relations, random.permutation(count) + 0.5, (9, 9))


def scalar_recalled(truth, predicted, kept, threshold):
    """From the protocol text, one triplet and one pixel set at a time."""

    def mask(of, number):
        return set(zip(*np.nonzero(of.instance == number), strict=True)) if 0 <= number < 256 else set()

    def label(of, number):
        return max((int(of.semantic[pixel]) for pixel in mask(of, number)), default=0)

    def close(a, b):
        return bool(a | b) and len(a & b) / len(a | b) >= threshold

    order = sorted(range(len(predicted.scores)), key=lambda row: -predicted.scores[row])[:kept]
    result = []
    for subject, obj, relation in truth.relations.tolist():
        found = False
        for s, o, r in predicted.relations[order].tolist():
            same = (label(truth, subject), label(truth, obj), relation) == (label(predicted, s), label(predicted, o), r)
            masks = close(mask(truth, subject), mask(predicted, s)) and close(mask(truth, obj), mask(predicted, o))
            found |= same and masks
        result.append(found)
    return result


def test_equals_a_scalar_loop_on_random_scenes_with_absent_instances():
    for seed in range(60):
        random = np.random.default_rng(seed)
        truth = random_scene(random, random.integers(1, 6))
        maps = truth if seed % 3 else random_scene(random, 0)
        found = random_scene(random, random.integers(0, 12))
        predicted = dataclasses.replace(found, semantic=maps.semantic, instance=maps.instance)
        kept, thresholds = (1, 5), (0.25, 0.6)
        ours = recalled_triplets(truth, predicted, kept=kept, thresholds=thresholds, resize_wh=None)
        for k, count in enumerate(kept):
            for t, threshold in enumerate(thresholds):
                assert ours[k, t].tolist() == scalar_recalled(truth, predicted, count, threshold), f"seed {seed}"


def test_truth_as_prediction_gives_100():
    truth = scene([MAN, DOG], [(1, 2, NEXT_TO), (1, 2, HOLD)])
    result = evaluate_pic([(truth, truth)])
    assert set(result.metrics.values()) == {1.0}
    assert result.manifest["protocol"]["name"] == "pic official"


def test_one_prediction_recalls_every_copy_of_a_triplet():
    truth = scene([MAN, DOG], [(1, 2, NEXT_TO)] * 3)
    hits = recalled_triplets(truth, scene([MAN, DOG], [(1, 2, NEXT_TO)], [0.5]))
    assert hits.shape == (3, 3, 3)
    assert hits.all()


@pytest.mark.parametrize(
    ("wrong", "relation"),
    [((1, 2), HOLD), ((2, 1), NEXT_TO), ((1, 3), NEXT_TO), ((1, 999), NEXT_TO), ((-1, 2), NEXT_TO)],
)
def test_class_relation_and_both_masks_must_fit(wrong, relation):
    truth = scene([MAN, DOG], [(1, 2, NEXT_TO)])
    assert not recalled_triplets(truth, scene([MAN, DOG], [(*wrong, relation)], [0.5])).any()


def test_masks_must_reach_the_threshold_exactly():
    truth = scene([MAN, DOG], [(1, 2, NEXT_TO)])
    half = scene([(1, 1, 0, 0, 4, 4), DOG], [(1, 2, NEXT_TO)], [0.5])
    hits = recalled_triplets(truth, half, kept=(20,))
    assert hits[0, :, 0].tolist() == [True, True, False]  # IoU 0.5 at 0.25, 0.5, 0.75


def test_only_the_best_scores_count_and_nan_never_does():
    truth = scene([MAN, DOG], [(1, 2, NEXT_TO)])
    relations = [(2, 1, TALK), (1, 2, NEXT_TO)]
    options = {"kept": (1, 2), "thresholds": (0.5,)}
    hits = recalled_triplets(truth, scene([MAN, DOG], relations, [0.9, 0.1]), **options)
    assert hits.ravel().tolist() == [False, True]
    assert not recalled_triplets(truth, scene([MAN, DOG], relations, [0.9, np.nan]), **options).any()


def test_a_further_prediction_never_lowers_recall_at_unlimited_length():
    for seed in range(20):
        random = np.random.default_rng(seed)
        truth, more = random_scene(random, 4), random_scene(random, 10)
        fewer = Scene(more.semantic, more.instance, more.relations[:5], more.scores[:5])
        options = {"kept": (100,), "resize_wh": None}
        before, after = (recalled_triplets(truth, found, **options) for found in (fewer, more))
        assert np.all(after >= before)


def test_geometric_and_other_relations_are_averaged_over_the_images_that_have_them():
    with_both = scene([MAN, DOG], [(1, 2, NEXT_TO), (1, 2, HOLD), (1, 2, TALK)])
    geometric = scene([MAN, DOG], [(1, 2, NEXT_TO)])
    found = scene([MAN, DOG], [(1, 2, NEXT_TO), (1, 2, HOLD)], [0.5, 0.4])
    metrics = evaluate_pic([(with_both, found), (geometric, None)]).metrics
    assert metrics["pic/recall@20/0.5/geometric"] == 0.5
    assert metrics["pic/recall@20/0.5/non_geometric"] == 0.5
    result = evaluate_pic([(with_both, found), (geometric, found)])
    assert result.metrics["pic/recall@100/0.75"] == 0.75
    by_name = dict(zip(RELATIONS, result.per_class["pic/recall@100/0.75"].tolist(), strict=True))
    assert (by_name["next to"], by_name["hold"], by_name["talk"]) == (1.0, 1.0, 0.0)
    assert math.isnan(by_name["kick"])


def test_images_without_relations_are_skipped_and_counted():
    truth = scene([MAN, DOG], [(1, 2, NEXT_TO)])
    result = evaluate_pic([(truth, None), (scene([MAN], []), truth)])
    assert (result.manifest["num_images"], result.manifest["images_without_relations_skipped"]) == (2, 1)
    assert result.manifest["images_without_predictions"] == 1
    assert result.metrics["pic/recall@20/0.5/geometric"] == 0.0
    assert math.isnan(result.metrics["pic/recall@20"])  # no image has a non-geometric relation


def test_permuting_images_changes_nothing():
    random = np.random.default_rng(0)
    pairs = [(random_scene(random, 4), random_scene(random, 30)) for _ in range(6)]
    before, after = evaluate_pic(pairs), evaluate_pic(pairs[::-1])
    np.testing.assert_equal(dict(after.metrics), dict(before.metrics))


def test_the_class_of_an_instance_is_the_largest_class_among_its_pixels():
    truth = scene([MAN, DOG], [(1, 2, NEXT_TO)])
    semantic = truth.semantic.copy()
    semantic[1:, 4:] = 5  # most pixels of the dog carry a smaller class number
    found = Scene(semantic, truth.instance, truth.relations, np.array([0.5]))
    assert recalled_triplets(truth, found).all()


def test_maps_are_resized_by_flooring_the_source_index():
    labels = np.array([[1, 2, 3]])
    assert resized(labels, (7, 2)).tolist() == [[1, 1, 1, 2, 2, 3, 3]] * 2


def test_maps_of_different_sizes_need_resizing():
    truth, small = scene([MAN, DOG], [(1, 2, HOLD)]), scene([MAN, DOG], [(1, 2, HOLD)], [0.5], (4, 8))
    assert recalled_triplets(truth, small).all()
    with pytest.raises(ValueError, match="different sizes"):
        recalled_triplets(truth, small, resize_wh=None)


def test_numbers_outside_their_range_are_refused():
    truth = scene([MAN, (300, 138, 4, 0, 8, 8)], [(1, 2, HOLD)])
    with pytest.raises(ValueError, match="expected 0..255"):
        recalled_triplets(truth, truth)
    with pytest.raises(ValueError, match="expected 1..30"):
        group_recall(np.ones((1, 1, 1), bool), np.array([31]))


def test_six_relations_are_geometric():
    assert [RELATIONS.index(name) + 1 for name in GEOMETRIC] == [1, 2, 4, 13, 24, 25]
