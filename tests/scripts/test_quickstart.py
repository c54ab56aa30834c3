"""The quickstart: every system scored as `evaluate.py` scores it and drawn; again it shows, interrupted it goes on."""

import re

import numpy as np
import pytest

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.score import evaluate_hoi_predictions
from hoi_jax.predictions import load_predictions
from hoi_jax.report.side_by_side import best_rows, side_by_side, spread_rows
from hoi_jax.scenes import SceneSettings, make_scene, scene_indices
from hoi_jax.vocab import get_vocabulary
from scripts import quickstart

ONE = {"DEFR": "defr_hoi_scenes"}
TINY = "hoi_scenes/tiny"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished folder of one system on the tiny scenes."""
    out = tmp_path_factory.mktemp("quickstart")
    quickstart.run(out, TINY, ONE)
    return out


def scenes():
    settings = SceneSettings(height_px=128, width_px=128)
    return [make_scene(settings, index) for index in scene_indices("tiny", "test")]


def test_the_score_is_that_of_the_predictions_on_the_scenes_as_they_are_made(done, capsys):
    (row,) = quickstart.run(done, TINY, ONE)
    truth = Annotations.from_records(scenes(), "hoi_scenes", "hoi_scenes_actions")
    predictions = load_predictions(done / "defr_hoi_scenes.npz")
    assert set(predictions.image_id) == set(truth.image_id) and len(predictions.image_id) == 32
    expected = evaluate_hoi_predictions(predictions, truth, get_vocabulary("hoi_scenes")).metrics["default/full"]
    assert row.metrics["default/full"] == expected
    printed = capsys.readouterr().out
    assert re.search(rf"DEFR +defr_hoi_scenes +{100 * expected:.2f} .* 11.51\n", printed)
    assert re.search(r"class frequency +\(exported, not computed here\) +9.30\n", printed)


def test_the_page_holds_the_table_and_eight_images_with_their_labels(done):
    page = (done / "report.html").read_text()
    assert page.count("<img ") == 2 * quickstart.IMAGES and "defr_hoi_scenes" in page
    assert len(re.findall(r"<figcaption>annotated</figcaption>", page)) == quickstart.IMAGES
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # self-contained


def test_again_it_shows_and_predicts_nothing(done, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, "predict", None)
    monkeypatch.setattr(quickstart, "build_test_scenes", None)
    assert len(quickstart.run(done, TINY, ONE)) == 1
    assert "already finished" in capsys.readouterr().out


def test_interrupted_before_the_page_it_goes_on_with_the_page(done, monkeypatch):
    page = (done / "report.html").read_bytes()
    (done / "report.html").unlink()
    monkeypatch.setattr(quickstart, "predict", None)
    quickstart.run(done, TINY, ONE)
    assert (done / "report.html").read_bytes() == page


def test_a_result_of_another_checkpoint_does_not_count(done, monkeypatch):
    assert quickstart.finished_row("DEFR", "defr_hoi_scenes", TINY, done) is not None
    assert quickstart.finished_row("DEFR", "defr_hoi_scenes", "hoi_scenes/small", done) is None
    monkeypatch.setattr(quickstart, "summary_of", lambda *_: {"files": "others"})
    assert quickstart.finished_row("DEFR", "defr_hoi_scenes", TINY, done) is None


def test_all_five_systems_are_there():
    from hoi_jax.serialization.exported import zoo_folder
    from hoi_jax.zoo import describe

    systems = [describe(zoo_folder() / name).system for name in quickstart.SYSTEMS.values()]
    assert systems == ["tin", "body_part", "defr", "calipso", "cascade"]


@pytest.mark.slow
def test_the_kept_scores_come_out_to_the_last_printed_digit(tmp_path):
    for row in quickstart.run(tmp_path):
        assert f"{100 * row.metrics['default/full']:.2f}" == f"{100 * row.kept:.2f}", row.title


def test_positions_are_spread_over_the_split():
    assert spread_rows(400, 8) == [0, 50, 100, 150, 200, 250, 300, 350]
    assert spread_rows(3, 8) == [0, 1, 2] and spread_rows(10, 4) == [0, 2, 5, 7]


def test_a_system_names_as_many_as_are_annotated_best_first(done):
    vocabulary, truth = get_vocabulary("hoi_scenes"), Annotations.from_records(scenes(), "hoi_scenes")
    from hoi_jax.evaluation.analysis.triplets import Triplets

    image, score = np.array([3, 1, 3, 3]), np.array([0.1, 0.9, 0.7, 0.7])
    zero = np.zeros(4, np.int64)
    rows = best_rows(Triplets(image, np.zeros((4, 4)), np.zeros((4, 4)), zero, zero, score), [3, 1, 2], [2, 5, 1])
    assert [found.tolist() for found in rows] == [[2, 3], [1], []]
    number = int(truth.image_id[0])
    predictions, photo = load_predictions(done / "defr_hoi_scenes.npz"), np.zeros((128, 128, 3), np.uint8)
    body = side_by_side({"a": predictions}, truth, vocabulary, {number: photo}, [0]).body
    pairs = truth["pairs_verb"][: truth.counts["pairs"][0]]
    count = int(np.sum(pairs != vocabulary.no_interaction))
    assert re.search(rf"a: \d of {count}</figcaption>", body) and f"Image {number}" in body
