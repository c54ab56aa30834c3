"""Encoded pictures of any kind, decoded under limits: what cannot be shown as 8-bit RGB is brought there or refused.

Policy: CMYK, palettes and grey become RGB; 16 bits a channel become the upper 8; of animations the first picture
counts; transparency is dropped. Files that are cut off, are no picture, or hold more than `MAX_PIXELS` are refused.
"""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

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

# Broken files make Pillow raise almost anything; none of it may stop a run over a folder.
_FAULTS = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError, AttributeError,
    struct.error, zlib.error, MemoryError, RuntimeError,
)  # fmt: skip


def open_picture(data: bytes, where: str, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The decoded first picture of a file, as stored (not turned upright).

    Raises:
      DataError: beginning with `where`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what is refused, or read as far as needed, nobody need be warned.
            image = Image.open(BytesIO(data), formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise TooLargeError(f"{where}: {image.width} x {image.height} pixels, the limit is {max_pixels}")
            image.load()
            return image
    except DataError:
        raise
    except UnidentifiedImageError as error:  # its own message holds a memory address
        raise CorruptFileError(f"{where}: not a picture, or of another format than {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{where}: too many pixels ({error})") from error
    except _FAULTS as error:
        raise CorruptFileError(f"{where}: not a readable picture ({error})") from error


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation 1 to 8; 1 (upright) where there is none or it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(_ORIENTATION, 1)
    except _FAULTS:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says."""
    turn = _TURNS.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


def rgb_of(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels as 8-bit RGB. Raises CorruptFileError for a kind of pixels that has no colours."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        # "I" and "F" do not say how many bits are used; 16 where the values need them.
        scale = 256 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 1
        grey = np.clip(values // scale, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    try:
        return np.asarray(image.convert("RGB"))
    except _FAULTS as error:
        raise CorruptFileError(f"a picture of mode {image.mode!r} is not read ({error})") from error


def is_plain(image: Image.Image) -> bool:
    """Whether every decoder shows the file as it is: a JPEG or PNG in RGB or grey with 8 bits."""
    still = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
    return image.format in ("JPEG", "MPO", "PNG") and image.mode in ("RGB", "L") and still


def png_of(image: Image.Image) -> bytes:
    """The picture as an 8-bit RGB PNG: nothing is lost by storing it."""
    stream = BytesIO()
    Image.fromarray(rgb_of(image)).save(stream, "PNG")
    return stream.getvalue()
