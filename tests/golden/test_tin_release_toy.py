"""TIN's released scores and suppression against the authors' toy outputs (tin_toy.json with tin.npz)."""

import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.ops.scoring import agent_scores
from hoi_jax.systems.tin.config import NisConfig, ScoreConfig
from hoi_jax.systems.tin.scores import (
    allowed_objects,
    best_objects,
    detector_weight,
    kept_pairs,
    nis_bounds,
)
from hoi_jax.vocab import get_vocabulary

HICO, VCOCO = get_vocabulary("hico_det"), get_vocabulary("vcoco")
HICO_LIS = ScoreConfig(lis_scale=6.0, lis_offset=10.0, lis_slope=1.4)
VCOCO_LIS = ScoreConfig(lis_scale=6.0, lis_offset=6.0, lis_slope=7.0)
RELEASED = NisConfig(rule="two_sided", bounds="released")


@pytest.fixture(scope="module")
def toy(golden_dir):
    return io.read_json(golden_dir / "tin_toy.json", max_bytes=2**24), io.read_npz(golden_dir / "tin.npz")


def test_every_key_of_the_toy_file_is_tested_here(toy):
    tested = {"vcoco_toy_input", "vcoco_action_index", "vcoco_toy_outputs", "hico_toy_input"}
    unknown = [
        key for key in toy[0] if key not in tested and not key.startswith(("hico_toy_output", "hico_toy_deleted"))
    ]
    assert tested & set(toy[0]) and not unknown


def test_tables_of_the_released_code(toy):
    arrays = toy[1]
    order = [toy[0]["vcoco_action_index"][verb] for verb in VCOCO.verbs]
    np.testing.assert_array_equal(allowed_objects(("released",), VCOCO), arrays["vcoco_hand_prior"].T[order] > 0)
    np.testing.assert_allclose(nis_bounds(RELEASED, VCOCO), arrays["vcoco_nis_bounds"], rtol=1e-6)
    silent = [hoi + 1 for hoi, (verb, _) in enumerate(HICO.hois) if verb == HICO.no_interaction]
    np.testing.assert_array_equal(np.sort(arrays["hico_no_interaction_hoi_1based"]), silent)
    for obj, (first, last) in enumerate(arrays["hico_hoi_range_1based"]):
        assert all(HICO.hois[hoi][1] == obj for hoi in range(first - 1, last))
        assert sum(o == obj for _, o in HICO.hois) == last - first + 1


def hico_classes(toy) -> list[int]:
    return sorted(int(key.rsplit("_", 1)[1]) for key in toy if key.startswith("hico_toy_output_class_"))


def test_hico_det_scores_and_suppression(toy):
    """S_C P(s_h) P(s_o), not times f_P; two-sided bounds per class; no_interaction and fallback images are spared."""
    values, arrays = toy
    rows = values["hico_toy_input"]
    fallback = np.isin([row["image_id"] for row in rows], arrays["hico_images_without_pairs"])
    inter, silent = np.ones(len(rows)), np.zeros(len(rows))
    # The authors' stored scores are in order of images, without those that have no pair.
    order = np.argsort([row["image_id"] for row in rows], kind="stable")
    order = order[~fallback[order]]
    inter[order], silent[order] = arrays["hico_toy_d_inter"], arrays["hico_toy_d_nointer"]
    weight = np.ones(len(rows))
    for name in ("h_score", "o_score"):
        weight *= np.asarray(detector_weight(jnp.asarray([row[name] for row in rows]), HICO_LIS), np.float64)
    object_class = np.array([row["cls"] - 1 for row in rows])
    kept = kept_pairs(
        RELEASED, jnp.asarray(inter), jnp.asarray(inter), jnp.asarray(silent), jnp.asarray(object_class),
        jnp.asarray(nis_bounds(RELEASED, HICO)), HICO.human_class,
    )  # fmt: skip
    kept = np.asarray(kept) | fallback
    for number in hico_classes(values):
        mine = np.flatnonzero(object_class == number - 1)
        assert values[f"hico_toy_deleted_class_{number}"] == [0, int((~kept[mine]).sum())]
        expected, got = values[f"hico_toy_output_class_{number}"], []
        first, last = arrays["hico_hoi_range_1based"][number - 1]
        for index, hoi in enumerate(range(first - 1, last)):
            spared = HICO.hois[hoi][0] == HICO.no_interaction
            used = [row for row in mine if kept[row] or spared]
            scores = {row: arrays["hico_toy_scores600"][row, hoi] * weight[row] for row in used}
            got += [(row, index, scores[row]) for row in sorted(used, key=lambda row: -scores[row])]
        assert len(got) == len(expected)
        for (row, index, score), (human, obj, image, number_in_range, wanted) in zip(got, expected, strict=True):
            assert (human, obj) == (rows[row]["human"], rows[row]["object"])
            assert (image, number_in_range) == ([rows[row]["image_id"]], [index])
            np.testing.assert_allclose(score, wanted[0], rtol=3e-6)


