"""Random draws of a scene: a NumPy generator read in blocks, because single draws are slow."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 512


class Rng:
    """A stream of random numbers that depends only on its key (seed, index, stream)."""

    def __init__(self, *key: int):
        self._generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(list(key))))
        self._values: list[float] = []
        self._next = 0

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        if self._next == len(self._values):
            self._values, self._next = self._generator.random(_BLOCK).tolist(), 0
        self._next += 1
        return self._values[self._next - 1]

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def below(self, count: int) -> int:
        """An integer in [0, count)."""
        return int(self.unit() * count)

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        return self.unit() < probability

    def sign(self) -> int:
        return 1 if self.unit() < 0.5 else -1

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def weighted(self, cumulative: Sequence[float]) -> int:
        """Index drawn from a table of cumulative weights."""
        target = self.unit() * cumulative[-1]
        low, high = 0, len(cumulative) - 1
        while low < high:
            middle = (low + high) // 2
            if cumulative[middle] > target:
                high = middle
            else:
                low = middle + 1
        return low

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """Standard normal float64 array; for the detector, which draws arrays."""
        return self._generator.standard_normal(shape)

    def uniform(self, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform float64 array in [0, 1)."""
        return self._generator.random(shape)
