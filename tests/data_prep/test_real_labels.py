"""The real annotation files, where they are: published counts, read back equal, and what the check says of them."""

import numpy as np
import pytest

from data_prep.expected import COUNTS
from data_prep.find_files import FoundFile, class_order_fault, fingerprint, open_found
from data_prep.findings import examine
from data_prep.labels import records_of
from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.formats.labels.detect import open_labels
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.schema import check_record
from tests.helpers import minis

HICO_TEST, HAKE = "hicodet_instances_test2015.json.gz", "hicodet_train_pairs_hake.npz"
# File, dataset, split, images, pairs that the published counts count, images without any.
FILES = [
    (HICO_TEST, "hico_det", "test", 9658, 33405, 112),
    (HAKE, "hico_det", "train", 38118, 117654, None),
    ("vcoco_instances_train.json.gz", "vcoco", "train", 2533, 6400, 197),
    ("vcoco_instances_val.json.gz", "vcoco", "val", 2867, 7417, 234),
    ("vcoco_instances_test.json.gz", "vcoco", "test", 4946, 12402, 414),
]


@pytest.fixture(scope="module")
def opened(data_dir):
    cache = {}

    def open_file(name, dataset, split):
        if name not in cache:
            labels = open_found(FoundFile(data_dir / name, split), dataset)
            cache[name] = labels, examine(labels, dataset, split)
        return cache[name]

    return open_file


@pytest.mark.parametrize("name, dataset, split, images, pairs, empty", FILES, ids=[row[0] for row in FILES])
def test_the_published_counts_are_reproduced_and_the_check_finds_no_fault(
    opened, data_dir, name, dataset, split, images, pairs, empty
):
    labels, findings = opened(name, dataset, split)
    by_check = {finding.check: finding for finding in findings}
    assert len(labels) == images == COUNTS[dataset][split].images
    assert by_check["pairs (person, object, verb)"].count == pairs
    if empty is not None:
        assert by_check["images without an evaluated pair"].count == empty
    assert not [finding for finding in findings if finding.level == "error"], findings
    assert class_order_fault(data_dir / name) is None
    assert "," in fingerprint(data_dir / name)  # Known by content.


@pytest.mark.parametrize("split, images, persons", [("train", 2533, 3932), ("val", 2867, 4499)])
def test_the_official_vcoco_files_have_the_published_people(data_dir, split, images, persons):
    """Their boxes are in COCO's files, which are not here; people and images are counted without."""
    from hoi_jax.formats.labels.vcoco import OfficialTable

    path = data_dir / f"vcoco_official_{split}.json.gz"
    table = OfficialTable(path, io.read_json(path))
    assert (len(table.images), len(table.ann_id)) == (images, persons)


def test_hico_test_is_read_back_equal_from_the_stored_annotations(opened, data_dir, tmp_path):
    labels, _ = opened(HICO_TEST, "hico_det", "test")
    first = labels.annotations()
    first.save(tmp_path / "annotations_test.npz")
    second = open_labels(tmp_path / "annotations_test.npz").annotations()
    assert first.fingerprint == second.fingerprint
    table = io.read_json(data_dir / HICO_TEST)
    # Straight from the file, without our readers.
    humans = np.concatenate([np.reshape(row["boxes_h"], (-1, 4)) for row in table["annotation"]])
    objects = np.concatenate([np.reshape(row["boxes_o"], (-1, 4)) for row in table["annotation"]])
    boxes = second["instances_xyxy_px"].reshape(-1, 2, 4)
    np.testing.assert_array_equal(boxes[:, 0] + [1, 1, 0, 0], humans)
    np.testing.assert_array_equal(boxes[:, 1] + [1, 1, 0, 0], objects)


def test_records_of_real_labels_pass_the_schema_and_give_the_same_annotations(opened):
    labels, _ = opened("vcoco_instances_val.json.gz", "vcoco", "val")
    whole = labels.annotations()
    records = list(records_of(whole))
    for record in records:
        check_record(record, 26, str(record["file_name"]))
    again = Annotations.from_records(records, "vcoco", "vcoco")
    for name in ("instances_xyxy_px", "pairs_human", "pairs_object", "pairs_verb", "persons_actions", "persons_roles"):
        np.testing.assert_array_equal(again[name], whole[name])


def test_hake_part_states_are_read_with_the_pairs(opened, data_dir):
    content = io.read_npz(data_dir / HAKE)
    annotations = opened(HAKE, "hico_det", "train")[0].annotations()
    states = annotations["pairs_part_states"]
    mentioned = np.unique(content["part_pair"].astype(np.int64) * 10 + content["part_id"])
    assert (states == 1).sum() == len(mentioned)
    assert (states.max(1) == 1).sum() == len(np.unique(content["part_pair"]))
    assert set(np.unique(states[states.max(1) == 1])) == {0, 1}


@pytest.mark.parametrize(
    "count, level, text",
    [
        (4946, "ok", "the test split"),
        (4532, "error", "without its 414 images"),
        (2533, "error", "the train split"),
        (4000, "warning", "no split has so many"),
    ],
)
def test_the_check_knows_4946_from_4532(count, level, text):
    names = [f"COCO_val2014_{n:012d}.jpg" for n in range(count)]
    labels = LabelFile("x", "V-COCO", "vcoco", "vcoco", names, range(count), [(0, 0)] * count, lambda row: {})
    (images, *_) = examine(labels, "vcoco", "test")
    assert (images.check, images.level, images.count) == ("images", level, count)
    assert text in "; ".join(images.first)


@pytest.mark.parametrize(
    "field, message", [("verbs", "field 'verbs', entry 0"), ("objects", "field 'objects', entry 0")]
)
def test_the_check_sees_lists_in_another_order(tmp_path, field, message):
    path = minis.hico_json(tmp_path / "instances_test2015.json")
    assert class_order_fault(path) is None
    table = io.read_json(path)
    table[field][0], table[field][1] = table[field][1], table[field][0]
    io.write_json_atomic(path, table)
    assert message in str(class_order_fault(path))
