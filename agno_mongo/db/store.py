"""Every command that touches a session. Each method's first line is its promise; then commands, index, and what a concurrent
caller sees.

All of them work on one document and are atomic by that. Those that write carry ``session_id``, which a sharded cluster routes by.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from time import time
from typing import Any, Literal, NoReturn

import pymongo.errors
from pymongo import DESCENDING, ReturnDocument

from agno_mongo.db import state as states
from agno_mongo.db import values
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.documents import Session
from agno_mongo.db.translation import PATH_NOT_VIABLE
from agno_mongo.db.upcasting import SCHEMA_VERSION, upcast
from agno_mongo.errors import (
    RunAlreadyFinished,
    SessionChanged,
    SessionNotFound,
    SessionOwnedByAnotherUser,
    SessionTypeMismatch,
    StoreError,
)

STATE = states.STATE
METRICS = "session_data.session_metrics"
EVERYTHING = {"_never": 0}
"""A projection that leaves nothing out, beside which a ``$slice`` means the same to mongod and to mongomock."""

_ATTEMPTS = 100
"""How often a run's changes are laid on newer ones. Fifty writers of one key need a handful."""

OnStateConflict = Literal["ours", "raise"]


@dataclass(frozen=True, kw_only=True)
class SessionKey:
    """Which session a command means, and on whose behalf. A session without an owner has ``user_id`` None."""

    session_id: str
    session_type: SessionType
    user_id: str | None

    @property
    def filter(self) -> dict[str, Any]:
        """Matches the session only if it has this type and this owner."""
        return {
            "session_id": self.session_id,
            "session_type": self.session_type.value,
            "user_id": self.user_id,
        }


@dataclass(frozen=True, kw_only=True)
class RunBegin:
    """What ``begin_run`` needs. ``input``, ``state`` and ``metadata`` are encoded; ``lease`` is in seconds.

    ``state``, ``metadata`` and ``component`` count only if the session is made by this run. ``runs_wanted`` is how many of
    the newest runs to load. ``reused_id`` says that ``run_id`` came from outside and may have been used before.
    """

    key: SessionKey
    run_id: str
    input: Any
    state: dict[str, Any]
    metadata: dict[str, Any] | None
    component_id: str | None
    component: dict[str, Any]
    runs_wanted: int
    lease: float
    reused_id: bool


@dataclass(frozen=True, kw_only=True)
class RunBegun:
    """The session as ``begin_run`` found it, with its newest runs; ``state`` is encoded, as stored."""

    session: Session
    state: dict[str, Any]
    state_revision: int | None


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """What ``finish_run`` writes. ``runs`` are encoded, members before their parent; ``changes`` are to the state;
    ``counters`` are added to the session's metrics. ``attempt`` tells two calls apart that were given the same run id.
    """

    key: SessionKey
    run_id: str
    runs: Sequence[dict[str, Any]]
    changes: Sequence[states.Change]
    counters: Mapping[str, float]
    state_revision: int | None
    attempt: str | None = None
    on_state_conflict: OnStateConflict = "ours"


@dataclass(frozen=True)
class RunEnded:
    """``conflicts`` are the dotted names of state keys that another run had changed meanwhile."""

    conflicts: tuple[str, ...] = field(default=())


async def begin_run(connection: Connection, begin: RunBegin) -> RunBegun:
    """Record that a run has begun, with its input, and return the session; make the session if there is none.

    One findAndModify by the unique ``session_id``, durable before it returns. Repeating it with the same ``run_id`` changes nothing
    but the lease. Of two that race to make the session both succeed, and the second finds what the first made.
    Raises SessionOwnedByAnotherUser, SessionTypeMismatch and RunAlreadyFinished, having changed nothing.
    """
    await connection.ensure_indexes()
    document = await _upsert_begin(connection, begin)
    if "schema_version" not in document:
        await _lift(connection, begin.key.session_id)
        document = await _upsert_begin(connection, begin)
    stored_state = (document.get("session_data") or {}).get("session_state")
    return RunBegun(
        session=connection.parse(document),
        state=stored_state if isinstance(stored_state, dict) else {},
        state_revision=document.get("state_revision"),
    )


