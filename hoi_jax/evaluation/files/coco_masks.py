"""COCO's three ways to write a mask: polygons, run lengths, and run lengths packed into text.

Run lengths count pixels column by column, beginning with those outside. Polygons are filled by Pillow, which differs
from COCO's own code by pixels on the outline.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

MAX_PIXELS = 100_000_000


def unpacked_counts(text: str | bytes) -> list[int]:
    """Run lengths of the packed form: 5 bits a character from "0" on, bit 6 = goes on, signed; from the third run on
    the difference to the one two places before.

    Raises:
      ValueError: the text ends within a number, or holds other characters.
    """
    data = text.encode("ascii", "strict") if isinstance(text, str) else text
    counts: list[int] = []
    value, shift = 0, 0
    for byte in data:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("packed run lengths hold an impossible character")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("packed run lengths end within a number")
    return counts


def mask_of_counts(counts: Sequence[int], hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """A mask from run lengths. Raises ValueError where they do not fill the picture."""
    height, width = hw
    runs = np.asarray(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"run lengths do not add up to {height} x {width} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def mask_of_segmentation(segmentation: Any, hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """A mask from the field `segmentation` of an annotation, in a picture of `hw` = (height, width).

    Raises:
      ValueError, TypeError, KeyError: malformed, or of another size than the picture.
    """
    height, width = hw
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"field 'segmentation' needs a picture with a size, it has {height} x {width}")
    if isinstance(segmentation, Mapping):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"field 'segmentation' is of size {segmentation['size']}, the picture {[height, width]}")
        counts = segmentation["counts"]
        return mask_of_counts(unpacked_counts(counts) if isinstance(counts, str) else counts, hw)
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in segmentation:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        if len(points) < 3 or not np.isfinite(points).all() or np.abs(points).max() > 1e6:
            raise ValueError("field 'segmentation' holds a polygon without three finite corners")
        draw.polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(canvas)
