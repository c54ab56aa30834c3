"""HOI-W mAP_rel: a scalar loop from the protocol text, properties, dirty files."""

import copy

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.hoi_w import VERBS, Interactions, evaluate_hoi_w
from hoi_jax.formats.labels.hoi_w import read_hoi_w
from tests.helpers import oracle

PERSON, BALL = [0, 0, 10, 20], [20, 0, 30, 10]


def scalar_aps(annotations, predictions):
    """AP per verb. Rows: (image, verb, subject class, subject box, object class, object box[, score])."""
    result = []
    for verb in range(len(VERBS)):
        own = [row for row in annotations if row[1] == verb]
        free, hits = set(range(len(own))), []
        ranked = sorted((row for row in predictions if row[1] == verb), key=lambda row: (-row[6], row[0]))
        for row in ranked:
            taken = {
                g
                for g in free
                if own[g][0] == row[0]
                and (own[g][2], own[g][4]) == (row[2], row[4])
                and oracle.iou(own[g][3], row[3], 0) >= 0.5
                and oracle.iou(own[g][5], row[5], 0) >= 0.5
            }
            free -= taken
            hits.append(bool(taken))
        result.append(oracle.average_precision(hits, len(own), "area") if own and hits else 0.0)
    return result


def random_rows(random, count, source=()):
    rows = []
    for _ in range(count):
        if source and random.random() < 0.7:
            rows.append((*source[random.integers(len(source))][:6], random.integers(1, 5) / 4))
            continue
        corners = np.sort(random.integers(0, 4, (2, 2, 2)), axis=1).reshape(2, 4) + [0, 0, 1, 1]
        ends = (1, corners[0].tolist(), int(random.integers(2, 4)), corners[1].tolist())
        rows.append((int(random.integers(3)), int(random.integers(3)), *ends, random.integers(1, 5) / 4))
    return rows


def interactions(rows):
    image, verb, subject, subject_box, obj, object_box, score = zip(*rows, strict=True) if rows else [()] * 7
    boxes = (np.array(b, float).reshape(-1, 4) for b in (subject_box, object_box))
    integers = (np.array(x, np.int64) for x in (image, verb, subject, obj))
    (image, verb, subject, obj), (subject_box, object_box) = integers, boxes
    return Interactions(image, verb, subject, subject_box, obj, object_box, np.array(score, float))


def test_equals_a_scalar_loop_with_ties_and_duplicated_annotations(monkeypatch):
    for seed in range(300):
        random = np.random.default_rng(seed)
        truth = random_rows(random, random.integers(0, 7))
        truth += truth[: random.integers(0, 3)]
        found = random_rows(random, random.integers(0, 12), truth)
        monkeypatch.setattr("hoi_jax.evaluation.metrics.matching._CHUNK", 3 if seed % 2 else 1 << 18)
        result = evaluate_hoi_w(interactions(truth), interactions(found))
        expected = scalar_aps(truth, found)
        np.testing.assert_allclose(result.per_class["hoi_w/ap"], expected, atol=1e-12, err_msg=f"seed {seed}")
        assert result.metrics["hoi_w/map_rel"] == pytest.approx(np.mean(expected), abs=1e-12)


def test_truth_as_prediction_gives_100_for_every_verb_that_occurs():
    rows = [(image, verb, 1, PERSON, 9, BALL, 0.5) for image in range(2) for verb in range(10)]
    assert evaluate_hoi_w(interactions(rows), interactions(rows)).metrics["hoi_w/map_rel"] == 1.0


def test_a_further_false_positive_never_raises_ap():
    for seed in range(60):
        random = np.random.default_rng(seed)
        truth = random_rows(random, 6)
        found = random_rows(random, 9, truth)
        before = evaluate_hoi_w(interactions(truth), interactions(found)).per_class["hoi_w/ap"]
        for score in (0.01, 0.6, 2.0):
            worse = [*found, (0, 1, 1, [90, 90, 99, 99], 2, [90, 90, 99, 99], score)]
            after = evaluate_hoi_w(interactions(truth), interactions(worse)).per_class["hoi_w/ap"]
            assert np.all(after <= before)


