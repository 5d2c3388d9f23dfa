"""``InMemoryDb``: sessions in this process, for tests and demonstrations."""

from __future__ import annotations

from typing import Any

from agno_mongo.db.documents import DEFAULT_SESSION_TABLE
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError
from agno_mongo.renamed import older_names_accepted

try:
    from mongomock_motor import AsyncMongoMockClient
except ImportError:  # the extra agno_mongo[testing]
    AsyncMongoMockClient = None  # type: ignore[assignment, misc]


class InMemoryDb(MongoDb):
    """A :class:`MongoDb` on mongomock-motor: no server, gone with the process.

    Needs ``pip install "agno_mongo[testing]"``. Works from every event loop. mongomock is no MongoDB: it knows nothing of
    durability, transactions, change streams and text search.
    """

    @older_names_accepted
    def __init__(
        self,
        *,
        db_name: str = "agno",
        session_table: str = DEFAULT_SESSION_TABLE,
        id: str | None = None,  # noqa: A002 - Agno's name
        **options: Any,
    ) -> None:
        if AsyncMongoMockClient is None:
            raise ConfigurationError('InMemoryDb needs mongomock-motor: pip install "agno_mongo[testing]"')
        super().__init__(client=AsyncMongoMockClient(), db_name=db_name, session_table=session_table, id=id, **options)
