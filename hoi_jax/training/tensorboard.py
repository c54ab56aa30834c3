"""Scalars as TensorBoard event files, written by hand: framed records of a few protocol-buffer fields.

Format: TensorFlow's `tfrecord` framing (length, masked CRC-32C, data, masked CRC-32C) around `Event` messages of
tensorboard/compat/proto/event.proto. It spares the trainer the TensorFlow import.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as in RFC 3720 appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _masked_crc(data: bytes) -> int:
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """One record of a tfrecord file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked_crc(length)) + data + struct.pack("<I", _masked_crc(data))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _event(wall_time: float, step: int, payload: bytes) -> bytes:
    # Event: 1 double wall_time, 2 int64 step, then one of 3 file_version, 5 summary, 7 session_log
    return b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step) + payload


def scalars_event(wall_time: float, step: int, scalars: Mapping[str, float]) -> bytes:
    """Serialised Event with one Summary.Value (1 tag, 2 simple_value) per scalar."""
    values = b"".join(
        _bytes_field(1, _bytes_field(1, name.encode()) + b"\x15" + struct.pack("<f", value))
        for name, value in scalars.items()
    )
    return _event(wall_time, step, _bytes_field(5, values))


class EventWriter:
    """Appends scalars to a new event file in `folder`.

    Args:
      first_step: the run continues from here; TensorBoard then hides what older files say about later steps.
    """

    def __init__(self, folder: Path, first_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
        self._file = open(folder / name, "ab")  # noqa: SIM115
        self._file.write(frame(_event(now, 0, _bytes_field(3, b"brain.Event:2"))))
        start = b"\x08\x01"  # SessionLog.status = START
        self._file.write(frame(_event(now, first_step + 1, _bytes_field(7, start))))

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes and flushes one event."""
        self._file.write(frame(scalars_event(time.time(), step, scalars)))
        self._file.flush()

    def close(self) -> None:
        """Closes the file; further writes are errors."""
        self._file.close()
