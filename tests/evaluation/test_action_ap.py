"""V-COCO style scores: an independent scalar oracle on random small worlds, and properties."""

import dataclasses

import numpy as np
import pytest

from hoi_jax.evaluation.metrics.protocols import ActionProtocol
from hoi_jax.evaluation.metrics.vcoco import ActionDetections, ActionTruth, evaluate_actions, headline_roles
from hoi_jax.formats.labels.vcoco_flat import truth_from_flat
from hoi_jax.io import DataError
from hoi_jax.vocab.datasets import VCOCO
from tests.helpers import oracle
from tests.helpers.worlds import ACTIONS_TOY as TOY
from tests.helpers.worlds import plain_actions as plain
from tests.helpers.worlds import random_action_world as random_world


def check_against_oracle(seeds):
    hits = 0
    for seed in seeds:
        truth, found = random_world(seed)
        result = evaluate_actions(truth, found, TOY)
        people, detections, roles = plain(truth, found)
        agent = [oracle.agent_ap(people, detections, action) for action in range(2)]
        np.testing.assert_allclose(result.per_class["agent/ap"], agent, rtol=0, atol=1e-12, err_msg=str(seed))
        for scenario in (1, 2):
            expected = [oracle.role_ap(people, detections, roles, 0, slot, scenario) for slot in range(2)]
            ours = result.per_class[f"role_s{scenario}/ap"]
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12, err_msg=f"{seed} {scenario}")
            hits += np.nansum(expected) > 0
    return hits


def test_two_thousand_worlds_score_as_the_scalar_oracle_says():
    assert check_against_oracle(range(2000)) > 480


@pytest.mark.slow
def test_twenty_thousand_worlds_score_as_the_scalar_oracle_says():
    assert check_against_oracle(range(10_000, 30_000)) > 4800


def one_person(role_box, predicted_box):
    """One person who cuts, with one role box and one prediction for the instrument."""
    box = np.array([[0.0, 0.0, 9.0, 9.0]])
    roles = np.full((1, 2, 2, 4), np.nan)
    roles[0, 0, 0] = role_box
    truth = ActionTruth(1, np.array([0]), box, np.array([[1, 0]]), roles)
    row = np.zeros(1, int)
    found = ActionDetections(
        row, box, np.array([[0.5, np.nan]]), row, row, row, np.array([predicted_box], float), np.array([0.5])
    )
    return evaluate_actions(truth, found, TOY)


BOX, NOTHING = [20.0, 20, 29, 29], [np.nan] * 4


@pytest.mark.parametrize(
    ("role_box", "predicted", "scenario_1", "scenario_2"),
    [
        (BOX, BOX, 1, 1),
        (BOX, [20.0, 20, 29, 24], 1, 1),  # an IoU of exactly 0.5
        (BOX, [20.0, 20, 29, 23.9], 0, 0),
        (BOX, NOTHING, 0, 0),
        (BOX, [0.0] * 4, 0, 0),
        (BOX, [40.0, 40, 49, 49], 0, 0),
        (NOTHING, NOTHING, 1, 1),
        (NOTHING, [0.0] * 4, 1, 1),
        (NOTHING, [0, 0, 0.1, 0.1], 0, 1),
        (NOTHING, BOX, 0, 1),
    ],
)
def test_scenarios_treat_absent_roles_as_defined(role_box, predicted, scenario_1, scenario_2):
    result = one_person(role_box, predicted)
    assert (result.per_class["role_s1/ap"][0], result.per_class["role_s2/ap"][0]) == (scenario_1, scenario_2)


def test_an_action_without_positives_is_left_out_of_the_mean():
    result = one_person(BOX, BOX)
    assert np.isnan(result.per_class["agent/ap"][1]) and result.metrics["agent/2"] == 1.0


def test_detections_on_unlabelled_people_are_neither_right_nor_wrong():
    truth, found = random_world(3)
    base = evaluate_actions(truth, found, TOY)
    far = np.array([[100.0, 100, 109, 109]])
    more = dataclasses.replace(
        truth,
        person_image=np.append(truth.person_image, 0),
        person_xyxy_px=np.append(truth.person_xyxy_px, far, 0),
        labels=np.append(truth.labels, [[-1, -1]], 0),
        role_xyxy_px=np.append(truth.role_xyxy_px, np.full((1, 2, 2, 4), np.nan), 0),
    )
    extra = dataclasses.replace(
        found,
        image=np.append(found.image, 0),
        person_xyxy_px=np.append(found.person_xyxy_px, far, 0),
        agent_scores=np.append(found.agent_scores, [[9.0, 9.0]], 0),
    )
    np.testing.assert_array_equal(evaluate_actions(more, extra, TOY).per_class["agent/ap"], base.per_class["agent/ap"])


