"""Box arithmetic in NumPy, for evaluation and data preparation.

Boxes are corners x1, y1, x2, y2 in pixels. Continuous corners have width x2 - x1; inclusive pixel indices, as
the official annotation files hold them, have width x2 - x1 + 1 (`plus_one=True`). The two agree exactly when
x2 and y2 are moved by one pixel between the frames.
"""

import numpy as np
from jaxtyping import Float


def box_area(boxes_xyxy_px: Float[np.ndarray, "*n 4"], *, plus_one: bool = False) -> Float[np.ndarray, "*n"]:
    """Width times height in square pixels, as float64; negative sides count as zero."""
    boxes = np.asarray(boxes_xyxy_px, np.float64)
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2] + plus_one, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def matched_iou(
    a_xyxy_px: Float[np.ndarray, "*#n 4"], b_xyxy_px: Float[np.ndarray, "*#n 4"], *, plus_one: bool = False
) -> Float[np.ndarray, "..."]:
    """Intersection over union, row by row (leading axes broadcast), as float64.

    0 where the boxes do not overlap, where both have no area, and where a coordinate is NaN.
    """
    a, b = np.asarray(a_xyxy_px, np.float64), np.asarray(b_xyxy_px, np.float64)
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + plus_one
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + plus_one
    overlap = np.where((width > 0) & (height > 0), width * height, 0.0)
    union = box_area(a, plus_one=plus_one) + box_area(b, plus_one=plus_one) - overlap
    return np.where(overlap > 0, overlap / np.where(union > 0, union, 1.0), 0.0)


def pairwise_iou(
    a_xyxy_px: Float[np.ndarray, "n 4"], b_xyxy_px: Float[np.ndarray, "m 4"], *, plus_one: bool = False
) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every box of `a` with every box of `b`; see `matched_iou`."""
    return matched_iou(np.asarray(a_xyxy_px)[:, None], np.asarray(b_xyxy_px)[None], plus_one=plus_one)
