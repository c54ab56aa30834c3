"""Array type of functions that run under JAX and also accept NumPy arrays."""

from typing import TYPE_CHECKING

import jax
import numpy as np

if TYPE_CHECKING:
    # For static checkers both are JAX arrays, because functions return JAX arrays for JAX arrays.
    ArrayLike = jax.Array
else:
    ArrayLike = jax.Array | np.ndarray
"""A JAX or NumPy array. Unlike `jax.typing.ArrayLike` it excludes Python numbers, so it has a shape and a dtype."""
