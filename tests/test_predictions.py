"""Prediction stores and annotations: what is kept, in which frame, and what is refused."""

import dataclasses

import numpy as np
import pytest

from hoi_jax import io, npz
from hoi_jax.annotations import Annotations
from hoi_jax.predictions import PredictionWriter, load_predictions
from hoi_jax.schema import SchemaError, empty_record
from tests.helpers.scored_splits import hico_split
from tests.helpers.scored_splits import predictions_of as predictions_of_split


def make_record(image_id, boxes, classes, pairs=(), num_actions=2):
    record = empty_record(num_actions)
    record["image_id"], record["file_name"] = np.int64(image_id), f"{image_id}.jpg".encode()
    record["original_hw_px"] = np.array([100, 200], np.int32)
    count = len(boxes)
    record["instances_xyxy_px"] = np.array(boxes, np.float32).reshape(-1, 4)
    record["instances_class"] = np.array(classes, np.int32)
    record["instances_annotation_id"] = np.full(count, -1, np.int64)
    record["instances_keypoints_px"] = np.zeros((count, 17, 3), np.float32)
    record["instances_face_xyxy_px"] = np.zeros((count, 4), np.float32)
    record["instances_parts_xyxy_px"] = np.zeros((count, 10, 4), np.float32)
    record["instances_mask_png"] = [b""] * count
    for name, column in (("human", 0), ("object", 1), ("verb", 2)):
        record[f"pairs_{name}"] = np.array([pair[column] for pair in pairs], np.int32)
    record["pairs_part_states"] = np.full((len(pairs), 10), -1, np.int32)
    return record


@pytest.fixture
def annotations():
    records = [
        make_record(7, [[0, 0, 9, 9], [5, 5, 20, 20]], [0, 1], [(0, 1, 1)]),
        make_record(3, [], []),
        make_record(9, [[1, 1, 2, 2], [0, 0, 4, 4], [3, 3, 8, 8]], [1, 0, 0], [(1, -1, 0), (2, 0, 1)]),
    ]
    records[0]["hoi_labels"] = np.array([1, 0, -1, -2, 1], np.int32)
    return Annotations.from_records(records, "hoi_scenes")


def test_index_columns_become_rows_of_the_whole_table(annotations):
    assert annotations.image_id.tolist() == [7, 3, 9]
    assert annotations.image_rows("instances").tolist() == [0, 0, 2, 2, 2]
    assert annotations.instance_rows("pairs_human").tolist() == [0, 3, 4]
    assert annotations.instance_rows("pairs_object").tolist() == [1, -1, 2]


def test_images_without_image_labels_are_marked_unknown(annotations):
    labels = annotations.image_labels(5)
    assert labels[0].tolist() == [1, 0, -1, -2, 1] and np.all(labels[1:] == -2)
    with pytest.raises(io.DataError, match="hoi_labels"):
        annotations.image_labels(6)


def test_annotations_survive_the_disk(annotations, tmp_path):
    annotations.save(tmp_path / "a.npz")
    loaded = Annotations.load(tmp_path / "a.npz")
    assert loaded.fingerprint == annotations.fingerprint
    assert loaded.file_name.tolist() == ["7.jpg", "3.jpg", "9.jpg"]
    for name, column in annotations.columns.items():
        np.testing.assert_array_equal(loaded[name], column)
        assert loaded[name].dtype == column.dtype
    annotations.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_split_without_images_survives_the_disk(tmp_path):
    Annotations.from_records([], "hoi_scenes").save(tmp_path / "a.npz")
    assert Annotations.load(tmp_path / "a.npz").num_images == 0


def test_fingerprints_tell_contents_apart(annotations):
    other = Annotations.from_records([make_record(7, [], [])], "hoi_scenes")
    assert other.fingerprint != annotations.fingerprint


def test_repeated_images_and_loose_indices_are_refused():
    with pytest.raises(io.DataError, match="image_id"):
        Annotations.from_records([make_record(7, [], []), make_record(7, [], [])], "hoi_scenes")
    with pytest.raises(io.DataError, match="pairs_object"):
        Annotations.from_records([make_record(7, [[0, 0, 1, 1]], [0], [(0, 1, 0)])], "hoi_scenes")


