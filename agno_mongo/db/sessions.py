"""The commands on a whole session: list, set fields, replace, delete. What a run sends is in :mod:`agno_mongo.db.store`, how runs
are read in :mod:`agno_mongo.db.runs`.

Each function's first line is its promise; then commands, index, and what a concurrent caller sees. All writes are to one document and
atomic by that, and carry ``session_id``, which a sharded cluster routes by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NoReturn

import pymongo.errors
from pymongo import DESCENDING, ReturnDocument

from agno_mongo.db import archive, media, retention
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.expiry import new_parts_until, retention_of
from agno_mongo.db.keys import NO_USER, Owner, SessionKey
from agno_mongo.db.translation import PATH_NOT_VIABLE
from agno_mongo.db.upcasting import upcast
from agno_mongo.errors import (
    SessionChanged,
    SessionError,
    SessionNotFound,
    SessionOwnedByAnotherUser,
    SessionTypeMismatch,
    StoreError,
)

NEWEST_FIRST: Final = (("updated_at", DESCENDING), ("touched_at", DESCENDING))

EVERY_TYPE: Final = {"session_type": {"$in": [kind.value for kind in SessionType]}}
"""The filter of a list that is not filtered. With the types named, an index serves its order."""

ESTIMATE_LIMIT: Final = 10_000
"""How far an estimate counts."""

ATTEMPTS: Final = 100
"""How often a change is laid on newer ones. Fifty writers of one key need a handful."""


def touch(now: float) -> dict[str, Any]:
    """The part of every write that says when it was and that it was, in the server's time. ``touched_at`` orders within a second."""
    return {"$max": {"updated_at": int(now)}, "$currentDate": {"touched_at": True}, "$inc": {"revision": 1}}


def refuse_if_foreign(document: Mapping[str, Any], key: SessionKey) -> None:
    """Raise if the document has another owner or another type than the key asks for."""
    if document.get("user_id") != key.user_id:
        refuse_owner(key.session_id, key.user_id)
    refuse_type(key.session_id, key.session_type.value, document.get("session_type"))


async def refuse_if_anothers(connection: Connection, session_id: str, owner: Owner) -> None:
    """Raise SessionOwnedByAnotherUser if the session is there and not this owner's. One find, which returns an ``_id`` at most."""
    if owner is None:
        return
    user_id = None if owner is NO_USER else owner
    anothers = {"session_id": session_id, "user_id": {"$ne": user_id}}
    if await connection.collection.find_one(anothers, projection={"_id": 1}) is not None:
        refuse_owner(session_id, user_id)


def refuse_type(session_id: str, expected: str, actual: str | None) -> None:
    """Raise SessionTypeMismatch if the types differ."""
    if actual != expected:
        raise SessionTypeMismatch(
            f"session {session_id!r} is of type {actual!r}, not {expected!r}",
            session_id=session_id,
            expected=expected,
            actual=str(actual),
        )


def refuse_owner(session_id: str, user_id: str | None) -> NoReturn:
    """Raise SessionOwnedByAnotherUser, without a word about whose the session is."""
    asked = "a call without user_id" if user_id is None else f"user {user_id!r}"
    raise SessionOwnedByAnotherUser(
        f"session {session_id!r} does not belong to {asked}; a session keeps the user_id it was created with",
        session_id=session_id,
        user_id=user_id,
    )


async def lift(connection: Connection, session_id: str) -> None:
    """Bring a session that Agno wrote to today's shape, which updates by path need. Two commands, once in a session's life.

    Fields that the lift does not concern are left alone, and so are changes that somebody makes meanwhile.
    """
    for _ in range(ATTEMPTS):
        stored = await connection.collection.find_one({"session_id": session_id, "schema_version": {"$exists": False}})
        if stored is None:
            return
        lifted = upcast(stored)
        changed = {name: value for name, value in lifted.items() if name not in stored or value != stored[name]}
        unchanged = {"_id": stored["_id"], "schema_version": {"$exists": False}, **_as_read(stored)}
        update: dict[str, Any] = {"$set": changed}
        if gone := stored.keys() - lifted.keys():
            update["$unset"] = dict.fromkeys(gone, "")
        if (await connection.collection.update_one(unchanged, update)).matched_count:
            return


