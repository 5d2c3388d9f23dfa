"""A replica set of three nodes on the loopback interface, whose nodes can be killed, stepped down and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from agno_mongo.db.embedded_server import find_mongod
from tests.servers import free_port

_NAME = "rs_of_three"
_ELECTION_TIMEOUT_MS = 2_000
_HEARTBEAT_MS = 250
_PRIMARY, _SECONDARY = 1, 2
_ALREADY_INITIALIZED = 23
_PATIENCE = 90.0
"""Seconds that a busy machine may need until something is as it should be."""


T = TypeVar("T")


@dataclass
class Node:
    """One mongod: its folder and port stay, its process comes and goes."""

    folder: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            find_mongod(), "--dbpath", self.folder, "--bind_ip", "127.0.0.1", "--port", str(self.port), "--nounixsocket",
            "--replSet", _NAME, "--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25",
            "--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)",
            "--logpath", os.path.join(self.folder, "mongod.log"), "--logappend", "--quiet",
            "--setParameter", "diagnosticDataCollectionEnabled=false",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)

    def kill(self) -> None:
        """kill -9, and wait until the port is free."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=_PATIENCE)
            self.process = None

    def freeze(self) -> None:
        """Stop it without ending it: it answers nobody."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def command(self, *words: Any, **options: Any) -> dict[str, Any]:
        """An admin command to this node alone."""
        with MongoClient[dict[str, Any]](
            f"mongodb://{self.address}/?directConnection=true&serverSelectionTimeoutMS=500&socketTimeoutMS=5000"
        ) as client:
            return client.admin.command(*words, **options)


class ReplicaSet:
    """Three nodes. ``url`` names them all, as an application would."""

    def __init__(self, folder: str) -> None:
        self.nodes = []
        for name in ("a", "b", "c"):
            os.mkdir(os.path.join(folder, name))
            self.nodes.append(Node(os.path.join(folder, name), free_port()))
        hosts = ",".join(node.address for node in self.nodes)
        self.url = f"mongodb://{hosts}/?replicaSet={_NAME}"

    def start(self) -> None:
        """Start all nodes and make them one set, with an election after two seconds without a primary."""
        for node in self.nodes:
            node.start()
        members = [{"_id": number, "host": node.address} for number, node in enumerate(self.nodes)]
        settings = {"electionTimeoutMillis": _ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": _HEARTBEAT_MS}
        config = {"_id": _NAME, "members": members, "settings": settings}
        for node in self.nodes:
            _wait(lambda node=node: node.command("ping"), f"node {node.address} answers")
        _wait(lambda: self._initiated(config), "the nodes are one set")
        self.wait_until_whole()

    def _initiated(self, config: dict[str, Any]) -> bool:
        """Whether the set is made, by this command or by one whose answer came too late."""
        try:
            self.nodes[0].command("replSetInitiate", config)
        except OperationFailure as refused:
            if refused.code != _ALREADY_INITIALIZED:
                raise
        return True

    def wait_until_whole(self) -> None:
        """Wait until one node is primary and the others follow it."""
        _wait(lambda: sorted(self._states()) == [_PRIMARY, _SECONDARY, _SECONDARY], "the set has a primary and two secondaries")

    def _states(self) -> list[int]:
        """What each node says of itself."""
        return [node.command("replSetGetStatus")["myState"] for node in self.nodes]

    @contextmanager
    def without_majority(self) -> Iterator[None]:
        """The secondaries stand still; the primary takes writes that nobody confirms, until it notices."""
        primary = self.primary()
        secondaries = [node for node in self.nodes if node is not primary]
        for node in secondaries:
            node.freeze()
        try:
            yield
        finally:
            for node in secondaries:
                node.thaw()

    def primary(self) -> Node:
        """The node that takes writes, as soon as there is one."""
        return _wait(lambda: next((node for node in self.nodes if self._is_primary(node)), None), "there is a primary")

    def _is_primary(self, node: Node) -> bool:
        return node.process is not None and bool(node.command("hello")["isWritablePrimary"])

    def kill_primary(self) -> Node:
        node = self.primary()
        node.kill()
        return node

    def step_down(self) -> Node:
        """The primary becomes a secondary, and one of the others takes its place."""
        node = self.primary()

        def stepped_down() -> bool:
            if self._is_primary(node):
                node.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)
            return not self._is_primary(node)

        _wait(stepped_down, f"node {node.address} has stepped down")
        return node

    def mend(self) -> None:
        """Start the nodes that are dead, and wait until the set is whole."""
        for node in self.nodes:
            if node.process is None:
                node.start()
        self.wait_until_whole()

    def stop(self) -> None:
        """kill -9 of all nodes."""
        for node in self.nodes:
            node.kill()


@contextmanager
def replica_set() -> Iterator[ReplicaSet]:
    """Three mongods, whole and with a primary; ended and removed with the block."""
    folder = tempfile.mkdtemp(prefix="agno_mongo_set_")
    nodes = ReplicaSet(folder)
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(holds: Callable[[], T], what: str) -> T:
    """What ``holds`` returns, once that is not false."""
    deadline = time.monotonic() + _PATIENCE
    error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if held := holds():
                return held
        except (AutoReconnect, ServerSelectionTimeoutError, OperationFailure) as refused:
            error = refused
        time.sleep(0.05)
    raise TimeoutError(f"not within {_PATIENCE:.0f} s: {what}") from error