def test_a_damaged_annotation_file_is_refused_with_file_and_field(annotations, tmp_path):
    path = tmp_path / "a.npz"
    annotations.save(path)
    content = io.read_npz(path)
    without = {name: array for name, array in content.items() if name != "pairs_verb"}
    np.savez(tmp_path / "b.npz", **without)
    with pytest.raises(io.DataError, match="b.npz: field 'pairs_verb' is missing"):
        Annotations.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **{**content, "pairs_verb": content["pairs_verb"][:-1]})
    with pytest.raises(io.DataError, match="c.npz: field 'pairs_"):
        Annotations.load(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes(path.read_bytes()[:200])
    with pytest.raises(io.DataError, match="d.npz"):
        Annotations.load(tmp_path / "d.npz")


def batch_of(ids, valid=None, image_hw=(50, 100)):
    count = len(ids)
    return {
        "image_id": np.array(ids, np.int32),
        "batch_valid": np.ones(count, bool) if valid is None else np.array(valid),
        "image_hw_px": np.array([image_hw] * count, np.int32),
        "original_hw_px": np.array([[100, 300]] * count, np.int32),
    }


def predictions_of(count, verb_scores):
    pairs = np.shape(verb_scores)[1]
    box = np.broadcast_to(np.array([1, 2, 3, 4], np.float32), (count, pairs, 4)).copy()
    return {
        "human_xyxy_px": box,
        "object_xyxy_px": box + 10,
        "object_class": np.ones((count, pairs), np.int32),
        "human_score": np.full((count, pairs), 0.5, np.float32),
        "object_score": np.full((count, pairs), 0.25, np.float32),
        "verb_scores": np.array(verb_scores, np.float32),
        "kept": np.ones((count, pairs), bool),
        "pair_valid": np.ones((count, pairs), bool),
    }


def test_padding_is_dropped_and_boxes_move_to_the_original_image(tmp_path):
    predictions = predictions_of(2, [[[0.1, 0.9], [0.2, 0.3]], [[0.5, 0.5], [0.5, 0.5]]])
    predictions["pair_valid"][0, 0] = False
    predictions["object_xyxy_px"][0, 1] = np.nan
    predictions["kept"][0, 1] = False
    with PredictionWriter(tmp_path / "p.npz", "hoi_scenes", {"system": "toy", "step": 3}) as writer:
        writer.add(batch_of([5, 6], valid=[True, False]), predictions)
    loaded = load_predictions(tmp_path / "p.npz")
    assert loaded.image_id.tolist() == [5] and loaded.image_hw_px.tolist() == [[100, 300]]
    assert loaded.pair_human_xyxy_px.tolist() == [[3.0, 4.0, 9.0, 8.0]]  # width times 3, height times 2
    assert np.isnan(loaded.pair_object_xyxy_px).all() and loaded.pair_nis_keep.tolist() == [False]
    assert loaded.triplet_verb.tolist() == [0, 1]
    np.testing.assert_array_equal(loaded.triplet_score, np.array([0.2, 0.3], np.float32))
    assert loaded.manifest["step"] == 3 and loaded.vocabulary_name == "hoi_scenes"
    assert loaded.manifest["counts"]["triplets"] == 2


def test_rows_of_later_batches_point_to_their_own_images(tmp_path):
    writer = PredictionWriter(tmp_path / "p.npz", "hoi_scenes")
    for ids in ([5, 6], [7]):
        predictions = predictions_of(len(ids), [[[0.1, 0.9], [0.2, 0.3]]] * len(ids))
        predictions["agent_xyxy_px"] = np.ones((len(ids), 1, 4), np.float32)
        predictions["agent_scores"] = np.full((len(ids), 1, 2), 0.5, np.float32)
        predictions["agent_valid"] = np.ones((len(ids), 1), bool)
        writer.add(batch_of(ids), predictions)
    loaded = writer.predictions()
    assert loaded.pair_image.tolist() == [0, 0, 1, 1, 2, 2]
    assert loaded.triplet_pair.tolist() == [row for row in range(6) for _ in range(2)]
    assert loaded.agent_image.tolist() == [0, 1, 2] and loaded.agent_scores.shape == (3, 2)


@pytest.mark.parametrize("limit", [None, 3])
def test_a_prediction_file_is_in_the_order_of_the_file_however_images_were_batched(limit, tmp_path):
    rng = np.random.default_rng(0)
    images = []
    for number in range(6):
        one = predictions_of(1, rng.uniform(size=(1, 3, 2)))
        one["pair_valid"] = rng.uniform(size=(1, 3)) < 0.7
        one["agent_xyxy_px"], one["agent_valid"] = np.ones((1, 2, 4), np.float32), rng.uniform(size=(1, 2)) < 0.7
        one["agent_scores"] = rng.uniform(size=(1, 2, 2)).astype(np.float32)
        one["hoi_scores"] = np.full((1, 3), number, np.float32)
        images.append(one)

    def predictions(batches):
        writer = PredictionWriter(tmp_path / "p.npz", "hoi_scenes", max_triplets_per_image=limit)
        for members in batches:
            batch = batch_of([100 - n for n in members]) | {"example_id": np.array(members, np.int32)}
            writer.add(batch, {name: np.concatenate([images[n][name] for n in members]) for name in images[0]})
        return writer.predictions()

    expected, mixed = predictions([[0, 1], [2, 3], [4, 5]]), predictions([[1, 4], [5, 0], [3, 2]])
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(getattr(mixed, field.name), getattr(expected, field.name), err_msg=field.name)


def test_zero_infinite_and_nan_scores_are_not_stored_and_nans_are_counted(tmp_path):
    writer = PredictionWriter(tmp_path / "p.npz", "hoi_scenes")
    writer.add(batch_of([5]), predictions_of(1, [[[0.0, -np.inf, np.nan, -2.0, 0.5]]]))
    predictions = writer.predictions()
    assert predictions.triplet_verb.tolist() == [3, 4] and predictions.manifest["counts"]["nan_scores_dropped"] == 1


def test_the_limit_keeps_the_best_scores_of_each_image(tmp_path):
    writer = PredictionWriter(tmp_path / "p.npz", "hoi_scenes", max_triplets_per_image=2)
    writer.add(batch_of([5, 6]), predictions_of(2, [[[0.1, 0.9], [0.8, 0.3]], [[0.5, 0.5], [0.5, 0.6]]]))
    np.testing.assert_array_equal(writer.predictions().triplet_score, np.array([0.9, 0.8, 0.5, 0.6], np.float32))
    assert writer.predictions().triplet_pair.tolist() == [0, 1, 2, 3]


def test_image_level_systems_need_no_pairs(tmp_path):
    with PredictionWriter(tmp_path / "p.npz", "hico_det") as writer:
        writer.add(batch_of([5, 6], [True, False]), {"hoi_scores": np.full((2, 600), 0.5, np.float32)})
    predictions = load_predictions(tmp_path / "p.npz")
    assert predictions.hoi_scores.shape == (1, 600) and len(predictions.pair_image) == 0


def test_no_predictions_at_all_is_a_prediction_file_too(tmp_path):
    with PredictionWriter(tmp_path / "p.npz", "hico_det"):
        pass
    assert len(load_predictions(tmp_path / "p.npz").image_id) == 0


def test_an_interrupted_writer_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), PredictionWriter(tmp_path / "p.npz", "hico_det"):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_an_image_added_twice_is_refused(tmp_path):
    writer = PredictionWriter(tmp_path / "p.npz", "hoi_scenes")
    for _ in range(2):
        writer.add(batch_of([5]), predictions_of(1, [[[0.1]]]))
    with pytest.raises(io.DataError, match="image_id"):
        writer.close()


