"""Faces of an image reach annotated and detected people by one rule, in training and at test, without detections."""

import json

import numpy as np
import pytest

from configs import cascade_hoi_scenes
from data_prep.builder import DatasetSource, build
from data_prep.side_inputs import SideFiles, SideInputs
from hoi_jax.data.pipeline import Pipeline
from hoi_jax.data.records import RecordFiles, content_counts
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.experiment import load_experiment
from hoi_jax.scenes import SceneSettings, make_scene
from hoi_jax.systems.cascade.config import CascadeConfig
from hoi_jax.systems.cascade.entities import annotated_boxes, faces_of
from hoi_jax.vocab import get_vocabulary

COUNT, SIDE = 6, 64
SCENES = SceneSettings(height_px=SIDE, width_px=SIDE)
VOCABULARY = get_vocabulary("hoi_scenes")
HUMAN = VOCABULARY.human_class


def scene(number):
    """A scene as a dataset without detections and without faces has it."""
    record = make_scene(SCENES, number)
    empty = {name: values[:0] for name, values in record.items() if name.startswith("detections_")}
    return record | empty | {"instances_face_xyxy_px": np.zeros_like(record["instances_face_xyxy_px"])}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """What a face detector finds: the scenes' true faces, and one that is nobody's; the file, and boxes by image."""
    rows, boxes = [], {}
    for number in range(COUNT):
        record = make_scene(SCENES, number)
        true = record["instances_face_xyxy_px"]
        true = true[(true[:, 2:] > true[:, :2]).all(1)]
        found = np.concatenate([true, np.array([[0, 0, 1.5, 1.5]], np.float32)]).astype(np.float64)
        boxes[number] = found.astype(np.float32)
        for x1, y1, x2, y2 in found.tolist():
            name = record["file_name"].decode()
            rows.append({"file_name": name, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 0.9})
    path = tmp_path_factory.mktemp("faces") / "faces.json"
    path.write_text(json.dumps(rows))
    return path, boxes


@pytest.fixture(scope="module")
def directory(faces, tmp_path_factory):
    sides = SideInputs(VOCABULARY, SideFiles(faces={"": [faces[0]]}))
    source = DatasetSource(
        name="hoi_scenes/faces",
        version="1.0.0",
        description="scenes with faces, without detections",
        pairs_vocabulary="hoi_scenes",
        persons_vocabulary="hoi_scenes_actions",
        splits={"train": (COUNT, lambda: (sides.add_to(scene(number)) for number in range(COUNT)))},
    )
    return build(source, tmp_path_factory.mktemp("data"))


def pipeline(directory, needs, image_hw=(SIDE, SIDE), **changes):
    return Pipeline(
        files=RecordFiles(directory, "train"),
        vocabulary=VOCABULARY,
        dataset=DatasetSettings("hoi_scenes/faces", "hoi_scenes"),
        sizes=SizeSettings(image_hw, instances=24, detections=24, pairs=64, persons=16, faces=8, fit="enlarge"),
        options=PipelineSettings(threads=1),
        augment=changes.get("augment", AugmentSettings()),
        needs=needs,
        batch_size=COUNT,
        seed=3,
    )


def test_faces_need_no_detections_and_are_the_same_in_training_and_at_test(directory, faces):
    """The system asks for one table both times; it holds the file's boxes, whoever's they are."""
    system = load_experiment(cascade_hoi_scenes.get_config().to_dict()).build_system()
    assert "faces_xyxy_px" in system.needs_train & system.needs_predict
    counts = content_counts(RecordFiles(directory, "train").meta, "train")
    assert counts["detections"] == counts["detections_face_xyxy_px"] == 0
    assert counts["faces_xyxy_px"] == sum(len(boxes) for boxes in faces[1].values()) > 2 * COUNT
    needs = frozenset({"faces_xyxy_px", "image"})
    flat = next(pipeline(directory, needs).eval_batches())
    twice = next(pipeline(directory, needs, (2 * SIDE, 2 * SIDE)).eval_batches())
    mirrored = next(pipeline(directory, needs, augment=AugmentSettings(flip=1.0)).train_batches(0))
    for row, number in enumerate(flat["image_id"]):
        wanted = faces[1][int(number)]
        got = flat["faces_xyxy_px"][row]
        np.testing.assert_allclose(got[: len(wanted)], wanted, atol=1e-4)
        assert got.shape == (8, 4) and not got[len(wanted) :].any()
        np.testing.assert_allclose(twice["faces_xyxy_px"][row], 2 * got, atol=1e-4)
    for row, number in enumerate(mirrored["image_id"]):
        wanted = faces[1][int(number)]
        got = mirrored["faces_xyxy_px"][row, : len(wanted)]
        np.testing.assert_allclose(
            got, np.stack([SIDE - wanted[:, 2], wanted[:, 1], SIDE - wanted[:, 0], wanted[:, 3]], 1)
        )


def test_annotated_and_detected_people_find_the_same_faces(directory):
    needs = frozenset({"faces_xyxy_px", "instances_xyxy_px", "instances_class", "instances_valid"})
    batch = next(pipeline(directory, needs).eval_batches())
    truth = annotated_boxes(batch, HUMAN, CascadeConfig())
    person = batch["instances_valid"] & (batch["instances_class"] == HUMAN)
    as_detected = faces_of(batch["instances_xyxy_px"], person, batch)
    np.testing.assert_array_equal(truth.faces, as_detected)
    has = np.asarray(truth.faces).any(-1)
    assert has[person].mean() > 0.5 and not has[~person].any()
    for row, number in enumerate(batch["image_id"]):
        # Where only one person is, the face is the scene's own one.
        true = make_scene(SCENES, int(number))["instances_face_xyxy_px"]
        people = np.flatnonzero(person[row])
        if len(people) == 1 and true[people[0]].any():
            np.testing.assert_allclose(truth.faces[row, people[0]], true[people[0]], atol=1e-4)
    without = {name: value for name, value in batch.items() if name != "faces_xyxy_px"}
    assert not np.asarray(annotated_boxes(without, HUMAN, CascadeConfig()).faces).any()
