"""Sizes of images: DETR's and mmdetection's rules, the static shapes, random windows, and the draws behind them."""

import numpy as np
import pytest

from configs import common
from hoi_jax.data.changes import (
    fitted_hw,
    into_shapes,
    plain_changes,
    random_changes,
    rescaled_hw,
    resized_crop_window,
    short_side_hw,
)
from hoi_jax.data.draws import permutation, split_mix, uniform
from hoi_jax.data.settings import AugmentSettings, SizeSettings
from hoi_jax.io import read_json
from hoi_jax.settings import from_config

SCALES = tuple(range(480, 801, 32))
TABLES = {"instances": 1, "detections": 1, "pairs": 1}
DETR = from_config(SizeSettings, {**common.DETR_SIZES, **TABLES})


def reference_hw(height, width, short_side, long_side):
    """Sizes of torchvision's detection references, in Python's numbers."""
    low, high = min(height, width), max(height, width)
    if long_side is not None and high / low * short_side > long_side:
        short_side = int(round(long_side * low / high))
    if (width <= height and width == short_side) or (height <= width and height == short_side):
        return height, width
    if width < height:
        return int(short_side * height / width), short_side
    return short_side, int(short_side * width / height)


def images(count, seed=0, sides=(30, 1500)):
    return np.random.default_rng(seed).integers(*sides, (count, 2))


@pytest.mark.parametrize("limit", [None, 1333])
def test_sizes_are_those_of_the_detection_references(limit):
    sizes = np.concatenate([images(400), [[480, 640], [640, 427], [213, 640], [100, 1000], [612, 612], [800, 1066]]])
    for short_side in (400, *SCALES):
        expected = [reference_hw(int(h), int(w), short_side, limit) for h, w in sizes]
        np.testing.assert_array_equal(short_side_hw(sizes, short_side, limit), expected)


def test_mmdetections_sizes_keep_the_scale_and_round_halves_up():
    # mmcv's rescale_size: scale = min(1333 / long, 800 / short), sides int(x * scale + 0.5).
    np.testing.assert_array_equal(
        rescaled_hw(np.array([[480, 640], [427, 640], [640, 480], [213, 640]]), 800, 1333),
        [[800, 1067], [800, 1199], [1067, 800], [444, 1333]],
    )


def test_every_image_of_hico_dets_test_split_is_evaluated_at_detrs_size(data_dir):
    table = read_json(data_dir / "hicodet_instances_test2015.json.gz")
    width, height = np.array(table["size"]).T
    assert len(width) == 9658
    changes = plain_changes(np.stack([height, width], axis=1), DETR)
    expected = [reference_hw(int(h), int(w), 800, 1333) for h, w in zip(height, width, strict=True)]
    np.testing.assert_array_equal(changes.hw, expected)
    shapes = np.array(DETR.shapes)[changes.shape]
    assert (changes.hw <= shapes).all() and changes.hw.max() == 1334
    # What static shapes cost: cells that are image, of all cells.
    assert changes.hw.prod(axis=1).sum() / shapes.prod(axis=1).sum() > 0.95


def test_the_smallest_shape_that_holds_an_image_is_taken_and_what_none_holds_is_shrunk():
    shapes = ((100, 200), (200, 100), (150, 150))
    number, hw = into_shapes(np.array([[100, 200], [101, 120], [90, 90], [180, 60], [10, 400], [300, 290]]), shapes)
    np.testing.assert_array_equal(number, [0, 2, 0, 1, 0, 2])
    np.testing.assert_array_equal(hw, [[100, 200], [101, 120], [90, 90], [180, 60], [5, 200], [150, 145]])


@pytest.mark.parametrize("enlarge, expected", [(False, [30, 60]), (True, [50, 100])])
def test_small_images_are_enlarged_only_when_asked(enlarge, expected):
    np.testing.assert_array_equal(fitted_hw(np.array([[30, 60]]), (100, 100), enlarge=enlarge), [expected])


def test_split_mix_gives_its_published_numbers():
    # First outputs for seed 1234567, as in Rosetta Code's and the Java reference's tables.
    state, found = np.uint64(1234567), []
    for step in range(5):
        found.append(int(split_mix(np.uint64((1234567 + step * 0x9E3779B97F4A7C15) % 2**64))))
    assert int(state) == 1234567
    assert found == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


