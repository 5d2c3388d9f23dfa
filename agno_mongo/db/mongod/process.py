"""The mongod that runs on a folder: found by what its process says, and ended. A pid on disk is a hint and no more."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from urllib.parse import quote

from agno_mongo.db.mongod.binary import WAY_OUT
from agno_mongo.db.mongod.locks import DYING_TIME, POLL_INTERVAL, FileLock
from agno_mongo.db.mongod.sockets import accepts, falls_silent, peer_of, socket_name
from agno_mongo.errors import EmbeddedServerError

_logger = logging.getLogger(__name__)
_STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Server:
    """A mongod on a folder. ``ready`` says that it has accepted connections on its socket before."""

    pid: int
    socket: str
    folder: str
    ready: bool = False

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"mongodb://{quote(self.socket, safe='')}/?directConnection=true"

    def save(self) -> None:
        """Put it down in the folder's record, all or nothing."""
        target = os.path.join(self.folder, "agno_mongo.json")
        with open(f"{target}.new", "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        os.replace(file.name, target)


def recorded_socket(folder: str) -> str | None:
    """The socket that the folder's record names, if there is one.

    It counts only for the very folder: a copied folder brings the record of the original, whose socket the new server would take away.
    """
    record = _load_server(folder)
    return record.socket if record is not None and record.folder == folder else None


def _load_server(folder: str) -> Server | None:
    """Return what the folder's record says, unverified; None where there is none that can be read."""
    try:
        with open(os.path.join(folder, "agno_mongo.json"), encoding="utf-8") as file:
            record = json.load(file)
        return Server(
            pid=int(record["pid"]),
            socket=str(record["socket"]),
            folder=str(record["folder"]),
            ready=bool(record["ready"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_server(folder: str) -> Server | None:
    """Return the server that runs on the folder, by the pid in the record or in mongod's own lock file."""
    record = _load_server(folder)
    pids = [] if record is None else [record.pid]
    with (
        contextlib.suppress(OSError, ValueError),
        open(os.path.join(folder, "mongod.lock"), encoding="ascii") as file,
    ):
        pids.append(int(file.read()))
    for pid in pids:
        socket_path = socket_of(pid, folder)
        if socket_path is not None:
            ready = record is not None and record.ready and record.pid == pid
            return Server(pid, socket_path, folder, ready)
    return None


def socket_of(pid: int, folder: str) -> str | None:
    """Return the socket of the mongod that we started on the folder, if ``pid`` is that; else None.

    A pid on disk may by now be anybody's: only the process's own arguments say what it is. They hold the
    socket's name, too, which nobody but us gives, so that a mongod the user runs by hand on the folder is not
    taken for ours.
    """
    command, separator = _command_of(pid)
    wanted = separator.join(["--dbpath", folder, "--bind_ip", ""])
    _, found, rest = command.partition(wanted)
    socket_path = rest.partition(f"{separator}--")[0]
    return socket_path if found and os.path.basename(socket_path) == socket_name(folder) else None


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


def stop(server: Server) -> None:
    """End a server and wait until it has let go of its folder. One that died meanwhile is fine."""
    for number, timeout in ((signal.SIGTERM, _STOP_TIMEOUT), (signal.SIGKILL, 5.0)):
        if send_signal(server, number, timeout):
            break
        _logger.warning("The embedded mongod (pid %s) did not end within %s s of %s", server.pid, timeout, number)
    unlink(server.socket)
    await_unlocked(server.folder)


def await_unlocked(folder: str) -> None:
    """Wait a moment for a mongod that was killed to let go of the folder; one that lives keeps it.

    A dying process loses its arguments, by which we know it, before its files: the next would find the folder taken.
    """
    lock = FileLock(os.path.join(folder, "mongod.lock"))
    if os.path.exists(lock.path) and lock.take(shared=False, timeout=DYING_TIME):
        lock.give_up()


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def send_signal(server: Server, number: signal.Signals, timeout: float) -> bool:
    """Send a signal, verified to reach that server and no other process, and say whether it ended in time."""
    deadline = time.monotonic() + timeout
    if socket_of(server.pid, server.folder) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, number)
    while socket_of(server.pid, server.folder) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True


def kill_stranded(folder: str, socket_path: str) -> None:
    """Kill a mongod whose folder was deleted under it and made anew. Anybody else on the socket is an error.

    No file in the folder names it any more, but it still serves the socket. It must not be asked to end: it
    would write its last checkpoint, by name, into the new folder.
    """
    pid = peer_of(socket_path)
    if pid is not None and socket_of(pid, folder) == socket_path:
        _logger.warning("Killing the embedded mongod (pid %s) of a folder that was deleted: %s", pid, folder)
        send_signal(Server(pid, socket_path, folder), signal.SIGKILL, 5.0)
    elif not falls_silent(socket_path):
        # A new mongod would take the socket away first, and only then find that it may not have the folder.
        message = (
            f"Somebody whom this process cannot see serves {socket_path}, the socket for {folder}: an embedded "
            f"mongod of another container, perhaps. Stop that one, pass another path, {WAY_OUT}."
        )
        raise EmbeddedServerError(message)


def wait_for_socket(server: Server, deadline: float) -> bool:
    """Wait for a server found running, and say whether it can be used.

    One that never accepted a connection may still be starting, its starter killed. One that did and does so
    no more has lost its socket file, to a cleaner of temporary files for instance, and never makes another.
    """
    while not accepts(server.socket):
        if server.ready or time.monotonic() > deadline or socket_of(server.pid, server.folder) is None:
            return False
        time.sleep(POLL_INTERVAL)
    return True
