"""Named arrays plus a JSON text in one npz file, the format of annotation and prediction files."""

import json
import os
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from hoi_jax import io

META = "manifest_json"

_KINDS = {"i": "iu", "f": "f", "b": "b", "U": "U"}
_KIND_NAMES = {"i": "integers", "f": "floats", "b": "booleans", "U": "text"}


def write_npz(path: str | os.PathLike[str], content: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and `meta` atomically; equal content gives equal bytes."""
    buffer = BytesIO()
    text = np.array(json.dumps(meta, sort_keys=True, allow_nan=False))
    np.savez_compressed(buffer, **{META: text}, **content)  # type: ignore[arg-type]
    io.write_bytes_atomic(path, buffer.getvalue())


def load_npz(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, meta) of a file written by `write_npz`. Raises io.DataError for any other file."""
    content = io.read_npz(path)
    text = content.pop(META, None)
    if text is None or text.dtype.kind != "U" or text.ndim != 0:
        raise io.DataError(f"{path}: field {META!r} is missing or not a string")
    try:
        meta = json.loads(str(text))
    except json.JSONDecodeError as error:
        raise io.DataError(f"{path}: field {META!r} is not valid JSON ({error})") from error
    if not isinstance(meta, dict):
        raise io.DataError(f"{path}: field {META!r} is not a JSON object")
    return content, meta


def take(
    content: Mapping[str, np.ndarray], name: str, kind: str, ndim: int, path: str | os.PathLike[str]
) -> np.ndarray:
    """The array `name`, checked. `kind`: "i" integers, "f" floats, "b" booleans, "U" text. Raises io.DataError."""
    if name not in content:
        raise io.DataError(f"{path}: field {name!r} is missing; the file has {sorted(content)}")
    array = content[name]
    if array.dtype.kind not in _KINDS[kind]:
        raise io.DataError(f"{path}: field {name!r} has dtype {array.dtype}, expected {_KIND_NAMES[kind]}")
    if array.ndim != ndim:
        raise io.DataError(f"{path}: field {name!r} has shape {array.shape}, expected {ndim} axes")
    return array


def meta_text(meta: Mapping[str, Any], name: str, path: str | os.PathLike[str]) -> str:
    """A string of the manifest. Raises io.DataError if it is missing or not a string."""
    value = meta.get(name)
    if not isinstance(value, str):
        raise io.DataError(f"{path}: field '{META}.{name}' is {value!r}, expected a string")
    return value


def rows_of(keys: np.ndarray, wanted: np.ndarray, what: str) -> np.ndarray:
    """Position of every entry of `wanted` in the distinct `keys`. Raises DataError for an entry not among them."""
    if not len(keys) and np.size(wanted):
        raise io.DataError(f"{what} {np.ravel(wanted)[0]} is unknown")
    if not len(keys):
        return np.zeros(np.shape(wanted), np.int64)
    order = np.argsort(keys, kind="stable")
    position = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    if np.any(keys[position] != wanted):
        raise io.DataError(f"{what} {np.asarray(wanted)[keys[position] != wanted].flat[0]} is unknown")
    return position
