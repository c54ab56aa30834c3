"""Geometric transforms of the tables of one example, in TensorFlow: resize, flip, crop.

An example is a dictionary of `schema.RECORD_FIELDS` tensors, with the image size `image_hw_px` that its positions refer
to; every transform changes all columns with positions (boxes, faces, parts, keypoints). `pixels` changes images and
masks in the same way. Boxes are continuous corners, so mirroring is x -> width - x.
"""

import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data.records import Tensor

Example = dict[str, Tensor]

_BOXES = ("_xyxy_px", "_face_xyxy_px", "_parts_xyxy_px")
_TABLES = ("instances", "detections")


def _map_places(example: Example, boxes, points) -> Example:
    """Apply `boxes` to every box column and `points` to every keypoint column."""
    changed = dict(example)
    for table in (*_TABLES, "faces"):
        for suffix in _BOXES:
            name = table + suffix
            if name in example:
                empty = tf.reduce_all(example[name][..., 2:] <= example[name][..., :2], axis=-1, keepdims=True)
                moved = boxes(example[name])
                # A zero box means "none" and must stay zero.
                changed[name] = tf.where(empty, tf.zeros_like(moved), moved)
        name = f"{table}_keypoints_px"
        if name in example:
            xy, score = example[name][..., :2], example[name][..., 2:]
            changed[name] = tf.concat([tf.where(score > 0, points(xy), tf.zeros_like(xy)), score], axis=-1)
    return changed


def resize(example: Example, hw: Tensor) -> Example:
    """Scale all positions from image size `image_hw_px` to size `hw` [2] int32.

    Each axis is scaled by the ratio of new to old size, so that boxes stay exactly aligned with pixels.
    """
    scale_xy = tf.reverse(tf.cast(hw, tf.float32) / tf.cast(example["image_hw_px"], tf.float32), [0])
    scale_box = tf.concat([scale_xy, scale_xy], 0)
    moved = _map_places(example, lambda boxes: boxes * scale_box, lambda xy: xy * scale_xy)
    return {**moved, "image_hw_px": hw}


def flip_horizontal(example: Example) -> Example:
    """Mirror all positions; left and right keypoints and body parts are swapped."""
    width = tf.cast(example["image_hw_px"][1], tf.float32)

    def boxes(b):
        return tf.stack([width - b[..., 2], b[..., 1], width - b[..., 0], b[..., 3]], axis=-1)

    def points(xy):
        return tf.stack([width - xy[..., 0], xy[..., 1]], axis=-1)

    flipped = _map_places(example, boxes, points)
    for table in _TABLES:
        for column, order in (
            ("keypoints_px", schema.KEYPOINT_MIRROR),
            ("parts_xyxy_px", schema.PART_MIRROR),
        ):
            name = f"{table}_{column}"
            if name in flipped:
                flipped[name] = tf.gather(flipped[name], order, axis=1)
    if "pairs_part_states" in flipped:
        flipped["pairs_part_states"] = tf.gather(flipped["pairs_part_states"], schema.PART_MIRROR, axis=1)
    return flipped


def crop(example: Example, window_xyxy_px: Tensor, *, min_visible: float) -> Example:
    """Crop to a window of whole pixels [4]; boxes are clipped to it.

    Sets `instances_inside` and `detections_inside` [n] bool: a share of at least `min_visible`, above 0, of the box
    area is left. Rows are not removed, because pairs refer to them by index.
    """
    window = tf.cast(window_xyxy_px, tf.float32)
    offset = window[:2]
    size = window[2:] - offset

    def boxes(b):
        low = tf.clip_by_value(b[..., :2] - offset, 0.0, size)
        high = tf.clip_by_value(b[..., 2:] - offset, 0.0, size)
        return tf.concat([low, high], axis=-1)

    moved = _map_places(example, boxes, lambda xy: xy - offset)
    for table in _TABLES:
        name = f"{table}_xyxy_px"
        if name in example:
            before, after = _area(example[name]), _area(moved[name])
            moved[f"{table}_inside"] = (after >= min_visible * before) & ((after > 0) | (before <= 0))
        name = f"{table}_keypoints_px"
        if name in moved:
            xy = moved[name][..., :2]
            inside = tf.reduce_all((xy >= 0.0) & (xy < size), axis=-1, keepdims=True)
            moved[name] = tf.where(inside, moved[name], tf.zeros_like(moved[name]))
    moved["image_hw_px"] = tf.cast(tf.reverse(size, [0]), tf.int32)
    return moved


def _area(xyxy: Tensor) -> Tensor:
    return (xyxy[..., 2] - xyxy[..., 0]) * (xyxy[..., 3] - xyxy[..., 1])
