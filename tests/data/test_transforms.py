"""Every transform moves all columns with positions."""

import numpy as np
import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data import tables, transforms


def example(height=40, width=60):
    """The tables of an image with one instance."""
    box = np.float32([12, 8, 30, 24])
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 5] = [13, 9, 1]
    keypoints[0, 6] = [29, 9, 1]
    parts = np.zeros((1, 10, 4), np.float32)
    parts[0, 0] = [12, 20, 16, 24]
    return {
        "image_hw_px": tf.constant([height, width]),
        "instances_xyxy_px": tf.constant(box[None]),
        "instances_class": tf.constant([0]),
        "instances_keypoints_px": tf.constant(keypoints),
        "instances_face_xyxy_px": tf.zeros((1, 4)),
        "instances_parts_xyxy_px": tf.constant(parts),
        "pairs_part_states": tf.constant([list(range(10))]),
    }


def assert_same(a, b):
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_flip_twice_is_the_identity():
    assert_same(transforms.flip_horizontal(transforms.flip_horizontal(example())), example())


def test_flip_mirrors_boxes():
    flipped = transforms.flip_horizontal(example())
    np.testing.assert_array_equal(flipped["instances_xyxy_px"][0], [30, 8, 48, 24])


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
    resized = transforms.resize(example(), tf.constant([20, 30]))
    np.testing.assert_array_equal(resized["image_hw_px"], [20, 30])
    np.testing.assert_allclose(resized["instances_xyxy_px"][0], [6, 4, 15, 12])


def test_whatever_is_left_of_a_box_stays_and_a_box_outside_the_window_goes():
    for window, inside in (((29, 0, 60, 40), True), ((30, 0, 60, 40), False)):
        moved = transforms.crop(example(), tf.constant(window), min_visible=0.0)
        assert bool(moved["instances_inside"][0]) == inside
        np.testing.assert_array_equal(moved["image_hw_px"], [40, 60 - window[0]])


def test_crop_clips_boxes_and_marks_lost_instances():
    window = tf.constant([20, 0, 60, 40])
    cut = transforms.crop(example(), window, min_visible=0.5)
    np.testing.assert_array_equal(cut["instances_xyxy_px"][0], [0, 8, 10, 24])
    assert cut["instances_inside"].numpy().tolist() == [True]  # 10 of 18 columns are left
    assert not transforms.crop(example(), window, min_visible=0.6)["instances_inside"].numpy().any()
    assert cut["instances_keypoints_px"][0, 5, 2] == 0 and cut["instances_keypoints_px"][0, 6, 2] == 1


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
