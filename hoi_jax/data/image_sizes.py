"""What size an image is brought to, and which static shape holds it. NumPy, many images at a time.

Sizes are (height, width) in pixels, [n, 2]. The rules are those of the papers' code, to the pixel: torchvision's
detection references and DETR ("short side 800, long side at most 1333"), mmdetection's rescaling, and fitting into a
frame.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

Sizes = Int[np.ndarray, "n 2"]


def short_side_hw(image_hw: Sizes, short_side: int | Int[np.ndarray, " n"], long_side: int | None) -> Sizes:
    """The short side becomes `short_side`, unless the long one would pass `long_side` (DETR's datasets/transforms.py).

    Then the short side is round(long_side * short / long), half to even. The long side is int(new short * long /
    short), so that it can be one pixel more than `long_side` (213 x 640 -> 444 x 1334).
    """
    size = np.asarray(image_hw, np.int64)
    short, long = size.min(axis=1), size.max(axis=1)
    target = np.broadcast_to(np.asarray(short_side, np.int64), short.shape)
    if long_side is not None:
        # As written there: `max_original_size / min_original_size * size > max_size`, in double precision.
        over = long.astype(np.float64) / short * target > long_side
        fitting = np.round(np.float64(long_side) * short / long).astype(np.int64)
        target = np.where(over, fitting, target)
    other = (target * size.max(axis=1).astype(np.float64) / short).astype(np.int64)
    done = (short == target)[:, None]
    upright = size[:, :1] > size[:, 1:]
    new = np.stack([target, other], axis=1)
    return np.maximum(np.where(done, size, np.where(upright, new[:, ::-1], new)), 1)


def rescaled_hw(image_hw: Sizes, short_side: int, long_side: int) -> Sizes:
    """mmdetection's rule: the largest scale at which neither side passes its limit; sides are int(x * scale + 0.5)."""
    size = np.asarray(image_hw, np.float64)
    scale = np.minimum(long_side / size.max(axis=1), short_side / size.min(axis=1))
    return np.maximum((size * scale[:, None] + 0.5).astype(np.int64), 1)


def fitted_hw(image_hw: Sizes, frame_hw: Sizes | tuple[int, int], *, enlarge: bool = False) -> Sizes:
    """The same aspect ratio inside `frame_hw`, rounded half to even; not larger than the image unless `enlarge`."""
    old = np.asarray(image_hw, np.float32)
    frame = np.broadcast_to(np.asarray(frame_hw, np.float32), old.shape)
    ratio = (frame / old).min(axis=1)
    if not enlarge:
        ratio = np.minimum(ratio, np.float32(1))
    rounded = np.round(old * ratio[:, None]).astype(np.int64)
    return np.minimum(np.maximum(rounded, 1), np.broadcast_to(np.asarray(frame_hw, np.int64), rounded.shape))


def into_shapes(image_hw: Sizes, shapes: Sequence[tuple[int, int]]) -> tuple[Int[np.ndarray, " n"], Sizes]:
    """The smallest of `shapes` that holds each image, and its size there.

    An image that none holds (aspect ratios above 20 under DETR's rule) is shrunk into the shape that leaves most of it.

    Returns:
      (number of the shape [n], size [n, 2]).
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
