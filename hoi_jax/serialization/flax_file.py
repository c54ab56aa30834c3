"""Reader of Flax checkpoints (`flax.training.checkpoints` with msgpack, one file), which executes no code.

The format is `flax.serialization.msgpack_serialize`: msgpack with extensions 1 for arrays (shape, dtype name, bytes),
2 for complex numbers and 3 for NumPy scalars; arrays over a gigabyte are dictionaries of chunks.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from hoi_jax import io

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_DTYPES = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
}  # fmt: skip
_CHUNKED = "__msgpack_chunked_array__"
_FAULTS = (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, msgpack.UnpackException)


def _array(data: bytes) -> np.ndarray:
    shape, name, content = msgpack.unpackb(data, raw=True)
    name = name.decode()
    dtype = np.dtype("<u2") if name == "bfloat16" else np.dtype(name) if name in _DTYPES else None
    if dtype is None or any(not isinstance(side, int) or side < 0 for side in shape):
        raise ValueError(f"an array has type {name!r} and shape {shape}")
    array = np.frombuffer(content, dtype)
    if name == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(tuple(shape))


def _extension(code: int, data: bytes) -> Any:
    if code == _ARRAY:
        return _array(data)
    if code == _SCALAR:
        return _array(data)[()]
    if code == _COMPLEX:
        return complex(*msgpack.unpackb(data))
    raise ValueError(f"unknown msgpack extension {code}, which Flax does not write")


def _joined(value: Any) -> Any:
    """The same tree with chunks of arrays joined."""
    if not isinstance(value, dict):
        return value
    if _CHUNKED not in value:
        return {str(key): _joined(inner) for key, inner in value.items()}
    shape, chunks = value["shape"], value["chunks"]
    parts = [chunks[str(place)] for place in range(len(chunks))]
    return np.concatenate(parts).reshape([shape[str(place)] for place in range(len(shape))])


def read_flax(path: str | os.PathLike[str], *, max_bytes: int = io.DEFAULT_LIMIT) -> dict[str, Any]:
    """The tree of a checkpoint file: nested dictionaries of arrays, numbers, text and None.

    bfloat16 becomes float32.

    Raises:
      io.DataError: the file is missing, too large, a folder (Orbax writes those), or not such a file.
    """
    if Path(path).is_dir():
        raise io.DataError(f"{path}: is a folder; give the checkpoint file in it (Orbax's folders are not supported)")
    data = io.read_bytes(path, max_bytes=max_bytes)
    try:
        tree = _joined(msgpack.unpackb(data, ext_hook=_extension, raw=False, strict_map_key=False))
    except _FAULTS as error:
        raise io.CorruptFileError(f"{path}: not a readable checkpoint of Flax ({error})") from error
    if not isinstance(tree, dict):
        raise io.CorruptFileError(f"{path}: content is {type(tree).__name__}, expected a dictionary")
    return tree


def flat_arrays(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """{"a/b/c": array} of a tree; leaves that are not arrays are left out."""
    found: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        name = f"{prefix}/{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            found |= flat_arrays(value, name)
        elif isinstance(value, np.ndarray):
            found[name] = value
    return found
