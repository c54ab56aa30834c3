"""V-COCO labels: official tables with COCO boxes, pair lists and flat arrays; broken ones are refused by name."""

import gzip
import json

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.scorer import evaluate_files
from hoi_jax.formats.labels.detect import read_annotations
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS, VCOCO


def write_json(path, value, zipped=False):
    data = json.dumps(value).encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def coco_of_flat(flat):
    """COCO's instances layout with the boxes of a flat V-COCO file, in images that hold all of them."""
    corners = flat["ann_xyxy"]
    side = int(np.ceil(corners.max())) + 1
    rows = zip(flat["ann_id"], flat["ann_image"], flat["ann_category"], corners, strict=True)
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": side, "height": side} for i in flat["image_ids"].tolist()
        ],
        "annotations": [
            {
                "id": int(number),
                "image_id": int(image),
                "category_id": COCO_CATEGORY_IDS[category - 1],
                "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
            }
            for number, image, category, box in rows
        ],
    }


def test_the_official_vcoco_tables_with_coco_boxes_give_the_golden_scores(golden_dir, data_dir, tmp_path):
    """The label table is the real one; the golden run read it too, its boxes are those of the flat file."""
    flat = io.read_npz(golden_dir / "vcoco_eval_val_gt.npz")
    coco = write_json(tmp_path / "instances.json", coco_of_flat(flat))
    expected = io.read_npz(golden_dir / "vcoco_eval_val_results.npz")
    result = evaluate_files(
        golden_dir / "vcoco_eval_val_preds.npz", data_dir / "vcoco_official_val.json.gz", coco_instances=[coco]
    )
    np.testing.assert_allclose(result.per_class["agent/ap"], expected["official/agent_ap"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(result.per_class["num_positives"], expected["official/npos"])


def test_official_vcoco_without_boxes_says_what_is_missing(data_dir):
    with pytest.raises(io.DataError, match="give --coco-instances"):
        read_annotations(data_dir / "vcoco_official_val.json.gz")


@pytest.mark.parametrize("split, pairs", [("train", 6400), ("val", 7417), ("test", 12402)])
def test_vcoco_pair_files_are_read_and_their_sizes_are_unknown(data_dir, split, pairs):
    labels = read_annotations(data_dir / f"vcoco_instances_{split}.json.gz")
    assert labels.vocabulary_name == labels.actions_vocabulary_name == "vcoco"
    assert not labels.original_hw_px.any()
    with_object = int((labels["pairs_object"] >= 0).sum())
    assert 0.9 * pairs < with_object <= pairs  # a person has one object per role; the file may list several


def flat_truth():
    label = np.zeros((1, 26), np.int8)
    roles = np.zeros((1, 26, 2), np.int64)
    hold = VCOCO.actions.index("hold")
    label[0, hold], roles[0, hold, 0] = 1, 12
    return {
        "image_ids": np.array([7, 9]),
        "ann_id": np.array([11, 12, 13]),
        "ann_image": np.array([9, 9, 9]),
        "ann_category": np.array([1, 40, 1]),
        "ann_xyxy": np.array([[0, 0, 9, 9], [3, 3, 8, 8], [1, 1, 4, 4.0]]),
        "person_ann_id": np.array([11]),
        "person_image": np.array([9]),
        "label": label,
        "role_ann_id": roles,
    }


def test_flat_vcoco_keeps_unlabelled_people_and_empty_images(tmp_path):
    np.savez(tmp_path / "gt.npz", **flat_truth())
    split = read_annotations(tmp_path / "gt.npz")
    assert split.image_id.tolist() == [7, 9] and split.counts["instances"].tolist() == [0, 3]
    assert split.counts["persons"].tolist() == [0, 1] and split["persons_instance"].tolist() == [0]
    hold = VCOCO.actions.index("hold")
    assert split["persons_roles"][0, hold].tolist() == [1, -1]
    assert VCOCO.objects[split["instances_class"][1]] == "bottle"


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("person_image", np.array([7]), "'person_ann_id': annotation 11 is in another image"),
        ("ann_image", np.array([9, 7, 9]), "'role_ann_id': annotation 12 is in another image"),
        ("person_ann_id", np.array([99]), "person annotation 99 is unknown"),
        ("ann_image", np.array([9, 9, 8]), "image 8 is unknown"),
        ("ann_category", np.array([1, 81, 1]), "'ann_category'"),
        ("ann_xyxy", np.zeros((3, 3)), "'ann_xyxy'"),
        ("label", np.zeros((1, 25), np.int8), "'label'"),
        ("label", np.zeros((2, 26), np.int8), "different lengths"),
        ("ann_id", np.array([1.5, 2, 3]), "'ann_id' has dtype float64"),
    ],
)
def test_broken_flat_vcoco_names_file_and_field(tmp_path, field, value, message):
    np.savez(tmp_path / "gt.npz", **flat_truth() | {field: value})
    with pytest.raises(io.DataError, match=message) as error:
        read_annotations(tmp_path / "gt.npz")
    assert "gt.npz" in str(error.value)


def test_a_role_without_its_annotation_is_refused(tmp_path):
    truth = flat_truth()
    truth["role_ann_id"][0, 0, 0] = 44
    np.savez(tmp_path / "gt.npz", **truth)
    with pytest.raises(io.DataError, match="gt.npz: role annotation 44 is unknown"):
        read_annotations(tmp_path / "gt.npz")


