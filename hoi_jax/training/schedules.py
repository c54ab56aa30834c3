"""Learning-rate schedules: functions from the step to a factor of the base learning rate, built from settings.

A config may give lengths in epochs, or a paper's schedule for another batch size; `in_steps` converts both to updates
of this run.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.training.settings import OptimizerSettings, ScheduleSettings, TrainSettings

Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]


def make_schedule(settings: ScheduleSettings, num_steps: int) -> Schedule:
    """Return the function from the number of an update (0-based) to its factor.

    The schedule after warm-up starts at the end of warm-up. "cosine" reaches `final_factor` at `num_steps`. "step"
    counts its steps from the start of the run, including warm-up, as in training recipes.
    """
    after_warmup = _make_shape(settings, max(num_steps - settings.warmup_steps, 1))

    def schedule(step: Int[ArrayLike, ""] | int) -> Float[Array, ""]:
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
        # As in mmcv, the first update has `start` and the first one after the warm-up has 1.
        return start + (1.0 - start) * step / length
    # Update 0 has a factor above 0, and the last warm-up update has 1.
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
    """Cosine from each cycle's maximum to `final_factor`; cycle boundaries are computed exactly, on the host."""
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


def in_steps(
    train: TrainSettings, optimizer: OptimizerSettings, steps_per_epoch: float, batch_size: int | None = None
) -> tuple[TrainSettings, OptimizerSettings]:
    """Convert settings to updates of this run and to the learning rates for its batch size.

    Lengths in epochs (`num_epochs`, `restart_epochs`) are converted to updates if no steps are given. This requires the
    training stream, because oversampled copies count. With `optimizer.base_batch_size`, steps and learning rates are
    for updates of that many images, and both are converted to updates of `batch_size` images (linear scaling, Goyal et
    al. 2017): the number of images between two events of the schedule is preserved, and learning rates are multiplied
    by `batch_size / base`. In the result, `base_batch_size` is None.

    Args:
      steps_per_epoch: updates of `batch_size` images in one epoch of the training stream.

    Raises:
      ValueError: `steps_per_epoch` is not above 0; `base_batch_size` is given without `batch_size`; or two steps of
        `step_at` become the same update.
    """
    if not steps_per_epoch > 0:
        raise ValueError(f"steps_per_epoch is {steps_per_epoch}, expected a number above 0")
    train, optimizer = _for_batch(train, optimizer, batch_size)
    if not train.num_steps:
        train = dataclasses.replace(train, num_steps=max(round(train.num_epochs * steps_per_epoch), 1))
    schedule = optimizer.schedule
    if schedule.restart_epochs and not schedule.restart_period:
        period = max(round(schedule.restart_epochs * steps_per_epoch), 1)
        schedule = dataclasses.replace(schedule, restart_period=period)
        optimizer = dataclasses.replace(optimizer, schedule=schedule)
    return train, optimizer


def _for_batch(
    train: TrainSettings, optimizer: OptimizerSettings, batch_size: int | None
) -> tuple[TrainSettings, OptimizerSettings]:
    base = optimizer.base_batch_size
    if base is None:
        return train, optimizer
    if batch_size is None:
        raise ValueError(f"base_batch_size is {base}, but batch_size is not given, so steps cannot be converted")

    def updates(steps: int) -> int:
        # Rounded, halves up, and at least 1 for any number above 0.
        return max((2 * steps * base + batch_size) // (2 * batch_size), 1) if steps else 0

    def rate(value: float) -> float:
        return value * batch_size / base

    s = optimizer.schedule
    schedule = dataclasses.replace(
        s,
        warmup_steps=updates(s.warmup_steps),
        step_at=tuple(updates(step) for step in s.step_at),
        restart_period=None if s.restart_period is None else updates(s.restart_period),
    )
    rules = tuple(
        rule if rule.learning_rate is None else dataclasses.replace(rule, learning_rate=rate(rule.learning_rate))
        for rule in optimizer.rules
    )
    optimizer = dataclasses.replace(
        optimizer, learning_rate=rate(optimizer.learning_rate), rules=rules, schedule=schedule, base_batch_size=None
    )
    return dataclasses.replace(train, num_steps=updates(train.num_steps)), optimizer


def describe_schedule(
    written: OptimizerSettings,
    train: TrainSettings,
    optimizer: OptimizerSettings,
    batch_size: int,
    frozen: Sequence[str] = (),
) -> str:
    """Summary printed at the start of a run: images per update, updates, learning rates and their changes.

    Args:
      written: optimizer settings of the config.
      train, optimizer: results of `in_steps`.
      frozen: patterns of parameters that the system freezes regardless of the rules.
    """
    base = written.base_batch_size
    factor = "" if base in (None, batch_size) else f" x {batch_size / base:g}"

    def rate(value: float, before: float) -> str:
        return f"{value:g} (paper: {before:g}{factor})" if factor else f"{value:g}"

    paper = f" (paper: {base})" if factor else ""
    lines = [
        f"{batch_size} image{'s' * (batch_size != 1)} per update{paper}, learning rate "
        f"{rate(optimizer.learning_rate, written.learning_rate)}, {train.num_steps:,} updates; "
        + _shape(optimizer.schedule)
    ]
    lines += [f"  {pattern}: frozen" for pattern in frozen]
    for rule, before in zip(optimizer.rules, written.rules, strict=True):
        if rule.frozen:
            lines.append(f"  {rule.pattern}: frozen")
        elif rule.learning_rate is not None or rule.multiplier != 1.0:
            value = optimizer.learning_rate if rule.learning_rate is None else rule.learning_rate
            first = written.learning_rate if before.learning_rate is None else before.learning_rate
            lines.append(f"  {rule.pattern}: {rate(value * rule.multiplier, first * rule.multiplier)}")
    return "\n".join(lines)


def _shape(schedule: ScheduleSettings) -> str:
    text = {
        "constant": "constant",
        "cosine": f"cosine to {schedule.final_factor:g} of it",
        "step": f"x {schedule.step_factor:g} after {_few(schedule.step_at)} updates",
        "cosine_restarts": f"cosine, restarting after {schedule.restart_period or 0:,} updates, then after "
        f"{schedule.restart_growth:g} times as many each time",
    }[schedule.kind]
    return text + (f", warm-up of {schedule.warmup_steps:,} updates" if schedule.warmup_steps else "")


def _few(steps: tuple[int, ...]) -> str:
    shown = [f"{step:,}" for step in (steps if len(steps) <= 4 else (*steps[:2], steps[-1]))]
    return ", ".join(shown) if len(steps) <= 4 else f"{shown[0]}, {shown[1]}, … {shown[2]}"
