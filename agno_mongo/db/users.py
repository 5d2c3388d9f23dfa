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
from agno_mongo.errors import CorruptSession

_FILES_AT_ONCE: Final = 1000
_LOOKS: Final = 3
"""How often a session is read again whose runs are being replaced or rewound while they are told."""

_NOT_OF_THE_HEADER: Final = ("runs", "active_runs")


async def delete(connection: Connection, user_id: str) -> int:
    """Delete all that belongs to the user, and say how many sessions that was.

    Six commands, each by an index on the user, and a delete more for every thousand files. Sessions go first: a run that ends later finds
    nothing to write to and takes back what it has stored beside, a move to the archive and a fork likewise. What a crash left is found by
    the user's id too.
    """
    deleted = await connection.collection.delete_many({"user_id": user_id})
    await connection.archive.delete_many({"user_id": user_id})
    files = await connection.media_files.find({"metadata.user_id": user_id}, projection={"_id": 1}).to_list(None)
    ids = [file["_id"] for file in files]
    for start in range(0, len(ids), _FILES_AT_ONCE):
        await connection.media_chunks.delete_many({"files_id": {"$in": ids[start : start + _FILES_AT_ONCE]}})
    await connection.media_chunks.delete_many({"user_id": user_id})
    await connection.media_files.delete_many({"metadata.user_id": user_id})
    return int(deleted.deleted_count)


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
        async for run in _runs(connection, which, session):
            yield await _line_of_run(connection, "run", session_id, run, number=number)
            number += 1
        for name, entry in (session.get("active_runs") or {}).items():
            yield await _line_of_run(connection, "active_run", session_id, entry, run_id=decode_key(name))


async def _runs(
    connection: Connection, which: Mapping[str, Any], session: Mapping[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """The runs of a session that was read whole, oldest first, an archive document at a time."""
    number = looks = 0
    while number < (archived := session.get("archived_runs") or 0):
        try:
            page = await archive.read(connection, session, number, min(number + archive.BUCKET_RUNS, archived))
        except CorruptSession:
            again = await connection.collection.find_one(which)
            if again is None:
                return
            looks += 1
            if looks == _LOOKS:
                raise
            session = again
            continue
        for run in page:
            yield run
        number += len(page)
    for run in (upcast(dict(session)).get("runs") or [])[number - archived :]:
        yield run


async def _line_of_run(connection: Connection, kind: str, session_id: str, run: dict[str, Any], **more: Any) -> str:
    whole = await media.restored(connection, run)
    if whole is run:
        return _line(kind, session_id, run=run, **more)
    # It may be a hundred megabytes.
    return await asyncio.to_thread(_line, kind, session_id, run=whole, **more)


def _line(kind: str, session_id: str, **parts: Any) -> str:
    line = {"kind": kind, "session_id": session_id, **{name: _with_names(part) for name, part in parts.items()}}
    return json_util.dumps(line, json_options=json_util.RELAXED_JSON_OPTIONS, ensure_ascii=False)


def _with_names(value: Any) -> Any:
    """The value with its keys as they were before they were encoded for MongoDB."""
    if isinstance(value, dict):
        return {decode_key(key): _with_names(part) for key, part in value.items()}
    return [_with_names(part) for part in value] if isinstance(value, list) else value
