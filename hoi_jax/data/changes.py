"""Geometric and colour changes of every image before the network: flip, colour, crop, resize, static shape.

They are determined on the host from the size of the image and the random draws for its place in the stream (`draws`),
before anything is read. The shapes of batches are therefore known in advance, and training, evaluation and prediction
share the same rules. Sizes are (height, width) in pixels, [n, 2]. The resizing rules are those of the papers' code, to
the pixel: torchvision's detection references and DETR ("short side 800, long side at most 1333"), mmdetection's
rescaling, and fitting into a frame.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.data.draws import uniform
from hoi_jax.data.settings import AugmentSettings, SizeSettings

Sizes = Int[np.ndarray, "n 2"]


def short_side_hw(image_hw: Sizes, short_side: int | Int[np.ndarray, " n"], long_side: int | None) -> Sizes:
    """Size with short side `short_side`, unless the long one would exceed `long_side` (DETR's datasets/transforms.py).

    Then the short side is round(long_side * short / long), half to even. The long side is int(new short * long /
    short), so that it can be one pixel more than `long_side` (213 x 640 -> 444 x 1334).
    """
    size = np.asarray(image_hw, np.int64)
    short, long = size.min(axis=1), size.max(axis=1)
    target = np.broadcast_to(np.asarray(short_side, np.int64), short.shape)
    if long_side is not None:
        # As in DETR's code: `max_original_size / min_original_size * size > max_size`, in double precision.
        over = long.astype(np.float64) / short * target > long_side
        fitting = np.round(np.float64(long_side) * short / long).astype(np.int64)
        target = np.where(over, fitting, target)
    other = (target * size.max(axis=1).astype(np.float64) / short).astype(np.int64)
    done = (short == target)[:, None]
    upright = size[:, :1] > size[:, 1:]
    new = np.stack([target, other], axis=1)
    return np.maximum(np.where(done, size, np.where(upright, new[:, ::-1], new)), 1)


def rescaled_hw(image_hw: Sizes, short_side: int, long_side: int) -> Sizes:
    """Size by mmdetection's rule: the largest scale with both sides within limits; sides are int(x * scale + 0.5)."""
    size = np.asarray(image_hw, np.float64)
    scale = np.minimum(long_side / size.max(axis=1), short_side / size.min(axis=1))
    return np.maximum((size * scale[:, None] + 0.5).astype(np.int64), 1)


def fitted_hw(image_hw: Sizes, frame_hw: Sizes | tuple[int, int], *, enlarge: bool = False) -> Sizes:
    """Size fitted into `frame_hw` with the same aspect ratio, rounded half to even; enlarged only with `enlarge`."""
    old = np.asarray(image_hw, np.float32)
    frame = np.broadcast_to(np.asarray(frame_hw, np.float32), old.shape)
    ratio = (frame / old).min(axis=1)
    if not enlarge:
        ratio = np.minimum(ratio, np.float32(1))
    rounded = np.round(old * ratio[:, None]).astype(np.int64)
    return np.minimum(np.maximum(rounded, 1), np.broadcast_to(np.asarray(frame_hw, np.int64), rounded.shape))


def into_shapes(image_hw: Sizes, shapes: Sequence[tuple[int, int]]) -> tuple[Int[np.ndarray, " n"], Sizes]:
    """The smallest of `shapes` that each image fits into, and the size of the image in it.

    An image that fits into none (aspect ratios above 20 under DETR's rule) is shrunk into the one where it is largest.

    Returns:
      (index of the shape [n], size [n, 2]).
    """
    size = np.asarray(image_hw, np.int64)
    frames = np.asarray(shapes, np.int64)
    holds = np.asarray(size[:, None] <= frames[None]).all(axis=-1)
    held = np.asarray(holds.any(axis=-1))
    area = frames.prod(axis=1)
    smallest = np.where(holds, area[None], np.iinfo(np.int64).max).argmin(axis=1)
    scale = (frames[None] / size[:, None]).min(axis=-1)
    best = np.lexsort((np.broadcast_to(area, scale.shape), -scale), axis=1)[:, 0]
    chosen = np.where(held, smallest, best)
    shrunk = fitted_hw(size, frames[chosen])
    return chosen, np.where(held[:, None], size, shrunk)


ORDERS = np.array(list(itertools.permutations(range(3))), np.int32)
"""Orders of the three colour changes: brightness, contrast, saturation."""
_CROP, _COLOURS, _SIZE, _RESIZED_CROP = range(1, 5)
_TRIES = 10
"""Attempts of torchvision's RandomResizedCrop before it takes the centre."""


@dataclasses.dataclass(frozen=True)
class Changes:
    """One row per image, in the order of application.

    Attributes:
      flip: whether to mirror.
      colours: factors of brightness, contrast and saturation, in the order `ORDERS[colour_order]`; 1 = unchanged.
      first_hw: size before cropping; that of the file unless the image is resized before.
      window: (x1, y1, x2, y2) of the crop, in pixels of `first_hw`.
      hw: final size. shape: index of its static shape (`SizeSettings.shapes`).
    """

    flip: Bool[np.ndarray, " n"]
    colours: Float[np.ndarray, "n 3"]
    colour_order: Int[np.ndarray, " n"]
    first_hw: Sizes
    window: Int[np.ndarray, "n 4"]
    hw: Sizes
    shape: Int[np.ndarray, " n"]


def plain_changes(original_hw: Sizes, sizes: SizeSettings) -> Changes:
    """Changes for evaluation and prediction, which only resize."""
    original = np.asarray(original_hw, np.int64).reshape(-1, 2)
    count = len(original)
    shape, hw = into_shapes(evaluated_hw(original, sizes), sizes.shapes)
    return Changes(
        flip=np.zeros(count, bool),
        colours=np.ones((count, 3)),
        colour_order=np.zeros(count, np.int64),
        first_hw=original,
        window=_whole(original),
        hw=hw,
        shape=shape,
    )


def random_changes(
    original_hw: Sizes,
    sizes: SizeSettings,
    augment: AugmentSettings,
    seed: int,
    epoch: Int[np.ndarray, " n"],
    example: Int[np.ndarray, " n"],
) -> Changes:
    """Changes for training, drawn for each (seed, epoch, example)."""
    original = np.asarray(original_hw, np.int64).reshape(-1, 2)
    draws = uniform(seed, epoch, example, _CROP, 7)
    first_hw, window = original, _whole(original)
    if augment.crop_area is not None:
        window = resized_crop_window(
            original, augment.crop_area, augment.crop_ratio, uniform(seed, epoch, example, _RESIZED_CROP, 4 * _TRIES)
        )
    elif augment.crop > 0:
        first_hw, window = _cut(original, augment, draws)
    window_hw = np.stack([window[:, 3] - window[:, 1], window[:, 2] - window[:, 0]], axis=1)
    if augment.short_sides:
        short_side = _pick(augment.short_sides, uniform(seed, epoch, example, _SIZE, 1)[:, 0])
        target = short_side_hw(window_hw, short_side, augment.long_side)
    else:
        target = evaluated_hw(window_hw, sizes)
    shape, hw = into_shapes(target, sizes.shapes)
    colours, order = _colours(augment, uniform(seed, epoch, example, _COLOURS, 4))
    return Changes(draws[:, 0] < augment.flip, colours, order, first_hw, window, hw, shape)


def evaluated_hw(image_hw: Sizes, sizes: SizeSettings) -> Sizes:
    """Size by the rule of `sizes`, without regard to static shapes."""
    if sizes.fit == "stretch":
        return np.broadcast_to(np.asarray(sizes.image_hw, np.int64), np.shape(image_hw)).copy()
    if sizes.short_side is not None:
        rule = rescaled_hw if sizes.rule == "mmdetection" else short_side_hw
        return rule(image_hw, sizes.short_side, sizes.long_side or int(np.max(sizes.shapes)))
    return fitted_hw(image_hw, sizes.image_hw, enlarge=sizes.fit == "enlarge")


def _whole(hw: Sizes) -> Int[np.ndarray, "n 4"]:
    zero = np.zeros(len(hw), np.int64)
    return np.stack([zero, zero, hw[:, 1], hw[:, 0]], axis=1)


def _pick(values: tuple[int, ...], draw: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return np.asarray(values, np.int64)[(draw * len(values)).astype(np.int64)]


def _integer(low: np.ndarray, high: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Whole numbers, uniform on low to high (both included)."""
    return low + np.floor(draw * (high - low + 1)).astype(np.int64)


def _colours(
    augment: AugmentSettings, draw: Float[np.ndarray, "n 4"]
) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, " n"]]:
    strengths = np.array([augment.brightness, augment.contrast, augment.saturation])
    return 1.0 + (2.0 * draw[:, :3] - 1.0) * strengths, (draw[:, 3] * len(ORDERS)).astype(np.int64)


def _cut(
    original: Sizes, augment: AugmentSettings, draws: Float[np.ndarray, "n 7"]
) -> tuple[Sizes, Int[np.ndarray, "n 4"]]:
    """(size before cropping, window), with the whole image as window where the draw does not crop."""
    if augment.crop_sides_px is None:
        scaled = original
        low = np.maximum(np.floor(original * augment.crop_min_side).astype(np.int64), 1)
        high = original
    else:
        scaled = short_side_hw(original, _pick(augment.crop_short_sides, draws[:, 6]), None)
        low, high = (np.minimum(scaled, side) for side in augment.crop_sides_px)
    side = _integer(low, high, draws[:, 2:4])
    corner = _integer(np.zeros_like(side), scaled - side, draws[:, 4:6])
    window = np.concatenate([corner[:, ::-1], (corner + side)[:, ::-1]], axis=1)
    taken = draws[:, 1] < augment.crop
    return np.where(taken[:, None], scaled, original), np.where(taken[:, None], window, _whole(original))


def resized_crop_window(
    image_hw: Sizes, area: tuple[float, float], ratio: tuple[float, float], draws: Float[np.ndarray, "n 40"]
) -> Int[np.ndarray, "n 4"]:
    """The window of torchvision's RandomResizedCrop: shares of the area, aspect ratios uniform in their logarithm.

    It is the first of ten attempts that fits; if none does, the largest centred window within the ratios.
    """
    height, width = (np.asarray(image_hw, np.int64)[:, axis][:, None] for axis in (0, 1))
    size, aspect, y, x = np.moveaxis(draws.reshape(len(draws), _TRIES, 4), 2, 0)
    target = height * width * (area[0] + size * (area[1] - area[0]))
    low, high = np.log(ratio)
    shape = np.exp(low + aspect * (high - low))
    w, h = (np.round(np.sqrt(value)).astype(np.int64) for value in (target * shape, target / shape))
    fits = (0 < w) & (w <= width) & (0 < h) & (h <= height)
    top, left = _integer(np.zeros_like(h), np.maximum(height - h, 0), y), _integer(0 * w, np.maximum(width - w, 0), x)
    tried = np.stack([left, top, left + w, top + h], axis=-1)
    first = tried[np.arange(len(tried)), fits.argmax(axis=1)]
    return np.where(fits.any(axis=1)[:, None], first, _centre(height[:, 0], width[:, 0], ratio))


def _centre(height: np.ndarray, width: np.ndarray, ratio: tuple[float, float]) -> Int[np.ndarray, "n 4"]:
    w = np.where(width / height > ratio[1], np.round(height * ratio[1]).astype(np.int64), width)
    h = np.where(width / height < ratio[0], np.round(width / ratio[0]).astype(np.int64), height)
    left, top = (width - w) // 2, (height - h) // 2
    return np.stack([left, top, left + w, top + h], axis=1)
