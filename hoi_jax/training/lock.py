"""One writer per workdir."""

import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType


class WorkdirLockedError(RuntimeError):
    """Another process is writing to the workdir."""


class WorkdirLock:
    """Context manager that holds `workdir/.lock` for this process.

    The lock belongs to the open file, so the system drops it when the process ends in whatever way, SIGKILL too: a file
    left by a dead process is no obstacle. Its text (process, host) only serves the message of whoever is refused.

    Raises:
      WorkdirLockedError: on entry, naming the process and host that hold the lock.
    """

    def __init__(self, workdir: str | os.PathLike[str]):
        self.path = Path(workdir) / ".lock"
        self._descriptor: int | None = None

    def __enter__(self) -> "WorkdirLock":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 4096, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise WorkdirLockedError(
                f"{self.path.parent} is being written by another run ({holder or 'unknown'}); "
                "wait for it, stop it, or choose another workdir"
            ) from error
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The file stays: removing it would let a waiting process lock a name that is gone.
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
