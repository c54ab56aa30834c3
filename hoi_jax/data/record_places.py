"""Where every record of a split lies in its TFRecord files, so that one can be read without those before it."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from jaxtyping import Int

from hoi_jax.data.records import Tensor
from hoi_jax.io import CorruptFileError, DataError, MissingFileError

_HEAD, _TAIL = 12, 4
"""A record in a TFRecord file: its length (8 bytes), a checksum (4), the record, a checksum (4)."""


def record_places(paths: Sequence[str | Path]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """(file [n], byte [n]) of the heads of all records, in order; only the heads are read.

    Raises:
      CorruptFileError: a file ends within a record.
    """
    file, byte = [], []
    for number, path in enumerate(map(Path, paths)):
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        size, at = path.stat().st_size, 0
        try:
            with path.open("rb", buffering=0) as stream:
                while at < size:
                    stream.seek(at)
                    head = stream.read(_HEAD)
                    length = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else size
                    if at + _HEAD + length + _TAIL > size:
                        raise CorruptFileError(f"{path}: ends within the record at byte {at}")
                    file.append(number)
                    byte.append(at)
                    at += _HEAD + length + _TAIL
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
    return np.array(file, np.int64), np.array(byte, np.int64)


def read_at(path: Tensor, byte: Tensor) -> tf.data.Dataset:
    """A dataset of the one record whose head is at `byte`; for `flat_map`, since the operation fails outside functions.

    A wrong checksum raises tf.errors.DataLossError.
    """
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=tf.constant(0, tf.int64), byte_offsets=[byte], metadata=""
    )
    return tf.data.experimental.from_variant(records, tf.TensorSpec((), tf.string)).take(1)
