"""Graceful interruption: on Ctrl-C and SIGTERM, finish the step, save and exit."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


class TrainingInterrupted(SystemExit):
    """The run was interrupted and has saved; the process exits with 128 + signal number unless this is caught."""

    def __init__(self, message: str, code: int):
        super().__init__(code)
        self.message = message

    def __str__(self) -> str:
        return self.message


class InterruptGuard:
    """Context manager that turns the first SIGINT or SIGTERM into a request; a second one interrupts at once.

    Outside the main thread, where Python allows no signal handlers, it has no effect.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    def __enter__(self) -> "InterruptGuard":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def requested(self, step: int, every: int) -> int | None:
        """Number of the signal received by this run, or None.

        Several processes must stop at the same step, so they exchange requests, at multiples of `every` steps only.
        """
        if jax.process_count() == 1:
            return self.signal
        if step % every:
            return None
        numbers = multihost_utils.process_allgather(np.int32(self.signal or 0))
        return int(np.max(numbers)) or None
