"""Decoding and resizing of images to network input, for training, evaluation, prediction, viewer and caches.

Files of any image format are decoded under limits: CMYK, palettes and grey become RGB; of 16-bit channels the upper 8
bits are used; of animations the first image; transparency is dropped. Files that are truncated, not images, or larger
than `MAX_PIXELS` are refused.

Pillow decodes, recolours and resizes, as in the code of the papers (torchvision on PIL images), with byte-identical
results. It widens its filter when shrinking an image, which avoids aliasing.
"""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image, ImageEnhance, UnidentifiedImageError

from hoi_jax.data.changes import ORDERS
from hoi_jax.io import CorruptFileError, DataError, TooLargeError

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip

# Malformed files make Pillow raise almost any exception; none of them may stop a run over a folder.
_FAULTS = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError, AttributeError,
    struct.error, zlib.error, MemoryError, RuntimeError,
)  # fmt: skip


def open_image(data: bytes, where: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The decoded first image of a file, without applying its orientation.

    Raises:
      DataError: the file is not a readable image within limits; the message begins with `where`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # problems that matter are raised below
            image = Image.open(BytesIO(data), formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise TooLargeError(f"{where}: has {image.width} x {image.height} pixels; the limit is {max_pixels}")
            image.load()
            return image
    except DataError:
        raise
    except UnidentifiedImageError as error:  # Pillow's message has a memory address
        raise CorruptFileError(f"{where}: is not an image of a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{where}: has too many pixels ({error})") from error
    except _FAULTS as error:
        raise CorruptFileError(f"{where}: is not a readable image ({error})") from error


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 (upright) if it is absent or unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(_ORIENTATION, 1)
    except _FAULTS:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """The image turned upright by its EXIF orientation."""
    turn = _TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


def rgb_of(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels as 8-bit RGB. Raises CorruptFileError for a mode that cannot be converted."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        # "I" and "F" do not define the number of used bits; assume 16 where the values need them.
        scale = 256 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 1
        grey = np.clip(values // scale, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    try:
        return np.asarray(image.convert("RGB"))
    except _FAULTS as error:
        raise CorruptFileError(f"image mode {image.mode!r} is not supported ({error})") from error


def is_plain(image: Image.Image) -> bool:
    """Whether every decoder gives the same pixels: an upright JPEG or PNG in RGB or grey with 8 bits."""
    still = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
    return image.format in ("JPEG", "MPO", "PNG") and image.mode in ("RGB", "L") and still


def png_of(image: Image.Image) -> bytes:
    """The image as an 8-bit RGB PNG, which is lossless."""
    stream = BytesIO()
    Image.fromarray(rgb_of(image)).save(stream, "PNG")
    return stream.getvalue()


FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def decode_rgb(data: bytes, where: str) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of an encoded image, without applying its EXIF orientation. Raises DataError."""
    return rgb_of(open_image(data, where))


def resize_image(
    image: UInt8[np.ndarray, "h w 3"], hw: tuple[int, int], interpolation: str = "bilinear"
) -> UInt8[np.ndarray, "new_h new_w 3"]:
    """The image resized as in torchvision for PIL images; unchanged if the size is the same."""
    if image.shape[:2] == tuple(hw):
        return image
    return np.asarray(_resized(Image.fromarray(image), hw, interpolation))


def _resized(image: Image.Image, hw: Int[np.ndarray, "2"] | tuple[int, int], interpolation: str) -> Image.Image:
    size = (int(hw[1]), int(hw[0]))
    return image if image.size == size else image.resize(size, FILTERS[interpolation])


def recolour(image: Image.Image, factors: np.ndarray, order: int) -> Image.Image:
    """The image with brightness, contrast and saturation times `factors` [3], as in torchvision's ColorJitter.

    `order` is the index of the order of changes in `ORDERS`.
    """
    for change in ORDERS[order]:
        if factors[change] != 1.0:
            image = _ENHANCERS[change](image).enhance(float(factors[change]))
    return image


def change_image(
    image: UInt8[np.ndarray, "h w 3"],
    *,
    flip: bool | np.bool_,
    colours: np.ndarray,
    colour_order: int | np.integer,
    first_hw: np.ndarray,
    window: np.ndarray,
    hw: np.ndarray,
    shape_hw: np.ndarray,
    interpolation: str = "bilinear",
) -> UInt8[np.ndarray, "H W 3"]:
    """The image after one row of `changes.Changes`, padded with zeros at the bottom and right to `shape_hw`."""
    photo = Image.fromarray(image)
    if flip:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    photo = recolour(photo, colours, int(colour_order))
    photo = _cut(_resized(photo, np.asarray(first_hw), interpolation), window)
    padded = np.zeros((int(shape_hw[0]), int(shape_hw[1]), 3), np.uint8)
    padded[: int(hw[0]), : int(hw[1])] = np.asarray(_resized(photo, np.asarray(hw), interpolation))
    return padded


def _cut(image: Image.Image, window: np.ndarray) -> Image.Image:
    left, upper, right, lower = (int(side) for side in window)
    whole = (left, upper, right, lower) == (0, 0, *image.size)
    return image if whole else image.crop((left, upper, right, lower))


def decode_of_size(data: bytes, hw: np.ndarray, where: str = "image") -> UInt8[np.ndarray, "h w 3"]:
    """`decode_rgb` for an image of known size. Raises DataError if the file has another size."""
    image = decode_rgb(data, where)
    if image.shape[:2] != tuple(int(side) for side in hw):
        raise DataError(f"{where}: the file has {image.shape[:2]} pixels, but its record has {tuple(hw.tolist())}")
    return image


def change_mask(
    png: bytes,
    original_hw: np.ndarray,
    *,
    flip: bool | np.bool_,
    first_hw: np.ndarray,
    window: np.ndarray,
    hw: np.ndarray,
    shape_hw: np.ndarray,
    grid_hw: np.ndarray,
) -> Bool[np.ndarray, "h w"]:
    """An instance's mask (8-bit PNG; empty = none) changed like its image, on the grid over the padded image.

    A cell belongs to the mask if at least half of its area does.
    """
    grid = np.zeros((int(grid_hw[0]), int(grid_hw[1])), bool)
    if not png:
        return grid
    mask = Image.fromarray((np.asarray(open_image(png, "mask").convert("L")) > 0).astype(np.float32))
    if mask.size != (int(original_hw[1]), int(original_hw[0])):
        raise DataError(f"mask has {mask.size[::-1]} pixels, but its image has {tuple(original_hw.tolist())}")
    if flip:
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mask = _cut(_resized(mask, np.asarray(first_hw), "bilinear"), window)
    rows, columns = np.maximum(np.round(np.asarray(hw) * np.asarray(grid_hw) / np.asarray(shape_hw)).astype(int), 1)
    small = mask.resize((int(columns), int(rows)), Image.Resampling.BOX)
    grid[:rows, :columns] = np.asarray(small) >= 0.5
    return grid
