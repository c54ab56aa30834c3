"""Label files of every layout give the same split, are told apart by content, and are refused where they are broken."""

import gzip
import json
import zlib

import numpy as np
import pytest
import scipy.io

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.formats.labels.detect import read_annotations
from hoi_jax.vocab.datasets import HICO


def hico_table():
    """Three images; the second has no pair, the third one pair in two classes."""
    ride = next(hoi for hoi in range(600) if HICO.hoi_name(hoi) == "ride bicycle")
    names = [f"HICO_test2015_{number:08d}.jpg" for number in (1, 2, 5)]
    return {
        "filenames": names,
        "size": [[640, 427], [100, 50], [64, 48]],
        "annotation": [
            {"boxes_h": [[1, 2, 20, 30]], "boxes_o": [[11, 5, 64, 48]], "hoi": [0], "verb": [4], "object": [0]},
            {"boxes_h": [], "boxes_o": [], "hoi": [], "verb": [], "object": []},
            {"boxes_h": [[3, 3, 30, 40], [4, 3, 30, 40]], "boxes_o": [[1, 1, 64, 48]] * 2, "hoi": [ride, ride + 1]},
        ],
        "correspondence": [],
    }


def write_json(path, value, zipped=False):
    data = json.dumps(value).encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def mat_struct(rows, fields):
    table = np.zeros((1, len(rows)), [(name, object) for name in fields])
    for column, row in enumerate(rows):
        for name in fields:
            table[name][0, column] = row[name]
    return table


def mat_boxes(boxes):
    rows = [dict(zip(("x1", "y1", "x2", "y2"), map(float, box), strict=True)) for box in boxes]
    return mat_struct(rows, ("x1", "x2", "y1", "y2"))


def hico_mat(path, table, compress=True):
    """The same labels as `anno_bbox.mat`, with an invisible entry in every image."""
    images = []
    for name, (width, height), annotation in zip(table["filenames"], table["size"], table["annotation"], strict=True):
        hois = []
        for human, obj, hoi in zip(annotation["boxes_h"], annotation["boxes_o"], annotation["hoi"], strict=True):
            # The box that counts is the second of two, so that `connection` matters.
            people, objects = mat_boxes([[1, 1, 2, 2], human]), mat_boxes([[5, 5, 6, 6], obj])
            connection = np.array([[2, 2]], np.uint8)
            hois.append((hoi + 1, people, objects, connection, 0))
        hois.append((600, np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 0)), 1))
        fields = ("id", "bboxhuman", "bboxobject", "connection", "invis")
        rows = [dict(zip(fields, row, strict=True)) for row in hois]
        size = mat_struct([{"width": width, "height": height, "depth": 3}], ("width", "height", "depth"))
        images.append({"filename": name, "size": size, "hoi": mat_struct(rows, fields)})
    variables = {"bbox_test": mat_struct(images, ("filename", "size", "hoi"))}
    variables["bbox_train"] = mat_struct(images[:1], ("filename", "size", "hoi"))
    scipy.io.savemat(path, variables, do_compression=compress)
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_hico_boxes_become_continuous_corners(tmp_path, zipped):
    split = read_annotations(write_json(tmp_path / "a", hico_table(), zipped))
    assert split.vocabulary_name == "hico_det" and split.image_id.tolist() == [0, 1, 2]
    assert split.original_hw_px.tolist() == [[427, 640], [50, 100], [48, 64]]
    assert split.counts["pairs"].tolist() == [1, 0, 2]
    boxes = split["instances_xyxy_px"]
    np.testing.assert_array_equal(boxes[split.instance_rows("pairs_human")[0]], [0, 1, 20, 30])
    np.testing.assert_array_equal(boxes[split.instance_rows("pairs_object")[0]], [10, 4, 64, 48])
    classes = split["instances_class"][split.instance_rows("pairs_object")]
    assert [HICO.objects[c] for c in classes] == ["airplane", "bicycle", "bicycle"]


@pytest.mark.parametrize("compress", [False, True])
def test_the_official_mat_gives_the_same_split_as_the_json(tmp_path, compress):
    from_json = read_annotations(write_json(tmp_path / "a.json", hico_table()))
    from_mat = read_annotations(hico_mat(tmp_path / "anno_bbox.mat", hico_table(), compress))
    assert from_mat.fingerprint == from_json.fingerprint
    train = read_annotations(tmp_path / "anno_bbox.mat", split="train")
    assert train.num_images == 1 and len(train["pairs_verb"]) == 1


def test_our_own_file_gives_the_same_split(tmp_path):
    split = read_annotations(write_json(tmp_path / "a.json", hico_table()))
    split.save(tmp_path / "annotations_test.npz")
    assert read_annotations(tmp_path / "annotations_test.npz").fingerprint == split.fingerprint


def test_image_labels_join_by_name_and_unknown_becomes_minus_two(tmp_path):
    table = hico_table()
    labels = np.full((600, 4), np.nan)
    labels[0], labels[1] = [0, -1, 1, -1], [1, 1, -1, 0]
    names = np.array(["HICO_test2015_00000005.jpg", "other.jpg", *table["filenames"][:2]], object)[:, None]
    scipy.io.savemat(tmp_path / "anno.mat", {"anno_test": labels, "list_test": names})
    path = write_json(tmp_path / "a.json", table)
    found = read_annotations(path, image_labels=tmp_path / "anno.mat").image_labels(600)
    assert found is not None
    assert found[:, :3].tolist() == [[1, -1, -2], [-1, 0, -2], [0, 1, -2]]
    scipy.io.savemat(tmp_path / "anno.mat", {"anno_test": labels[:, :2], "list_test": names[:2]})
    with pytest.raises(io.DataError, match="no labels for 2 images, .* is 'HICO_test2015_00000001.jpg'"):
        read_annotations(path, image_labels=tmp_path / "anno.mat")


