"""Real processes that use an embedded server, and what is left of them."""

from __future__ import annotations

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
            [sys.executable, "-X", "dev", "-W", "error", "-c", script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
        )

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
        self.process.communicate(timeout=30)


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
    assert eventually(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def eventually(holds: Callable[[], bool], timeout: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