def pair_table(**changes):
    """Two images of the pair layout: a person holds a bottle; nothing."""
    row = {"boxes_h": [[0, 0, 9, 9]], "boxes_o": [[1, 1, 5, 5]], "actions": [0], "objects": [40]}
    empty = {name: [] for name in row}
    rows = [{**empty, "file_name": "COCO_val2014_000000000003.jpg"}]
    rows += [{**row, "file_name": "COCO_val2014_000000000007.jpg", **changes}]
    return {"annotations": rows, "classes": ["hold obj", "sit instr"], "images": [3, 7]}


def test_vcoco_pairs_by_split_become_one_split(tmp_path):
    table = pair_table()
    whole = read_annotations(write_json(tmp_path / "a.json", table))
    assert whole.image_id.tolist() == [3, 7]
    assert VCOCO.objects[whole["instances_class"][whole.instance_rows("pairs_object")[0]]] == "bottle"
    # Two of the 26 actions are listed: they are known, the others are not.
    assert (whole["persons_actions"] >= 0).sum() == 2 and (whole["persons_actions"] == 1).sum() == 1
    rows = table["annotations"]
    by_split = table | {"annotations": {"val": rows[:1], "test": rows[1:]}}
    assert read_annotations(write_json(tmp_path / "b.json", by_split)).fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    "table, message",
    [
        (pair_table(objects=[81]), "record 1.*'objects' refers to a class"),
        (pair_table(objects=[0]), "record 1.*'objects' refers to a class"),
        (pair_table(actions=[2]), "record 1.*'actions' refers to a class"),
        (pair_table(actions=[0.5]), "record 1.*whole number"),
        (pair_table(actions=[0, 1]), "record 1.*different lengths"),
        (pair_table(boxes_o=[[1, 1, 5, None]]), "record 1.*not finite"),
        (pair_table(boxes_h=[[1, 1, 5]]), "record 1.*malformed"),
        (pair_table(file_name="image.jpg"), "record 1.*without a number"),
        (pair_table() | {"annotations": [3]}, "field 'annotations'"),
        (pair_table() | {"annotations": {"val": 3}}, "field 'annotations'"),
        (pair_table() | {"classes": ["hold", "sit instr"]}, "unknown class 'hold'"),
        (pair_table() | {"classes": 3}, "field 'classes'"),
    ],
)
def test_broken_vcoco_pairs_name_file_record_and_field(tmp_path, table, message):
    with pytest.raises(io.CorruptFileError, match=message) as error:
        read_annotations(write_json(tmp_path / "pairs.json", table))
    assert "pairs.json" in str(error.value)


def official_tables():
    """One labelled person in image 7, who stands; another without labels."""
    actions = [
        {
            "action_name": name,
            "role_name": ["agent", *roles],
            "image_id": [7],
            "ann_id": [11],
            "label": [int(name == "stand")],
            "role_object_id": [11] + [0] * len(roles),
        }
        for name, roles in zip(VCOCO.actions, VCOCO.action_roles, strict=True)
    ]
    boxes = [{"id": i, "image_id": 7, "category_id": 1, "bbox": [i, 2, 30, 20]} for i in (11, 12)]
    return actions, {"images": [{"id": 7, "file_name": "x/7.jpg", "width": 64, "height": 48}], "annotations": boxes}


def changed(path, value):
    """The tables with the entry at `path` set: ("actions", 0, "label") or ("coco", "images", 0, ...)."""
    actions, coco = official_tables()
    target = {"actions": actions, "coco": coco}
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    return actions, coco


def test_official_vcoco_keeps_people_without_labels(tmp_path):
    actions, coco = official_tables()
    labels, boxes = write_json(tmp_path / "v.json", actions), write_json(tmp_path / "i.json", coco)
    split = read_annotations(labels, coco_instances=[boxes])
    assert split.file_name.tolist() == ["7.jpg"] and split.original_hw_px.tolist() == [[48, 64]]
    assert split["instances_annotation_id"].tolist() == [11, 12] and split["persons_instance"].tolist() == [0]
    np.testing.assert_array_equal(split["instances_xyxy_px"][0], [11, 2, 41, 22])
    assert VCOCO.actions[int(np.flatnonzero(split["persons_actions"][0])[0])] == "stand"


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("actions", 3, "action_name"), "fly", "v.json: is not in the official V-COCO layout .*'ride'"),
        (("actions", 2, "label"), [1, 0], "v.json: is not in the official"),
        (("actions", 2, "label"), [2], "v.json: field 'label'"),
        (("actions", 0, "image_id"), [7, 7], "v.json: fields 'label', 'image_id'"),
        (("actions", 0, "ann_id"), [13], "image 7 lacks the annotations"),
        (("actions", 0, "image_id"), [8], "image 8 of V-COCO is absent"),
        (("coco", "annotations", 0, "category_id"), 12, "image 7: malformed"),
        (("coco", "annotations", 0, "bbox"), [1, 2, 3], "image 7: malformed"),
        (("coco", "annotations", 0, "bbox"), [1, 2, 3, None], "image 7: malformed .*not finite"),
        (("coco", "images", 0, "width"), None, "image 7: no height and width"),
        (("coco", "images"), [{}], "i.json: is not in COCO's instances layout"),
        (("coco", "annotations"), 3, "i.json: is not in COCO's instances layout"),
    ],
)
def test_broken_official_vcoco_names_what_is_wrong(tmp_path, path, value, message):
    actions, coco = changed(path, value)
    labels, boxes = write_json(tmp_path / "v.json", actions), write_json(tmp_path / "i.json", coco)
    with pytest.raises(io.DataError, match=message):
        read_annotations(labels, coco_instances=[boxes])
