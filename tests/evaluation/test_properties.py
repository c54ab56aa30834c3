"""What holds for every score: more mistakes never help, the order of images is nothing, the truth itself is perfect."""

import dataclasses

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.hico_det import PairDetections, PairTruth, evaluate_hoi
from hoi_jax.evaluation.metrics.protocols import HOI_PRESETS, HoiProtocol, hoi_protocol
from hoi_jax.evaluation.metrics.vcoco import ActionDetections, evaluate_actions, role_verbs
from hoi_jax.formats.labels.hico_det import truth_from_json
from hoi_jax.formats.labels.vcoco_flat import truth_from_flat
from hoi_jax.vocab.datasets import HICO, VCOCO
from tests.helpers.worlds import ACTIONS_TOY, TOY, random_action_world, random_world

NO_CAP = [name for name, preset in HOI_PRESETS.items() if preset.max_per_image is None]
FAR = [90.0, 90.0, 95.0, 95.0]


def with_far_pair(found, image, label, score):
    """One more detection, of a pair where nothing is annotated."""
    return PairDetections(
        np.append(found.pair_image, image),
        np.vstack([found.pair_human_xyxy_px, FAR]),
        np.vstack([found.pair_object_xyxy_px, FAR]),
        np.append(found.triplet_pair, len(found.pair_image)),
        np.append(found.triplet_label, label),
        np.append(found.triplet_score, score),
    )


@pytest.mark.parametrize("name", NO_CAP)
def test_a_false_positive_never_raises_ap_and_sometimes_lowers_it(name):
    protocol, lowered = hoi_protocol(name), 0
    for seed in range(150):
        truth, found = random_world(seed)
        before = evaluate_hoi(truth, found, TOY, protocol).per_class
        for label, score in ((1, 0.1), (3, 0.5), (4, 2.0)):
            worse = with_far_pair(found, seed % truth.num_images, label, score)
            after = evaluate_hoi(truth, worse, TOY, protocol).per_class
            for column in ("default/ap", "known_object/ap"):
                defined = ~np.isnan(before[column])
                assert np.all(after[column][defined] <= before[column][defined]), (seed, column)
                lowered += np.any(after[column][defined] < before[column][defined])
    assert lowered > 20


def test_under_a_cap_per_image_a_false_positive_can_raise_the_ap_of_another_class():
    box = np.array([[0.0, 0.0, 9.0, 9.0]])
    truth = PairTruth(2, np.array([0, 1, 0]), box.repeat(3, 0), box.repeat(3, 0), np.array([1, 1, 4]))
    wrong = np.array([FAR, [-1.0, -1.0, 8.0, 8.0]])
    found = PairDetections(np.array([0, 1]), wrong, wrong, np.arange(2), np.array([1, 1]), np.array([0.9, 0.8]))
    capped = HoiProtocol(max_per_image=1)
    before = evaluate_hoi(truth, found, TOY, capped).per_class["default/ap"]
    after = evaluate_hoi(truth, with_far_pair(found, 0, 4, 1.0), TOY, capped).per_class["default/ap"]
    assert after[1] > before[1] > 0


def test_a_false_positive_never_raises_agent_or_role_ap():
    lowered = 0
    for seed in range(150):
        truth, found = random_action_world(seed)
        before = evaluate_actions(truth, found, ACTIONS_TOY).per_class
        for score in (0.1, 0.6, 2.0):
            worse = ActionDetections(
                np.append(found.image, seed % truth.num_images),
                np.vstack([found.person_xyxy_px, FAR]),
                np.vstack([found.agent_scores, [score, score]]),
                np.append(found.role_detection, [len(found.image)] * 2),
                np.append(found.role_action, [0, 0]),
                np.append(found.role_slot, [0, 1]),
                np.vstack([found.role_xyxy_px, FAR, FAR]),
                np.append(found.role_score, [score, score]),
            )
            after = evaluate_actions(truth, worse, ACTIONS_TOY).per_class
            for column in ("agent/ap", "role_s1/ap", "role_s2/ap"):
                defined = ~np.isnan(before[column])
                assert np.all(after[column][defined] <= before[column][defined]), (seed, column)
                lowered += np.any(after[column][defined] < before[column][defined])
    assert lowered > 20


def test_permuting_images_changes_no_agent_or_role_ap_when_scores_are_distinct():
    for seed in range(60):
        truth, found = random_action_world(seed)
        random = np.random.default_rng(seed)
        found = dataclasses.replace(
            found,
            agent_scores=random.permutation(found.agent_scores.size).reshape(found.agent_scores.shape) + 1.0,
            role_score=random.permutation(len(found.role_score)) + 1.0,
        )
        image = random.permutation(truth.num_images)
        moved = (
            dataclasses.replace(truth, person_image=image[truth.person_image]),
            dataclasses.replace(found, image=image[found.image]),
        )
        before, after = evaluate_actions(truth, found, ACTIONS_TOY), evaluate_actions(*moved, ACTIONS_TOY)
        np.testing.assert_equal(dict(after.metrics), dict(before.metrics))


@pytest.mark.parametrize("name", ["official", "octave", "upt"])
def test_the_real_hico_test_labels_as_prediction_give_100_in_every_class(name, data_dir):
    truth = truth_from_json(io.read_json(data_dir / "hicodet_instances_test2015.json.gz"))
    rows = np.arange(len(truth.label))
    found = PairDetections(
        truth.image, truth.human_xyxy_px - 1, truth.object_xyxy_px - 1, rows, truth.label, rows / len(rows)
    )
    result = evaluate_hoi(truth, found, HICO, hoi_protocol(name))
    for setting in ("default", "known_object"):
        np.testing.assert_allclose(result.per_class[f"{setting}/ap"], 1, rtol=0, atol=1e-12)


def test_the_labels_of_a_vcoco_split_as_prediction_give_100_in_both_scenarios(golden_dir):
    """A role without box is predicted as zeros, which scenario 1 asks for."""
    truth = truth_from_flat(io.read_npz(golden_dir / "vcoco_eval_val_gt.npz"))
    people = np.flatnonzero((truth.labels >= 0).any(1))
    does = truth.labels[people] == 1
    slots = np.array([(VCOCO.verb_action[verb], VCOCO.verb_role[verb]) for verb in role_verbs(VCOCO)])
    person, role = np.nonzero(does[:, slots[:, 0]])
    action, slot = slots[role].T
    found = ActionDetections(
        truth.person_image[people],
        truth.person_xyxy_px[people],
        np.where(does, np.linspace(0.5, 1, does.size).reshape(does.shape), np.nan),
        person,
        action,
        slot,
        np.nan_to_num(truth.role_xyxy_px[people[person], action, slot]),
        np.linspace(0.5, 1, len(person)),
    )
    result = evaluate_actions(truth, found, VCOCO)
    for column in ("agent/ap", "role_s1/ap", "role_s2/ap"):
        np.testing.assert_allclose(result.per_class[column], 1, rtol=0, atol=1e-12)
