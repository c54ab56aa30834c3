"""Detections files: numbering, look-up by image, and errors that name the entry."""

import json
from pathlib import Path

import numpy as np
import pytest

from hoi_jax.data.coco_results import Choice, DetectionFile, category_classes
from hoi_jax.data.image_rows import image_number
from hoi_jax.io import DataError
from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS
from tests.helpers.paths import ROOT

SCENES = get_vocabulary("hoi_scenes")
GOOD = {"image_id": 328, "category_id": 0, "bbox": [10, 20, 30, 40], "score": 0.5}


def load(tmp_path, content, vocabulary=SCENES):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    return DetectionFile(path, vocabulary)


def test_coco_numbers_are_1_to_90_without_the_ten_that_coco_left_out():
    left_out = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # street sign, hat, shoe, ... of the COCO paper's list of 91
    assert set(COCO_CATEGORY_IDS) == set(range(1, 91)) - left_out
    assert list(COCO_CATEGORY_IDS) == sorted(COCO_CATEGORY_IDS) and len(COCO_CATEGORY_IDS) == 80


@pytest.mark.parametrize("name", ["hico_det", "vcoco"])
def test_coco_vocabularies_use_coco_numbers(name):
    vocabulary = get_vocabulary(name)
    classes = category_classes(vocabulary)
    for number, word in ((1, "person"), (13, "stop"), (18, "dog"), (44, "bottle"), (90, "toothbrush")):
        assert vocabulary.objects[classes[number]].startswith(word)


def test_other_vocabularies_use_the_class_itself():
    assert category_classes(SCENES) == {i: i for i in range(len(SCENES.objects))}


@pytest.mark.parametrize(
    ("name", "number"), [("COCO_val2014_000000000328.jpg", 328), ("12.png", 12), ("dog.png", None), ("a1b.png", None)]
)
def test_image_number_is_at_the_end_of_the_name(name, number):
    assert image_number(Path(name)) == number


def test_boxes_become_corners_and_keypoints_rows(tmp_path):
    keypoints = [float(n % 3 != 2) * n + (n % 3 == 2) * 0.9 for n in range(51)]
    columns = load(tmp_path, [{**GOOD, "keypoints": keypoints}, GOOD]).of(Path("x/COCO_val2014_000000000328.jpg"))
    np.testing.assert_array_equal(columns["xyxy_px"], [[10, 20, 40, 60]] * 2)
    np.testing.assert_allclose(columns["keypoints_px"][0, 1], [3, 4, 0.9], rtol=1e-6)
    assert not columns["keypoints_px"][1].any()
    assert columns["score"].tolist() == [0.5, 0.5] and columns["class"].tolist() == [0, 0]


@pytest.mark.parametrize("key", [{"file_name": "dir/dog.png"}, {"image_id": "dog"}, {"image_id": "dog.png"}])
def test_an_image_is_found_by_name(tmp_path, key):
    entry = {k: v for k, v in GOOD.items() if k != "image_id"} | key
    found = load(tmp_path, [entry])
    assert len(found.of(Path("dog.png"))["score"]) == 1
    assert len(found.of(Path("cat.png"))["score"]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 99}, "unknown 'category_id' 99; the 15 categories of 'hoi_scenes' are numbered 0 to 14"),
        ({"category_id": "person"}, "unknown 'category_id' 'person'"),
        ({"category_id": [1]}, "unknown 'category_id'"),
        ({"bbox": [1, 2, 3]}, "expected 4 finite numbers"),
        ({"bbox": [1, 2, float("nan"), 3]}, "expected 4 finite numbers"),
        ({"bbox": [1, 2, 10**400, 3]}, "expected 4 finite numbers"),
        ({"bbox": [1, 2, 0, 3]}, "'bbox' has width 0"),
        ({"bbox": "left"}, "expected 4 finite numbers"),
        ({"score": 1.5}, "'score' is 1.5"),
        ({"score": None}, "'score' is None"),
        ({"keypoints": [1, 2, 3]}, "expected 51 finite numbers"),
        ({"image_id": None}, "neither 'image_id' nor 'file_name'"),
    ],
)
def test_a_bad_entry_is_named_by_its_position(tmp_path, change, message):
    with pytest.raises(DataError, match="boxes.json: detection 1: ") as error:
        load(tmp_path, [GOOD, {**GOOD, **change}])
    assert message in str(error.value)


