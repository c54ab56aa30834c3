"""Reader of PyTorch files (`.pth`, `.pt`) that needs no PyTorch and executes no code from the file.

It supports three layouts: today's zip archive, the older stream of pickles, and TorchScript archives (such as OpenAI's
CLIP), of whose modules only the tensors are read. Only requested tensors are loaded.
"""

import dataclasses
import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.serialization import plain_pickle
from hoi_jax.serialization.pickle_machine import Dialect, Name, run

LEGACY_START = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""Magic number at the beginning of the older layout, after two bytes of protocol."""
ENTRIES = ("state_dict", "model_state_dict", "model_state", "model", "net", "module", "params")
"""Usual keys of a checkpoint's tensors, in order of preference."""
MAX_DEPTH, MAX_ENTRIES = 64, 1_000_000
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": _BFLOAT16, "DoubleStorage": "<f8",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}  # fmt: skip
_NAMES = {
    **{f"torch.{name}": f"storage {code}" for name, code in _STORAGES.items()},
    "torch._utils._rebuild_tensor": "tensor",
    "torch._utils._rebuild_tensor_v2": "tensor",
    "torch._utils._rebuild_parameter": "first",
    "torch.jit._pickle.restore_type_tag": "first",
    **{f"torch.jit._pickle.build_{kind}list": "first" for kind in ("int", "double", "bool", "tensor")},
    "torch.Size": "tuple",
    "torch.device": "text",
    **{f"torch.{kind}": f"dtype {kind}" for kind in ("float16", "bfloat16", "float32", "float64", "int64")},
    "argparse.Namespace": "attributes",
    "collections.OrderedDict": "dict",
    "collections.Counter": "dict",
}


class _Attributes(dict):
    """The attributes of a TorchScript module, or of a list of command-line options."""


@dataclasses.dataclass(frozen=True)
class _Storage:
    """Contiguous numbers of one type outside of the pickle: their place and count."""

    key: str
    code: str
    count: int
    first: int = 0


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _find(module: str, name: str) -> str | None:
    if module == "__torch__" or module.startswith("__torch__."):
        return "attributes"
    return _NAMES.get(f"{module}.{name}") or plain_pickle.find(module, name)


def _numbers(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(type(n) is int and n >= 0 for n in values):
        raise ValueError(f"{values!r} is not a list of non-negative integers")
    return values


def _call(function: Name, arguments: tuple) -> Any:
    if function == "tensor":
        storage, offset, shape, strides = arguments[:4]
        shape, strides = _numbers(shape), _numbers(strides)
        if not isinstance(storage, _Storage) or len(shape) != len(strides) or len(shape) > 32:
            raise ValueError("malformed tensor")
        return _Tensor(storage, storage.first + _numbers((offset,))[0], shape, strides)
    if function == "first" and arguments:
        return arguments[0]
    if function == "tuple" and len(arguments) == 1:
        return _numbers(arguments[0])
    if function == "text" and len(str(arguments)) < 64:
        return ":".join(str(part) for part in arguments)
    if function == "attributes" and arguments == ():
        return _Attributes()
    if function == "dict" and len(arguments) == 1 and isinstance(arguments[0], dict):
        return arguments[0]
    if function == "dict" and len(arguments) == 1 and isinstance(arguments[0], list):  # as written by Python 2
        pairs = {key: value for key, value in arguments[0] if type(key) in (str, int)}
        arguments[0].clear()  # so that repeated references cost no memory
        return pairs
    if function == "dict" and len(arguments) == 1 and isinstance(arguments[0], Name):
        return {}  # a defaultdict with its factory
    return plain_pickle.call(function, arguments)


def _build(target: Any, state: Any) -> Any:
    if isinstance(target, _Attributes) and isinstance(state, dict):
        target.update(state)
        return target
    if type(target) is dict and isinstance(state, dict):
        return target  # versions of the modules, which PyTorch attaches to a state dict
    return plain_pickle.build(target, state)


def _storage(identity: Any) -> _Storage:
    """The storage for a persistent id of a pickle, ("storage", type, key, device, count[, view])."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise ValueError(f"a persistent id {identity!r} is refused")
    kind, key, count = identity[1], identity[2], identity[4]
    if not isinstance(kind, Name) or not kind.startswith("storage ") or not isinstance(key, str):
        raise ValueError(f"a storage of type {kind!r} is refused")
    first = 0
    if len(identity) == 6 and identity[5] is not None:
        first = identity[5][1]
    return _Storage(key, kind.removeprefix("storage "), *_numbers((count, first)))


DIALECT = Dialect(_find, _call, _build, _storage)


def _item(code: str) -> np.dtype:
    return np.dtype("<u2" if code == _BFLOAT16 else code)


def _values(data: bytes | memoryview, code: str) -> np.ndarray:
    flat = np.frombuffer(data, _item(code))
    return (flat.astype(np.uint32) << 16).view(np.float32) if code == _BFLOAT16 else flat


def _array(name: str, tensor: _Tensor, flat: np.ndarray) -> np.ndarray:
    """The tensor's numbers in C order. Raises ValueError if the view exceeds its storage."""
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, flat.dtype)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if last >= len(flat):
        raise ValueError(f"tensor {name!r} reads element {last} of a storage with {len(flat)}")
    strides = [stride * flat.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides)
    return view if view.flags.c_contiguous else view.copy()


