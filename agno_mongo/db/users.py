"""All that is stored of a user: deleted, and told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from bson import json_util

from agno_mongo.db import archive, media, sessions
from agno_mongo.db.connections import Connection
from agno_mongo.db.upcasting import upcast
from agno_mongo.db.values import decode_key
from agno_mongo.errors import CorruptSession, SessionNotFound

_FILES_AT_ONCE: Final = 1000
_LOOKS: Final = 3
"""How often a session is read again whose runs are being replaced or rewound while they are told."""

_NOT_OF_THE_HEADER: Final = ("runs", "active_runs")


async def delete(connection: Connection, user_id: str) -> int:
    """Delete all that belongs to the user, and say how many sessions that was.

    Five commands, each by an index on the user, and four more for every thousand files. Sessions go first: a run that ends later finds
    nothing to write to and takes back what it has stored beside, a move to the archive and a fork likewise. What a crash left is found by
    the user's id too.
    """
    deleted = 0
    for _ in range(sessions.ATTEMPTS):
        # A fork made while they are being deleted may stand where the deletion has been already; its maker finds the original still there.
        count = (await connection.collection.delete_many({"user_id": user_id})).deleted_count
        deleted += count
        if not count:
            break
    await connection.archive.delete_many({"user_id": user_id})
    # Chunks without a file too. Of a file that is there already more may come; of one that comes later they are none of these.
    await connection.media_chunks.delete_many({"user_id": user_id})
    which: dict[str, Any] = {"filter": {"metadata.user_id": user_id}, "projection": {"_id": 1}, "limit": _FILES_AT_ONCE}
    while files := await connection.media_files.find(**which).to_list(None):
        await media.delete_files(connection, [file["_id"] for file in files])
    return deleted


async def export(connection: Connection, user_id: str) -> AsyncGenerator[str, None]:
    """The lines that :meth:`~agno_mongo.db.mongo.MongoDb.export_user` promises.

    A find of the sessions' ids; for each session a find, and one for each archive document; for a run with large content one more.
    """
    found = await sessions.list_sessions(
        connection,
        {"user_id": user_id},
        order=sessions.NEWEST_FIRST,
        skip=0,
        limit=0,
        projection={"session_id": 1, "_id": 0},
    )
    for session_id in [session["session_id"] for session in found]:
        which = {"session_id": session_id, "user_id": user_id}
        session = await connection.collection.find_one(which)
        if session is None:
            continue
        header = {name: value for name, value in upcast(session).items() if name not in _NOT_OF_THE_HEADER}
        yield _line("session", session_id, session=header)
        number = 0
        try:
            async for run in _runs(connection, which, session):
                yield await _long_line("run", session_id, run=run, number=number)
                number += 1
        except SessionNotFound:
            yield _line("deleted", session_id, number=number)
            continue
        for name, entry in await _active_runs(connection, which, session):
            yield await _long_line("active_run", session_id, run=entry, run_id=decode_key(name))


async def _runs(
    connection: Connection, which: Mapping[str, Any], session: dict[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """The runs of a session that was read whole, oldest first and whole, an archive document at a time.

    If they are deleted meanwhile, it goes on with what is left by then. Raises SessionNotFound if the session is.
    """
    number = looks = 0
    while True:
        try:
            page = await _page(connection, session, number)
            for run in page:
                whole = await media.restored(connection, run, session_id=str(session["session_id"]))
                looks, number = 0, number + 1
                yield whole
        except CorruptSession:
            looks += 1
            again = await connection.collection.find_one(which)
            if again is None:
                raise SessionNotFound("deleted while it was told", session_id=str(session["session_id"])) from None
            if looks == _LOOKS:
                raise
            session = again
        else:
            if not page:
                return


async def _page(connection: Connection, session: dict[str, Any], number: int) -> list[dict[str, Any]]:
    archived = session.get("archived_runs") or 0
    if number < archived:
        return await archive.read(connection, session, number, min(number + archive.BUCKET_RUNS, archived))
    tail: list[dict[str, Any]] = upcast(session).get("runs") or []
    return tail[number - archived :]


async def _active_runs(
    connection: Connection, which: Mapping[str, Any], session: Mapping[str, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """The runs that were begun and had not finished when the session was read. Large content of one that has ended since may be gone."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, entry in (session.get("active_runs") or {}).items():
        try:
            found.append((name, await media.restored(connection, entry, session_id=str(session["session_id"]))))
        except CorruptSession:
            if await connection.collection.find_one({**which, f"active_runs.{name}": {"$exists": True}}, {"_id": 1}):
                raise
    return found


async def _long_line(kind: str, session_id: str, **parts: Any) -> str:
    # It may be a hundred megabytes.
    return await asyncio.to_thread(_line, kind, session_id, **parts)


def _line(kind: str, session_id: str, **parts: Any) -> str:
    line = {"kind": kind, "session_id": session_id, **{name: _with_names(part) for name, part in parts.items()}}
    return json_util.dumps(line, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False)


def _with_names(value: Any) -> Any:
    """The value with its keys as they were before they were encoded for MongoDB."""
    if isinstance(value, dict):
        return {decode_key(key): _with_names(part) for key, part in value.items()}
    return [_with_names(part) for part in value] if isinstance(value, list) else value
