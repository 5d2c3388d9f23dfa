"""Real processes that use an embedded server, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pymongo import MongoClient, WriteConcern

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
DURABLE = WriteConcern(w="majority", j=True)

# Takes a share, writes one document, tells the server's pid, and leaves when its input ends.
USER = """
import os, sys
from pymongo import MongoClient, WriteConcern
from agno_mongo.db.embedded_server import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
with MongoClient(server.acquire()) as client:
    words = client.get_database("test", write_concern=WriteConcern(w="majority", j=True)).words
    words.insert_one({"_id": os.getpid()})
    print(server.pid, flush=True)
    while sys.stdin.readline():
        words.insert_one({})
        print("written", flush=True)
"""

# Put before a script: the process kills itself where the named function would have been called.
DIES_AT = """
import os, signal
from agno_mongo.db import embedded_server
embedded_server.{name} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


class User:
    """A Python process that runs a script on a folder."""

    def __init__(self, folder: Path, script: str = USER, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
        )
        _users.append(self)

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, self.finish()
        return line

    def server_pid(self) -> int:
        return int(self.line())

    def write(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.line() == "written"

    def finish(self) -> str:
        """End the script's input, wait for its end, and return what it complained of."""
        return self.process.communicate(timeout=30)[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


# Those a failed test leaves behind would fail the next with their warnings, too.
_users: list[User] = []


def kill_users() -> None:
    while _users:
        _users.pop().kill()


def count(url: str) -> int:
    with MongoClient(url) as client:
        return int(client["test"]["words"].count_documents({}))


def write(url: str, **document: object) -> None:
    with MongoClient(url) as client:
        client.get_database("test", write_concern=DURABLE).words.insert_one(dict(document))


def servers_below(folder: Path) -> list[int]:
    """Return the pids of processes, zombies apart, that serve a data folder below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"--dbpath" in arguments and any(a.startswith(os.fsencode(folder)) for a in arguments):
                found.append(int(entry.name))
    return found


def kill_server(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert has_ended(pid)


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    return set(_states(pid)) - {"Z"} != set()


def freeze(pid: int) -> None:
    """Stop all threads of a process: it does nothing more, but keeps what it has."""
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: set(_states(pid)) == {"T"})


def _states(pid: int) -> list[str]:
    """The states of a process's threads: the first may be a zombie long before the last."""
    states = []
    # The folder, or a file in it, goes away while it is read.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for path in [*Path(f"/proc/{pid}/task").glob("*/stat")]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                states.append(path.read_text().rpartition(")")[2].split()[0])
    return states


def has_ended(pid: int) -> bool:
    """Say whether a process ends now. It gives up its files a moment before it counts as ended."""
    return eventually(lambda: not is_alive(pid))


def eventually(holds: Callable[[], bool], timeout: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
