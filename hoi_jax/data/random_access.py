"""Single pictures of a built dataset by their position, without reading what lies before them."""

import dataclasses
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from hoi_jax.data.records import RecordFiles
from hoi_jax.io import CorruptFileError, DataError, read_range

_HEAD, _TAIL = 12, 4
"""A record in a TFRecord file: its length (8 bytes), a checksum (4), the record, a checksum (4)."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a record lies."""

    path: Path
    start: int
    length: int


def record_places(paths: Sequence[str]) -> list[Place]:
    """Places of all records, in order; only the heads of records are read.

    Raises:
      CorruptFileError: a file ends within a record.
    """
    places = []
    for path in map(Path, paths):
        size, at = path.stat().st_size, 0
        while at < size:
            length = struct.unpack("<Q", read_range(path, at, _HEAD)[:8])[0]
            if at + _HEAD + length + _TAIL > size:
                raise CorruptFileError(f"{path}: ends within the record at byte {at}")
            places.append(Place(path, at + _HEAD, length))
            at += _HEAD + length + _TAIL
    return places


class PictureReader:
    """Pictures of one split by row of its annotations; may be used by several threads."""

    def __init__(self, files: RecordFiles):
        places = record_places(files.paths)
        if len(places) != files.base_examples:
            raise DataError(f"{files.directory}: {len(places)} records, expected {files.base_examples}")
        self._places = places if files.positions is None else [places[row] for row in files.positions]
        self._files = files

    def __len__(self) -> int:
        return len(self._places)

    def picture(self, row: int) -> tuple[int, np.ndarray | None]:
        """image_id and the picture [H, W, 3] uint8, or None where the dataset was built without pictures.

        Raises:
          IndexError: no such row; DataError: the file changed.
        """
        if not 0 <= row < len(self._places):
            raise IndexError(f"row {row} of {len(self._places)}")
        place = self._places[row]
        example = self._files.parse(tf.constant(read_range(place.path, place.start, place.length)))
        number, encoded = int(example["image_id"]), example["image"]
        if not encoded.numpy():
            return number, None
        picture: Any = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return number, picture.numpy()
