"""Lengths in epochs become steps once the stream's length is known, and a paper's schedule that of another batch."""

import pytest

from hoi_jax.training import (
    OptimizerSettings,
    ParameterRule,
    ScheduleSettings,
    TrainSettings,
    describe_schedule,
    in_steps,
)
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


PAPER = OptimizerSettings(
    "momentum",
    learning_rate=1e-4,
    base_batch_size=2,
    rules=(
        ParameterRule("stem/.*", frozen=True),
        ParameterRule("backbone/.*", learning_rate=1e-5),
        ParameterRule("head/.*", multiplier=10.0),
        ParameterRule(".*"),
    ),
    schedule=ScheduleSettings("step", step_at=(60_000, 80_000), step_factor=0.1, warmup_steps=500),
)


def converted(batch_size, optimizer=PAPER, **train):
    return in_steps(TrainSettings(**({"num_steps": 90_000} | train)), optimizer, 1000.0, batch_size)


def test_the_papers_own_batch_gives_the_numbers_as_they_are_written():
    train, optimizer = converted(2)
    assert (train.num_steps, optimizer.schedule) == (90_000, PAPER.schedule)
    assert optimizer.rules == PAPER.rules and optimizer.learning_rate == 1e-4 and optimizer.base_batch_size is None


@pytest.mark.parametrize("batch_size", [1, 8, 16])
def test_another_batch_sees_as_many_images_between_events_at_rates_in_proportion(batch_size):
    """The linear scaling rule of Goyal et al. 2017: k times the images per update, k times the learning rate."""
    train, optimizer = converted(batch_size, evaluate_every=100)
    k, schedule = batch_size / 2, optimizer.schedule
    assert train.num_steps * batch_size == 90_000 * 2 and train.evaluate_every == 100
    assert [step * batch_size for step in schedule.step_at] == [120_000, 160_000]
    assert schedule.warmup_steps == pytest.approx(500 / k, abs=0.5)
    assert optimizer.learning_rate == pytest.approx(1e-4 * k)
    assert [rule.learning_rate for rule in optimizer.rules] == [None, pytest.approx(1e-5 * k), None, None]
    assert optimizer.rules[2].multiplier == 10.0
    again = in_steps(train, optimizer, 1000.0, batch_size)
    assert again == (train, optimizer)  # nothing is left to convert


def test_restarts_are_converted_and_lengths_in_epochs_are_not():
    restarts = OptimizerSettings(
        base_batch_size=1, schedule=ScheduleSettings("cosine_restarts", restart_period=80_000, restart_growth=2.0)
    )
    assert converted(8, restarts, num_steps=2_000_000)[1].schedule.restart_period == 10_000
    train, _ = converted(8, restarts, num_steps=0, num_epochs=3.0)
    assert train.num_steps == 3000


def test_steps_are_rounded_and_none_becomes_nothing():
    found = [converted(8, num_steps=steps)[0].num_steps for steps in (1, 5, 6, 7, 940_825)]
    assert found == [1, 1, 2, 2, 235_206]


def test_what_cannot_be_converted_is_an_error():
    with pytest.raises(ValueError, match="base_batch_size is 2"):
        in_steps(TrainSettings(num_steps=3), PAPER, 1.0)
    close = OptimizerSettings(base_batch_size=1, schedule=ScheduleSettings("step", step_at=(10, 11)))
    with pytest.raises(ValueError, match="increasing"):
        converted(8, close)
    with pytest.raises(ValueError, match="base_batch_size"):
        OptimizerSettings(base_batch_size=0)


def test_the_text_at_the_start_says_what_was_made_of_the_paper():
    train, optimizer = converted(16)
    assert describe_schedule(PAPER, train, optimizer, 16).splitlines() == [
        "16 images per update (paper: 2), learning rate 0.0008 (paper: 0.0001 x 8), 11,250 updates; "
        "x 0.1 after 7,500, 10,000 updates, warm-up of 63 updates",
        "  stem/.*: frozen",
        "  backbone/.*: 8e-05 (paper: 1e-05 x 8)",
        "  head/.*: 0.008 (paper: 0.001 x 8)",
    ]
    plain = OptimizerSettings(schedule=ScheduleSettings("cosine"))
    train, optimizer = converted(1, plain, num_steps=5)
    assert describe_schedule(plain, train, optimizer, 1, ("r/.*",)).splitlines() == [
        "1 image per update, learning rate 0.0001, 5 updates; cosine to 0 of it",
        "  r/.*: frozen",
    ]
