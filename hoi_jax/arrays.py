"""The arrays of code that runs under JAX and may be called with NumPy's."""

from typing import TYPE_CHECKING

import jax
import numpy as np

if TYPE_CHECKING:
    # A static checker takes both for JAX's: what a function returns for JAX's arrays is JAX's again.
    ArrayLike = jax.Array
else:
    ArrayLike = jax.Array | np.ndarray
"""An array of JAX or of NumPy; unlike `jax.typing.ArrayLike`, no Python number, so that it has a shape and a dtype."""
