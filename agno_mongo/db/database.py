"""A database that is open: its address or its client, a connection for each event loop, and what every call checks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Any, Final

from typing_extensions import Self

from agno_mongo import checks
from agno_mongo.blocking import Blocking
from agno_mongo.db import drivers
from agno_mongo.db.arguments import check_id, check_names
from agno_mongo.db.background import PATIENCE
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection, Connections, check_url
from agno_mongo.db.documents import DEFAULT_SESSION_TABLE, Session
from agno_mongo.db.expiry import seconds_of
from agno_mongo.db.keys import NO_USER
from agno_mongo.db.search import SEARCH_INDEX
from agno_mongo.db.translation import translated
from agno_mongo.errors import ConfigurationError, UserRequired
from agno_mongo.renamed import older_names_of

URL_VARIABLE: Final = "AGNO_MONGO_URL"


@dataclass(frozen=True, kw_only=True)
class Health:
    """What :meth:`MongoDb.health` found. ``latency`` is one round trip in seconds."""

    server_version: str
    writable: bool
    latency: float
    address: str


class Database:
    """What every method of a MongoDb stands on. What its arguments mean, MongoDb says."""

    @older_names_of("MongoDb")
    def __init__(
        self,
        db_url: str | None = None,
        *,
        client: Any = None,
        db_name: str = "agno",
        session_table: str = DEFAULT_SESSION_TABLE,
        id: str | None = None,  # noqa: A002 - Agno's name
        require_user_id: bool = False,
        search: bool = False,
        retention: timedelta | None = None,
    ) -> None:
        check_names(db_name, session_table)
        self.retention = retention
        retention_seconds = seconds_of(retention)
        self.id = id
        self.db_name = db_name
        self.session_table = session_table
        self.require_user_id = require_user_id
        self.search = search
        if client is not None:
            if db_url is not None:
                raise ConfigurationError("MongoDb takes db_url= or client=, not both")
            drivers.check_client(client)
            self._url = None
        else:
            self._url = self._address_given(db_url)
        self._connections = Connections(
            url=None if client is not None else self._get_url,
            client=client,
            db_name=db_name,
            session_table=session_table,
            text_indexes=(SEARCH_INDEX,) if search else (),
            retention=retention_seconds,
        )
        self.blocking = Blocking(self)

    @staticmethod
    def _address_given(db_url: str | None) -> str | None:
        url = db_url if db_url is not None else os.environ.get(URL_VARIABLE)
        if url is None:
            raise ConfigurationError(
                f"MongoDb needs an address: MongoDb('mongodb://localhost:27017'), the environment variable {URL_VARIABLE}, or "
                "client=. Without a server: EmbeddedMongoDb(path='tmp/data') starts one, InMemoryDb() needs none"
            )
        return check_url(url)

    async def _get_url(self) -> str:
        assert self._url is not None
        return self._url

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: a copy of an agent is on the same database."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}(db_name={self.db_name!r}, session_table={self.session_table!r})"

    async def health(self) -> Health:
        """Ask the server how it is. Raises what every other call would raise too. Two commands."""
        connection = await self._connection()
        with self._translated("asking for the server's health"):
            started = perf_counter()
            hello = await connection.database.command("hello")
            latency = perf_counter() - started
            version = (await connection.database.command("buildInfo"))["version"]
        return Health(
            server_version=version,
            writable=bool(hello.get("isWritablePrimary")),
            latency=latency,
            address=self._connections.address(),
        )

    async def documents(self) -> dict[SessionType, type[Session]]:
        """The Beanie classes of this database, for queries of one's own.

        ::

            AgentSessions = (await db.documents())[SessionType.AGENT]
            await AgentSessions.find(AgentSessions.user_id == "john").to_list()

        They belong to the running event loop. Read with them; writing is for the methods above, which keep what others write.
        """
        return (await self._connection()).documents

    async def _connection(self) -> Connection:
        return await self._connections.get()

    async def close(self, timeout: float = PATIENCE) -> None:
        """Close the clients that were made here, on every loop. A client given by the user stays open. May be repeated; the next
        call connects again.

        Summaries, moves to the archive and other work in the background have ``timeout`` seconds to come to their end. What takes longer is
        given up, and the log says so; it is done after one of the session's next runs.
        """
        await self._connections.close(checks.seconds("timeout", timeout))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def _translated(self, what: str) -> Any:
        return translated(what, self._connections.address)

    def _check(self, session_id: Any, user_id: Any) -> None:
        check_id("session_id", session_id)
        self._check_user(user_id, f"session {session_id!r}", session_id=session_id)

    def _check_user(self, user_id: Any, what: str, session_id: str = "") -> None:
        if user_id is not None and user_id is not NO_USER:
            check_id("user_id", user_id)
        elif self.require_user_id:
            raise UserRequired(
                f"{what}: this database was opened with require_user_id=True; pass user_id=", session_id=session_id
            )
