"""Counter-based random numbers, independent of batch, host, restart and library version.

A number is a hash of (seed, epoch, example, index): SplitMix64's output function (Steele, Lea & Flood, OOPSLA 2014)
applied once per word. All draws of an epoch are one array operation on the host.
"""

import numpy as np
from jaxtyping import Float, Int, UInt64

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def split_mix(state: UInt64[np.ndarray, "..."] | np.uint64) -> UInt64[np.ndarray, "..."] | np.uint64:
    """The next output of SplitMix64 for each state."""
    with np.errstate(over="ignore"):
        x = np.asarray(state, np.uint64) + _GAMMA
        x = (x ^ (x >> np.uint64(30))) * _FIRST
        x = (x ^ (x >> np.uint64(27))) * _SECOND
        return x ^ (x >> np.uint64(31))


def hash_words(*words: int | np.integer | np.ndarray) -> UInt64[np.ndarray, "..."] | np.uint64:
    """Hash of whole numbers, broadcast together; it depends on the order of the words."""
    state = np.uint64(0)
    for word in words:
        state = split_mix(np.bitwise_xor(state, np.asarray(word).astype(np.int64).view(np.uint64)))
    return np.asarray(state)


def uniform(
    seed: int, epoch: int | Int[np.ndarray, " n"], example: Int[np.ndarray, " n"], purpose: int, count: int
) -> Float[np.ndarray, "n count"]:
    """Numbers in [0, 1), float64, `count` per example; different uses have different values of `purpose`."""
    rows = hash_words(seed, purpose, epoch, example)
    bits = np.asarray(hash_words(np.asarray(rows)[:, None], np.arange(count))) >> np.uint64(11)
    return np.asarray(bits, np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, items: Int[np.ndarray, "n columns"]) -> Int[np.ndarray, " n"]:
    """A random order of the rows of `items` (whole numbers that identify them), as row positions."""
    keys = hash_words(seed, -1, epoch, *np.moveaxis(items, 1, 0))
    return np.argsort(keys, kind="stable")
