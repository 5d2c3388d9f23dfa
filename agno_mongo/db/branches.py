"""Fork a session, or take it back to an earlier run. Both share the archive's segments rather than copy them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from agno_mongo.db import archive, media, retention, values
from agno_mongo.db.connections import Connection
from agno_mongo.db.expiry import has_parts, margin_is_worn, retention_of
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.runs import Wanted, find_wanted, number_of
from agno_mongo.db.sessions import ATTEMPTS, lift, touch
from agno_mongo.errors import ConfigurationError, CorruptSession, RunNotFound, SessionChanged, SessionNotFound

_NOT_INHERITED: Final = ("active_runs", "state_revision", "expires_at")


async def fork(connection: Connection, wanted: Wanted, *, at_run: str | None, new_session_id: str) -> dict[str, Any]:
    """Store a new session that begins as a copy of another up to and with the run ``at_run``, and return it with its tail.

    A find, an insert and a find, however long the session is; one find more if ``at_run`` is in the archive, a find and an
    update more for a session with media. The original is not touched. Raises SessionNotFound, RunNotFound, and ConfigurationError if ``new_session_id`` is taken.
    """
    session_id = wanted.session_id
    for _ in range(ATTEMPTS):
        original = await _read(connection, wanted)
        try:
            copy, left_behind = await _copy_of(connection, original, at_run, new_session_id)
        except (CorruptSession, RunNotFound):
            if await _has_its_runs(connection, original):
                raise
            continue
        if original.get("has_media"):
            # Before anything is shared with a session that may be somebody else's.
            await _refuse_taken(connection, new_session_id)
            await media.share(connection, session_id, new_session_id, but_of=left_behind)
        await _insert(connection, copy)
        # Whoever deletes or rewinds a session looks for those that share its archive afterwards; so this one looks once more too.
        if await _has_its_runs(connection, original):
            await _keep_parts(connection, original, copy)
            return copy
        await _withdraw(connection, copy)
    raise SessionChanged(f"session {session_id!r} was changed again and again while it was forked", session_id=session_id)


async def _copy_of(
    connection: Connection, original: Mapping[str, Any], at_run: str | None, new_session_id: str
) -> tuple[dict[str, Any], list[str]]:
    """The fork as it is to be stored, and the ids of the runs whose large content it has no use for."""
    end = await _end(connection, original, at_run)
    copy = {name: value for name, value in original.items() if name not in _NOT_INHERITED}
    copy |= await _cut(connection, original, end) | _as_new(original, new_session_id, at_run, connection.now())
    copy |= retention.set_anew(connection, copy.get("retention"))
    return copy, await _left_behind(connection, original, copy, end) if original.get("has_media") else []


async def _has_its_runs(connection: Connection, session: Mapping[str, Any]) -> bool:
    """True unless, since it was read, the session was deleted, or its runs were rewound or replaced. One find."""
    still_there = {"_id": session["_id"], "archive_id": session.get("archive_id")}
    return await connection.collection.find_one(still_there, projection={"_id": 1}) is not None


async def _left_behind(connection: Connection, original: Mapping[str, Any], copy: Mapping[str, Any], end: int) -> list[str]:
    """The ids of the runs whose large content the copy has no use for: those after its last one, and those that go on.

    A copy that ends with a run within another has it without the outer one, under whose id its content may be noted: it leaves nothing behind.
    No command, or a find for each segment if it leaves archived runs behind.
    """
    if copy["runs"] and copy["runs"][-1].get("parent_run_id") is not None:
        return []
    going_on = [values.decode_key(name) for name in original.get("active_runs") or ()]
    return going_on + [str(run.get("run_id")) for run in await _runs_from(connection, original, end)]


async def _runs_from(connection: Connection, session: Mapping[str, Any], end: int) -> list[Mapping[str, Any]]:
    """The runs from number ``end`` on. No command, or a find for each segment."""
    archived = session.get("archived_runs") or 0
    older = await archive.read(connection, session, end, archived) if end < archived else []
    return [*older, *(session.get("runs") or [])[max(0, end - archived) :]]


async def _withdraw(connection: Connection, copy: Mapping[str, Any]) -> None:
    """Delete a fork that was just stored, and what only it has: its original may have been deleted, and left to it what both shared."""
    await connection.collection.delete_one({"_id": copy["_id"], "session_id": copy["session_id"]})
    await archive.free(connection, [segment.archive_id for segment in archive.segments_of(copy)])
    await media.free_session(connection, [copy["session_id"]])


async def _keep_parts(connection: Connection, original: Mapping[str, Any], copy: Mapping[str, Any]) -> None:
    """Let what both share outlast the copy too, which has just begun to live."""
    expires_at = copy.get("expires_at")
    forever = expires_at is None and original.get("expires_at") is not None and has_parts(copy)
    if forever or margin_is_worn(copy, connection.retention):
        await retention.keep_parts(connection, copy, expires_at)


async def rewind(connection: Connection, wanted: Wanted, *, to_run: str, copy_as: str | None) -> dict[str, Any]:
    """Make the run ``to_run`` the session's last one, and return the session with its tail.

    With ``copy_as`` the session as it was is kept under that id (see :func:`fork`); without it the later runs are deleted. A find and a
    findAndModify however long the session is, besides the fork, or besides the deletions. Runs in progress go on, and are appended when they
    finish. State and metrics stay as they are. Raises SessionNotFound and RunNotFound.
    """
    session_id = wanted.session_id
    for _ in range(ATTEMPTS):
        original = await _read(connection, wanted)
        try:
            end = await _end(connection, original, to_run)
            fields = await _cut(connection, original, end)
        except (CorruptSession, RunNotFound):
            if await _has_its_runs(connection, original):
                raise
            continue
        copy = None if copy_as is None else await fork(connection, wanted, at_run=None, new_session_id=copy_as)
        fields |= {"archive_id": ObjectId(), "rewound_from": copy_as}
        unchanged = {"_id": original["_id"], "session_id": session_id, "revision": original.get("revision")}
        fields |= retention.set_anew(connection, original.get("retention"))
        rewound: dict[str, Any] | None = await connection.collection.find_one_and_update(
            unchanged, {"$set": fields, **touch(connection.now())}, return_document=ReturnDocument.AFTER
        )
        if rewound is not None:
            if retention_of(rewound, connection.retention) is not None:
                await retention.settle(connection, rewound)
            if copy_as is None:
                await _free_later(connection, original, end)
            return rewound
        if copy is not None:
            await _withdraw(connection, copy)
    raise SessionChanged(f"session {session_id!r} was changed again and again while it was rewound", session_id=session_id)


async def _read(connection: Connection, wanted: Wanted) -> dict[str, Any]:
    session_id = wanted.session_id
    found = await find_wanted(connection, wanted)
    if found is None:
        raise SessionNotFound(f"there is no session {session_id!r}", session_id=session_id)
    if "schema_version" in found:
        return found
    await lift(connection, session_id)
    return await _read(connection, wanted)


async def _end(connection: Connection, session: Mapping[str, Any], run_id: str | None) -> int:
    """The number after the run's; after the last run's without one."""
    if run_id is None:
        return (session.get("archived_runs") or 0) + len(session.get("runs") or ())
    return await number_of(connection, session, run_id) + 1


async def _cut(connection: Connection, session: Mapping[str, Any], end: int) -> dict[str, Any]:
    """The fields of a session that has the runs of ``session`` before the one numbered ``end``, and a segment of its own for what follows."""
    archived, tail = session.get("archived_runs") or 0, session.get("runs") or []
    if end > archived:
        tail = tail[: end - archived]
    else:
        archived = max(0, end - archive.KEPT_RUNS)
        tail = await archive.read(connection, session, archived, end)
    summary = session.get("summary")
    # Nothing is told of what was said later.
    outlived = isinstance(summary, Mapping) and (summary.get("run_count") or 0) > end
    return {
        **({"summary": None} if outlived else {}),
        "runs": tail,
        "run_count": end,
        "archived_runs": archived,
        "archive_lineage": archive.lineage_of(archive.segments_of(session, archived)),
        "tail_bytes": sum(map(archive.size_of, tail)),
    }


def _as_new(original: Mapping[str, Any], new_session_id: str, at_run: str | None, now: float) -> dict[str, Any]:
    # Tokens are counted where they were spent.
    data = {name: value for name, value in (original.get("session_data") or {}).items() if name != "session_metrics"}
    return {
        "_id": ObjectId(),
        "archive_id": ObjectId(),
        "session_id": new_session_id,
        "session_data": data,
        "forked_from": {"session_id": original["session_id"], "run_id": at_run},
        "active_runs": {},
        "created_at": int(now),
        "updated_at": int(now),
        "touched_at": datetime.fromtimestamp(now, timezone.utc).replace(tzinfo=None),
        "revision": 1,
    }


async def _insert(connection: Connection, session: Mapping[str, Any]) -> None:
    try:
        await connection.collection.insert_one(dict(session))
    except DuplicateKeyError as error:
        raise _taken(session["session_id"]) from error


async def _refuse_taken(connection: Connection, session_id: str) -> None:
    if await connection.collection.find_one({"session_id": session_id}, projection={"_id": 1}) is not None:
        raise _taken(session_id)


def _taken(session_id: str) -> ConfigurationError:
    return ConfigurationError(f"there is a session {session_id!r} already; a fork needs a new session_id")


async def _free_later(connection: Connection, original: Mapping[str, Any], end: int) -> None:
    """Delete what only the runs from number ``end`` on had."""
    if original.get("has_media"):
        dropped = await _runs_from(connection, original, end)
        await media.free_runs(connection, SessionKey.of(original), [str(run.get("run_id")) for run in dropped])
    await archive.free(
        connection, {*(segment.archive_id for segment in archive.segments_of(original)), archive.own_segment(original)}
    )