async def _upsert_begin(connection: Connection, begin: RunBegin) -> dict[str, Any]:
    which = begin.key.filter
    if begin.reused_id:
        which["runs.run_id"] = {"$ne": begin.run_id}
    # What others have begun is not this run's business, and may be large.
    projection = {"runs": {"$slice": -begin.runs_wanted} if begin.runs_wanted else 0, "active_runs": 0}
    update = _begin_update(begin)
    for _ in range(3):
        with contextlib.suppress(pymongo.errors.DuplicateKeyError):
            document: dict[str, Any] = await connection.collection.find_one_and_update(
                which, update, projection=projection, upsert=True, return_document=ReturnDocument.AFTER
            )
            return document
        # Either another caller made the session in the same moment, or it is not ours to use.
        await _explain_refusal(connection, begin)
    raise StoreError(f"session {begin.key.session_id!r} could neither be made nor found")


def _begin_update(begin: RunBegin) -> dict[str, Any]:
    now = time()
    key = begin.key
    created: dict[str, Any] = {kind.id_field: None for kind in SessionType}
    created[key.session_type.id_field] = begin.component_id
    created[key.session_type.data_field] = begin.component
    created |= {
        "session_data": {"session_state": begin.state},
        "metadata": begin.metadata,
        "runs": [],
        "summary": None,
        "created_at": int(now),
        "run_count": 0,
        "archived_runs": 0,
        "schema_version": SCHEMA_VERSION,
    }
    active = {"input": begin.input, "started_at": now, "lease_until": now + begin.lease}
    return {
        "$setOnInsert": created,
        "$set": {f"active_runs.{values.encode_key(begin.run_id)}": active},
        **_touch(now),
    }


def _touch(now: float) -> dict[str, Any]:
    """The part of every write that says when it was and that it was. ``touched_at`` orders within a second."""
    moment = datetime.fromtimestamp(now, timezone.utc).replace(tzinfo=None)
    return {"$max": {"updated_at": int(now), "touched_at": moment}, "$inc": {"revision": 1}}


async def _explain_refusal(connection: Connection, begin: RunBegin) -> None:
    """Raise the reason why the session did not match, or return if by now it does. One read."""
    found = await connection.collection.find_one(
        {"session_id": begin.key.session_id}, projection={"session_type": 1, "user_id": 1, "_id": 0}
    )
    if found is None:
        return
    if "session_type" not in found:
        await _lift(connection, begin.key.session_id)
        return
    refuse_if_foreign(found, begin.key)
    if begin.reused_id:
        stored = {"session_id": begin.key.session_id, "runs.run_id": begin.run_id}
        if await connection.collection.find_one(stored, projection={"_id": 1}):
            raise _finished_already(begin.key, begin.run_id)


def refuse_if_foreign(document: Mapping[str, Any], key: SessionKey) -> None:
    """Raise if the document has another owner or another type than the key asks for."""
    if document.get("user_id") != key.user_id:
        refuse_owner(key.session_id, key.user_id)
    refuse_type(key.session_id, key.session_type.value, document.get("session_type"))


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


async def _lift(connection: Connection, session_id: str) -> None:
    """Bring a session that Agno wrote to today's shape, which updates by path need. Two commands, once in a session's life.

    Fields that the lift does not concern are left alone, and so are changes that somebody makes meanwhile.
    """
    for _ in range(_ATTEMPTS):
        stored = await connection.collection.find_one({"session_id": session_id, "schema_version": {"$exists": False}})
        if stored is None:
            return
        lifted = upcast(stored)
        changed = {name: value for name, value in lifted.items() if name not in stored or value != stored[name]}
        unchanged = {"_id": stored["_id"], "schema_version": {"$exists": False}, "revision": stored.get("revision")}
        update: dict[str, Any] = {"$set": changed}
        if gone := stored.keys() - lifted.keys():
            update["$unset"] = dict.fromkeys(gone, "")
        if (await connection.collection.update_one(unchanged, update)).matched_count:
            return


