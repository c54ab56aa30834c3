"""A small CALIPSO and its variables for tests."""

import functools

import jax
import numpy as np

# Half the compile time, the same numbers to float32 accuracy.
fast_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIZE = 64
"""Side of the test pictures: the coarsest of the small network's strides is 32."""


def small_config(**groups) -> dict:
    """A configuration that runs in a blink; `groups` are merged in, group by group."""
    config = {
        "backbone": {
            "stage_sizes": (1, 1, 1), "stage_strides": (1, 2, 2), "width": 8, "kind": "basic", "norm": "group",
            "stem": "small", "pyramid_width": 8,
        },
        "anchors": {"sizes": (8.0, 12.0, 16.0, 24.0, 40.0)},
        "subnet": {"blocks": 2, "width": 8, "embedding_dim": 3},
        "loss": {"max_foreground": 512},
        "predict": {},
        "max_humans": 3, "max_objects": 5,
    }  # fmt: skip
    for name, values in groups.items():
        config[name] = {**config[name], **values} if isinstance(values, dict) else values
    return config


def random_variables(init, *args):
    """Variables of the right shapes with random values; drawing them on the host spares a slow compilation."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        if name == "var":
            return np.exp(0.3 * rng.normal(size=leaf.shape)).astype(np.float32)
        scale = 0.2 if len(leaf.shape) < 2 or name == "mean" else np.sqrt(2.0 / np.prod(leaf.shape[:-1]))
        return (name == "scale") + np.float32(scale) * rng.normal(size=leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(init, jax.random.key(0), *args))
