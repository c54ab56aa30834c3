"""A lock that allows one writer per workdir."""

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

    The lock belongs to the open file, so the operating system releases it when the process ends in any way, including
    SIGKILL; a file left by a dead process does not matter. Its text (process, host) is used in the error message only.

    Raises:
      WorkdirLockedError: on entry, if another process holds the lock; the message names the process and host.
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
                f"{self.path.parent} is in use by another run ({holder or 'unknown'}); "
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
        # The file is not removed, because a waiting process could then lock a file that no longer has a name.
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
