"""Body-part boxes of an upright figure, and what stands in for joints that are not seen."""

import numpy as np

from hoi_jax.ops.part_boxes import has_pose, part_boxes_from_pose, with_stand_ins
from hoi_jax.schema import PART_NAMES

PERSON = np.float32([0, 0, 100, 200])


def upright() -> np.ndarray:
    """A figure whose right side has the smaller x."""
    pose = np.zeros((17, 3), np.float32)
    pose[:, 2] = 1.0
    rows = {20: (1, 2), 40: (5, 6), 65: (7, 8), 90: (9, 10), 100: (11, 12), 140: (13, 14), 180: (15, 16)}
    for y, joints in rows.items():
        for joint in joints:
            pose[joint, :2] = 60 if joint % 2 else 40, y  # COCO: odd numbers are left
    return pose


def box_of(pose, name: str) -> np.ndarray:
    return np.asarray(part_boxes_from_pose(pose, PERSON))[PART_NAMES.index(name)]


def test_boxes_are_squares_around_joints_scaled_by_the_trunk():
    trunk = 0.5 * (100 - (0.75 * 40 + 0.25 * 20))
    np.testing.assert_allclose(box_of(upright(), "right_leg"), [40 - trunk, 140 - trunk, 40 + trunk, 140 + trunk])
    np.testing.assert_allclose(box_of(upright(), "left_hand")[0], 60 - 0.9 * trunk, rtol=1e-6)
    side = 1.2 * trunk
    np.testing.assert_allclose(box_of(upright(), "head"), [50 - side, 20 - side, 50 + side, 20 + side])
    np.testing.assert_allclose(box_of(upright(), "hip")[1], 100 - 1.2 * trunk, rtol=1e-6)


def test_an_unseen_joint_gives_the_box_of_the_person():
    pose = upright()
    pose[10, 2] = 0.1
    np.testing.assert_array_equal(box_of(pose, "right_hand"), PERSON)
    assert (box_of(pose, "left_hand") != PERSON).any()


def test_without_a_trunk_limbs_are_the_measure_and_the_hip_is_the_person():
    pose = upright()
    pose[11:13, 2] = 0.0
    np.testing.assert_array_equal(box_of(pose, "hip"), PERSON)
    np.testing.assert_allclose(box_of(pose, "left_arm"), [60 - 50, 40 - 50, 60 + 50, 40 + 50])
    np.testing.assert_allclose(box_of(pose, "head"), [50 - 20, 20 - 20, 50 + 20, 20 + 20])


def test_only_absent_joints_are_given_a_place():
    np.testing.assert_array_equal(with_stand_ins(upright()), upright())
    nobody = np.zeros((17, 3), np.float32)
    np.testing.assert_array_equal(with_stand_ins(nobody), nobody)
    pose = upright()
    pose[[2, 12]] = 0
    filled = np.asarray(with_stand_ins(pose))
    np.testing.assert_array_equal(filled[[2, 12], :2], upright()[[1, 11], :2])
    assert not filled[[2, 12], 2].any()


def test_an_absent_hip_does_not_pull_the_boxes_to_the_corner_of_the_image():
    pose = upright()
    pose[12] = 0
    trunk = 0.5 * np.hypot(60 - 50, 100 - 35)  # The other hip is at (60, 100), the thorax at (50, 35).
    side = 1.2 * trunk
    np.testing.assert_allclose(box_of(pose, "hip"), [60 - side, 100 - side, 60 + side, 100 + side], rtol=1e-6)


def test_a_person_without_any_joint_has_no_pose():
    assert not has_pose(np.zeros((17, 3), np.float32))
    assert has_pose(upright())
