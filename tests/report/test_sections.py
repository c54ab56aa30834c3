"""Parts of the page: classes of two runs, kinds of errors, whole images, names on the page."""

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.calibration import reliability
from hoi_jax.evaluation.analysis.errors import analyse_prediction_errors
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.scorer import Scorer
from hoi_jax.report.analysis import analyse
from hoi_jax.report.breakdown import MEANINGS, error_section
from hoi_jax.report.calibration_chart import reliability_section, short_count
from hoi_jax.report.cases import best_and_worst, case_section, most_different
from hoi_jax.report.classes import class_sections, hoi_class_rows, two_runs_section
from hoi_jax.report.run import plan_report, short_names
from hoi_jax.vocab import get_vocabulary
from tests.helpers.report_examples import BALL, CUP, FAR, HOLD, KICK, LOOK, MAN, OBJECT, annotations, predictions
from tests.helpers.report_pages import Page

VOCABULARY = get_vocabulary("hoi_scenes")
TRUTH = annotations([(1, KICK), (2, HOLD)], [(1, KICK)], [(1, KICK), (1, LOOK)], [])
ROWS_A = [
    (0, MAN, OBJECT, BALL, KICK, 0.9),
    (0, MAN, FAR, CUP, HOLD, 0.8),
    (1, MAN, OBJECT, BALL, HOLD, 0.7),
    (1, MAN, OBJECT, BALL, KICK, 0.6),
    (2, MAN, OBJECT, BALL, HOLD, 0.5),
]
ROWS_B = [(0, MAN, FAR, CUP, HOLD, 0.4), (1, MAN, OBJECT, BALL, KICK, 0.9), (2, MAN, OBJECT, BALL, LOOK, 0.3)]
A, B = (predictions(rows, [100, 101, 102, 103]) for rows in (ROWS_A, ROWS_B))
IMAGES = {number: np.full((100, 100, 3), 90, np.uint8) for number in (100, 101, 102, 103)}


@pytest.fixture(scope="module")
def models():
    return {name: analyse(one, TRUTH, VOCABULARY, hoi_protocol("official")) for name, one in {"a": A, "b": B}.items()}


def results():
    scorers = {name: Scorer(one, TRUTH, VOCABULARY, ("hoi",)) for name, one in {"model": A, "against": B}.items()}
    return {name: one.with_intervals(one.result(), replicates=50) for name, one in scorers.items()}


def test_measures_of_images_are_those_of_the_definition(models):
    # Of the second image's three, the right one comes second; the last image has nothing annotated.
    np.testing.assert_allclose(models["a"].in_image, [1, 1 / 2, 0, np.nan])
    np.testing.assert_allclose(models["b"].in_image, [1 / 2, 1, 1 / 2, np.nan])


def test_best_and_worst_are_by_the_measure_and_never_the_same(models):
    best, worst = best_and_worst(models["a"], best=5, worst=1)
    assert (best.images, worst.images) == ((0, 1), (2,))


def test_of_equal_images_those_with_more_to_find_come_first(models):
    # Both have 1/2 and two annotated interactions: the order of the dataset; then the one with 1.
    assert [group.images for group in best_and_worst(models["b"], best=1, worst=2)] == [(1,), (0, 2)]


def test_images_that_differ_go_to_the_better_one_largest_gain_first(models):
    ahead, behind = most_different(models, each=2)
    assert ahead.title == "Better with a" and ahead.images == (0,)
    assert behind.title == "Better with b" and behind.images == (2, 1)  # equal gains: more to find
    same = {"a": models["a"], "b": models["a"]}
    assert [group.images for group in most_different(same)] == [(), ()]


def test_images_of_two_models_stand_beside_what_is_annotated(models):
    groups = most_different(models, each=1)
    page = Page(f"<main>{case_section(groups, models, IMAGES, TRUTH, VOCABULARY, 'x').body}</main>")
    assert len(page.all("img")) == 6  # two images: a, b, annotated
    text = page.text()
    assert text.count("Predicted (a)") == 2 and text.count("Annotated") == 2
    assert "a: 100, 2 of 2 interactions found among 2 predictions. b: 50, 1 of 2 interactions" in text


