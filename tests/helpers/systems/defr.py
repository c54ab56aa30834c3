"""A small DEFR and its batches for tests."""

import numpy as np

from tests.helpers.batches import ACTION_STYLE, HOI_STYLE, random_batch

STYLES = {"hoi": HOI_STYLE, "action": ACTION_STYLE}


def small_config(**groups) -> dict:
    config = {
        "backbone": {"patch": 8, "width": 16, "layers": 2, "heads": 2},
        "inputs": {"size": 32},
        "classifier": {"gamma": 10.0},
        "detection": {"max_humans": 3, "max_objects": 4},
    }
    for name, values in groups.items():
        config[name] = {**config.get(name, {}), **values} if isinstance(values, dict) else values
    return config


def make_batch(style: str, batch: int = 4) -> dict[str, np.ndarray]:
    table = random_batch(STYLES[style], batch=batch)
    rng = np.random.default_rng(5)
    table["hoi_labels"] = rng.integers(-2, 2, (batch, len(HOI_STYLE.hois))).astype(np.int32)
    table["detections_score"] = rng.uniform(0.3, 1, table["detections_score"].shape).astype(np.float32)
    return table
