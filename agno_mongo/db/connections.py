"""One connection for every event loop: a client, the collections behind it, the documents bound to them.

A PyMongo client belongs to the loop of its first use. A :class:`Connections` made from an address makes a client
for each loop that asks, and closes it when that loop shuts down; one made from a user's client has that client alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from time import time
from typing import Any, Final

import pymongo
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from agno_mongo.db import drivers
from agno_mongo.db.background import PATIENCE, Background
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import Session, bind_documents
from agno_mongo.db.indexes import make_indexes
from agno_mongo.db.translation import translated
from agno_mongo.errors import ConfigurationError, CorruptSession, EventLoopError
from agno_mongo.event_loops import PerLoop

SERVER_SELECTION_TIMEOUT_MS = 5_000
"""How long to look for a server before giving up, unless the address says otherwise."""

TIMEOUT_MS = 30_000
"""How long a single command may take, with its retries, before it is given up, unless the address says otherwise."""

INDEXING_TIMEOUT = 24 * 3600
"""How many seconds the making of a text index over an existing collection may take. If it is given up it starts anew."""

_MILLISECOND = 0.001
"""What BSON's datetimes are cut to."""

_QUICK = 0.05
"""Seconds of a round trip within which it does not matter when the server looked at its clock."""

_BEANIE_LOCK = threading.Lock()
"""``init_beanie`` writes to the shared base classes; two threads must not do it at once."""

_SHARED_ARCHIVE = ("archive_id", "archive_lineage.id")
_RECENT: Final = (("updated_at", DESCENDING), ("touched_at", DESCENDING), ("session_id", ASCENDING))
"""How a list of sessions is ordered. With the id at its end, an index answers a list of ids alone."""

_INDEXES = [
    IndexModel([("session_id", ASCENDING)], unique=True),
    IndexModel([("user_id", ASCENDING), ("session_type", ASCENDING), *_RECENT]),
    IndexModel([("session_type", ASCENDING), *_RECENT]),
    *(
        IndexModel(
            [(kind.id_field, ASCENDING), ("session_type", ASCENDING), *_RECENT],
            partialFilterExpression={kind.id_field: {"$type": "string"}},
        )
        for kind in SessionType
    ),
    IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
    *(IndexModel([(name, ASCENDING)], partialFilterExpression={name: {"$exists": True}}) for name in _SHARED_ARCHIVE),
]
_ARCHIVE_INDEXES = [
    IndexModel([("archive_id", ASCENDING), ("end", ASCENDING)]),
    IndexModel([("archive_id", ASCENDING), ("runs.run_id", ASCENDING)]),
    IndexModel([("session_id", ASCENDING)]),
    IndexModel([("user_id", ASCENDING)]),
    IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
]
_MEDIA_INDEXES = [
    IndexModel([("metadata.sessions", ASCENDING), ("metadata.sha256", ASCENDING)]),
    IndexModel([("metadata.key", ASCENDING)], unique=True, sparse=True),
    IndexModel([("metadata.user_id", ASCENDING)]),
    IndexModel([("metadata.expires_at", ASCENDING)], expireAfterSeconds=0),
]
_CHUNK_INDEXES = [
    IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True),
    IndexModel([("user_id", ASCENDING)], partialFilterExpression={"user_id": {"$type": "string"}}),
    IndexModel([("expires_at", ASCENDING)], expireAfterSeconds=0),
]


class ServerClock:
    """The server's time, as far as it is known here: this machine's clock and its distance from the server's.

    Machines' clocks may be a minute apart, so what one of them writes for others to judge (until when a run counts as alive, when a session was
    touched) is in the server's time. Every answer that carries a moment of the server's says where the distance must lie; the distance kept
    moves only as far as that demands, so that the clock does not waver with the network, and is this machine's where both agree.
    """

    def __init__(self, local: Callable[[], float] = time) -> None:
        self.local = local
        self._ahead = 0.0

    def now(self) -> float:
        """Unix seconds by the server's clock."""
        return self.local() + self._ahead

    def heard(self, moment: Any, asked: float) -> None:
        """The server's clock showed ``moment`` (a naive datetime in UTC, to the millisecond) between ``asked``, local time, and now.

        What is no datetime tells nothing.
        """
        if not isinstance(moment, datetime):
            return
        server = moment.replace(tzinfo=timezone.utc).timestamp()
        least, most = server - self.local(), server + _MILLISECOND - asked
        # Else this machine's clock was set back meanwhile.
        if least <= most:
            self._ahead = min(max(self._ahead, least), most)


