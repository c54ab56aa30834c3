"""Memory of a test process: compiled programs and freed blocks."""

import ctypes
import gc
import sys

import jax


def give_memory_back() -> None:
    """Drop all compiled programs, and return the C library's free blocks to the system (glibc keeps them otherwise)."""
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
