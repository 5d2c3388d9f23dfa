"""Starting a mongod, and saying why it did not start."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from agno_mongo.db.mongod.binary import WAY_OUT
from agno_mongo.db.mongod.locks import POLL_INTERVAL
from agno_mongo.db.mongod.process import Server, unlink
from agno_mongo.db.mongod.replica_set import REPLICA_SET
from agno_mongo.db.mongod.sockets import accepts
from agno_mongo.errors import EmbeddedServerError

LOG_LIMIT = 4 * 1024 * 1024
# MongoDB's exit code "need upgrade": src/mongo/util/exit_code.h
_EXIT_OTHER_VERSION = 62


class Start:
    """A mongod being started, our child until it accepts connections or is given up."""

    def __init__(self, binary: str, folder: str, socket_path: str, log_path: str) -> None:
        self._binary = binary
        self._log_path = log_path
        with open(log_path, "ab") as log:
            os.fchmod(log.fileno(), 0o600)
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(
                    _command(binary, folder, socket_path, log_path),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    # Ctrl-C in the terminal is for the user's program, which may still write.
                    start_new_session=True,
                )
            except OSError as exc:
                message = (
                    f"{binary} cannot be run: {exc.strerror}. It may be made for another system or "
                    f"processor; set AGNO_MONGOD to a mongod that runs here, {WAY_OUT}."
                )
                raise EmbeddedServerError(message) from exc
        self.server = Server(self._process.pid, socket_path, folder)
        # Whoever stops the server, in this process or another: its parent reaps it, or it stays a zombie.
        self._reaper = threading.Thread(target=self._process.wait, name="agno_mongo-reaper", daemon=True)
        self._reaper.start()

    def wait(self, deadline: float, start_timeout: float) -> None:
        """Wait until the server accepts connections; EmbeddedServerError if it dies or is too slow."""
        while not accepts(self.server.socket):
            if self._process.returncode is not None:
                raise EmbeddedServerError(self._explain(self._process.returncode))
            if time.monotonic() > deadline:
                message = (
                    f"The embedded mongod on {self.server.folder} was not ready within {start_timeout:g} s "
                    "and was stopped. Pass a longer start_timeout if it was still at "
                    f"work.\n{self._last_words()}"
                )
                raise EmbeddedServerError(message)
            time.sleep(POLL_INTERVAL)

    def kill(self) -> None:
        """End what was started, children of a wrapper script included, and wait for it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reaper.join(5.0)
        unlink(self.server.socket)  # mongod makes it before it looks at the data

    def _explain(self, exit_code: int) -> str:
        # Warnings are no reasons: mongod complains of what it may not read, say, and goes on.
        told = [line for line in self._log().splitlines() if '"s":"I"' not in line and '"s":"W"' not in line]
        text = "\n".join(told)
        reason = next((reason for holds, reason in _REASONS if holds(exit_code, text)), _UNKNOWN_REASON)
        how = f"exit code {exit_code}" if exit_code >= 0 else f"signal {-exit_code}"
        library = re.search(_MISSING_LIBRARY, text)
        reason = reason.format(library=library[1] if library else "", binary=self._binary)
        return f"The embedded mongod on {self.server.folder} ended while it was starting ({how}): {reason}\n{self._last_words()}"

    def _log(self) -> str:
        """What was written since this start."""
        try:
            with open(self._log_path, "rb") as file:
                file.seek(self._log_start)
                return file.read(LOG_LIMIT).decode(errors="replace")
        except OSError:
            return ""

    def _last_words(self) -> str:
        lines = [line for line in self._log().splitlines() if line.strip()]
        # mongod says why it ends long before its last line: what follows is the tidying up.
        errors = [line for line in lines[:-5] if '"s":"E"' in line or '"s":"F"' in line]
        shown = [line[:500] for line in errors[:3] + lines[-5:]]
        if not shown:
            return f"Its log is {self._log_path}; it wrote nothing."
        return "\n  ".join([f"Its log is {self._log_path}; the last lines:", *shown])


def _command(binary: str, folder: str, socket_path: str, log_path: str) -> list[str]:
    return [
        # socket_of reads these first four back from the process.
        *(binary, "--dbpath", folder, "--bind_ip", socket_path),
        # Not about the socket of --bind_ip: it leaves out a second one, mongodb-27017.sock in the temporary folder, that all
        # mongods share.
        *("--nounixsocket", "--filePermissions", "0600"),
        *("--replSet", REPLICA_SET, "--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25"),
        *("--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"),
        *("--logpath", log_path, "--logappend", "--quiet"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    ]


def rotate(log_path: str) -> None:
    """Put a long log aside, as ``.1``; mongod itself only ever appends."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.getsize(log_path) > LOG_LIMIT:
            os.replace(log_path, f"{log_path}.1")


_MISSING_LIBRARY = r"error while loading shared libraries: ([^\s:]+)"
_OTHER_VERSION = (
    r"Wrong mongod version|UPGRADE PROBLEM|Version incompatibility detected|"
    r"unsupported WiredTiger (?:\w+ )?version"
)


def _said(pattern: str) -> Callable[[int, str], bool]:
    return lambda _, text: re.search(pattern, text) is not None


_UNKNOWN_REASON = "the log says why."
# The first that holds for the exit code and the log is told.
_REASONS: tuple[tuple[Callable[[int, str], bool], str], ...] = (
    (
        _said(_MISSING_LIBRARY),
        (
            "{binary} needs the shared library {library}, which is not installed. For libcurl.so.4: apt-get "
            "install libcurl4 (Debian, Ubuntu; libcurl4t64 on the newest), dnf install libcurl (Fedora, "
            "RHEL), zypper install libcurl4 (SUSE). For others install the package that holds the file."
        ),
    ),
    (
        _said(r"version .(GLIBC|GLIBCXX|OPENSSL)\w*[\d.]+. not found"),
        (f"{{binary}} is built for a newer system than this one. Set AGNO_MONGOD to a mongod made for this system, {WAY_OUT}."),
    ),
    (
        lambda code, text: code == _EXIT_OTHER_VERSION or _said(_OTHER_VERSION)(code, text),
        (
            "the folder holds data of another MongoDB version than {binary} can read. Set AGNO_MONGOD to a "
            "mongod of the version that wrote it, or pass another path and carry the data over with "
            "mongodump and mongorestore."
        ),
    ),
    (
        _said(r"DBPathInUse|Unable to lock the lock file|another mongod instance is already running"),
        (
            "another mongod holds the folder: one started by hand, or from another container or by another "
            f"path. Stop that one, pass another path, {WAY_OUT}."
        ),
    ),
    (
        _said(r"No space left on device|\bENOSPC\b|OutOfDiskSpace"),
        "the disk is full. Make room and try again; what was acknowledged is kept.",
    ),
    (
        _said(r"Read-only file system|Permission denied|read-only directory|\bEACCES\b"),
        ("it may not write to the folder or to its files. Give this user the right to, or pass another path."),
    ),
    (
        _said(r"database corruption detected|WT_PANIC|WT_TRY_SALVAGE|WT_ERROR"),
        ("the data files are damaged. Restore the folder from a backup; mongod --repair on a copy may save some of it."),
    ),
    (
        lambda code, _: code == -signal.SIGILL,
        (
            "this processor lacks instructions (AVX) that mongod 5.0 and later need. Set AGNO_MONGOD to an "
            f"older mongod, {WAY_OUT}."
        ),
    ),
)