@pytest.mark.parametrize("content", [{"annotations": []}, 3, "x"])
def test_a_file_that_holds_no_list_is_refused(tmp_path, content):
    with pytest.raises(DataError, match="expected a list"):
        load(tmp_path, content)


def test_an_entry_that_is_no_group_is_refused(tmp_path):
    with pytest.raises(DataError, match="detection 0: is 3"):
        load(tmp_path, [3])


def test_detectron2s_own_file_numbers_classes_from_zero_where_its_json_has_cocos_numbers(tmp_path):
    vocabulary = get_vocabulary("hico_det")
    saved = DetectionFile(ROOT / "tests" / "serialization" / "detectron2" / "instances_predictions.pth", vocabulary)
    found = saved.of(Path("COCO_val2014_000000000042.jpg"))
    assert [vocabulary.objects[n] for n in found["class"]] == ["person", "bicycle", "toothbrush"]
    np.testing.assert_allclose(found["score"], [0.9, 0.75, 0.5])
    np.testing.assert_array_equal(found["xyxy_px"][0], [10, 20, 40, 60])
    assert not len(saved.of(Path("43.jpg"))["score"])
    rows = [{"image_id": 42, "category_id": n, "bbox": [1, 1, 2, 3], "score": 0.5} for n in (1, 2, 90)]
    listed = load(tmp_path, rows, vocabulary).of(Path("42.jpg"))
    np.testing.assert_array_equal(listed["class"], found["class"])


def test_the_strongest_people_and_objects_stay_in_the_order_of_the_file():
    score = np.array([0.9, 0.2, 0.8, 0.7, 0.6, 0.95, 0.5, 0.1])
    person = np.array([1, 1, 1, 1, 1, 0, 0, 0], bool)
    assert Choice().rows(score, person).tolist() == list(range(8))
    assert Choice(min_score=0.5).rows(score, person).tolist() == [0, 2, 3, 4, 5, 6]
    assert Choice(top=4).rows(score, person).tolist() == [0, 2, 5, 6]  # 0.8 and 0.9; 0.95 and 0.5
    assert Choice(top=7).rows(score, person).tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert Choice(min_score=0.65, top=3).rows(score, person).tolist() == [0, 2, 5]  # One object: people fill up.
    assert Choice(top=4).rows(score[:3], person[:3]).tolist() == [0, 1, 2]
    # Few people leave their places to objects.
    assert Choice(top=4).rows(score[3:], np.array([1, 0, 0, 0, 0], bool)).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="min_score is 2"):
        Choice(min_score=2)


def test_a_choice_is_made_in_every_image(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{**GOOD, "score": s} for s in (0.3, 0.9, 0.5)]))
    columns = DetectionFile(path, SCENES, Choice(min_score=0.4)).of(Path("328.jpg"))
    assert columns["score"].tolist() == pytest.approx([0.9, 0.5]) and columns["keypoints_px"].shape == (2, 17, 3)


def test_the_people_of_alphapose_are_detections_with_poses(tmp_path):
    joints = [value for k in range(26) for value in (10.0 + k, 20.0 + k, 1.02 if k == 0 else 0.5)]
    row = {"image_id": "COCO_val2014_000000000328.jpg", "category_id": 1, "keypoints": joints, "score": 2.9}
    found = load(tmp_path, [{**row, "box": [5, 6, 30, 40]}], get_vocabulary("vcoco"))
    columns = found.of(Path("a/COCO_val2014_000000000328.jpg"))
    assert columns["xyxy_px"].tolist() == [[5, 6, 35, 46]] and columns["class"].tolist() == [0]
    assert columns["score"].tolist() == [pytest.approx((1 + 16 * 0.5) / 17)]
    assert columns["keypoints_px"][0, :2].tolist() == [[10, 20, 1], [11, 21, 0.5]]
    with pytest.raises(DataError, match="detection 0: 'bbox' is None"):
        load(tmp_path, [row], get_vocabulary("vcoco"))
    with pytest.raises(DataError, match="detection 0: 'keypoints' is"):
        load(tmp_path, [{**row, "box": [5, 6, 30, 40], "keypoints": [None] * 51}], get_vocabulary("vcoco"))
