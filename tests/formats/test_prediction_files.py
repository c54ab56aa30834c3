"""Predictions of every format score the same, official files survive the way out and back, broken ones are refused."""

import dataclasses
import gzip
import json
import pickle

import numpy as np
import pytest
import scipy.io

from hoi_jax import io
from hoi_jax.evaluation.score import evaluate_hoi_predictions
from hoi_jax.formats.labels.detect import read_annotations
from hoi_jax.formats.predictions import hoi_json as prediction_json
from hoi_jax.formats.predictions.checks import prediction_counts, warnings_of
from hoi_jax.formats.predictions.detect import read_predictions, write_official
from hoi_jax.formats.predictions.hico_mat import object_order, write_detections
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS, HICO, VCOCO

NUM_IMAGES = 400


@pytest.fixture(scope="module")
def hico_labels(data_dir):
    whole = read_annotations(data_dir / "hicodet_instances_test2015.json.gz")
    return whole.select(np.arange(whole.num_images) < NUM_IMAGES)


@pytest.fixture(scope="module")
def flat(golden_dir):
    """The golden detections of the first images."""
    content = io.read_npz(golden_dir / "hico_eval_preds.npz")
    pairs = content["pair_image"] < NUM_IMAGES
    trips = pairs[content["trip_pair"]]
    new_row = np.cumsum(pairs) - 1
    content = {name: array[pairs if name.startswith("pair") else trips] for name, array in content.items()}
    return content | {"trip_pair": new_row[content["trip_pair"]]}


@pytest.fixture(scope="module")
def flat_predictions(flat, hico_labels, tmp_path_factory):
    path = tmp_path_factory.mktemp("flat") / "preds.npz"
    np.savez(path, **flat)
    return read_predictions(path, HICO, hico_labels)


@pytest.fixture(scope="module")
def expected(flat_predictions, hico_labels):
    result = evaluate_hoi_predictions(flat_predictions, hico_labels, HICO)
    assert result.metrics["default/full"] > 0.3
    return result


def assert_same_scores(predictions, labels, expected):
    result = evaluate_hoi_predictions(predictions, labels, HICO)
    for name, array in expected.per_class.items():
        np.testing.assert_allclose(result.per_class[name], array, rtol=0, atol=1e-12)


def results_json(flat, names, dialect):
    """The result list of a family: one box entry per side of a pair."""
    entries = [{"file_name": name, "predictions": [], "hoi_prediction": []} for name in names]
    first = []
    columns = (flat[name].tolist() for name in ("pair_image", "pair_hbox", "pair_obox", "pair_object"))
    for image, human, obj, object_class in zip(*columns, strict=True):
        entry = entries[image]["predictions"]
        first.append(len(entry))
        number = COCO_CATEGORY_IDS[object_class] if dialect == "ppdm-json" else int(object_class)
        entry += [{"bbox": human, "category_id": int(dialect == "ppdm-json")}, {"bbox": obj, "category_id": number}]
    triplets = zip(flat["trip_pair"].tolist(), flat["trip_verb"].tolist(), flat["trip_score"].tolist(), strict=True)
    for pair, verb, score in triplets:
        category = verb + 1 if dialect == "ppdm-json" else verb
        if dialect == "gen-vlkt-json":
            category = int(HICO.hoi_table[verb, flat["pair_object"][pair]])
            if category < 0:
                continue
        ends = {"subject_id": first[pair], "object_id": first[pair] + 1}
        entries[flat["pair_image"][pair]]["hoi_prediction"].append({**ends, "category_id": category, "score": score})
    return entries


@pytest.mark.parametrize("dialect", prediction_json.DIALECTS)
def test_result_lists_are_told_apart_and_score_the_same(dialect, flat, hico_labels, expected, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results_json(flat, hico_labels.file_name.tolist(), dialect)))
    predictions = read_predictions(path, HICO, hico_labels)
    assert predictions.manifest["format"] == dialect
    assert_same_scores(predictions, hico_labels, expected)
    assert_same_scores(read_predictions(path, HICO, hico_labels, dialect), hico_labels, expected)


def test_entries_without_names_are_in_the_order_of_the_split(flat, hico_labels, expected, tmp_path):
    entries = results_json(flat, hico_labels.file_name.tolist(), "qpic-json")
    for entry in entries:
        del entry["file_name"]
    (tmp_path / "r.json.gz").write_bytes(gzip.compress(json.dumps(entries).encode()))
    assert_same_scores(read_predictions(tmp_path / "r.json.gz", HICO, hico_labels), hico_labels, expected)
    (tmp_path / "r.json").write_text(json.dumps(entries[1:]))
    with pytest.raises(io.DataError, match=f"{NUM_IMAGES - 1} is not the number of images"):
        read_predictions(tmp_path / "r.json", HICO, hico_labels)


