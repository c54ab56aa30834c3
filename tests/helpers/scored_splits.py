"""Small annotated splits in the styles of HICO-DET and V-COCO, and predictions made from them."""

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.predictions import PredictionWriter
from hoi_jax.schema import empty_record
from hoi_jax.vocab.datasets import HICO, VCOCO


def fill_instances(record, boxes, classes):
    count = len(boxes)
    record["instances_xyxy_px"] = np.array(boxes, np.float32).reshape(-1, 4)
    record["instances_class"] = np.array(classes, np.int32)
    record["instances_annotation_id"] = np.full(count, -1, np.int64)
    record["instances_keypoints_px"] = np.zeros((count, 17, 3), np.float32)
    record["instances_face_xyxy_px"] = np.zeros((count, 4), np.float32)
    record["instances_parts_xyxy_px"] = np.zeros((count, 10, 4), np.float32)


def fill_pairs(record, human, obj, verb):
    record["pairs_human"], record["pairs_object"] = np.array(human, np.int32), np.array(obj, np.int32)
    record["pairs_verb"] = np.array(verb, np.int32)
    record["pairs_part_states"] = np.full((len(verb), 10), -1, np.int32)


def record_of(image_id, num_actions=1):
    record = empty_record(num_actions)
    record["image_id"], record["file_name"] = np.int64(image_id), f"{image_id}.jpg".encode()
    record["original_hw_px"] = np.array([200, 400], np.int32)
    return record


def hico_split(seed, num_images=12):
    """Random valid HICO pairs on integer boxes; the first two people of every image have an object each."""
    random, records = np.random.default_rng(seed), []
    for image in range(num_images):
        record = record_of(image + 100)
        hois = random.integers(0, 600, 4)
        corners = np.sort(random.integers(0, 200, (8, 2, 2)), axis=1).reshape(8, 4) + [0, 0, 8, 8]
        fill_instances(record, corners, [0] * 4 + [HICO.hois[hoi][1] for hoi in hois])
        fill_pairs(record, range(4), range(4, 8), [HICO.hois[hoi][0] for hoi in hois])
        record["detections_xyxy_px"] = record["instances_xyxy_px"]
        record["detections_class"] = record["instances_class"]
        record["detections_score"] = np.linspace(0.9, 0.5, 8, dtype=np.float32)
        record["detections_keypoints_px"] = np.zeros((8, 17, 3), np.float32)
        record["detections_face_xyxy_px"] = np.zeros((8, 4), np.float32)
        records.append(record)
    return Annotations.from_records(records, "hico_det")


def predictions_of(annotations, jitter=0, kept=True):
    """Predictions made on half-size images: each annotated pair with its verb, boxes moved by `jitter` pixels."""
    count, random = annotations.num_images, np.random.default_rng(0)
    pairs, verbs = annotations.counts["pairs"].max(), len(HICO.verbs)
    fields = {
        "human_xyxy_px": np.zeros((count, pairs, 4), np.float32),
        "object_xyxy_px": np.zeros((count, pairs, 4), np.float32),
        "object_class": np.zeros((count, pairs), np.int32),
        "verb_scores": np.zeros((count, pairs, verbs), np.float32),
        "kept": np.full((count, pairs), kept),
        "pair_valid": np.zeros((count, pairs), bool),
    }
    boxes = annotations["instances_xyxy_px"]
    human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
    image = annotations.image_rows("pairs")
    slot = np.arange(len(image)) - np.searchsorted(image, image)
    moved = random.integers(-jitter, jitter + 1, (2, len(image), 4))
    fields["human_xyxy_px"][image, slot] = (boxes[human] + moved[0]) / 2
    fields["object_xyxy_px"][image, slot] = (boxes[obj] + moved[1]) / 2
    fields["object_class"][image, slot] = annotations["instances_class"][obj]
    fields["pair_valid"][image, slot] = True
    score = np.linspace(0.9, 0.1, len(image))
    fields["verb_scores"][image, slot, annotations["pairs_verb"]] = score
    fields["verb_scores"][image, slot, 3] = score / 2  # a verb without a class for most objects
    batch = {
        "image_id": annotations.image_id.astype(np.int32),
        "batch_valid": np.ones(count, bool),
        "image_hw_px": annotations.original_hw_px // 2,
        "original_hw_px": annotations.original_hw_px,
    }
    writer = PredictionWriter("unused.npz", annotations.vocabulary_name, {"system": "copy"})
    writer.add(batch, fields)
    return writer.predictions()


def vcoco_split():
    """One image with a person who holds an object, one who stands, one without labels, one with an unseen object."""
    record = record_of(1, num_actions=26)
    boxes = [[0, 0, 40, 80], [30, 30, 50, 60], [100, 0, 140, 80], [200, 0, 240, 80], [300, 0, 340, 80]]
    fill_instances(record, boxes, [0, 39, 0, 0, 0])
    actions = np.zeros((3, 26), np.int32)
    hold, stand, cut = (VCOCO.actions.index(name) for name in ("hold", "stand", "cut"))
    actions[0, hold] = actions[1, stand] = actions[2, cut] = 1
    roles = np.full((3, 26, 2), -1, np.int32)
    roles[0, hold, 0] = 1
    record["persons_instance"] = np.array([0, 2, 4], np.int32)
    record["persons_actions"], record["persons_roles"] = actions, roles
    fill_pairs(record, [0], [1], [VCOCO.verbs.index("hold_obj")])
    return Annotations.from_records([record], "vcoco", "vcoco")


def vcoco_predictions(rows, agents=()):
    """Predictions from rows (human box, object box, verb name, score) and agents (box, verb name, score)."""
    writer = PredictionWriter("unused.npz", "vcoco")
    batch = {
        "image_id": np.array([1], np.int32),
        "batch_valid": np.ones(1, bool),
        "image_hw_px": np.array([[200, 400]], np.int32),
        "original_hw_px": np.array([[200, 400]], np.int32),
    }
    fields = {
        "human_xyxy_px": np.array([[row[0] for row in rows]], np.float32).reshape(1, -1, 4),
        "object_xyxy_px": np.array([[row[1] for row in rows]], np.float32).reshape(1, -1, 4),
        "verb_scores": np.zeros((1, len(rows), 29), np.float32),
        "pair_valid": np.ones((1, len(rows)), bool),
    }
    for number, (_, _, verb, score) in enumerate(rows):
        fields["verb_scores"][0, number, VCOCO.verbs.index(verb)] = score
    if agents:
        fields["agent_xyxy_px"] = np.array([[box for box, _, _ in agents]], np.float32)
        fields["agent_scores"] = np.full((1, len(agents), 29), np.nan, np.float32)
        for number, (_, verb, score) in enumerate(agents):
            fields["agent_scores"][0, number, VCOCO.verbs.index(verb)] = score
        fields["agent_valid"] = np.ones((1, len(agents)), bool)
    writer.add(batch, fields)
    return writer.predictions()


HOLDER, BOTTLE, STANDER, UNLABELLED, CUTTER = (
    [0, 0, 40, 80], [30, 30, 50, 60], [100, 0, 140, 80], [200, 0, 240, 80], [300, 0, 340, 80],
)  # fmt: skip


NOTHING = [np.nan] * 4
