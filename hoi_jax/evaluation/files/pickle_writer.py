"""Writes pickles of plain data, for tools that read nothing else."""

import struct
from typing import Any


def dumps(value: Any) -> bytes:
    """A pickle (protocol 2, which Python 2 reads too) of lists, dicts, texts, integers and floats.

    Raises:
      TypeError: for any other type.
    """
    parts = [b"\x80\x02"]
    _emit(value, parts)
    return b"".join([*parts, b"."])


def _emit(value: Any, parts: list[bytes]) -> None:
    if isinstance(value, float):
        parts.append(b"G" + struct.pack(">d", value))
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value.bit_length() // 8 + 1
        parts.append(b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True))
    elif isinstance(value, str):
        text = value.encode()
        parts.append(b"X" + struct.pack("<I", len(text)) + text)
    elif isinstance(value, list):
        parts.append(b"](")
        for item in value:
            _emit(item, parts)
        parts.append(b"e")
    elif isinstance(value, dict):
        parts.append(b"}(")
        for key, item in value.items():
            _emit(key, parts)
            _emit(item, parts)
        parts.append(b"u")
    else:
        raise TypeError(f"cannot write {type(value).__name__}")
