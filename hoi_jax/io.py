"""File access: bounded reads, atomic writes, errors that name the file.

No function here runs pickled code: arrays are read with `allow_pickle=False`.
"""

import gzip
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

MEGABYTE = 1 << 20
DEFAULT_LIMIT = 2048 * MEGABYTE
_MAT_COMPRESSED = 15
ZIP_FAULTS = (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""Exceptions of Python's zipfile for damaged archives; RuntimeError if they appear encrypted or of a newer version."""


class DataError(ValueError):
    """A file cannot be used; the message names the file and the reason."""


class MissingFileError(DataError):
    """The file does not exist or is not a regular file."""


class TooLargeError(DataError):
    """The file, or its uncompressed content, exceeds the size limit."""


class CorruptFileError(DataError):
    """The content does not follow the file format."""


def read_bytes(path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_LIMIT) -> bytes:
    """The content of a regular file of at most `max_bytes`; a `.gz` file is returned as it is."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    if path.stat().st_size > max_bytes:
        raise TooLargeError(f"{path}: {path.stat().st_size} bytes exceed the limit of {max_bytes}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def read_head(path: str | os.PathLike[str], count: int) -> bytes:
    """The first `count` bytes of a regular file, or all of a shorter one, to detect its format."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def read_text_bytes(path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_LIMIT) -> bytes:
    """Like `read_bytes`, but unpacks gzip data (whatever the file name); the limit applies to the unpacked size too."""
    data = read_bytes(path, max_bytes=max_bytes)
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as stream:
            unpacked = stream.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptFileError(f"{path}: damaged gzip data ({error})") from error
    if len(unpacked) > max_bytes:
        raise TooLargeError(f"{path}: unpacks to more than {max_bytes} bytes")
    return unpacked


def read_json(path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_LIMIT) -> Any:
    """Parsed JSON, plain or gzipped, in UTF-8, 16 or 32.

    NaN and Infinity are accepted, as Python writes them; callers must check numbers. A key that occurs twice in one
    object is an error, because one of its values would be lost.
    """
    data = read_text_bytes(path, max_bytes=max_bytes)
    try:
        return json.loads(data, object_pairs_hook=_distinct_keys)
    except (ValueError, RecursionError) as error:  # Wrong encodings and overlong integers are ValueErrors too.
        raise CorruptFileError(f"{path}: not valid JSON ({error})") from error


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"key {twice[:60]!r} occurs twice in one object")
    return table


def read_npz(path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_LIMIT) -> dict[str, np.ndarray]:
    """All arrays of an npz file. Object arrays (pickles), and content that unpacks to over `max_bytes`, are errors."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max_bytes:
            raise TooLargeError(f"{path}: unpacks to {unpacked} bytes, more than the limit of {max_bytes}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except DataError:
        raise
    except (*ZIP_FAULTS, KeyError, EOFError) as error:
        raise CorruptFileError(f"{path}: not a readable npz file ({error})") from error


def map_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of a `.npy` file, memory-mapped and read-only: pages are read on first access.

    Raises:
      MissingFileError: there is no such file.
      CorruptFileError: not an npy file, a truncated one, or one with an object array (pickle).
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptFileError(f"{path}: not a readable npy file ({error})") from error


_SAFETENSORS_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip


def read_safetensors(path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_LIMIT) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file; bfloat16 becomes float32.

    Raises:
      MissingFileError, TooLargeError: see `read_bytes`.
      CorruptFileError: the header is damaged or does not match the content.
    """
    data = read_bytes(path, max_bytes=max_bytes)
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        if len(data) < 8 or start > len(data):
            raise ValueError(f"the header has {start - 8} bytes, the file only {len(data)}")
        header = json.loads(data[8:start])
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _safetensor(name, entry, memoryview(data)[start:]) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFileError(f"{path}: not a readable safetensors file ({error})") from error


