"""Locks that the kernel takes back when their holder dies."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import Final

try:
    import fcntl
except ImportError:  # Windows: the module must import there, so that the error of acquire() can name the way out
    fcntl = None  # type: ignore[assignment]

AVAILABLE: Final = fcntl is not None
"""False on a platform without such locks."""

POLL_INTERVAL: Final = 0.01
"""Seconds between two looks at what is waited for."""

DYING_TIME: Final = 3.0
"""Seconds that a mongod that was killed has to let go of its files and its socket."""


class FileLock:
    """One holder's ``flock`` on one file. Two objects are two holders, also in one process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """True from ``take`` on, until it is given up or forgotten."""
        return self._fd is not None

    def take(self, *, shared: bool, timeout: float) -> bool:
        """Wait for the lock and say whether it came within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with ExitStack() as undo:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            undo.callback(os.close, fd)
            while not _try_flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    return False
                time.sleep(POLL_INTERVAL)
            undo.pop_all()
        self._fd = fd
        return True

    def make_exclusive(self) -> bool:
        """Say whether this is the only holder. If not, the lock itself may be gone: flock drops it first."""
        return self._fd is not None and _try_flock(self._fd, fcntl.LOCK_EX)

    def is_current(self) -> bool:
        """Say whether the lock is held, and on the file that is there now: not on one that was deleted."""
        if self._fd is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def give_up(self) -> None:
        """Unlock, also for forked children that inherited the file. Does nothing when it is not held."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                fcntl.flock(fd, fcntl.LOCK_UN)
            finally:
                os.close(fd)

    def forget(self) -> None:
        """Close without unlocking: for a forked child, whose parent goes on holding the lock."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


def _try_flock(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
