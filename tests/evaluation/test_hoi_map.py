"""HOI mAP: an independent scalar oracle on random small worlds, and properties."""

import dataclasses

import numpy as np
import pytest

from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth, evaluate_hoi, rank_detections
from hoi_jax.evaluation.metrics.matching import _CHUNK, best_truth, same_group
from hoi_jax.evaluation.metrics.protocols import HOI_PRESETS, HoiProtocol, hoi_protocol
from tests.helpers import oracle
from tests.helpers.typecheck import unchecked
from tests.helpers.worlds import OBJECT_OF_CLASS, TOY, oracle_rows, random_boxes, random_world

OTHER_OPTIONS = {
    "cap2": HoiProtocol(max_per_image=2),
    "area": HoiProtocol(ap="area", skip_images_without_gt=True),
    "tenths_continuous": HoiProtocol(thresholds="tenths", plus_one=False),
    "cap1_strict_area": HoiProtocol(max_per_image=1, strict_iou=True, ap="area", thresholds="arange"),
}


def check_against_oracle(protocol, rules, seeds):
    """Compares every class in both settings; counts in how many worlds something was found."""
    hits = 0
    for seed in seeds:
        truth, found = random_world(seed)
        result = evaluate_hoi(truth, found, TOY, protocol)
        real, rows = oracle_rows(truth, found)
        for setting, known in (("default", False), ("known_object", True)):
            expected = np.array(oracle.hoi_ap(real, rows, 5, OBJECT_OF_CLASS, rules, known))
            ours = result.per_class[f"{setting}/ap"]
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12, err_msg=f"{seed} {setting}")
            for group, mask in (("full", [0, 1, 2, 3, 4]), ("rare", [0, 4]), ("non_rare", [1, 2, 3])):
                defined = [value for value in expected[mask] if not np.isnan(value)]
                mean = sum(defined) / len(defined) if defined else np.nan
                assert result.metrics[f"{setting}/{group}"] == pytest.approx(mean, abs=1e-12, nan_ok=True)
        hits += np.nansum(expected) > 0
    return hits


def test_the_random_worlds_hold_what_evaluators_stumble_over():
    seen = {"ties": 0, "duplicate rows": 0, "empty images": 0, "no predictions": 0, "nan": 0}
    seen |= {"half": 0, "half without +1": 0}
    for seed in range(2000):
        truth, found = random_world(seed)
        rows = list(zip(found.triplet_pair.tolist(), found.triplet_label.tolist(), strict=True))
        seen["ties"] += len(set(found.triplet_score.tolist())) < len(found.triplet_score)
        seen["duplicate rows"] += len(set(rows)) < len(rows)
        seen["empty images"] += len(set(truth.image.tolist())) < truth.num_images
        seen["no predictions"] += not rows
        seen["nan"] += bool(np.isnan(found.triplet_score).any())
        seen["half"] += 0.5 in rank_detections(truth, found, 5, HoiProtocol()).overlap
        seen["half without +1"] += 0.5 in rank_detections(truth, found, 5, HoiProtocol(plus_one=False)).overlap
    assert min(seen.values()) > 50, seen


@pytest.mark.parametrize("name", HOI_PRESETS)
def test_two_thousand_worlds_score_as_the_scalar_oracle_says(name):
    assert check_against_oracle(HOI_PRESETS[name], oracle.PRESETS[name], range(2000)) > 500


@pytest.mark.parametrize("name", OTHER_OPTIONS)
def test_other_options_score_as_the_scalar_oracle_says(name):
    assert check_against_oracle(OTHER_OPTIONS[name], OTHER_OPTIONS[name], range(200)) > 50


@pytest.mark.slow
@pytest.mark.parametrize("name", HOI_PRESETS)
def test_twenty_thousand_worlds_score_as_the_scalar_oracle_says(name):
    assert check_against_oracle(HOI_PRESETS[name], oracle.PRESETS[name], range(10_000, 30_000)) > 5000


def test_the_cap_of_a_hundred_is_the_best_hundred_of_an_image():
    """150 wrong triplets of one image, of which those that rank above the right one decide."""
    box = np.array([[1.0, 1.0, 10.0, 10.0]])
    truth = PairTruth(1, np.zeros(1, int), box, box, np.ones(1, int))
    for wrong_above in (99, 100):
        score = np.linspace(0.9, 0.1, 151)
        pair_boxes = np.full((151, 4), 50.0) + [0, 0, 9, 9]
        pair_boxes[wrong_above] = box[0] - 1
        rows = np.arange(151)
        found = PairDetections(0 * rows, pair_boxes, pair_boxes, rows, 0 * rows + 1, score)
        ap = evaluate_hoi(truth, found, TOY, hoi_protocol("qpic")).per_class["default/ap"][1]
        assert ap == (pytest.approx(0.01) if wrong_above == 99 else 0.0)


