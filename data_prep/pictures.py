"""Finding pictures by file name and reading their size without decoding them."""

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from hoi_jax.io import CorruptFileError, MissingFileError, read_bytes

MAX_PICTURE_BYTES = 64 << 20


class PictureFolder:
    """Pictures anywhere below a folder, by file name."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise MissingFileError(f"{folder}: no such folder of pictures")
        self.folder = folder
        self._paths: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
                self._paths.setdefault(path.name, path)

    def __contains__(self, name: str) -> bool:
        return name in self._paths

    def read(self, name: str) -> tuple[bytes, tuple[int, int]]:
        """The encoded picture and its (height, width) in pixels. Raises DataError naming the picture."""
        if name not in self._paths:
            raise MissingFileError(f"{self.folder}: no picture {name!r} below it")
        data = read_bytes(self._paths[name], max_bytes=MAX_PICTURE_BYTES)
        try:
            with Image.open(io.BytesIO(data)) as picture:
                picture.verify()
                return data, (picture.height, picture.width)
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise CorruptFileError(f"{self._paths[name]}: not a readable picture ({error})") from error