async def finish_run(connection: Connection, end: RunEnd) -> RunEnded:
    """Store the run and its member runs, and its changes to state and metrics, all or nothing.

    One findAndModify by the unique ``session_id``. Repeating it changes nothing. Changes that other runs made meanwhile are kept; only
    where another run changed the same key there are two more commands, and ``on_state_conflict`` decides whose value stays:
    with ``"ours"`` this run's, with ``"raise"`` the other's. Raises SessionNotFound if the session was deleted meanwhile.
    """
    changes, state_revision = list(end.changes), end.state_revision
    conflicts: dict[str, None] = {}
    for attempt in range(_ATTEMPTS):
        # The run itself must not depend on winning a race: the last attempt takes the state as it then is.
        guard = states.guard_of(changes, state_revision) if attempt < _ATTEMPTS - 1 else {}
        if await _try_finish(connection, end, changes, guard):
            break
        stored = await _still_open(connection, end)
        if stored is None:
            break
        theirs = (stored.get("session_data") or {}).get("session_state") or {}
        state_revision = stored.get("state_revision")
        rebased, clashing = states.rebase(changes, theirs)
        if clashing and end.on_state_conflict == "raise":
            kept = [change for change in changes if change not in clashing]
            rebased, _ = states.rebase(kept, theirs)
        changes = rebased
        conflicts |= dict.fromkeys(change.name for change in clashing)
        # Writers of the same key that retry in step would stay in step.
        await asyncio.sleep(random.uniform(0, 0.002 * min(attempt, 20)))  # noqa: S311
    return RunEnded(tuple(conflicts))


async def _try_finish(connection: Connection, end: RunEnd, changes: Sequence[states.Change], guard: Mapping[str, Any]) -> bool:
    active = f"active_runs.{values.encode_key(end.run_id)}"
    which = {**end.key.filter, active: {"$exists": True}, **guard}
    to_set, to_unset = states.update_of(changes)
    update = _touch(time())
    update["$inc"] |= {"run_count": len(end.runs)}
    update["$inc"] |= {f"{METRICS}.{name}": amount for name, amount in end.counters.items() if amount}
    if changes:
        update["$inc"]["state_revision"] = 1
    update["$push"] = {"runs": {"$each": list(end.runs)}}
    update["$unset"] = {active: "", **to_unset}
    if to_set:
        update["$set"] = to_set
    try:
        done = await connection.collection.find_one_and_update(which, update, projection={"revision": 1})
    except (pymongo.errors.WriteError, pymongo.errors.OperationFailure) as error:
        if error.code not in PATH_NOT_VIABLE or not changes:
            raise
        # Another run put something else where this run's keys lead through.
        return False
    return done is not None


async def _still_open(connection: Connection, end: RunEnd) -> dict[str, Any] | None:
    """The state as it is stored by now; None if this run is stored already. One read, two at most."""
    active = values.encode_key(end.run_id)
    stored: dict[str, Any] | None = await connection.collection.find_one(
        end.key.filter, projection={STATE: 1, "state_revision": 1, f"active_runs.{active}.started_at": 1}
    )
    if stored is not None and active in (stored.get("active_runs") or {}):
        return stored
    if stored is not None:
        finished = {**end.key.filter, "runs.run_id": end.run_id}
        found = await connection.collection.find_one(finished, projection={"runs": {"$elemMatch": {"run_id": end.run_id}}})
        if found is not None:
            if found["runs"][0].get("attempt") != end.attempt:
                raise _finished_already(end.key, end.run_id)
            return None
    raise SessionNotFound(
        f"session {end.key.session_id!r} was deleted while run {end.run_id!r} went on; the run was not stored",
        session_id=end.key.session_id,
    )


def _finished_already(key: SessionKey, run_id: str) -> RunAlreadyFinished:
    return RunAlreadyFinished(
        f"session {key.session_id!r} already has a finished run {run_id!r}; "
        "get_run_output() reads it, and a new run needs a new run_id",
        session_id=key.session_id,
        run_id=run_id,
    )


