"""The two commands of a run. Each function's first line is its promise; then commands, index, and what a concurrent
caller sees.

All of them work on one document and are atomic by that. They carry ``session_id``, which a sharded cluster routes by, owner and type.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pymongo.errors
from pymongo import ReturnDocument

from agno_mongo.db import archive, drivers, media, retention
from agno_mongo.db import state as states
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.documents import Session
from agno_mongo.db.expiry import EXPIRY_FIELDS
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import NOBODY, PAUSED, Ahead, Claim
from agno_mongo.db.runs import wanted_runs
from agno_mongo.db.session_cache import KnownRuns
from agno_mongo.db.sessions import ATTEMPTS, lift, refuse_if_foreign, refuse_owner, touch
from agno_mongo.db.standing import finished_already, still_open
from agno_mongo.db.translation import NOT_VIABLE
from agno_mongo.db.upcasting import SCHEMA_VERSION
from agno_mongo.errors import (
    RunAlreadyFinished,
    RunIsPaused,
    SessionError,
    StoreError,
)

METRICS = "session_data.session_metrics"
OnStateConflict = Literal["ours", "raise"]


@dataclass(frozen=True, kw_only=True)
class RunBegin:
    """What ``begin_run`` needs. ``input``, ``media``, ``state`` and ``metadata`` are encoded; ``lease`` is in seconds. ``media`` are the
    input's images, sounds, videos and files, by the field that holds them.

    ``state``, ``metadata``, ``component`` and ``first_runs``, encoded runs that the session begins with, count only if the session is
    made by this run. ``runs_wanted`` is how many of
    the newest runs to load. ``reused_id`` says that ``run_id`` came from outside and may have been used before, ``has_media`` that
    ``input`` refers to content that is stored apart, ``yields`` that the run wants to know who is ahead of it. ``attempt`` tells
    calls apart that were given the same ``run_id``. ``answers`` are those that a paused run goes on with, encoded. ``known`` are the
    newest runs as the caller last saw them. ``wishes`` are what its entry says of how the run is to be stored, for whoever stores it if this
    process does not.
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
    media: Mapping[str, Any] = field(default_factory=dict)
    has_media: bool = False
    yields: bool = False
    attempt: str | None = None
    known: KnownRuns | None = None
    first_runs: Sequence[dict[str, Any]] = ()
    answers: Sequence[dict[str, Any]] | None = None
    wishes: Mapping[str, bool] = field(default_factory=dict)

    @property
    def claim(self) -> Claim:
        """The run that it is to become."""
        return Claim(key=self.key, run_id=self.run_id, attempt=self.attempt)


@dataclass(frozen=True, kw_only=True)
class RunBegun:
    """The session as ``begin_run`` found it, with its newest runs; ``state`` is encoded, as stored. ``ahead`` are the runs that were
    going on, if the run yields to them; ``entry`` is what a run that is continued has stored, encoded. ``is_guest`` says that another
    call with the same run id lives, whose entry stays as it is. ``has_media``: the run's entry refers to content that is stored apart.
    ``started_at`` (Unix seconds, by the server's clock) is what a new entry says, None where there is none or another call's stays.
    """

    session: Session
    state: dict[str, Any]
    state_revision: int | None
    ahead: Ahead = NOBODY
    entry: Mapping[str, Any] | None = None
    is_guest: bool = False
    has_media: bool = False
    started_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """What ``finish_run`` writes. ``runs`` are encoded, members before their parent; ``changes`` are to the state;
    ``counters`` are added to the session's metrics. ``attempt`` and ``continued_by``: see Claim. ``history_runs`` is how many runs a
    move to the archive should leave within reach. ``retention`` is the session's own, in seconds. With ``pause`` the run has not
    finished, and waits for a person: these fields, encoded, are put under its entry, and there are no ``runs``. ``entry_has_media``: there may be
    content that was stored apart for the run's entry, and that its record does not need.
    """

    key: SessionKey
    run_id: str
    runs: Sequence[dict[str, Any]]
    changes: Sequence[states.Change]
    counters: Mapping[str, float]
    state_revision: int | None
    attempt: str | None = None
    continued_by: str | None = None
    on_state_conflict: OnStateConflict = "ours"
    history_runs: int = 0
    retention: float | None = None
    pause: Mapping[str, Any] | None = None
    entry_has_media: bool = False

    @property
    def claim(self) -> Claim:
        """Whose run it is to finish."""
        return Claim(key=self.key, run_id=self.run_id, continued_by=self.continued_by, attempt=self.attempt)


