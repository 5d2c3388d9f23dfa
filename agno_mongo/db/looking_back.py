"""As many of a session's newest runs as a history needs."""

from __future__ import annotations

from collections.abc import Collection

from agno_mongo.db.documents import Session
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.mongo import MongoDb
from agno_mongo.history import runs_that_count
from agno_mongo.run.base import HISTORY_SKIP_STATUSES, RunStatus


async def session_with_runs(
    db: MongoDb, key: SessionKey, *, told: int, skip_statuses: Collection[RunStatus | str] = HISTORY_SKIP_STATUSES
) -> Session | None:
    """The session with as many of its newest runs as it takes to have ``told`` of them that count; None if there is none.

    One read, and another of twice as many runs where it was not enough, in the tail or in the archive.
    """
    limit = 2 * told + 16
    while True:
        session: Session | None = await db.get_session(key.session_id, key.session_type, key.owner, runs_limit=limit)
        if session is None or len(session.runs or ()) < limit or len(runs_that_count(session.runs or (), skip_statuses)) >= told:
            return session
        limit *= 2