async def renew_lease(connection: Connection, key: SessionKey, run_id: str, lease: float) -> bool:
    """Say that a long run is still alive; False if it is not open any more. One update by ``session_id``."""
    active = f"active_runs.{values.encode_key(run_id)}"
    result = await connection.collection.update_one(
        {**key.filter, active: {"$exists": True}}, {"$set": {f"{active}.lease_until": time() + lease}}
    )
    return bool(result.matched_count)


async def read_session(connection: Connection, session_id: str, *, runs_limit: int | None = None) -> dict[str, Any] | None:
    """The stored session with all its runs, or its newest ``runs_limit``; None if there is none. One find."""
    projection: dict[str, Any] | None = None
    if runs_limit is not None:
        projection = {"runs": {"$slice": -runs_limit}, **EVERYTHING} if runs_limit else {"runs": 0}
    document: dict[str, Any] | None = await connection.collection.find_one({"session_id": session_id}, projection=projection)
    return document


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


async def count_sessions(connection: Connection, which: Mapping[str, Any]) -> int:
    """How many sessions match. One aggregate over an index."""
    return int(await connection.collection.count_documents(dict(which)))


async def set_fields(
    connection: Connection, which: Mapping[str, Any], fields: Mapping[str, Any], *, of_state: bool = False
) -> dict[str, Any] | None:
    """Set fields by path and return the session without its runs, None if none matches. All other fields keep their value.

    One findAndModify; three commands more for a session that Agno wrote and no run has lifted yet.
    """
    update = {**_touch(time()), "$set": dict(fields)}
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
            await _lift(connection, which["session_id"])
        else:
            break
    return document


async def replace_session(connection: Connection, document: dict[str, Any], revision: int) -> dict[str, Any]:
    """Insert the session, or put it in the place of the stored one if that still has ``revision``; return what is stored.

    One findAndModify by ``session_id``; one read more to say why it was refused. Nothing is written then.
    """
    await connection.ensure_indexes()
    key = SessionKey(
        session_id=document["session_id"],
        session_type=SessionType(document["session_type"]),
        user_id=document.get("user_id"),
    )
    fixed = {*key.filter, "revision", "state_revision", "updated_at", "touched_at"}
    update = {**_touch(time()), "$set": {name: value for name, value in document.items() if name not in fixed}}
    update["$inc"]["state_revision"] = 1
    if "runs" not in document:
        update["$setOnInsert"] = {"runs": [], "run_count": 0}
    which = {**key.filter, "revision": revision or {"$exists": False}}
    stored: dict[str, Any] | None = None
    with contextlib.suppress(pymongo.errors.DuplicateKeyError):
        # A session that was read and is gone by now was deleted, and stays so.
        stored = await connection.collection.find_one_and_update(
            which, update, upsert=not revision, return_document=ReturnDocument.AFTER
        )
    if stored is None:
        await _explain_conflict(connection, key, revision)
    return stored


async def _explain_conflict(connection: Connection, key: SessionKey, revision: int) -> NoReturn:
    found = await connection.collection.find_one({"session_id": key.session_id}, projection={"runs": 0})
    if found is None:
        raise SessionNotFound(f"session {key.session_id!r} was deleted since it was read", session_id=key.session_id)
    refuse_if_foreign(found, key)
    raise SessionChanged(
        f"session {key.session_id!r} has changed since it was read (revision {found.get('revision')}, not {revision}); "
        "read it again and repeat the change",
        session_id=key.session_id,
    )


async def delete_sessions(connection: Connection, which: Mapping[str, Any]) -> int:
    """Delete the sessions that match and say how many. One delete; a run that finishes later finds nothing to write to."""
    ids = which["session_id"]["$in"]
    if len(ids) == 1:
        # Unlike delete_many, the driver repeats it after a failover.
        return int((await connection.collection.delete_one({**which, "session_id": ids[0]})).deleted_count)
    return int((await connection.collection.delete_many(dict(which))).deleted_count)


NEWEST_FIRST = (("updated_at", DESCENDING), ("touched_at", DESCENDING))
