"""Small annotations and predictions made row by row, for tests of pair metrics."""

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.predictions import Predictions
from hoi_jax.schema import empty_record


def make_image(image_id, pairs, people=(), hw=(100, 100), actions=1):
    """A record. pairs: (human box, object box, object class, verb[, part states]); people: boxes without a pair."""
    record = empty_record(actions)
    record["image_id"], record["file_name"] = np.int64(image_id), f"HICO_test2015_{image_id:08d}.jpg".encode()
    record["original_hw_px"] = np.array(hw, np.int32)
    boxes = [box for pair in pairs for box in pair[:2]] + list(people)
    classes = [c for pair in pairs for c in (0, pair[2])] + [0] * len(people)
    count = len(boxes)
    record["instances_xyxy_px"] = np.array(boxes, np.float32).reshape(-1, 4)
    record["instances_class"] = np.array(classes, np.int32)
    record["instances_annotation_id"] = np.full(count, -1, np.int64)
    record["instances_keypoints_px"] = np.zeros((count, 17, 3), np.float32)
    record["instances_face_xyxy_px"] = np.zeros((count, 4), np.float32)
    record["instances_parts_xyxy_px"] = np.zeros((count, 10, 4), np.float32)
    record["pairs_human"] = np.arange(0, 2 * len(pairs), 2, dtype=np.int32)
    record["pairs_object"] = np.arange(1, 2 * len(pairs), 2, dtype=np.int32)
    record["pairs_verb"] = np.array([pair[3] for pair in pairs], np.int32)
    states = [pair[4] if len(pair) > 4 else [-1] * 10 for pair in pairs]
    record["pairs_part_states"] = np.array(states, np.int32).reshape(-1, 10)
    return record


def world(images, vocabulary="hico_det"):
    return Annotations.from_records(images, vocabulary)


def predictions(image_id, pairs, vocabulary="hico_det", trips=(), hoi_scores=None):
    """Predictions from pairs (dicts of image row, human, object; optional class, score, parts, kept) and triplets.

    trips: (pair, verb, score).
    """
    count = len(pairs)

    def column(name, missing, dtype):
        return np.array([pair.get(name, missing) for pair in pairs], dtype)

    triplet = list(zip(*trips, strict=True)) if trips else [(), (), ()]
    images = len(image_id)
    return Predictions(
        {"vocabulary": vocabulary},
        image_id=np.array(image_id, np.int64),
        image_hw_px=np.full((images, 2), 100),
        pair_image=column("image", 0, np.int64),
        pair_human_xyxy_px=column("human", None, np.float32).reshape(-1, 4),
        pair_object_xyxy_px=column("object", None, np.float32).reshape(-1, 4),
        pair_object_class=column("class", 0, np.int64),
        pair_human_score=np.ones(count, np.float32),
        pair_object_score=np.ones(count, np.float32),
        pair_interactiveness=column("score", np.nan, np.float32),
        pair_part_scores=column("parts", [np.nan] * 6, np.float32).reshape(-1, 6),
        pair_nis_keep=column("kept", True, bool),
        triplet_pair=np.array(triplet[0], np.int64),
        triplet_verb=np.array(triplet[1], np.int64),
        triplet_score=np.array(triplet[2], np.float32),
        agent_image=np.zeros(0, np.int64),
        agent_xyxy_px=np.zeros((0, 4), np.float32),
        agent_scores=np.zeros((0, 0), np.float32),
        hoi_scores=np.zeros((images, 0), np.float32) if hoi_scores is None else np.asarray(hoi_scores, np.float32),
    )
