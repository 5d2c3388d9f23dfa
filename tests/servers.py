"""Servers for a test of their own: a mongod with users and passwords, one that is quick to delete what has expired."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from agno_mongo.db.embedded_server import find_mongod


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def guarded_mongod(folder: Path) -> Iterator[str]:
    """The address of a mongod with the users ``root`` and ``reader`` (``read`` on the database agno), password ``secret``."""
    port = free_port()
    command = [
        find_mongod(), "--auth", "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1",
        "--wiredTigerCacheSizeGB", "0.25", "--logpath", str(folder / "mongod.log"),
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        # Until there is a user, a connection from this machine may make one.
        with MongoClient(f"mongodb://127.0.0.1:{port}/", serverSelectionTimeoutMS=90_000) as client:
            client.admin.command("createUser", "root", pwd="secret", roles=["root"])
        url = f"mongodb://root:secret@127.0.0.1:{port}/?authSource=admin"
        with MongoClient[dict[str, Any]](url) as client:
            client.admin.command("createUser", "reader", pwd="secret", roles=[{"role": "read", "db": "agno"}])
        yield url
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait(timeout=90)


@contextmanager
def quick_mongod(folder: Path) -> Iterator[str]:
    """The address of a mongod that looks every second for documents that have expired, not every minute.

    A server that runs already takes such a setting only after the minute that it is waiting.
    """
    port = free_port()
    command = [
        find_mongod(), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1", "--setParameter", "ttlMonitorSleepSecs=1",
        "--wiredTigerCacheSizeGB", "0.25", "--logpath", str(folder / "mongod.log"),
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    url = f"mongodb://127.0.0.1:{port}/"
    try:
        with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=90_000) as client:
            client.admin.command("ping")
        yield url
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait(timeout=90)
