"""The commands of a run while it is open, between ``begin_run`` and ``finish_run``. A short run by itself sends none of them.

Each works on one document, is atomic by that, and carries ``session_id``, owner and type. What changes a run's entry also carries who holds
the run, so that a process that was thought dead cannot touch a run that another has taken over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pymongo import ReturnDocument

from agno_mongo.db import archive, media, retention
from agno_mongo.db.checkpoints import Checkpoint
from agno_mongo.db.connections import Connection
from agno_mongo.db.leases import NOBODY, Ahead, Claim, moment_of
from agno_mongo.db.runs import wanted_runs
from agno_mongo.db.sessions import refuse_if_anothers, refuse_if_foreign, touch
from agno_mongo.db.store import RunBegin, RunBegun, begin_run, begun_of, finished_already, finished_run, still_open
from agno_mongo.errors import RunNotFound, SessionBusy, SessionError, SessionNotFound, StoreError


async def renew_lease(connection: Connection, claim: Claim, lease: float) -> bool:
    """Say that a long run is still alive; False if it is not open any more, or not ours. One update by ``session_id``.

    Where another call with the same run id has the entry, it becomes ours once that one's lease has run out.
    """
    now = connection.now()
    to_set = {"lease_until": now + lease} | ({} if claim.attempt is None else {"attempt": claim.attempt})
    update = {"$set": {f"{claim.entry}.{name}": value for name, value in to_set.items()}}
    return bool((await connection.collection.update_one(claim.to_renew(now), update)).matched_count)


async def still_ahead(connection: Connection, claim: Claim, ahead: Ahead) -> Ahead:
    """Those of ``ahead`` who are still there and alive; nobody if the session is gone. One find, of these entries' leases only."""
    found = await connection.collection.find_one(claim.key.filter, projection=ahead.projection)
    return ahead.still((found or {}).get("active_runs") or {}, connection.now())


async def read_again(connection: Connection, begin: RunBegin, claim: Claim) -> RunBegun:
    """The session as it is once those ahead have finished. One find. Raises SessionNotFound if it was deleted meanwhile.

    A call that waited as a guest begins anew, which costs another find and what :func:`begin_run` does; RunAlreadyFinished if the call
    before it has finished the run.
    """
    projection = {**wanted_runs(begin.runs_wanted), "active_runs": 0}
    document = await connection.collection.find_one(claim.held, projection=projection)
    if document is None:
        if begin.reused_id and await connection.collection.find_one(claim.key.filter, projection={"_id": 1}) is not None:
            return await begin_run(connection, begin)
        raise SessionNotFound(
            f"session {begin.key.session_id!r} was deleted while run {begin.run_id!r} waited for its turn",
            session_id=begin.key.session_id,
        )
    return await begun_of(connection, document)


async def checkpoint(connection: Connection, point: Checkpoint) -> None:
    """Put what the run has so far under its entry, and renew its lease. One update by ``session_id``, of what is new since the last one.

    Nobody else sees anything of it but the run's progress. Large content costs what :mod:`agno_mongo.db.media` says. Raises
    SessionNotFound if the session was deleted, RunAlreadyFinished or RunTakenOver if the run is not this process's any more, and
    StoreError while another call with the same run id has the entry.
    """
    point = await _stored_apart(connection, point)
    result = await connection.collection.update_one(point.claim.held, point.update(connection.now()))
    if not result.matched_count and await still_open(connection, point.claim) is not None:
        raise StoreError(f"another call has run {point.claim.run_id!r} of session {point.claim.key.session_id!r}")


async def _stored_apart(connection: Connection, point: Checkpoint) -> Checkpoint:
    """The same with references in the place of large content."""
    lists = (point.messages, point.tools, point.changes, point.input)
    kept: list[list[Any]] = [[] for _ in lists]
    for parts, whole in zip(kept, lists, strict=True):
        for part in whole:
            parts.append(await media.stored_apart(connection, point.claim.key, point.claim.run_id, part))
    messages, tools, changes, changed_input = kept
    has_media = any(
        part is not before for parts, whole in zip(kept, lists, strict=True) for part, before in zip(parts, whole, strict=True)
    )
    return replace(point, messages=messages, tools=tools, changes=changes, input=changed_input, has_media=has_media)


