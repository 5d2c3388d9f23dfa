"""A mongod of its own for one data folder, shared by every process that uses the folder.

``EmbeddedServer(path).acquire()`` starts a mongod on the folder, or joins the one that runs there, and
returns its URL. ``release()`` gives the share up; the last user stops the server. The server is a single-node
replica set that listens on a Unix socket only its owner can open, and on no TCP port.

Who uses a folder is known by locks, which the kernel takes back when a process dies, whatever it died of:

- ``agno_mongo.lock``: held while somebody starts, joins, leaves or stops the server; everything below happens
  under it;
- ``agno_mongo.users``: held shared by every user; who can make it exclusive is the last one;
- ``agno_mongo.json``: the server's pid and socket, a hint that is believed only where the process bears it
  out;
- ``agno_mongo.log``: what mongod and its loader wrote.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from agno_mongo.db.mongod import locks
from agno_mongo.db.mongod.binary import find_mongod
from agno_mongo.db.mongod.locks import POLL_INTERVAL, FileLock
from agno_mongo.db.mongod.process import (
    Server,
    await_unlocked,
    find_server,
    kill_stranded,
    recorded_socket,
    send_signal,
    stop,
    unlink,
    wait_for_socket,
)
from agno_mongo.db.mongod.replica_set import mend_replica_set
from agno_mongo.db.mongod.sockets import accepts, choose_socket
from agno_mongo.db.mongod.starting import Start, rotate
from agno_mongo.errors import ConfigurationError, EmbeddedServerError

__all__ = ["EmbeddedServer", "find_mongod"]

_logger = logging.getLogger(__name__)


class EmbeddedServer:
    """One user's share in the mongod of a data folder.

    Every object is a user of its own, also several on one folder in one process. All methods block, and may
    be called from any thread. A forked child holds no share until it calls ``acquire`` itself. What is still
    held when the interpreter ends is released.

    ``path`` is the data folder, with symbolic links resolved; it is made when it is missing.
    ``start_timeout`` is in seconds, and bounds twice: the wait while other processes start or stop the
    server, and the server's own start.
    """

    def __init__(self, path: str | os.PathLike[str], *, start_timeout: float = 30.0) -> None:
        if not os.fspath(path):
            message = "EmbeddedServer needs the path of a data folder; it was given an empty one."
            raise ConfigurationError(message)
        if not start_timeout > 0:
            message = f"start_timeout is in seconds and must be above 0, not {start_timeout!r}."
            raise ConfigurationError(message)
        self.path = os.path.realpath(path)
        self.start_timeout = start_timeout
        self._mutex = threading.RLock()
        self._guard = FileLock(self._file("agno_mongo.lock"))
        self._share = FileLock(self._file("agno_mongo.users"))
        self._server: Server | None = None

    @property
    def log_path(self) -> str:
        """The file mongod writes its log to."""
        return self._file("agno_mongo.log")

    @property
    def url(self) -> str | None:
        """The connection URL; None before ``acquire`` and after ``release``."""
        return None if self._server is None else self._server.url

    @property
    def pid(self) -> int | None:
        """The server's process id; None before ``acquire`` and after ``release``."""
        return None if self._server is None else self._server.pid

    def acquire(self) -> str:
        """Take a share in the folder's server, which then takes writes, and return its connection URL.

        Starts the server where none runs. Called again it returns the same URL; a server that died meanwhile,
        or whose socket was deleted, is started anew. A call that fails leaves neither a share nor a server
        behind.

        Raises:
            EmbeddedServerError: what happened and what to do; mongod's own last words where it had any.
        """
        _require_unix()
        with self._mutex:
            if self._server is not None and self._share.is_current() and accepts(self._server.socket):
                return self._server.url
            _users.add(self)
            try:
                with _translated(self.path):
                    self._server = self._join()
            finally:
                if not self._share.held:
                    _users.discard(self)
            return self._server.url

    def release(self) -> None:
        """Give the share up; the last user of the folder stops the server and waits for its end.

        Does nothing without a share, so also when called again.

        Raises: EmbeddedServerError: somebody else has held the start lock for longer than ``start_timeout``.
            The share is given up all the same; the server, if it has no users, is left for the next one to
            use and stop.
        """
        with self._mutex:
            if not self._share.held:
                return
            try:
                with _translated(self.path), self._guarded():
                    self._stop_if_last()
            finally:
                self._leave()

    def _join(self) -> Server:
        _make_folder(self.path)
        with self._guarded():
            if not self._share.is_current():
                self._leave_behind()
            was_user = self._share.held
            if not was_user:
                self._share.take(shared=True, timeout=self.start_timeout)
            with contextlib.ExitStack() as undo:
                if not was_user:
                    undo.callback(self._abandon)
                server = self._serve(time.monotonic() + self.start_timeout)
                undo.pop_all()
            return server

    def _serve(self, deadline: float) -> Server:
        """Join the server that runs, or start one. Under the start lock."""
        server = find_server(self.path)
        if server is not None and not wait_for_socket(server, deadline):
            stop(server)
            server = None
        if server is None:
            server = self._start(deadline)
        self._make_primary(server, deadline)
        if not server.ready:
            server = replace(server, ready=True)
            server.save()
        return server

    def _start(self, deadline: float) -> Server:
        binary = find_mongod()
        socket_path = choose_socket(self.path, recorded_socket(self.path))
        kill_stranded(self.path, socket_path)
        await_unlocked(self.path)
        rotate(self.log_path)
        start = Start(binary, self.path, socket_path, self.log_path)
        with contextlib.ExitStack() as undo:
            undo.callback(start.kill)
            start.server.save()
            start.wait(deadline, self.start_timeout)
            undo.pop_all()
        return start.server

    def _make_primary(self, server: Server, deadline: float) -> None:
        wait = max(1, int((deadline - time.monotonic()) * 1000))
        client: MongoClient[dict[str, Any]] = MongoClient(
            server.url, serverSelectionTimeoutMS=wait, connectTimeoutMS=wait, socketTimeoutMS=wait
        )
        with client:
            while not client.admin.command("hello").get("isWritablePrimary"):
                mend_replica_set(client, server)
                if time.monotonic() > deadline:
                    message = (
                        f"The embedded mongod on {self.path} runs (pid {server.pid}) but took no writes "
                        f"within {self.start_timeout:g} s. Pass a longer start_timeout; its log is "
                        f"{self.log_path}."
                    )
                    raise EmbeddedServerError(message)
                time.sleep(POLL_INTERVAL)

    def _stop_if_last(self) -> None:
        """Stop the server if nobody else has a share. The share counts no more afterwards, in either case."""
        if not self._share.make_exclusive():
            return
        if not self._share.is_current():
            self._leave_behind()
            return
        server = find_server(self.path)
        if server is not None:
            stop(server)
        elif self._server is not None:
            unlink(self._server.socket)  # it died, and left that behind
        unlink(self._file("agno_mongo.json"))

    def _leave_behind(self) -> None:
        """Drop the share in a folder that was deleted, and kill the server that served it.

        Killed and not stopped: its last checkpoint would go, by name, into a folder that was made anew. If
        there is one by now, what serves it is not touched.
        """
        old, current = self._server, find_server(self.path)
        if old is not None and (current is None or current.pid != old.pid):
            send_signal(old, signal.SIGKILL, 5.0)
        if old is not None and current is None:
            unlink(old.socket)
        self._share.give_up()
        self._server = None

    def _abandon(self) -> None:
        try:
            self._stop_if_last()
        finally:
            self._leave()

    def _leave(self) -> None:
        self._share.give_up()
        self._server = None
        _users.discard(self)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Hold the start lock. In a folder that was deleted there is none, and nobody to guard against."""
        if os.path.isdir(self.path) and not self._guard.take(shared=False, timeout=self.start_timeout):
            message = (
                f"Another process has been starting or stopping the embedded mongod on {self.path} for more "
                f"than {self.start_timeout:g} s: it holds {self._guard.path}. Wait for it or end it, or pass "
                f"a longer start_timeout. The server's log is {self.log_path}."
            )
            raise EmbeddedServerError(message)
        try:
            yield
        finally:
            self._guard.give_up()

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def _forget_after_fork(self) -> None:
        # Closed without unlocking: the lock belongs to the open file that parent and child share, and is the
        # parent's.
        self._guard.forget()
        self._share.forget()
        self._server = None
        self._mutex = threading.RLock()


# Who holds a share, or is about to: held strongly, for a share that nobody can release would keep the server
# alive.
_users: set[EmbeddedServer] = set()


def _release_all() -> None:
    for user in list(_users):
        try:
            user.release()
        except EmbeddedServerError as exc:
            _logger.warning("%s", exc)


def _forget_all_after_fork() -> None:
    for user in list(_users):
        user._forget_after_fork()  # noqa: SLF001  (not for users of the class)
    _users.clear()


atexit.register(_release_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all_after_fork)


def _require_unix() -> None:
    if sys.platform == "win32" or not locks.AVAILABLE or not hasattr(socket, "AF_UNIX"):
        message = (
            "The embedded mongod needs Unix sockets and file locks, which this platform does not have. "
            "Start a MongoDB server yourself, with Docker for instance, and connect to it with "
            "MongoDb(db_url=...)."
        )
        raise EmbeddedServerError(message)


def _make_folder(folder: str) -> None:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as exc:
        message = f"{folder} cannot be the data folder: it is a file, or below one. Pass the path of a folder."
        raise EmbeddedServerError(message) from exc
    except OSError as exc:
        message = f"The data folder {folder} cannot be made: {exc.strerror}. Pass a path this user may write to."
        raise EmbeddedServerError(message) from exc


@contextlib.contextmanager
def _translated(folder: str) -> Iterator[None]:
    """Turn the system's and the driver's errors into ours."""
    try:
        yield
    except OSError as exc:
        message = (
            f"The data folder {folder} cannot be used: {exc}. This user must be able to write to it, on a "
            "disk with room, on a file system with file locks."
        )
        raise EmbeddedServerError(message) from exc
    except PyMongoError as exc:
        message = (
            f"The embedded mongod on {folder} runs but does not answer as it should: {exc}. Its log is "
            f"{os.path.join(folder, 'agno_mongo.log')}."
        )
        raise EmbeddedServerError(message) from exc