@dataclass(frozen=True)
class RunEnded:
    """``conflicts`` are the dotted names of state keys that another run had changed meanwhile; ``tail_overflows`` says that older
    runs are to be moved to the archive, ``margin_worn`` that its archive and media are to be kept for longer. ``revision`` is the session's
    with the run, None if another attempt had stored it; ``run_count`` how many runs it has by now, 0 then. ``cancelled``: somebody wanted a run
    cancelled that has paused. ``needed`` are the files that the stored run refers to, None if nothing else can have been stored for it.
    """

    conflicts: tuple[str, ...] = field(default=())
    tail_overflows: bool = False
    margin_worn: bool = False
    revision: int | None = None
    run_count: int = 0
    cancelled: bool = False
    needed: tuple[Any, ...] | None = None


async def begin_run(connection: Connection, begin: RunBegin) -> RunBegun:
    """Record that a run has begun, with its input, and return the session; make the session if there is none.

    One findAndModify by the unique ``session_id``, durable before it returns. Repeating it with the same ``run_id`` and ``attempt`` puts
    the same entry there again, with a new lease and without checkpoints; so does another attempt once the lease has run out. While
    the lease holds, another attempt is a guest: the entry stays as it is, the guest may go on, and either finishes the run; two to
    four commands more. Of two that race to make the session both succeed, and the second finds what the first made. Large input, and large
    parts of the runs that are returned, cost what :mod:`agno_mongo.db.media` says, the input a find more; a ``run_id`` from outside, one find more in a session
    that has an archive. Raises SessionOwnedByAnotherUser, SessionTypeMismatch and RunAlreadyFinished, having changed nothing.
    """
    await connection.ensure_indexes()
    size = archive.size_of(begin.input)
    if size > media.LARGE or begin.media:
        # Nothing is stored beside a session that is somebody else's, nor beside a run that is there already.
        await _explain_refusal(connection, begin)
    stored_input = await media.stored_apart(connection, begin.key, begin.run_id, begin.input, size=size)
    stored_media = await media.stored_apart(connection, begin.key, begin.run_id, begin.media) if begin.media else begin.media
    if stored_input is not begin.input or stored_media is not begin.media:
        begin = replace(begin, input=stored_input, media=stored_media, has_media=True)
    try:
        now = connection.now()
        document, is_guest = await _upsert_begin(connection, begin, now)
        # As it was at the first time; who came since waits for this run.
        name = None if is_guest else begin.claim.name
        ahead = Ahead.of(document.get("active_runs") or {}, name, connection.now(), came_again=begin.reused_id)
        if "schema_version" not in document:
            await lift(connection, begin.key.session_id)
            document, is_guest = await _upsert_begin(connection, begin, now)
        if begin.reused_id and document.get("archived_runs"):
            await _refuse_archived(connection, begin, document)
    except SessionError as error:
        # What a finished run of this id refers to is its own, as is what a living one does; what only this one brought goes with
        # the session.
        if begin.has_media and not isinstance(error, RunAlreadyFinished):
            await media.free_runs(connection, begin.key, [begin.run_id])
        raise
    begun = await begun_of(connection, document, ahead)
    if begin.known is not None and begin.known.is_of(begun.session):
        begun.session.runs = list(begin.known.runs)
    return replace(begun, is_guest=is_guest, has_media=begin.has_media, started_at=None if is_guest else now)


async def begun_of(connection: Connection, document: dict[str, Any], ahead: Ahead = NOBODY) -> RunBegun:
    """The stored session as a run begins with it. What others have begun is not part of it. No command, or one find for large content."""
    document.pop("active_runs", None)
    if document.get("has_media"):
        document["runs"] = await media.restored(connection, document.get("runs"), session_id=str(document.get("session_id")))
    stored_state = (document.get("session_data") or {}).get("session_state")
    return RunBegun(
        session=connection.parse(document),
        state=stored_state if isinstance(stored_state, dict) else {},
        state_revision=document.get("state_revision"),
        ahead=ahead,
    )


