"""Average precision within images, by hand and by a loop."""

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.errors import per_image_ap


def test_by_hand():
    image = np.array([0, 0, 0, 1, 3])
    score = np.array([0.5, 0.9, 0.7, 0.3, 0.8])
    right = np.array([True, True, False, False, True])
    # Image 0: right at ranks 1 and 3 of its three, (1 + 2/3) / 2. Image 1: nothing found. 2: nothing annotated.
    # Image 3: one of four.
    found = per_image_ap(image, score, right, np.array([2, 1, 0, 4]))
    np.testing.assert_allclose(found, [5 / 6, 0, np.nan, 1 / 4])


def test_a_loop_gives_the_same():
    rng = np.random.default_rng(0)
    image, score = rng.integers(0, 20, 400), rng.uniform(size=400)
    right = rng.uniform(size=400) < 0.3
    positives = np.bincount(image[right], minlength=20) + rng.integers(0, 3, 20)
    expected = []
    for number in range(20):
        total, hits = 0.0, 0
        for rank, row in enumerate(sorted(np.flatnonzero(image == number), key=lambda r: -score[r]), 1):
            hits += right[row]
            total += hits / rank if right[row] else 0
        expected.append(total / positives[number])
    np.testing.assert_allclose(per_image_ap(image, score, right, positives), expected)


def test_equal_scores_keep_their_order():
    assert per_image_ap(np.zeros(2, int), np.ones(2), np.array([False, True]), np.array([1]))[0] == 0.5


def test_more_found_than_annotated_is_refused():
    with pytest.raises(ValueError, match="more right predictions"):
        per_image_ap(np.zeros(2, int), np.ones(2), np.array([True, True]), np.array([1]))