def _as_read(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A filter by which one sees whether anybody has written to the session since: Agno counts no revision."""
    as_read: dict[str, Any] = {name: stored.get(name) for name in ("revision", "updated_at")}
    if isinstance(runs := stored.get("runs"), list):
        # Of two writes in one second the later one has a run more.
        as_read["runs"] = {"$size": len(runs)}
    return as_read


async def list_sessions(
    connection: Connection,
    which: Mapping[str, Any],
    *,
    order: Sequence[tuple[str, int]],
    skip: int,
    limit: int,
    projection: Mapping[str, int] | None,
) -> list[dict[str, Any]]:
    """One page of the sessions that match; ``limit`` 0 is no limit. One find, by the index that fits user or component."""
    cursor = connection.collection.find(dict(which), projection=projection and dict(projection))
    cursor = cursor.sort(list(order)).skip(skip)
    if limit:
        cursor = cursor.limit(limit)
    found: list[dict[str, Any]] = await cursor.to_list(None)
    return found


async def count_sessions(connection: Connection, which: Mapping[str, Any], *, exact: bool = True) -> int:
    """How many sessions match. One command: an aggregate that walks the entries of an index.

    Not ``exact``: at most ESTIMATE_LIMIT entries are walked, and what stands for it then means that many or more; of all sessions
    (``which`` names nothing but all types) it is the collection's own count, which costs nothing.
    """
    if exact:
        return int(await connection.collection.count_documents(dict(which)))
    if which == EVERY_TYPE:
        return int(await connection.collection.estimated_document_count())
    return int(await connection.collection.count_documents(dict(which), limit=ESTIMATE_LIMIT))


async def set_fields(
    connection: Connection, which: Mapping[str, Any], fields: Mapping[str, Any], *, of_state: bool = False
) -> dict[str, Any] | None:
    """Set fields by path and return the session without its runs, None if none matches. All other fields keep their value.

    One findAndModify; one more for a session with a retention of its own, three for one that Agno wrote and no run has lifted yet.
    """
    update = {**touch(connection.now()), "$set": dict(fields)}
    update["$max"] |= retention.slid(connection)
    if of_state:
        update["$inc"]["state_revision"] = 1
    for last_try in (False, True):
        try:
            document: dict[str, Any] | None = await connection.collection.find_one_and_update(
                dict(which), update, projection={"runs": 0}, return_document=ReturnDocument.AFTER
            )
        except (pymongo.errors.WriteError, pymongo.errors.OperationFailure) as error:
            if error.code not in PATH_NOT_VIABLE or last_try:
                raise
            await lift(connection, which["session_id"])
        else:
            break
    if document is not None and (document.get("retention") is not None or "retention" in fields):
        document["expires_at"] = await retention.settle(connection, document)
    return document


async def replace_session(
    connection: Connection, document: dict[str, Any], revision: int, document_id: Any = None
) -> dict[str, Any]:
    """Insert the session, or put it in the place of the stored one if that still has ``revision``, and is the document of that ``_id`` as far as it is
    known: not one of the same name that was made since. Return what is stored.

    One findAndModify by ``session_id``; with runs, what :mod:`agno_mongo.db.archive` and :mod:`agno_mongo.db.media` say for those that
    do not fit the document, and for those that were there before; one read more to say why it was refused. Nothing is written then.
    """
    await connection.ensure_indexes()
    key = SessionKey.of(document)
    runs = document.pop("runs", None)
    before: dict[str, Any] | None = None
    if runs is not None:
        before = await connection.collection.find_one(key.filter, projection=archive.ARCHIVE_FIELDS)
        if before is None:
            # Before any run is stored beside a session that is not the caller's.
            there = await connection.collection.find_one(
                {"session_id": key.session_id}, projection={"session_type": 1, "user_id": 1}
            )
            if there is not None:
                await _refuse_or_lift(connection, key, there)
        document |= await _runs_to_store(connection, key, document, runs)
    try:
        stored = await _put_in_place(connection, key, document, revision, document_id)
    except SessionError:
        await _take_back(connection, key, document, runs)
        raise
    if before is not None:
        await archive.free(connection, {segment.archive_id for segment in archive.segments_of(before)})
    if retention_of(stored, connection.retention) is not None:
        stored["expires_at"] = await retention.settle(connection, stored)
    if runs is not None and document.get("has_media"):
        await retention.fit_media(connection, stored, key)
    return stored if runs is None else {**stored, "runs": runs}


async def _refuse_or_lift(connection: Connection, key: SessionKey, found: Mapping[str, Any]) -> bool:
    """Raise if the session is another's, or of another type; True for one that Agno wrote without a type, which it has then."""
    if found.get("user_id") == key.user_id and "session_type" not in found:
        await lift(connection, key.session_id)
        return True
    refuse_if_foreign(found, key)
    return False


def _expiring_anew(connection: Connection, document: Mapping[str, Any]) -> dict[str, Any]:
    return retention.set_anew(connection, document.get("retention"))


async def _take_back(
    connection: Connection, key: SessionKey, document: Mapping[str, Any], runs: Sequence[Mapping[str, Any]] | None
) -> None:
    """Delete what was stored for a session that was not. Of one that is there its media are left: they may be its own."""
    if runs is None:
        return
    await archive.free(connection, [document["archive_id"]])
    if await connection.collection.find_one({"session_id": key.session_id}, projection={"_id": 1}) is None:
        await media.free_runs(connection, key, [str(run.get("run_id")) for run in runs])


async def _runs_to_store(
    connection: Connection, key: SessionKey, document: Mapping[str, Any], runs: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The fields that take the runs, the older of which are in the archive by then."""
    kept_until = new_parts_until({**document, **_expiring_anew(connection, document)}, connection.retention)
    kept = [await media.stored_apart(connection, key, str(run.get("run_id")), run) for run in runs]
    has_media = any(part is not run for part, run in zip(kept, runs, strict=True))
    fields = await archive.write(connection, key.filter, kept, kept_until)
    return {**fields, "has_media": True} if has_media else fields


async def _put_in_place(
    connection: Connection, key: SessionKey, document: Mapping[str, Any], revision: int, document_id: Any
) -> dict[str, Any]:
    fixed = {*key.filter, "revision", "state_revision", "updated_at", "touched_at"}
    kept = {name: value for name, value in document.items() if name not in fixed}
    update = {**touch(connection.now()), "$set": {**kept, **_expiring_anew(connection, document)}}
    update["$inc"]["state_revision"] = 1
    if "runs" not in document:
        update["$setOnInsert"] = {"runs": [], "run_count": 0, "archived_runs": 0, "tail_bytes": 0}
    which = {**key.filter, "revision": revision or {"$exists": False}}
    if revision and document_id is not None:
        which["_id"] = document_id
    for _ in range(ATTEMPTS):
        with contextlib.suppress(pymongo.errors.DuplicateKeyError):
            # A session that was read and is gone by now was deleted, and stays so.
            stored: dict[str, Any] | None = await connection.collection.find_one_and_update(
                which, update, upsert=not revision, projection={"runs": 0}, return_document=ReturnDocument.AFTER
            )
            if stored is not None:
                return stored
        await _explain_conflict(connection, key, revision, document_id)
    raise StoreError(f"session {key.session_id!r} could not be stored: it never held still")


async def _explain_conflict(connection: Connection, key: SessionKey, revision: int, document_id: Any) -> None:
    """Raise the reason why a session was not stored, or return if nothing is in the way by now. One read."""
    found = await connection.collection.find_one(
        {"session_id": key.session_id}, projection={"session_type": 1, "user_id": 1, "revision": 1}
    )
    if found is None and not revision:
        return
    if found is not None and await _refuse_or_lift(connection, key, found):
        return
    if found is None or (revision and document_id not in {None, found["_id"]}):
        raise SessionNotFound(f"session {key.session_id!r} was deleted since it was read", session_id=key.session_id)
    raise SessionChanged(
        f"session {key.session_id!r} has changed since it was read (revision {found.get('revision')}, not {revision}); "
        "read it again and repeat the change",
        session_id=key.session_id,
    )


async def delete_sessions(connection: Connection, which: Mapping[str, Any]) -> int:
    """Delete the sessions that match, with their archive and media, and say how many they were.

    For one session a findAndModify, for several a find and a delete; then a find each for their archive and media, and two commands for
    each segment that they had. The session goes first: a run that finishes later finds nothing to write to, and a crash leaves nothing that
    can be read. What it leaves goes when the deletion is repeated, which takes three finds more for sessions that are not there.
    """
    ids = which["session_id"]["$in"]
    if len(ids) == 1:
        one = await connection.collection.find_one_and_delete({**which, "session_id": ids[0]}, projection=_OF_DELETED)
        found = [] if one is None else [one]
    else:
        found = await connection.collection.find(dict(which), projection=_OF_DELETED).to_list(None)
        await connection.collection.delete_many({**which, "_id": {"$in": [session["_id"] for session in found]}})
    if found:
        deleted = [session["session_id"] for session in found]
        shared = {segment.archive_id for session in found for segment in archive.segments_of(session)}
        # Not only what they read: a move, a rewind or a replacement may have died before it took away, or began to read, what it had written.
        await archive.free(connection, shared | await archive.segments_written_by(connection, {"session_id": {"$in": deleted}}))
        await media.free_session(connection, deleted)
    if len(found) < len(ids):
        await _clear_up(connection, which, set(ids) - {session["session_id"] for session in found})
    return len(found)


async def _clear_up(connection: Connection, which: Mapping[str, Any], session_ids: Collection[str]) -> None:
    """Remove what a deletion that died half way left of sessions that are not there. Two finds, if there is nothing."""
    there = await connection.collection.find({"session_id": {"$in": list(session_ids)}}, projection={"session_id": 1}).to_list(
        None
    )
    gone = list(set(session_ids) - {session["session_id"] for session in there})
    owned = {name: value for name, value in which.items() if name in {"user_id", "session_type"}}
    if gone:
        await archive.free(connection, await archive.segments_written_by(connection, {"session_id": {"$in": gone}, **owned}))
        await media.free_session(connection, gone, {f"metadata.{name}": value for name, value in owned.items()})


_OF_DELETED: Final = {"session_id": 1, **archive.ARCHIVE_FIELDS}
