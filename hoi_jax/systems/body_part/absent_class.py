"""The row of V-COCO's class "object absent", which a detector of COCO does not have."""

import numpy as np

SEED = 0


def with_absent_row(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A class head with one fresh row before its last one ("no pair"), as QPIC and CDN convert DETR for V-COCO.

    The row is PyTorch's first guess for a linear layer, uniform within 1 / sqrt(width), drawn from a fixed seed.

    Args:
      weight: [classes, width]; bias: [classes].
    """
    bound = weight.shape[1] ** -0.5
    draw = np.random.default_rng(SEED).uniform(-bound, bound, weight.shape[1] + 1).astype(weight.dtype)
    return np.insert(weight, -1, draw[:-1], axis=0), np.insert(bias, -1, draw[-1])