async def _upsert_begin(connection: Connection, begin: RunBegin, now: float) -> tuple[dict[str, Any], bool]:
    """The session, and whether the run is the guest of another call."""
    which = begin.key.filter
    if begin.reused_id:
        which |= {"runs.run_id": {"$ne": begin.run_id}, **begin.claim.free_for(now)}
    projection = _wanted(connection, begin)
    update = _begin_update(begin, now)
    update["$max"] |= retention.slid(connection, begin.lease)
    for _ in range(3):
        asked = connection.clock.local()
        with contextlib.suppress(pymongo.errors.DuplicateKeyError):
            document: dict[str, Any] = await connection.collection.find_one_and_update(
                which, update, projection=projection, upsert=True, return_document=ReturnDocument.AFTER
            )
            # What the server has just written tells its clock, at no further cost.
            connection.clock.heard(document.get("touched_at"), asked)
            if await retention.outlives_run(connection, begin.key, document, begin.lease):
                return document, False
        # Either another caller made the session in the same moment, or it is not ours to use, or another call has the run.
        await _explain_refusal(connection, begin)
        if begin.reused_id and (found := await _enter_as_guest(connection, begin, projection)) is not None:
            return found, True
    raise StoreError(f"session {begin.key.session_id!r} could neither be made nor found")


def _wanted(connection: Connection, begin: RunBegin) -> dict[str, Any]:
    # mongomock computes nothing in a projection.
    if begin.known is not None and not drivers.is_mock(connection.client):
        return begin.known.projection(begin.runs_wanted, with_active_runs=begin.yields)
    projection = wanted_runs(begin.runs_wanted)
    if not begin.yields:
        # What others have begun is not this run's business then, and may be large.
        projection["active_runs"] = 0
    return projection


async def _enter_as_guest(connection: Connection, begin: RunBegin, projection: Mapping[str, Any]) -> dict[str, Any] | None:
    """The session, if another call has a run of this id there and lives. One findAndModify; the entry stays as it is."""
    now, entry = connection.now(), begin.claim.entry
    which = {
        **begin.key.filter,
        "runs.run_id": {"$ne": begin.run_id},
        f"{entry}.lease_until": {"$gt": now},
        f"{entry}.attempt": {"$ne": begin.attempt},
    }
    update = touch(now)
    update["$max"] |= retention.slid(connection, begin.lease)
    found: dict[str, Any] | None = await connection.collection.find_one_and_update(
        which, update, projection=projection, return_document=ReturnDocument.AFTER
    )
    return found if found is not None and await retention.outlives_run(connection, begin.key, found, begin.lease) else None


def _begin_update(begin: RunBegin, now: float) -> dict[str, Any]:
    key = begin.key
    created: dict[str, Any] = {kind.id_field: None for kind in SessionType}
    created[key.session_type.id_field] = begin.component_id
    created[key.session_type.data_field] = begin.component
    created |= {
        "session_data": {"session_state": begin.state},
        "metadata": begin.metadata,
        "runs": list(begin.first_runs),
        "summary": None,
        "created_at": int(now),
        "run_count": len(begin.first_runs),
        "archived_runs": 0,
        "tail_bytes": sum(map(archive.size_of, begin.first_runs)),
        "schema_version": SCHEMA_VERSION,
    }
    active = {"input": begin.input, **begin.media, "started_at": now, "lease_until": now + begin.lease, **begin.wishes}
    if begin.attempt is not None:
        active["attempt"] = begin.attempt
    return {
        "$setOnInsert": created,
        "$set": {begin.claim.entry: active, **_media_flag(begin.has_media)},
        **touch(now),
    }


def _media_flag(has_media: bool) -> dict[str, Any]:
    """Whoever reads the session looks for references only if it says that there are some."""
    return {"has_media": True} if has_media else {}


async def _refuse_archived(connection: Connection, begin: RunBegin, document: dict[str, Any]) -> None:
    """Raise RunAlreadyFinished if a run of this id is in the archive, and take back that it has begun."""
    if await archive.find(connection, document, begin.run_id) is None:
        return
    await connection.collection.update_one(begin.claim.held, {"$unset": {begin.claim.entry: ""}})
    raise finished_already(begin.key, begin.run_id)


