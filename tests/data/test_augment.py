"""DETR's training augmentations: sizes, windows, colours, and that everything in the picture follows."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance
from test_transforms import bright_box, example

from hoi_jax.data import transforms
from hoi_jax.data.augment import ORDERS, augment, change_colours, scaled_window, short_side_hw, training_hw
from hoi_jax.data.settings import AugmentSettings

SCALES = tuple(range(480, 801, 32))


def seed(number):
    return tf.constant([number, 3], tf.int64)


def reference_hw(height, width, short_side, long_side):
    """Sizes of torchvision's detection references, in Python's numbers."""
    low, high = min(height, width), max(height, width)
    if long_side is not None and high / low * short_side > long_side:
        short_side = int(round(long_side * low / high))
    if height <= width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


@pytest.mark.parametrize("hw", [(480, 640), (640, 427), (333, 500), (100, 1000), (612, 612), (1200, 301)])
def test_sizes_are_those_of_the_detection_references(hw):
    for short_side in (400, *SCALES):
        for limit in (None, 1333):
            got = short_side_hw(tf.constant(hw), tf.constant(short_side), limit).numpy().tolist()
            assert got == list(reference_hw(*hw, short_side, limit))


def test_training_draws_every_scale_and_a_picture_that_does_not_fit_is_shrunk():
    settings = AugmentSettings(short_sides=SCALES)
    sizes = np.array([training_hw(tf.constant([480, 640]), settings, seed(n)).numpy() for n in range(150)])
    assert set(sizes[:, 0]) == set(SCALES)
    np.testing.assert_array_equal(sizes[:, 1], sizes[:, 0] * 640 // 480)
    fitted = transforms.resize_within(example(), tf.constant([80, 120]), (60, 200), antialias=True)
    assert fitted["image_hw_px"].numpy().tolist() == [60, 90]
    grown = transforms.resize_within(example(), tf.constant([80, 120]), (90, 200), antialias=False)
    assert grown["image_hw_px"].numpy().tolist() == [80, 120]
    np.testing.assert_allclose(grown["instances_xyxy_px"][0], np.array([12, 8, 30, 24]) * 2)


def test_windows_have_sides_of_384_to_600_pixels_at_the_drawn_scale_and_lie_inside():
    height, width = 960, 1280
    windows = np.array([scaled_window(tf.constant([height, width]), (480,), (384, 600), seed(n)) for n in range(300)])
    x1, y1, x2, y2 = windows.T
    assert x1.min() >= 0 and y1.min() >= 0 and x2.max() <= width and y2.max() <= height
    wide, high = (x2 - x1) / 2, (y2 - y1) / 2  # at short side 480 the picture is half as large
    assert 384 <= wide.min() < 390 and 594 < wide.max() <= 600
    assert 384 <= high.min() < 387 and 477 < high.max() <= 480  # no more than there is
    assert x1.min() < 20 and x2.max() > width - 20
    scales = {tuple(scaled_window(tf.constant([400, 400]), (400, 600), (600, 600), seed(n)).numpy()) for n in range(9)}
    assert scales == {(0, 0, 400, 400)}


def test_colours_change_as_pillow_changes_them_in_any_order():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color

    def differences(factors, order):
        expected = Image.fromarray(image)
        for turn in order:
            expected = enhancers[turn](expected).enhance(float(factors[turn]))
        got = change_colours(tf.constant(image), tf.constant(factors), tf.constant(order)).numpy().astype(int)
        return np.abs(got - np.asarray(expected))

    for order in ORDERS:
        factors = rng.uniform(0.6, 1.4, 3).astype(np.float32)
        assert differences(factors, order).max() <= 5  # Pillow cuts off decimals three times, the errors are scaled
        for change in range(3):
            alone = np.where(np.arange(3) == change, factors, 1).astype(np.float32)
            assert differences(alone, order).max() <= 1
    same = change_colours(tf.constant(image), tf.ones(3), tf.constant(ORDERS[0]))
    np.testing.assert_array_equal(same, image)


def test_boxes_keypoints_and_masks_follow_a_detr_crop():
    settings = AugmentSettings(crop=1.0, crop_sides_px=(384, 600), crop_min_visible=0.0)
    changed = 0
    for number in range(12):
        moved = augment(example(), seed(number), settings)
        box = moved["instances_xyxy_px"][0].numpy()
        mask, keypoints = moved["instances_mask"][0].numpy(), moved["instances_keypoints_px"][0].numpy()
        assert mask.shape == moved["image"].shape[:2]
        np.testing.assert_array_equal(mask, moved["image"][..., 0].numpy() == 255)
        if mask.any():
            assert bright_box(moved["image"].numpy()) == box.tolist()
        if keypoints[5, 2] > 0 and keypoints[5, :2].any():
            assert moved["image"].numpy()[int(keypoints[5, 1]), int(keypoints[5, 0]), 0] == 255
        changed += moved["image"].shape != (40, 60, 3)
    assert changed > 6


def test_the_same_seed_gives_the_same_example_and_colours_leave_places_alone():
    settings = AugmentSettings(flip=0.5, crop=0.5, brightness=0.4, contrast=0.4, saturation=0.4)
    one, two, other = (augment(example(), seed(number), settings) for number in (5, 5, 6))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert one["image"].shape != other["image"].shape or (one["image"].numpy() != other["image"].numpy()).any()
    colours = augment(example(), seed(1), AugmentSettings(brightness=0.4, contrast=0.4, saturation=0.4))
    np.testing.assert_array_equal(colours["instances_xyxy_px"], example()["instances_xyxy_px"])
    assert (colours["image"].numpy() != example()["image"].numpy()).any()


def test_whatever_is_left_of_a_box_stays_and_a_box_outside_the_window_goes():
    for window, inside in (((29, 0, 60, 40), True), ((30, 0, 60, 40), False)):
        moved = transforms.crop(example(), tf.constant(window), min_visible=0.0)
        assert bool(moved["instances_inside"][0]) == inside


@pytest.mark.parametrize("values", [{"brightness": 1.5}, {"crop_sides_px": (600, 384)}, {"short_sides": (0,)}])
def test_impossible_augmentations_are_refused(values):
    with pytest.raises(ValueError, match="expected|sides"):
        AugmentSettings(**values)
