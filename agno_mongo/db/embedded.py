"""``EmbeddedMongoDb``: a real mongod on a folder, started when needed. The counterpart of a database in a file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agno_mongo.db.background import PATIENCE
from agno_mongo.db.connections import Connection
from agno_mongo.db.documents import DEFAULT_SESSION_TABLE
from agno_mongo.db.embedded_server import EmbeddedServer
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import StoreUnavailable
from agno_mongo.renamed import older_names_accepted


class EmbeddedMongoDb(MongoDb):
    """A :class:`MongoDb` with a server of its own, on the folder ``path``.

    The first use starts mongod as a child process, a single-node replica set on a Unix socket that only this user can open, without
    a network port. Every process that names the same folder uses the same server; the last one stops it when it ends or closes the db.
    (If the last one is killed the server stays, for the next to use and to stop.) What was acknowledged is there at the next start,
    also after a kill.

    The binary is looked for in the environment variable ``AGNO_MONGOD``, on the PATH, and in the extra
    ``agno_mongo[mongod]``. That one is MongoDB 6.0, past its vendor's support: for local work, tests and CI. Production runs a
    replica set of a supported version, ``MongoDb(db_url=…)``.

    Raises EmbeddedServerError at the first use if there is no binary, or it does not start; the text says what to do.
    """

    @older_names_accepted
    def __init__(
        self,
        path: str | os.PathLike[str] = "tmp/data",
        *,
        db_name: str = "agno",
        session_table: str = DEFAULT_SESSION_TABLE,
        start_timeout: float = 30.0,
        **options: Any,
    ) -> None:
        self._server = EmbeddedServer(path, start_timeout=start_timeout)
        self._gone = False
        super().__init__("mongodb://embedded", db_name=db_name, session_table=session_table, **options)

    @property
    def path(self) -> str:
        """The data folder."""
        return str(self._server.path)

    def __repr__(self) -> str:
        return f"EmbeddedMongoDb(path={self.path!r}, db_name={self.db_name!r}, session_table={self.session_table!r})"

    async def _get_url(self) -> str:
        return await asyncio.to_thread(self._server.acquire)

    async def _connection(self) -> Connection:
        if self._gone:
            # The clients find the server again by themselves: it comes back on the same socket.
            await asyncio.to_thread(self._server.acquire)
            self._gone = False
        return await super()._connection()

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            with super()._translated(what):
                yield
        except StoreUnavailable as error:
            self._gone = True
            raise StoreUnavailable(
                f"{error}. The embedded mongod is gone (its log: {self._server.log_path}); the next call starts it again"
            ) from error

    async def close(self, timeout: float = PATIENCE) -> None:
        """Close the clients, and stop the server if nobody else uses it. May be repeated; the next call starts it again. See MongoDb.close."""
        await super().close(timeout)
        await asyncio.to_thread(self._server.release)
