"""Cleaning loose annotations: which boxes become one instance, and what happens to pairs."""

import numpy as np
import pytest
import tensorflow as tf

from data_prep.builder import DatasetSource, build
from hoi_jax.data.label_cleaning import clean_labels, group_boxes
from hoi_jax.data.pipeline import Pipeline
from hoi_jax.data.records import RecordFiles
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.io import DataError
from hoi_jax.scenes import SceneSettings, make_scene
from hoi_jax.vocab import get_vocabulary

PERSON, CUP = 0, 1
BOXES = np.float32([
    [0, 0, 10, 20],  # the person, as one annotator drew it
    [20, 0, 26, 6],  # a cup
    [0, 1, 10, 21],  # the same person again
    [20, 0, 26, 6],  # a box of another class at the cup's place
    [50, 50, 60, 60],  # a person that nobody detected
    [50, 51, 60, 61],  # the same
])  # fmt: skip
CLASSES = np.int32([PERSON, CUP, PERSON, PERSON, PERSON, PERSON])
FOUND = np.float32([[1, 1, 10, 20], [20, 0, 26, 7], [0, 0, 10, 19]])
FOUND_CLASS = np.int32([PERSON, CUP, CUP])


def test_boxes_of_one_detection_become_that_detection():
    boxes, group = group_boxes(BOXES, CLASSES, FOUND, FOUND_CLASS)
    assert group.tolist() == [0, 1, 0, 2, 3, 3]
    np.testing.assert_array_equal(boxes[:2], FOUND[:2])


def test_unmatched_boxes_are_clustered_to_their_mean_or_dropped():
    boxes, _ = group_boxes(BOXES, CLASSES, FOUND, FOUND_CLASS)
    np.testing.assert_allclose(boxes[3], [50, 50.5, 60, 60.5])
    boxes, group = group_boxes(BOXES, CLASSES, FOUND, FOUND_CLASS, keep_unmatched=False)
    assert group.tolist() == [0, 1, 0, -1, -1, -1] and len(boxes) == 2


def test_without_a_detector_overlapping_boxes_of_a_class_are_clustered():
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
    boxes, group = group_boxes(BOXES, CLASSES, *nothing)
    assert group.tolist() == [0, 1, 0, 2, 3, 3]
    np.testing.assert_allclose(boxes[0], [0, 0.5, 10, 20.5])
    boxes, group = group_boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), FOUND, FOUND_CLASS)
    assert boxes.shape == (0, 4) and group.shape == (0,)


def test_the_detection_with_the_largest_overlap_wins():
    found = np.float32([[0, 4, 10, 20], [0, 1, 10, 20]])
    boxes, _ = group_boxes(BOXES[:1], CLASSES[:1], found, np.int32([PERSON, PERSON]))
    np.testing.assert_array_equal(boxes[0], found[1])


def test_pairs_follow_their_boxes_and_lose_what_was_dropped_or_became_one():
    example = {
        "instances_xyxy_px": tf.constant(BOXES),
        "instances_class": tf.constant(CLASSES),
        "instances_annotation_id": tf.range(10, 16),
        "detections_xyxy_px": tf.constant(FOUND),
        "detections_class": tf.constant(FOUND_CLASS),
        "pairs_human": tf.constant([0, 2, 0, 4, 2]),
        "pairs_object": tf.constant([1, 1, 2, 1, -1]),
        "pairs_verb": tf.constant([5, 6, 7, 8, 9]),
    }
    kept = clean_labels(example)
    assert kept["instances_annotation_id"].numpy().tolist() == [10, 11, 13, 14]
    rows = zip(*(kept[f"pairs_{c}"].numpy().tolist() for c in ("human", "object", "verb")), strict=True)
    assert list(rows) == [(0, 1, 5), (0, 1, 6), (3, 1, 8), (0, -1, 9)]
    dropped = clean_labels(example, keep_unmatched=False)
    assert dropped["pairs_verb"].numpy().tolist() == [5, 6, 9]


def test_the_pipeline_cleans_before_it_makes_tables(tmp_path):
    def scenes():
        for number in range(3):
            scene = make_scene(SceneSettings(), number)
            # Every box twice, moved by a pixel; pairs name the second ones.
            boxes = np.concatenate([scene["instances_xyxy_px"], scene["instances_xyxy_px"] + np.float32(0.5)])
            count = len(scene["instances_class"])
            twice = {
                k: v + v if isinstance(v, list) else np.concatenate([v, v])
                for k, v in scene.items()
                if k.startswith("instances_")
            }
            moved = {k: scene[k] + count for k in ("pairs_human", "pairs_object")}
            yield {**scene, **twice, **moved, "instances_xyxy_px": boxes}

    vocabularies = "hoi_scenes", "hoi_scenes_actions"
    source = DatasetSource("hoi_scenes/twice", "1.0.0", "boxes twice", *vocabularies, {"train": (3, scenes)})
    directory = build(source, tmp_path)
    needs = frozenset({"instances_xyxy_px", "instances_valid", "pairs_human", "pairs_object", "pairs_valid"})

    def batch(clean, **changes):
        pipeline = Pipeline(
            files=RecordFiles(directory, "train"),
            vocabulary=get_vocabulary("hoi_scenes"),
            dataset=DatasetSettings("hoi_scenes/twice", "hoi_scenes", clean_labels=clean),
            sizes=SizeSettings((128, 128), instances=48, detections=24, pairs=48, persons=16),
            options=PipelineSettings(threads=1),
            augment=AugmentSettings(),
            batch_size=3,
            **{"needs": needs, **changes},
        )
        return next(pipeline.eval_batches())

    raw, cleaned = batch("none"), batch("cluster")
    found = batch("detections")
    half = raw["instances_valid"].sum(1) // 2
    assert (cleaned["instances_valid"].sum(1) <= half).all() and (found["instances_valid"].sum(1) <= half).all()
    assert (cleaned["pairs_human"].max(1) < half).all() and cleaned["pairs_valid"].sum() > 0
    first = raw["instances_xyxy_px"][0, 0]
    assert np.abs(cleaned["instances_xyxy_px"][0] - first - 0.25).max(axis=1).min() < 1e-5
    with pytest.raises(DataError, match="labels of persons"):
        batch("cluster", needs=needs | {"persons_valid"})
