"""A number per place of a picture as colour: dark and blue where it is small, yellow where it is large."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw

STOPS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64)
"""Colours from low to high; they differ in brightness too, so that the picture can be read without colour."""


def closeness_map(
    distance: Float[np.ndarray, "total"], level_hw: Sequence[tuple[int, int]], anchors: int, strides: Sequence[int]
) -> Float[np.ndarray, "height width"]:
    """exp(-distance) per pixel: the closest of all anchors of the nearest cells, over all levels.

    The anchors of cell (x, y) are centred at (x * stride, y * stride), so that a cell's pixels are those around there.

    Args:
      distance: per anchor, in the order of `ops.anchors`.
      level_hw, strides: cells of every level, and pixels per cell.
      anchors: per cell.
    """
    height, width = level_hw[0][0] * strides[0], level_hw[0][1] * strides[0]
    nearest, start = np.full((height, width), np.inf), 0
    for (rows, columns), stride in zip(level_hw, strides, strict=True):
        count = rows * columns * anchors
        cells = distance[start : start + count].reshape(rows, columns, anchors).min(axis=-1)
        nearest = np.minimum(nearest, cells[_nearest(height, stride, rows)][:, _nearest(width, stride, columns)])
        start += count
    return np.exp(-nearest)


def _nearest(pixels: int, stride: int, cells: int) -> Int[np.ndarray, "pixels"]:
    """The cell whose centre is nearest to the middle of each pixel."""
    return np.minimum(((np.arange(pixels) + 0.5) / stride + 0.5).astype(int), cells - 1)


def heat_colours(values: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Values in 0 ... 1 as colours; others are clipped."""
    place = np.clip(values, 0, 1) * (len(STOPS) - 1)
    channels = [np.interp(place, np.arange(len(STOPS)), STOPS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def heat_over(
    image_rgb: UInt8[np.ndarray, "height width 3"],
    values: Float[np.ndarray, "height width"],
    frame_xyxy_px: Sequence[float] | np.ndarray | None = None,
    *,
    size: tuple[int, int] | None = None,
    strength: float = 0.7,
) -> Image.Image:
    """The picture in grey under the colours of `values`; a white frame around one box.

    Args:
      size: width and height of the result, the picture's own by default.
      strength: share of the colour, the rest is the picture.
    """
    if values.shape != image_rgb.shape[:2]:
        raise ValueError(f"values are {values.shape}, the picture is {image_rgb.shape[:2]}")
    grey = image_rgb.mean(axis=-1, keepdims=True)
    mixed = strength * heat_colours(values) + (1 - strength) * grey
    canvas = Image.fromarray(mixed.round().astype(np.uint8))
    size = size or (canvas.width, canvas.height)
    scale = size[0] / canvas.width, size[1] / canvas.height
    canvas = canvas.resize(size, Image.Resampling.NEAREST)
    if frame_xyxy_px is not None:
        x1, y1, x2, y2 = (float(c) * scale[i % 2] for i, c in enumerate(frame_xyxy_px))
        thick = max(2, round(max(size) / 200))
        draw = ImageDraw.Draw(canvas)
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=(0, 0, 0), width=thick + 2)
        draw.rectangle((x1, y1, x2, y2), outline=(255, 255, 255), width=thick)
    return canvas
