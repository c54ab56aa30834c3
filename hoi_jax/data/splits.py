"""Parts of a split: "train:held_out" is a tenth of "train", "train:fit" the rest; "train:ablation_val" is a third.

Values that are fitted after training (suppression thresholds) need images that the network did not learn and that are
not the test set. Which ones is decided by the image's position alone, so that it never changes.

"ablation_train" and "ablation_val" stand for the split that the cascade's paper made of HOI-W, 19,843 and 9,999 of
29,842 images at random. Its list was never published: here the images are ranked by a hash of their position, and the
first 9,999 (of a file of another length, as large a share) are for validation. `vocab/hoi_w_split.json` lists them.
"""

import hashlib
import zlib

import numpy as np
from jaxtyping import Bool

ONE_IN = 10
ABLATION_SHARE = (9_999, 29_842)
PARTS = ("fit", "held_out", "ablation_train", "ablation_val")


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
    if part.startswith("ablation"):
        chosen = _ablation_val(base, count)
        return chosen if part == "ablation_val" else ~chosen
    held_out = np.array([zlib.crc32(f"{base}/{i}".encode()) % ONE_IN == 0 for i in range(count)], bool)
    return held_out if part == "held_out" else ~held_out


def _ablation_val(base: str, count: int) -> Bool[np.ndarray, " count"]:
    """The lowest ranks by SHA-256 of "<base>/<position>", as many as the paper's share of its 29,842 images."""
    ranks = sorted(range(count), key=lambda i: hashlib.sha256(f"{base}/{i}".encode()).digest())
    share, whole = ABLATION_SHARE
    mask = np.zeros(count, bool)
    mask[ranks[: (count * share + whole // 2) // whole]] = True
    return mask
