"""HICO-DET scores of simulated detections on the real test labels equal those of the published evaluators."""

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.hico_det import evaluate_hoi
from hoi_jax.evaluation.hico_flat import detections_from_flat, truth_from_json
from hoi_jax.evaluation.protocols import hoi_protocol
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.evaluation.stored import evaluate_store
from hoi_jax.vocab.hico import HICO

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


@pytest.mark.parametrize("name", ["official_default", "official_known_object"])
def test_means_equal_the_summary(name, truth, detections, golden_dir):
    summary = io.read_json(golden_dir / "hico_eval_summary.json")[name]
    setting, protocol = CASES[name]
    result = evaluate_hoi(truth, detections, HICO, protocol)
    for column in ("full", "rare", "non_rare", "mean_max_recall"):
        assert result.metrics[f"{setting}/{column}"] == pytest.approx(summary[column], abs=1e-12)


@pytest.mark.parametrize("name", ["official_default", "official_known_object", "qpic"])
def test_a_store_in_continuous_corners_scores_the_same(name, truth, golden_dir, expected):
    """The frame of stores and annotations is ours; the golden detections are on a grid that float32 holds exactly."""
    if f"{name}/ap" not in expected:
        pytest.skip(f"the results file has no case {name}")
    setting, protocol = CASES[name]
    result = evaluate_store(_store(golden_dir, truth.num_images), _annotations(truth), HICO, protocol)
    np.testing.assert_allclose(result.per_class[f"{setting}/ap"], expected[f"{name}/ap"], rtol=0, atol=1e-12)


def _annotations(truth):
    count = np.bincount(truth.image, minlength=truth.num_images)
    boxes = np.stack([truth.human_xyxy_px, truth.object_xyxy_px], 1) - [1, 1, 0, 0]
    verb, obj = np.array(HICO.hois)[truth.label].T
    columns = dict(Annotations.from_records([], "hico_det").columns)
    columns["instances_xyxy_px"] = boxes.reshape(-1, 4).astype(np.float32)
    columns["instances_class"] = np.stack([np.zeros_like(obj), obj], 1).reshape(-1)
    row = np.arange(len(truth.label)) - np.searchsorted(truth.image, truth.image)
    columns |= {"pairs_human": 2 * row, "pairs_object": 2 * row + 1, "pairs_verb": verb}
    counts = {"instances": 2 * count, "pairs": count}
    counts |= dict.fromkeys(("persons", "detections", "hoi_labels"), 0 * count)
    images = np.arange(truth.num_images)
    return Annotations(
        "hico_det", None, images, np.full((len(images), 2), 999), images.astype(np.str_), counts, columns
    )


def _store(golden_dir, num_images):
    flat = io.read_npz(golden_dir / "hico_eval_preds.npz")
    count, nothing = len(flat["pair_image"]), np.float32(np.nan)
    return PredictionStore(
        {"vocabulary": "hico_det"},
        image_id=np.arange(num_images),
        image_hw_px=np.full((num_images, 2), 999),
        pair_image=flat["pair_image"].astype(np.int64),
        pair_human_xyxy_px=flat["pair_hbox"] + np.float32([0, 0, 1, 1]),
        pair_object_xyxy_px=flat["pair_obox"] + np.float32([0, 0, 1, 1]),
        pair_object_class=flat["pair_object"].astype(np.int64),
        pair_human_score=np.full(count, nothing),
        pair_object_score=flat["pair_object_score"],
        pair_interactiveness=flat["pair_binary_score"],
        pair_part_scores=np.full((count, 6), nothing),
        pair_kept=np.ones(count, bool),
        trip_pair=flat["trip_pair"].astype(np.int64),
        trip_verb=flat["trip_verb"].astype(np.int64),
        trip_score=flat["trip_score"],
        agent_image=np.zeros(0, np.int64),
        agent_xyxy_px=np.zeros((0, 4), np.float32),
        agent_scores=np.zeros((0, 117), np.float32),
        hoi_scores=np.zeros((num_images, 0), np.float32),
    )


def test_known_object_is_never_below_default(truth, detections):
    result = evaluate_hoi(truth, detections, HICO, hoi_protocol("official"))
    assert np.all(result.per_class["known_object/ap"] >= result.per_class["default/ap"])
