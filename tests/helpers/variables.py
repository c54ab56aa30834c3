"""Random variables of networks without running their initialisation, which takes long to compile."""

import jax
import numpy as np


def random_variables(init, *args):
    """Random variables with the shapes of `init(key, *args)`, drawn on the host.

    Kernels are scaled by the square root of 2 / fan-in, scales of norms are around 1, variances above 0.
    """
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        if name == "var":
            return np.exp(0.3 * rng.normal(size=leaf.shape)).astype(np.float32)
        scale = 0.2 if len(leaf.shape) < 2 or name == "mean" else np.sqrt(2.0 / np.prod(leaf.shape[:-1]))
        return (name == "scale") + np.float32(scale) * rng.normal(size=leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(init, jax.random.key(0), *args))
