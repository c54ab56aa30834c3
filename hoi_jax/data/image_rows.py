"""Rows of foreign files by image: by file name, with or without suffix, or by the number at its end."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from hoi_jax.io import DataError

Row = TypeVar("Row")
Key = str | int
_SHOWN = 2


def image_number(path: Path) -> int | None:
    """Number at the end of a file name, as in COCO's image names: 328 for COCO_val2014_000000000328.jpg."""
    digits = path.stem[len(path.stem.rstrip("0123456789")) :]
    return int(digits) if digits else None


def image_key(entry: Mapping[str, Any]) -> Key:
    """The image of a row: its "file_name" without folders, or its "image_id". Raises ValueError without either."""
    for value in (entry.get("file_name"), entry.get("image_id")):
        if isinstance(value, str):
            return Path(value).name
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    raise ValueError("has neither 'image_id' nor 'file_name'")


def keys_of(name: str) -> list[Key]:
    """All keys of the image with this name."""
    path = Path(name)
    number = image_number(path)
    return [*dict.fromkeys((path.name, path.stem)), *(() if number is None else (number,))]


@dataclasses.dataclass(frozen=True)
class Join:
    """Correspondence of a file's images with those of a dataset.

    Attributes:
      images: split -> number of images in the dataset.
      found: split -> number of these images with rows in the file.
      keys: number of images with an entry in the file.
      unknown: keys of file images that are not in the dataset.
    """

    images: Mapping[str, int]
    found: Mapping[str, int]
    keys: int
    unknown: tuple[Key, ...]

    def lines(self, what: str) -> list[str]:
        """One line per split, and one about the images that are only in the file."""
        lines = [
            f"{what}: {self.found[split]} of {count} images of {split} have some, {count - self.found[split]} have none"
            for split, count in self.images.items()
        ]
        known = self.keys - len(self.unknown)
        return [*lines, f"{what}: {known} of the file's {self.keys} images are in the dataset{_examples(self.unknown)}"]


def _examples(unknown: tuple[Key, ...]) -> str:
    return f", {len(unknown)} are not, such as {unknown[0]!r}" if unknown else ""


class ImageRows(Generic[Row]):
    """A table from images to rows, in the order in which they were added."""

    def __init__(self):
        self._rows: dict[Key, list[Row]] = {}

    def add(self, key: Key, row: Row) -> None:
        self._rows.setdefault(key, []).append(row)

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def items(self) -> Iterable[tuple[Key, list[Row]]]:
        return self._rows.items()

    def of(self, name: str) -> list[Row]:
        """Rows of the image with this name; empty without an entry."""
        return [row for key in keys_of(name) for row in self._rows.get(key, ())]

    def join(self, names: Mapping[str, Iterable[str]], where: str) -> Join:
        """Count the images that the file and the dataset have in common.

        Args:
          names: split -> file names of its images, for the splits of the file.
          where: the file, for messages.

        Raises:
          DataError: the file has no rows, no image is in both, or an image number fits two file names.
        """
        if not self._rows:
            raise DataError(f"{where}: has no rows")
        owner: dict[int, str] = {}
        known: set[Key] = set()
        images, found = {}, {}
        for split, listed in names.items():
            listed = list(listed)
            images[split], found[split] = len(listed), 0
            for name in listed:
                keys = [key for key in keys_of(name) if key in self._rows]
                known.update(keys)
                found[split] += bool(keys)
                for number in (key for key in keys if isinstance(key, int)):
                    if owner.setdefault(number, name) != name:
                        raise DataError(
                            f"{where}: its image {number} is {owner[number]!r} as well as {name!r}; give the split "
                            f"of the file (such as {split}=FILE), or add a 'file_name' to its rows"
                        )
        if not known:
            listed = [name for names_of_split in names.values() for name in names_of_split]
            raise DataError(
                f"{where}: none of its {len(self._rows)} images is in {' or '.join(names)}; the file has "
                f"{', '.join(map(repr, list(self._rows)[:_SHOWN]))}, the dataset "
                f"{', '.join(map(repr, listed[:_SHOWN])) or 'no images'}"
            )
        unknown = tuple(key for key in self._rows if key not in known)
        return Join(images, found, len(self._rows), unknown)
