"""Training, optimizer and schedule settings, filled from a config by `settings.from_config`."""

import dataclasses
import re
from typing import Literal

from hoi_jax.settings import check_not_negative, check_positive


def _patterns(name: str, patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{name} has {pattern!r}, which is not a regular expression ({error})") from error


@dataclasses.dataclass(frozen=True)
class ScheduleSettings:
    """The learning-rate schedule, a factor in [0, 1] of each group's learning rate.

    Attributes:
      kind: "constant"; "cosine" (to `final_factor` at the last step); "step" (times `step_factor` at each of
        `step_at`); "cosine_restarts" (Loshchilov & Hutter 2017), with first period `restart_period` and each further
        one `restart_growth` times as long and with a maximum of `restart_factor` times the previous one.
      restart_epochs: the first period in epochs of the training stream, including oversampled copies, instead of steps.
      delay: number of updates by which the schedule lags (1 for schedulers that use the number of the last update).
      warmup_steps: length of the linear warm-up that precedes every kind.
      warmup_start: factor of its first update (mmdetection: 1/3); 0 = the first update has 1 / warmup_steps.
    """

    kind: Literal["constant", "cosine", "step", "cosine_restarts"] = "constant"
    warmup_steps: int = 0
    warmup_start: float = 0.0
    final_factor: float = 0.0
    step_at: tuple[int, ...] = ()
    step_factor: float = 0.1
    restart_period: int | None = None
    restart_epochs: float | None = None
    restart_growth: float = 2.0
    restart_factor: float = 1.0
    delay: int = 0

    def __post_init__(self) -> None:
        check_not_negative(warmup_steps=self.warmup_steps, final_factor=self.final_factor, delay=self.delay)
        if not 0 <= self.warmup_start < 1:
            raise ValueError(f"warmup_start is {self.warmup_start}, expected a factor in [0, 1)")
        check_positive(
            step_factor=self.step_factor, restart_period=self.restart_period, restart_epochs=self.restart_epochs
        )
        if self.kind == "step" and not self.step_at:
            raise ValueError("step_at is empty, but kind 'step' needs at least one step")
        if list(self.step_at) != sorted(set(self.step_at)):
            raise ValueError(f"step_at is {self.step_at}, expected increasing steps")
        if self.kind == "cosine_restarts" and self.restart_period is None and self.restart_epochs is None:
            raise ValueError("kind 'cosine_restarts' needs restart_period or restart_epochs")
        if self.restart_growth < 1 or not 0 < self.restart_factor <= 1:
            raise ValueError(
                f"restart_growth is {self.restart_growth} (expected >= 1), "
                f"restart_factor is {self.restart_factor} (expected in (0, 1])"
            )


@dataclasses.dataclass(frozen=True)
class ParameterRule:
    """Update rule of the parameters whose full path ("backbone/conv1/kernel") matches `pattern`.

    Attributes:
      pattern: regular expression for the whole path.
      frozen: never change the parameters, and compute no gradients for them.
      learning_rate: replaces that of the optimizer, if given; `multiplier` multiplies the result.
      weight_decay: replaces that of the optimizer, if given.
    """

    pattern: str
    frozen: bool = False
    learning_rate: float | None = None
    multiplier: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        _patterns("pattern", (self.pattern,))
        check_not_negative(learning_rate=self.learning_rate, multiplier=self.multiplier, weight_decay=self.weight_decay)


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """The update rule and its parameter groups.

    Attributes:
      name: "sgd", "momentum" (both with weight decay added to the gradient, as in Caffe and PyTorch), or "adamw"
        (decoupled weight decay, Loshchilov & Hutter 2019).
      rules: the first matching rule applies. A parameter without a rule and a rule without a parameter are errors.
      clip: "none"; "global", scale all gradients by one factor to a norm of at most `clip_norm`; "leaf", scale each
        gradient by its own factor.
      ema_decay: decay of an exponential moving average of the parameters, used in evaluation; None = off.
      base_batch_size: images per update for which the learning rates (including those of `rules`), the steps of
        `schedule` and `train.num_steps` are given, such as 1 for a paper with one image per update. If `batch_size`
        differs, the rates are multiplied by batch_size / base and the steps divided by it (`schedules.in_steps`).
        None = no conversion.
    """

    name: Literal["sgd", "momentum", "adamw"] = "adamw"
    learning_rate: float = 1e-4
    momentum: float = 0.9
    nesterov: bool = False
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    rules: tuple[ParameterRule, ...] = (ParameterRule(".*"),)
    schedule: ScheduleSettings = ScheduleSettings()
    clip: Literal["none", "global", "leaf"] = "none"
    clip_norm: float = 1.0
    ema_decay: float | None = None
    base_batch_size: int | None = None

    def __post_init__(self) -> None:
        check_positive(learning_rate=self.learning_rate, eps=self.eps, clip_norm=self.clip_norm)
        check_positive(base_batch_size=self.base_batch_size)
        check_not_negative(weight_decay=self.weight_decay)
        for name in ("momentum", "b1", "b2", "ema_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"{name} is {value}, expected a number in [0, 1)")
        if not self.rules:
            raise ValueError("rules is empty, but every parameter needs a rule")


@dataclasses.dataclass(frozen=True)
class InitFromSettings:
    """Initial parameters from another run, selected by name.

    Attributes:
      path: a workdir with checkpoints, an exported checkpoint or its name, or an npz file with keys such as
        "params/backbone/conv1/kernel".
      which: "best", "last" or a step number, for a workdir.
      include: patterns; parameters of *this* model are loaded if one matches the whole name.
      rename: (pattern, replacement) pairs for `re.sub` on the source's names, applied in order.
      strict: raise an error, rather than report, if an included parameter is missing or has a different shape.
    """

    path: str
    which: str = "last"
    include: tuple[str, ...] = (".*",)
    rename: tuple[tuple[str, str], ...] = ()
    strict: bool = False

    @classmethod
    def from_text(cls, text: str) -> "InitFromSettings":
        """Settings for a path from the command line: load everything that fits."""
        return cls(text)

    def __post_init__(self) -> None:
        _patterns("include", self.include)
        _patterns("rename", tuple(pattern for pattern, _ in self.rename))


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Length, devices, initialisation, logging and checkpoints of a run.

    Attributes:
      num_steps: number of updates of the whole run; 0 = determined by `num_epochs`. With `optimizer.base_batch_size`,
        updates of that many images.
      num_epochs: length in epochs of the training stream, including oversampled copies (`schedules.in_steps`).
      seed: seed of the initial parameters and of all random draws.
      parallel: "pmap" or "shard_map"; `num_devices` None = all.
      accumulate: micro-batches per update on each device, a divisor of its share of the batch. The gradient is that of
        the whole batch, so images per update, learning rates and steps do not depend on it.
      log_every, evaluate_every, checkpoint_every: intervals in updates of this run; 0 = never (a checkpoint is always
        written at the end and after an evaluation).
      keep_last, keep_best: numbers of checkpoints to keep; the best by `best_metric` of the evaluation.
      init_from: sources, applied in order to a new run, not to a resumed one.
      profile_steps: (first, last) step of a profiler trace under `workdir/profile`.
    """

    num_steps: int = 0
    num_epochs: float = 0.0
    seed: int = 0
    parallel: Literal["pmap", "shard_map"] = "pmap"
    num_devices: int | None = None
    accumulate: int = 1
    log_every: int = 10
    evaluate_every: int = 0
    checkpoint_every: int = 1000
    keep_last: int = 2
    keep_best: int = 1
    best_metric: str | None = None
    best_mode: Literal["max", "min"] = "max"
    init_from: tuple[InitFromSettings, ...] = ()
    profile_steps: tuple[int, int] | None = None
    tensorboard: bool = True

    def __post_init__(self) -> None:
        check_not_negative(num_steps=self.num_steps, num_epochs=self.num_epochs)
        if not self.num_steps and not self.num_epochs:
            raise ValueError("num_steps is 0 and num_epochs is not given; one of them must be above 0")
        check_positive(num_devices=self.num_devices, accumulate=self.accumulate)
        check_positive(keep_last=self.keep_last, log_every=self.log_every)
        check_not_negative(
            seed=self.seed,
            evaluate_every=self.evaluate_every,
            checkpoint_every=self.checkpoint_every,
            keep_best=self.keep_best,
        )
        if self.profile_steps is not None and not 1 <= self.profile_steps[0] <= self.profile_steps[1]:
            raise ValueError(f"profile_steps is {self.profile_steps}, expected first <= last, from 1")
