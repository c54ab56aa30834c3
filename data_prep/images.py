"""Image lookup by file name, and the image columns of a record."""

from pathlib import Path

from hoi_jax.data.pixels import ENDINGS, is_plain, open_image, orientation_of, png_of, upright
from hoi_jax.io import CorruptFileError, MissingFileError, read_bytes

MAX_IMAGE_BYTES = 64 << 20


class ImageFolder:
    """Images anywhere below a folder, by file name; nothing outside it is ever opened by name.

    Args:
      upright: what to do with an image that EXIF says is turned where its labels do not tell: True turns it, False
        keeps the pixels as stored (so do the published loaders of the old datasets, whose labels were made that way).
    """

    def __init__(self, folder: Path, *, upright: bool = False):
        if not folder.is_dir():
            raise MissingFileError(f"{folder}: no such folder of images")
        self.folder = folder
        self.upright = upright
        self._paths: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in ENDINGS:
                self._paths.setdefault(path.name, path)

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def read(self, name: str, labelled_hw: tuple[int, int] = (0, 0)) -> tuple[bytes, tuple[int, int]]:
        """The encoded image and its (height, width) in pixels.

        An image that some decoder would show otherwise (turned by EXIF, CMYK, 16 bits, palette, animated) is stored
        anew as PNG; any other one byte for byte.

        Args:
          labelled_hw: size of the image that the labels were made for, (0, 0) = unknown. It decides whether an image
            that EXIF turns is turned.

        Raises:
          DataError: naming the image: absent, unreadable, too large, or of another size than its labels.
        """
        if name not in self._paths:
            raise MissingFileError(f"{self.folder}: no image {name!r} below it")
        path = self._paths[name]
        data = read_bytes(path, max_bytes=MAX_IMAGE_BYTES)
        image = open_image(data, str(path))
        stored, orientation = (image.height, image.width), orientation_of(image)
        shown = (image.width, image.height) if orientation >= 5 else stored
        known = 0 not in labelled_hw
        if known and labelled_hw not in (stored, shown):
            raise CorruptFileError(
                f"{path}: {stored[1]} x {stored[0]} pixels, but its labels were made for {labelled_hw[1]} x "
                f"{labelled_hw[0]}: boxes would be wrong; use the images that belong to the labels"
            )
        turn = orientation != 1 and (self.upright if not known or stored == shown else shown == labelled_hw)
        if turn:
            return png_of(upright(image)), shown
        # The EXIF field stays in the file, but the pipeline's decoder does not look at it.
        return (data if is_plain(image) else png_of(image)), stored
