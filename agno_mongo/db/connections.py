"""One connection for every event loop: a client, the collections behind it, the documents bound to them.

A PyMongo client belongs to the loop of its first use. A :class:`Connections` made from an address makes a client
for each loop that asks, and closes it when that loop shuts down; one made from a user's client has that client alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from agno_mongo.db import drivers
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import Session, bind_documents
from agno_mongo.db.translation import translated
from agno_mongo.errors import ConfigurationError, CorruptSession, EventLoopError
from agno_mongo.event_loops import PerLoop

SERVER_SELECTION_TIMEOUT_MS = 5_000
"""How long to look for a server before giving up, unless the address says otherwise."""

TIMEOUT_MS = 30_000
"""How long a single command may take, with its retries, before it is given up, unless the address says otherwise."""

_BEANIE_LOCK = threading.Lock()
"""``init_beanie`` writes to the shared base classes; two threads must not do it at once."""

_INDEXES = [
    IndexModel([("session_id", ASCENDING)], unique=True),
    IndexModel(
        [
            ("user_id", ASCENDING),
            ("session_type", ASCENDING),
            ("updated_at", DESCENDING),
            ("touched_at", DESCENDING),
        ]
    ),
    IndexModel([("session_type", ASCENDING), ("updated_at", DESCENDING), ("touched_at", DESCENDING)]),
    *(
        IndexModel(
            [(kind.id_field, ASCENDING), ("updated_at", DESCENDING), ("touched_at", DESCENDING)],
            partialFilterExpression={kind.id_field: {"$type": "string"}},
        )
        for kind in SessionType
    ),
    IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
]


@dataclass
class Connection:
    """What one event loop uses: the client, the database, the session collection, the documents bound to it."""

    client: Any
    database: Any
    collection: Any
    documents: dict[SessionType, type[Session]]
    _indexed: bool = False
    _indexing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def parse(self, document: dict[str, Any]) -> Session:
        """A stored document as the session class that fits it."""
        kind = document.get("session_type")
        fitting = SessionType(kind) if kind in SessionType._value2member_map_ else SessionType.AGENT
        try:
            session: Session = self.documents[fitting].model_validate(document)
        except ValueError as error:
            session_id = str(document.get("session_id"))
            raise CorruptSession(f"session {session_id!r} cannot be read: {error}", session_id=session_id) from error
        return session

    async def ensure_indexes(self) -> None:
        """Make all indexes, in one command, before the first write. Later calls do nothing."""
        if self._indexed:
            return
        async with self._indexing:
            if not self._indexed:
                await self.collection.create_indexes(_INDEXES)
                self._indexed = True


class Connections:
    """Hands every event loop its :class:`Connection`."""

    def __init__(
        self,
        *,
        url: Callable[[], Awaitable[str]] | None,
        client: Any,
        db_name: str,
        session_table: str,
    ) -> None:
        self._url = url
        self._client = client
        self._db_name = db_name
        self._session_table = session_table
        self._connections = PerLoop(self._open, _leave_open if client is not None else _close_connection)
        self._lock = threading.Lock()
        self._client_loop: asyncio.AbstractEventLoop | None = None
        self._address = "an address not known yet"

    def address(self) -> str:
        """Where the server is looked for: hosts and ports, never a password."""
        return self._address

    async def get(self) -> Connection:
        """The running loop's connection, made at its first call."""
        if self._client is not None:
            self._check_loop(asyncio.get_running_loop())
        return await self._connections.get()

    async def close(self) -> None:
        """Close the clients that were made here, on whatever loop each lives. A user's own client stays open."""
        await self._connections.close()

    async def _open(self) -> Connection:
        client = self._client if self._client is not None else await self._new_client()
        self._address = address_of_client(client)
        try:
            with translated("connecting", self.address):
                database = drivers.database_of(client, self._db_name)
                documents = await _bind(database, self._session_table)
        except BaseException:
            if self._client is None:
                await drivers.close_client(client)
            raise
        collection = documents[SessionType.AGENT].get_pymongo_collection()
        return Connection(client, database, collection, documents)

    async def _new_client(self) -> Any:
        assert self._url is not None
        url = await self._url()
        defaults = {
            "appname": "agno_mongo",
            "serverSelectionTimeoutMS": SERVER_SELECTION_TIMEOUT_MS,
            "timeoutMS": TIMEOUT_MS,
        }
        options: dict[str, Any] = {name: value for name, value in defaults.items() if f"{name}=".lower() not in url.lower()}
        with translated("connecting", lambda: hidden_password(url)):
            return AsyncMongoClient(url, **options)

    def _check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """A mock has no loop; any other client given by the user stays on its first."""
        if drivers.is_mock(self._client):
            return
        with self._lock:
            first = self._client_loop or drivers.loop_of(self._client) or loop
            self._client_loop = first
        if first is not loop:
            raise EventLoopError(
                "the client given to MongoDb(client=…) is in use on another event loop, and a client lives on the loop of its "
                "first use. Blocking calls (run, print_response, db.blocking) have a loop of their own too. Give MongoDb the "
                "address instead, MongoDb(db_url=…), which keeps a client for every loop"
            )


async def _close_connection(connection: Connection) -> None:
    await drivers.close_client(connection.client)


async def _leave_open(_connection: Connection) -> None:
    """The client is the user's, and so is its closing."""


async def _bind(database: Any, session_table: str) -> dict[SessionType, type[Session]]:
    # A server that is away must not make others wait for the lock.
    await database.command("ping")
    # Polled, because a wait in a thread that is cancelled would take the lock and never give it back.
    while not _BEANIE_LOCK.acquire(blocking=False):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    try:
        return await bind_documents(database, session_table)
    finally:
        _BEANIE_LOCK.release()


def check_url(url: Any) -> str:
    """The address, if it is one; ConfigurationError naming the fault, without the password, if not."""
    if not isinstance(url, str) or not url:
        raise ConfigurationError(f"db_url= takes an address such as mongodb://localhost:27017, not {type(url).__name__}")
    if url.startswith("mongodb+srv://"):
        return url
    try:
        parse_uri(url)
    except (PyMongoError, ValueError, TypeError) as error:
        raise ConfigurationError(f"db_url={hidden_password(url)!r} is no MongoDB address: {error}") from error
    return url


def hidden_password(url: str) -> str:
    """The address with ``***`` for the user name and password."""
    scheme, separator, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}{separator}***@{host}" if at and credentials else url


def address_of_client(client: Any) -> str:
    """The hosts that a client was made with or has found since."""
    if drivers.is_mock(client):
        return "memory (mongomock)"
    found = client.topology_description.server_descriptions()
    return ", ".join(f"{host}:{port}" if port else str(host) for host, port in found)
