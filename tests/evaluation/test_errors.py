"""Error analysis: one scene per kind, a scalar oracle on random worlds, and what fixing must and must not do."""

import dataclasses

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.errors import KINDS, analyse_errors, analyse_prediction_errors, error_kinds
from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth, rank_detections
from hoi_jax.evaluation.metrics.protocols import HOI_PRESETS, HoiProtocol, hoi_protocol
from hoi_jax.vocab.datasets import HICO
from tests.helpers import oracle
from tests.helpers.scored_splits import hico_split, predictions_of
from tests.helpers.worlds import OBJECT_OF_CLASS, TOY, oracle_rows, random_world

# TOY: class 0 no_interaction cup, 1 hold cup, 2 see cup, 3 no_interaction dog, 4 see dog.
HUMAN, CUP, DOG, MAN, BOWL = (
    [0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9], [0, 40, 9, 49], [20, 40, 29, 49],
)  # fmt: skip
PLAIN = HoiProtocol(prediction_shift=0.0)


def scene(*rows, truth=((1, HUMAN, CUP), (4, HUMAN, DOG), (1, MAN, BOWL))):
    """Errors of detections (label, human, object), best first, in one image."""
    label, human, obj = zip(*truth, strict=True)
    real = PairTruth(1, np.zeros(len(truth), int), np.array(human, float), np.array(obj, float), np.array(label))
    label, human, obj = zip(*rows, strict=True)
    count = np.arange(len(rows))
    found = PairDetections(
        0 * count, np.array(human, float), np.array(obj, float), count, np.array(label), 1.0 / (1 + count)
    )
    return real, found


def kinds_of(real, found, protocol=PLAIN):
    ranked = rank_detections(real, found, 5, protocol)
    kind = np.full(len(found.triplet_label), -2)
    kind[ranked.row] = error_kinds(real, found, ranked, TOY, protocol)
    return ["hit" if k == -1 else "ignored" if k == -2 else KINDS[k] for k in kind]


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("hit", (1, HUMAN, CUP)),
        ("wrong_verb", (2, HUMAN, CUP)),
        ("wrong_object", (1, HUMAN, DOG)),
        ("wrong_pairing", (1, HUMAN, BOWL)),
        ("bad_human_box", (1, [0, 0, 9, 2], CUP)),
        ("bad_object_box", (1, HUMAN, [20, 0, 29, 2])),
        ("bad_object_box", (1, [0, 0, 9, 2], [20, 0, 29, 1])),  # both are bad, the object's is worse
        ("bad_object_box", (1, [0, 0, 9, 2], [20, 0, 29, 2])),  # equally bad
        ("bad_human_box", (1, [0, 0, 9, 0], CUP)),  # an IoU of exactly 0.1
        ("background", (1, [0, 0, 8, 0], CUP)),
        ("background", (1, [60, 60, 69, 69], [80, 60, 89, 69])),
        ("background", (4, MAN, CUP)),  # the cup is no dog
        ("background", (2, HUMAN, [20, 0, 29, 2])),  # near a pair, but not of its class
    ],
)
def test_each_scene_is_of_its_kind(kind, row):
    assert kinds_of(*scene(row)) == [kind]


def test_the_second_detection_of_a_found_pair_is_a_duplicate():
    assert kinds_of(*scene((1, HUMAN, CUP), (1, HUMAN, CUP), (1, MAN, BOWL))) == ["hit", "duplicate", "hit"]


def test_a_pair_that_fits_another_verb_is_no_box_error_although_its_own_class_is_near():
    near = [20, 0, 29, 11]  # IoU 10/12 with the cup of `see`, 0.3 with that of `hold`
    truth = ((2, HUMAN, CUP), (1, HUMAN, [20, 8, 29, 17]))
    assert kinds_of(*scene((1, HUMAN, near), truth=truth)) == ["wrong_verb"]


def mixed_world(seed):
    """A random world in whose odd numbers the pairs have exchanged their objects within the image."""
    truth, found = random_world(seed)
    if seed % 2:
        order = np.argsort(found.pair_image, kind="stable")
        exchanged = np.empty_like(order)
        exchanged[order] = np.roll(order, 1)
        same = found.pair_image[exchanged] == found.pair_image
        rows = np.where(same, exchanged, np.arange(len(order)))
        found = dataclasses.replace(found, pair_object_xyxy_px=found.pair_object_xyxy_px[rows])
    return truth, found


