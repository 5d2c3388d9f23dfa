"""The commands that keep ``expires_at``: of sessions, of the archive, of media. What it should be is in :mod:`agno_mongo.db.expiry`.

Whatever makes a session last longer moves its parts first; whatever shortens its life, the session. So a crash in between leaves parts
that are kept too long, never a session without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pymongo import ReturnDocument

from agno_mongo.db import archive
from agno_mongo.db.connections import Connection
from agno_mongo.db.expiry import (
    EXPIRY_FIELDS,
    SHORT,
    expiry_of_stored,
    has_parts,
    last_lease,
    margin_is_worn,
    moment,
    parts_fall_short,
    retention_of,
    with_margin,
)
from agno_mongo.db.keys import SessionKey
from agno_mongo.errors import StoreError

_FIELDS: Final = {"session_id": 1, **EXPIRY_FIELDS, **archive.ARCHIVE_FIELDS}
_ATTEMPTS: Final = 20
_ALIVE: Final = 120.0
"""Seconds for which :func:`apply` spares a session that may have runs; they say themselves that they live on."""


def slid(connection: Connection, at_least: float = 0.0) -> dict[str, datetime]:
    """For the ``$max`` of a write: the session lives on from now, by the database's retention, and ``at_least`` so many seconds."""
    if connection.retention is None:
        return {}
    return {"expires_at": moment(connection.now() + max(connection.retention, at_least))}


def set_anew(connection: Connection, own: float | None) -> dict[str, datetime]:
    """For the ``$set`` of a write that knows the session's ``own`` retention."""
    seconds = retention_of({"retention": own}, connection.retention)
    return {} if seconds is None else {"expires_at": moment(connection.now() + seconds)}


async def outlives_run(connection: Connection, key: SessionKey, session: Mapping[str, Any], lease: float) -> bool:
    """See to it that a session in which a run has begun is there until its lease is renewed; False if it has expired by now.

    No command, as a rule: the run's first has seen to it. Two for a session that expires in a database without retention and has less time
    than that, and what :func:`keep_parts` sends where the session's parts would go before it.
    """
    expires_at = session.get("expires_at")
    if expires_at is None:
        return True
    # Half of it will do: the lease is renewed long before that.
    needed = moment(connection.now() + lease / 2)
    own = moment(connection.now() + (retention_of(session, connection.retention) or 0))
    # A session with a shorter retention of its own gets the database's for as long as the run goes on.
    if parts_fall_short({**session, "expires_at": min(expires_at, max(own, needed))}):
        await keep_parts(connection, session, expires_at)
    if expires_at >= needed:
        return True
    await stay(connection, key, lease)
    return await connection.collection.find_one(key.filter, projection={"_id": 1}) is not None


async def stay(connection: Connection, key: SessionKey, lease: float) -> None:
    """Let a session that expires live for ``lease`` seconds at least, and its parts. One findAndModify by ``session_id``, as a rule."""
    soonest = moment(connection.now() + lease)
    session = await connection.collection.find_one_and_update(
        {**key.filter, "expires_at": {"$lt": soonest}},
        {"$set": {"expires_at": soonest}},
        projection=_FIELDS,
        return_document=ReturnDocument.AFTER,
    )
    if session is not None and parts_fall_short(session):
        await keep_parts(connection, session, session["expires_at"])


async def after_run(
    connection: Connection, key: SessionKey, session: Mapping[str, Any], own: float | None, *, new_media: bool = False
) -> bool:
    """Put right what a run could not know when it ended, and say whether the session's parts need a new margin.

    No command, as a rule; a find and an update if the session's retention was changed while the run went on, or is so short that other runs
    of the session might lose it; a find and what :func:`keep_parts` sends if the run has stored large content (``new_media``) in a session
    with a retention of its own.
    """
    changed = session.get("retention") != own
    seconds = retention_of(session, connection.retention)
    if changed or (seconds is not None and seconds < SHORT):
        found = await connection.collection.find_one(key.filter, projection={**_FIELDS, "active_runs": 1})
        if found is not None:
            await settle(connection, found)
    if new_media:
        await fit_media(connection, session, key)
    return margin_is_worn(session, connection.retention)


