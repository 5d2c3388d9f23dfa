"""The commands of a run, two as a rule. Each function's first line is its promise; then commands, index, and what a concurrent
caller sees.

All of them work on one document and are atomic by that. They carry ``session_id``, which a sharded cluster routes by, owner and type.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any, Literal

import pymongo.errors
from pymongo import ReturnDocument

from agno_mongo.db import state as states
from agno_mongo.db import values
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.documents import Session
from agno_mongo.db.sessions import ATTEMPTS, SessionKey, lift, refuse_if_foreign, touch
from agno_mongo.db.translation import PATH_NOT_VIABLE
from agno_mongo.db.upcasting import SCHEMA_VERSION
from agno_mongo.errors import (
    RunAlreadyFinished,
    SessionNotFound,
    StoreError,
)

METRICS = "session_data.session_metrics"
OnStateConflict = Literal["ours", "raise"]


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
        await lift(connection, begin.key.session_id)
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
        **touch(now),
    }


async def _explain_refusal(connection: Connection, begin: RunBegin) -> None:
    """Raise the reason why the session did not match, or return if by now it does. One read."""
    found = await connection.collection.find_one(
        {"session_id": begin.key.session_id}, projection={"session_type": 1, "user_id": 1, "_id": 0}
    )
    if found is None:
        return
    if "session_type" not in found:
        await lift(connection, begin.key.session_id)
        return
    refuse_if_foreign(found, begin.key)
    if begin.reused_id:
        stored = {"session_id": begin.key.session_id, "runs.run_id": begin.run_id}
        if await connection.collection.find_one(stored, projection={"_id": 1}):
            raise _finished_already(begin.key, begin.run_id)


async def finish_run(connection: Connection, end: RunEnd) -> RunEnded:
    """Store the run and its member runs, and its changes to state and metrics, all or nothing.

    One findAndModify by the unique ``session_id``. Repeating it changes nothing. Changes that other runs made meanwhile are kept; only
    where another run changed the same key there are two more commands, and ``on_state_conflict`` decides whose value stays:
    with ``"ours"`` this run's, with ``"raise"`` the other's. Raises SessionNotFound if the session was deleted meanwhile.
    """
    changes, state_revision = list(end.changes), end.state_revision
    conflicts: dict[str, None] = {}
    for attempt in range(ATTEMPTS):
        # The run itself must not depend on winning a race: the last attempt takes the state as it then is.
        guard = states.guard_of(changes, state_revision) if attempt < ATTEMPTS - 1 else {}
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
    update = touch(time())
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
        end.key.filter, projection={states.STATE: 1, "state_revision": 1, f"active_runs.{active}.started_at": 1}
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