def test_a_prediction_file_survives_and_another_vocabulary_is_refused(
    flat_predictions, hico_labels, expected, tmp_path
):
    flat_predictions.save(tmp_path / "s.npz")
    assert_same_scores(read_predictions(tmp_path / "s.npz", HICO, hico_labels), hico_labels, expected)
    with pytest.raises(io.DataError, match="use vocabulary 'hico_det', expected 'vcoco'"):
        read_predictions(tmp_path / "s.npz", VCOCO, hico_labels)


@pytest.mark.parametrize("order", ["coco", "alphabet"])
def test_official_mat_files_score_the_same_after_a_round_trip(order, flat_predictions, hico_labels, expected, tmp_path):
    count = write_detections(tmp_path / "mat", flat_predictions, hico_labels, HICO, order=order)
    assert count == expected.manifest["counted_detections"]
    predictions = read_predictions(tmp_path / "mat", HICO, hico_labels)
    assert predictions.manifest["object_order"] == order
    assert_same_scores(predictions, hico_labels, expected)
    # SciPy, which is not what wrote them, sees the layout that the official evaluator reads.
    person = object_order(HICO, order).index(HICO.human_class)
    cells = scipy.io.loadmat(tmp_path / "mat" / f"detections_{person + 1:02d}.mat")["all_boxes"]
    assert cells.shape == (sum(obj == HICO.human_class for _, obj in HICO.hois), NUM_IMAGES)


def test_an_official_cell_holds_zero_based_inclusive_boxes_and_the_score(flat, flat_predictions, hico_labels, tmp_path):
    write_official(tmp_path, flat_predictions, hico_labels, HICO)
    row = int(np.flatnonzero(HICO.hoi_table[flat["trip_verb"], flat["pair_object"][flat["trip_pair"]]] >= 0)[0])
    pair = flat["trip_pair"][row]
    obj, image = int(flat["pair_object"][pair]), int(flat["pair_image"][pair])
    cells = scipy.io.loadmat(tmp_path / f"detections_{obj + 1:02d}.mat")["all_boxes"]
    hoi = HICO.hoi_table[flat["trip_verb"][row], obj]
    within = hoi - min(h for h in range(600) if HICO.hois[h][1] == obj)
    wanted = [*flat["pair_hbox"][pair], *flat["pair_obox"][pair], flat["trip_score"][row]]
    assert wanted in cells[within, image].tolist()


def test_mat_folders_that_do_not_fit_are_refused(flat_predictions, hico_labels, tmp_path):
    write_official(tmp_path / "m", flat_predictions, hico_labels, HICO)
    fewer = hico_labels.select(np.arange(NUM_IMAGES) < 7)
    with pytest.raises(io.DataError, match=f"detections_01.mat: field 'all_boxes' has {NUM_IMAGES} images"):
        read_predictions(tmp_path / "m", HICO, fewer)
    with pytest.raises(io.DataError, match="give their folder"):
        read_predictions(tmp_path / "m" / "detections_01.mat", HICO, hico_labels)
    cells = np.empty((10, NUM_IMAGES), object)
    cells[:] = [[np.zeros((0, 0))] * NUM_IMAGES] * 10
    cells[3, 5] = np.zeros((2, 8))
    saved = (tmp_path / "m" / "detections_01.mat").read_bytes()
    scipy.io.savemat(tmp_path / "m" / "detections_01.mat", {"all_boxes": cells})
    with pytest.raises(io.CorruptFileError, match=r"detections_01.mat: field 'all_boxes' cell \(3, 5\)"):
        read_predictions(tmp_path / "m", HICO, hico_labels)
    scipy.io.savemat(tmp_path / "m" / "detections_01.mat", {"all_boxes": cells[:9]})
    with pytest.raises(io.CorruptFileError, match="neither object order"):
        read_predictions(tmp_path / "m", HICO, hico_labels)
    scipy.io.savemat(tmp_path / "m" / "detections_01.mat", {"boxes": cells})
    with pytest.raises(io.CorruptFileError, match="detections_01.mat: the cell array"):
        read_predictions(tmp_path / "m", HICO, hico_labels)
    (tmp_path / "m" / "detections_01.mat").write_bytes(saved[:-30])
    with pytest.raises(io.CorruptFileError, match="detections_01.mat"):
        read_predictions(tmp_path / "m", HICO, hico_labels)
    (tmp_path / "m" / "detections_07.mat").rename(tmp_path / "m" / "detections_01.mat")
    with pytest.raises(io.MissingFileError, match="1 of 80 files are missing, first detections_07.mat"):
        read_predictions(tmp_path / "m", HICO, hico_labels)