def test_draws_are_uniform_and_independent_and_depend_on_all_their_words():
    number = np.arange(4000)
    draws = uniform(3, 5, number, 1, 4)
    assert draws.min() >= 0 and draws.max() < 1
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=4 * 12**-0.5 / 4000**0.5)
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 4 / 4000**0.5
    for other in (uniform(4, 5, number, 1, 4), uniform(3, 6, number, 1, 4), uniform(3, 5, number, 2, 4)):
        assert abs(np.corrcoef(draws[:, 0], other[:, 0])[0, 1]) < 4 / 4000**0.5
    np.testing.assert_array_equal(uniform(3, 5, number[7:9], 1, 4), draws[7:9])


def test_an_epochs_order_is_a_permutation_in_which_every_place_is_as_likely():
    items = np.arange(50)[:, None]
    orders = np.stack([permutation(0, epoch, items) for epoch in range(400)])
    assert (np.sort(orders, axis=1) == np.arange(50)).all()
    counts = np.stack([np.bincount(column, minlength=50) for column in orders.T])
    assert ((counts - 8) ** 2 / 8).sum() < 50 * 49 + 5 * (2 * 50 * 49) ** 0.5  # chi-squared, five deviations


def drawn(hw, augment, sizes=DETR, count=400):
    number = np.arange(count)
    return random_changes(np.tile(hw, (count, 1)), sizes, augment, 0, 0 * number, number)


def test_training_draws_every_scale_of_detr_and_sizes_follow_the_references():
    changes = drawn((480, 640), AugmentSettings(short_sides=SCALES))
    assert set(changes.hw.min(1)) == set(SCALES)
    expected = [reference_hw(480, 640, int(short), 1333) for short in changes.hw.min(1)]
    np.testing.assert_array_equal(changes.hw, expected)


def test_windows_have_sides_of_384_to_600_pixels_of_the_resized_image_and_lie_inside():
    augment = AugmentSettings(crop=1.0, crop_sides_px=(384, 600), crop_short_sides=(480,))
    changes = drawn((960, 1280), augment, count=3000)
    np.testing.assert_array_equal(changes.first_hw, np.tile([480, 640], (3000, 1)))
    x1, y1, x2, y2 = changes.window.T
    assert x1.min() == 0 and y1.min() == 0 and x2.max() == 640 and y2.max() == 480
    assert (x2 - x1).min() == 384 and (x2 - x1).max() == 600
    assert (y2 - y1).min() == 384 and (y2 - y1).max() == 480  # no more than there is


def test_half_of_the_images_are_cut_and_half_are_mirrored_independently():
    changes = drawn((480, 640), AugmentSettings(flip=0.5, crop=0.5, crop_min_side=0.5), count=4000)
    cut = (changes.window != [0, 0, 640, 480]).any(axis=1)
    for share in (cut.mean(), changes.flip.mean(), (cut == changes.flip).mean()):
        assert abs(share - 0.5) < 0.04


def test_a_random_resized_crop_has_the_areas_and_ratios_asked_for():
    hw = np.tile([300, 500], (4000, 1))
    window = resized_crop_window(hw, (0.08, 1.0), (3 / 4, 4 / 3), uniform(0, 0, np.arange(4000), 4, 40))
    width, height = window[:, 2] - window[:, 0], window[:, 3] - window[:, 1]
    assert window.min() >= 0 and window[:, 2].max() <= 500 and window[:, 3].max() <= 300
    assert (width / height).min() > 0.74 and (width / height).max() < 1.35
    assert 0.078 < (width * height / 150_000).min() < 0.1
    # A window of all the area fits at no ratio: the centred one within the ratios is taken.
    centre = resized_crop_window(hw[:1], (1.0, 1.0), (3 / 4, 4 / 3), uniform(0, 0, np.arange(1), 4, 40))
    np.testing.assert_array_equal(centre, [[50, 0, 450, 300]])


@pytest.mark.parametrize(
    "values",
    [
        {"buckets": ((8, 8), (8, 8))},
        {"short_side": 0},
        {"long_side": 100},
        {"fit": "stretch", "short_side": 100},
        {"fit": "stretch", "buckets": ((64, 64), (64, 32))},
    ],
)
def test_sizes_that_contradict_themselves_are_refused(values):
    with pytest.raises(ValueError, match="expected|apply"):
        SizeSettings((64, 64), **TABLES, **values)
