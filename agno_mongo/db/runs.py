"""Reading a session's runs, wherever they stand: the tail in its document, older ones in the archive, large parts in GridFS."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agno_mongo.db import archive, media, values
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.keys import NO_USER, Owner, owner_filter
from agno_mongo.db.sessions import refuse_if_anothers, refuse_type
from agno_mongo.db.upcasting import upcast
from agno_mongo.errors import CorruptSession, RunNotFound, SessionOwnedByAnotherUser

EVERYTHING: Final = {"_never": 0}
"""A projection that leaves nothing out, beside which a ``$slice`` means the same to mongod and to mongomock."""

_LOOKS: Final = 3
"""How often a session is read whose runs are being rewound or replaced in that moment."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A session that is to be read: on whose behalf, and of which type. None is anybody's, and any."""

    session_id: str
    owner: Owner = None
    session_type: SessionType | None = None


async def find_wanted(
    connection: Connection, wanted: Wanted, projection: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The stored session; None if there is none. Raises SessionOwnedByAnotherUser and SessionTypeMismatch.

    One find by ``session_id``, which names the owner, so that the server sends nothing of anybody else's session; if that finds
    nothing, one more that asks for nothing but whether there is one.
    """
    document: dict[str, Any] | None = await connection.collection.find_one(
        {"session_id": wanted.session_id, **owner_filter(wanted.owner)}, projection=projection
    )
    if document is None:
        await refuse_if_anothers(connection, wanted.session_id, wanted.owner)
        return None
    if wanted.session_type is not None:
        actual = document.get("session_type") or upcast(dict(document))["session_type"]
        refuse_type(wanted.session_id, wanted.session_type.value, actual)
    return document


async def read_session(connection: Connection, wanted: Wanted, *, runs_limit: int | None = None) -> dict[str, Any] | None:
    """The stored session with all its runs, or its newest ``runs_limit``; None if there is none.

    One find; one more for runs in the archive, and one for content in GridFS.
    """
    projection = None if runs_limit is None else wanted_runs(runs_limit)
    for look in range(_LOOKS):
        document = await find_wanted(connection, wanted, projection)
        if document is None:
            return None
        try:
            return await completed(connection, document, runs_limit=runs_limit)
        except CorruptSession:
            if look == _LOOKS - 1:
                raise
    return None


def wanted_runs(count: int) -> dict[str, Any]:
    """The projection of the newest ``count`` runs, beside which all other fields stay."""
    return {"runs": {"$slice": -count}, **EVERYTHING} if count else {"runs": 0}


async def listed(connection: Connection, document: dict[str, Any], runs_limit: int | None = None) -> dict[str, Any] | None:
    """A session from a list, as :func:`completed` has it; None if it was deleted since.

    One that changed between the list and the reading of its archive or media is read again by itself.
    """
    try:
        return await completed(connection, document, runs_limit=runs_limit)
    except CorruptSession:
        with contextlib.suppress(SessionOwnedByAnotherUser):
            again = Wanted(session_id=document["session_id"], owner=document.get("user_id") or NO_USER)
            return await read_session(connection, again, runs_limit=runs_limit)
    return None


async def completed(connection: Connection, document: dict[str, Any], *, runs_limit: int | None = None) -> dict[str, Any]:
    """A session's document, read with its tail or the end of it, with older runs before them as far as they are wanted."""
    archived, tail = document.get("archived_runs") or 0, document.get("runs")
    if tail is not None and archived and (runs_limit is None or len(tail) < runs_limit):
        begin = 0 if runs_limit is None else max(0, archived - (runs_limit - len(tail)))
        document["runs"] = [*await archive.read(connection, document, begin, archived), *tail]
    return await with_media(connection, document)


async def with_media(connection: Connection, document: dict[str, Any]) -> dict[str, Any]:
    """A session's document with large content in its place. No command if it has none, else one find."""
    for name in ("runs", "active_runs"):
        if document.get("has_media") and name in document:
            document[name] = await media.restored(connection, document[name], session_id=str(document.get("session_id")))
    return document


async def read_page(
    connection: Connection, wanted: Wanted, *, limit: int, before: str | None
) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """A session without its runs, and up to ``limit`` of its runs before the run ``before``, oldest first; None if there is no session.

    One find of the session with its tail, one of the archive if the page reaches there, one more if ``before`` itself stands there, and
    one for content in GridFS. Raises RunNotFound if the session has no run ``before``.
    """
    document: dict[str, Any] = {}
    for look in range(_LOOKS):
        found = await find_wanted(connection, wanted, {"active_runs": 0})
        if found is None:
            return None
        document = upcast(found)
        try:
            runs = await _page(connection, document, limit, before)
        except CorruptSession:
            if look == _LOOKS - 1:
                raise
        else:
            break
    if document.get("has_media"):
        runs = await media.restored(connection, runs, session_id=wanted.session_id)
    return {**document, "runs": None}, runs


async def _page(connection: Connection, document: Mapping[str, Any], limit: int, before: str | None) -> list[dict[str, Any]]:
    tail: list[dict[str, Any]] = document.get("runs") or []
    archived = document.get("archived_runs") or 0
    end = archived + len(tail) if before is None else await number_of(connection, document, before)
    begin = max(0, end - limit)
    older = await archive.read(connection, document, begin, min(end, archived)) if begin < archived else []
    return [*older, *tail[max(0, begin - archived) : max(0, end - archived)]]


async def number_of(connection: Connection, document: Mapping[str, Any], run_id: str) -> int:
    """The run's number in a session that was read with its tail. No command, or one find. Raises RunNotFound."""
    for number, run in enumerate(document.get("runs") or (), start=document.get("archived_runs") or 0):
        if run.get("run_id") == run_id:
            return number
    found = await archive.find(connection, document, run_id)
    if found is None:
        session_id = document["session_id"]
        raise RunNotFound(f"session {session_id!r} has no finished run {run_id!r}", session_id=session_id, run_id=run_id)
    return found[0]


async def read_run(connection: Connection, wanted: Wanted, run_id: str) -> dict[str, Any] | None:
    """A session with nothing but the run of this id, in ``runs`` or in ``active_runs``; None if there is no session.

    One find by ``session_id``; one more if the run is not in the tail, or Agno wrote the session and no run has lifted it yet, and one
    for content in GridFS.
    """
    active = f"active_runs.{values.encode_key(run_id)}"
    fields = (
        "session_id",
        "session_type",
        "user_id",
        "agent_id",
        "team_id",
        "workflow_id",
        "has_media",
        "schema_version",
        active,
    )
    projection = {"runs": {"$elemMatch": {"run_id": run_id}}, **dict.fromkeys(fields, 1), **archive.ARCHIVE_FIELDS}
    document = await find_wanted(connection, wanted, projection)
    if document is None:
        return None
    if "schema_version" not in document:
        return await _read_run_of_agno(connection, wanted, run_id)
    if not document.get("runs") and not document.get("active_runs"):
        found = await archive.find(connection, document, run_id)
        document["runs"] = [] if found is None else [found[1]]
    return await with_media(connection, document)


async def _read_run_of_agno(connection: Connection, wanted: Wanted, run_id: str) -> dict[str, Any] | None:
    """Where the runs stand, and in which shape, is known only from the whole document."""
    document = await read_session(connection, wanted)
    if document is None:
        return None
    whole = upcast(document)
    return {**whole, "runs": [run for run in whole["runs"] if run.get("run_id") == run_id]}
