"""A small interpreter of pickles that calls no function named in the file.

Python's own reader can be made to call any function. This one executes only the operations of the format, and leaves
names, calls and states to a `Dialect`, which builds harmless values. Anything else is an error that gives the position.
Memory is bounded by the size of the file.
"""

import codecs
import dataclasses
import os
import struct
from collections.abc import Callable
from typing import Any

from hoi_jax import io


class Name(str):
    """A global name in the file, translated by the dialect; nothing is imported."""


class Unfinished:
    """A value between its construction and the state that completes it."""

    def __init__(self, value: Any = None):
        self.value = value


def _no_persistent(identity: object) -> Any:
    raise ValueError(f"a persistent id {identity!r} is refused")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """Meaning of the global names in a file. Functions raise ValueError (or TypeError, KeyError) to reject a value.

    Attributes:
      find: (module, name) -> our name for it, or None.
      call: (name, arguments) -> the value of a harmless call.
      build: (target, state) -> `target` completed by its state.
      persistent: persistent id -> a value stored outside of the pickle.
    """

    find: Callable[[str, str], str | None]
    call: Callable[[Name, tuple], Any]
    build: Callable[[Any, Any], Any]
    persistent: Callable[[Any], Any] = _no_persistent


class _Machine:
    """A restricted stack machine for the format."""

    def __init__(self, data: bytes, start: int, dialect: Dialect):
        self.data, self.position, self.dialect = data, start, dialect
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.made = 0

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
            raise ValueError("data is truncated")
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
        done = isinstance(value, Unfinished) and value.value is not None
        self.stack.append(value.value if done else value)

    def name(self, module: object, name: object) -> None:
        known = self.dialect.find(str(module), str(name))
        if known is None:
            raise ValueError(f"the name {f'{module}.{name}'!r} is refused")
        self.stack.append(Name(known))

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("items are appended to a value that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise ValueError("items are set in a value that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise ValueError(f"a key of type {type(key).__name__} is refused")
            self.stack[-1][key] = value

    def pop(self) -> Any:
        return self.stack.pop()

    def call(self) -> None:
        function, arguments = _pop_two(self)
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError(f"a call of {function!r} is refused")
        self.stack.append(self.counted(self.dialect.call(function, arguments)))

    def build(self) -> None:
        target, state = _pop_two(self)
        self.stack.append(self.counted(self.dialect.build(target, state)))

    def counted(self, value: Any) -> Any:
        """`value`, with a limit on the total size of arrays and bytes, as a part of the file may be used repeatedly."""
        self.made += getattr(value, "nbytes", len(value) if isinstance(value, bytes | str) else 0)
        if self.made > 2 * len(self.data) + 1024:
            raise ValueError("its values are larger than the file")
        return value

    def persistent(self) -> None:
        self.stack.append(self.dialect.persistent(self.stack.pop()))


def _pop_two(machine: _Machine) -> tuple[Any, Any]:
    second = machine.pop()
    return machine.pop(), second


def _integer(text: str) -> int | bool:
    return {"00": False, "01": True}[text] if text in ("00", "01") else int(text.rstrip("L"))


def _quoted(text: str) -> str:
    """A Python 2 string in quotes, with its escapes decoded."""
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
    ord("R"): lambda m: m.call(),
    0x81: lambda m: m.call(),  # new object: a class known to the dialect is called like a function
    ord("b"): lambda m: m.build(),
    ord("Q"): lambda m: m.persistent(),
}


def run(data: bytes, where: str | os.PathLike[str], dialect: Dialect, start: int = 0) -> tuple[Any, int]:
    """(value of the pickle that begins at byte `start`, position after its end).

    Raises:
      io.CorruptFileError: the pickle is damaged or refused; the message gives `where`, the position and the reason.
    """
    machine = _Machine(data, start, dialect)
    try:
        return machine.run(), machine.position
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, UnicodeError) as error:
        raise io.CorruptFileError(f"{where}: pickle refused at byte {machine.position}: {error}") from error
