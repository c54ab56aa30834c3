"""Reader of TensorFlow.js layers models: `model.json` and the shards that it names, which contain plain numbers."""

import math
import os
from pathlib import Path

import numpy as np

from hoi_jax import io

_TYPES = {"float32": "<f4", "int32": "<i4", "bool": "?", "uint8": "u1"}


def read_tfjs(path: str | os.PathLike[str], *, max_bytes: int = io.DEFAULT_LIMIT) -> dict[str, np.ndarray]:
    """Read tensors by name.

    Raises:
      io.DataError: the manifest is malformed, names a shard outside its own folder or quantised weights, or does not
        fit the size of the shards; the message names the file and the tensor.
    """
    path = Path(path)
    manifest = io.read_json(path)
    try:
        groups = [(list(group["paths"]), list(group["weights"])) for group in manifest["weightsManifest"]]
        return {k: v for paths, weights in groups for k, v in _group(path, paths, weights, max_bytes).items()}
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, io.DataError):
            raise
        raise io.CorruptFileError(f"{path}: not the manifest of a TensorFlow.js model ({error!r})") from error


def _group(path: Path, shards: list[str], weights: list[dict], max_bytes: int) -> dict[str, np.ndarray]:
    for name in shards:
        if Path(name).name != name:
            raise io.DataError(f"{path}: shard {name!r} is not a file in the same folder")
    data, left = bytearray(), max_bytes
    for name in shards:
        part = io.read_bytes(path.parent / name, max_bytes=left)
        data += part
        left -= len(part)
    out, at = {}, 0
    for entry in weights:
        name, shape = str(entry["name"]), tuple(int(n) for n in entry["shape"])
        if "quantization" in entry or entry["dtype"] not in _TYPES:
            kind = entry.get("quantization", entry["dtype"])
            raise io.DataError(f"{path}: {name!r} is stored as {kind}, which is not supported")
        dtype = np.dtype(_TYPES[entry["dtype"]])
        end = at + math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or end > len(data):
            raise io.CorruptFileError(f"{path}: {name!r} of shape {shape} exceeds the {len(data)} bytes of the shards")
        out[name] = np.frombuffer(bytes(data[at:end]), dtype).reshape(shape)
        at = end
    if at != len(data):
        raise io.CorruptFileError(f"{path}: the tensors have {at} bytes, but the shards {len(data)}")
    return out