def perfect(truth, scores=None):
    count = len(truth.label)
    scores = np.linspace(0.9, 0.1, count) if scores is None else scores
    return PairDetections(
        truth.image, truth.human_xyxy_px - 1, truth.object_xyxy_px - 1, np.arange(count), truth.label, scores
    )


def spread_truth():
    """Distinct far-apart pairs of all five classes in four images; image 3 is empty."""
    start = np.arange(10) * 20.0
    human = np.stack([start, start, start + 9, start + 9], 1)
    return PairTruth(4, np.arange(10) % 3, human, human + [3, 3, 6, 6], np.arange(10) % 5)


def test_ground_truth_as_prediction_scores_one_everywhere():
    result = evaluate_hoi(spread_truth(), perfect(spread_truth()), TOY, hoi_protocol("official"))
    assert all(value == pytest.approx(1.0, abs=1e-15) for value in result.metrics.values())


def test_known_object_is_never_below_default_and_sometimes_above():
    above = 0
    for seed in range(500):
        result = evaluate_hoi(*random_world(seed), TOY, hoi_protocol("official"))
        default, known = result.per_class["default/ap"], result.per_class["known_object/ap"]
        defined = ~np.isnan(default)
        assert np.all(known[defined] >= default[defined])
        above += np.any(known[defined] > default[defined])
    assert above > 5


def test_permuting_images_and_rows_changes_nothing_when_scores_are_distinct():
    for seed in range(30):
        truth, found = random_world(seed)
        random = np.random.default_rng(seed)
        found = dataclasses.replace(found, triplet_score=random.permutation(len(found.triplet_label)) + 1.0)
        image, order = random.permutation(truth.num_images), random.permutation(len(found.triplet_label))
        moved_truth = dataclasses.replace(truth, image=image[truth.image])
        moved = dataclasses.replace(
            found,
            pair_image=image[found.pair_image],
            triplet_pair=found.triplet_pair[order],
            triplet_label=found.triplet_label[order],
            triplet_score=found.triplet_score[order],
        )
        before = evaluate_hoi(truth, found, TOY, hoi_protocol("official")).per_class["default/ap"]
        after = evaluate_hoi(moved_truth, moved, TOY, hoi_protocol("official")).per_class["default/ap"]
        np.testing.assert_array_equal(before, after)


def test_a_second_prediction_on_a_found_pair_is_a_false_positive():
    truth = spread_truth()
    once = PairDetections(
        truth.image[:1], truth.human_xyxy_px[:1] - 1, truth.object_xyxy_px[:1] - 1,
        np.array([0, 0]), truth.label[[0, 0]], np.array([0.9, 0.8]),
    )  # fmt: skip
    one = evaluate_hoi(PairTruth(4, *(getattr(truth, n)[:1] for n in _COLUMNS)), once, TOY, hoi_protocol("official"))
    assert one.per_class["default/ap"][0] == pytest.approx(1.0)
    two = PairTruth(4, *(np.concatenate([getattr(truth, n)[:1]] * 2) for n in _COLUMNS))
    assert evaluate_hoi(two, once, TOY, hoi_protocol("official")).per_class["default/max_recall"][0] == 0.5


_COLUMNS = ("image", "human_xyxy_px", "object_xyxy_px", "label")


def test_an_overlap_of_exactly_half_counts_unless_the_protocol_is_strict():
    box, half = np.array([[1.0, 1.0, 10.0, 10.0]]), np.array([[0.0, 0.0, 9.0, 4.0]])
    zero = np.zeros(1, int)
    truth = PairTruth(1, zero, box, box, zero)
    found = PairDetections(zero, box - 1, half, zero, zero, np.ones(1))
    scores = {
        strict: evaluate_hoi(truth, found, TOY, HoiProtocol(strict_iou=strict)).per_class["default/ap"][0]
        for strict in (False, True)
    }
    assert scores == {False: pytest.approx(1.0), True: 0.0}