def test_difference_of_a_class_is_the_first_minus_the_second():
    rows = hoi_class_rows(results(), VOCABULARY, None, {"model": "a", "against": "b"})
    kick = rows[VOCABULARY.hoi_table[KICK, BALL]]
    # Three to find. a: hits at ranks 1 and 2: recall 2/3, seven thresholds of eleven. b: one hit: four thresholds.
    assert (kick["AP a"], kick["AP b"]) == (pytest.approx(700 / 11), pytest.approx(400 / 11))
    assert kick["difference"] == pytest.approx(300 / 11)
    assert "costs most" not in kick


def test_classes_are_filtered_by_verb_object_and_rarity():
    (section,) = class_sections(results(), VOCABULARY)
    heads = Page(section.body).all("th")
    assert ["data-choose" in head for head in heads[:5]] == [True, True, True, False, False]
    assert ["data-words" in head for head in heads[:5]] == [True, True, False, False, False]


def test_two_runs_have_the_paired_intervals_of_the_results():
    found = results()
    text = Page(two_runs_section(found, {"model": "a", "against": "b"}).body).text()
    assert "a minus b" in text and "50 random draws" in text
    assert "clearly better" in text and "default/full" in text


def test_every_prediction_is_in_one_bar_and_every_kind_is_named():
    errors = analyse_prediction_errors(A, TRUTH, VOCABULARY)
    leading = errors.manifest["leading_error_totals"]
    # Leading: of kick ball (3 annotated) both, of hold cup (1) its one; of hold ball nothing is annotated.
    assert leading == {**dict.fromkeys(leading, 0), "true_positive": 3}
    text = Page(f"<main>{error_section({'a': errors}).body}</main>").text()
    for words, meaning in MEANINGS.values():
        assert words in text and meaning in text
    assert "3 leading predictions" in text and "100.0 %" in text


def test_leading_counts_stop_at_the_number_of_annotated_pairs():
    rows = [(1, MAN, OBJECT, BALL, KICK, 0.9 - 0.1 * k) for k in range(5)]
    leading = analyse_prediction_errors(predictions(rows, [100, 101]), TRUTH, VOCABULARY).manifest[
        "leading_error_totals"
    ]
    assert leading["true_positive"] == 1 and leading["duplicate"] == 2 and sum(leading.values()) == 3


@pytest.mark.parametrize(
    ("scores", "says"), [([0.2, 0.9], "calibration error 0.15"), ([0.2, 3.0], "not probabilities")]
)
def test_calibration_is_told_where_scores_are_probabilities(scores, says):
    section = reliability_section({"a": reliability(np.array(scores), np.array([False, True]))})
    page = Page(f"<main>{section.body}</main>")
    assert says in page.text() and len(page.all("svg")) == 1
    assert len(page.all("rect")) == 2 and len(page.all("circle")) == (2 if scores[1] < 1 else 0)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (1240, "1.2k"),
        (9960, "10k"),
        (34_400, "34k"),
        (999_700, "1M"),
        (2_500_000, "2.5M"),
    ],
)
def test_counts_take_four_characters_at_most(count, text):
    assert short_count(count) == text


def test_names_on_the_page_tell_files_apart(tmp_path):
    assert short_names([tmp_path / "a.npz", tmp_path / "b.npz"]) == ["a", "b"]
    assert short_names([tmp_path / "x" / "p.npz", tmp_path / "y" / "p.npz"]) == ["x", "y"]
    assert short_names([tmp_path / "p.npz", tmp_path / "p.npz"]) == ["first", "second"]


def test_two_models_show_where_they_differ_and_one_its_best_and_worst():
    found = results()
    both = plan_report(found, A, TRUTH, VOCABULARY, against=B)
    assert list(both.models) == ["model", "against"] and not both.examples and both.image_ids == {100, 101, 102}
    alone = plan_report({"model": found["model"]}, A, TRUTH, VOCABULARY)
    assert list(alone.models) == ["model"] and alone.examples
