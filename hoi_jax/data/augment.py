"""Random changes of a training example: colours, crop, mirror image, and the size that it is brought to.

Every draw depends on the example's seed only. Two rules of cropping: a window whose sides are shares of the picture's,
or DETR's, whose sides are pixels of the picture at a random scale.
"""

import itertools

import numpy as np
import tensorflow as tf

from hoi_jax.data import transforms
from hoi_jax.data.records import Tensor
from hoi_jax.data.settings import AugmentSettings
from hoi_jax.data.transforms import Example

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in Pillow's grey value (ITU-R 601)."""
ORDERS = np.array(list(itertools.permutations(range(3))), np.int32)
"""Orders of the three changes of colour."""


def augment(example: Example, seed: Tensor, settings: AugmentSettings) -> Example:
    """The example with random changes but for its size; `flipped` says whether it was mirrored, if it could be.

    Args:
      seed: [2] int64.
    """
    draws = tf.random.stateless_uniform([2], seed)
    strengths = settings.brightness, settings.contrast, settings.saturation
    if any(strengths) and example["image"].shape[-1]:
        draw = tf.random.stateless_uniform([4], _other(seed, 1))
        factors = 1.0 + (2.0 * draw[:3] - 1.0) * tf.constant(strengths)
        order = tf.gather(tf.constant(ORDERS), tf.minimum(tf.cast(draw[3] * len(ORDERS), tf.int32), len(ORDERS) - 1))
        example = {**example, "image": change_colours(example["image"], factors, order)}
    if settings.crop > 0:
        size = tf.shape(example["image"])[:2]
        if settings.crop_sides_px is None:
            window = transforms.random_window(size, settings.crop_min_side, seed + [1, 0])
        else:
            window = scaled_window(size, settings.crop_short_sides, settings.crop_sides_px, _other(seed, 2))
        whole = tf.stack([0, 0, size[1], size[0]])
        window = tf.where(draws[0] < settings.crop, window, whole)
        example = transforms.crop(example, window, min_visible=settings.crop_min_visible)
    if settings.flip > 0:
        take, unchanged = draws[1] < settings.flip, example
        # One branch runs: mirroring a picture that is then thrown away costs as much as decoding a part of it.
        example = tf.cond(take, lambda: transforms.flip_horizontal(unchanged), lambda: dict(unchanged))
        example["flipped"] = take
    return example


def _other(seed: Tensor, number: int) -> Tensor:
    """Seeds that no other draw has: example numbers stay far below 2^32."""
    return seed + [0, number << 32]


def change_colours(image: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast and saturation times `factors` [3], in the given order of 0, 1, 2.

    As torchvision's ColorJitter: each change mixes the picture with black, with its mean grey, or with its grey image.
    Values are rounded once, at the end, where Pillow cuts off decimals after each change.

    Args:
      image: [H, W, 3] uint8; the result is like it.
    """

    def grey(x: Tensor) -> Tensor:
        return tf.reduce_sum(x * tf.constant(GREY), axis=-1, keepdims=True)

    def mix(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
        return tf.clip_by_value(other + (x - other) * factor, 0.0, 255.0)

    changes = (
        lambda x: mix(x, tf.zeros_like(x), factors[0]),
        lambda x: mix(x, tf.reduce_mean(grey(x)), factors[1]),
        lambda x: mix(x, grey(x), factors[2]),
    )
    x = tf.cast(image, tf.float32)
    for turn in range(3):
        x = tf.switch_case(order[turn], [lambda x=x, change=change: change(x) for change in changes])
    return tf.cast(tf.round(x), tf.uint8)


def scaled_window(image_hw: Tensor, short_sides: tuple[int, ...], sides_px: tuple[int, int], seed: Tensor) -> Tensor:
    """A window [4] int32 (x1, y1, x2, y2) as DETR crops.

    The picture's short side becomes one of `short_sides`; in that picture each side of the window is uniform between
    `sides_px`[0] and `sides_px`[1] pixels (at most all), and so is its place. The window is then brought back to whole
    pixels of the picture itself, so that it is scaled once and not twice.
    """
    draws = tf.random.stateless_uniform([5], seed)
    size = tf.cast(image_hw, tf.float32)
    scaled = tf.cast(short_side_hw(image_hw, _pick(short_sides, draws[4]), None), tf.float32)
    low, high = (tf.minimum(scaled, float(side)) for side in sides_px)
    side = tf.minimum(tf.floor(low + draws[:2] * (high - low + 1.0)), high)
    corner = tf.minimum(tf.floor(draws[2:4] * (scaled - side + 1.0)), scaled - side)
    first = tf.round(corner * size / scaled)
    last = tf.maximum(tf.round((corner + side) * size / scaled), first + 1.0)
    (y1, x1), (y2, x2) = tf.unstack(first), tf.unstack(tf.minimum(last, size))
    return tf.cast(tf.stack([x1, y1, x2, y2]), tf.int32)


def training_hw(image_hw: Tensor, settings: AugmentSettings, seed: Tensor) -> Tensor:
    """Height and width [2] int32 that DETR's training brings a picture to: one of `short_sides`, drawn."""
    draw = tf.random.stateless_uniform([], _other(seed, 3))
    return short_side_hw(image_hw, _pick(settings.short_sides, draw), settings.long_side)


def _pick(values: tuple[int, ...], draw: Tensor) -> Tensor:
    return tf.gather(tf.constant(values), tf.minimum(tf.cast(draw * len(values), tf.int32), len(values) - 1))


def short_side_hw(image_hw: Tensor, short_side: Tensor, long_side: int | None) -> Tensor:
    """Height and width [2] int32 of a picture whose short side becomes `short_side`, its long one at most `long_side`.

    As in torchvision's detection references: where the long side would be longer, the short side is rounded to fit; the
    other side is cut to whole pixels.
    """
    size = tf.cast(image_hw, tf.int64)
    short, long = tf.reduce_min(size), tf.reduce_max(size)
    target = tf.cast(short_side, tf.int64)
    if long_side is not None:
        ratio = tf.cast(short, tf.float64) / tf.cast(long, tf.float64)
        fitting = tf.cast(tf.round(long_side * ratio), tf.int64)
        target = tf.where(long * target > long_side * short, fitting, target)
    return tf.cast(tf.maximum(tf.where(size == short, target, target * size // short), 1), tf.int32)