def _safetensor(name: str, entry: dict[str, Any], body: memoryview) -> np.ndarray:
    """One tensor of a safetensors file, described by `entry` of its header. Raises ValueError, KeyError, TypeError."""
    kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, first, last)) or not first <= last <= len(body):
        raise ValueError(f"tensor {name!r} has shape {shape} and byte range {first} to {last} of {len(body)} bytes")
    dtype = np.dtype("<u2" if kind == "BF16" else _SAFETENSORS_DTYPES[kind])
    if math.prod(shape) * dtype.itemsize != last - first:
        raise ValueError(f"tensor {name!r} of shape {shape} and type {kind} cannot have {last - first} bytes")
    array = np.frombuffer(body[first:last], dtype)
    if kind == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def write_safetensors_atomic(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]) -> int:
    """Write named arrays, sorted by name, atomically. Returns the size of the file in bytes.

    Raises:
      ValueError: the format does not support the dtype of an array.
    """
    codes = {np.dtype(dtype): code for code, dtype in _SAFETENSORS_DTYPES.items()}
    header, parts, at = {}, [], 0
    for name, value in sorted(tensors.items()):
        dtype = value.dtype.newbyteorder("<")
        if dtype not in codes:
            raise ValueError(f"{path}: {name!r} has dtype {value.dtype}, which safetensors does not support")
        data = np.ascontiguousarray(value, dtype).tobytes()
        header[name] = {
            "dtype": codes[dtype], "shape": list(value.shape), "data_offsets": [at, at + len(data)],
        }  # fmt: skip
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # Tensors start at a multiple of eight.
    whole = b"".join([len(text).to_bytes(8, "little"), text, *parts])
    write_bytes_atomic(path, whole)
    return len(whole)


def read_mat(path: str | os.PathLike[str], names: Sequence[str], *, max_bytes: int = DEFAULT_LIMIT) -> dict[str, Any]:
    """Variables `names` of a MATLAB file (version 5 to 7.2) in SciPy's representation; absent ones are left out.

    The limit applies to the unpacked size too.

    Raises:
      MissingFileError, TooLargeError: see `read_bytes`.
      CorruptFileError: damaged files, and MATLAB 7.3 files, which are HDF5.
    """
    import scipy.io  # Slow to import and used for this format only.

    data = _unpacked_mat(path, read_bytes(path, max_bytes=max_bytes), max_bytes)
    try:
        found = scipy.io.loadmat(BytesIO(data), variable_names=list(names))
    except Exception as error:  # On damaged data SciPy's parser raises exceptions of many types.
        raise CorruptFileError(f"{path}: not a readable MATLAB file ({error})") from error
    return {name: found[name] for name in names if name in found}


def is_mat(data: bytes) -> bool:
    """Whether the first bytes of a file are those of a MATLAB file, of any version."""
    return data[:7] == b"MATLAB " and data[126:128] in (b"IM", b"MI")


def _unpacked_mat(path: str | os.PathLike[str], data: bytes, max_bytes: int) -> bytes:
    """The same file with its compressed variables unpacked, so that their size can be checked before parsing."""
    if data[:10] == b"MATLAB 7.3":
        raise CorruptFileError(f"{path}: MATLAB 7.3 (HDF5) files are not supported; save with `-v7`")
    if not is_mat(data) or len(data) < 128:
        raise CorruptFileError(f"{path}: not a MATLAB file")
    byte_order: Literal["little", "big"] = "little" if data[126:128] == b"IM" else "big"
    parts, position, left = [data[:128]], 128, max_bytes
    while position + 8 <= len(data):
        kind = int.from_bytes(data[position : position + 4], byte_order)
        end = position + 8 + int.from_bytes(data[position + 4 : position + 8], byte_order)
        if end > len(data):
            raise CorruptFileError(f"{path}: file ends at byte {len(data)} inside a variable that ends at byte {end}")
        part = data[position:end]
        if kind == _MAT_COMPRESSED:
            try:
                part = zlib.decompressobj().decompress(part[8:], left + 1)
            except zlib.error as error:
                raise CorruptFileError(f"{path}: damaged compressed variable at byte {position} ({error})") from error
        left -= len(part)
        if left < 0:
            raise TooLargeError(f"{path}: unpacks to more than {max_bytes} bytes")
        parts.append(part)
        position = end
    return b"".join(parts)


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically: to a temporary file beside it, which is flushed to disk and then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json_atomic(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON with sorted keys atomically. Raises ValueError for NaN (use null instead)."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    write_bytes_atomic(path, text.encode() + b"\n")
