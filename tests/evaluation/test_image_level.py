"""HICO image-level mAP and MPII: an independent scalar loop, closed forms, and the edges."""

import dataclasses
import math

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.hico import (
    ImageProtocol,
    aligned_scores,
    evaluate_hico_images,
    evaluate_image_predictions,
    evaluate_mpii,
    evaluate_mpii_predictions,
)
from tests.helpers import oracle
from tests.helpers.pair_worlds import make_image, predictions, world
from tests.helpers.typecheck import unchecked


def scalar_ap(scores, labels, known_object, mode):
    """One class, from the protocol text: unknown images are moved to the very end in Known Object."""
    rows = [(-1e10 if known_object and y == -2 else s, y) for s, y in zip(scores, labels, strict=True) if y != 0]
    order = sorted(range(len(rows)), key=lambda i: -rows[i][0])
    hits = [rows[i][1] == 1 for i in order]
    return oracle.average_precision(hits, sum(hits), mode)


@pytest.mark.parametrize("mode", ["11pt", "area"])
def test_equals_a_scalar_loop_with_ties_ambiguous_and_unknown_labels(mode):
    for seed in range(150):
        random = np.random.default_rng(seed)
        shape = random.integers(1, 12), random.integers(1, 4)
        scores = random.integers(0, 6, shape) / 4
        labels = random.choice([1, 1, 0, -1, -2], shape)
        result = evaluate_hico_images(scores, labels, ImageProtocol(ap=mode))
        for c in range(shape[1]):
            for name, known in (("image/ap", False), ("image/known_object_ap", True)):
                expected = scalar_ap(scores[:, c], labels[:, c], known, mode)
                np.testing.assert_allclose(result.per_class[name][c], expected, atol=1e-12, err_msg=f"seed {seed}")


def random_case(seed):
    random = np.random.default_rng(seed)
    labels = random.choice([1, 0, -1, -2], (40, 6))
    return random.permutation(40 * 6).reshape(40, 6) / 7.0, labels


def test_known_object_is_never_below_default():
    for seed in range(30):
        result = evaluate_hico_images(*random_case(seed))
        assert np.all(result.per_class["image/known_object_ap"] >= result.per_class["image/ap"])


def test_a_further_negative_image_never_raises_ap():
    for seed in range(30):
        scores, labels = random_case(seed)
        before = evaluate_hico_images(scores, labels).per_class["image/ap"]
        for score in (-100.0, 20.0, 1000.0):
            more = np.vstack([scores, np.full(6, score)]), np.vstack([labels, np.full(6, -1)])
            assert np.all(evaluate_hico_images(*more).per_class["image/ap"] <= before)


def test_permuting_images_changes_nothing_when_scores_are_distinct():
    for seed in range(30):
        scores, labels = random_case(seed)
        order = np.random.default_rng(seed).permutation(40)
        before, after = evaluate_hico_images(scores, labels), evaluate_hico_images(scores[order], labels[order])
        assert after.metrics == before.metrics


def test_labels_as_scores_give_100():
    _, labels = random_case(0)
    result = evaluate_hico_images(labels.astype(float), labels, train_images=np.arange(6))
    assert {round(value, 12) for value in result.metrics.values()} == {1.0}


def test_few_shot_metrics_are_means_over_classes_with_at_most_k_training_images():
    scores, labels = random_case(3)
    result = evaluate_hico_images(scores, labels, train_images=np.array([0, 1, 2, 5, 10, 11]))
    ap = result.per_class["image/ap"]
    for most, chosen in ((1, [0, 1]), (5, [0, 1, 2, 3]), (10, [0, 1, 2, 3, 4])):
        assert result.metrics[f"image/few_{most}"] == pytest.approx(ap[chosen].mean())
    assert result.manifest["few_shot_classes"] == {"few_1": 2, "few_5": 4, "few_10": 5}
    assert "image/few_1" not in evaluate_hico_images(scores, labels).metrics


def test_unscored_images_are_missed_not_guessed():
    scores = np.array([[np.nan], [0.5], [0.1]])
    result = evaluate_hico_images(scores, np.array([[1], [1], [-1]]), ImageProtocol(ap="area"))
    assert result.metrics["image/default"] == 0.5
    assert result.manifest["nan_scores"] == 1


def test_a_class_without_positive_image_has_no_ap():
    result = evaluate_hico_images(np.array([[0.5, 0.5]]), np.array([[0, 1]]))
    assert math.isnan(result.per_class["image/ap"][0])
    assert result.metrics["image/default"] == pytest.approx(1, abs=1e-12)


def test_wrong_shapes_labels_and_options_are_refused():
    scores = np.zeros((2, 3))
    with unchecked(), pytest.raises(ValueError, match=r"labels \(2, 2\)"):
        evaluate_hico_images(scores, np.zeros((2, 2), int))
    with pytest.raises(ValueError, match=r"labels include \[3\]"):
        evaluate_hico_images(scores, np.full((2, 3), 3))
    with unchecked(), pytest.raises(ValueError, match="train_images"):
        evaluate_hico_images(scores, np.ones((2, 3), int), train_images=np.zeros(2))
    with unchecked(), pytest.raises(ValueError, match="thresholds"):
        ImageProtocol(thresholds="nine")  # type: ignore[arg-type]


def labelled(number, labels):
    record = make_image(number, [])
    record["hoi_labels"] = np.array(labels, np.int32)
    return record


