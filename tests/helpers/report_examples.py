"""Annotated images of a man, a ball and a cup, and predictions for them, row by row."""

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.predictions import Predictions
from hoi_jax.schema import empty_record
from hoi_jax.vocab import get_vocabulary

VOCABULARY = get_vocabulary("hoi_scenes")


PERSON, BALL, CUP = (VOCABULARY.objects.index(n) for n in ("person", "ball", "cup"))


KICK, HOLD, LOOK = (VOCABULARY.verbs.index(n) for n in ("kick", "hold", "look_at"))


MAN, OBJECT, FAR = (10.0, 10.0, 50.0, 90.0), (60.0, 60.0, 80.0, 80.0), (5.0, 92.0, 30.0, 99.0)


def record(image_id, pairs):
    """Record of an image with a man, a ball and a cup further away; `pairs` are (instance, verb) of the man."""
    row = empty_record(0)
    row |= {
        "image_id": np.int64(image_id),
        "file_name": b"x.png",
        "original_hw_px": np.array([100, 100], np.int32),
        "instances_xyxy_px": np.array([MAN, OBJECT, FAR], np.float32),
        "instances_class": np.array([PERSON, BALL, CUP], np.int32),
        "pairs_human": np.zeros(len(pairs), np.int32),
        "pairs_object": np.array([p for p, _ in pairs], np.int32),
        "pairs_verb": np.array([v for _, v in pairs], np.int32),
        "pairs_part_states": np.full((len(pairs), 10), -1, np.int32),
    }
    for name, shape in (("annotation_id", ()), ("keypoints_px", (17, 3)), ("face_xyxy_px", (4,))):
        row[f"instances_{name}"] = np.zeros((3, *shape), row[f"instances_{name}"].dtype)
    row["instances_parts_xyxy_px"] = np.zeros((3, 10, 4), np.float32)
    return row


def annotations(*images):
    return Annotations.from_records([record(i + 100, pairs) for i, pairs in enumerate(images)], "hoi_scenes")


def predictions(rows, image_ids, kept=None):
    """Predictions from rows (image row, human, object, class, verb, score), one pair each."""
    image, human, obj, cls, verb, score = zip(*rows, strict=True)
    p, i = len(rows), len(image_ids)
    nan = np.full(p, np.nan, np.float32)
    return Predictions(
        {"vocabulary": "hoi_scenes"},
        np.array(image_ids), np.full((i, 2), 100), np.array(image),
        np.array(human, np.float32), np.array(obj, np.float32), np.array(cls),
        nan, nan, nan, np.full((p, 6), np.nan, np.float32),
        np.ones(p, bool) if kept is None else np.array(kept),
        np.arange(p), np.array(verb), np.array(score, np.float32),
        np.zeros(0, int), np.zeros((0, 4), np.float32), np.zeros((0, len(VOCABULARY.verbs)), np.float32),
        np.zeros((i, 0), np.float32),
    )  # fmt: skip
