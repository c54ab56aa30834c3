"""Relation segmentation: drawn images, PIC's and HOI-W's result files."""

import numpy as np
import pytest

from hoi_jax.annotations import COLUMNS, TABLES, Annotations
from hoi_jax.commands.segment_relations import pic_record
from hoi_jax.evaluation.metrics.hoi_w import evaluate_hoi_w
from hoi_jax.evaluation.metrics.pic import Scene
from hoi_jax.formats.labels.hoi_w import read_hoi_w
from hoi_jax.formats.predictions.hoi_w import hoi_w_results
from hoi_jax.io import DataError
from hoi_jax.predictions import PredictionWriter
from hoi_jax.schema import RECORD_FIELDS
from hoi_jax.visualization import colours
from hoi_jax.visualization.masks import draw_segments, tinted
from hoi_jax.vocab import get_vocabulary

VOCABULARY = get_vocabulary("hoi_scenes")


def scene():
    instance = np.zeros((90, 120), np.int64)
    instance[10:80, 10:50], instance[40:60, 60:110] = 1, 2
    semantic = np.where(instance == 1, 1, np.where(instance == 2, 5, 0))
    relations = np.array([[1, 2, 3], [1, 2, 4], [1, 7, 2]])
    return Scene(semantic, instance, relations, np.array([0.4, 0.8, 0.9]))


def test_people_and_objects_are_tinted_and_the_rest_is_left_alone():
    image = np.full((90, 120, 3), 100, np.uint8)
    out = tinted(image, scene(), 0)
    assert (out[2, 2] == 100).all() and (out[85, 115] == 100).all()
    mixed = np.round(0.45 * 100 + 0.55 * np.array(colours.PERSON))
    np.testing.assert_array_equal(out[30, 30], mixed)
    assert not np.array_equal(out[50, 80], out[30, 30]) and not (out[50, 80] == 100).all()
    assert (out[30, 10] == 255).all()  # The edge of the person.


def test_drawn_images_name_what_people_do_and_skip_what_is_not_visible():
    drawn = draw_segments(np.full((90, 120, 3), 100, np.uint8), scene(), VOCABULARY)
    alone = draw_segments(np.full((90, 120, 3), 100, np.uint8), scene(), VOCABULARY, links=0)
    assert drawn.size == alone.size and np.any(np.asarray(drawn) != np.asarray(alone))
    weak_left_out = draw_segments(np.full((90, 120, 3), 100, np.uint8), scene(), VOCABULARY, min_score=0.81)
    np.testing.assert_array_equal(np.asarray(weak_left_out), np.asarray(alone))  # 0.9 names what is not visible.
    with pytest.raises(ValueError, match="scene"):
        draw_segments(np.zeros((10, 10, 3), np.uint8), scene(), VOCABULARY)


def test_pic_records_hold_subject_object_relation_and_score():
    record = pic_record(scene(), "a.jpg", 7)
    assert record["relations"][1] == {"subject": 1, "object": 2, "relation": 4, "score": 0.8}
    assert record["name"] == "a.jpg" and record["image_id"] == 7


def annotations(names):
    counts = {table: np.zeros(len(names), np.int64) for table in (*TABLES, "hoi_labels")}
    shape = {-1: 0, "A": 0}
    columns = {
        name: np.zeros(tuple(int(shape.get(a, a)) for a in RECORD_FIELDS[name].axes), RECORD_FIELDS[name].dtype)
        for names_ in (*COLUMNS.values(), ("hoi_labels",)) for name in names_
    }  # fmt: skip
    size = np.full((len(names), 2), 100)
    return Annotations("hoi_w", None, np.arange(len(names)), size, np.array(names), counts, columns)


def test_hoi_w_results_of_true_predictions_score_one(tmp_path):
    """Written, read by the reader of the official layout, and scored against annotations of the same boxes."""
    human, ball = [10.0, 10, 50, 90], [60.0, 40, 80, 60]
    batch = {
        "batch_valid": np.ones(1, bool), "image_id": np.array([1], np.int32),
        "image_hw_px": np.array([[50, 50]], np.int32), "original_hw_px": np.array([[100, 100]], np.int32),
    }  # fmt: skip
    scores = np.zeros((1, 1, 10), np.float32)
    scores[0, 0, [7, 6]] = 0.9, 0.005
    with PredictionWriter(tmp_path / "p.npz", "hoi_w") as writer:
        writer.add(batch, {
            "human_xyxy_px": np.array([[human]], np.float32) / 2, "object_xyxy_px": np.array([[ball]], np.float32) / 2,
            "object_class": np.full((1, 1), 8, np.int32), "verb_scores": scores, "pair_valid": np.ones((1, 1), bool),
        })  # fmt: skip
    results = hoi_w_results(writer.predictions(), annotations(["a.jpg", "b.jpg"]))
    assert len(results) == 1 and len(results[0]["hoi_prediction"]) == 1  # 0.005 is below the least score.
    truth = [
        {"file_name": "a.jpg", "annotations": [], "hoi_annotation": []},
        {
            "file_name": "b.jpg",
            "annotations": [{"bbox": human, "category_id": "1"}, {"bbox": ball, "category_id": "9"}],
            "hoi_annotation": [{"subject_id": 0, "object_id": 1, "category_id": 8}],
        },
    ]
    expected, found, _ = read_hoi_w(truth, results)
    assert evaluate_hoi_w(expected, found).metrics["hoi_w/map_rel"] == pytest.approx(0.1)  # One of ten verbs.
    with pytest.raises(DataError, match="image 1"):
        hoi_w_results(writer.predictions(), annotations(["a.jpg"]))
