"""A small body-part system and its variables for tests."""

import functools

import jax
import numpy as np

fast_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def small_config(**groups) -> dict:
    config = {
        "backbone": {
            "stage_sizes": (1, 1), "stage_strides": (1, 2), "width": 8, "kind": "basic", "norm": "group",
            "stem": "small",
        },
        "transformer": {
            "hidden": 16, "heads": 2, "feedforward": 24, "dropout": 0.1, "encoder_layers": 1, "box_layers": 2,
        },
        "verbs": {"source": "decoder", "layers": 1},
        "parts": {"person_score": 0.1},
        "queries": 7,
    }  # fmt: skip
    for name, values in groups.items():
        config[name] = {**config.get(name, {}), **values} if isinstance(values, dict) else values
    return config


def random_variables(init, *args):
    """Random values of the right shapes, drawn on the host to spare a slow compilation."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        scale = 0.2 if len(leaf.shape) < 2 else np.sqrt(2.0 / np.prod(leaf.shape[:-1]))
        return (path[-1].key == "scale") + np.float32(scale) * rng.normal(size=leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(init, jax.random.key(0), *args))


def only(batch, names):
    return {name: value for name, value in batch.items() if name in names}