def test_predictions_that_break_the_schema_are_refused(tmp_path):
    writer = PredictionWriter(tmp_path / "p.npz", "hoi_scenes")
    with pytest.raises(SchemaError, match="verb_scores"):
        writer.add(batch_of([5]), {**predictions_of(1, [[[0.1]]]), "verb_score": np.zeros((1, 1, 1), np.float32)})
    with pytest.raises(SchemaError, match="original_hw_px"):
        writer.add({"batch_valid": np.ones(1, bool), "image_id": np.ones(1), "image_hw_px": np.ones((1, 2))}, {})


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("triplet_pair", lambda a: a + 100, "'triplet_pair' has an index outside"),
        ("pair_image", lambda a: a[:-1], "size"),
        ("triplet_score", lambda a: a.astype(np.int64), "'triplet_score' has dtype int64, expected floats"),
        ("pair_human_xyxy_px", lambda a: a[:, :3], "'pair_human_xyxy_px' has size 3"),
        ("triplet_verb", lambda a: a - 5, "negative"),
        ("manifest_json", lambda a: np.array("{"), "not valid JSON"),
        ("manifest_json", lambda a: np.array("{}"), "vocabulary"),
    ],
)
def test_a_malformed_prediction_file_is_refused_with_file_and_field(tmp_path, field, change, message):
    with PredictionWriter(tmp_path / "p.npz", "hoi_scenes") as writer:
        writer.add(batch_of([5]), predictions_of(1, [[[0.1, 0.2], [0.3, 0.4]]]))
    content = io.read_npz(tmp_path / "p.npz")
    np.savez(tmp_path / "bad.npz", **{**content, field: change(content[field])})
    with pytest.raises(io.DataError, match=rf"bad\.npz: .*{message}"):
        load_predictions(tmp_path / "bad.npz")


def test_pickled_content_is_refused(tmp_path):
    np.savez(tmp_path / "bad.npz", manifest_json=np.array([{}], dtype=object))
    with pytest.raises(io.DataError, match="bad.npz"):
        load_predictions(tmp_path / "bad.npz")


def test_a_file_of_former_field_names_reads_the_same(tmp_path):
    predictions = predictions_of_split(hico_split(3))
    predictions.save(tmp_path / "new.npz")
    content, meta = npz.load_npz(tmp_path / "new.npz")
    former = {
        "pair_nis_keep": "pair_nis_keep",
        "triplet_pair": "triplet_pair",
        "triplet_verb": "triplet_verb",
        "triplet_score": "triplet_score",
    }
    npz.write_npz(tmp_path / "old.npz", {former.get(name, name): v for name, v in content.items()}, meta)
    old = load_predictions(tmp_path / "old.npz")
    for name in content:
        np.testing.assert_array_equal(getattr(old, name), getattr(predictions, name))
