"""Labels written in one layout and read again are equal in all that the layout can say."""

import json

import numpy as np
import pytest

from data_prep import convert
from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.formats.labels.detect import open_table
from hoi_jax.formats.labels.rows import instance_columns, pair_columns, persons_and_pairs, record_of
from hoi_jax.formats.labels.vcoco import CocoInstances
from hoi_jax.formats.labels.writers import LAYOUTS, CannotWriteError, write
from hoi_jax.vocab import get_vocabulary
from tests.helpers import minis


def boxes(random, count):
    low = random.integers(0, 100, (count, 2)) + random.integers(0, 4, (count, 2)) / 4
    return np.concatenate([low, low + random.integers(1, 100, (count, 2)) + random.integers(0, 4, (count, 2)) / 4], 1)


def hico_labels(seed=0, images=12):
    """Every pair with boxes of its own, as in HICO-DET; part states of some."""
    vocabulary, random = get_vocabulary("hico_det"), np.random.default_rng(seed)
    records = []
    for n in range(images):
        count = int(random.integers(0, 5)) if n else 0
        hoi = random.integers(0, 600, count)
        verb, obj = np.asarray(vocabulary.hois)[hoi].reshape(-1, 2).T
        classes = np.stack([np.full(count, vocabulary.human_class), obj], 1).reshape(-1)
        columns = instance_columns(np.round(boxes(random, 2 * count)), classes)
        rows = np.arange(0, 2 * count, 2)
        columns |= pair_columns(rows, rows + 1, verb)
        acts = random.integers(0, 2, (count, 10)).astype(np.int32)
        columns["pairs_part_states"] = np.where(acts.any(1, keepdims=True), acts, -1)
        name = f"HICO_test2015_{2 * n + 1:08d}.jpg"
        records.append(record_of(n, name, (480, 640) if count else (0, 0), columns, 1))
    return Annotations.from_records(records, "hico_det")


def vcoco_labels(seed=0, images=8):
    vocabulary, random = get_vocabulary("vcoco"), np.random.default_rng(seed)
    records = []
    for n in range(images):
        people, objects = int(random.integers(1, 4)), int(random.integers(1, 4))
        classes = np.r_[np.zeros(people, int), random.integers(1, 80, objects)]
        actions = (random.random((people, 26)) < 0.3).astype(np.int32)
        actions[:, 0] = 1
        roles = np.full((people, 26, 2), -1, np.int32)
        for action, names in enumerate(vocabulary.action_roles):
            for slot in range(len(names)):
                seen = (actions[:, action] == 1) & (random.random(people) < 0.7)
                roles[seen, action, slot] = random.integers(0, people + objects, seen.sum())
        numbers = 1000 * n + np.arange(people + objects) + 1
        columns = instance_columns(boxes(random, len(classes)), classes, numbers)
        columns |= persons_and_pairs(np.arange(people, dtype=np.int32), actions, roles, vocabulary)
        name = f"COCO_val2014_{7 * n + 3:012d}.jpg"
        records.append(record_of(7 * n + 3, name, (480, 640), columns, 26))
    return Annotations.from_records(records, "vcoco", "vcoco")


def pairs_of(annotations, keep=lambda verb, obj: True):
    """Image -> sorted (human box, object box or None, class, verb), duplicates kept."""
    found = {str(name): [] for name in annotations.file_name}
    image = annotations.image_rows("pairs")
    human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
    box, label = annotations["instances_xyxy_px"], annotations["instances_class"]
    for row, verb in enumerate(annotations["pairs_verb"].tolist()):
        target = None if obj[row] < 0 else (tuple(box[obj[row]].tolist()), int(label[obj[row]]))
        if keep(verb, target):
            pair = (tuple(box[human[row]].tolist()), target, verb)
            found[str(annotations.file_name[image[row]])].append(pair)
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def again(annotations, layout, tmp_path):
    """Through the text of a JSON file."""
    table = json.loads(json.dumps(write(annotations, layout)))
    if layout != "vcoco_official":
        return open_table(table, "written.json").annotations()
    path = tmp_path / "coco.json"
    io.write_json_atomic(path, table["coco"])
    return open_table(table["actions"], "written.json", coco_instances=[path]).annotations()


@pytest.mark.parametrize("layout", ["hico_json", "hake", "hoi_a", "own"])
def test_hico_pairs_come_back_from_every_layout(layout, tmp_path):
    labels = hico_labels()
    back = again(labels, layout, tmp_path)
    assert back.vocabulary_name == "hico_det"
    assert pairs_of(back) == pairs_of(labels)
    assert [str(name) for name in back.file_name] == [str(name) for name in labels.file_name]
    sizes = {str(n): tuple(s) for n, s in zip(back.file_name, back.original_hw_px.tolist(), strict=True)}
    assert sizes == {str(n): tuple(s) for n, s in zip(labels.file_name, labels.original_hw_px.tolist(), strict=True)}
    if layout in ("hake", "own"):
        np.testing.assert_array_equal(back["pairs_part_states"], labels["pairs_part_states"])
    else:
        assert "part states" in LAYOUTS[layout].cannot


