"""Padded tables of fixed size (`schema.BATCH_FIELDS`) from the raw rows of one example, in TensorFlow."""

import numpy as np
import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data.records import Tensor
from hoi_jax.data.settings import SizeSettings
from hoi_jax.vocab import Vocabulary

Example = dict[str, Tensor]


def pad_rows(rows: Tensor, capacity: int, fill: int | float | bool = 0) -> Tensor:
    """The first `capacity` rows, padded with `fill`; static shape [capacity, ...]."""
    rows = rows[:capacity]
    missing = capacity - tf.shape(rows)[0]
    padding = [[0, missing]] + [[0, 0]] * (rows.shape.rank - 1)
    padded = tf.pad(rows, padding, constant_values=tf.cast(fill, rows.dtype))
    return tf.ensure_shape(padded, (capacity, *rows.shape[1:]))


def detections_from_instances(example: Example) -> Example:
    """The annotated boxes as detections with score 1, with each distinct box and class once."""
    boxes, classes = example["instances_xyxy_px"], example["instances_class"]
    same = tf.reduce_all(boxes[:, None] == boxes[None], -1) & (classes[:, None] == classes[None])
    count = tf.shape(boxes)[0]
    earlier = tf.range(count)[None] < tf.range(count)[:, None]
    first = ~tf.reduce_any(same & earlier, axis=1)
    changed = dict(example)
    for column in ("xyxy_px", "class", "keypoints_px", "face_xyxy_px", "parts_xyxy_px", "mask"):
        if f"instances_{column}" in example:
            changed[f"detections_{column}"] = tf.boolean_mask(example[f"instances_{column}"], first)
    if "instances_inside" in example:
        changed["detections_inside"] = tf.boolean_mask(example["instances_inside"], first)
    changed["detections_score"] = tf.ones([tf.reduce_sum(tf.cast(first, tf.int32))])
    return changed


def pair_rows_from_persons(example: Example, vocabulary: Vocabulary) -> Example:
    """Raw pair rows of an action-style dataset: one per person and verb of the person's actions.

    The object is that of the role, or -1 for a verb without object and for a role that is not annotated; such rows
    label the verb of a person but not its object.
    """
    action, role = np.asarray(vocabulary.verb_action), np.asarray(vocabulary.verb_role)
    does = tf.gather(example["persons_actions"], action, axis=1) == 1
    slots = tf.gather(example["persons_roles"], action, axis=1)
    objects = tf.where(role == 1, slots[..., 1], tf.where(role == 0, slots[..., 0], tf.fill(tf.shape(does), -1)))
    where = tf.where(does)
    return {
        **example,
        "pairs_human": tf.gather(example["persons_instance"], where[:, 0]),
        "pairs_object": tf.gather_nd(objects, where),
        "pairs_verb": tf.cast(where[:, 1], tf.int32),
        "pairs_part_states": tf.fill([tf.shape(where)[0], schema.NUM_PARTS], -1),
    }


def collapse_verbs(example: Example, verbs: np.ndarray) -> Example:
    """Raw pair rows with objects and with verbs mapped by `verbs[verb]` to a coarser vocabulary."""
    rows = example["pairs_object"] >= 0
    columns = {name: tf.boolean_mask(example[name], rows) for name in example if name.startswith("pairs_")}
    return {**example, **columns, "pairs_verb": tf.gather(tf.constant(verbs, tf.int32), columns["pairs_verb"])}


def merge_overlapping_rows(
    human_xyxy: np.ndarray, object_xyxy: np.ndarray, object_class: np.ndarray, threshold: float
) -> np.ndarray:
    """Representative row of each raw pair row, as in iCAN's preparation of HICO-DET.

    Rows are visited in order; a row joins the first representative of the same object class whose human and
    object both overlap its own by more than `threshold`, else it becomes a representative.

    Args:
      human_xyxy, object_xyxy: [n, 4] boxes. object_class: [n].

    Returns:
      [n] int32, index of the representative.
    """
    representatives: list[int] = []
    joined = np.arange(len(human_xyxy), dtype=np.int32)
    for row in range(len(human_xyxy)):
        if representatives:
            others = np.asarray(representatives)
            overlap = np.minimum(
                iou_one_to_many(human_xyxy[row], human_xyxy[others]),
                iou_one_to_many(object_xyxy[row], object_xyxy[others]),
            )
            hits = np.flatnonzero((overlap > threshold) & (object_class[others] == object_class[row]))
            if len(hits):
                joined[row] = others[hits[0]]
                continue
        representatives.append(row)
    return joined


