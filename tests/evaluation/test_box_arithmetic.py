"""Box arithmetic: closed forms for fractional, empty, touching and undefined boxes."""

import numpy as np
import pytest

from hoi_jax.evaluation.metrics.matching import box_area, matched_iou, pairwise_iou


@pytest.mark.parametrize(
    ("box", "plain", "inclusive"),
    [
        ([0, 0, 4, 3], 12, 20),
        ([0.25, 0.5, 0.75, 0.75], 0.125, 1.875),
        ([5, 5, 5, 5], 0, 1),
        ([5, 0, 2, 3], 0, 0),  # sides of -3 and 3
        ([5, 5, 2, 2], 0, 0),
    ],
)
def test_areas(box, plain, inclusive):
    assert box_area(np.array(box, float)) == plain
    assert box_area(np.array(box, float), plus_one=True) == inclusive


@pytest.mark.parametrize(
    ("other", "plain", "inclusive"),
    [
        ([0, 0, 4, 4], 1, 1),
        ([0, 0, 4, 2], 0.5, 15 / 25),
        ([0.5, 0.5, 1.0, 1.0], 0.25 / 16, 2.25 / 25),
        ([4, 0, 8, 4], 0, 5 / 45),  # one shared column
        ([5, 0, 9, 4], 0, 0),
        ([9, 9, 12, 12], 0, 0),  # apart on both axes: two negative sides are no area
        ([4, 9, 8, 12], 0, 0),
        ([1, 1, 1, 3], 0, 3 / 25),
        ([np.nan, 0, 4, 4], 0, 0),
    ],
)
def test_overlaps_with_a_box_of_four_by_four(other, plain, inclusive):
    box, other = np.array([0.0, 0, 4, 4]), np.array(other, float)
    for plus_one, expected in ((False, plain), (True, inclusive)):
        assert matched_iou(box, other, plus_one=plus_one) == pytest.approx(expected, abs=1e-15)
        assert matched_iou(other, box, plus_one=plus_one) == pytest.approx(expected, abs=1e-15)


def test_all_pairs_are_rows_against_columns():
    random = np.random.default_rng(0)
    a, b = (np.sort(random.random((n, 2, 2)), axis=1).reshape(n, 4) for n in (3, 5))
    table = pairwise_iou(a, b)
    assert table.shape == (3, 5)
    for row in range(3):
        for column in range(5):
            assert table[row, column] == matched_iou(a[row], b[column])
