"""HICO-DET scores of simulated detections on the real test labels equal those of the published evaluators."""

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.hico_det import evaluate_hoi
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.postprocess.pair_nms import pair_nms
from hoi_jax.evaluation.score import evaluate_hoi_predictions
from hoi_jax.formats.labels.hico_det import detections_from_flat, truth_from_json
from hoi_jax.vocab.datasets import HICO
from tests.helpers.hico_as_predictions import annotations_of, predictions_of

CASES = {
    "official_default": ("default", hoi_protocol("official")),
    "official_known_object": ("known_object", hoi_protocol("official")),
    "octave_official_default": ("default", hoi_protocol("octave")),
    "octave_official_known_object": ("known_object", hoi_protocol("octave")),
    "official_default_cap100": ("default", hoi_protocol("official", max_per_image=100)),
    "official_known_object_cap100": ("known_object", hoi_protocol("official", max_per_image=100)),
    "ppdm": ("default", hoi_protocol("ppdm")),
    "qpic": ("default", hoi_protocol("qpic")),
    "cdn_no_nms": ("default", hoi_protocol("qpic")),
    "upt_pocket_11P": ("default", hoi_protocol("upt")),
    "consnet_def": ("default", hoi_protocol("consnet")),
    "consnet_ko": ("known_object", hoi_protocol("consnet")),
    "variant_arange": ("default", hoi_protocol("octave")),
    "variant_exact_tenths": ("default", hoi_protocol("official", thresholds="tenths")),
    "variant_strict_gt": ("default", hoi_protocol("official", strict_iou=True)),
    "variant_no_plus1": ("default", hoi_protocol("official", plus_one=False)),
    "variant_area": ("default", hoi_protocol("official", ap="area")),
    "variant_skip_empty": ("default", hoi_protocol("official", skip_images_without_gt=True)),
    "variant_skip_empty_strict": ("default", hoi_protocol("upt")),
    "variant_cap100_arange": ("default", hoi_protocol("octave", max_per_image=100)),
    "variant_cap100_arange_skip_empty": ("default", hoi_protocol("qpic")),
}


@pytest.fixture(scope="module")
def truth(data_dir):
    return truth_from_json(io.read_json(data_dir / "hicodet_instances_test2015.json.gz"))


@pytest.fixture(scope="module")
def detections(golden_dir):
    return detections_from_flat(io.read_npz(golden_dir / "hico_eval_preds.npz"), HICO)


@pytest.fixture(scope="module")
def expected(golden_dir):
    return io.read_npz(golden_dir / "hico_eval_results.npz")


def test_the_results_file_holds_a_known_case(expected):
    assert any(f"{name}/ap" in expected for name in CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_class_equals_the_reference_evaluator(name, truth, detections, expected):
    if f"{name}/ap" not in expected:
        pytest.skip(f"the results file has no case {name}")
    setting, protocol = CASES[name]
    result = evaluate_hoi(truth, detections, HICO, protocol)
    for column in ("ap", "max_recall"):
        ours = result.per_class[f"{setting}/{column}"]
        np.testing.assert_allclose(ours, expected[f"{name}/{column}"], rtol=0, atol=1e-12)


def test_pair_nms_after_the_cut_equals_the_reference_evaluator(truth, detections, expected):
    if "cdn_nms_0.7_1_0.5/ap" not in expected:
        pytest.skip("the results file has no case cdn_nms_0.7_1_0.5")
    kept = pair_nms(detections, threshold=0.7, human_power=1.0, object_power=0.5, max_per_image=100)
    result = evaluate_hoi(truth, kept, HICO, hoi_protocol("qpic"))
    for column in ("ap", "max_recall"):
        ours = result.per_class[f"default/{column}"]
        np.testing.assert_allclose(ours, expected[f"cdn_nms_0.7_1_0.5/{column}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["official_default", "official_known_object"])
def test_means_equal_the_summary(name, truth, detections, golden_dir):
    summary = io.read_json(golden_dir / "hico_eval_summary.json")[name]
    setting, protocol = CASES[name]
    result = evaluate_hoi(truth, detections, HICO, protocol)
    for column in ("full", "rare", "non_rare", "mean_max_recall"):
        assert result.metrics[f"{setting}/{column}"] == pytest.approx(summary[column], abs=1e-12)


@pytest.mark.parametrize("name", ["official_default", "official_known_object", "qpic"])
def test_a_prediction_file_in_continuous_corners_scores_the_same(name, truth, golden_dir, expected):
    """The frame of stores and annotations is ours; the golden detections are on a grid that float32 holds exactly."""
    if f"{name}/ap" not in expected:
        pytest.skip(f"the results file has no case {name}")
    setting, protocol = CASES[name]
    result = evaluate_hoi_predictions(
        predictions_of(golden_dir, truth.num_images), annotations_of(truth), HICO, protocol
    )
    np.testing.assert_allclose(result.per_class[f"{setting}/ap"], expected[f"{name}/ap"], rtol=0, atol=1e-12)


def test_known_object_is_never_below_default(truth, detections):
    result = evaluate_hoi(truth, detections, HICO, hoi_protocol("official"))
    assert np.all(result.per_class["known_object/ap"] >= result.per_class["default/ap"])
