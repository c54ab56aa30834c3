"""V-COCO scores of simulated detections equal those of the official script (which stores float32)."""

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.vcoco import evaluate_actions, role_verbs
from hoi_jax.formats.labels.vcoco_flat import detections_from_flat, truth_from_flat
from hoi_jax.vocab.datasets import VCOCO


@pytest.fixture(scope="module", params=["val", "test"])
def scored(request, golden_dir):
    name = f"vcoco_eval_{request.param}"
    truth = io.read_npz(golden_dir / f"{name}_gt.npz")
    detections = io.read_npz(golden_dir / f"{name}_preds.npz")
    result = evaluate_actions(truth_from_flat(truth), detections_from_flat(detections, truth["image_ids"]), VCOCO)
    summary = io.read_json(golden_dir / "vcoco_eval_summary.json")[request.param]["summary"]
    return result, io.read_npz(golden_dir / f"{name}_results.npz"), summary


def test_agent_ap_of_every_action_equals_the_official_script(scored):
    result, expected, _ = scored
    np.testing.assert_allclose(result.per_class["agent/ap"], expected["official/agent_ap"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scenario", [1, 2])
def test_role_ap_of_every_class_equals_the_official_script(scored, scenario):
    result, expected, _ = scored
    roles = role_verbs(VCOCO)
    where = [VCOCO.verb_action[v] for v in roles], [VCOCO.verb_role[v] for v in roles]
    reference = expected[f"official/scenario_{scenario}_ap"]
    assert np.isnan(reference).sum() == reference.size - len(roles)
    np.testing.assert_allclose(result.per_class[f"role_s{scenario}/ap"], reference[where], rtol=0, atol=1e-6)


def test_positives_equal_the_official_script(scored):
    result, expected, _ = scored
    np.testing.assert_array_equal(result.per_class["num_positives"], expected["official/npos"])


def test_both_means_equal_the_official_script(scored):
    result, _, summary = scored
    names = {
        "agent/26": "agent_26", "role_s1/24": "s1_24", "role_s1/25": "s1_all25",
        "role_s2/24": "s2_24", "role_s2/25": "s2_all25",
    }  # fmt: skip
    for ours, theirs in names.items():
        assert result.metrics[ours] == pytest.approx(summary[theirs], abs=1e-6)
