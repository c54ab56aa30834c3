"""Lengths in epochs become steps once the stream's length is known."""

import pytest

from hoi_jax.training import OptimizerSettings, ScheduleSettings, TrainSettings, in_steps
from hoi_jax.training.schedules import make_schedule


def settings(**schedule):
    return OptimizerSettings(schedule=ScheduleSettings(kind="cosine_restarts", restart_growth=1.0, **schedule))


def test_the_learning_rate_restarts_after_so_many_epochs_of_the_stream():
    train, optimizer = in_steps(TrainSettings(num_epochs=10), settings(restart_epochs=5.0), steps_per_epoch=7.0)
    assert train.num_steps == 70 and optimizer.schedule.restart_period == 35
    rate = make_schedule(optimizer.schedule, train.num_steps)
    # lr(e) = base / 2 (1 + cos(pi (e mod 5) / 5)), e in epochs
    for step, expected in ((0, 1.0), (14, 0.6545085), (34, 0.0020129), (35, 1.0), (49, 0.6545085)):
        assert float(rate(step)) == pytest.approx(expected, abs=1e-6)


def test_given_steps_win():
    train, optimizer = in_steps(
        TrainSettings(num_steps=3, num_epochs=10), settings(restart_period=2, restart_epochs=5.0), 7.0
    )
    assert train.num_steps == 3 and optimizer.schedule.restart_period == 2


def test_a_length_must_be_given():
    with pytest.raises(ValueError, match="num_epochs"):
        TrainSettings()
    with pytest.raises(ValueError, match="restart_epochs"):
        ScheduleSettings(kind="cosine_restarts")
    with pytest.raises(ValueError, match="above 0"):
        in_steps(TrainSettings(num_epochs=1), OptimizerSettings(), 0.0)