def test_no_predictions_score_zero_and_unannotated_classes_are_left_out():
    truth = PairTruth(4, *(getattr(spread_truth(), n)[:2] for n in _COLUMNS))
    nothing = PairDetections(
        np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    )
    result = evaluate_hoi(truth, nothing, TOY, hoi_protocol("official"))
    assert result.metrics["default/full"] == 0.0
    assert np.isnan(result.per_class["default/ap"]).tolist() == [False, False, True, True, True]
    assert result.manifest["classes_without_ground_truth"] == 3
    empty = PairTruth(2, np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 4)), np.zeros(0, int))
    assert np.isnan(evaluate_hoi(empty, nothing, TOY, hoi_protocol("official")).metrics["default/full"])


def test_what_is_ignored_is_counted_exactly():
    truth = spread_truth()
    label = truth.label.copy()
    label[[2, 5, 7]] = -1
    score = np.linspace(0.9, 0.1, 10)
    score[[0, 1]] = np.nan
    found = dataclasses.replace(perfect(truth, score), triplet_label=label)
    manifest = evaluate_hoi(truth, found, TOY, hoi_protocol("official")).manifest
    assert (manifest["num_detections"], manifest["counted_detections"]) == (10, 5)
    assert (manifest["invalid_combinations"], manifest["nan_scores"]) == (3, 2)
    assert (manifest["num_images"], manifest["num_truth_pairs"]) == (4, 10)


def test_image_labels_widen_the_known_object_images():
    truth = spread_truth()
    found = perfect(truth, np.full(10, 0.5))
    wrong = dataclasses.replace(  # a better-scored cup in the image without any annotated pair
        found,
        pair_image=np.append(found.pair_image, 3),
        pair_human_xyxy_px=np.append(found.pair_human_xyxy_px, [[0.0, 0.0, 9.0, 9.0]], 0),
        pair_object_xyxy_px=np.append(found.pair_object_xyxy_px, [[0.0, 0.0, 9.0, 9.0]], 0),
        triplet_pair=np.append(found.triplet_pair, 10),
        triplet_label=np.append(found.triplet_label, 0),
        triplet_score=np.append(found.triplet_score, 0.9),
    )
    labels = np.full((4, 5), -1)
    labels[truth.image, truth.label] = 1
    visible = evaluate_hoi(truth, wrong, TOY, hoi_protocol("official"))
    by_label = hoi_protocol("official", known_object_source="image_labels")
    denied = evaluate_hoi(truth, wrong, TOY, by_label, image_labels=labels)
    labels[3, 2] = 1  # any class of the object will do
    granted = evaluate_hoi(truth, wrong, TOY, by_label, image_labels=labels)
    assert visible.per_class["known_object/ap"][0] == denied.per_class["known_object/ap"][0] == pytest.approx(1.0)
    assert granted.per_class["known_object/ap"][0] == granted.per_class["default/ap"][0] < 1.0


def test_contradicting_or_absent_image_labels_are_refused():
    by_label = hoi_protocol("official", known_object_source="image_labels")
    with pytest.raises(ValueError, match="needs image-level labels"):
        evaluate_hoi(spread_truth(), perfect(spread_truth()), TOY, by_label)
    with pytest.raises(ValueError, match="3 images have annotated pairs"):
        evaluate_hoi(spread_truth(), perfect(spread_truth()), TOY, by_label, image_labels=np.zeros((4, 5), int))


def test_numbers_outside_their_range_are_refused_by_name():
    found = dataclasses.replace(perfect(spread_truth()), triplet_label=np.full(10, 5))
    with pytest.raises(ValueError, match="triplet_label has values 5..5, expected 0..4"):
        evaluate_hoi(spread_truth(), found, TOY, hoi_protocol("official"))


def test_unknown_presets_and_values_are_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'official'"):
        hoi_protocol("oficial")
    with unchecked(), pytest.raises(ValueError, match="thresholds"):
        hoi_protocol("official", thresholds="linspace")
    with pytest.raises(ValueError, match="max_per_image"):
        hoi_protocol("official", max_per_image=0)


def test_a_changed_preset_says_so_in_its_name():
    assert hoi_protocol("qpic", ap="area").name == "qpic,ap=area"


def test_matching_in_pieces_equals_matching_at_once(monkeypatch):
    random = np.random.default_rng(5)
    boxes, truth = random_boxes(random, 300), random_boxes(random, 200)
    groups, truth_groups = random.integers(0, 9, 300), random.integers(0, 9, 200)
    arguments = (groups, (boxes,), np.arange(300), truth_groups, (truth,))
    whole = best_truth(*arguments, plus_one=True)
    assert len(same_group(groups, truth_groups)[0]) < _CHUNK
    monkeypatch.setattr("hoi_jax.evaluation.metrics.matching._CHUNK", 50)
    pieces = best_truth(*arguments, plus_one=True)
    np.testing.assert_array_equal(whole, pieces)
