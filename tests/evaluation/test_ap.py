"""Average precision against hand-checked values and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoi_jax import io
from hoi_jax.evaluation.metrics.ap import RECALL_THRESHOLDS, mean_defined, score_ranking
from hoi_jax.evaluation.metrics.matching import matched_iou, pairwise_iou
from tests.helpers import oracle

COLUMNS = {
    "area_vcoco": dict(mode="area"),
    "eleven_arange_qpic": dict(thresholds="arange"),
    "eleven_linspace_pocket": dict(thresholds="matlab"),
}


@pytest.fixture(scope="module")
def small_cases(golden_dir):
    return io.read_json(golden_dir / "ap_small_cases.json")


@pytest.mark.parametrize("column", COLUMNS)
def test_small_rankings_equal_the_released_functions(small_cases, column):
    assert small_cases["ap_cases"]
    for case in small_cases["ap_cases"]:
        hits = np.array(case["hits_in_score_order"], bool)
        ap = score_ranking(hits, case["npos"], **COLUMNS[column]).ap
        assert ap == pytest.approx(case[column], abs=1e-12), case["name"]


def test_inclusive_iou_equals_the_official_function(small_cases):
    for case in small_cases["iou_cases"]:
        ours = matched_iou(np.array(case["a"], float), np.array(case["b"], float), plus_one=True)
        assert ours == pytest.approx(case["iou_plus1"], abs=1e-15)


def test_threshold_lists_are_those_of_their_sources():
    assert RECALL_THRESHOLDS["arange"] == tuple(np.arange(0, 1.1, 0.1).tolist())
    assert RECALL_THRESHOLDS["tenths"] == tuple(k / 10 for k in range(11))
    assert RECALL_THRESHOLDS["matlab"] == tuple(oracle.thresholds("matlab"))
    # Recall of exactly 3/5 and 7/10 tells the lists apart.
    assert RECALL_THRESHOLDS["matlab"][6] == 3 / 5 < RECALL_THRESHOLDS["arange"][6]
    assert RECALL_THRESHOLDS["matlab"][7] == 7 / 10 < RECALL_THRESHOLDS["arange"][7]
    assert RECALL_THRESHOLDS["matlab"][3] > 3 / 10 == RECALL_THRESHOLDS["tenths"][3]


def test_a_class_without_predictions_scores_zero_and_one_without_positives_nan():
    assert score_ranking(np.zeros(0, bool), 3) == (0.0, 0.0)
    assert all(np.isnan(score_ranking(np.array([False]), 0)))


def test_more_hits_than_positives_are_refused():
    with pytest.raises(ValueError, match="2 hits for 1 positives"):
        score_ranking(np.array([True, True]), 1)


def test_float32_mode_differs_only_by_rounding():
    hits = np.array([1, 0, 1, 1, 0, 1], bool)
    exact = score_ranking(hits, 7, mode="area").ap
    rough = score_ranking(hits, 7, mode="area", precision="float32").ap
    assert rough != exact and rough == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("mode", ["11pt", "area"])
@settings(deadline=None, max_examples=150)
@given(hits=st.lists(st.booleans(), max_size=12), extra=st.integers(0, 4))
def test_ap_equals_the_scalar_definition(mode, hits, extra):
    positives = max(sum(hits) + extra, 1)
    ours = score_ranking(np.array(hits, bool), positives, mode=mode).ap
    assert ours == pytest.approx(oracle.average_precision(hits, positives, mode), abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(hits=st.lists(st.booleans(), max_size=12), extra=st.integers(0, 4), where=st.integers(0, 12))
def test_a_false_positive_at_the_end_changes_nothing_and_anywhere_never_helps(hits, extra, where):
    positives = max(sum(hits) + extra, 1)
    before = score_ranking(np.array(hits, bool), positives).ap
    assert score_ranking(np.array([*hits, False], bool), positives).ap == before
    inserted = [*hits[:where], False, *hits[where:]]
    assert score_ranking(np.array(inserted, bool), positives).ap <= before


def test_mean_leaves_out_undefined_classes():
    assert mean_defined(np.array([0.5, np.nan, 1.0])) == 0.75
    assert np.isnan(mean_defined(np.array([np.nan]))) and np.isnan(mean_defined(np.zeros(0)))


boxes = st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=1, max_size=6).map(
    lambda rows: np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows], float)
)


@settings(deadline=None, max_examples=100)
@given(boxes, boxes, st.booleans())
def test_pairwise_iou_equals_a_scalar_loop_and_is_symmetric(a, b, plus_one):
    table = pairwise_iou(a, b, plus_one=plus_one)
    np.testing.assert_array_equal(table, [[oracle.iou(x, y, plus_one) for y in b] for x in a])
    np.testing.assert_array_equal(table, pairwise_iou(b, a, plus_one=plus_one).T)


def test_inclusive_iou_equals_plain_iou_of_the_continuous_boxes():
    random = np.random.default_rng(0)
    corners = np.sort(random.integers(0, 20, (2, 200, 2, 2)), axis=2).reshape(2, 200, 4).astype(float)
    continuous = corners + [0, 0, 1, 1]
    plain = matched_iou(continuous[0], continuous[1])
    np.testing.assert_array_equal(matched_iou(corners[0], corners[1], plus_one=True), plain)
    assert (plain > 0).sum() > 50


def test_a_nan_box_overlaps_nothing():
    assert pairwise_iou(np.full((1, 4), np.nan), np.array([[0.0, 0.0, 9.0, 9.0]])).tolist() == [[0.0]]
