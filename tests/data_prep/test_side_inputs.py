"""Detections, poses and faces reach the people they belong to, from the files that tools write."""

import json

import numpy as np
import pytest

from data_prep.part_boxes import part_boxes
from data_prep.side_inputs import FaceFile, PoseFile, SideFiles, SideInputs, nearest_face, nearest_pose
from hoi_jax import io
from hoi_jax.formats.labels.rows import instance_columns, record_of
from hoi_jax.schema import PART_NAMES
from hoi_jax.vocab import get_vocabulary

HICO = get_vocabulary("hico_det")
HEAD, HIP, RIGHT_HAND = (PART_NAMES.index(name) for name in ("head", "hip", "right_hand"))
NAME = "COCO_val2014_000000000042.jpg"


def pose(x, y, score=0.9):
    """Seventeen joints around (x, y), the last one absent."""
    joints = [[x + k % 4, y + k, score] for k in range(16)] + [[0, 0, 0]]
    return [value for joint in joints for value in joint]


def write(path, rows):
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize(
    "rows",
    [
        [{"image_id": 42, "category_id": 1, "keypoints": pose(10, 20), "bbox": [5, 15, 20, 30], "score": 0.9}],
        {"images": [], "annotations": [{"image_id": 42, "keypoints": pose(10, 20, 2), "bbox": [5, 15, 20, 30]}]},
        [{"image_id": NAME, "category_id": 1, "keypoints": pose(10, 20), "box": [5, 15, 20, 30], "score": 3.1}],
        [{"image_id": f"x/{NAME}", "keypoints": [*pose(10, 20), *[0.5] * 27], "box": [5, 15, 20, 30]}],
    ],
    ids=["COCO results", "COCO annotations", "AlphaPose", "AlphaPose, 26 joints"],
)
def test_poses_of_every_tool_are_found_by_image(tmp_path, rows):
    boxes, poses = PoseFile(write(tmp_path / "poses.json", rows)).of(NAME)
    np.testing.assert_array_equal(boxes, [[5, 15, 25, 45]])
    assert poses.shape == (1, 17, 3) and poses[0, 0, :2].tolist() == [10, 20] and not poses[0, 16].any()
    assert 0.85 < poses[0, 0, 2] <= 1


def test_a_pose_without_a_box_gets_the_one_around_its_joints(tmp_path):
    boxes, _ = PoseFile(write(tmp_path / "p.json", [{"image_id": 42, "keypoints": pose(10, 20)}])).of(NAME)
    np.testing.assert_array_equal(boxes, [[10, 20, 13, 35]])


def test_the_best_pose_above_the_threshold_is_taken_also_by_two_boxes_of_one_person():
    poses = np.array([[0, 0, 10, 10], [0, 0, 10, 12], [50, 50, 60, 60]], float)
    people = np.array([[0, 0, 10, 11.9], [0, 0, 10, 12], [50, 50, 60, 56], [200, 0, 210, 9]], float)
    assert nearest_pose(people, poses).tolist() == [1, 1, -1, -1]  # 0.6 is not above 0.7.
    assert nearest_pose(people, poses, overlap=0.5).tolist() == [1, 1, 2, -1]
    assert nearest_pose(people, poses[:0]).tolist() == [-1] * 4


def test_a_face_goes_to_the_person_whose_head_it_fills():
    people = np.array([[0, 0, 20, 60], [10, 30, 40, 90]], float)
    faces = np.array([[5, 2, 15, 12], [12, 32, 22, 42], [100, 100, 110, 110]], float)
    assert nearest_face(people, faces).tolist() == [0, 1]
    assert nearest_face(people, faces[2:]).tolist() == [-1, -1]


def record():
    boxes, classes = np.array([[5, 15, 25, 45], [30, 10, 60, 50]], float), np.array([0, 41])
    return record_of(42, NAME, (100, 100), instance_columns(boxes, classes), 1) | {"image": b""}


def test_a_record_gets_detections_poses_and_faces(tmp_path):
    boxes = [{"image_id": 42, "category_id": 1, "bbox": [6, 15, 20, 30], "score": 0.75}]
    files = SideFiles(
        {"": [write(tmp_path / "boxes.json", boxes)]},
        {"": [write(tmp_path / "poses.json", [{"image_id": NAME, "keypoints": pose(10, 20), "box": [5, 15, 20, 30]}])]},
        {"": [write(tmp_path / "faces.json", [{"image_id": 42, "bbox": [10, 16, 6, 7]}])]},
    )
    sides = SideInputs(HICO, files)
    assert sides and set(sides.settings) == {"detections", "poses", "faces"}
    filled = sides.add_to(record())
    assert filled["detections_score"].tolist() == [0.75]
    assert filled["detections_keypoints_px"][0, 0].tolist()[:2] == [10, 20]
    assert filled["instances_keypoints_px"][0, 0, 2] > 0 and not filled["instances_keypoints_px"][1].any()
    assert filled["instances_face_xyxy_px"].tolist() == [[10, 16, 16, 23], [0, 0, 0, 0]]
    assert not SideInputs(HICO, SideFiles())


