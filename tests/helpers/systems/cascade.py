"""A small cascade, its batches with masks and faces, and random variables for tests."""

import functools

import jax
import numpy as np

from tests.helpers.batches import random_batch

# Half the compile time, the same numbers to float32 accuracy.
fast_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIZE = 64


def small_config(**groups) -> dict:
    """Two levels, two stages, eight channels; `groups` are merged in, group by group."""
    config = {
        "stages": 2, "max_humans": 4,
        "backbone": {
            "stage_sizes": (1, 1), "stage_strides": (2, 2), "width": 8, "kind": "basic", "norm": "group",
            "stem": "small", "pyramid_width": 6,
        },
        "rpn": {"width": 6, "scale": 4.0, "per_level": 12, "total": 16, "samples": 24},
        "boxes": {"width": 12, "samples": 16, "candidates": 24, "detections": 6, "finest_px": 24.0, "score": 0.1},
        "masks": {"convs": 1, "width": 6, "rois": 4},
        "relation": {
            "width": 10, "geometric_width": 5, "face_width": 7, "map_features": (2, 2),
        },
        "loss": {"pairs": 16},
        "predict": {"top_pairs": 6, "human_score": 0.0, "object_score": 0.0, "chunk": 8},
    }  # fmt: skip
    for name, values in groups.items():
        config[name] = {**config.get(name, {}), **values} if isinstance(values, dict) else values
    return config


def cascade_batch(vocabulary, batch: int = 2, seed: int = 0, size: int = SIZE) -> dict[str, np.ndarray]:
    """`random_batch` with faces (the first person of every picture has none) and masks (ellipses in the boxes)."""
    made = random_batch(vocabulary, batch=batch, size=size, seed=seed)
    grid = (np.arange(32) + 0.5) * size / 32
    for table in ("instances", "detections"):
        boxes, label = made[f"{table}_xyxy_px"], made[f"{table}_class"]
        low, side = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
        face = np.concatenate([low + side * [0.3, 0.0], low + side * [0.7, 0.3]], axis=-1)
        has = (label == 0) & (np.arange(label.shape[1]) > 0)[None]
        made[f"{table}_face_xyxy_px"] = (face * has[..., None]).astype(np.float32)
        centre, half = low + side / 2, side / 2
        x = (grid[None, None] - centre[..., :1]) / half[..., :1]
        y = (grid[None, None] - centre[..., 1:]) / half[..., 1:]
        made[f"{table}_mask"] = x[:, :, None, :] ** 2 + y[:, :, :, None] ** 2 <= 1
    made["faces_xyxy_px"] = np.concatenate([made[f"{t}_face_xyxy_px"] for t in ("instances", "detections")], axis=1)
    return made


def random_variables(init, *args):
    """Variables of the right shapes with random values; drawing them on the host spares a slow compilation."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        scale = 0.2 if len(leaf.shape) < 2 else np.sqrt(2.0 / np.prod(leaf.shape[:-1]))
        return (name == "scale") + np.float32(scale) * rng.normal(size=leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(init, jax.random.key(0), *args))
