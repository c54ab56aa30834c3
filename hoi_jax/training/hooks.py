"""Hooks of a training run: log files, progress line, profiler."""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import jax
from tensorboardX import SummaryWriter


@dataclasses.dataclass(frozen=True)
class StepInfo:
    """One finished, finite step.

    Attributes:
      step: 1-based number of the update.
      total_steps: number of updates of the run.
      metrics: "loss", "loss/<term>", "gradient_norm", "learning_rate".
      images: number of examples of all processes.
      seconds: time since the end of the previous step.
      wait: seconds of these that were spent waiting for data.
    """

    step: int
    total_steps: int
    metrics: Mapping[str, float]
    images: int
    seconds: float
    wait: float


class Hook:
    """Base class of hooks, with empty methods. Hooks run in the first process only."""

    def start(self, step: int, total_steps: int) -> None:
        """Called when training begins, after `step` completed updates."""

    def before_step(self, step: int) -> None:
        """Called before update number `step` (1-based) is dispatched."""

    def after_step(self, info: StepInfo) -> None:
        """Called when an update is known to be finite, up to one update late but before a checkpoint of its step."""

    def after_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Called after an evaluation, after `step` updates."""

    def close(self) -> None:
        """Called when training ends, also by an error."""


class JsonLinesHook(Hook):
    """Writer of `workdir/metrics.jsonl`, with one line per logged step or evaluation, without timings.

    On start, lines of steps after the restored one are removed, so that the file of a resumed run is byte-identical to
    that of an uninterrupted one. Lines are on disk before the checkpoint of their step is started.
    """

    def __init__(self, workdir: Path, every: int):
        self.path, self._every = workdir / "metrics.jsonl", every
        self._file: IO[str] | None = None

    def start(self, step: int, total_steps: int) -> None:
        kept = b""
        if self.path.exists():
            for line in self.path.read_bytes().splitlines(keepends=True):
                # A truncated line, left by a killed run, and all lines after it are of steps after the checkpoint.
                if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                    break
                kept += line
            with open(self.path, "r+b") as old:
                old.truncate(len(kept))
        self._file = open(self.path, "a")  # noqa: SIM115

    def _write(self, entry: dict[str, object]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def after_step(self, info: StepInfo) -> None:
        if info.step % self._every == 0 or info.step == info.total_steps:
            self._write({"step": info.step, **info.metrics})

    def after_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._write({"step": step, "evaluation": dict(metrics)})

    def close(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()


class _Window:
    """Sums over the steps since the last report."""

    def __init__(self) -> None:
        self.images = 0
        self.seconds = self.wait = 0.0

    def add(self, info: StepInfo) -> None:
        self.images += info.images
        self.seconds += info.seconds
        self.wait += info.wait

    def rates(self) -> dict[str, float]:
        seconds = max(self.seconds, 1e-9)
        return {"images_per_second": self.images / seconds, "data_wait_share": min(self.wait / seconds, 1.0)}


class TensorBoardHook(Hook):
    """Writer of event files in `workdir/tensorboard`, with images/s and the share of time spent waiting for data."""

    def __init__(self, workdir: Path, every: int):
        self._folder, self._every = workdir / "tensorboard", every
        self._writer: SummaryWriter | None = None
        self._window = _Window()

    def start(self, step: int, total_steps: int) -> None:
        # With `purge_step`, TensorBoard hides later steps of event files from before the restart.
        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1, flush_secs=5)

    def _write(self, step: int, scalars: Mapping[str, float]) -> None:
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def after_step(self, info: StepInfo) -> None:
        self._window.add(info)
        if info.step % self._every == 0 or info.step == info.total_steps:
            speed = {f"speed/{name}": value for name, value in self._window.rates().items()}
            self._write(info.step, {**info.metrics, **speed})
            self._window = _Window()

    def after_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self._write(step, {f"evaluation/{name}": value for name, value in metrics.items()})

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class ProgressHook(Hook):
    """Progress line on stderr: step, loss and its terms, images/s, share of time waiting for data, time left.

    On a terminal the line is updated twice a second; otherwise a new one is printed every `seconds`.
    """

    def __init__(self, stream: IO[str] | None = None, seconds: float = 10.0):
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._interval = 0.5 if self._live else seconds
        self._window = _Window()
        self._first = self._last = 0.0
        self._begun: int | None = None

    def start(self, step: int, total_steps: int) -> None:
        self._last = time.monotonic()
        print(f"training from step {step} to {total_steps}", file=self._stream, flush=True)

    def after_step(self, info: StepInfo) -> None:
        now = time.monotonic()
        if self._begun is None:  # the first step includes compilation and is not counted
            self._begun, self._first = info.step, now
        else:
            self._window.add(info)
        if now - self._last < self._interval and info.step != info.total_steps:
            return
        self._last = now
        done = info.step - self._begun
        left = (now - self._first) / done * (info.total_steps - info.step) if done else float("nan")
        self._stream.write(("\r\x1b[K" if self._live else "") + progress_text(info, self._window.rates(), left))
        self._stream.write("" if self._live and info.step != info.total_steps else "\n")
        self._stream.flush()
        self._window = _Window()

    def after_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        values = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        print(f"{chr(10) if self._live else ''}evaluation at step {step}: {values}", file=self._stream, flush=True)


def progress_text(info: StepInfo, rates: Mapping[str, float], seconds_left: float) -> str:
    """Text of the progress line."""
    terms = "  ".join(
        f"{name.removeprefix('loss/')} {value:.4f}" for name, value in info.metrics.items() if name.startswith("loss")
    )
    left = "?"
    if seconds_left == seconds_left:  # not NaN
        minutes, seconds = divmod(int(seconds_left), 60)
        left = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
    return (
        f"step {info.step}/{info.total_steps}  {terms}  {rates['images_per_second']:.1f} images/s  "
        f"data wait {100 * rates['data_wait_share']:.0f} %  left {left}"
    )


class ProfilerHook(Hook):
    """Writer of a `jax.profiler` trace of updates `first` to `last` in `workdir/profile`."""

    def __init__(self, workdir: Path, first: int, last: int):
        self._folder, self._first, self._last = workdir / "profile", first, last
        self._running = False

    def before_step(self, step: int) -> None:
        if step == self._first:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after_step(self, info: StepInfo) -> None:
        if info.step >= self._last:
            self.close()

    def close(self) -> None:
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
