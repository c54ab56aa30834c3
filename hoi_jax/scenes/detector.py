"""A simulated detector: the true instances with jitter, misses, false positives and confidences.

At noise level n: an instance is missed with probability MISS_RATE * n; every side of a box moves by a normal of
JITTER * n of the box's size; POISSON false positives of mean FALSE_POSITIVES * n per image get random boxes and
classes; keypoints move by KEYPOINT_JITTER * n of the person's box height and are lost with probability
KEYPOINT_LOSS * n. Confidences fall with noise; false positives have low ones. Level 0 returns the truth, score 1.
"""

import dataclasses

import numpy as np

from hoi_jax.scenes.annotate import Instances
from hoi_jax.scenes.rng import Rng
from hoi_jax.vocab.scenes import OBJECTS

MISS_RATE = 0.05
FALSE_POSITIVES = 0.6
JITTER = 0.03
KEYPOINT_JITTER = 0.012
KEYPOINT_LOSS = 0.03
SCORE_LOSS = 0.12


@dataclasses.dataclass
class Detections:
    """Tables of simulated detections. `source`: row of the instance each one comes from, -1 for a false positive."""

    xyxy_px: np.ndarray
    classes: np.ndarray
    score: np.ndarray
    keypoints_px: np.ndarray
    face_xyxy_px: np.ndarray
    source: np.ndarray


def _clip(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    limit = np.array([width, height, width, height], np.float64)
    return np.minimum(np.maximum(boxes, 0.0), limit)


def _shake(boxes: np.ndarray, rng: Rng, amount: float, height: int, width: int) -> np.ndarray:
    """Boxes [N, 4] with every side moved; empty ones stay empty, others are at least 2 px wide and high."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2], (1, 2))
    moved = _clip(boxes + rng.normal(boxes.shape) * amount * size, height, width)
    broken = np.any(moved[:, 2:] - moved[:, :2] < 2.0, axis=1)
    return np.where(broken[:, None], boxes, moved)


def _shake_keypoints(keypoints: np.ndarray, boxes: np.ndarray, rng: Rng, noise: float) -> np.ndarray:
    scale = (boxes[:, 3] - boxes[:, 1])[:, None, None]
    shift = rng.normal((*keypoints.shape[:2], 2)) * KEYPOINT_JITTER * noise * scale
    score = keypoints[..., 2] * np.clip(1.0 - 0.1 * noise * np.abs(rng.normal(keypoints.shape[:2])), 0.05, 1.0)
    lost = rng.uniform(keypoints.shape[:2]) < KEYPOINT_LOSS * noise
    keep = (score > 0.0) & ~lost
    moved = np.concatenate([keypoints[..., :2] + shift, score[..., None]], axis=-1)
    return np.where(keep[..., None], moved, 0.0)


def _false_positives(rng: Rng, noise: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [F, 4], classes [F] and scores [F] of false positives."""
    count, product, limit = 0, rng.unit(), float(np.exp(-FALSE_POSITIVES * noise))
    while product > limit:  # Knuth's draw from a Poisson distribution
        count, product = count + 1, product * rng.unit()
    boxes, classes, scores = [], [], []
    for _ in range(count):
        label = 0 if rng.chance(0.3) else rng.integer(1, len(OBJECTS) - 1)
        tall = min(height, width) * rng.between(0.1, 0.5)
        wide = tall * (rng.between(0.3, 0.6) if label == 0 else rng.between(0.6, 1.6))
        x, y = rng.between(0.0, width - min(wide, width)), rng.between(0.2, 1.0) * (height - tall)
        boxes.append((x, y, min(x + wide, width), y + tall))
        classes.append(label)
        scores.append(0.15 + 0.45 * rng.unit() * rng.unit())
    return np.array(boxes).reshape(count, 4), np.array(classes, np.int32), np.array(scores)


def detect(truth: Instances, noise: float, rng: Rng, height: int, width: int) -> Detections:
    """Simulated detections of an image of height x width px, sorted by falling confidence (truth order at level 0)."""
    count = len(truth.entity)
    found = np.array([not rng.chance(MISS_RATE * noise) for _ in range(count)], bool)
    source = np.flatnonzero(found)
    boxes = truth.xyxy_px[source].astype(np.float64)
    score = np.ones(len(source))
    keypoints = truth.keypoints_px[source].astype(np.float64)
    faces = truth.face_xyxy_px[source].astype(np.float64)
    classes = truth.classes[source]
    if noise > 0.0:
        keypoints = _shake_keypoints(keypoints, boxes, rng, noise)
        shaken = _shake(faces, rng, 2 * JITTER * noise, height, width)
        faces = np.where(np.all(faces[:, 2:] > faces[:, :2], axis=1)[:, None], shaken, faces)
        boxes = _shake(boxes, rng, JITTER * noise, height, width)
        score = np.clip(0.97 - SCORE_LOSS * noise * np.abs(rng.normal((len(source),))), 0.05, 1.0)
        extra, extra_classes, extra_score = _false_positives(rng, noise, height, width)
        boxes, classes = np.concatenate([boxes, extra]), np.concatenate([classes, extra_classes])
        score, source = np.concatenate([score, extra_score]), np.concatenate([source, np.full(len(extra), -1)])
        keypoints = np.concatenate([keypoints, np.zeros((len(extra), 17, 3))])
        faces = np.concatenate([faces, np.zeros((len(extra), 4))])
        order = np.argsort(-score, kind="stable")
        boxes, classes, score, source = boxes[order], classes[order], score[order], source[order]
        keypoints, faces = keypoints[order], faces[order]
    return Detections(
        boxes.astype(np.float32), classes.astype(np.int32), score.astype(np.float32),
        keypoints.astype(np.float32), faces.astype(np.float32), source.astype(np.int32),
    )  # fmt: skip
