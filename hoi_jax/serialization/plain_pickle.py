"""Reader of pickles that hold data only: lists, dicts, numbers, texts and NumPy arrays.

The published V-COCO tools exchange such files. A dozen harmless names are accepted, and arrays must include their
bytes. `pickle_machine` explains why this is safe.
"""

import os
import re
from typing import Any

import numpy as np

from hoi_jax.serialization.pickle_machine import Dialect, Name, Unfinished, run


class FilledEntry(dict):
    """A dict of UPT's cache, in which missing keys mean scores of zero."""


_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_ARRAY_FUNCTIONS = ("_reconstruct", "scalar", "_frombuffer")
_DTYPE = re.compile(r"[biuf][1248]\Z")


def find(module: str, name: str) -> str | None:
    """Our name for a global name, or None if it is not accepted."""
    if module in _ARRAY_MODULES and name in _ARRAY_FUNCTIONS:
        return name
    if name == "CacheTemplate":
        return name  # UPT and PViC: a defaultdict defined in their own script, in any module.
    exact = {
        "numpy.ndarray": "ndarray",
        "numpy.dtype": "dtype",
        "_codecs.encode": "encode",
        "__builtin__.bytes": "bytes",
        "builtins.bytes": "bytes",
        "collections.OrderedDict": "dict",
        "collections.defaultdict": "dict",
    }
    return exact.get(f"{module}.{name}")


def _dtype(code: object) -> np.dtype:
    if not isinstance(code, str) or not _DTYPE.match(code):
        raise ValueError(f"dtype {code!r} is refused")
    return np.dtype(code)


def _bytes(value: object) -> bytes:
    """Raw bytes, which Python 2 wrote as text."""
    return value.encode("latin1") if isinstance(value, str) else bytes(value)  # type: ignore[arg-type]


def _array(raw: object, dtype: object, shape: object, fortran: object) -> np.ndarray:
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple) or not all(type(n) is int for n in shape):
        raise ValueError("malformed array")
    data = _bytes(raw) if isinstance(raw, str | bytes) else None
    if data is None or any(n < 0 for n in shape) or len(shape) > 8:
        raise ValueError("malformed array")
    array = np.frombuffer(data, dtype)
    if array.shape != shape:
        array = array.reshape(shape, order="F" if fortran else "C")
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def call(function: Name, arguments: tuple) -> Any:
    """The value of a harmless call."""
    if function == "_reconstruct":
        return Unfinished()
    if function == "dtype":
        return Unfinished(_dtype(arguments[0]))
    if function == "scalar":
        dtype, raw = arguments
        return _array(raw, dtype, (1,), False)[0].item()
    if function == "_frombuffer":
        raw, dtype, shape, order = arguments
        return _array(raw, dtype, shape, order == "F")
    if function == "encode" and len(arguments) == 2 and arguments[1] == "latin1":
        return _bytes(arguments[0])
    if function == "bytes" and arguments == ():
        return b""
    if function in ("dict", "CacheTemplate") and arguments in ((), (None,)):
        return FilledEntry() if function == "CacheTemplate" else {}
    raise ValueError(f"a call of {str(function)!r} with {len(arguments)} arguments is refused")


def build(target: object, state: object) -> Any:
    """Complete `target` by its state: an array by its bytes, a dtype by its byte order."""
    if not isinstance(target, Unfinished) or not isinstance(state, tuple):
        raise ValueError(f"a state for {type(target).__name__} is refused")
    if target.value is None:
        _, shape, dtype, fortran, raw = state
        target.value = _array(raw, dtype, shape, fortran)
    elif len(state) > 1 and state[1] in ("<", ">", "|", "=") and isinstance(target.value, np.dtype):
        target.value = target.value.newbyteorder("<" if state[1] == "<" else ">" if state[1] == ">" else "=")
    else:
        raise ValueError("malformed state")
    return target.value


PLAIN = Dialect(find, call, build)


def loads(data: bytes, where: str | os.PathLike[str]) -> Any:
    """The value of a pickle.

    Raises:
      io.CorruptFileError: the pickle is damaged or refused; the message gives `where`, the position and the reason.
    """
    return run(data, where, PLAIN)[0]
