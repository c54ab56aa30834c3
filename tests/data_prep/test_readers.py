"""Readers of HICO-DET and V-COCO: files of exactly their layout, and the real annotations where they are."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from data_prep.annotated import annotated_source
from data_prep.builder import build
from data_prep.images import ImageFolder
from hoi_jax.data.records import RecordFiles
from hoi_jax.formats.labels.detect import open_labels
from hoi_jax.io import CorruptFileError, DataError, MissingFileError
from hoi_jax.vocab import get_vocabulary


def source_of(name, files, images, coco=()):
    opened = {split: open_labels(path, coco_instances=coco) for split, path in files.items()}
    return annotated_source(name, opened, images)


def make_image(folder, name, size=(64, 48)):
    stream = BytesIO()
    Image.new("RGB", size, (90, 120, 30)).save(stream, "JPEG")
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(stream.getvalue())


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def hico_file(tmp_path, **changes):
    make_image(tmp_path / "images", "HICO_test2015_00000001.jpg")
    make_image(tmp_path / "images", "HICO_test2015_00000003.jpg")
    table = {
        "filenames": ["HICO_test2015_00000001.jpg", "HICO_test2015_00000003.jpg"],
        "size": [[64, 48], [64, 48]],
        "annotation": [
            {"boxes_h": [[1, 1, 20, 30]], "boxes_o": [[11, 5, 64, 48]], "hoi": [0], "verb": [4], "object": [0]},
            {"boxes_h": [], "boxes_o": [], "hoi": [], "verb": [], "object": []},
        ],
        "correspondence": [],
    }
    return write(tmp_path / "instances.json", table | changes)


def test_hico_boxes_become_continuous_corners(tmp_path):
    source = source_of("hico_det", {"test": hico_file(tmp_path)}, tmp_path / "images")
    first, second = source.splits["test"][1]()
    np.testing.assert_array_equal(first["instances_xyxy_px"], [[0, 0, 20, 30], [10, 4, 64, 48]])
    verb, obj = get_vocabulary("hico_det").hois[0]
    assert first["pairs_verb"].tolist() == [verb] and first["instances_class"].tolist() == [0, obj]
    assert len(second["pairs_verb"]) == 0 and second["image_id"] == 1


@pytest.mark.parametrize(
    "annotation, message",
    [
        ({"boxes_h": [[1, 1, 2, 2]], "boxes_o": [[1, 1, 2, 2]], "hoi": [600]}, "field 'hoi'"),
        ({"boxes_h": [[5, 1, 2, 2]], "boxes_o": [[1, 1, 2, 2]], "hoi": [3]}, "x2 < x1"),
        ({"boxes_h": [[1, 1, 2]], "boxes_o": [[1, 1, 2, 2]], "hoi": [3]}, "malformed"),
        ({"boxes_h": []}, "malformed"),
    ],
)
def test_a_broken_hico_row_names_file_and_record(tmp_path, annotation, message):
    path = hico_file(tmp_path, annotation=[annotation, annotation])
    source = source_of("hico_det", {"test": path}, tmp_path / "images")
    with pytest.raises(CorruptFileError, match=message) as error:
        list(source.splits["test"][1]())
    assert "record 0 (HICO_test2015_00000001.jpg)" in str(error.value)


def test_a_missing_or_broken_image_is_named(tmp_path):
    path = hico_file(tmp_path)
    (tmp_path / "images" / "HICO_test2015_00000003.jpg").write_bytes(b"no image")
    source = source_of("hico_det", {"test": path}, tmp_path / "images")
    with pytest.raises(CorruptFileError, match="00000003"):
        list(source.splits["test"][1]())
    (tmp_path / "images" / "HICO_test2015_00000003.jpg").unlink()
    source = source_of("hico_det", {"test": path}, tmp_path / "images")
    with pytest.raises(MissingFileError, match="00000003"):
        list(source.splits["test"][1]())


def official_files(tmp_path):
    """Two people in one image: one hits a ball with a bat, the other stands; a third has no labels."""
    vocabulary = get_vocabulary("vcoco")
    actions = []
    for name, roles in zip(vocabulary.actions, vocabulary.action_roles, strict=True):
        label = [int(name == "hit"), int(name == "stand")]
        per_role = [[{"instr": 13, "obj": 14}[r] if name == "hit" else 0, 0] for r in roles]
        actions.append(
            {
                "action_name": name,
                "role_name": ["agent", *roles],
                "include": [[]] * (1 + len(roles)),
                "image_id": [7, 7],
                "ann_id": [11, 12],
                "label": label,
                "role_object_id": [11, 12, *[i for ids in per_role for i in ids]],
            }
        )
    boxes = {11: [1, 2, 10, 20], 12: [20, 2, 10, 20], 13: [8, 2, 5, 5], 14: [15, 2, 3, 3], 15: [40, 1, 5, 9]}
    category = {11: 1, 12: 1, 13: 39, 14: 37, 15: 1}
    coco = {
        "images": [{"id": 7, "file_name": "COCO_val2014_000000000007.jpg", "width": 64, "height": 48}],
        "annotations": [{"id": i, "image_id": 7, "bbox": box, "category_id": category[i]} for i, box in boxes.items()],
    }
    make_image(tmp_path / "images", "COCO_val2014_000000000007.jpg")
    return write(tmp_path / "vcoco.json", actions), write(tmp_path / "instances.json", coco)


def test_official_vcoco_keeps_every_person_role_and_unlabelled_person(tmp_path):
    vocabulary = get_vocabulary("vcoco")
    labels, coco = official_files(tmp_path)
    source = source_of("vcoco", {"test": labels}, tmp_path / "images", [coco])
    (record,) = source.splits["test"][1]()
    np.testing.assert_array_equal(record["instances_xyxy_px"][0], [1, 2, 11, 22])
    assert [vocabulary.objects[c] for c in record["instances_class"]] == [
        "person", "person", "baseball_bat", "sports_ball", "person",
    ]  # fmt: skip
    assert record["persons_instance"].tolist() == [0, 1]
    hit = vocabulary.actions.index("hit")
    assert record["persons_actions"][:, hit].tolist() == [1, 0]
    assert record["persons_roles"][0, hit].tolist() == [2, 3]  # instr, obj
    rows = zip(record["pairs_human"], record["pairs_object"], record["pairs_verb"], strict=True)
    names = {(int(h), int(o), vocabulary.verbs[v]) for h, o, v in rows}
    assert names == {(0, 2, "hit_instr"), (0, 3, "hit_obj"), (1, -1, "stand")}


def test_official_vcoco_without_coco_boxes_says_what_is_missing(tmp_path):
    labels, _ = official_files(tmp_path)
    with pytest.raises(DataError, match="--coco-instances"):
        open_labels(labels)


def test_the_real_photographs_build_and_read_back(data_dir, tmp_path):
    folder = data_dir / "vcoco_mini"
    source = source_of("vcoco/mini", {"union": folder / "vcoco_mini.json"}, folder / "images")
    directory = build(source, tmp_path)
    files = RecordFiles(directory, "union")
    assert files.num_examples == 30
    assert sum(len(r["pairs_verb"]) > 0 for r in files.numpy_records()) == 26
    assert build(source, tmp_path) == directory  # a finished build is kept


def test_images_are_found_by_name_below_the_folder(tmp_path):
    make_image(tmp_path / "deep", "a.jpg")
    assert "a.jpg" in ImageFolder(tmp_path)
    data, hw = ImageFolder(tmp_path).read("a.jpg")
    assert hw == (48, 64) and data[:2] == b"\xff\xd8"
