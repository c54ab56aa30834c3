"""Boxes as offsets from other boxes: centre shifts in units of the reference's sides, and logarithms of size ratios."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MAX_LOG_RATIO = math.log(1000.0 / 16.0)
"""Largest |log| of a side's ratio that `decode_boxes` follows."""


def _centre_size(boxes: Array, extra: float) -> tuple[Array, Array]:
    side = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * side, side + extra


def _stds(stds: Sequence[float], ndim: int) -> np.ndarray:
    return np.asarray(stds, np.float32).reshape((1,) * (ndim - 1) + (4,))


def encode_boxes(
    reference_xyxy: Float[Array, "*batch 4"],
    target_xyxy: Float[Array, "*batch 4"],
    stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    *,
    plus_one: bool = False,
) -> Float[Array, "*batch 4"]:
    """(dx, dy, dw, dh) that lead from `reference_xyxy` to `target_xyxy` (Girshick, ICCV 2015), divided by `stds`.

    Args:
      stds: torchvision's weights are 1 / stds.
      plus_one: sides are x2 - x1 + 1, as in the first mmdetection and the release of C-HOI.

    Boxes without area (padding) give finite numbers that mean nothing.
    """
    extra = 1.0 if plus_one else 0.0
    centre, size = _centre_size(reference_xyxy, extra)
    goal, goal_size = _centre_size(target_xyxy, extra)
    size, goal_size = jnp.maximum(size, 1e-6), jnp.maximum(goal_size, 1e-6)
    deltas = jnp.concatenate([(goal - centre) / size, jnp.log(goal_size / size)], axis=-1)
    return deltas / _stds(stds, deltas.ndim)


def decode_boxes(
    reference_xyxy: Float[Array, "*batch 4"],
    deltas: Float[Array, "*batch 4"],
    stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    *,
    plus_one: bool = False,
    clip_shrinking: bool = True,
) -> Float[Array, "*batch 4"]:
    """The boxes that `encode_boxes` describes. Not cut to the picture.

    Args:
      clip_shrinking: limit the ratio of sides to 1000 / 16 from below too (mmdetection); torchvision does so from
        above only.
    """
    extra = 1.0 if plus_one else 0.0
    centre, size = _centre_size(reference_xyxy, extra)
    deltas = deltas * _stds(stds, deltas.ndim)
    log_ratio = jnp.minimum(deltas[..., 2:], MAX_LOG_RATIO)
    if clip_shrinking:
        log_ratio = jnp.maximum(log_ratio, -MAX_LOG_RATIO)
    centre = centre + deltas[..., :2] * size
    half = 0.5 * (jnp.exp(log_ratio) * size) - extra / 2
    return jnp.concatenate([centre - half, centre + half], axis=-1)