def test_the_manifest_counts_people_and_predictions_exactly():
    """Three people, two labelled for one action; four detections, one in an empty image."""
    box = [[0.0, 0, 9, 9]]
    labels = np.array([[1, -1], [-1, -1], [0, -1]])
    truth = ActionTruth(2, np.zeros(3, int), np.array(box * 3), labels, np.full((3, 2, 2, 4), np.nan))
    found = ActionDetections(
        np.array([0, 0, 0, 1]), np.array(box * 4), np.full((4, 2), 0.5),
        np.array([0, 3]), np.zeros(2, int), np.zeros(2, int), np.full((2, 4), np.nan), np.array([0.3, 0.4]),
    )  # fmt: skip
    manifest = evaluate_actions(truth, found, TOY).manifest
    counts = ("num_images", "num_labelled_persons", "num_detections", "num_role_predictions")
    assert [manifest[name] for name in counts] == [2, 2, 4, 2]
    assert manifest["detections_without_person_in_image"] == 1
    assert manifest["role_classes"] == ["cut_instr", "cut_obj"]


def test_the_error_names_the_first_image_without_people():
    truth = ActionTruth(3, np.zeros(1, int), np.array([[0.0, 0, 9, 9]]), np.ones((1, 2), int), np.zeros((1, 2, 2, 4)))
    found = ActionDetections(
        np.arange(3), np.array([[0.0, 0, 9, 9]] * 3), np.full((3, 2), 0.5),
        np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0),
    )  # fmt: skip
    with pytest.raises(ValueError, match="^2 detections in images without people, first in image row 1$"):
        evaluate_actions(truth, found, TOY, ActionProtocol(empty_person_images="error"))


def test_detections_of_the_first_person_are_no_error():
    truth = ActionTruth(1, np.zeros(1, int), np.array([[0.0, 0, 9, 9]]), np.ones((1, 2), int), np.zeros((1, 2, 2, 4)))
    found = ActionDetections(
        np.zeros(1, int), np.array([[0.0, 0, 9, 9]]), np.full((1, 2), 0.5),
        np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0),
    )  # fmt: skip
    assert evaluate_actions(truth, found, TOY, ActionProtocol(empty_person_images="error")).metrics["agent/2"] == 1.0


def test_a_role_of_an_action_without_roles_counts_nowhere():
    """A confident `stand` with an object, above the right `cut`: no role class hears of it."""
    box, row = np.array([[0.0, 0, 9, 9]]), np.zeros(2, int)
    roles = np.full((1, 2, 2, 4), np.nan)
    roles[0, 0] = BOX
    truth = ActionTruth(1, row[:1], box, np.array([[1, 1]]), roles)
    for slot in (0, 1):
        found = ActionDetections(
            row[:1], box, np.full((1, 2), np.nan), row, np.array([1, 0]), np.array([slot, slot]),
            np.array([[50.0, 50, 59, 59], BOX]), np.array([0.9, 0.5]),
        )  # fmt: skip
        assert evaluate_actions(truth, found, TOY).per_class["role_s1/ap"][slot] == 1.0


def test_predictions_without_people_are_false_positives_or_an_error():
    truth = ActionTruth(2, np.array([0]), np.array([[0.0, 0, 9, 9]]), np.array([[1, 0]]), np.full((1, 2, 2, 4), np.nan))
    found = ActionDetections(
        np.array([1, 0]), np.array([[0.0, 0, 9, 9]] * 2), np.array([[0.9, np.nan], [0.5, np.nan]]),
        np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0),
    )  # fmt: skip
    result = evaluate_actions(truth, found, TOY)
    assert result.per_class["agent/ap"][0] == 0.5
    assert result.manifest["detections_without_person_in_image"] == 1
    with pytest.raises(ValueError, match="1 detections in images without people, first in image row 1"):
        evaluate_actions(truth, found, TOY, ActionProtocol(empty_person_images="error"))


def test_vcoco_prints_24_and_25_roles_with_point_left_out_of_the_headline():
    headline = headline_roles(VCOCO)
    assert (headline.sum(), len(headline)) == (24, 25)
    nobody = ActionTruth(1, np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 26), int), np.zeros((0, 26, 2, 4)))
    nothing = ActionDetections(
        np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 26)), np.zeros(0, int), np.zeros(0, int),
        np.zeros(0, int), np.zeros((0, 4)), np.zeros(0),
    )  # fmt: skip
    metrics = evaluate_actions(nobody, nothing, VCOCO).metrics
    assert list(metrics) == ["agent/26", "role_s1/24", "role_s1/25", "role_s2/24", "role_s2/25"]
    assert all(np.isnan(value) for value in metrics.values())


def test_a_role_of_an_unknown_annotation_is_refused():
    arrays = {
        "image_ids": np.array([7]), "ann_id": np.array([1]), "ann_image": np.array([7]),
        "ann_category": np.array([1]), "ann_xyxy": np.array([[0.0, 0, 9, 9]]), "person_ann_id": np.array([1]),
        "label": np.ones((1, 26), int), "role_ann_id": np.zeros((1, 26, 2), int),
    }  # fmt: skip
    assert truth_from_flat(arrays).person_xyxy_px.tolist() == [[0.0, 0.0, 8.0, 8.0]]
    arrays["role_ann_id"][0, 0, 0] = 99
    with pytest.raises(DataError, match="role annotation 99 is unknown"):
        truth_from_flat(arrays)
