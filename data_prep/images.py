"""Image lookup by file name, and the image columns of a record."""

from pathlib import Path

from hoi_jax.data.pixels import ENDINGS, is_plain, open_image, orientation_of, png_of, upright
from hoi_jax.io import CorruptFileError, MissingFileError, read_bytes

MAX_IMAGE_BYTES = 64 << 20


class ImageFolder:
    """Images anywhere below a folder, by file name; files outside of it are never opened.

    Args:
      upright: whether to apply the EXIF orientation if the labels do not give the image size. False keeps the pixels of
        the file, as in the published loaders of the older datasets, whose labels were made that way.
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

        An image that decoders could show differently (EXIF orientation, CMYK, 16 bits, palette, animation) is
        re-encoded as PNG; any other one is unchanged.

        Args:
          labelled_hw: size of the image for which the labels were made, (0, 0) = unknown. It determines whether the
            EXIF orientation is applied.

        Raises:
          DataError: the image is missing, unreadable, too large, or has another size than its labels.
        """
        if name not in self._paths:
            raise MissingFileError(f"{self.folder}: has no image {name!r}")
        path = self._paths[name]
        data = read_bytes(path, max_bytes=MAX_IMAGE_BYTES)
        image = open_image(data, str(path))
        stored, orientation = (image.height, image.width), orientation_of(image)
        shown = (image.width, image.height) if orientation >= 5 else stored
        known = 0 not in labelled_hw
        if known and labelled_hw not in (stored, shown):
            raise CorruptFileError(
                f"{path}: has {stored[1]} x {stored[0]} pixels, but its labels were made for {labelled_hw[1]} x "
                f"{labelled_hw[0]}, so boxes would be wrong; use the images that belong to the labels"
            )
        turn = orientation != 1 and (self.upright if not known or stored == shown else shown == labelled_hw)
        if turn:
            return png_of(upright(image)), shown
        # The EXIF field remains in the file, but the pipeline's decoder ignores it.
        return (data if is_plain(image) else png_of(image)), stored
