"""The arrays of code that runs under JAX and may be called with NumPy's."""

import jax
import numpy as np

ArrayLike = jax.Array | np.ndarray
"""An array of JAX or of NumPy; unlike `jax.typing.ArrayLike`, no Python number, so that it has a shape and a dtype."""
