"""What the converters of weights share: the file they write, what they say, their exit status."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from hoi_jax import io


@dataclasses.dataclass(frozen=True)
class Converted:
    """Arrays by our names, what they are, the source's names that have no place, and further lines to print."""

    title: str
    arrays: Mapping[str, np.ndarray]
    unknown: Sequence[str]
    notes: Sequence[str] = ()


def write_converted(source: Path, target: Path, convert: Callable[[], Converted]) -> int:
    """Writes `convert()` as an npz that `train.init_from` takes and names what was left out.

    Returns the exit status of a command: 2, with the reason on standard error, when `convert` raises ValueError or
    OSError or gives no array.
    """
    try:
        converted = convert()
        if not converted.arrays:
            raise ValueError(f"{source}: nothing has a place here, for example {list(converted.unknown)[:5]}")
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **converted.arrays)
        io.write_bytes_atomic(target, buffer.getvalue())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in (*(f"no place for {name}" for name in converted.unknown), *converted.notes):
        print(line)
    print(f"{target}: {converted.title}, {len(converted.arrays)} arrays, {len(converted.unknown)} without a place")
    return 0
