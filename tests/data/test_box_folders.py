"""Folders with one JSON file of detections per image, and which images of files and datasets belong together."""

import json
from pathlib import Path

import numpy as np
import pytest

from hoi_jax.data.box_folders import label_classes
from hoi_jax.data.coco_results import DetectionFile
from hoi_jax.data.image_rows import ImageRows
from hoi_jax.io import DataError
from hoi_jax.vocab import get_vocabulary

HICO, VCOCO, SCENES = (get_vocabulary(name) for name in ("hico_det", "vcoco", "hoi_scenes"))
# Of `coco80tohico80.json` in fredzzhang/hicodet: COCO's 1 to 80 -> label.
PUBLISHED_LABELS = {1: 49, 2: 9, 3: 18, 4: 44, 5: 0, 40: 13, 42: 26, 48: 1, 62: 70, 25: 2, 23: 79}
CUP, PERSON = 26, 49
GOOD = {"boxes": [[1.5, 2, 30, 40], [3, 4, 5, 6.5]], "scores": [0.75, 0.5], "labels": [PERSON, CUP]}


def write(folder, name="test2015/HICO_test2015_00000001.json", **changes):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**GOOD, **changes}))
    return folder


def test_labels_are_alphabetical_on_hico_det_and_cocos_on_vcoco():
    classes = label_classes(HICO)
    assert {coco: classes[label] for coco, label in PUBLISHED_LABELS.items()} == {n: n - 1 for n in PUBLISHED_LABELS}
    assert sorted(classes.values()) == sorted(classes) == list(range(80))
    objects = label_classes(VCOCO)
    assert VCOCO.objects[objects[1]] == "person" and VCOCO.objects[objects[80]] == "toothbrush" and len(objects) == 80
    with pytest.raises(DataError, match="not of 'hoi_scenes'"):
        label_classes(SCENES)


def test_every_image_has_its_file(tmp_path):
    write(tmp_path)
    write(tmp_path, "train2015/HICO_train2015_00000001.json", boxes=[], scores=[], labels=[])
    file = DetectionFile(tmp_path, HICO)
    found = file.of(Path("images/HICO_test2015_00000001.jpg"))
    np.testing.assert_array_equal(found["xyxy_px"], GOOD["boxes"])
    assert [HICO.objects[n] for n in found["class"]] == ["person", "cup"] and found["score"].tolist() == [0.75, 0.5]
    assert found["keypoints_px"].shape == (2, 17, 3) and not found["keypoints_px"].any()
    assert not len(file.of(Path("HICO_train2015_00000001.jpg"))["score"])
    assert not len(file.of(Path("HICO_train2015_00000002.jpg"))["score"])


def test_boxes_of_a_resized_image_are_scaled_back(tmp_path):
    """h_detr_cache.py: "size" is height and width of the resized image."""
    file = DetectionFile(write(tmp_path, size=[80, 120]), HICO)
    name = Path("HICO_test2015_00000001.jpg")
    np.testing.assert_allclose(file.of(name, (40, 30))["xyxy_px"], [[0.375, 1, 7.5, 20], [0.75, 2, 1.25, 3.25]])
    with pytest.raises(DataError, match="only a build has the original sizes"):
        file.of(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [PERSON, 80]}, "label 80 is not one of 0 to 79"),
        ({"labels": [PERSON, 1.5]}, "label 1.5"),
        ({"labels": [PERSON, -1]}, "label -1"),
        ({"labels": [PERSON]}, "2 boxes, 2 scores and 1 labels"),
        ({"scores": [0.5, 1.25]}, "'scores' are not all in"),
        ({"scores": [0.5, float("nan")]}, "'scores' are not all in"),
        ({"boxes": [[1, 2, 3, float("nan")]] * 2}, "not finite"),
        ({"boxes": [[1, 2, 3, 1e300]] * 2}, "beyond 1000000"),
        ({"boxes": [[1, 2, 3]] * 2}, "reshape|boxes"),
        ({"boxes": "left"}, "left"),
        ({"size": [0, 3]}, "'size' is"),
        ({"size": [3]}, "unpack"),
    ],
)
def test_a_bad_file_is_named(tmp_path, change, message):
    with pytest.raises(DataError, match=f"HICO_test2015_00000001.json: .*({message})"):
        DetectionFile(write(tmp_path, **change), HICO)


def test_folders_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(DataError, match="no JSON files of detections"):
        DetectionFile(tmp_path, HICO)
    write(tmp_path, labels=[0, 41])
    with pytest.raises(DataError, match="none of its files has a person, so labels may be in COCO's order"):
        DetectionFile(tmp_path, HICO)
    write(tmp_path)
    write(tmp_path, "test2015_gt/HICO_test2015_00000001.json")
    with pytest.raises(DataError, match="are for the same image"):
        DetectionFile(tmp_path, HICO)
    (tmp_path / "test2015_gt" / "HICO_test2015_00000001.json").write_text("[1]")
    (tmp_path / "test2015" / "HICO_test2015_00000001.json").unlink()
    with pytest.raises(DataError, match="expected 'boxes', 'scores' and 'labels'"):
        DetectionFile(tmp_path, HICO)


def table(*keys):
    rows = ImageRows()
    for key in keys:
        rows.add(key, "row")
    return rows


def test_a_join_counts_both_sides():
    names = {"train": ["COCO_train2014_000000000009.jpg", "b.jpg"], "test": ["COCO_val2014_000000000042.jpg"]}
    join = table(9, 42, 77, "nobody.jpg").join(names, "boxes.json")
    assert (join.images, join.found) == ({"train": 2, "test": 1}, {"train": 1, "test": 1})
    assert (join.keys, join.unknown) == (4, (77, "nobody.jpg"))
    assert join.lines("detections boxes.json") == [
        "detections boxes.json: 1 of 2 images of train have some, 1 have none",
        "detections boxes.json: 1 of 1 images of test have some, 0 have none",
        "detections boxes.json: 2 of the file's 4 images are in the dataset, 2 are not, such as 77",
    ]


def test_files_of_other_images_are_an_error_that_shows_names():
    with pytest.raises(DataError) as error:
        table(5, "x.jpg", "y").join({"train": ["a_1.jpg", "b_2.jpg", "c_3.jpg"], "val": []}, "boxes.json")
    assert str(error.value) == (
        "boxes.json: none of its 3 images is in train or val; the file has 5, 'x.jpg', the dataset 'a_1.jpg', 'b_2.jpg'"
    )
    with pytest.raises(DataError, match="boxes.json: has no rows"):
        table().join({"train": ["a.jpg"]}, "boxes.json")


def test_a_number_that_is_the_end_of_two_names_is_refused():
    names = {"train": ["HICO_train2015_00000001.jpg"], "test": ["HICO_test2015_00000001.jpg"]}
    with pytest.raises(
        DataError, match=r"image 1 is 'HICO_train.*' as well as 'HICO_test.*'; give the split .*test=FILE"
    ):
        table(1).join(names, "boxes.pkl")
    assert table(1).join({"test": names["test"]}, "boxes.pkl").found == {"test": 1}
    # The same image in two splits, as in V-COCO's train and trainval, is one image.
    assert table(1).join({"train": names["train"], "trainval": names["train"]}, "b").found == {
        "train": 1,
        "trainval": 1,
    }
    assert table("HICO_train2015_00000001").join(names, "folder").found == {"train": 1, "test": 0}