@pytest.mark.parametrize(
    "row, message",
    [
        ({"image_id": 1, "keypoints": [1, 2, 3]}, "51"),
        ({"image_id": 1, "keypoints": pose(float("nan"), 1)}, "not finite"),
        ({"keypoints": pose(1, 1)}, "neither"),
        ({"image_id": 1, "keypoints": pose(1, 1), "bbox": [1, 1, -2, 2]}, "negative side"),
    ],
)
def test_a_broken_pose_names_file_and_row(tmp_path, row, message):
    with pytest.raises(io.CorruptFileError, match=f"p.json: row 0.*{message}"):
        PoseFile(write(tmp_path / "p.json", [row]))
    with pytest.raises(io.CorruptFileError, match="p.json: row 0"):
        FaceFile(write(tmp_path / "p.json", [{"image_id": 1, "bbox": [1, 2]}]))


def test_real_poses_are_found_for_the_people_of_real_photographs(data_dir):
    folder = data_dir / "coco_tiny"
    path = folder / "person_keypoints_val2017.json.gz"
    poses, table = PoseFile(path), io.read_json(path)
    found = wanted = 0
    for image in table["images"]:
        rows = [r for r in table["annotations"] if r["image_id"] == image["id"] and r["num_keypoints"]]
        xywh = np.array([r["bbox"] for r in rows], float).reshape(-1, 4)
        people = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
        boxes, joints = poses.of(image["file_name"])
        chosen = nearest_pose(people, boxes)
        wanted += len(rows)
        for row, place in zip(rows, chosen, strict=True):
            expected = np.reshape(row["keypoints"], (17, 3))
            found += place >= 0 and bool(
                np.allclose(joints[place][expected[:, 2] > 0, :2], expected[expected[:, 2] > 0, :2])
            )
    assert found == wanted > 40


def test_absent_joints_of_annotations_do_not_move_part_boxes():
    whole = np.array([[x, y, 1] for x, y in np.random.default_rng(0).uniform(100, 200, (17, 2))], np.float32)
    person = np.array([[90, 90, 210, 210]], np.float32)
    left_eye, right_eye, left_hip = 1, 2, 11
    cases = {(left_eye,): (HEAD, right_eye), (left_hip,): (HIP, 12)}
    for absent, (part, other) in cases.items():
        pose = whole.copy()
        pose[list(absent)] = 0
        box = part_boxes(pose[None], person)[0, part]
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, whole[other, :2], atol=1e-3)
    blind = whole.copy()
    blind[[left_eye, right_eye]] = 0
    neck, pelvis = whole[[5, 6], :2].mean(0), whole[[11, 12], :2].mean(0)
    hand = part_boxes(blind[None], person)[0, RIGHT_HAND]
    # 0.75 neck + 0.25 head is the neck alone; half a side is 0.9 of half the trunk.
    assert hand[2] - hand[0] == pytest.approx(0.9 * np.linalg.norm(neck - pelvis), rel=1e-4)
    np.testing.assert_array_equal(part_boxes(blind[None], person)[0, HEAD], person[0])
    # Without hips there is no trunk, and without a wrist (or hips) no limb that could stand for it: the whole person.
    half = whole.copy()
    half[[9, 11, 12]] = 0
    boxes = part_boxes(half[None], person)[0]
    for name in ("left_arm", "left_hand", "right_foot", "left_leg", "hip"):
        np.testing.assert_array_equal(boxes[PART_NAMES.index(name)], person[0], err_msg=name)
    arm = boxes[PART_NAMES.index("right_arm")]
    assert arm[2] - arm[0] == pytest.approx(2 * np.linalg.norm(whole[10, :2] - whole[6, :2]), rel=1e-4)


@pytest.mark.parametrize("row", [{"bbox": [1, 2, 10**400, 4]}, {"bbox": [1, 2, 3, 4], "keypoints": [10**400] * 51}])
def test_numbers_too_large_for_a_float_are_refused_with_their_row(tmp_path, row):
    path = write(tmp_path / "x.json", [{"image_id": 42, "keypoints": pose(10, 20), **row}])
    with pytest.raises(io.DataError, match=r"x.json: row 0"):
        PoseFile(path)
    if "keypoints" not in row:
        with pytest.raises(io.DataError, match=r"x.json: row 0"):
            FaceFile(path)
