"""How the benchmarks time a call."""

import statistics
import time
from collections.abc import Callable

import jax


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call that has run once before."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return statistics.median(times)