def iou_one_to_many(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of one box [4] with each of `boxes` [n, 4], on the host."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return shared / np.maximum(areas - shared, 1e-12)


def _row_groups(example: Example, merge: float | None) -> Tensor:
    """[n] int64 key per raw row; rows with the same key are one pair."""
    human, obj = tf.cast(example["pairs_human"], tf.int64), tf.cast(example["pairs_object"], tf.int64)
    if merge is None:
        return human * (1 << 20) + obj + 1
    boxes, classes = example["instances_xyxy_px"], example["instances_class"]
    rows = tf.maximum(example["pairs_object"], 0)
    joined = tf.numpy_function(
        lambda h, o, c: merge_overlapping_rows(h, o, c, merge),
        [tf.gather(boxes, example["pairs_human"]), tf.gather(boxes, rows), tf.gather(classes, rows)],
        tf.int32,
    )
    return tf.cast(tf.ensure_shape(joined, (None,)), tf.int64)


def _known_verbs(example: Example, human: Tensor, vocabulary: Vocabulary) -> Tensor:
    """[pairs, V] bool: whether a verb is labelled; in action style it is not where the action is -1."""
    if not vocabulary.actions:
        return tf.ones([tf.shape(human)[0], len(vocabulary.verbs)], tf.bool)
    labelled = tf.gather(example["persons_actions"], np.asarray(vocabulary.verb_action), axis=1) >= 0  # [persons, V]
    same = human[:, None] == example["persons_instance"][None]
    return tf.reduce_any(same[:, :, None] & labelled[None], axis=1)


def build_pairs(example: Example, sizes: SizeSettings, vocabulary: Vocabulary, merge: float | None) -> Example:
    """Padded `pairs_*` tables, with several verbs per pair, from raw rows.

    A pair whose human or object was cropped away is not valid. In action style, a verb is known where the person is
    labelled for its action. Body-part states are merged from ten to six parts: a merged part acts if either side
    does, is unknown if no side is known.
    """
    groups, index = tf.unique(_row_groups(example, merge))
    count = tf.shape(groups)[0]
    first = tf.math.unsorted_segment_min(tf.range(tf.shape(index)[0]), index, count)
    verbs = tf.one_hot(example["pairs_verb"], len(vocabulary.verbs), dtype=tf.int32)
    verbs = tf.math.unsorted_segment_max(verbs, index, count) > 0
    states = tf.math.unsorted_segment_max(example["pairs_part_states"], index, count)
    states = tf.stack(
        [
            tf.reduce_max(tf.gather(states, [r for r, m in enumerate(schema.PART_TO_MERGED) if m == merged], axis=1), 1)
            for merged in range(schema.NUM_MERGED_PARTS)
        ],
        axis=1,
    )
    human, obj = tf.gather(example["pairs_human"], first), tf.gather(example["pairs_object"], first)
    valid = tf.ones([count], tf.bool)
    if "instances_inside" in example:
        inside = example["instances_inside"]
        valid = tf.gather(inside, human) & (tf.gather(inside, tf.maximum(obj, 0)) | (obj < 0))
    valid = valid & (human < sizes.instances) & (obj < sizes.instances)
    return {
        "pairs_human": pad_rows(tf.where(valid, human, -1), sizes.pairs, -1),
        "pairs_object": pad_rows(tf.where(valid, obj, -1), sizes.pairs, -1),
        "pairs_verbs": pad_rows(verbs & valid[:, None], sizes.pairs, False),
        "pairs_verbs_known": pad_rows((verbs | _known_verbs(example, human, vocabulary)) & valid[:, None], sizes.pairs),
        "pairs_part_states": pad_rows(states, sizes.pairs, -1),
        "pairs_valid": pad_rows(valid, sizes.pairs, False),
    }


def build_persons(example: Example, sizes: SizeSettings) -> Example:
    """Padded `persons_*` tables; a role with its object outside the crop becomes -1 (not visible)."""
    person, roles = example["persons_instance"], example["persons_roles"]
    valid = person < sizes.instances
    keep_role = roles < sizes.instances
    if "instances_inside" in example:
        inside = example["instances_inside"]
        valid = valid & tf.gather(inside, person)
        keep_role = keep_role & (tf.gather(inside, tf.maximum(roles, 0)) | (roles < 0))
    rows = max(sizes.persons, 1)
    return {
        "persons_instance": pad_rows(tf.where(valid, person, -1), rows, -1),
        "persons_actions": pad_rows(example["persons_actions"], rows, -1),
        "persons_roles": pad_rows(tf.where(keep_role, roles, -1), rows, -1),
        "persons_valid": pad_rows(valid, rows, False),
    }


def build_faces(example: Example, capacity: int) -> Example:
    """The padded table of an image's faces: those given to the build, and those of its detections.

    Both are independent of the annotations. Builds of older versions have only the faces of detections.
    """
    faces = [example[name] for name in ("faces_xyxy_px", "detections_face_xyxy_px") if name in example]
    together = tf.concat(faces, axis=0)
    has_area = tf.reduce_all(together[:, 2:] > together[:, :2], axis=1)
    return {"faces_xyxy_px": pad_rows(tf.boolean_mask(together, has_area), capacity)}


def build_boxes(example: Example, table: str, capacity: int) -> Example:
    """Padded columns of `instances` or `detections`; detections are ordered by falling score (ties: row order)."""
    columns = ["xyxy_px", "class", "keypoints_px", "face_xyxy_px", "parts_xyxy_px", "mask"]
    count = tf.shape(example[f"{table}_class"])[0]
    valid = example.get(f"{table}_inside", tf.ones([count], tf.bool))
    order = tf.range(count)
    if table == "detections":
        columns.append("score")
        order = tf.argsort(example["detections_score"], direction="DESCENDING", stable=True)
    built = {f"{table}_valid": pad_rows(tf.gather(valid, order), capacity, False)}
    for column in columns:
        name = f"{table}_{column}"
        if name in example:
            rows = tf.gather(example[name], order)
            keep = tf.reshape(tf.gather(valid, order), [-1] + [1] * (rows.shape.rank - 1))
            rows = tf.where(keep, rows, tf.zeros_like(rows))
            built[name] = pad_rows(rows, capacity)
    return built
