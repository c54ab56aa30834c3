"""Reads pickles that hold data only: lists, dicts, numbers, texts and NumPy arrays.

The published V-COCO tools exchange pickles. Python's own reader can be made to call any function; this one is a small
interpreter of the format that knows a dozen harmless names, builds their values itself and calls nothing that a file
names. Whatever else a file asks for is refused with its position. Memory is bounded by the size of the file: an array
must bring its own bytes.
"""

import codecs
import os
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from hoi_jax import io


class FilledEntry(dict):
    """A dict of UPT's cache, whose absent keys stand for scores of zero."""


class _Name(str):
    """A global name that the file mentions; nothing is imported."""


class _Unfinished:
    """An array or dtype between its construction and the state that completes it."""

    def __init__(self, value: Any = None):
        self.value = value


_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_ARRAY_FUNCTIONS = ("_reconstruct", "scalar", "_frombuffer")
_DTYPE = re.compile(r"[biuf][1248]\Z")


def _known(module: str, name: str) -> str | None:
    """What a global name stands for here, None for a name that is refused."""
    if module in _ARRAY_MODULES and name in _ARRAY_FUNCTIONS:
        return name
    if name == "CacheTemplate":
        return name  # UPT and PViC: a defaultdict defined in their own script, whatever module that was.
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
    """Raw bytes; Python 2 wrote them as text."""
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


def _reduce(function: object, arguments: object) -> Any:
    """The value of a harmless call."""
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        raise ValueError(f"a call of {function!r} is refused")
    if function == "_reconstruct":
        return _Unfinished()
    if function == "dtype":
        return _Unfinished(_dtype(arguments[0]))
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


def _built(target: object, state: object) -> Any:
    """`target` completed by its state: an array by its bytes, a dtype by its byte order."""
    if not isinstance(target, _Unfinished) or not isinstance(state, tuple):
        raise ValueError(f"a state for {type(target).__name__} is refused")
    if target.value is None:
        _, shape, dtype, fortran, raw = state
        target.value = _array(raw, dtype, shape, fortran)
    elif len(state) > 1 and state[1] in ("<", ">", "|", "=") and isinstance(target.value, np.dtype):
        target.value = target.value.newbyteorder("<" if state[1] == "<" else ">" if state[1] == ">" else "=")
    else:
        raise ValueError("malformed state")
    return target.value


class _Machine:
    """The stack machine of the format, restricted."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        data, operations = self.data, _OPERATIONS
        while True:
            opcode = data[self.position]
            self.position += 1
            if opcode == _STOP:
                if len(self.stack) != 1:
                    raise ValueError(f"{len(self.stack)} values are left at the end")
                return self.stack[0]
            operation = operations.get(opcode)
            if operation is None:
                raise ValueError(f"operation {bytes([opcode])!r} is refused")
            operation(self)

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise ValueError("cut off")
        part = self.data[self.position : end]
        self.position = end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def line(self) -> str:
        end = self.data.index(b"\n", self.position)
        part = self.take(end - self.position)
        self.position += 1
        return part.decode("latin1")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop_tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("stack is empty")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def get(self, key: int) -> None:
        value = self.memo[key]
        done = isinstance(value, _Unfinished) and value.value is not None
        self.stack.append(value.value if done else value)

    def name(self, module: object, name: object) -> None:
        known = _known(str(module), str(name))
        if known is None:
            raise ValueError(f"the name {f'{module}.{name}'!r} is refused")
        self.stack.append(_Name(known))

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("items for something that is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise ValueError("items for something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise ValueError(f"a key of type {type(key).__name__} is refused")
            self.stack[-1][key] = value

    def pop(self) -> Any:
        return self.stack.pop()


def _pop_two(machine: _Machine) -> tuple[Any, Any]:
    second = machine.pop()
    return machine.pop(), second


def _integer(text: str) -> int | bool:
    return {"00": False, "01": True}[text] if text in ("00", "01") else int(text.rstrip("L"))


def _quoted(text: str) -> str:
    """A Python 2 text in quotes, its escapes undone."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        raise ValueError(f"text {text[:40]!r} is refused")
    return codecs.escape_decode(text[1:-1].encode("latin1"))[0].decode("latin1")  # type: ignore[attr-defined]


_STOP = ord(".")
_OPERATIONS: dict[int, Callable[[_Machine], Any]] = {
    0x80: lambda m: m.take(1),  # protocol
    0x95: lambda m: m.take(8),  # frame
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): lambda m: m.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): lambda m: m.push(_integer(m.line())),
    ord("L"): lambda m: m.push(_integer(m.line())),
    ord("J"): lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(m.number(2)),
    0x8A: lambda m: m.push(int.from_bytes(m.take(m.byte()), "little", signed=True)),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    ord("S"): lambda m: m.push(_quoted(m.line())),
    ord("V"): lambda m: m.push(m.line().encode("latin1").decode("raw-unicode-escape")),
    ord("T"): lambda m: m.push(m.take(m.number(4)).decode("latin1")),
    ord("U"): lambda m: m.push(m.take(m.byte()).decode("latin1")),
    ord("X"): lambda m: m.push(m.take(m.number(4)).decode()),
    0x8C: lambda m: m.push(m.take(m.byte()).decode()),
    0x8D: lambda m: m.push(m.take(m.number(8)).decode()),
    ord("B"): lambda m: m.push(m.take(m.number(4))),
    ord("C"): lambda m: m.push(m.take(m.byte())),
    0x8E: lambda m: m.push(m.take(m.number(8))),
    0x96: lambda m: m.push(m.take(m.number(8))),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord(")"): lambda m: m.push(()),
    ord("l"): lambda m: m.push(m.since_mark()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.pop_tuple(1),
    0x86: lambda m: m.pop_tuple(2),
    0x87: lambda m: m.pop_tuple(3),
    ord("d"): lambda m: (lambda items: (m.push({}), m.set_items(items)))(m.since_mark()),
    ord("a"): lambda m: m.extend([m.pop()]),
    ord("e"): lambda m: m.extend(m.since_mark()),
    ord("s"): lambda m: m.set_items(list(_pop_two(m))),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    ord("p"): lambda m: m.put(int(m.line())),
    ord("q"): lambda m: m.put(m.byte()),
    ord("r"): lambda m: m.put(m.number(4)),
    0x94: lambda m: m.put(len(m.memo)),
    ord("g"): lambda m: m.get(int(m.line())),
    ord("h"): lambda m: m.get(m.byte()),
    ord("j"): lambda m: m.get(m.number(4)),
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: lambda m: m.name(*_pop_two(m)),
    ord("R"): lambda m: m.push(_reduce(*_pop_two(m))),
    ord("b"): lambda m: m.push(_built(*_pop_two(m))),
}


def loads(data: bytes, where: str | os.PathLike[str]) -> Any:
    """The value of a pickle.

    Raises:
      io.CorruptFileError: naming `where`, the byte, and what is refused or broken there.
    """
    machine = _Machine(data)
    try:
        return machine.run()
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, UnicodeError) as error:
        raise io.CorruptFileError(f"{where}: pickle refused at byte {machine.position}: {error}") from error
