"""Every metric can be asked for by name, alone or together, on a split and on parts of it."""

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.subsets import SUBSETS
from hoi_jax.evaluation.score import METRICS, EvaluationSettings, score
from hoi_jax.evaluation.scorer import Scorer
from hoi_jax.vocab.datasets import HICO
from tests.helpers.pair_worlds import make_image, predictions, world

A, B, C = [10, 10, 30, 50], [40, 10, 60, 50], [70, 10, 90, 50]
RIDE, BICYCLE = HICO.verbs.index("ride"), 1
HICO_METRICS = ("hoi", "interactiveness", "parts", "nis", "image")


def split_and_predictions():
    states = [0] * 6 + [1] + [0] * 3
    images = [make_image(1, [(A, B, BICYCLE, RIDE, states)]), make_image(2, [(A, B, 1, RIDE), (C, B, 1, RIDE)])]
    for record in images:
        record["hoi_labels"] = np.full(600, -1, np.int32)
        record["hoi_labels"][HICO.hoi_table[RIDE, BICYCLE]] = 1
    pairs = [
        {"image": 0, "human": A, "object": B, "class": BICYCLE, "score": 0.9, "parts": [0.5] * 6},
        {"image": 1, "human": A, "object": B, "class": BICYCLE, "score": 0.8, "parts": [0.1] * 6, "kept": False},
    ]
    trips = [(0, RIDE, 0.9), (1, RIDE, 0.8)]
    return world(images), predictions([1, 2], pairs, trips=trips, hoi_scores=np.ones((2, 600)))


def test_all_hico_metrics_come_in_one_result():
    annotations, found = split_and_predictions()
    result = score(EvaluationSettings(metrics=HICO_METRICS), found, annotations, HICO)
    prefixes = {name.split("/")[0] for name in result.metrics}
    assert prefixes == {
        "default", "known_object", "zero_shot", "interactiveness_complete", "part_interactiveness", "nis", "image"
    }  # fmt: skip
    assert result.manifest["use_nis"] is True
    assert result.metrics["nis/lost_interactive"] == 0.5
    assert result.metrics["image/default"] == pytest.approx(1)


def test_suppression_counts_for_hoi_scores_and_not_for_interactiveness():
    annotations, found = split_and_predictions()
    settings = EvaluationSettings(metrics=("hoi", "interactiveness"))
    with_nis = score(settings, found, annotations, HICO).metrics
    without = score(settings, found, annotations, HICO, use_nis=False).metrics
    assert with_nis["default/mean_max_recall"] == pytest.approx(1 / 3)
    assert without["default/mean_max_recall"] == pytest.approx(2 / 3)
    assert with_nis["interactiveness_complete/ap"] == without["interactiveness_complete/ap"]


def test_published_truth_and_training_labels_are_passed_on():
    annotations, found = split_and_predictions()
    boxes = np.array([[*A, *B]]) + [1, 1, 0, 0] * 2
    published = {"image_key": np.array([1]), "count": np.array([1]), "boxes": boxes}
    settings = EvaluationSettings(metrics=("interactiveness", "image"))
    result = score(settings, found, annotations, HICO, published_interactiveness=published, train=annotations)
    assert result.metrics["interactiveness/ap"] == pytest.approx(1)
    assert result.manifest["few_shot_source"] == "image-level training labels"


def test_training_labels_without_image_level_labels_leave_few_shot_to_the_proxy():
    annotations, found = split_and_predictions()
    unlabelled = world([make_image(1, [(A, B, BICYCLE, RIDE)])])
    manifest = score(EvaluationSettings(metrics=("image",)), found, annotations, HICO, train=unlabelled).manifest
    assert manifest["few_shot_source"].endswith("(proxy)")


def test_the_frequency_baseline_is_scored_by_pairs_beside_image_level_scores():
    record, (_, found) = make_image(1, [(A, B, BICYCLE, RIDE)]), split_and_predictions()
    record["detections_xyxy_px"] = np.array([A, B], np.float32)
    record["detections_class"] = np.array([0, BICYCLE], np.int32)
    record["detections_score"] = np.array([0.9, 0.8], np.float32)
    record["detections_keypoints_px"] = np.zeros((2, 17, 3), np.float32)
    record["detections_face_xyxy_px"] = np.zeros((2, 4), np.float32)
    record["hoi_labels"] = np.full(600, -1, np.int32)
    record["hoi_labels"][HICO.hoi_table[RIDE, BICYCLE]] = 1
    annotations = world([record])
    both = Scorer(found, annotations, HICO, ("image", "hoi"), train=annotations).results()
    assert both["class_frequency"].metrics["default/full"] == 1
    assert both["model"].metrics["image/few_1"] == 1
    assert "image/default" not in both["class_frequency"].metrics
    alone = Scorer(found, annotations, HICO, ("image",), train=annotations).results()
    assert set(alone) == {"model", "no_suppression"}


def test_subsets_repeat_every_metric():
    annotations, found = split_and_predictions()
    settings = EvaluationSettings(metrics=("hoi", "interactiveness"), subsets=("sparse", "crowded"))
    result = score(settings, found, annotations, HICO, use_nis=False).metrics
    assert result["default/mean_max_recall"] == pytest.approx(2 / 3)
    assert result["subset/sparse/default/mean_max_recall"] == 1
    assert result["subset/crowded/interactiveness_complete/max_recall"] == 0.5


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=f"expected some of \\('{METRICS[0]}'"):
        EvaluationSettings(metrics=("map",))
    with pytest.raises(ValueError, match=next(iter(SUBSETS))):
        EvaluationSettings(subsets=("small",))
