"""Changes of one unpadded example, in TensorFlow: decode, resize, flip, crop.

An example is a dictionary of `schema.RECORD_FIELDS` tensors with a decoded picture; every transform moves the
picture and all tables that speak of places in it (boxes, faces, parts, keypoints, masks) together.
Boxes are continuous corners, so mirroring is x -> width - x.
"""

import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data.records import Tensor

Example = dict[str, Tensor]

_BOXES = ("_xyxy_px", "_face_xyxy_px", "_parts_xyxy_px")
_TABLES = ("instances", "detections")


def decode_image(example: Example) -> Example:
    """Encoded `image` -> uint8 [height, width, 3]; one-channel pictures become grey RGB."""
    image = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
    image = tf.ensure_shape(image, (None, None, 3))
    return {**example, "image": image}


def decode_masks(example: Example) -> Example:
    """PNG masks -> `instances_mask` bool [n, height, width] of the original picture; empty strings are empty."""
    height, width = tf.unstack(example["original_hw_px"])

    def decode(png: Tensor) -> Tensor:
        def present():
            return tf.io.decode_png(png, channels=1)[..., 0] > 0

        def absent():
            return tf.zeros(tf.stack([height, width]), tf.bool)

        return tf.cond(tf.strings.length(png) > 0, present, absent)

    # One empty mask at the end, taken off again: map_fn cannot map over an empty list.
    files = tf.concat([example["instances_mask_png"], [""]], axis=0)
    masks = tf.map_fn(decode, files, fn_output_signature=tf.TensorSpec((None, None), tf.bool))
    return {**example, "instances_mask": masks[:-1]}


def place_masks(example: Example, image_hw: tuple[int, int], mask_hw: tuple[int, int]) -> Example:
    """Masks of the resized picture onto the grid that lies over the padded picture."""
    masks = tf.cast(example["instances_mask"], tf.float32)[..., tf.newaxis]
    scale = [mask_hw[0] / image_hw[0], mask_hw[1] / image_hw[1]]
    valid = tf.cast(example["image_hw_px"], tf.float32)
    inside = tf.maximum(tf.cast(tf.round(valid * scale), tf.int32), 1)
    small = tf.image.resize(masks, inside, method="area")[..., 0] >= 0.5
    padding = [[0, 0], [0, mask_hw[0] - inside[0]], [0, mask_hw[1] - inside[1]]]
    return {**example, "instances_mask": tf.ensure_shape(tf.pad(small, padding), (None, *mask_hw))}


def _map_places(example: Example, boxes, points) -> Example:
    """Applies `boxes` to every box column and `points` to every keypoint column."""
    changed = dict(example)
    for table in _TABLES:
        for suffix in _BOXES:
            name = table + suffix
            if name in example:
                empty = tf.reduce_all(example[name][..., 2:] <= example[name][..., :2], axis=-1, keepdims=True)
                moved = boxes(example[name])
                # The zero box means "none" and must stay zero.
                changed[name] = tf.where(empty, tf.zeros_like(moved), moved)
        name = f"{table}_keypoints_px"
        if name in example:
            xy, score = example[name][..., :2], example[name][..., 2:]
            changed[name] = tf.concat([tf.where(score > 0, points(xy), tf.zeros_like(xy)), score], axis=-1)
    return changed


def resize_to_fit(example: Example, image_hw: tuple[int, int], *, enlarge: bool, antialias: bool) -> Example:
    """Scales the picture, ratio kept, so that it fits into `image_hw`; sets `image_hw_px` [2]."""
    return resize(example, _fitting(tf.shape(example["image"])[:2], image_hw, enlarge), antialias=antialias)


def resize_within(example: Example, hw: Tensor, image_hw: tuple[int, int], *, antialias: bool) -> Example:
    """Scales the picture to `hw` [2] int32, or as far on the way there as fits into `image_hw`."""
    return resize(example, _fitting(hw, image_hw, enlarge=False), antialias=antialias)


def _fitting(hw: Tensor, image_hw: tuple[int, int], enlarge: bool) -> Tensor:
    old = tf.cast(hw, tf.float32)
    ratio = tf.reduce_min(tf.constant(image_hw, tf.float32) / old)
    if not enlarge:
        ratio = tf.minimum(ratio, 1.0)
    return tf.minimum(tf.maximum(tf.cast(tf.round(old * ratio), tf.int32), 1), tf.constant(image_hw))


