"""A small cascade, its batches with masks and faces, and random variables for tests."""

import numpy as np

from tests.helpers.batches import random_batch, with_every_field

SIZE = 64


def small_config(**groups) -> dict:
    """A configuration of two levels, two stages and eight channels; `groups` are merged in, group by group."""
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
    """`random_batch` with faces and masks."""
    return with_every_field(random_batch(vocabulary, batch=batch, size=size, seed=seed), vocabulary, size, seed)


VARIANTS = {
    "external": {"detector": "external", "stages": 2, "relation": {"mining_scale": 0.1}},
    "own": {"stages": 2, "masks": {"enabled": True}, "relation": {"region": "mask", "mining_scale": 0.1}},
}

PADDED_LOSS = "image"
"""Pairs for mining and ranking are drawn over the rows of the table of annotated boxes."""


def adjust(variables):
    """Variables with biases that make the cascade's detector find people."""
    for stage in range(2):
        if f"box_heads_{stage}" in variables["params"]:
            variables["params"][f"box_heads_{stage}"]["score"]["bias"] = np.array([0, 4, 2, 2], np.float32)
    return variables