async def settle(connection: Connection, session: Mapping[str, Any]) -> datetime | None:
    """Let a stored session, read with ``active_runs``, expire as its own retention says, or the database's, and return when that is.

    One update; for a session with parts, what :func:`keep_parts` sends, if they need it. Nothing happens if the retention is changed meanwhile.
    """
    now, seconds = connection.now(), retention_of(session, connection.retention)
    before = session.get("expires_at")
    expires_at = None if seconds is None else moment(max(now + seconds, last_lease(session, now)))
    if expires_at is None or (before is not None and before <= expires_at):
        await _move_parts(connection, session, expires_at)
        await _set_expiry(connection, session, expires_at)
    else:
        await _set_expiry(connection, session, expires_at)
        await _move_parts(connection, session, expires_at)
    return expires_at


async def _set_expiry(connection: Connection, session: Mapping[str, Any], expires_at: datetime | None) -> None:
    which = {"_id": session["_id"], "session_id": session["session_id"], "retention": session.get("retention")}
    update = {"$unset": {"expires_at": ""}} if expires_at is None else {"$set": {"expires_at": expires_at}}
    await connection.collection.update_one(which, update)


async def _move_parts(connection: Connection, session: Mapping[str, Any], expires_at: datetime | None) -> None:
    seconds, kept_until = retention_of(session, connection.retention), session.get("kept_until")
    if expires_at is None or kept_until is None:
        needed = has_parts(session)
    else:
        # Not a margin longer than is needed, which is what a retention that was shortened leaves.
        worn = margin_is_worn({**session, "expires_at": expires_at}, connection.retention)
        needed = worn or (has_parts(session) and kept_until > with_margin(with_margin(expires_at, seconds), seconds))
    if needed:
        await keep_parts(connection, session, expires_at)


async def fit_media(connection: Connection, session: Mapping[str, Any], key: SessionKey) -> None:
    """Keep large content that was just stored as long as its session, if that has a retention of its own.

    Content is stored before anything is known of the session, and kept as the database's retention says until then.
    """
    if session.get("retention") not in {None, connection.retention}:
        await refresh_parts(connection, key)


async def refresh_parts(connection: Connection, key: SessionKey) -> None:
    """Give the session's parts a whole margin again. A find, and what :func:`keep_parts` sends."""
    session = await connection.collection.find_one(key.filter, projection=_FIELDS)
    if session is not None and has_parts(session):
        await keep_parts(connection, session, session.get("expires_at"))


async def keep_parts(connection: Connection, session: Mapping[str, Any], expires_at: datetime | None) -> None:
    """Let the archive and the media of a session that expires then, or never, outlast it and all sessions that share them.

    Two finds and four updates; a find more for a session whose media are shared, one more if it shares anything, and an update where
    others, or the session itself, knew of a longer time. All that again if meanwhile a session of the family was given another retention,
    or its parts another end, or runs were moved: the last to finish has seen what is stored. Raises StoreError if that never ends.
    """
    found: Mapping[str, Any] | None = session
    for attempt in range(_ATTEMPTS):
        if found is None:
            return
        if await _keep_parts(connection, found, expires_at, changing=attempt > 0):
            return
        found = await connection.collection.find_one(
            {"_id": session["_id"], "session_id": session["session_id"]}, projection=_FIELDS
        )
        later = None if found is None else _end_of(connection, found)
        expires_at = None if later is None or expires_at is None else max(later, expires_at)
    raise StoreError(f"the parts of session {session['session_id']!r} could not be kept: their end never held still")


def _end_of(connection: Connection, session: Mapping[str, Any]) -> datetime | None:
    """When the session expires for sure. Of one that has just been given no retention any more, ``expires_at`` is about to go."""
    end: datetime | None = session.get("expires_at")
    return None if retention_of(session, connection.retention) is None else end


