"""The page of a run: what is compared, what lacks a metric, networks without verbs, images that are not there."""

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.errors import analyse_prediction_errors
from hoi_jax.evaluation.scorer import Scorer
from hoi_jax.report.classes import hoi_class_rows
from hoi_jax.report.run import RunSummary, blank_image, plan_report, write_run_report
from hoi_jax.vocab import get_vocabulary
from tests.helpers.report_examples import BALL, CUP, HOLD, KICK, MAN, OBJECT, annotations, predictions

VOCABULARY = get_vocabulary("hoi_scenes")
TRUTH = annotations([(1, KICK)], [(1, KICK), (2, HOLD)])
STORE = predictions([(0, MAN, OBJECT, BALL, KICK, 0.9), (1, MAN, OBJECT, CUP, HOLD, 0.4)], [100, 101])


def page(tmp_path, metrics, images):
    results = Scorer(STORE, TRUTH, VOCABULARY, tuple(metrics)).results()
    run = RunSummary("a run", tmp_path, "test", 7, next(iter(results["model"].metrics)), {"system": "toy"})
    plan = plan_report(results, STORE, TRUTH, VOCABULARY)
    write_run_report(tmp_path / "r.html", run, plan, {n: np.zeros((100, 100, 3), np.uint8) for n in images})
    return results, (tmp_path / "r.html").read_text()


def test_classes_have_a_column_for_results_that_have_ap_only(tmp_path):
    results, text = page(tmp_path, ("hoi", "interactiveness"), (100, 101))
    assert set(results) == {"model", "distance_model_pairs"}
    rows = hoi_class_rows(results, VOCABULARY, analyse_prediction_errors(STORE, TRUTH, VOCABULARY))
    expected = {"verb", "object", "kind", "training", "test", "AP model", "found", "costs most"}
    assert len(rows) == 99 and set(rows[0]) == expected
    kick = rows[VOCABULARY.hoi_table[KICK, BALL]]
    assert (kick["verb"], kick["object"], kick["test"], kick["found"]) == ("kick", "ball", 2, 50.0)
    assert kick["AP model"] == pytest.approx(54.5, abs=0.1)  # One of two found: 6 of the 11 points.
    assert kick["costs most"] == "missed"
    for title in ("Class by class", "Kinds of errors", "Reliability of scores", "Best and worst", "Right and wrong"):
        assert title in text
    assert "ranked by human-object box distance" in text and "are grey" not in text


def test_without_verbs_nothing_is_said_about_single_interactions(tmp_path):
    _, text = page(tmp_path, ("interactiveness",), ())
    assert "interactiveness_complete/ap" in text
    for title in ("Right and wrong", "Kinds of errors", "Reliability of scores", "Best and worst", "Class by class"):
        assert title not in text


def test_an_image_that_is_not_there_is_grey_and_the_page_says_so(tmp_path):
    _, text = page(tmp_path, ("hoi",), ())
    assert "are grey" in text
    grey = blank_image(TRUTH, 101)
    assert grey.shape == (100, 100, 3) and len(np.unique(grey)) == 1


def test_a_grey_image_of_unknown_size_holds_all_boxes():
    unsized = annotations([(1, KICK)])
    unsized.original_hw_px[:] = 0
    height, width = blank_image(unsized, 100).shape[:2]
    boxes = unsized["instances_xyxy_px"]
    assert width >= boxes[:, 2].max() and height >= boxes[:, 3].max()
