"""Training: one loop for every `System`, on any number of devices and processes.

    state = train(system, TrainSettings(num_steps=1000), OptimizerSettings(), make_batches, workdir,
                  config_text=..., dataset_fingerprint=..., init_batch=...)

Modules: `settings`, `optimizer` and `schedules`, `step` (the state and one update of it per device), `accumulate`,
`parallel` (placement on devices), `checkpoint`, `init_from`, `hooks`, `failure`, `interrupt`, `lock`, and `loop`, which
combines them. For evaluation, `load_for_evaluation` returns a checkpoint's variables and `make_predictor` runs a
system's `predict` on all devices.
"""

from hoi_jax.training.checkpoint import load_for_evaluation
from hoi_jax.training.exported import CheckpointError, Metadata
from hoi_jax.training.failure import NonFiniteError
from hoi_jax.training.hooks import Hook, StepInfo
from hoi_jax.training.init_from import InitFromError, InitReport, init_from
from hoi_jax.training.interrupt import TrainingInterrupted
from hoi_jax.training.lock import WorkdirLock, WorkdirLockedError
from hoi_jax.training.loop import DataEndedError, train
from hoi_jax.training.optimizer import Optimizer, RuleError, make_optimizer
from hoi_jax.training.parallel import HostBatch, Parallel, check_batch, make_predictor
from hoi_jax.training.schedules import describe_schedule, in_steps
from hoi_jax.training.settings import (
    InitFromSettings,
    OptimizerSettings,
    ParameterRule,
    ScheduleSettings,
    TrainSettings,
)
from hoi_jax.training.step import TrainState, make_train_step

__all__ = [
    "CheckpointError",
    "DataEndedError",
    "Hook",
    "HostBatch",
    "InitFromError",
    "InitFromSettings",
    "InitReport",
    "Metadata",
    "NonFiniteError",
    "Optimizer",
    "OptimizerSettings",
    "Parallel",
    "ParameterRule",
    "RuleError",
    "ScheduleSettings",
    "StepInfo",
    "TrainSettings",
    "TrainState",
    "TrainingInterrupted",
    "WorkdirLock",
    "WorkdirLockedError",
    "check_batch",
    "describe_schedule",
    "in_steps",
    "init_from",
    "load_for_evaluation",
    "make_optimizer",
    "make_predictor",
    "make_train_step",
    "train",
]
