"""The commands of a run while it is open, between ``begin_run`` and ``finish_run``. A short run by itself sends none of them.

Each works on one document, is atomic by that, and carries ``session_id``, owner and type. What changes a run's entry also carries who holds
the run, so that a process that was thought dead cannot touch a run that another has taken over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pymongo import ReturnDocument

from agno_mongo.db import media, retention, retired
from agno_mongo.db.archive import size_of
from agno_mongo.db.checkpoints import Checkpoint
from agno_mongo.db.connections import Connection
from agno_mongo.db.leases import NOBODY, PAUSED, Ahead, Claim, moment_of
from agno_mongo.db.runs import wanted_runs
from agno_mongo.db.sessions import ATTEMPTS, refuse_if_anothers, refuse_if_foreign, touch
from agno_mongo.db.standing import finished_already, finished_run, still_open
from agno_mongo.db.store import RunBegin, RunBegun, begin_run, begun_of
from agno_mongo.errors import (
    ConfigurationError,
    RunAlreadyFinished,
    RunIsPaused,
    RunNotFound,
    SessionBusy,
    SessionError,
    SessionNotFound,
    StoreError,
)
from agno_mongo.run import RunStatus
from agno_mongo.run.requirement import key_of_call


@dataclass(frozen=True)
class Renewed:
    """What came of a renewal: true if the run is open and ours. ``cancelled``: somebody wants it to stop. ``expires_at`` is when
    the session expires. ``has_media``: a checkpoint that was stored with it refers to content that is stored apart.
    """

    alive: bool
    cancelled: bool = False
    expires_at: datetime | None = None
    has_media: bool = False

    def __bool__(self) -> bool:
        return self.alive


async def renew_lease(connection: Connection, claim: Claim, lease: float) -> Renewed:
    """Say that a long run is still alive, and hear whether it is to stop. One findAndModify by ``session_id``.

    Where another call with the same run id has the entry, it becomes ours once that one's lease has run out.
    """
    now = connection.now()
    to_set = {"lease_until": now + lease} | ({} if claim.attempt is None else {"attempt": claim.attempt})
    update = {"$set": {f"{claim.entry}.{name}": value for name, value in to_set.items()}}
    return _renewed(claim, await _update_entry(connection, claim, claim.to_renew(now), update))


async def _update_entry(
    connection: Connection, claim: Claim, which: Mapping[str, Any], update: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Whether somebody wants the run to stop, and when the session expires; None if it did not match."""
    found: dict[str, Any] | None = await connection.collection.find_one_and_update(
        which, update, projection={f"{claim.entry}.cancelled": 1, "expires_at": 1}, return_document=ReturnDocument.AFTER
    )
    return found


def _renewed(claim: Claim, found: Mapping[str, Any] | None) -> Renewed:
    if found is None:
        return Renewed(alive=False)
    entry = (found.get("active_runs") or {}).get(claim.name) or {}
    return Renewed(alive=True, cancelled="cancelled" in entry, expires_at=found.get("expires_at"))


async def still_ahead(connection: Connection, claim: Claim, ahead: Ahead) -> Ahead:
    """Those of ``ahead`` who are still there and alive; nobody if the session is gone. One find, of these entries' leases only."""
    found = await connection.collection.find_one(claim.key.filter, projection=ahead.projection)
    return ahead.still((found or {}).get("active_runs") or {}, connection.now())


async def read_again(connection: Connection, begin: RunBegin, claim: Claim) -> RunBegun:
    """The session as it is once those ahead have finished. One find. Raises SessionNotFound if it was deleted meanwhile, and if the run showed no
    life while it waited RunTakenOver or RunAlreadyFinished: another process went on with it, or stored it as cancelled.

    A call that waited as a guest begins anew, which costs another find and what :func:`begin_run` does; RunAlreadyFinished if the call
    before it has finished the run.
    """
    projection = {**wanted_runs(begin.runs_wanted), "active_runs": 0}
    document = await connection.collection.find_one(claim.held, projection=projection)
    if document is not None:
        return await begun_of(connection, document)
    may_begin_anew = begin.reused_id and claim.continued_by is None
    if may_begin_anew and await connection.collection.find_one(claim.key.filter, projection={"_id": 1}) is not None:
        return await begin_run(connection, begin)
    await still_open(connection, claim)
    raise finished_already(begin.key, begin.run_id)


