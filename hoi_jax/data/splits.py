"""Parts of a split: "train:held_out" is a tenth of "train", "train:fit" the rest.

Values that are fitted after training (suppression thresholds) need pictures that the network did not learn and that
are not the test set. Which ones is decided by the picture's position alone, so that it never changes.
"""

import zlib

import numpy as np
from jaxtyping import Bool

PARTS = ("fit", "held_out")
ONE_IN = 10


def base_and_part(split: str) -> tuple[str, str]:
    """("train", "fit") of "train:fit"; the part is "" for a whole split. Raises ValueError for another part."""
    base, colon, part = split.partition(":")
    if colon and part not in PARTS:
        raise ValueError(f"split {split!r} has no part {part!r}; parts are {PARTS}")
    return base, part


def part_mask(split: str, count: int) -> Bool[np.ndarray, " count"]:
    """Which of the `count` examples of the whole split belong to `split`."""
    base, part = base_and_part(split)
    if not part:
        return np.ones(count, bool)
    held_out = np.array([zlib.crc32(f"{base}/{i}".encode()) % ONE_IN == 0 for i in range(count)], bool)
    return held_out if part == "held_out" else ~held_out