def test_a_chain_through_all_hico_layouts_ends_where_it_began(tmp_path):
    labels = hico_labels(1)
    last = labels
    for layout in ("own", "hoi_a", "hake", "hico_json", "hake", "own", "hico_json"):
        last = again(last, layout, tmp_path)
    assert pairs_of(last) == pairs_of(labels)


@pytest.mark.parametrize("layout", ["hoi_a", "own", "vcoco_official"])
def test_vcoco_pairs_people_and_roles_come_back(layout, tmp_path):
    labels = vcoco_labels()
    back = again(labels, layout, tmp_path)
    assert pairs_of(back) == pairs_of(labels)
    np.testing.assert_array_equal(back["instances_xyxy_px"], labels["instances_xyxy_px"])
    np.testing.assert_array_equal(back["instances_class"], labels["instances_class"])
    np.testing.assert_array_equal(back.image_id, labels.image_id)
    if layout != "own":  # It has no table of people, as it says.
        np.testing.assert_array_equal(back["persons_actions"], labels["persons_actions"])
        np.testing.assert_array_equal(back["persons_roles"], labels["persons_roles"])
    if layout == "vcoco_official":
        np.testing.assert_array_equal(back["instances_annotation_id"], labels["instances_annotation_id"])


def test_vcoco_pair_files_keep_exactly_the_pairs_with_an_object(tmp_path):
    vocabulary, labels = get_vocabulary("vcoco"), vcoco_labels(2)
    back = again(labels, "vcoco_pairs", tmp_path)

    def said(verb, target):
        return target is not None and not vocabulary.verbs[verb].startswith("point")

    assert pairs_of(back, said) == pairs_of(labels, said)
    assert sum(map(len, pairs_of(labels).values())) > sum(map(len, pairs_of(labels, said).values()))


def test_real_labels_survive_a_chain_of_layouts(data_dir, tmp_path):
    labels = open_table(io.read_json(data_dir / "vcoco_instances_val.json.gz"), "val").annotations()
    labels = labels.select(np.arange(labels.num_images) < 200)
    back = again(again(again(labels, "own", tmp_path), "hoi_a", tmp_path), "vcoco_pairs", tmp_path)
    seen = pairs_of(labels, lambda verb, target: target is not None)
    assert {name: rows for name, rows in pairs_of(back, lambda v, t: t is not None).items()} == seen
    assert sum(map(len, seen.values())) > 400


def test_hoi_w_and_own_data_come_back(tmp_path):
    table = io.read_json(minis.hoi_w(tmp_path)["train"])
    labels = open_table(table, "train.json")
    assert labels.vocabulary_name == "hoi_w"
    assert labels.notes(0) == [
        "relation 1: boxes 0, 7 do not both exist; there are 2",
        "relation 2: verb 0 does not exist",
    ]
    first = labels.annotations()
    assert pairs_of(again(first, "hoi_a", tmp_path)) == pairs_of(first)
    assert pairs_of(again(first, "own", tmp_path)) == pairs_of(first)

    mine = minis.own(tmp_path / "own")["train"]
    first = open_table(io.read_json(mine), mine).annotations()
    assert first.vocabulary_name == f"file:{mine}"
    second = open_table(json.loads(json.dumps(write(first, "own"))), mine).annotations()
    for name in first.columns:
        if name not in ("instances_annotation_id",):
            np.testing.assert_array_equal(second[name], first[name], err_msg=name)


def test_what_a_layout_has_no_place_for_is_refused_not_dropped():
    with pytest.raises(CannotWriteError, match="is for hico_det"):
        write(vcoco_labels(), "hico_json")
    labels = vcoco_labels()
    labels["persons_actions"][0, 3] = -1
    with pytest.raises(CannotWriteError, match="labelled for some actions only"):
        write(labels, "vcoco_official")
    assert all(layout.cannot for layout in LAYOUTS.values())


def test_the_command_converts_and_says_what_is_lost(tmp_path, capsys):
    source = minis.hico_json(tmp_path / "instances_test2015.json")
    target = tmp_path / "test_hico.json"
    assert convert.main([str(source), str(target), "--to", "hoi_a"]) == 0
    out = capsys.readouterr().out
    assert "4 images, 4 pairs, from HICO-DET JSON" in out and "part states" in out
    row = io.read_json(target)[0]
    assert row["annotations"][0]["bbox"] == [0, 1, 19, 39]  # 0-based inclusive, as in the files in circulation
    assert convert.main([str(source), str(target), "--to", "hoi_a"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_official_vcoco_files_are_read_by_their_own_reader(tmp_path):
    labels = vcoco_labels(3)
    table = write(labels, "vcoco_official")
    io.write_json_atomic(tmp_path / "coco.json", table["coco"])
    coco = CocoInstances([tmp_path / "coco.json"])
    assert sorted(coco.images) == sorted(labels.image_id.tolist())
    assert [entry["action_name"] for entry in table["actions"]] == list(get_vocabulary("vcoco").actions)