async def checkpoint(connection: Connection, point: Checkpoint) -> Renewed:
    """Put what the run has so far under its entry, and renew its lease. One findAndModify by ``session_id``, of what is new since the last one.

    Nobody else sees anything of it but the run's progress. Large content costs what :mod:`agno_mongo.db.media` says. Raises
    SessionNotFound if the session was deleted, RunAlreadyFinished or RunTakenOver if the run is not this process's any more, and
    StoreError while another call with the same run id has the entry.
    """
    point = await _stored_apart(connection, point)
    found = await _update_entry(connection, point.claim, point.claim.held, point.update(connection.now()))
    if found is None and await still_open(connection, point.claim) is not None:
        raise StoreError(f"another call has run {point.claim.run_id!r} of session {point.claim.key.session_id!r}")
    return replace(_renewed(point.claim, found), has_media=point.has_media)


async def _stored_apart(connection: Connection, point: Checkpoint) -> Checkpoint:
    """The same with references in the place of large content."""
    lists = (*point.lists.values(), point.changes, point.input)
    kept: list[list[Any]] = [[] for _ in lists]
    for parts, whole in zip(kept, lists, strict=True):
        for part in whole:
            parts.append(await media.stored_apart(connection, point.claim.key, point.claim.run_id, part))
    *added, changes, changed_input = kept
    has_media = any(
        part is not before for parts, whole in zip(kept, lists, strict=True) for part, before in zip(parts, whole, strict=True)
    )
    named = dict(zip(point.lists, added, strict=True))
    return replace(point, lists=named, changes=changes, input=changed_input, has_media=has_media)


async def leave(connection: Connection, claim: Claim, *, paused: bool = False) -> None:
    """Take back that a run has begun; give back a run that was taken over, so that it is interrupted as before, or ``paused``.

    One update; for the first a find too, and more if its input was stored apart. Repeating it changes nothing.
    """
    if claim.continued_by is not None:
        lease, status, answers = (f"{claim.entry}.{name}" for name in ("lease_until", "status", "answers"))
        update: dict[str, Any] = {"$set": {lease: connection.now()}}
        if paused:
            update = {"$set": {lease: 0.0, status: PAUSED}, "$unset": {answers: ""}}
        await connection.collection.update_one(claim.filter, update)
        return
    left = await connection.collection.update_one(claim.held, {"$unset": {claim.entry: ""}})
    if left.matched_count:
        # Else another process went on with the run, or another call has it or has finished it, and needs its content.
        await media.free_runs(connection, claim.key, [claim.run_id])


async def take_over(connection: Connection, claim: Claim, begin: RunBegin) -> RunBegun:
    """Go on with a run whose lease has run out, or that has paused: it is ``claim``'s from now on. Returns the session and all that the run
    has stored. Answers to a paused run are stored before anything else happens.

    One findAndModify by ``session_id``, one find more for large content, up to four to say why it was refused. Of several that try at once one gets the run.
    Repeating it with the same claim changes nothing but the lease. Raises SessionNotFound, SessionOwnedByAnotherUser, SessionTypeMismatch,
    RunNotFound, RunAlreadyFinished, SessionBusy while the run is alive, RunIsPaused if the answers are not those to the calls that wait, and
    ConfigurationError if none waits; nothing has changed then. Large answers cost a find, and what :mod:`agno_mongo.db.media` says.
    """
    answered = (
        None
        if begin.answers is None
        else [key_of_call(answer["tool_call_id"], answer.get("member_run_id")) for answer in begin.answers]
    )
    for _ in range(ATTEMPTS):
        now, asked = connection.now(), connection.clock.local()
        document = await _taken_over(connection, claim, begin, answered, now)
        if document is not None:
            break
        reason = await _why_not(connection, claim, answered)
        if reason is not None:
            raise reason
    else:
        raise _never_held_still(claim, "continued")
    connection.clock.heard(document.get("touched_at"), asked)
    await retention.outlives_run(connection, claim.key, document, begin.lease)
    active_runs = document["active_runs"]
    ahead = Ahead.of(active_runs, claim.name, now, came_again=True) if begin.yields else NOBODY
    entry = active_runs[claim.name]
    has_media = bool(document.get("has_media") and media.references_in(entry))
    if has_media:
        entry = await media.restored(connection, entry, session_id=claim.key.session_id)
    return replace(await begun_of(connection, document, ahead), entry=entry, has_media=has_media)