def _tensors(value: Any) -> dict[str, _Tensor]:
    """All tensors below a dict, in order, with names joined by dots. Raises ValueError for a dict inside itself."""
    found: dict[str, _Tensor] = {}
    waiting, seen = [("", value, 0)], 0
    while waiting:
        name, inner, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_ENTRIES:
            raise ValueError(f"dicts are nested deeper than {MAX_DEPTH}, or have more than {MAX_ENTRIES} entries")
        if isinstance(inner, _Tensor):
            found[name] = inner
        elif isinstance(inner, dict):
            below = [(f"{name}.{key}" if name else str(key), item, depth + 1) for key, item in inner.items()]
            waiting.extend(reversed(below))
    return found


def _chosen(value: Any, entry: str | None) -> dict[str, _Tensor]:
    """The tensors of a checkpoint's state dict. Raises ValueError if there is none, or more than one candidate."""
    if isinstance(value, _Tensor):
        return {"": value}
    if not isinstance(value, dict):
        raise ValueError(f"contains a {type(value).__name__}, not a dict of tensors")
    if entry is not None:
        if not isinstance(value.get(entry), dict):
            raise ValueError(f"has no entry {entry!r}; entries: {[str(key) for key in value][:20]}")
        return _tensors(value[entry])
    if isinstance(value, _Attributes) or any(isinstance(inner, _Tensor) for inner in value.values()):
        return _tensors(value)
    inside = {key: found for key, inner in value.items() if isinstance(inner, dict) and (found := _tensors(inner))}
    usual = [key for key in ENTRIES if key in inside]
    if not usual and len(inside) > 1:
        raise ValueError(f"has tensors under {[str(key) for key in inside]}; choose one of these entries")
    if not inside:
        raise ValueError(f"contains no tensors; entries: {[str(key) for key in value][:20]}")
    return inside[(usual or list(inside))[0]]


def is_torch(head: bytes, data: Callable[[], bytes]) -> bool:
    """Whether a file is one of PyTorch's.

    Args:
      head: its first 64 bytes.
      data: function that returns all of it (called for zip files).
    """
    if head[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(BytesIO(data())) as archive:
                return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in archive.namelist())
        except io.ZIP_FAULTS:
            return False
    return head[2:].startswith(LEGACY_START)


def read_torch(
    path: str | os.PathLike[str], *, entry: str | None = None, max_bytes: int = io.DEFAULT_LIMIT
) -> dict[str, np.ndarray]:
    """Names and tensors of a state dict saved by PyTorch, alone or inside a checkpoint ({"model": ..., "epoch": 3}).

    float16 is kept, bfloat16 becomes float32. Tensors of one storage may share memory; arrays may be read-only.

    Args:
      entry: entry of the checkpoint; None = the dict itself if it contains tensors, else the first of `ENTRIES` that
        does, else the only one that does.
      max_bytes: limit of the file, and of all tensors together.

    Raises:
      io.CorruptFileError: the file is damaged, or refers to a name not needed for tensors; the message gives it.
      io.MissingFileError, io.TooLargeError, io.DataError: the file has no state dict.
    """
    data = io.read_bytes(path, max_bytes=max_bytes)
    value, storage_bytes = (_open_zip if data[:2] == b"PK" else _open_legacy)(data, path)
    try:
        chosen = _chosen(value, entry)
    except ValueError as error:
        raise io.DataError(f"{path}: {error}") from error
    total = sum(math.prod(tensor.shape) * _item(tensor.storage.code).itemsize for tensor in chosen.values())
    if total > max_bytes:
        raise io.TooLargeError(f"{path}: its tensors have {total} bytes, more than the limit of {max_bytes}")
    flat: dict[tuple[str, str], np.ndarray] = {}
    try:
        for tensor in chosen.values():
            storage = tensor.storage
            place = (storage.key, storage.code)
            if place not in flat:
                flat[place] = _values(storage_bytes(storage), storage.code)
        return {
            name: _array(name, tensor, flat[tensor.storage.key, tensor.storage.code]) for name, tensor in chosen.items()
        }
    except (*io.ZIP_FAULTS, KeyError) as error:
        raise io.CorruptFileError(f"{path}: {error}") from error


