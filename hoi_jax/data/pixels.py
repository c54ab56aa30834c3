"""The one way from an image file to the network's pixels, for training, evaluation, prediction, viewer and caches.

Pillow decodes, recolours and resizes, as in the code of the papers (torchvision on PIL images): equal to it byte for
byte. Pillow widens its filter when an image shrinks, so that nothing is aliased.
"""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageEnhance

from hoi_jax.data.changes import ORDERS
from hoi_jax.data.picture_file import open_picture, rgb_of
from hoi_jax.io import DataError

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def decode_rgb(data: bytes, where: str) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of an encoded image as they lie in the file (EXIF's orientation is not applied). Raises DataError."""
    return rgb_of(open_picture(data, where))


def resize_image(
    image: UInt8[np.ndarray, "h w 3"], hw: tuple[int, int], interpolation: str = "bilinear"
) -> UInt8[np.ndarray, "new_h new_w 3"]:
    """Resized as torchvision resizes PIL images; unchanged where the size is the same."""
    if image.shape[:2] == tuple(hw):
        return image
    return np.asarray(_resized(Image.fromarray(image), hw, interpolation))


def _resized(image: Image.Image, hw: tuple[int, int], interpolation: str) -> Image.Image:
    size = (int(hw[1]), int(hw[0]))
    return image if image.size == size else image.resize(size, FILTERS[interpolation])


def recolour(image: Image.Image, factors: np.ndarray, order: int) -> Image.Image:
    """Brightness, contrast, saturation times `factors` [3], in the order `ORDERS[order]`: torchvision's ColorJitter."""
    for change in ORDERS[order]:
        if factors[change] != 1.0:
            image = _ENHANCERS[change](image).enhance(float(factors[change]))
    return image


def change_image(
    image: UInt8[np.ndarray, "h w 3"],
    *,
    flip: bool,
    colours: np.ndarray,
    colour_order: int,
    first_hw: np.ndarray,
    window: np.ndarray,
    hw: np.ndarray,
    shape_hw: np.ndarray,
    interpolation: str = "bilinear",
) -> UInt8[np.ndarray, "H W 3"]:
    """One row of `changes.Changes` applied to an image, padded with zeros at the bottom and the right to `shape_hw`."""
    picture = Image.fromarray(image)
    if flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = recolour(picture, colours, int(colour_order))
    picture = _cut(_resized(picture, tuple(first_hw), interpolation), window)
    padded = np.zeros((int(shape_hw[0]), int(shape_hw[1]), 3), np.uint8)
    padded[: int(hw[0]), : int(hw[1])] = np.asarray(_resized(picture, tuple(hw), interpolation))
    return padded


def _cut(image: Image.Image, window: np.ndarray) -> Image.Image:
    left, upper, right, lower = (int(side) for side in window)
    whole = (left, upper, right, lower) == (0, 0, *image.size)
    return image if whole else image.crop((left, upper, right, lower))


def decode_of_size(data: bytes, hw: np.ndarray, where: str = "image") -> UInt8[np.ndarray, "h w 3"]:
    """`decode_rgb`, for an image whose size is known. Raises DataError where the file has another one."""
    image = decode_rgb(data, where)
    if image.shape[:2] != tuple(int(side) for side in hw):
        raise DataError(f"{where}: the file has {image.shape[:2]} pixels, its record says {tuple(hw.tolist())}")
    return image


def change_mask(
    png: bytes,
    original_hw: np.ndarray,
    *,
    flip: bool,
    first_hw: np.ndarray,
    window: np.ndarray,
    hw: np.ndarray,
    shape_hw: np.ndarray,
    grid_hw: np.ndarray,
) -> Bool[np.ndarray, "h w"]:
    """An instance's mask (8-bit PNG; empty = none) moved like its image, on the grid that lies over the padded image.

    A cell belongs to the mask if at least half of its area does.
    """
    grid = np.zeros((int(grid_hw[0]), int(grid_hw[1])), bool)
    if not png:
        return grid
    mask = Image.fromarray((np.asarray(open_picture(png, "mask").convert("L")) > 0).astype(np.float32))
    if mask.size != (int(original_hw[1]), int(original_hw[0])):
        raise DataError(f"mask: {mask.size[::-1]} pixels, its image has {tuple(original_hw.tolist())}")
    if flip:
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mask = _cut(_resized(mask, tuple(first_hw), "bilinear"), window)
    rows, columns = np.maximum(np.round(np.asarray(hw) * np.asarray(grid_hw) / np.asarray(shape_hw)).astype(int), 1)
    small = mask.resize((int(columns), int(rows)), Image.Resampling.BOX)
    grid[:rows, :columns] = np.asarray(small) >= 0.5
    return grid
