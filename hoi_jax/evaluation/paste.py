"""Masks predicted over boxes, pasted into the picture (Mask R-CNN's way, as torchvision does it), on the host."""

import numpy as np
from jaxtyping import Float


def _enlarge(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with half-pixel middles; the border value is kept outside of the outermost middles."""

    def axis(cells: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, None)
        low = np.minimum(np.floor(at).astype(int), cells - 1)
        return low, np.minimum(low + 1, cells - 1), np.where(low < cells - 1, at - low, 0.0)

    low, high, share = axis(mask.shape[0], height)
    rows = mask[low] * (1 - share)[:, None] + mask[high] * share[:, None]
    low, high, share = axis(mask.shape[1], width)
    return rows[:, low] * (1 - share)[None] + rows[:, high] * share[None]


def paste_mask(
    mask: Float[np.ndarray, "m m"], box_xyxy_px: Float[np.ndarray, "4"], image_hw: tuple[int, int]
) -> Float[np.ndarray, "h w"]:
    """One mask over the whole picture: values as given, not cut at a threshold; zero outside of the box.

    A border of one zero cell is put around the mask, the box grows accordingly and is cut to whole pixels, and covers
    x2 - x1 + 1 pixels (at least one).
    """
    size = mask.shape[-1]
    padded = np.pad(np.asarray(mask, np.float64), 1)
    box = np.asarray(box_xyxy_px, np.float64)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * (size + 2) / size
    x1, y1, x2, y2 = np.trunc(np.concatenate([centre - half, centre + half])).astype(int)
    width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    picture = np.zeros(image_hw)
    left, right, top, bottom = max(x1, 0), min(x2 + 1, image_hw[1]), max(y1, 0), min(y2 + 1, image_hw[0])
    if left < right and top < bottom:
        large = _enlarge(padded, height, width)
        picture[top:bottom, left:right] = large[top - y1 : bottom - y1, left - x1 : right - x1]
    return picture


def grid_mask(
    mask: Float[np.ndarray, "m n"],
    valid_hw_px: tuple[int, int],
    padded_hw_px: tuple[int, int],
    image_hw: tuple[int, int],
) -> Float[np.ndarray, "h w"]:
    """A mask on a grid over a padded picture (`schema`, `instance_mask`), over the picture in its original size.

    Args:
      valid_hw_px, padded_hw_px: unpadded and padded size of the picture that the network saw.
    """
    rows, columns = (
        max(1, round(valid * cells / padded))
        for valid, cells, padded in zip(valid_hw_px, mask.shape, padded_hw_px, strict=True)
    )
    return _enlarge(np.asarray(mask[:rows, :columns], np.float64), *image_hw)
