"""Interpolation matrices against Pillow, and what they keep."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hoi_jax.ops.boxes import class_nms
from hoi_jax.ops.resample import cubic_matrix, resize_positions, window_matrix
from hoi_jax.ops.token_masks import patches_under_boxes

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def whole(size_in, size_out, valid=None, **options):
    valid = float(size_in if valid is None else valid)
    return np.asarray(
        window_matrix(jnp.zeros(1), jnp.asarray([valid]), jnp.asarray([valid]), size_in, size_out, **options)[0]
    )


@pytest.mark.parametrize("kernel", FILTERS)
@pytest.mark.parametrize(("height", "width", "size"), [(40, 31, 64), (90, 120, 48), (33, 64, 64)])
def test_stretching_equals_pillow_to_its_rounding(kernel, height, width, size):
    # Gray levels in the middle: Pillow also cuts the overshoot of bicubic off between the axes.
    image = np.random.default_rng(0).integers(70, 180, (height, width, 3)).astype(np.uint8)
    rows, columns = whole(height, size, kernel=kernel), whole(width, size, kernel=kernel)
    got = np.einsum("yh,xw,hwc->yxc", rows, columns, image.astype(np.float64))
    expected = np.asarray(Image.fromarray(image).resize((size, size), FILTERS[kernel])).astype(np.float64)
    assert np.abs(got - expected).max() < 1.3  # rounded to whole gray levels after each axis


def test_a_window_equals_pillows_box():
    image = np.random.default_rng(1).integers(60, 190, (50, 50)).astype(np.uint8)
    matrix = window_matrix(jnp.asarray([10.0]), jnp.asarray([30.0]), jnp.asarray([50.0]), 50, 24)[0]
    got = np.asarray(matrix, np.float64) @ image @ np.asarray(matrix, np.float64).T
    # Pillow's kernel stops at the border of the image, not of the box, when it is asked not to cut first.
    expected = np.asarray(Image.fromarray(image).resize((24, 24), Image.Resampling.BICUBIC, box=(10, 10, 40, 40)))
    assert np.abs(got - expected)[2:-2, 2:-2].max() < 1.6


def test_padding_takes_no_part():
    padded, exact = whole(64, 32, valid=50), whole(50, 32)
    np.testing.assert_allclose(padded[:, :50], exact, atol=1e-6)
    assert not padded[:, 50:].any()


def test_weights_sum_to_one_and_equal_sizes_change_nothing():
    for matrix in (cubic_matrix(7, 21), cubic_matrix(21, 7), whole(30, 12), whole(12, 30)):
        np.testing.assert_allclose(matrix.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(cubic_matrix(9, 9), np.eye(9), atol=1e-12)
    np.testing.assert_allclose(whole(9, 9), np.eye(9), atol=1e-6)


def test_an_unknown_kernel_and_a_table_that_does_not_fit_are_refused():
    with pytest.raises(ValueError, match="bicubic"):
        whole(4, 4, kernel="nearest")
    with pytest.raises(ValueError, match="12 rows"):
        resize_positions(jnp.zeros((12, 3)), (3, 4), (5, 5))


def test_a_box_covers_the_patches_it_touches():
    boxes = jnp.asarray(
        [[8.0, 0.0, 16.0, 9.0], [15.9, 7.9, 8.1, 0.1], [-50.0, -50.0, 900.0, 900.0], [8.0, 8.0, 8.0, 8.0]]
    )
    got = np.asarray(patches_under_boxes(boxes, (3, 4), 8)).reshape(4, 3, 4)
    np.testing.assert_array_equal(np.argwhere(got[0]), [[0, 1], [1, 1]])
    np.testing.assert_array_equal(np.argwhere(got[1]), [[0, 1]])  # corners changed places
    assert got[2].all() and not got[3].any()


def test_nms_equals_the_greedy_loop():
    rng = np.random.default_rng(2)
    low = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 40, (40, 2))], 1).astype(np.float32)
    score, label = rng.integers(0, 8, 40) / 8, rng.integers(0, 3, 40)
    valid = rng.random(40) < 0.8

    def iou(a, b):
        side = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
        shared = side.prod()
        return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)

    kept = []
    for row in sorted(np.flatnonzero(valid), key=lambda r: (-score[r], r)):
        if not any(label[k] == label[row] and iou(boxes[k], boxes[row]) > 0.5 for k in kept):
            kept.append(row)
    got = class_nms(jnp.asarray(boxes), jnp.asarray(score), jnp.asarray(label), jnp.asarray(valid))
    np.testing.assert_array_equal(np.flatnonzero(got), sorted(kept))
    assert 5 < len(kept) < valid.sum()