async def _taken_over(
    connection: Connection, claim: Claim, begin: RunBegin, answered: Collection[str] | None, now: float
) -> dict[str, Any] | None:
    """The session with the run that is now ``claim``'s, or None if it could not be had."""
    which = claim.to_take_over(now, answered)
    to_set: dict[str, Any] = {"lease_until": now + begin.lease, "continued_by": claim.continued_by, **begin.wishes}
    to_set["status"] = RunStatus.running.value
    update = {**touch(now), "$set": {f"{claim.entry}.{name}": value for name, value in to_set.items()}}
    if begin.answers is not None:
        # The moment is kept with them: whoever goes on later sees them as they were then, in time or too late.
        given = [{**answer, "answered_at": now} for answer in begin.answers]
        update["$set"] |= await _answers_to_set(connection, claim, which, given)
    update["$max"] |= retention.slid(connection, begin.lease)
    document: dict[str, Any] | None = await connection.collection.find_one_and_update(
        which, update, projection=wanted_runs(begin.runs_wanted), return_document=ReturnDocument.AFTER
    )
    return document


async def _answers_to_set(
    connection: Connection, claim: Claim, which: Mapping[str, Any], answers: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The answers as they are stored. A large result from outside is not stored for a run that does not wait for it."""
    size = size_of({"": list(answers)})
    if size > media.LARGE and await connection.collection.find_one(which, projection={"_id": 1}) is None:
        return {}
    kept = await media.stored_apart(connection, claim.key, claim.run_id, list(answers), size=size)
    return {f"{claim.entry}.answers": kept} | ({"has_media": True} if media.references_in(kept) else {})


async def cancel(connection: Connection, claim: Claim) -> bool:
    """Stop a run: one that goes on is asked to, one that waits or was interrupted is stored as cancelled. False if it has finished.

    One findAndModify by ``session_id`` for a run that goes on, one and a find more for another, and up to four finds to say why it was
    refused. A run that goes on hears of it when it renews its lease or stores a checkpoint. Raises SessionNotFound, RunNotFound,
    SessionOwnedByAnotherUser and SessionTypeMismatch. May be repeated.
    """
    for _ in range(ATTEMPTS):
        now = connection.now()
        alive = {**claim.key.filter, f"{claim.entry}.lease_until": {"$gt": now}}
        wish = {"$set": {f"{claim.entry}.cancelled": now}}
        if await _update_entry(connection, claim, alive, wish) is not None:
            return True
        done = await retired.cancel(connection, claim.key, claim.name)
        if done is None:
            reason = await _why_not(connection, claim, None)
            if isinstance(reason, RunAlreadyFinished):
                return False
            if reason is not None and not isinstance(reason, (SessionBusy, RunIsPaused)):
                raise reason
        if done:
            return True
    raise _never_held_still(claim, "cancelled")


def _never_held_still(claim: Claim, what: str) -> StoreError:
    return StoreError(f"run {claim.run_id!r} of session {claim.key.session_id!r} could not be {what}: it never held still")


async def _why_not(
    connection: Connection, claim: Claim, answered: Collection[str] | None
) -> SessionError | ConfigurationError | None:
    """Why a run could not be had. None if nothing is in the way by now: its lease has run out, or it has paused, since it was tried."""
    key, run_id = claim.key, claim.run_id
    await refuse_if_anothers(connection, key.session_id, key.owner)
    found: dict[str, Any] | None = await connection.collection.find_one(
        {"session_id": key.session_id, "user_id": key.user_id},
        projection={
            "session_type": 1,
            "user_id": 1,
            **{f"{claim.entry}.{name}": 1 for name in ("lease_until", "status", "pending")},
            **{f"{claim.entry}.{name}": 1 for name in _TOLD_OF_WHAT_WAITS},
        },
    )
    if found is None:
        return SessionNotFound(f"there is no session {key.session_id!r}", session_id=key.session_id)
    refuse_if_foreign(found, key)
    entry = (found.get("active_runs") or {}).get(claim.name)
    if entry is not None and not entry["lease_until"] > connection.now():
        return _not_the_answers(claim, entry, answered)
    if entry is not None:
        until = moment_of(entry["lease_until"])
        return SessionBusy(
            f"run {run_id!r} of session {key.session_id!r} is going on: its process has shown life, its lease holds until "
            f"{until:%Y-%m-%d %H:%M:%S} UTC; a run can be continued once its lease has run out",
            session_id=key.session_id,
            runs_ahead=1,
            lease_until=until,
        )
    if await finished_run(connection, claim) is not None:
        return finished_already(key, run_id)
    return RunNotFound(
        f"session {key.session_id!r} has no run {run_id!r}, neither finished nor interrupted",
        session_id=key.session_id,
        run_id=run_id,
    )


_OF_STEPS: Final = ("step_requirements", "error_requirements")
_OF_A_CALL: Final = ("tool_call_id", "tool_name", "user_input_schema")
_TOLD_OF_WHAT_WAITS: Final = (
    *(f"tools.{name}" for name in _OF_A_CALL),
    *(f"inner.tools.{name}" for name in _OF_A_CALL),
    *(f"inner.{name}" for name in ("run_id", "parent_run_id")),
    *(f"run.{kind}.{name}" for kind in _OF_STEPS for name in ("id", "step_name", "executor_run_id")),
)


def _parts(holder: Any, name: str) -> list[Mapping[str, Any]]:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    return [part for part in found if isinstance(part, Mapping)] if isinstance(found, list) else []


def _unanswered(waiting: str, entry: Mapping[str, Any]) -> str:
    """Which call it is that has no answer, in which step, and what it needs; or which step."""
    inner, steps = _parts(entry, "inner"), [one for kind in _OF_STEPS for one in _parts(entry.get("run"), kind)]
    if step := next((step for step in steps if step.get("id") == waiting), None):
        return f"the step {step.get('step_name')!r} has no answer"
    calls = {key_of_call(tool.get("tool_call_id")): (tool, None) for tool in _parts(entry, "tools")}
    for record in inner:
        own = _parts(record, "tools")
        calls |= {key_of_call(tool.get("tool_call_id"), record.get("run_id")): (tool, record.get("run_id")) for tool in own}
    tool, run_id = calls.get(waiting, ({}, None))
    parents = {record.get("run_id"): record.get("parent_run_id") for record in inner}
    of_step = {step.get("executor_run_id"): step.get("step_name") for step in steps}
    while run_id is not None and run_id not in of_step:
        run_id = parents.get(run_id)
    where = f" in step {of_step[run_id]!r}" if run_id in of_step else ""
    call_id = tool.get("tool_call_id") or waiting
    fields = [field for field in tool.get("user_input_schema") or () if isinstance(field, Mapping)]
    needed = [str(field.get("name")) for field in fields if field.get("required", True) and field.get("value") is None]
    name = f"of {tool['tool_name']!r} ({call_id!r})" if tool.get("tool_name") else repr(call_id)
    return f"the call {name}{where} has no answer" + (f": it needs {', '.join(needed)}" if needed else "")


def _not_the_answers(
    claim: Claim, entry: Mapping[str, Any], answered: Collection[str] | None
) -> SessionError | ConfigurationError | None:
    """Why a run that nobody has did not go on; None if it would now, see :meth:`Claim.to_take_over`."""
    where = f"run {claim.run_id!r} of session {claim.key.session_id!r}"
    pending = entry.get("pending")
    if entry.get("status") != PAUSED if answered is None else pending == sorted(answered):
        return None
    if pending is None:
        return ConfigurationError(f"{where} was interrupted and waits for no answer; continue it without requirements")
    missing = tuple(call for call in pending if call not in (answered or ()))
    unknown = tuple(call for call in answered or () if call not in pending)
    faults = [_unanswered(call, entry) for call in missing]
    steps = [one for kind in _OF_STEPS for one in _parts(entry.get("run"), kind)]
    what, taken = ("steps", "step_requirements") if steps else ("calls", "requirements")
    faults += [f"the {what} {', '.join(map(repr, unknown))} do not wait for one"] if unknown else []
    return RunIsPaused(
        f"{where} is paused: {'; '.join(faults)}. It stays so; continue_run({taken}=…) takes the "
        "requirements of get_run_output(), each with its answer",
        session_id=claim.key.session_id,
        run_id=claim.run_id,
        missing=missing,
        unknown=unknown,
    )