def entry(**changes):
    boxes = [{"bbox": [1, 2, 30, 40], "category_id": 1}, {"bbox": [5, 6, 20, 30], "category_id": 4}]
    hoi = [{"subject_id": 0, "object_id": 1, "category_id": 74, "score": 0.5}]
    return {"file_name": "HICO_test2015_00000001.jpg", "predictions": boxes, "hoi_prediction": hoi} | changes


def hoi_row(**changes):
    return [{"subject_id": 0, "object_id": 1, "category_id": 74, "score": 0.5} | changes]


@pytest.mark.parametrize(
    "broken, message",
    [
        (entry(hoi_prediction=hoi_row(object_id=2)), "hoi_prediction 0: field 'object_id' is 2, there are 2"),
        (entry(hoi_prediction=hoi_row(subject_id=-1)), "field 'subject_id' is -1"),
        (entry(hoi_prediction=hoi_row(category_id=118)), "hoi_prediction 0: field 'category_id' refers to a class"),
        (entry(hoi_prediction=hoi_row(category_id=1.5)), "hoi_prediction 0: field 'category_id'"),
        (entry(hoi_prediction=hoi_row(category_id=1e300)), "hoi_prediction 0: field 'category_id'"),
        (entry(hoi_prediction=hoi_row(score="high")), "hoi_prediction 0: field 'score'"),
        (entry(hoi_prediction=[{}]), "hoi_prediction 0: field"),
        (entry(hoi_prediction=None), "field 'hoi_prediction' is absent"),
        (entry(predictions=[{"bbox": [1, 2, 3], "category_id": 1}] * 2), "predictions 0: field 'bbox'"),
        (entry(predictions=[{"bbox": [1, 2, 3, 4], "category_id": 12}] * 2), "field 'object_id' refers to a class"),
        (entry(file_name=7), "field 'file_name' is 7"),
        (entry(), "repeats record 0"),
        (3, "is int, expected an object"),
    ],
)
def test_broken_result_lists_name_file_record_and_field(broken, message, hico_labels, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps([entry(), broken]))
    with pytest.raises(io.CorruptFileError, match=message) as error:
        read_predictions(tmp_path / "r.json", HICO, hico_labels, "ppdm-json")
    assert "r.json: record 1" in str(error.value)


def test_an_empty_list_is_no_predictions_at_all(hico_labels, tmp_path):
    (tmp_path / "r.json").write_text("[]")
    predictions = read_predictions(tmp_path / "r.json", HICO, hico_labels)
    result = evaluate_hoi_predictions(predictions, hico_labels, HICO)
    assert result.metrics["default/full"] == 0
    assert prediction_counts(predictions, hico_labels, HICO)["images_without_predictions"] == NUM_IMAGES


def test_oddities_are_counted_and_harm_nothing_else(flat, hico_labels, expected, tmp_path):
    """A NaN score, an unknown image, a box outside, a box turned over and an impossible verb, added to clean rows."""
    extra = {
        "pair_image": [NUM_IMAGES + 3, 0, 0],
        "pair_hbox": [[0, 0, 9, 9], [-50, 0, 9, 9], [9, 9, 0, 0]],
        "pair_obox": [[0, 0, 9, 9], [0, 0, 9, 9000], [0, 0, 9, 9]],
        "pair_object": [1, 1, 1],
        "pair_object_score": [1, 1, 1],
        "pair_binary_score": [0, 0, 0],
        "pair_kind": [0, 0, 0],
        "trip_verb": [0, 0, 76, 0],
        "trip_score": [0.5, np.nan, 0.4, np.nan],
    }
    assert HICO.hoi_table[0, 1] < 0  # "adjust bicycle" is no class
    pairs = len(flat["pair_image"])
    extra["trip_pair"] = [pairs, pairs + 1, pairs + 2, pairs + 2]
    content = {
        name: np.concatenate([array, np.asarray(extra[name], array.dtype)]) if name in extra else array
        for name, array in flat.items()
    }
    np.savez(tmp_path / "p.npz", **content)
    predictions = read_predictions(tmp_path / "p.npz", HICO, hico_labels)
    counts = prediction_counts(predictions, hico_labels, HICO)
    clean = prediction_counts(read_flat(tmp_path, flat, hico_labels), hico_labels, HICO)
    difference = {name: counts[name] - clean[name] for name in counts if counts[name] != clean[name]}
    assert difference == {
        "num_predictions": 4, "num_predicted_pairs": 3, "unknown_images": 1, "predictions_in_unknown_images": 1,
        "nan_scores": 2, "inverted_boxes": 1, "boxes_outside_image": 2, "invalid_combinations": 3,
    }  # fmt: skip
    assert any("nan scores: 2" in line for line in warnings_of(counts))
    changed = evaluate_hoi_predictions(predictions, hico_labels, HICO).per_class["default/ap"]
    same = np.ones(600, bool)
    same[HICO.hoi_table[76, 1]] = False
    np.testing.assert_array_equal(changed[same], expected.per_class["default/ap"][same])


