"""The training loop, with step reports read one step late and checkpoints of finite states only."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hoi_jax.system import System
from hoi_jax.training.checkpoint import Checkpoints, check_same_run
from hoi_jax.training.exported import Metadata
from hoi_jax.training.failure import stop_on_nonfinite
from hoi_jax.training.hooks import Hook, JsonLinesHook, ProfilerHook, ProgressHook, StepInfo, TensorBoardHook
from hoi_jax.training.init_from import check_frozen_are_loaded, init_from
from hoi_jax.training.interrupt import InterruptGuard, TrainingInterrupted
from hoi_jax.training.lock import WorkdirLock
from hoi_jax.training.optimizer import make_optimizer
from hoi_jax.training.parallel import HostBatch, Parallel
from hoi_jax.training.settings import OptimizerSettings, TrainSettings
from hoi_jax.training.step import (
    StepReport,
    TrainState,
    evaluation_variables,
    init_variables,
    make_state,
    make_train_step,
)

Predict = Callable[[HostBatch], dict[str, np.ndarray]]
Evaluate = Callable[[int, Predict], Mapping[str, float]]
MakeBatches = Callable[[int], Iterator[HostBatch]]


class DataEndedError(RuntimeError):
    """The data ended before the last step."""


@dataclasses.dataclass
class _Pending:
    """A dispatched step whose report has not been read."""

    step: int
    batch: HostBatch
    report: StepReport
    wait: float


@dataclasses.dataclass
class _Run:
    """State of the loop; `state` is on the devices."""

    system: System
    settings: TrainSettings
    parallel: Parallel
    checkpoints: Checkpoints
    hooks: Sequence[Hook]
    workdir: Path
    config_text: str
    dataset_fingerprint: str
    state: TrainState
    step: int
    pending: _Pending | None = None
    last_done: float = 0.0

    def settle(self) -> None:
        """Read the report of the dispatched step. Raises NonFiniteError."""
        if self.pending is None:
            return
        pending, self.pending = self.pending, None
        report = self.parallel.unreplicate(pending.report)
        if not bool(report["healthy"]):
            host = self.parallel.unreplicate(self.state)
            raise stop_on_nonfinite(
                self.system, host, pending.batch, report["nonfinite"], self.workdir, jax.process_index()
            )
        now = time.monotonic()
        info = StepInfo(
            step=pending.step,
            total_steps=self.settings.num_steps,
            metrics={name: float(value) for name, value in report["metrics"].items()},
            images=len(next(iter(pending.batch.values()))) * jax.process_count(),
            seconds=now - self.last_done,
            wait=pending.wait,
        )
        self.last_done = now
        for hook in self.hooks:
            hook.after_step(info)

    def save(self, metrics: Mapping[str, float]) -> None:
        """Start to write a checkpoint of the current state; call `settle` first."""
        metadata = Metadata(self.step, self.step, self.config_text, self.dataset_fingerprint, dict(metrics))
        self.checkpoints.save(self.parallel.unreplicate(self.state), metadata)


def train(
    system: System,
    settings: TrainSettings,
    optimizer_settings: OptimizerSettings,
    make_batches: MakeBatches,
    workdir: str | os.PathLike[str],
    *,
    config_text: str,
    dataset_fingerprint: str,
    init_batch: HostBatch,
    evaluate: Evaluate | None = None,
    hooks: Sequence[Hook] = (),
    load_variables: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    log: Callable[[str], None] = print,
) -> TrainState:
    """Train up to `settings.num_steps`, resuming from the workdir's newest checkpoint if there is one.

    Args:
      make_batches: start step -> host batches of this process from that step on, [b, ...] per field, where b is the
        same for every batch and process.
      config_text, dataset_fingerprint: stored in checkpoints; they must be the same when a run is resumed.
      init_batch: any batch; only its shapes are used, to initialise the variables.
      evaluate: (step, predict) -> metrics; `predict` maps a host batch to host predictions with the current
        (averaged, if kept) parameters. Called every `evaluate_every` steps and at the end.
      hooks: hooks in addition to log files, progress line and profiler.
      load_variables: changes the initial variables of a new run (pretrained weights), before `init_from`. With it,
        frozen parameters are not checked to be loaded.
      log: receives the report of `init_from` and the message about an interruption.

    Returns:
      the final state on the host (NumPy).

    Raises:
      WorkdirLockedError: another process writes to the workdir.
      CheckpointError: the workdir contains a different run.
      InitFromError: a source does not fit, or frozen parameters would stay random.
      RuleError: a parameter matches no rule, or a rule no parameter.
      NonFiniteError: a loss, gradient or parameter is not finite.
      DataEndedError: the data ended before the last step.
      TrainingInterrupted: (a SystemExit) SIGINT or SIGTERM was received; everything is saved.
    """
    if not settings.num_steps:
        raise ValueError("num_steps is 0; convert num_epochs to steps first (`schedules.in_steps`)")
    if optimizer_settings.base_batch_size is not None:
        raise ValueError("base_batch_size is not None; convert the schedule first (`schedules.in_steps`)")
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    first_process = jax.process_index() == 0
    with ExitStack() as stack:
        if first_process:
            stack.enter_context(WorkdirLock(workdir))
        guard = stack.enter_context(InterruptGuard())
        parallel = Parallel(settings.parallel, settings.num_devices)
        checkpoints = Checkpoints(workdir, settings)
        stack.callback(checkpoints.close)
        variables = init_variables(system, settings.seed, init_batch)
        optimizer = make_optimizer(optimizer_settings, variables["params"], settings.num_steps, system.frozen)
        ema = optimizer_settings.ema_decay is not None
        state = make_state(variables, optimizer.tx, settings.seed, ema)
        if checkpoints.latest_step() is not None:
            state, metadata = checkpoints.restore(state)
            check_same_run(metadata, config_text, dataset_fingerprint)
        else:
            drawn = variables
            variables = _first_variables(variables, settings, load_variables, log if first_process else None)
            if load_variables is None:
                check_frozen_are_loaded(system, optimizer.frozen, drawn, variables)
            state = make_state(variables, optimizer.tx, settings.seed, ema)
        all_hooks = [*_standard_hooks(workdir, settings), *hooks] if first_process else []
        start = int(state.step)
        run = _Run(
            system, settings, parallel, checkpoints, all_hooks, workdir, config_text, dataset_fingerprint,
            parallel.replicate(state), start,
        )  # fmt: skip
        for hook in all_hooks:
            stack.callback(hook.close)
            hook.start(start, settings.num_steps)
        step_fn = parallel.compile_step(make_train_step(system, optimizer, settings.accumulate))
        _loop(run, step_fn, make_batches, evaluate, guard, log if first_process else None)
        checkpoints.wait()
        return parallel.unreplicate(run.state)


def _standard_hooks(workdir: Path, settings: TrainSettings) -> list[Hook]:
    hooks: list[Hook] = [JsonLinesHook(workdir, settings.log_every), ProgressHook()]
    if settings.tensorboard:
        hooks.append(TensorBoardHook(workdir, settings.log_every))
    if settings.profile_steps is not None:
        hooks.append(ProfilerHook(workdir, *settings.profile_steps))
    return hooks


def _first_variables(
    variables: dict[str, Any],
    settings: TrainSettings,
    load_variables: Callable[[dict[str, Any]], dict[str, Any]] | None,
    log: Callable[[str], None] | None,
) -> dict[str, Any]:
    if load_variables is not None:
        variables = load_variables(variables)
    for source in settings.init_from:
        variables, report = init_from(variables, source)
        if log is not None:
            log(str(report))
    return variables


def _loop(
    run: _Run,
    step_fn: Callable[..., tuple[TrainState, StepReport]],
    make_batches: MakeBatches,
    evaluate: Evaluate | None,
    guard: InterruptGuard,
    log: Callable[[str], None] | None,
) -> None:
    settings = run.settings
    batches = make_batches(run.step) if run.step < settings.num_steps else iter(())
    predict = run.parallel.compile_predict(run.system.predict)
    run.last_done = time.monotonic()
    while run.step < settings.num_steps:
        asked = time.monotonic()
        try:
            batch = next(batches)
        except StopIteration as error:
            run.settle()
            raise DataEndedError(f"the data ended after step {run.step} of {settings.num_steps}") from error
        wait = time.monotonic() - asked
        for hook in run.hooks:
            hook.before_step(run.step + 1)
        run.state, report = step_fn(run.state, run.parallel.shard_batch(batch))
        run.step += 1
        # The device computes this step while the host reads the report of the previous one.
        dispatched = _Pending(run.step, batch, report, wait)
        run.settle()
        run.pending = dispatched
        _after_step(run, predict, evaluate)
        number = guard.requested(run.step, settings.log_every)
        if number is not None:
            _save_and_leave(run, number, log)


def _after_step(run: _Run, predict: Callable[..., Any], evaluate: Evaluate | None) -> None:
    """Evaluate and save at the configured intervals."""
    settings, last = run.settings, run.step == run.settings.num_steps
    every = settings.evaluate_every
    evaluates = evaluate is not None and (last or (every and run.step % every == 0))
    saves = last or (settings.checkpoint_every and run.step % settings.checkpoint_every == 0)
    if not evaluates and not saves:
        return
    run.settle()
    metrics: Mapping[str, float] = {}
    if evaluate is not None and evaluates:
        variables = evaluation_variables(run.state)
        metrics = {k: float(v) for k, v in evaluate(run.step, lambda b: predict(variables, b)).items()}
        for hook in run.hooks:
            hook.after_evaluation(run.step, metrics)
    run.save(metrics)
    run.last_done = time.monotonic()


def _save_and_leave(run: _Run, number: int, log: Callable[[str], None] | None) -> None:
    run.settle()
    run.save({})
    run.checkpoints.wait()
    message = f"stopped by signal {number} after step {run.step}; saved. Run the same command to resume"
    if log is not None:
        log(message)
    raise TrainingInterrupted(message, 128 + number)
