"""From public files of detections and poses to records: the build lines of docs/data.md on a mini copy of HICO-DET."""

import json
import pickle

import numpy as np
import pytest

from data_prep import build
from hoi_jax.data.records import RecordFiles, content_counts, read_meta
from tests.helpers import minis

# Images 1, 3, 5, 7 of both splits; annotated are a person (0, 1, 20, 40) and an object (10, 4, 64, 48).
PERSON, OBJECT = [0.0, 1.0, 19.0, 39.0], [10.0, 4.0, 63.0, 47.0]
POSE = [value for k in range(17) for value in (1.0 + k, 2.0 + 2 * k, 0.8)]


def box(corners):
    return np.array(corners, np.float32)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    files = minis.hico_det(folder)
    pair = [1, 9, box(PERSON), box(OBJECT), [4], 5, np.array(0.75, np.float32), POSE]
    pickles = {
        "Trainval_Neg_HICO_with_pose.pkl": {1: [pair], 3: [[3, *pair[1:]]], 38118: [[38118, *pair[1:]]]},
        "Trainval_GT_HICO_with_pose.pkl": [[n, [4], box(PERSON), box(OBJECT), [], POSE] for n in (1, 3, 5)],
        "Test_Faster_RCNN_R-50-PFN_2x_HICO_DET_with_pose.pkl": {
            n: [
                [n, "Human", box(PERSON), np.nan, 1, np.float32(0.9), POSE],
                [n, "Object", box(OBJECT), np.nan, 5, np.float32(0.5), None],
                [n, "Object", box(OBJECT), np.nan, 6, np.float32(0.25), None],
            ]
            for n in (1, 3, 5, 7)
        },
    }
    for name, value in pickles.items():
        (folder / name).write_bytes(pickle.dumps(value, 2))
    return folder, [f"{split}={path}" for split, path in files.items()]


def run(disk, tmp_path, *options):
    folder, annotations = disk
    arguments = ["hico_det", "--images", str(folder / "images"), "--data-dir", str(tmp_path), "--annotations"]
    return build.main([*arguments, *annotations, *(text.replace("DISK", str(folder)) for text in options)])


def test_the_pickles_of_tin_fill_detections_and_poses(disk, tmp_path, capsys):
    options = (
        "--detections", "train=DISK/Trainval_Neg_HICO_with_pose.pkl",
        "test=DISK/Test_Faster_RCNN_R-50-PFN_2x_HICO_DET_with_pose.pkl",
        "--poses", "train=DISK/Trainval_GT_HICO_with_pose.pkl",
        "test=DISK/Test_Faster_RCNN_R-50-PFN_2x_HICO_DET_with_pose.pkl",
        "--part-boxes", "--detections-top", "2",
    )  # fmt: skip
    assert run(disk, tmp_path, *options) == 0
    printed = capsys.readouterr().out
    for line in (
        "detections Trainval_Neg_HICO_with_pose.pkl: 2 of 4 images of train have some, 2 have none",
        "detections Trainval_Neg_HICO_with_pose.pkl: 2 of the file's 3 images are in the dataset, 1 are not, such as "
        "38118",
        "poses Trainval_GT_HICO_with_pose.pkl: 3 of 4 images of train have some, 1 have none",
        "detections Test_Faster_RCNN_R-50-PFN_2x_HICO_DET_with_pose.pkl: 4 of 4 images of test have some, 0 have none",
        "hico_det train: of 4 annotated people 3 have a pose, 3 part boxes, 0 a face; "
        "of 2 detected people 2 a pose, 0 a face; 2 images have no detection",
        "hico_det test: of 3 annotated people 3 have a pose, 3 part boxes, 0 a face; "
        "of 4 detected people 4 a pose, 0 a face; 0 images have no detection",
    ):
        assert line in printed.splitlines(), line
    meta = read_meta(tmp_path / "hico_det")
    assert content_counts(meta, "train")["detections"] == 4 and content_counts(meta, "test")["detections"] == 8
    assert meta["settings"]["detections_kept"] == {"min_score": 0.0, "top": 2}
    first = next(RecordFiles(tmp_path / "hico_det", "test").numpy_records())
    np.testing.assert_array_equal(first["detections_xyxy_px"], [[0, 1, 20, 40], [10, 4, 64, 48]])
    np.testing.assert_array_equal(first["detections_xyxy_px"], first["instances_xyxy_px"])
    assert first["detections_class"].tolist() == [0, 4]  # person, airplane: COCO's first and fifth
    np.testing.assert_allclose(first["detections_score"], [0.9, 0.5])
    np.testing.assert_allclose(first["detections_keypoints_px"][0].ravel(), POSE, rtol=1e-6)
    np.testing.assert_allclose(first["instances_keypoints_px"][0].ravel(), POSE, rtol=1e-6)


def test_a_folder_of_detections_needs_no_split(disk, tmp_path, capsys):
    folder = tmp_path / "detections"
    for split, number in (("train", 1), ("test", 1), ("test", 3)):
        path = folder / f"{split}2015" / f"HICO_{split}2015_{number:08d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"boxes": [[0, 1, 20, 40]], "scores": [0.5 + number / 10], "labels": [49]}))
    assert run(disk, tmp_path, "--detections", str(folder)) == 0
    assert "detections detections: 2 of 4 images of test have some, 2 have none" in capsys.readouterr().out
    scores = [r["detections_score"].tolist() for r in RecordFiles(tmp_path / "hico_det", "test").numpy_records()]
    assert scores == [[pytest.approx(0.6)], [pytest.approx(0.8)], [], []]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--detections", "DISK/Test_Faster_RCNN_R-50-PFN_2x_HICO_DET_with_pose.pkl"),
            "its image 1 is 'HICO_train2015_00000001.jpg' as well as 'HICO_test2015_00000001.jpg'; give the split",
        ),
        (
            ("--detections", "val=DISK/Trainval_Neg_HICO_with_pose.pkl"),
            "detections for 'val'; the splits are train, test",
        ),
        (("--detections", "train=DISK/Trainval_GT_HICO_with_pose.pkl"), "has annotated pairs instead of detections"),
        (("--detections-top", "-1"), "top -1"),
        (("--detections", "train=DISK/absent.pkl"), "absent.pkl: no such file"),
    ],
)
def test_files_that_cannot_be_meant_stop_the_build(disk, tmp_path, capsys, options, message):
    assert run(disk, tmp_path, *options) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "hico_det").exists()


def test_files_of_another_dataset_stop_the_build(disk, tmp_path, capsys):
    rows = [{"image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5} for n in (328, 338, 357)]
    (tmp_path / "coco.json").write_text(json.dumps(rows))
    assert run(disk, tmp_path, "--detections", str(tmp_path / "coco.json")) == 2
    assert (
        "coco.json: none of its 3 images is in train or test; the file has 328, 338, the dataset "
        "'HICO_train2015_00000001.jpg', 'HICO_train2015_00000003.jpg'" in capsys.readouterr().err
    )


def test_side_inputs_that_a_build_has_no_use_for_are_refused(disk, tmp_path, capsys):
    folder, annotations = disk
    options = ["--labels-only", "--detections", "boxes.json", "--annotations", *annotations]
    assert build.main(["hico_det/labels", "--data-dir", str(tmp_path), *options]) == 2
    assert "--labels-only makes detections of the labels, so --detections cannot be used" in capsys.readouterr().err
    twice = ["--annotations", annotations[0], annotations[0], "--images", str(folder)]
    assert build.main(["hico_det", "--data-dir", str(tmp_path), *twice]) == 2
    assert "has two files for one split" in capsys.readouterr().err