def read_flat(folder, content, labels):
    np.savez(folder / "clean.npz", **content)
    return read_predictions(folder / "clean.npz", HICO, labels)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("pair_object", 80, "field 'pair_object' row 0 is 80, expected 0..79"),
        ("trip_verb", 117, "field 'trip_verb' row 0 is 117, expected 0..116"),
        ("pair_image", -1, "field 'pair_image' row 0 is -1"),
        ("trip_pair", 10**6, "field 'triplet_pair' has an index outside"),
    ],
)
def test_flat_rows_that_point_nowhere_are_refused(field, value, message, flat, hico_labels, tmp_path):
    column = flat[field].astype(np.int64)
    column[0] = value
    with pytest.raises(io.DataError, match=message):
        read_flat(tmp_path, flat | {field: column}, hico_labels)


def test_flat_fields_of_unlike_length_or_kind_are_refused(flat, hico_labels, tmp_path):
    with pytest.raises(io.DataError, match="different lengths"):
        read_flat(tmp_path, flat | {"pair_object": flat["pair_object"][1:]}, hico_labels)
    with pytest.raises(io.DataError, match="'trip_score' has dtype int64"):
        read_flat(tmp_path, flat | {"trip_score": flat["trip_verb"].astype(np.int64)}, hico_labels)
    with pytest.raises(io.CorruptFileError, match="no flat predictions for hico_det"):
        read_flat(tmp_path, {"pair_image": flat["pair_image"]}, hico_labels)
    with pytest.raises(io.DataError, match="'pair_obox' has 3 numbers per row"):
        read_flat(tmp_path, flat | {"pair_obox": flat["pair_obox"][:, :3]}, hico_labels)


def test_suppressed_pairs_are_not_exported(flat_predictions, hico_labels, tmp_path):
    nothing = dataclasses.replace(flat_predictions, pair_nis_keep=np.zeros(len(flat_predictions.pair_nis_keep), bool))
    spared = int((flat_predictions.triplet_verb == HICO.no_interaction).sum())
    assert write_official(tmp_path / "a", nothing, hico_labels, HICO) <= spared
    assert write_official(tmp_path / "b", nothing, hico_labels, HICO, use_nis=False) > spared


def test_unknown_files_and_formats_are_refused(flat_predictions, hico_labels, tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(io.CorruptFileError, match="is in no known prediction format .store, flat-npz"):
        read_predictions(tmp_path / "x", HICO, hico_labels)
    with pytest.raises(ValueError, match="pdm"):
        read_predictions(tmp_path / "x", HICO, hico_labels, "pdm-json")
    (tmp_path / "x").write_text('{"hoi_prediction": []}')
    with pytest.raises(io.CorruptFileError, match="expected a list with 'hoi_prediction'"):
        read_predictions(tmp_path / "x", HICO, hico_labels)
    (tmp_path / "x").write_bytes(pickle.dumps([], 2))
    with pytest.raises(io.DataError, match="vcoco-pickle files cannot have predictions in vocabulary 'hico_det'"):
        read_predictions(tmp_path / "x", HICO, hico_labels)
    write_official(tmp_path / "m", flat_predictions, hico_labels, HICO)
    with pytest.raises(io.DataError, match="hico-mat files cannot have predictions in vocabulary 'vcoco'"):
        read_predictions(tmp_path / "m", VCOCO, hico_labels)
