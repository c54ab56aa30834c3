"""Scores of stores against annotations, results on disk, and the class-frequency baseline."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation import score as stored
from hoi_jax.evaluation.analysis.baselines import box_distance_interactiveness, frequency_baseline, verb_frequencies
from hoi_jax.evaluation.metrics.alignment import action_truth
from hoi_jax.evaluation.metrics.hico_det import PairTruth, evaluate_hoi
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.metrics.result import EvaluationResult, format_table, merge, read_result
from hoi_jax.formats.labels.hico_det import detections_from_flat, truth_from_json
from hoi_jax.vocab.datasets import HICO, VCOCO
from tests.helpers.scored_splits import (
    BOTTLE,
    CUTTER,
    HOLDER,
    NOTHING,
    STANDER,
    UNLABELLED,
    fill_instances,
    fill_pairs,
    hico_split,
    predictions_of,
    record_of,
    vcoco_predictions,
    vcoco_split,
)


def test_annotated_pairs_as_predictions_score_one():
    annotations = hico_split(1)
    result = stored.evaluate(predictions_of(annotations), annotations)
    assert result.metrics["default/mean_max_recall"] == result.metrics["known_object/mean_max_recall"] == 1.0
    assert result.metrics["known_object/full"] >= result.metrics["default/full"] > 0.99
    assert result.manifest["invalid_combinations"] > 0
    assert result.manifest["annotations_fingerprint"] == annotations.fingerprint


@pytest.mark.parametrize("preset", ["official", "qpic", "upt", "consnet"])
def test_a_prediction_file_scores_as_its_boxes_do_in_the_frame_of_the_official_files(preset):
    annotations = hico_split(2)
    predictions = predictions_of(annotations, jitter=6)
    boxes = annotations["instances_xyxy_px"].astype(float)
    human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
    hoi = HICO.hoi_table[annotations["pairs_verb"], annotations["instances_class"][obj]]
    # The official file counts pixels from 1 and names the last pixel inside; predictions count from 0.
    truth = PairTruth(
        annotations.num_images, annotations.image_rows("pairs"), boxes[human] + [1, 1, 0, 0],
        boxes[obj] + [1, 1, 0, 0], hoi,
    )  # fmt: skip
    flat = {
        "pair_image": predictions.pair_image,
        "pair_hbox": predictions.pair_human_xyxy_px - np.float32([0, 0, 1, 1]),
        "pair_obox": predictions.pair_object_xyxy_px - np.float32([0, 0, 1, 1]),
        "pair_object": predictions.pair_object_class,
        "trip_pair": predictions.triplet_pair,
        "trip_verb": predictions.triplet_verb,
        "trip_score": predictions.triplet_score,
    }
    expected = evaluate_hoi(truth, detections_from_flat(flat, HICO), HICO, hoi_protocol(preset))
    result = stored.evaluate(predictions, annotations, protocol=preset)
    assert 0.1 < result.metrics["default/full"] < 0.99
    for name, column in expected.per_class.items():
        np.testing.assert_array_equal(result.per_class[name], column)


def test_suppressed_pairs_count_only_without_nis():
    annotations = hico_split(3)
    predictions = predictions_of(annotations, kept=False)
    suppressed = stored.evaluate(predictions, annotations)
    ap, positives = suppressed.per_class["default/ap"], suppressed.per_class["num_positives"]
    without_verb = np.array([verb == HICO.no_interaction for verb, _ in HICO.hois])
    np.testing.assert_array_equal(ap[~without_verb & (positives > 0)], 0.0)
    # "Does not interact" is what the suppression says: it stays.
    assert np.any(without_verb & (positives > 0))
    np.testing.assert_array_equal(ap[without_verb & (positives > 0)], 1.0)
    free = stored.evaluate(predictions, annotations, use_nis=False)
    assert free.metrics["default/mean_max_recall"] == 1.0
    assert free.manifest["pairs_suppressed"] == 48


def test_unknown_images_are_ignored_and_missing_ones_counted():
    annotations = hico_split(4)
    predictions = predictions_of(annotations)
    ids = predictions.image_id.copy()
    ids[:2] = [9001, 9002]
    result = stored.evaluate(dataclasses.replace(predictions, image_id=ids), annotations)
    assert result.manifest["unknown_images_ignored"] == 2
    assert result.manifest["images_without_predictions_entry"] == 2
    assert result.manifest["num_detections"] < len(predictions.triplet_pair)


def test_foreign_vocabularies_and_classes_are_refused():
    annotations = hico_split(5)
    predictions = predictions_of(annotations)
    with pytest.raises(ValueError, match="'vcoco'.*'hico_det'"):
        foreign = dataclasses.replace(
            predictions, manifest={"vocabulary": "vcoco"}, triplet_verb=predictions.triplet_verb * 0
        )
        stored.evaluate(foreign, annotations)
    with pytest.raises(io.DataError, match="triplet_verb"):
        stored.evaluate(dataclasses.replace(predictions, triplet_verb=predictions.triplet_verb + 117), annotations)


def action_ap(result, action):
    return result.per_class["agent/ap"][VCOCO.actions.index(action)]


def role_ap(result, name, verb):
    return result.per_class[name][result.manifest["role_classes"].index(verb)]


def test_vcoco_truth_as_prediction_scores_one_in_both_scenarios():
    predictions = vcoco_predictions(
        [
            (HOLDER, BOTTLE, "hold_obj", 0.9),
            (STANDER, NOTHING, "stand", 0.8),
            (UNLABELLED, BOTTLE, "hold_obj", 0.95),
            (CUTTER, NOTHING, "cut_obj", 0.7),
            (CUTTER, NOTHING, "cut_instr", 0.6),
        ]
    )
    result = stored.evaluate(predictions, vcoco_split())
    for metric in ("agent/26", "role_s1/24", "role_s1/25", "role_s2/24", "role_s2/25"):
        assert result.metrics[metric] == 1.0
    # Where labels are pairs only, the unlabelled person's prediction is a false positive ranked first.
    assert result.metrics["pairs_role_ap/24"] == 0.5
    assert result.manifest["role_classes_with_pairs"] == 1


def test_a_box_for_an_unseen_role_is_wrong_in_scenario_1_only():
    result = stored.evaluate(vcoco_predictions([(CUTTER, BOTTLE, "cut_obj", 0.7)]), vcoco_split())
    assert role_ap(result, "role_s1/ap", "cut_obj") == 0.0
    assert role_ap(result, "role_s2/ap", "cut_obj") == 1.0


def test_several_objects_of_one_person_are_one_agent_but_several_roles():
    far = [200, 100, 240, 140]
    rows = [(HOLDER, far, "hold_obj", 0.9), (HOLDER, BOTTLE, "hold_obj", 0.8)]
    result = stored.evaluate(vcoco_predictions(rows), vcoco_split())
    assert action_ap(result, "hold") == 1.0
    assert role_ap(result, "role_s1/ap", "hold_obj") == 0.5
    assert result.metrics["pairs_role_ap/24"] == 0.5


def test_agents_take_the_place_of_scores_from_pairs():
    rows = [(HOLDER, BOTTLE, "hold_obj", 0.9)]
    result = stored.evaluate(vcoco_predictions(rows, [(STANDER, "hold_obj", 0.9)]), vcoco_split())
    assert action_ap(result, "hold") == 0.0
    assert role_ap(result, "role_s1/ap", "hold_obj") == 1.0


def test_vcoco_boxes_are_counted_in_the_frame_of_the_official_script():
    truth = action_truth(vcoco_split(), VCOCO)
    assert truth.person_xyxy_px[0].tolist() == [0.0, 0.0, 39.0, 79.0]
    assert len(truth.person_image) == 4  # the unlabelled person is there, to be ignored
    assert (truth.labels == -1).all(1).tolist() == [False, False, True, False]
    # Half the width, exactly: 20 of 40 pixels make an IoU of 0.5, which counts.
    half = vcoco_predictions([([0, 0, 20, 80], BOTTLE, "hold_obj", 0.9)])
    assert action_ap(stored.evaluate(half, vcoco_split()), "hold") == 1.0
    less = vcoco_predictions([([0, 0, 19.9, 80], BOTTLE, "hold_obj", 0.9)])
    assert action_ap(stored.evaluate(less, vcoco_split()), "hold") == 0.0


def test_labels_rebuilt_from_pairs_never_get_the_official_name():
    whole = vcoco_split()
    partial = whole["persons_actions"].copy()
    partial[:, VCOCO.actions.index("stand")] = -1
    annotations = dataclasses.replace(whole, columns={**whole.columns, "persons_actions": partial})
    predictions = vcoco_predictions([(HOLDER, BOTTLE, "hold_obj", 0.9)])
    assert stored.evaluate(predictions, annotations).metrics == {"pairs_role_ap/24": 1.0}
    with pytest.raises(ValueError, match="role_ap_over_pairs"):
        stored.evaluate_action_predictions(predictions, annotations, VCOCO)


def test_identical_annotations_of_a_pair_count_once():
    record = record_of(1, num_actions=26)
    fill_instances(record, [HOLDER, BOTTLE, HOLDER, BOTTLE], [0, 39, 0, 39])
    hold = VCOCO.verbs.index("hold_obj")
    fill_pairs(record, [0, 2], [1, 3], [hold, hold])
    annotations = Annotations.from_records([record], "vcoco", None)
    result = stored.evaluate(vcoco_predictions([(HOLDER, BOTTLE, "hold_obj", 0.9)]), annotations)
    assert result.metrics == {"pairs_role_ap/24": 1.0}


def test_frequencies_are_shares_of_the_verbs_of_an_object():
    record = record_of(1)
    ride, hold = HICO.verbs.index("ride"), HICO.verbs.index("hold")
    fill_instances(record, [HOLDER, BOTTLE], [0, 1])
    fill_pairs(record, [0] * 4, [1] * 4, [ride, ride, ride, hold])
    table = verb_frequencies(Annotations.from_records([record], "hico_det"), HICO)
    assert (table[ride, 1], table[hold, 1], table.sum()) == (0.75, 0.25, 1.0)


def test_the_baseline_pairs_every_person_with_every_other_detection():
    train, test = hico_split(6), hico_split(7)
    predictions = frequency_baseline(train, test, HICO)
    people = [int((np.array(record) == 0).sum()) for record in np.split(test["detections_class"], 12)]
    assert len(predictions.pair_image) == sum(count * 7 for count in people)
    table = verb_frequencies(train, HICO)
    pair, verb = predictions.triplet_pair[5], predictions.triplet_verb[5]
    share = table[verb, predictions.pair_object_class[pair]]
    expected = predictions.pair_human_score[pair] * predictions.pair_object_score[pair] * share
    assert predictions.triplet_score[5] == pytest.approx(expected, rel=1e-6)
    assert np.all(predictions.triplet_score > 0)
    assert stored.evaluate(predictions, test).metrics["default/full"] < 0.5


def test_the_baseline_needs_detections_and_the_right_vocabulary():
    with pytest.raises(ValueError, match="no detections"):
        frequency_baseline(hico_split(6), Annotations.from_records([record_of(1)], "hico_det"), HICO)
    with pytest.raises(ValueError, match="train is labelled in 'hico_det', expected 'vcoco'"):
        frequency_baseline(hico_split(6), hico_split(7), VCOCO)


def test_by_distance_a_pair_counts_as_both_scores_times_the_exponential_of_the_distance_in_diagonals():
    near = box_distance_interactiveness(vcoco_predictions([((0, 0, 30, 40), (50, 10, 60, 30), "hold_obj", 0.9)]))
    # Centres (15, 20) and (55, 20) are 40 px apart; the person's diagonal is 50 px.
    assert np.isnan(near.pair_human_score[0])  # This layout has none.
    assert near.pair_interactiveness[0] == pytest.approx(np.exp(-0.8), rel=1e-6)
    everybody = box_distance_interactiveness(frequency_baseline(hico_split(6), hico_split(7), HICO))
    apart = np.abs(everybody.pair_human_xyxy_px - everybody.pair_object_xyxy_px).sum(axis=1)
    np.testing.assert_array_less(0, everybody.pair_interactiveness)
    score = everybody.pair_interactiveness / (everybody.pair_human_score * everybody.pair_object_score)
    assert np.corrcoef(apart, score)[0, 1] < -0.5


def test_results_survive_the_disk_with_nan_as_null(tmp_path):
    result = EvaluationResult(
        {"default/full": 0.25, "x": float("nan")}, {"ap": np.array([0.5, np.nan])}, {"n": np.int64(3)}
    )
    result.write(tmp_path / "metrics.json")
    text = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in text and "null" in text
    loaded = read_result(tmp_path / "metrics.json")
    assert loaded.metrics["default/full"] == 0.25 and np.isnan(loaded.metrics["x"])
    np.testing.assert_array_equal(loaded.per_class["ap"], [0.5, np.nan])
    assert loaded.manifest == {"n": 3}


def test_malformed_results_are_refused_with_file_and_field(tmp_path):
    (tmp_path / "m.json").write_text('{"metrics": {}, "manifest": {}}')
    with pytest.raises(io.DataError, match="m.json: field 'per_class'"):
        read_result(tmp_path / "m.json")
    (tmp_path / "m.json").write_text('{"metrics": {"a": "b"}, "manifest": {}, "per_class": {}}')
    with pytest.raises(io.DataError, match="m.json"):
        read_result(tmp_path / "m.json")


def test_the_table_shows_percent_and_a_dash_for_undefined_values():
    result = EvaluationResult(
        {"default/full": 0.4861, "x": float("nan")},
        {"default/ap": np.array([0.5, np.nan]), "num_positives": np.array([4, 0]), "other": np.zeros(3)},
        {},
    )
    lines = format_table(result, ("ride horse", "eat")).splitlines()
    assert lines[0].split() == ["default/full", "48.61"] and lines[1].split() == ["x", "-"]
    assert lines[3].split() == ["default/ap", "num_positives"]
    assert lines[4].split() == ["ride", "horse", "50.00", "4"] and lines[5].split() == ["eat", "-", "0"]


def test_merging_results_refuses_a_clash():
    one = EvaluationResult({"a": 1.0}, {}, {})
    assert merge(one, EvaluationResult({"b": 0.5}, {}, {})).metrics == {"a": 1.0, "b": 0.5}
    with pytest.raises(ValueError, match="'a'"):
        merge(one, one)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "'annotation' is absent"),
        ({"annotation": [{"boxes_h": [], "boxes_o": []}]}, "annotation 0: field 'hoi'"),
        ({"annotation": [{"boxes_h": [[1, 2, 3]], "boxes_o": [], "hoi": []}]}, "annotation 0: field 'boxes_h'"),
        ({"annotation": [{"boxes_h": [], "boxes_o": [], "hoi": [1]}]}, "annotation 0: fields have different"),
    ],
)
def test_malformed_hico_json_is_refused_with_record_and_field(content, message):
    with pytest.raises(io.DataError, match=message):
        truth_from_json(content)


def test_flat_predictions_name_what_they_lack():
    with pytest.raises(io.DataError, match="'trip_score'"):
        detections_from_flat({"pair_image": np.zeros(0)}, HICO)


def test_evaluation_needs_neither_jax_nor_tensorflow():
    package = Path(stored.__file__).parent
    files = [path.relative_to(package).with_suffix("") for path in package.rglob("*.py") if path.stem != "__init__"]
    assert len(files) > 30
    names = [".".join(path.parts) for path in files]
    code = "import sys\n" + "".join(f"import hoi_jax.evaluation.{name}\n" for name in names)
    code += "assert not {'jax', 'tensorflow', 'flax'} & set(sys.modules), 'a heavy package was imported'"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
