"""Learning-rate schedules: functions step -> factor of the base learning rate."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax.training.settings import ScheduleSettings

Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]


def make_schedule(settings: ScheduleSettings, num_steps: int) -> Schedule:
    """The factor for the update number `step` (0-based); steps after warm-up count from its end.

    "cosine" reaches `final_factor` at `num_steps`. "step" counts its steps from the start of the run, warm-up
    included, as training recipes state them.
    """
    after_warmup = _make_shape(settings, max(num_steps - settings.warmup_steps, 1))

    def schedule(step: Int[Array, ""]) -> Float[Array, ""]:
        step = jnp.asarray(step, jnp.float32)
        factor = after_warmup(jnp.maximum(step - settings.warmup_steps - settings.delay, 0.0))
        if settings.kind == "step":
            passed = jnp.sum(step >= jnp.asarray(settings.step_at, jnp.float32))
            factor = jnp.float32(settings.step_factor) ** passed
        if settings.warmup_steps:
            factor = factor * jnp.minimum(_ramp(step, settings.warmup_start, settings.warmup_steps), 1.0)
        return factor

    return schedule


def _ramp(step: Array, start: float, length: int) -> Array:
    if start:
        # As in mmcv: the first update has `start`, the first one after the warm-up has 1.
        return start + (1.0 - start) * step / length
    # Update 0 already moves: the ramp reaches 1 with the last warm-up update.
    return (step + 1.0) / length


def _make_shape(settings: ScheduleSettings, length: int) -> Callable[[Array], Array]:
    if settings.kind == "cosine":
        low = settings.final_factor
        return lambda t: low + (1 - low) * _half_cosine(jnp.minimum(t / length, 1.0))
    if settings.kind == "cosine_restarts":
        return _restarts(settings, length)
    return jnp.ones_like


def _half_cosine(fraction: Array) -> Array:
    return 0.5 * (1.0 + jnp.cos(math.pi * fraction))


def _restarts(settings: ScheduleSettings, length: int) -> Callable[[Array], Array]:
    """Cosine from each cycle's height to `final_factor`; cycles are laid out on the host, exactly."""
    starts, periods = [0.0], [float(settings.restart_period or length)]
    while starts[-1] + periods[-1] < length:
        starts.append(starts[-1] + periods[-1])
        periods.append(periods[-1] * settings.restart_growth)
    heights = settings.restart_factor ** np.arange(len(starts))
    table = jnp.asarray(np.stack([starts, periods, heights]), jnp.float32)
    low = settings.final_factor

    def shape(t: Array) -> Array:
        start, period, height = table[:, jnp.sum(t >= table[0]) - 1]
        return low + (1 - low) * height * _half_cosine(jnp.minimum((t - start) / period, 1.0))

    return shape
