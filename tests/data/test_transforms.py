"""Every transform moves pixels and tables together."""

import numpy as np
import pytest
import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data import tables, transforms


def example(height=40, width=60, seed=0):
    """A picture whose brightest block is exactly the first instance."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 100, (height, width, 3), dtype=np.uint8)
    box = np.float32([12, 8, 30, 24])
    image[8:24, 12:30] = 255
    mask = np.zeros((1, height, width), bool)
    mask[0, 8:24, 12:30] = True
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 5] = [13, 9, 1]
    keypoints[0, 6] = [29, 9, 1]
    parts = np.zeros((1, 10, 4), np.float32)
    parts[0, 0] = [12, 20, 16, 24]
    return {
        "image": tf.constant(image),
        "instances_xyxy_px": tf.constant(box[None]),
        "instances_class": tf.constant([0]),
        "instances_keypoints_px": tf.constant(keypoints),
        "instances_face_xyxy_px": tf.zeros((1, 4)),
        "instances_parts_xyxy_px": tf.constant(parts),
        "instances_mask": tf.constant(mask),
        "pairs_part_states": tf.constant([list(range(10))]),
    }


def bright_box(image, threshold=200):
    ys, xs = np.nonzero(image[..., 0] > threshold)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def assert_same(a, b):
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_flip_twice_is_the_identity():
    assert_same(transforms.flip_horizontal(transforms.flip_horizontal(example())), example())


def test_flip_moves_box_pixels_and_mask_together():
    flipped = transforms.flip_horizontal(example())
    assert bright_box(flipped["image"].numpy()) == flipped["instances_xyxy_px"][0].numpy().tolist()
    np.testing.assert_array_equal(flipped["instances_mask"][0], flipped["image"][..., 0] == 255)


def test_flip_exchanges_left_and_right_joints_and_parts():
    flipped = transforms.flip_horizontal(example())
    np.testing.assert_array_equal(flipped["instances_keypoints_px"][0, 6], [60 - 13, 9, 1])
    np.testing.assert_array_equal(flipped["instances_parts_xyxy_px"][0, 3], [44, 20, 48, 24])
    np.testing.assert_array_equal(flipped["pairs_part_states"][0], schema.PART_MIRROR)


def test_flip_leaves_absent_faces_and_joints_at_zero():
    flipped = transforms.flip_horizontal(example())
    assert not np.any(flipped["instances_face_xyxy_px"])
    assert not np.any(flipped["instances_keypoints_px"][0, 0])


def test_resize_scales_boxes_with_the_rounded_size():
    resized = transforms.resize_to_fit(example(), (20, 200), enlarge=False, antialias=False)
    np.testing.assert_array_equal(resized["image_hw_px"], [20, 30])
    np.testing.assert_allclose(resized["instances_xyxy_px"][0], [6, 4, 15, 12])
    low = bright_box(resized["image"].numpy(), 240)
    np.testing.assert_allclose(low, [6, 4, 15, 12], atol=1)


@pytest.mark.parametrize("enlarge, expected", [(False, [40, 60]), (True, [80, 120])])
def test_small_pictures_are_enlarged_only_when_asked(enlarge, expected):
    resized = transforms.resize_to_fit(example(), (80, 200), enlarge=enlarge, antialias=True)
    np.testing.assert_array_equal(resized["image_hw_px"], expected)


def test_padding_is_zero_and_keeps_the_picture():
    resized = transforms.resize_to_fit(example(), (64, 64), enlarge=False, antialias=True)
    padded = transforms.pad_image(resized, (64, 64))["image"].numpy()
    np.testing.assert_array_equal(padded[:40, :60], example()["image"])
    assert not padded[40:].any() and not padded[:, 60:].any()


def test_crop_clips_boxes_and_marks_lost_instances():
    window = tf.constant([20, 0, 60, 40])
    cut = transforms.crop(example(), window, min_visible=0.5)
    np.testing.assert_array_equal(cut["instances_xyxy_px"][0], [0, 8, 10, 24])
    assert cut["instances_inside"].numpy().tolist() == [True]  # 10 of 18 columns are left
    assert not transforms.crop(example(), window, min_visible=0.6)["instances_inside"].numpy().any()
    assert cut["instances_keypoints_px"][0, 5, 2] == 0 and cut["instances_keypoints_px"][0, 6, 2] == 1


def test_random_windows_lie_inside_the_picture_and_depend_on_the_seed_only():
    windows = [transforms.random_window(tf.constant([40, 60]), 0.3, tf.constant([1, i])).numpy() for i in range(200)]
    again = transforms.random_window(tf.constant([40, 60]), 0.3, tf.constant([1, 7])).numpy()
    np.testing.assert_array_equal(windows[7], again)
    for x1, y1, x2, y2 in windows:
        assert 0 <= x1 < x2 <= 60 and 0 <= y1 < y2 <= 40
        assert x2 - x1 >= 18 and y2 - y1 >= 12
    assert len({tuple(w) for w in windows}) > 100


def test_masks_follow_the_picture_onto_the_grid():
    resized = transforms.resize_to_fit(example(), (64, 64), enlarge=False, antialias=True)
    placed = transforms.place_masks(resized, (64, 64), (32, 32))["instances_mask"].numpy()[0]
    assert placed.shape == (32, 32)
    ys, xs = np.nonzero(placed)
    assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == [6, 4, 15, 12]


def literal_merge(human, obj, classes, threshold):
    """The rule of the docstring, one pair of rows at a time."""

    def iou(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0])
        h = min(a[3], b[3]) - max(a[1], b[1])
        shared = max(w, 0) * max(h, 0)
        area = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
        return shared / (area - shared)

    heads, joined = [], []
    for i in range(len(human)):
        for j in heads:
            if classes[i] == classes[j] and min(iou(human[i], human[j]), iou(obj[i], obj[j])) > threshold:
                joined.append(j)
                break
        else:
            heads.append(i)
            joined.append(i)
    return joined


def test_merging_agrees_with_a_literal_loop():
    rng = np.random.default_rng(3)
    for _ in range(50):
        corners = rng.uniform(0, 30, (12, 2, 2)).repeat(2, 2)[..., [0, 2, 1, 3]]
        boxes = (corners + np.concatenate([np.zeros((12, 2, 2)), rng.uniform(15, 40, (12, 2, 2))], -1)).astype("f4")
        classes = rng.integers(0, 2, 12)
        joined = tables.merge_overlapping_rows(boxes[:, 0], boxes[:, 1], classes, 0.25)
        assert joined.tolist() == literal_merge(boxes[:, 0].tolist(), boxes[:, 1].tolist(), classes, 0.25)


def test_a_picture_that_grows_is_the_same_with_and_without_low_pass():
    picture = tf.constant(np.random.default_rng(0).integers(0, 256, (37, 53, 3)), tf.uint8)
    for hw in ((37, 54), (74, 106), (111, 160), (38, 201)):
        exact = tf.image.resize(picture, hw, antialias=True).numpy()
        grown = transforms.resize({**example(), "image": picture}, tf.constant(hw), antialias=True)["image"].numpy()
        assert np.abs(grown - exact).max() <= 0.5 + 1e-3
    shrunk = transforms.resize({**example(), "image": picture}, tf.constant((20, 60)), antialias=True)["image"].numpy()
    assert np.abs(shrunk - tf.image.resize(picture, (20, 60), antialias=True).numpy()).max() <= 0.5 + 1e-3
    assert np.abs(shrunk - tf.image.resize(picture, (20, 60)).numpy()).max() > 20