def test_the_real_hico_test_file_has_the_published_counts(data_dir):
    split = read_annotations(data_dir / "hicodet_instances_test2015.json.gz")
    assert split.num_images == 9658 and len(split["pairs_verb"]) == 33405
    assert int((split.counts["pairs"] == 0).sum()) == 112


def broken(table, record, field, value):
    table["annotation"][record][field] = value
    return table


@pytest.mark.parametrize(
    "table, message",
    [
        (broken(hico_table(), 2, "hoi", [3, 600]), r"a: record 2 \(HICO_test2015_00000005.jpg\): field 'hoi'"),
        (broken(hico_table(), 0, "boxes_h", [[5, 1, 2, 9]]), "a: record 0 .*x2 < x1"),
        (broken(hico_table(), 0, "boxes_h", [[5, 1, 2]]), "a: record 0 .*malformed"),
        (broken(hico_table(), 0, "boxes_o", [[5, 1, None, 9]]), "a: record 0 .*not finite"),
        (hico_table() | {"size": [[1, 2]]}, "a: filenames, size and annotation"),
        (hico_table() | {"size": [[1, 2], "x", [1, 2]]}, "a: record 1 .*field 'size'"),
        (hico_table() | {"annotation": [1, 2, 3]}, "a: record 0 .*malformed"),
        ({"filenames": []}, "a: is JSON of no known label layout"),
        ([1, 2], "a: is JSON of no known label layout"),
    ],
)
def test_broken_hico_json_names_file_record_and_field(tmp_path, table, message):
    with pytest.raises(io.DataError, match=message):
        read_annotations(write_json(tmp_path / "a", table))


def test_broken_mat_files_are_refused(tmp_path):
    path = tmp_path / "anno_bbox.mat"
    hico_mat(path, hico_table())
    whole = path.read_bytes()
    for end in range(8, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(io.DataError, match="anno_bbox.mat"):
            read_annotations(path)
    path.write_bytes(b"MATLAB 7.3" + whole[10:])
    with pytest.raises(io.CorruptFileError, match="-v7"):
        read_annotations(path)
    scipy.io.savemat(path, {"other": 1})
    with pytest.raises(io.CorruptFileError, match="'bbox_test'"):
        read_annotations(path)
    table = hico_table()
    table["annotation"][2]["hoi"] = [3, 700]
    with pytest.raises(io.CorruptFileError, match="bbox_test record 2: field 'hoi'"):
        read_annotations(hico_mat(path, table))


def test_a_mat_file_that_unpacks_past_the_limit_is_refused(tmp_path):
    packed = zlib.compress(bytes(1 << 22))
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    (tmp_path / "a.mat").write_bytes(head + (15).to_bytes(4, "little") + len(packed).to_bytes(4, "little") + packed)
    with pytest.raises(io.TooLargeError, match="unpacks to more than 1048576"):
        io.read_mat(tmp_path / "a.mat", ("bbox_test",), max_bytes=1 << 20)


@pytest.mark.parametrize("connection", [[[0, 1]], [[3, 1]], [[1, 3]], [[1]]])
def test_a_connection_to_a_box_that_does_not_exist_is_refused(tmp_path, connection):
    people = mat_boxes([[1, 1, 5, 5], [2, 2, 6, 6]])
    fields = ("id", "bboxhuman", "bboxobject", "connection", "invis")
    hoi = mat_struct([dict(zip(fields, (1, people, people, np.array(connection), 0), strict=True))], fields)
    size = mat_struct([{"width": 9, "height": 9, "depth": 3}], ("width", "height", "depth"))
    image = mat_struct([{"filename": "a.jpg", "size": size, "hoi": hoi}], ("filename", "size", "hoi"))
    scipy.io.savemat(tmp_path / "a.mat", {"bbox_test": image})
    with pytest.raises(io.CorruptFileError, match="bbox_test record 0: malformed"):
        read_annotations(tmp_path / "a.mat")


def test_other_npz_files_are_named_by_what_they_hold(tmp_path):
    np.savez(tmp_path / "x.npz", weights=np.zeros(3))
    with pytest.raises(io.CorruptFileError, match=r"npz of no known label layout; its arrays are \['weights'\]"):
        read_annotations(tmp_path / "x.npz")
    with pytest.raises(io.MissingFileError, match="no such file"):
        read_annotations(tmp_path / "nothing.json")


def test_image_labels_need_hico_labels(tmp_path):
    Annotations.from_records([], "hoi_scenes").save(tmp_path / "a.npz")
    with pytest.raises(io.DataError, match="the annotations use vocabulary 'hoi_scenes'"):
        read_annotations(tmp_path / "a.npz", image_labels=tmp_path / "anno.mat")


def one_cell(value):
    cell = np.empty((1, 1), object)
    cell[0, 0] = value
    return cell


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"anno_test": np.zeros((600, 3))}, "variables 'anno_test', 'list_test' are absent"),
        ({"anno_test": np.zeros((599, 1)), "list_test": np.array([["a.jpg"]], object)}, "'anno_test' has shape"),
        ({"anno_test": np.zeros((600, 1)), "list_test": one_cell(np.zeros((2, 2)))}, "are malformed"),
    ],
)
def test_broken_image_labels_name_file_and_field(tmp_path, variables, message):
    scipy.io.savemat(tmp_path / "anno.mat", variables)
    with pytest.raises(io.CorruptFileError, match=f"anno.mat: .*{message}"):
        read_annotations(write_json(tmp_path / "a.json", hico_table()), image_labels=tmp_path / "anno.mat")
