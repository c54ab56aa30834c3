"""Merging of nearly coincident annotated boxes into instances (CALIPSO section 4.5.3, after InteractNet).

HICO-DET draws boxes anew for every HOI class, so that one person has several nearly coincident boxes. Boxes that match
the same detection become one instance, with all of their labels.
"""

import numpy as np
import tensorflow as tf
from jaxtyping import Float, Int

from hoi_jax.data.records import Tensor

Example = dict[str, Tensor]


def _pairwise_iou(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "rows columns"]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)


def group_boxes(
    boxes_xyxy: Float[np.ndarray, "boxes 4"],
    classes: Int[np.ndarray, " boxes"],
    found_xyxy: Float[np.ndarray, "found 4"],
    found_class: Int[np.ndarray, " found"],
    *,
    overlap: float = 0.5,
    keep_unmatched: bool = True,
) -> tuple[Float[np.ndarray, "groups 4"], Int[np.ndarray, " boxes"]]:
    """Group annotated boxes into instances.

    A box takes the detection of its class with the largest IoU, if that is above `overlap`; boxes of one detection are
    one instance, with the detection's box. The others are clustered in order: a box joins the first cluster of its
    class whose first box it overlaps by more than `overlap`; the instance's box is the mean of the cluster.

    Args:
      keep_unmatched: False drops boxes that no detection matches.

    Returns:
      Boxes of the instances, in the order of their first annotated box, and the instance of each box, -1 = dropped.
    """
    count = len(boxes_xyxy)
    # Row of the detection, -1 = not matched.
    match = np.full(count, -1)
    if count and len(found_xyxy):
        shared = _pairwise_iou(boxes_xyxy, found_xyxy) * (classes[:, None] == found_class[None])
        match = np.where(shared.max(axis=1) > overlap, shared.argmax(axis=1), -1)
    own = _pairwise_iou(boxes_xyxy, boxes_xyxy)
    first: list[int] = []  # first annotated box of every instance
    group = np.full(count, -1)
    for box in range(count):
        if match[box] < 0 and not keep_unmatched:
            continue
        for number, other in enumerate(first):
            same = classes[other] == classes[box] and match[other] == match[box]
            if same and (match[box] >= 0 or own[box, other] > overlap):
                group[box] = number
                break
        else:
            group[box] = len(first)
            first.append(box)
    boxes = np.zeros((len(first), 4), np.float32)
    for number, box in enumerate(first):
        boxes[number] = found_xyxy[match[box]] if match[box] >= 0 else boxes_xyxy[group == number].mean(axis=0)
    return boxes, group.astype(np.int32)


def clean_labels(example: Example, *, overlap: float = 0.5, keep_unmatched: bool = True) -> Example:
    """An example with instances and pairs grouped by `group_boxes`, using its detections (without any, by clustering).

    Other columns of an instance are those of its first box. Pairs of dropped boxes, and pairs whose two boxes became
    one instance, are removed.
    """

    def group(boxes, classes, found, found_class):
        new, number = group_boxes(boxes, classes, found, found_class, overlap=overlap, keep_unmatched=keep_unmatched)
        return new, number, np.array([np.argmax(number == g) for g in range(len(new))], np.int32)

    columns = ("instances_xyxy_px", "instances_class", "detections_xyxy_px", "detections_class")
    boxes, number, first = tf.numpy_function(group, [example[c] for c in columns], (tf.float32, tf.int32, tf.int32))
    first = tf.ensure_shape(first, (None,))
    cleaned = {k: tf.gather(v, first) if k.startswith("instances_") else v for k, v in example.items()}
    cleaned["instances_xyxy_px"] = tf.ensure_shape(boxes, (None, 4))
    number = tf.concat([tf.ensure_shape(number, (None,)), [-1]], axis=0)  # the last entry is "no object"
    human = tf.gather(number, example["pairs_human"])
    no_object = example["pairs_object"] < 0
    obj = tf.gather(number, tf.where(no_object, tf.shape(number)[0] - 1, example["pairs_object"]))
    keep = (human >= 0) & (no_object | (obj >= 0)) & (human != obj)
    cleaned |= {"pairs_human": human, "pairs_object": obj}
    return {k: tf.boolean_mask(v, keep) if k.startswith("pairs_") else v for k, v in cleaned.items()}