@pytest.mark.parametrize("name", [*HOI_PRESETS, "cap2"])
def test_kinds_in_random_worlds_are_those_of_the_scalar_definitions(name):
    protocol = HOI_PRESETS.get(name, HoiProtocol(max_per_image=2))
    seen = dict.fromkeys(KINDS, 0)
    for seed in range(400):
        truth, found = mixed_world(seed)
        ranked = rank_detections(truth, found, 5, protocol)
        kinds = error_kinds(truth, found, ranked, TOY, protocol)
        real, rows = oracle_rows(truth, found)
        for row, kind, hit, passes in zip(ranked.row, kinds, ranked.hit, ranked.passes, strict=True):
            expected = None if hit else oracle.error_kind(real, OBJECT_OF_CLASS, rows[row][:4], passes, protocol)
            assert (None if kind == -1 else KINDS[kind]) == expected, (seed, row)
            seen[KINDS[kind]] += kind >= 0
    assert min(seen.values()) >= 10, seen


def test_counts_add_up_to_all_counted_detections_and_all_pairs():
    for seed in range(50):
        truth, found = mixed_world(seed)
        result = analyse_errors(truth, found, TOY)
        totals = result.manifest["error_totals"]
        counted = rank_detections(truth, found, 5, hoi_protocol("official")).counts["counted_detections"]
        assert sum(totals.values()) - totals["missed"] == counted
        assert totals["missed"] + totals["true_positive"] == len(truth.label)


@pytest.mark.parametrize("name", HOI_PRESETS)
def test_no_fix_lowers_an_ap_and_each_can_raise_one(name):
    raised = dict.fromkeys((*KINDS, "missed"), 0)
    for seed in range(400):
        result = analyse_errors(*mixed_world(seed), TOY, HOI_PRESETS[name])
        for kind in raised:
            delta = result.per_class[f"errors/{kind}/delta_ap"]
            assert np.all(delta[~np.isnan(delta)] >= -1e-12), (seed, kind)
            raised[kind] += np.any(delta > 1e-9)
    assert min(raised.values()) >= 3, raised


def delta(real, found, kind):
    return analyse_errors(real, found, TOY, PLAIN).per_class[f"errors/{kind}/delta_ap"][1]


def test_taking_out_a_wrong_verb_above_the_only_hit_brings_half():
    """`hold` is said of the seen cup first, then rightly: precision 1/2 becomes 1."""
    truth = ((2, HUMAN, CUP), (1, MAN, BOWL))
    assert delta(*scene((1, HUMAN, CUP), (1, MAN, BOWL), truth=truth), "wrong_verb") == pytest.approx(0.5)


def test_a_repaired_box_finds_its_pair():
    """One of two pairs is found with precision 1: six of eleven points; the repaired one makes it all."""
    real, found = scene((1, HUMAN, CUP), (1, MAN, [20, 40, 29, 42]))
    assert delta(real, found, "bad_object_box") == pytest.approx(1 - 6 / 11)
    assert delta(real, found, "bad_human_box") == 0.0


def test_a_repaired_box_replaces_the_lower_detection_of_its_pair_and_leaves_no_duplicate():
    truth = ((1, HUMAN, CUP),)
    real, found = scene((1, [0, 0, 9, 2], CUP), (1, HUMAN, CUP), (1, [0, 0, 9, 3], CUP), truth=truth)
    assert kinds_of(real, found) == ["bad_human_box", "hit", "bad_human_box"]
    assert delta(real, found, "bad_human_box") == pytest.approx(0.5)


def test_without_misses_recall_counts_the_found_pairs_only():
    assert delta(*scene((1, HUMAN, CUP)), "missed") == pytest.approx(1 - 6 / 11)
    assert delta(*scene((1, DOG, CUP)), "missed") == 1.0


def test_classes_without_pairs_have_no_delta_and_no_share_in_the_means():
    result = analyse_errors(*scene((1, HUMAN, CUP)), TOY, PLAIN)
    assert np.isnan(result.per_class["errors/missed/delta_ap"]).tolist() == [True, False, True, True, False]
    mean = (1 - 6 / 11 + 1.0) / 2
    assert result.metrics["errors/missed/delta_full"] == pytest.approx(mean)


def test_a_prediction_file_has_the_errors_that_were_built_into_it():
    annotations = hico_split(1)
    predictions = predictions_of(annotations)
    result = analyse_prediction_errors(predictions, annotations, HICO)
    totals = result.manifest["error_totals"]
    assert totals["missed"] == 0 and totals["true_positive"] == len(annotations["pairs_verb"])
    # Each pair also has verb 3, which is right nowhere unless it is the pair's own verb.
    extra = predictions.triplet_verb == 3
    valid = HICO.hoi_table[3, predictions.pair_object_class[predictions.triplet_pair[extra]]] >= 0
    assert totals["wrong_verb"] + totals["duplicate"] == sum(totals[k] for k in KINDS) > 0
    assert sum(totals[k] for k in KINDS) <= valid.sum()
    assert result.manifest["annotations_fingerprint"] == annotations.fingerprint