def resize(example: Example, hw: Tensor, *, antialias: bool) -> Example:
    """Brings the picture to `hw` [2] int32, and everything in it; sets `image_hw_px` [2].

    Each side is scaled by the ratio of new to old size, so that boxes and pixels stay together exactly. A picture
    without channels stands for one that nobody looks at.
    """
    size = tf.shape(example["image"])[:2]

    def resized():
        def low_passed():
            return tf.image.resize(example["image"], hw, antialias=antialias)

        # A low-pass does nothing to a picture that grows, and the operation without it is several times as fast.
        grows = tf.reduce_all(hw >= size)
        image = tf.cond(grows, lambda: tf.image.resize(example["image"], hw), low_passed)
        # Weighted means of bytes, so that rounding alone brings them back between 0 and 255.
        return tf.cast(tf.round(image), tf.uint8)

    if example["image"].shape[-1] == 0:
        image = tf.zeros(tf.concat([hw, [0]], 0), tf.uint8)
    else:
        image = tf.cond(tf.reduce_all(hw == size), lambda: example["image"], resized)
    scale_xy = tf.reverse(tf.cast(hw, tf.float32) / tf.cast(size, tf.float32), [0])
    scale_box = tf.concat([scale_xy, scale_xy], 0)
    moved = _map_places(example, lambda boxes: boxes * scale_box, lambda xy: xy * scale_xy)
    return {**moved, "image": image, "image_hw_px": hw}


def pad_image(example: Example, image_hw: tuple[int, int]) -> Example:
    """Zeros at the bottom and the right, up to `image_hw`."""
    height, width = tf.unstack(example["image_hw_px"])
    image = tf.pad(example["image"], [[0, image_hw[0] - height], [0, image_hw[1] - width], [0, 0]])
    return {**example, "image": tf.ensure_shape(image, (*image_hw, example["image"].shape[-1]))}


def flip_horizontal(example: Example) -> Example:
    """Mirrors the picture and everything in it; left and right keypoints and body parts change places."""
    width = tf.cast(tf.shape(example["image"])[1], tf.float32)

    def boxes(b):
        return tf.stack([width - b[..., 2], b[..., 1], width - b[..., 0], b[..., 3]], axis=-1)

    def points(xy):
        return tf.stack([width - xy[..., 0], xy[..., 1]], axis=-1)

    flipped = _map_places(example, boxes, points)
    flipped["image"] = tf.reverse(example["image"], [1])
    if "instances_mask" in example:
        flipped["instances_mask"] = tf.reverse(example["instances_mask"], [2])
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
    """Cuts out a window of whole pixels [4]; boxes are clipped to it.

    Sets `instances_inside` and `detections_inside` [n] bool: at least `min_visible` of the box area is left, and
    something at all.
    Rows stay where they are, because pairs refer to them by number.
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
    x1, y1, x2, y2 = tf.unstack(tf.cast(window_xyxy_px, tf.int32))
    moved["image"] = example["image"][y1:y2, x1:x2]
    if "instances_mask" in example:
        moved["instances_mask"] = example["instances_mask"][:, y1:y2, x1:x2]
    return moved


def _area(xyxy: Tensor) -> Tensor:
    return (xyxy[..., 2] - xyxy[..., 0]) * (xyxy[..., 3] - xyxy[..., 1])


def random_window(image_hw: Tensor, min_side: float, seed: Tensor) -> Tensor:
    """A window [4] int32 (x1, y1, x2, y2) whose sides are uniform between `min_side` and all of the picture's."""
    draws = tf.random.stateless_uniform([4], seed)
    size = tf.cast(image_hw, tf.float32)
    side = tf.maximum(tf.floor(size * (min_side + (1.0 - min_side) * draws[:2])), 1.0)
    corner = tf.floor((size - side + 1.0) * draws[2:])
    corner = tf.minimum(corner, size - side)
    return tf.cast(tf.stack([corner[1], corner[0], corner[1] + side[1], corner[0] + side[0]]), tf.int32)