def read_plain_torch(path: str | os.PathLike[str], *, max_bytes: int = io.DEFAULT_LIMIT) -> Any:
    """Lists, dictionaries, numbers and texts saved by PyTorch, without reading tensors. Raises io.DataError."""
    data = io.read_bytes(path, max_bytes=max_bytes)
    return (_open_zip if data[:2] == b"PK" else _open_legacy)(data, path)[0]


def _stored(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Bytes of an uncompressed member. Raises ValueError for a compressed one."""
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"member {member.filename!r} is compressed, unlike in files of PyTorch")
    return archive.read(member)


def _open_zip(data: bytes, path: str | os.PathLike[str]) -> tuple[Any, Callable[[_Storage], bytes]]:
    """(pickled value of a zip archive, function that reads its storages)."""
    try:
        archive = zipfile.ZipFile(BytesIO(data))
        members = {info.filename: info for info in archive.infolist()}
        roots = [
            name.removesuffix("data.pkl") for name in members if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(roots) != 1:
            raise ValueError(f"not an archive of PyTorch: {len(roots)} members are named data.pkl")
        root = roots[0]
        if f"{root}byteorder" in members and _stored(archive, members[f"{root}byteorder"]) != b"little":
            raise ValueError("numbers are not little-endian")
        pickled = _stored(archive, members[f"{root}data.pkl"])
    except io.ZIP_FAULTS as error:
        raise io.CorruptFileError(f"{path}: {error}") from error
    value, _ = run(pickled, f"{path} (data.pkl)", DIALECT)

    def storage_bytes(storage: _Storage) -> bytes:
        member = members[f"{root}data/{storage.key}"]
        expected = storage.count * _item(storage.code).itemsize
        if member.file_size != expected:
            raise ValueError(f"storage {storage.key!r} has {member.file_size} bytes, expected {expected}")
        return _stored(archive, member)

    return value, storage_bytes


def _open_legacy(data: bytes, path: str | os.PathLike[str]) -> tuple[Any, Callable[[_Storage], memoryview]]:
    """(pickled value of the older layout, function that reads its storages)."""
    if not data[2:].startswith(LEGACY_START):
        raise io.CorruptFileError(f"{path}: neither a zip archive nor the older layout of PyTorch")
    codes: dict[str, _Storage] = {}

    def remember(identity: Any) -> _Storage:
        storage = _storage(identity)
        codes[storage.key] = storage
        return storage

    position, values = 0, []
    for _ in range(5):  # magic number, version, machine, value, keys of the storages
        value, position = run(data, path, dataclasses.replace(DIALECT, persistent=remember), position)
        values.append(value)
    machine, keys = values[2], values[4]
    if values[1] != 1001 or not isinstance(machine, Mapping) or machine.get("little_endian") is not True:
        raise io.CorruptFileError(f"{path}: version {values[1]!r} of {machine!r} is not supported")
    places: dict[str, memoryview] = {}
    for key in keys if isinstance(keys, list) else []:
        if key not in codes or position + 8 > len(data):
            raise io.CorruptFileError(f"{path}: storage {key!r} is unknown or truncated at byte {position}")
        count = struct.unpack_from("<q", data, position)[0]
        end = position + 8 + count * _item(codes[key].code).itemsize
        if count < 0 or end > len(data):
            raise io.CorruptFileError(f"{path}: storage {key!r} of {count} numbers is truncated at byte {len(data)}")
        places[key] = memoryview(data)[position + 8 : end]
        position = end
    return values[3], lambda storage: places[storage.key]