@dataclass
class Connection:
    """What one event loop uses: the client, the database, its collections, the documents bound to the sessions.

    ``retention`` is for how many seconds a session is kept that says nothing else.
    """

    client: Any
    database: Any
    collection: Any
    archive: Any
    media_files: Any
    media_chunks: Any
    documents: dict[SessionType, type[Session]]
    clock: ServerClock
    text_indexes: tuple[IndexModel, ...] = ()
    retention: float | None = None
    retention_applied: bool = False
    background: Background = field(default_factory=Background)
    _indexed: set[str] = field(default_factory=set)
    _indexing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(
        cls,
        client: Any,
        database: Any,
        documents: dict[SessionType, type[Session]],
        clock: ServerClock,
        text_indexes: tuple[IndexModel, ...],
    ) -> Connection:
        """The connection to the collections beside the one that the documents are bound to."""
        collection = documents[SessionType.AGENT].get_pymongo_collection()
        archive, files, chunks = (
            database.get_collection(f"{collection.name}_{part}") for part in ("archive", "media.files", "media.chunks")
        )
        return cls(client, database, collection, archive, files, chunks, documents, clock, text_indexes)

    def now(self) -> float:
        """Unix seconds by the server's clock."""
        return self.clock.now()

    def parse(self, document: dict[str, Any]) -> Session:
        """A stored document as the session class that fits it. Its runs' leases are judged by the server's time of this moment."""
        kind = document.get("session_type")
        fitting = SessionType(kind) if kind in SessionType._value2member_map_ else SessionType.AGENT
        try:
            session: Session = self.documents[fitting].model_validate(document)
        except ValueError as error:
            session_id = str(document.get("session_id"))
            raise CorruptSession(f"session {session_id!r} cannot be read: {error}", session_id=session_id) from error
        session.set_read_at(self.now())
        return session

    async def ensure_indexes(self) -> None:
        """Make all indexes of the sessions, in one command, before the first write. Later calls do nothing."""
        await self._ensure(self.collection, [*_INDEXES, *self.text_indexes])

    async def ensure_archive(self) -> None:
        """The same for the archive, before the first run is moved there."""
        await self._ensure(self.archive, [*_ARCHIVE_INDEXES, *self.text_indexes])

    async def ensure_media(self) -> None:
        """The same for the two collections of the media, before the first is stored."""
        await self._ensure(self.media_files, _MEDIA_INDEXES)
        await self._ensure(self.media_chunks, _CHUNK_INDEXES)

    async def _ensure(self, collection: Any, indexes: list[IndexModel]) -> None:
        if collection.name in self._indexed:
            return
        async with self._indexing:
            if collection.name not in self._indexed:
                # A text index may have to read all that was ever said here.
                with pymongo.timeout(INDEXING_TIMEOUT) if self.text_indexes else contextlib.nullcontext():
                    await make_indexes(self.database, collection, indexes)
                self._indexed.add(collection.name)


class Connections:
    """Hands every event loop its :class:`Connection`. ``clock`` is this machine's, in Unix seconds."""

    def __init__(
        self,
        *,
        url: Callable[[], Awaitable[str]] | None,
        client: Any,
        db_name: str,
        session_table: str,
        text_indexes: tuple[IndexModel, ...] = (),
        clock: Callable[[], float] = time,
        retention: float | None = None,
    ) -> None:
        self._text_indexes = text_indexes
        self.clock = clock
        self._url = url
        self._retention = retention
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

    async def close(self, timeout: float = PATIENCE) -> None:
        """Close the clients that were made here, on whatever loop each lives. A user's own client stays open. Work in the background has so many
        seconds to come to its end.
        """
        for connection in self._connections.made():
            connection.background.patience = timeout
        await self._connections.close()

    async def _open(self) -> Connection:
        client = self._client if self._client is not None else await self._new_client()
        self._address = address_of_client(client)
        async with contextlib.AsyncExitStack() as undo:
            if self._client is None:
                undo.push_async_callback(drivers.close_client, client)
            with translated("connecting", self.address):
                database = drivers.database_of(client, self._db_name)
                clock = await self._clock_of(database)
                documents = await _bind(database, self._session_table)
            undo.pop_all()
        # The mock has no text index.
        text_indexes = () if drivers.is_mock(client) else self._text_indexes
        connection = Connection.of(client, database, documents, clock, text_indexes)
        connection.retention = self._retention
        return connection

    async def _clock_of(self, database: Any) -> ServerClock:
        """The server's clock. One command, which also finds out whether a server is there at all; another where it took long to connect,
        which leaves open where within that time the server's moment lies.
        """
        clock = ServerClock(self.clock)
        for _ in range(2):
            asked = clock.local()
            clock.heard((await database.command("hello")).get("localTime"), asked)
            if clock.local() - asked < _QUICK:
                break
        return clock

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
    await connection.background.finished()
    await drivers.close_client(connection.client)


async def _leave_open(connection: Connection) -> None:
    """The client is the user's, and so is its closing."""
    await connection.background.finished()


async def _bind(database: Any, session_table: str) -> dict[SessionType, type[Session]]:
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