def test_nan_scores_are_ignored_and_counted():
    rows = [(0, 0, 1, PERSON, 9, BALL, 0.5)]
    result = evaluate_hoi_w(interactions(rows), interactions([(*rows[0][:6], np.nan)]))
    assert (result.metrics["hoi_w/map_rel"], result.manifest["nan_scores"]) == (0.0, 1)


def files():
    entities = [{"bbox": PERSON, "category_id": "1"}, {"bbox": BALL, "category_id": 9}]
    annotation = {"subject_id": 0, "object_id": 1, "category_id": "8\n"}
    annotations = [{"file_name": "a.png", "annotations": entities, "hoi_annotation": [annotation]}]
    prediction = {"subject_id": 0, "object_id": 1, "category_id": 8, "score": 0.9}
    predictions = [{"file_name": "a.png", "predictions": entities, "hoi_prediction": [prediction]}]
    return annotations, copy.deepcopy(predictions)


def test_texts_with_line_breaks_are_numbers():
    truth, found, _ = read_hoi_w(*files())
    assert (truth.verb.tolist(), truth.object_class.tolist()) == ([7], [9])
    assert evaluate_hoi_w(truth, found).per_class["hoi_w/ap"][7] == 1.0


def test_dirty_rows_are_counted():
    annotations, predictions = files()
    annotations.append({"file_name": "b.png", "annotations": [], "hoi_annotation": []})
    annotations[0]["hoi_annotation"] += [
        {"subject_id": 0, "object_id": 1, "category_id": 0},
        {"subject_id": 0, "object_id": 2, "category_id": 8},
    ]
    predictions[0]["hoi_prediction"] += [
        {"subject_id": 0, "object_id": 1, "category_id": 11, "score": 0.5},
        {"subject_id": -1, "object_id": 1, "category_id": 8, "score": 0.5},
    ]
    predictions += [predictions[0], {"file_name": "c.png"}]
    truth, found, counts = read_hoi_w(annotations, predictions)
    assert counts == {
        "num_images": 2,
        "unknown_images_ignored": 1,
        "repeated_images_ignored": 1,
        "annotated_verbs_out_of_range_ignored": 1,
        "annotated_missing_boxes": 1,
        "predicted_verbs_out_of_range_ignored": 1,
        "predicted_missing_boxes": 1,
        "images_without_predictions_entry": 1,
    }
    result = evaluate_hoi_w(truth, found)
    assert result.per_class["hoi_w/num_positives"][7] == 2
    assert (result.per_class["hoi_w/num_predictions"][7], result.per_class["hoi_w/true_positives"][7]) == (2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, p: a[0].pop("file_name"), "annotations: record 0: field 'file_name'"),
        (lambda a, p: a.append(a[0]), "repeated names"),
        (lambda a, p: a[0].pop("hoi_annotation"), "annotations: record 0: field 'hoi_annotation'"),
        (lambda a, p: p[0]["predictions"][0].update(bbox=[1, 2]), "predictions: record 0: field 'bbox'"),
        (lambda a, p: p[0].update(predictions=[{"bbox": [1] * 8, "category_id": 1}]), "record 0: field 'bbox'"),
        (lambda a, p: p[0]["predictions"][0].update(bbox="x"), "predictions: record 0: field 'bbox'"),
        (lambda a, p: p[0]["predictions"][0].update(category_id="ball"), "record 0: field 'category_id'"),
        (lambda a, p: p[0]["hoi_prediction"][0].update(score=None), "predictions: record 0: field 'score'"),
        (lambda a, p: p[0]["hoi_prediction"][0].pop("score"), "predictions: record 0: field 'score'"),
        (lambda a, p: p.append(3), "predictions: record 1: field 'file_name'"),
    ],
)
def test_malformed_files_are_refused_by_record_and_field(change, message):
    annotations, predictions = files()
    change(annotations, predictions)
    with pytest.raises(io.DataError, match=message):
        read_hoi_w(annotations, predictions)
