"""Timing of a call, for the benchmarks."""

import statistics
import time
from collections.abc import Callable

import jax


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after a first uncounted one."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return statistics.median(times)