async def _explain_refusal(connection: Connection, begin: RunBegin) -> None:
    """Raise the reason why the session did not match, or return if by now it does. One read."""
    found = await connection.collection.find_one(
        {"session_id": begin.key.session_id}, projection={"session_type": 1, "user_id": 1, "_id": 0}
    )
    if found is None:
        return
    if found.get("user_id") != begin.key.user_id:
        # Before it is lifted: nobody else's call changes a session.
        refuse_owner(begin.key.session_id, begin.key.user_id)
    if "session_type" not in found:
        await lift(connection, begin.key.session_id)
        return
    refuse_if_foreign(found, begin.key)
    if begin.reused_id:
        stored = {"session_id": begin.key.session_id, "runs.run_id": begin.run_id}
        if await connection.collection.find_one(stored, projection={"_id": 1}):
            raise finished_already(begin.key, begin.run_id)
        waits = {"session_id": begin.key.session_id, f"{begin.claim.entry}.status": PAUSED}
        if await connection.collection.find_one(waits, projection={"_id": 1}):
            raise RunIsPaused(
                f"session {begin.key.session_id!r} has a run {begin.run_id!r} that waits for a person; continue_run() goes on with it, "
                "and a new run needs a new run_id",
                session_id=begin.key.session_id,
                run_id=begin.run_id,
            )


async def finish_run(connection: Connection, end: RunEnd) -> RunEnded:
    """Store the run and its member runs, and its changes to state and metrics, all or nothing.

    One findAndModify by the unique ``session_id``, and what :mod:`agno_mongo.db.media` says for large content. Repeating it changes
    nothing. Changes that other runs made meanwhile are kept; only where another run changed the same key there are two more
    commands, and ``on_state_conflict`` decides whose value stays: with ``"ours"`` this run's, with ``"raise"`` the other's. What
    was only added to a key is added to whatever others made of it, and conflicts only where that is no number, or no list. Metrics that
    are stored as something else than numbers begin anew, for two more commands, and never keep a run from being stored. Raises
    SessionNotFound if the session was deleted meanwhile; nothing of the run is left then. A run that pauses is put under its entry instead,
    which keeps its place in ``active_runs`` and has no lease any more.
    """
    end, size, has_media = await _stored_apart(connection, end)
    changes, state_revision = list(end.changes), end.state_revision
    conflicts: dict[str, None] = {}
    for attempt in range(ATTEMPTS):
        # The run itself must not depend on winning a race: the last attempt takes the state as it then is.
        guard = states.guard_of(changes, state_revision) if attempt < ATTEMPTS - 1 else {}
        done = await _try_finish(connection, end, _finish_update(end, changes, size, has_media, connection.now()), guard)
        if done is not None:
            worn = await retention.after_run(connection, end.key, done, end.retention, new_media=has_media)
            entry = (done.get("active_runs") or {}).get(end.claim.name) or {}
            counts = done.get("revision"), done.get("run_count", 0)
            needed = media.files_in(end.runs) if end.entry_has_media and end.pause is None else None
            return RunEnded(tuple(conflicts), _overflows(done, end.history_runs), worn, *counts, "cancelled" in entry, needed)
        stored = await still_open(connection, end.claim, end.runs)
        if stored is None:
            break
        theirs = (stored.get("session_data") or {}).get("session_state") or {}
        state_revision = stored.get("state_revision")
        # Always from what this run loaded: a change that was laid on an earlier state no longer says what it was at first.
        keep: Literal["ours", "theirs"] = "theirs" if end.on_state_conflict == "raise" else "ours"
        changes, clashing = states.rebase(end.changes, theirs, keep)
        conflicts = dict.fromkeys(change.name for change in clashing)
        # Writers of the same key that retry in step would stay in step.
        await asyncio.sleep(random.uniform(0, 0.002 * min(attempt, 20)))  # noqa: S311
    else:
        raise StoreError(f"run {end.run_id!r} could not be stored: the state of session {end.key.session_id!r} never held still")
    return RunEnded(tuple(conflicts))


async def _stored_apart(connection: Connection, end: RunEnd) -> tuple[RunEnd, int, bool]:
    """The same with the large parts of its runs stored apart, the bytes that are left, and whether there are such parts."""
    runs: list[dict[str, Any]] = []
    size, has_media = 0, False
    for run in end.runs:
        whole = archive.size_of(run)
        # Each under its own id: one may be kept when the other goes.
        kept = await media.stored_apart(connection, end.key, str(run.get("run_id") or end.run_id), run, size=whole)
        runs.append(kept)
        has_media = has_media or kept is not run
        size += whole if kept is run else archive.size_of(kept)
    if end.pause is None:
        return replace(end, runs=runs) if has_media else end, size, has_media
    pause = await media.stored_apart(connection, end.key, end.run_id, dict(end.pause))
    return replace(end, runs=runs, pause=pause), size, bool(media.references_in(pause))


