"""Single images of a built dataset by their position, without reading what lies before them."""

import numpy as np
import tensorflow as tf

from hoi_jax.data.pixels import decode_rgb
from hoi_jax.data.record_places import read_at, record_places
from hoi_jax.data.records import RecordFiles
from hoi_jax.io import CorruptFileError, DataError


class PictureReader:
    """Images of one split by row of its annotations; may be used by several threads."""

    def __init__(self, files: RecordFiles):
        file, byte = record_places(files.paths)
        if len(byte) != files.base_examples:
            raise DataError(f"{files.directory}: {len(byte)} records, expected {files.base_examples}")
        rows = slice(None) if files.positions is None else files.positions
        self._file, self._byte = file[rows], byte[rows]
        self._files = files

    def __len__(self) -> int:
        return len(self._byte)

    def picture(self, row: int) -> tuple[int, np.ndarray | None]:
        """image_id and the image [H, W, 3] uint8, or None where the dataset was built without images.

        Raises:
          IndexError: no such row; DataError: the file changed.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        path = self._files.paths[self._file[row]]
        try:
            place = tf.data.Dataset.from_tensors((tf.constant(path), tf.constant(self._byte[row])))
            record = next(iter(place.flat_map(lambda *where: read_at(*where))))
        except tf.errors.OpError as error:
            raise CorruptFileError(f"{path}: the record at byte {self._byte[row]}: {error.message}") from error
        example = self._files.parse(record)
        number, encoded = int(example["image_id"]), example["image"].numpy()
        return number, decode_rgb(encoded, f"{path}: image {number}") if encoded else None