async def _keep_parts(connection: Connection, session: Mapping[str, Any], expires_at: datetime | None, *, changing: bool) -> bool:
    """Keep the parts as :func:`keep_parts` says, once; False if the sessions are not any more what they were."""
    segments = list({segment.archive_id for segment in archive.segments_of(session)} | {archive.own_segment(session)})
    files = await connection.media_files.find(
        {"metadata.sessions": session["session_id"]}, projection={"metadata.sessions": 1}
    ).to_list(None)
    others = await _sharing(connection, session, segments, {name for file in files for name in file["metadata"]["sessions"]})
    family = [{**session, "expires_at": expires_at}, *others]
    ends = [expires_at, *(_end_of(connection, other) if changing else other.get("expires_at") for other in others)]
    margins = [with_margin(end, retention_of(one, connection.retention)) for end, one in zip(ends, family, strict=True) if end]
    until = None if None in ends else max(margins)
    # Of parts that stay for ever this session may know less, so that it looks again.
    known = margins[0] if until is None and expires_at is not None else until
    before = session.get("kept_until")
    if until is not None and (others or (before is not None and before > until)):
        # Nobody may think for a moment that they are kept for longer than they are.
        later = {"_id": {"$in": [one["_id"] for one in family]}, "kept_until": {"$gt": until}}
        await connection.collection.update_many(later, _until("kept_until", until))
        before = None if before is None else min(before, until)
    file_ids = [file["_id"] for file in files]
    await connection.archive.update_many({"archive_id": {"$in": segments}}, _until("expires_at", until))
    await connection.media_files.update_many({"_id": {"$in": file_ids}}, _until("metadata.expires_at", until))
    await connection.media_chunks.update_many({"files_id": {"$in": file_ids}}, _until("expires_at", until))
    unchanged = {name: session.get(name) for name in ("_id", "session_id", "retention", "archived_runs", "archive_id")}
    ends_before = {} if known is None else {"expires_at": {"$lte": known}}
    which = {**unchanged, "kept_until": before, **ends_before}
    done = await connection.collection.update_one(which, _until("kept_until", known))
    if not others:
        return bool(done.matched_count)
    again = await connection.collection.find({"_id": {"$in": [other["_id"] for other in others]}}, projection=_FIELDS).to_list(
        None
    )
    return bool(done.matched_count) and not _lasts_longer(others, again)


def _lasts_longer(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> bool:
    """True if one of the sessions was given another retention meanwhile, or does not expire any more."""
    lives = {one["_id"]: (one.get("retention"), one.get("expires_at") is None) for one in before}
    return any(lives[one["_id"]] != (one.get("retention"), one.get("expires_at") is None) for one in now)


async def _sharing(
    connection: Connection, session: Mapping[str, Any], segments: list[Any], session_ids: set[str]
) -> list[dict[str, Any]]:
    """The other sessions that read some of these segments or have one of these ids."""
    reads = [{name: {"$in": segments}} for name in ("_id", "archive_id", "archive_lineage.id")]
    found = await connection.collection.find({"$or": reads}, projection=_FIELDS).to_list(None)
    if missing := session_ids - {one["session_id"] for one in found} - {session["session_id"]}:
        found += await connection.collection.find({"session_id": {"$in": list(missing)}}, projection=_FIELDS).to_list(None)
    return [one for one in found if one["_id"] != session["_id"]]


def _until(field: str, until: datetime | None) -> dict[str, Any]:
    return {"$unset": {field: ""}} if until is None else {"$set": {field: until}}


async def apply(connection: Connection) -> int:
    """Let all sessions without a retention of their own expire as the database's says, and say how many changed.

    One update for the sessions, eight at most for parts and margins, and for each session with parts what :func:`keep_parts` sends. May be
    repeated, and must be if it was interrupted; until then parts may be kept too long, never too short.
    """
    await connection.ensure_indexes()
    now, seconds, no_own = connection.now(), connection.retention, {"retention": None}
    until = None if seconds is None else with_margin(moment(now + max(seconds, _ALIVE)), seconds)
    await _keep_all_parts(connection, until)
    await connection.collection.update_many(no_own, {"$unset": {"kept_until": ""}})
    if seconds is None:
        expires = {**no_own, "expires_at": {"$ne": None}}
        result = await connection.collection.update_many(expires, {"$unset": {"expires_at": ""}})
        # What was moved by somebody who did not see it yet. Parts of those that do expire get their end below.
        await _keep_all_parts(connection, None)
    else:
        expiry = {"expires_at": expiry_of_stored(seconds, now + _ALIVE)}
        result = await connection.collection.update_many(no_own, [{"$set": expiry}])
    parts = {"expires_at": {"$ne": None}, "$or": [{"archived_runs": {"$gt": 0}}, {"has_media": True}]}
    async for session in connection.collection.find(parts, projection=_FIELDS):
        await keep_parts(connection, session, session["expires_at"])
    return int(result.modified_count)


async def _keep_all_parts(connection: Connection, until: datetime | None) -> None:
    """Keep all parts until then at least."""
    of_part = ((connection.archive, "expires_at"), (connection.media_chunks, "expires_at"))
    for collection, field in (*of_part, (connection.media_files, "metadata.expires_at")):
        sooner: dict[str, Any] = {field: {"$ne": None}} if until is None else {field: {"$not": {"$gte": until}}}
        await collection.update_many(sooner, _until(field, until))


async def apply_where_missing(connection: Connection) -> None:
    """:func:`apply`, if there are sessions that should expire and do not. One find over an index if there are none."""
    never = {"expires_at": None, "retention": None}
    if await connection.collection.find_one(never, projection={"_id": 1}) is not None:
        await apply(connection)
