"""The page of a run: baselines that lack a metric leave a gap, and a network without verbs has no examples."""

import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate import score_all
from hoi_jax.evaluation.scoring import EvaluationSettings
from hoi_jax.report.run import RunSummary, class_rows, write_run_report
from hoi_jax.vocab import get_vocabulary

sys.path.insert(0, str(Path(__file__).parent))
from test_examples import BALL, CUP, HOLD, KICK, MAN, THING, annotations, store  # noqa: E402

VOCABULARY = get_vocabulary("hoi_scenes")
TRUTH = annotations([(1, KICK)], [(1, KICK), (2, HOLD)])
STORE = store([(0, MAN, THING, BALL, KICK, 0.9), (1, MAN, THING, CUP, HOLD, 0.4)], [100, 101])


def page(tmp_path, metrics):
    results = score_all(STORE, TRUTH, None, EvaluationSettings(metrics=metrics), VOCABULARY)
    run = RunSummary("a run", tmp_path, "test", 7, next(iter(results["model"].metrics)), {"system": "toy"})
    images = {key: np.zeros((100, 100, 3), np.uint8) for key in (100, 101)}
    write_run_report(tmp_path / "r.html", run, images, STORE, TRUTH, VOCABULARY, results)
    return results, (tmp_path / "r.html").read_text()


def test_classes_have_a_column_for_results_that_have_ap_only(tmp_path):
    results, text = page(tmp_path, ("hoi", "interactiveness"))
    assert set(results) == {"model", "own by distance"}
    rows = class_rows(results, VOCABULARY)
    assert len(rows) == 99 and set(rows[0]) == {"class", "training examples", "AP model"}
    kick = next(row for row in rows if row["class"] == VOCABULARY.hoi_name(VOCABULARY.hoi_table[KICK, BALL]))
    assert kick["AP model"] == pytest.approx(54.5, abs=0.1)  # One of two found: 6 of the 11 points.
    assert "Right and wrong predictions" in text and "the nearer their boxes are" in text


def test_without_verbs_there_are_no_right_and_wrong_examples(tmp_path):
    _, text = page(tmp_path, ("interactiveness",))
    assert "interactiveness_complete/ap" in text and "Right and wrong predictions" not in text