async def leave(connection: Connection, claim: Claim) -> None:
    """Take back that a run has begun; give back a run that was taken over, so that it is interrupted as before.

    One update; for the first a find too, and more if its input was stored apart. Repeating it changes nothing.
    """
    if claim.continued_by is not None:
        ended = {f"{claim.entry}.lease_until": connection.now()}
        await connection.collection.update_one(claim.filter, {"$set": ended})
        return
    left = await connection.collection.update_one(claim.held, {"$unset": {claim.entry: ""}})
    if left.matched_count:
        # Else another process went on with the run, or another call has it or has finished it, and needs its content.
        await media.free_runs(connection, claim.key, [claim.run_id])


async def take_over(connection: Connection, claim: Claim, begin: RunBegin) -> RunBegun:
    """Go on with a run whose lease has run out: it is ``claim``'s from now on. Returns the session and all that the run has stored.

    One findAndModify by ``session_id``, one find more for large content, up to four to say why it was refused. Of several that try at once one gets the run.
    Repeating it with the same claim changes nothing but the lease. Raises SessionNotFound, SessionOwnedByAnotherUser, SessionTypeMismatch,
    RunNotFound, RunAlreadyFinished, and SessionBusy while the run is alive; nothing has changed then.
    """
    now, asked = connection.now(), connection.clock.local()
    lease, token = f"{claim.entry}.lease_until", f"{claim.entry}.continued_by"
    which = {**claim.key.filter, "$or": [{lease: {"$lte": now}}, {token: claim.continued_by}]}
    update = {**touch(now), "$set": {lease: now + begin.lease, token: claim.continued_by}}
    update["$max"] |= retention.slid(connection, begin.lease)
    document: dict[str, Any] | None = await connection.collection.find_one_and_update(
        which, update, projection=wanted_runs(begin.runs_wanted), return_document=ReturnDocument.AFTER
    )
    if document is None:
        raise await _why_not(connection, claim)
    connection.clock.heard(document.get("touched_at"), asked)
    await retention.outlives_run(connection, claim.key, document, begin.lease)
    active_runs = document["active_runs"]
    ahead = Ahead.of(active_runs, claim.name, now, came_again=True) if begin.yields else NOBODY
    entry = active_runs[claim.name]
    if document.get("has_media"):
        entry = await media.restored(connection, entry, session_id=claim.key.session_id)
    return replace(await begun_of(connection, document, ahead), entry=entry)


async def _why_not(connection: Connection, claim: Claim) -> SessionError:
    key, run_id = claim.key, claim.run_id
    await refuse_if_anothers(connection, key.session_id, key.owner)
    found: dict[str, Any] | None = await connection.collection.find_one(
        {"session_id": key.session_id, "user_id": key.user_id},
        projection={"session_type": 1, "user_id": 1, f"{claim.entry}.lease_until": 1, **archive.ARCHIVE_FIELDS},
    )
    if found is None:
        return SessionNotFound(f"there is no session {key.session_id!r}", session_id=key.session_id)
    refuse_if_foreign(found, key)
    entry = (found.get("active_runs") or {}).get(claim.name)
    if entry is not None:
        until = moment_of(entry["lease_until"])
        return SessionBusy(
            f"run {run_id!r} of session {key.session_id!r} is going on: its process has shown life, its lease holds until "
            f"{until:%Y-%m-%d %H:%M:%S} UTC; a run can be continued once its lease has run out",
            session_id=key.session_id,
            runs_ahead=1,
            lease_until=until,
        )
    if await finished_run(connection, found, claim) is not None:
        return finished_already(key, run_id)
    return RunNotFound(
        f"session {key.session_id!r} has no run {run_id!r}, neither finished nor interrupted",
        session_id=key.session_id,
        run_id=run_id,
    )
