"""Placement of text labels inside an image without overlap where possible."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from PIL import ImageFont

Rectangle = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the drawing."""


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, at `size` pixels.

    Raises:
      RuntimeError: Pillow was built without FreeType and has only a font of one tiny size.
    """
    loaded = ImageFont.load_default(size=size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise RuntimeError("drawing needs Pillow with FreeType, as in the published wheels")
    return loaded


@dataclasses.dataclass(frozen=True)
class TextBlock:
    """Lines of text fitted to a width. `width` and `height` include the margin on all sides."""

    lines: tuple[str, ...]
    font_size: int
    margin: int
    line_height: int
    width: int
    height: int


def _shortened(text: str, size: int, width: float) -> str:
    """`text`, truncated with an ellipsis if it is wider than `width` pixels."""
    if font(size).getlength(text) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        cut = text[:end].rstrip() + "…"
        if font(size).getlength(cut) <= width:
            return cut
    return "…"


def fit_text(lines: Sequence[str], *, font_size: int, max_width: int, smallest: int = 11) -> TextBlock:
    """Lines fitted to `max_width` by shrinking the font down to size `smallest`, then truncating."""
    size = font_size
    margin = max(2, round(size * 0.22))
    while size > smallest and max(font(size).getlength(t) for t in lines) + 2 * margin > max_width:
        size -= 1
    kept = tuple(_shortened(t, size, max_width - 2 * margin) for t in lines)
    ascent, descent = font(size).getmetrics()
    line_height = ascent + descent
    width = int(np.ceil(max(font(size).getlength(t) for t in kept))) + 2 * margin
    return TextBlock(kept, size, margin, line_height, width, line_height * len(kept) + 2 * margin)


def overlap_area(rectangle: Rectangle, others: Sequence[Rectangle]) -> float:
    """Area in pixels that `rectangle` shares with `others`, counted once per other."""
    if not others:
        return 0.0
    taken = np.asarray(others, np.float64)
    width = np.minimum(rectangle[2], taken[:, 2]) - np.maximum(rectangle[0], taken[:, 0])
    height = np.minimum(rectangle[3], taken[:, 3]) - np.maximum(rectangle[1], taken[:, 1])
    return float(np.sum(np.maximum(width, 0) * np.maximum(height, 0)))


def _near_box(anchor: Rectangle, width: int, height: int) -> list[tuple[float, float]]:
    x1, y1, x2, y2 = anchor
    return [
        (x1, y1 - height), (x2 - width, y1 - height), (x1, y2), (x2 - width, y2),
        (x1, y1), (x2 - width, y1), (x1, y2 - height), (x2 - width, y2 - height),
        (x2, y1), (x1 - width, y1),
    ]  # fmt: skip


def place_label(
    anchor: Rectangle, size: tuple[int, int], image: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """The rectangle of a label of `size` (width, height) for the box `anchor`.

    It is inside the image of size `image` (width, height) if it fits at all. Positions around the box are tried first,
    then a grid over the image from near to far; the first that overlaps no rectangle of `taken` wins, else the one
    with the least overlap.
    """
    width, height = size
    right, bottom = max(0, image[0] - width), max(0, image[1] - height)

    def inside(corner: tuple[float, float]) -> Rectangle:
        x, y = min(max(corner[0], 0), right), min(max(corner[1], 0), bottom)
        return (x, y, x + width, y + height)

    close = [inside(corner) for corner in _near_box(anchor, width, height)]
    step_x, step_y = max(1, width // 2), max(1, height // 2)
    grid = [(x, y) for y in (*range(0, bottom, step_y), bottom) for x in (*range(0, right, step_x), right)]
    home_x, home_y = close[0][:2]
    grid.sort(key=lambda corner: (abs(corner[0] - home_x) + 2 * abs(corner[1] - home_y), corner))
    best, least = close[0], float("inf")
    for candidate in (*close, *(inside(corner) for corner in grid)):
        area = overlap_area(candidate, taken)
        if area == 0:
            return candidate
        if area < least:
            best, least = candidate, area
    return best