def _overflows(done: Mapping[str, Any], history_runs: int) -> bool:
    runs = done.get("run_count", 0) - (done.get("archived_runs") or 0)
    return archive.overflows(runs=runs, size=done.get("tail_bytes") or 0, history_runs=history_runs)


def _finish_update(end: RunEnd, changes: Sequence[states.Change], size: int, has_media: bool, now: float) -> dict[str, Any]:
    of_state = states.update_of(changes)
    to_set = of_state["$set"] | _media_flag(has_media)
    update = touch(now)
    update["$inc"] |= {"run_count": len(end.runs), "tail_bytes": size}
    update["$inc"] |= {f"{METRICS}.{name}": amount for name, amount in end.counters.items() if amount}
    if changes:
        update["$inc"] |= {"state_revision": 1, **of_state["$inc"]}
    if end.pause is None:
        update["$push"] = {"runs": {"$each": list(end.runs)}, **of_state["$push"]}
        update["$unset"] = {end.claim.entry: "", **of_state["$unset"]}
    else:
        entry, waits = end.claim.entry, {**end.pause, "status": PAUSED, "lease_until": 0.0}
        to_set |= {f"{entry}.{name}": value for name, value in waits.items()}
        update["$unset"] = {f"{entry}.answers": "", f"{entry}.state_changes": "", **of_state["$unset"]}
        if of_state["$push"]:
            update["$push"] = of_state["$push"]
    if to_set:
        update["$set"] = to_set
    return update


async def _try_finish(
    connection: Connection, end: RunEnd, update: Mapping[str, Any], guard: Mapping[str, Any]
) -> dict[str, Any] | None:
    which = {**end.claim.filter, **guard}
    if end.pause is not None:
        # A second time changes nothing.
        which[f"{end.claim.entry}.status"] = {"$ne": PAUSED}
    if expiry := retention.set_anew(connection, end.retention):
        update = {**update, "$set": {**update.get("$set", {}), **expiry}}
    refused: dict[str, Any] = {}
    for _ in range(2):
        try:
            anew = _beginning_anew(update, refused) if refused else update
            return await _send_finish(connection, which | refused, anew, end)
        except (pymongo.errors.WriteError, pymongo.errors.OperationFailure) as error:
            if error.code not in NOT_VIABLE:
                raise
            refused = refused or await _refused_counters(connection, end)
            if not refused and not end.changes:
                raise
        if not refused:
            break
    # Another run put something else where this run's keys lead through, or where it adds.
    return None


async def _send_finish(
    connection: Connection, which: Mapping[str, Any], update: Mapping[str, Any], end: RunEnd
) -> dict[str, Any] | None:
    counts = {"run_count": 1, "revision": 1, "tail_bytes": 1, "_id": 0, **EXPIRY_FIELDS}
    if end.pause is not None:
        counts[f"{end.claim.entry}.cancelled"] = 1
    done: dict[str, Any] | None = await connection.collection.find_one_and_update(
        which, update, projection=counts, return_document=ReturnDocument.AFTER
    )
    return done


async def _refused_counters(connection: Connection, end: RunEnd) -> dict[str, Any]:
    """A filter that names those of the run's counters that no number can be added to, as they are stored. One find."""
    stored = await connection.collection.find_one(end.key.filter, projection={METRICS: 1})
    metrics = ((stored or {}).get("session_data") or {}).get("session_metrics", {})
    if not isinstance(metrics, dict):
        return {METRICS: {"$eq": metrics}}
    counted = {name: metrics.get(name, 0) for name in end.counters}
    return {f"{METRICS}.{name}": {"$eq": value} for name, value in counted.items() if not states.is_number(value)}


def _beginning_anew(update: Mapping[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """The update with the refused counters set instead of added to."""
    added = {name: amount for name, amount in update["$inc"].items() if name not in refused}
    counted = {name: update["$inc"].get(name, 0) for name in refused}
    if METRICS in refused:
        counted = {
            METRICS: {name.removeprefix(f"{METRICS}."): added.pop(name) for name in list(added) if name.startswith(METRICS)}
        }
    return {**update, "$inc": added, "$set": {**update.get("$set", {}), **counted}}