@pytest.mark.parametrize("flag", [0, 1, 3])
def test_vcoco_best_objects_priors_and_suppression(toy, flag):
    """Per person and verb the best object; suppressed or zero: no box, score 0. Agents read the pairs before that."""
    values, arrays = toy
    index = values["vcoco_action_index"]
    if f"prior_flag_{flag}" not in values["vcoco_toy_outputs"]:
        pytest.skip(f"the file lacks prior_flag_{flag}")
    bounds = jnp.asarray(arrays["vcoco_nis_bounds"], jnp.float32)
    config = NisConfig(rule="two_sided", drop_person_objects=True)
    checked = 0
    for person, wanted in zip(
        values["vcoco_toy_input"], values["vcoco_toy_outputs"][f"prior_flag_{flag}"], strict=True
    ):
        classes = np.asarray(person["object_class"], int)
        scores = np.asarray(person["HO_Score"], np.float64).reshape(len(classes), -1)
        if flag in (1, 3):
            scores = scores * arrays["vcoco_hand_prior"][classes - 1]
        if flag == 3:
            scores = scores * arrays["vcoco_toy_prior_mask"][:, classes].T
        weight = detector_weight(jnp.asarray(person["O_det"]), VCOCO_LIS) * detector_weight(
            jnp.asarray(person["H_det"]), VCOCO_LIS
        )
        scores = jnp.asarray(scores * np.asarray(weight, np.float64)[:, None])
        human, valid = jnp.zeros(len(classes), jnp.int32), jnp.ones(len(classes), bool)
        best = np.asarray(best_objects(scores, human, valid, 1))
        agents = np.asarray(agent_scores(scores, human, valid, 1))[0]
        inter, silent = jnp.asarray(person["binary_score"], jnp.float32).reshape(-1, 2).T
        kept = np.asarray(kept_pairs(config, inter, inter, silent, jnp.asarray(classes - 1), bounds, 0))
        human_weight = float(detector_weight(jnp.asarray(person["H_det"]), VCOCO_LIS))
        alone = np.asarray(person["H_Score"]).reshape(-1) * human_weight
        for verb, role in zip(VCOCO.verbs, VCOCO.verb_role, strict=True):
            column = index[verb]
            *box, score = wanted[verb]
            rows = np.flatnonzero(best[:, column] & kept)
            if role < 0:
                np.testing.assert_allclose(score, alone[column], rtol=3e-6)
            elif len(rows):
                np.testing.assert_allclose(box, person["object_box"][rows[0]], rtol=1e-6)
                np.testing.assert_allclose(score, scores[rows[0], column], rtol=3e-6)
                checked += 1
            else:
                assert score == 0 and all(value is None for value in box)
        for action, roles in zip(VCOCO.actions, VCOCO.action_roles, strict=True):
            columns = [index[f"{action}_{role}"] for role in roles] or [index[action]]
            expected = max(agents[c] if roles else alone[c] for c in columns)
            np.testing.assert_allclose(wanted[f"{action}_agent"], expected, rtol=3e-6, atol=1e-12)
    assert checked
