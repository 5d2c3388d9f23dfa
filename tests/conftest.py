"""One mongod for the whole session, and the three kinds of client on it."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from blockbuster import BlockBuster, blockbuster_ctx
from mongomock_motor import AsyncMongoMockClient
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient

from agno_mongo.db.embedded_server import EmbeddedServer
from agno_mongo.db.mongo import MongoDb
from tests.llm_servers import aimock, aimock_url

__all__ = ["aimock", "aimock_url"]

# Whoever is started in the background of a shell ignores Ctrl-C, and so do the processes that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CLIENTS = ("mongomock", "pymongo", "motor")
CONTRACT = {
    "test_any_length",
    "test_connections",
    "test_finding",
    "test_runs",
    "test_store_contract",
    "test_stored_shapes",
    "test_users",
    "test_watch",
}
"""The modules whose tests of ``db`` run over Motor too. What the others test is the same code over PyMongo's client and Motor's."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "db" in metafunc.fixturenames and not _has_db_of_its_own(metafunc):
        name = metafunc.module.__name__.rpartition(".")[2]
        metafunc.parametrize("db", CLIENTS if name in CONTRACT else CLIENTS[:2], indirect=True)


def _has_db_of_its_own(metafunc: pytest.Metafunc) -> bool:
    """True if the module defines ``db`` or the test names its values itself."""
    named = any("db" in str(mark.args[0]).split(",") for mark in metafunc.definition.iter_markers("parametrize"))
    return named or hasattr(metafunc.module, "db")


@pytest.fixture(autouse=True)
def no_blocking_calls_in_the_event_loop(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """A call of our own that blocks the loop fails the test."""
    if request.node.get_closest_marker("imports_in_the_loop"):
        yield None
        return
    with blockbuster_ctx(scanned_modules=["agno_mongo"]) as blockbuster:
        # It asks for the working directory and waits for nothing.
        blockbuster.functions["os.path.abspath"].can_block_in("embedded_server.py", "__init__")
        # A blocking call blocks; that is what it is for.
        blockbuster.functions["threading.Lock.acquire"].can_block_in("agno_mongo/blocking.py", "call")
        # A time zone is a small file, read once.
        for name in ("os.stat", "io.BufferedReader.read"):
            blockbuster.functions[name].can_block_in("agno_mongo/checks.py", "zone")
        # PyMongo looks whether it runs in a container.
        blockbuster.functions["os.stat"].can_block_in("pymongo/pool_options.py", "get_container_env_info")
        yield blockbuster


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AGNO_MONGO_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def mongo_url() -> Iterator[str]:
    """The address of a real mongod, a single-node replica set, from the wheel."""
    folder = tempfile.mkdtemp(prefix="agno_mongo_tests_")
    server = EmbeddedServer(folder, start_timeout=110)
    yield server.acquire()
    server.release()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def tidying_client(mongo_url: str) -> Iterator[MongoClient[Any]]:
    with MongoClient(mongo_url) as client:
        yield client


@pytest.fixture
def db_name(tidying_client: MongoClient[Any]) -> Iterator[str]:
    """A database of the test's own."""
    name = f"test_{uuid4().hex[:12]}"
    yield name
    tidying_client.drop_database(name)


@pytest_asyncio.fixture
async def mongo_db(mongo_url: str, db_name: str) -> AsyncIterator[MongoDb]:
    """A MongoDb on the real server, made from an address."""
    async with MongoDb(mongo_url, db_name=db_name) as db:
        yield db


@pytest_asyncio.fixture
async def db(request: pytest.FixtureRequest, mongo_url: str, db_name: str) -> AsyncIterator[MongoDb]:
    """The same store over each kind of client."""
    if request.param == "mongomock":
        yield MongoDb(client=AsyncMongoMockClient(), db_name=db_name)
        return
    if request.param == "pymongo":
        async with AsyncMongoClient(mongo_url) as client:
            yield MongoDb(client=client, db_name=db_name)
        return
    motor = AsyncIOMotorClient(mongo_url)
    yield MongoDb(client=motor, db_name=db_name)
    motor.close()


@pytest.fixture
def sockets_that_pymongo_leaves() -> Iterator[None]:
    """PyMongo 4.20 leaves the socket of a connection that never came about to the garbage collector, which warns."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the environment forbids the usual cache, one for all child processes: each of them would compile all it imports."""
    if not sys.dont_write_bytecode:
        return {}
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path_factory.getbasetemp() / "bytecode")}


@pytest.fixture
def child_environment(tmp_path: Path) -> dict[str, str]:
    """The environment for a process of its own: no keys, warnings as they come, nothing remembered of what is typed."""
    dropped = {"OPENAI_API_KEY", "OPENAI_BASE_URL", "AGNO_MONGO_URL"}
    # Whoever tests a terminal does not answer where its cursor is.
    own = {"COLUMNS": "100", "XDG_STATE_HOME": str(tmp_path / "state"), "PROMPT_TOOLKIT_NO_CPR": "1"}
    return {name: value for name, value in os.environ.items() if name not in dropped} | own