def test_a_prediction_file_is_aligned_by_image_number_and_missing_images_are_counted():
    annotations = world([labelled(5, [1, -1]), labelled(7, [-1, 1]), labelled(9, [1, 0])])
    found = predictions([7, 5, 4], [], hoi_scores=[[0.1, 0.9], [0.8, 0.2], [1, 1]])
    np.testing.assert_array_equal(aligned_scores(found, annotations)[:2], np.float32([[0.8, 0.2], [0.1, 0.9]]))
    train = world([labelled(1, [1, 1]), labelled(2, [-1, 1])])
    result = evaluate_image_predictions(found, annotations, ImageProtocol(ap="area"), train=train)
    assert result.per_class["image/ap"].tolist() == [0.5, 1.0]  # image 9 is a positive of class 0 that nobody scored
    assert result.metrics["image/few_1"] == 0.5
    assert result.manifest["few_shot_source"] == "image-level training labels"
    assert result.manifest["images_without_predictions_entry"] == 1
    assert result.manifest["unknown_images_ignored"] == 1


def test_without_training_labels_few_shot_classes_come_from_visible_pairs_and_the_manifest_says_so():
    labels = -np.ones(600, int)
    labels[[3, 22, 100]] = 1
    annotations = world([labelled(5, labels), labelled(7, -labels)])
    result = evaluate_image_predictions(predictions([5, 7], [], hoi_scores=np.zeros((2, 600))), annotations)
    assert result.manifest["few_shot_classes"] == {"few_1": 51, "few_5": 127, "few_10": 165}
    assert result.manifest["few_shot_source"].endswith("(proxy)")


def test_other_vocabularies_have_few_shot_classes_only_with_training_labels():
    annotations = world([labelled(5, [1, -1])], "hoi_scenes")
    result = evaluate_image_predictions(predictions([5], [], "hoi_scenes", hoi_scores=[[0.5, 0.1]]), annotations)
    assert result.manifest["few_shot_source"] == "none"
    assert set(result.metrics) == {"image/default", "image/known_object"}


def test_scores_or_labels_that_are_absent_are_refused():
    annotations = world([make_image(5, [])])
    with pytest.raises(ValueError, match="no image-level scores"):
        evaluate_image_predictions(predictions([5], []), annotations)
    found = predictions([5], [], hoi_scores=[[0.5]])
    with pytest.raises(io.DataError, match="no image-level labels"):
        evaluate_image_predictions(found, annotations)
    with pytest.raises(io.DataError, match="training annotations"):
        evaluate_image_predictions(found, world([labelled(5, [1])]), train=annotations)


def test_mpii_scores_every_class_one_against_the_rest():
    random = np.random.default_rng(0)
    scores, label = random.random((30, 4)), random.integers(0, 4, 30)
    result = evaluate_mpii(scores, label)
    for c in range(4):
        expected = scalar_ap(scores[:, c], np.where(label == c, 1, -1), False, "11pt")
        assert result.per_class["mpii/ap"][c] == pytest.approx(expected, abs=1e-12)
    assert result.metrics["mpii/map"] == pytest.approx(result.per_class["mpii/ap"].mean())
    assert result.metrics["mpii/accuracy"] == np.mean([row.argmax() == y for row, y in zip(scores, label, strict=True)])


def test_mpii_perfect_scores_give_100_and_an_unscored_image_is_wrong():
    label = np.array([0, 1, 2])
    assert evaluate_mpii(np.eye(3), label).metrics == {"mpii/map": pytest.approx(1), "mpii/accuracy": 1.0}
    scores = np.eye(3)
    scores[0] = np.nan
    assert evaluate_mpii(scores, label).metrics["mpii/accuracy"] == pytest.approx(2 / 3)


def test_mpii_labels_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match="expected 0..1"):
        evaluate_mpii(np.zeros((1, 2)), np.array([2]))
    with unchecked(), pytest.raises(ValueError, match="1 rows of scores and 2 labels"):
        evaluate_mpii(np.zeros((1, 2)), np.array([0, 1]))


def test_no_images_leave_mpii_undefined():
    assert all(math.isnan(v) for v in evaluate_mpii(np.zeros((0, 2)), np.zeros(0, int)).metrics.values())


def test_options_are_part_of_the_manifest():
    protocol = ImageProtocol(ap="area")
    scores, labels = random_case(1)
    assert evaluate_hico_images(scores, labels, protocol).manifest["image_protocol"] == dataclasses.asdict(protocol)


def test_logits_of_mpii_are_ranked_by_their_softmax():
    """A large logit among other large ones counts less than a smaller one that stands alone."""
    logits = np.array([[9.0, 9.0, 8.9], [5.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    images = [labelled(number, np.where(np.arange(3) == c, 1, -1)) for number, c in ((1, 1), (2, 0), (3, 1))]
    found = predictions([1, 2, 3], [], hoi_scores=logits)
    result = evaluate_mpii_predictions(found, world(images))
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert result.metrics == evaluate_mpii(share, np.array([1, 0, 1])).metrics
    assert result.per_class["mpii/ap"][0] == 1  # by logits, image 1 would come first
    with pytest.raises(io.DataError, match="exactly one class"):
        evaluate_mpii_predictions(found, world([labelled(n, [1, 1, -1]) for n in (1, 2, 3)]))
