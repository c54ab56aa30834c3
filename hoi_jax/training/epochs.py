"""Lengths given in epochs, in steps: known only when the stream is, because oversampled copies count."""

import dataclasses

from hoi_jax.training.settings import OptimizerSettings, TrainSettings


def in_steps(
    train: TrainSettings, optimizer: OptimizerSettings, steps_per_epoch: float
) -> tuple[TrainSettings, OptimizerSettings]:
    """The same settings with `num_epochs` and `restart_epochs` turned into steps, where no steps are given.

    Raises:
      ValueError: `steps_per_epoch` is not above 0.
    """
    if not steps_per_epoch > 0:
        raise ValueError(f"steps_per_epoch is {steps_per_epoch}, expected a number above 0")
    if not train.num_steps:
        train = dataclasses.replace(train, num_steps=max(round(train.num_epochs * steps_per_epoch), 1))
    schedule = optimizer.schedule
    if schedule.restart_epochs and not schedule.restart_period:
        period = max(round(schedule.restart_epochs * steps_per_epoch), 1)
        schedule = dataclasses.replace(schedule, restart_period=period)
        optimizer = dataclasses.replace(optimizer, schedule=schedule)
    return train, optimizer
