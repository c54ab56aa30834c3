"""Interactiveness AP of simulated detections on real ground truth equals the published routine."""

import dataclasses

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.interactiveness import (
    ALIGNED,
    PUBLISHED,
    detections_from_hico_flat,
    detections_from_vcoco_flat,
    evaluate_interactiveness,
    evaluate_interactiveness_predictions,
    truth_from_published,
)
from hoi_jax.formats.labels.detect import read_annotations
from hoi_jax.formats.labels.hico_det import truth_from_json
from hoi_jax.formats.predictions.detect import read_predictions
from hoi_jax.vocab.datasets import HICO, VCOCO
from tests.helpers.hico_as_predictions import annotations_of, predictions_of

CASES = {
    "hico_det": ("published", PUBLISHED),
    "hico_det_box_plus1": ("published", ALIGNED),
    "hico_det_gt520_box_plus1": ("complete", ALIGNED),
    "vcoco": ("vcoco", PUBLISHED),
}


@pytest.fixture(scope="module")
def summary(golden_dir):
    return io.read_json(golden_dir / "interactiveness_eval_summary.json")


@pytest.fixture(scope="module")
def expected_hits(golden_dir):
    return io.read_npz(golden_dir / "interactiveness_eval_results.npz")


def test_the_summary_holds_a_known_case(summary):
    assert set(summary) & set(CASES)


def hico_inputs(which, golden_dir, data_dir):
    detections = detections_from_hico_flat(io.read_npz(golden_dir / "hico_eval_preds.npz"))
    content = io.read_json(data_dir / "hicodet_instances_test2015.json.gz")
    if which == "published":
        numbers = np.array([int(name.split("_")[-1].split(".")[0]) for name in content["filenames"]])
        published = io.read_npz(data_dir / "interactiveness_gt_hico_det.npz")
        return truth_from_published(published, numbers)[0], detections
    truth = truth_from_json(content)
    real = np.array(HICO.hois)[truth.label][:, 0] != HICO.no_interaction
    fields = {name: getattr(truth, name)[real] for name in ("image", "human_xyxy_px", "object_xyxy_px")}
    return dataclasses.replace(truth, label=np.zeros(real.sum(), np.int64), **fields), detections


def vcoco_inputs(golden_dir, data_dir):
    published = io.read_npz(data_dir / "interactiveness_gt_vcoco.npz")
    predictions = io.read_npz(golden_dir / "vcoco_eval_test_preds.npz")
    image_ids = np.union1d(published["image_key"], predictions["det_image"])
    return truth_from_published(published, image_ids)[0], detections_from_vcoco_flat(predictions, image_ids)


@pytest.mark.parametrize("name", CASES)
def test_ap_recall_and_counts_equal_the_published_routine(name, summary, expected_hits, golden_dir, data_dir):
    if name not in summary:
        pytest.skip(f"the summary has no case {name}")
    which, protocol = CASES[name]
    inputs = vcoco_inputs(golden_dir, data_dir) if which == "vcoco" else hico_inputs(which, golden_dir, data_dir)
    result = evaluate_interactiveness(*inputs, protocol)
    assert result.metrics["interactiveness/ap"] == pytest.approx(summary[name]["ap"], abs=1e-9)
    assert result.metrics["interactiveness/max_recall"] == pytest.approx(summary[name]["max_recall"], abs=1e-9)
    counts = result.manifest["interactiveness"]
    assert (counts["counted_detections"], counts["true_positives"]) == (summary[name]["n_pred"], summary[name]["n_tp"])
    if f"{name}/hit_in_score_order" in expected_hits:
        hits = np.unpackbits(expected_hits[f"{name}/hit_in_score_order"])[: summary[name]["n_pred"]]
        assert hits.sum() == counts["true_positives"]


def test_the_vcoco_rows_used_are_those_of_the_golden_mask(expected_hits, golden_dir):
    predictions = io.read_npz(golden_dir / "vcoco_eval_test_preds.npz")
    used = np.unpackbits(expected_hits["vcoco_role_row_used"])[: len(predictions["role_det"])].astype(bool)
    found = detections_from_vcoco_flat(predictions, np.unique(predictions["det_image"]))
    np.testing.assert_array_equal(found.triplet_score, predictions["role_score"][used])
    np.testing.assert_array_equal(found.pair_object_xyxy_px, predictions["role_box"][used])


@pytest.mark.parametrize("aligned", [False, True])
def test_a_prediction_file_in_continuous_corners_scores_the_same(aligned, summary, golden_dir, data_dir):
    content = io.read_json(data_dir / "hicodet_instances_test2015.json.gz")
    truth = truth_from_json(content)
    annotations = dataclasses.replace(annotations_of(truth), file_name=np.array(content["filenames"]))
    published = io.read_npz(data_dir / "interactiveness_gt_hico_det.npz")
    predictions = predictions_of(golden_dir, truth.num_images)
    result = evaluate_interactiveness_predictions(predictions, annotations, HICO, published, aligned=aligned)
    name = "hico_det_box_plus1" if aligned else "hico_det"
    if name in summary:
        assert result.metrics["interactiveness/ap"] == pytest.approx(summary[name]["ap"], abs=1e-9)
    if "hico_det_gt520_box_plus1" in summary:
        expected = summary["hico_det_gt520_box_plus1"]["ap"]
        assert result.metrics["interactiveness_complete/ap"] == pytest.approx(expected, abs=1e-9)


def test_flat_vcoco_predictions_read_as_a_prediction_file_score_the_same(summary, golden_dir, data_dir):
    if "vcoco" not in summary:
        pytest.skip("the summary has no case vcoco")
    annotations = read_annotations(golden_dir / "vcoco_eval_test_gt.npz")
    predictions = read_predictions(golden_dir / "vcoco_eval_test_preds.npz", VCOCO, annotations)
    published = io.read_npz(data_dir / "interactiveness_gt_vcoco.npz")
    result = evaluate_interactiveness_predictions(predictions, annotations, VCOCO, published)
    assert result.metrics["interactiveness/ap"] == pytest.approx(summary["vcoco"]["ap"], abs=1e-9)
    assert result.manifest["interactiveness"]["counted_detections"] == summary["vcoco"]["n_pred"]
    aligned = evaluate_interactiveness_predictions(predictions, annotations, VCOCO, published, aligned=True)
    assert aligned.metrics["interactiveness/ap"] > result.metrics["interactiveness/ap"]
