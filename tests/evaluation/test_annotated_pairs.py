"""Scores from label files that list pairs only: agents, intervals, and the class frequencies of the same pairs."""

import dataclasses
import json

import numpy as np
import pytest

import evaluate
from hoi_jax.evaluation import score as stored
from hoi_jax.evaluation.analysis.baselines import frequency_baseline, frequency_of_pairs
from hoi_jax.evaluation.analysis.bootstrap import resample
from hoi_jax.evaluation.metrics.annotated_pairs import agent_ap_over_pairs, pair_rankings
from hoi_jax.vocab.datasets import HICO, VCOCO
from tests.helpers.scored_splits import BOTTLE, CUTTER, HOLDER, STANDER, hico_split, vcoco_predictions, vcoco_split

ROWS = [
    (HOLDER, BOTTLE, "hold_obj", 0.8),
    (STANDER, BOTTLE, "hold_obj", 0.9),
    (CUTTER, BOTTLE, "cut_obj", 0.7),
    (CUTTER, BOTTLE, "hold_obj", 0.6),
]


def pairs_only(annotations):
    """The labels as a file of pairs gives them: nothing is known of actions without object."""
    actions = annotations["persons_actions"].copy()
    actions[:, [not roles for roles in VCOCO.action_roles]] = -1
    return dataclasses.replace(annotations, columns={**annotations.columns, "persons_actions": actions})


def test_agents_of_pairs_are_the_official_agents_of_actions_with_an_object():
    predictions = vcoco_predictions(ROWS)
    official = stored.evaluate_action_predictions(predictions, vcoco_split(), VCOCO).per_class["agent/ap"]
    found = agent_ap_over_pairs(predictions, pairs_only(vcoco_split()), VCOCO)
    with_object = np.array([bool(roles) for roles in VCOCO.action_roles])
    np.testing.assert_array_equal(found.per_class["pairs_agent_ap/ap"][with_object], official[with_object])
    assert np.isnan(found.per_class["pairs_agent_ap/ap"][~with_object]).all()
    # STANDER's 0.9 is the only mistake before HOLDER; CUTTER's cut is right.
    assert found.metrics == {"pairs_agent_ap/22": pytest.approx((0.5 + 1.0) / 2)}


def test_agents_need_labelled_people():
    nobody = dataclasses.replace(vcoco_split(), actions_vocabulary_name=None)
    with pytest.raises(ValueError, match="no person of the annotations is labelled in 'vcoco'"):
        agent_ap_over_pairs(vcoco_predictions(ROWS), nobody, VCOCO)
    assert len(pair_rankings(vcoco_predictions(ROWS), nobody, VCOCO)) == 1


def test_draws_start_from_the_scores_over_pairs():
    predictions, annotations = vcoco_predictions(ROWS), pairs_only(vcoco_split())
    drawn = resample(pair_rankings(predictions, annotations, VCOCO), replicates=5)
    roles = stored.role_ap_over_pairs(predictions, annotations, VCOCO).metrics
    agents = agent_ap_over_pairs(predictions, annotations, VCOCO).metrics
    assert drawn.estimates == pytest.approx({**roles, **agents})
    assert roles == {"pairs_role_ap/24": 0.5}


def test_frequencies_of_the_same_pairs_are_those_of_the_baseline():
    train, test = hico_split(6), hico_split(7)
    expected = frequency_baseline(train, test, HICO)
    suppressed = dataclasses.replace(
        expected, pair_nis_keep=np.zeros(len(expected.pair_nis_keep), bool), triplet_score=expected.triplet_score * 0
    )
    found = frequency_of_pairs(suppressed, train, HICO)
    assert found.pair_nis_keep.all()
    for name in ("triplet_pair", "triplet_verb"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.triplet_score, expected.triplet_score, rtol=1e-6)
    with pytest.raises(ValueError, match="predictions use vocabulary 'hico_det', expected 'vcoco'"):
        frequency_of_pairs(expected, train, VCOCO)


def test_the_command_compares_with_class_frequencies_draw_by_draw(tmp_path, capsys):
    annotations = pairs_only(vcoco_split())
    boxes = np.array([HOLDER, BOTTLE], np.float32)
    added = {"xyxy_px": boxes, "class": np.array([0, 39], np.int32), "score": np.ones(2, np.float32)}
    added |= {"keypoints_px": np.zeros((2, 17, 3), np.float32), "face_xyxy_px": np.zeros((2, 4), np.float32)}
    columns = {**annotations.columns, **{f"detections_{name}": value for name, value in added.items()}}
    counts = {**annotations.counts, "detections": np.array([2])}
    dataclasses.replace(annotations, columns=columns, counts=counts).save(tmp_path / "labels.npz")
    vcoco_predictions(ROWS).save(tmp_path / "found.npz")
    arguments = ["--predictions", "found.npz", "--annotations", "labels.npz", "--train-annotations", "labels.npz"]
    arguments = [str(tmp_path / a) if a.endswith("npz") else a for a in arguments]
    assert evaluate.main([*arguments, "--bootstrap", "4", "--out", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "model minus class_frequency, paired by image:" in printed
    content = json.loads((tmp_path / "out.json").read_text())
    frequency = content["compared"]["class_frequency"]
    assert frequency == {"pairs_role_ap/24": 1.0, "pairs_agent_ap/22": 0.5}  # HOLDER holds; nobody is seen to cut
    for metric, found in content["differences"]["class_frequency"].items():
        assert found["difference"] == pytest.approx(content["metrics"][metric] - frequency[metric])
        assert found["low"] <= found["difference"] <= found["high"]
