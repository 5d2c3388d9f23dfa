"""The commands of a run while it is open, between ``begin_run`` and ``finish_run``. A short run by itself sends none of them.

Each works on one document, is atomic by that, and carries ``session_id``, owner and type. What changes a run's entry also carries who holds
the run, so that a process that was thought dead cannot touch a run that another has taken over.
"""

from __future__ import annotations

from dataclasses import replace

from agno_mongo.db import media
from agno_mongo.db.checkpoints import Checkpoint
from agno_mongo.db.connections import Connection
from agno_mongo.db.leases import Ahead, Claim
from agno_mongo.db.store import RunBegin, RunBegun, begun_of, still_open, wanted_runs
from agno_mongo.errors import SessionNotFound


async def renew_lease(connection: Connection, claim: Claim, lease: float) -> bool:
    """Say that a long run is still alive; False if it is not open any more, or not ours. One update by ``session_id``."""
    update = {"$set": {f"{claim.entry}.lease_until": connection.now() + lease}}
    return bool((await connection.collection.update_one(claim.filter, update)).matched_count)


async def still_ahead(connection: Connection, claim: Claim, ahead: Ahead) -> Ahead:
    """Those of ``ahead`` who are still there and alive; nobody if the session is gone. One find, of these entries' leases only."""
    found = await connection.collection.find_one(claim.key.filter, projection=ahead.projection)
    return ahead.still((found or {}).get("active_runs") or {}, connection.now())


async def read_again(connection: Connection, begin: RunBegin, claim: Claim) -> RunBegun:
    """The session as it is once those ahead have finished. One find. Raises SessionNotFound if it was deleted meanwhile."""
    projection = {**wanted_runs(begin.runs_wanted), "active_runs": 0}
    document = await connection.collection.find_one(claim.filter, projection=projection)
    if document is None:
        raise SessionNotFound(
            f"session {begin.key.session_id!r} was deleted while run {begin.run_id!r} waited for its turn",
            session_id=begin.key.session_id,
        )
    return await begun_of(connection, document)


async def checkpoint(connection: Connection, point: Checkpoint) -> None:
    """Put what the run has so far under its entry, and renew its lease. One update by ``session_id``, of what is new since the last one.

    Nobody else sees anything of it but the run's progress. Large content costs what :mod:`agno_mongo.db.media` says. Raises
    SessionNotFound if the session was deleted, RunAlreadyFinished or RunTakenOver if the run is not this process's any more.
    """
    point = await _stored_apart(connection, point)
    result = await connection.collection.update_one(point.claim.filter, point.update(connection.now()))
    if not result.matched_count:
        await still_open(connection, point.claim)


async def _stored_apart(connection: Connection, point: Checkpoint) -> Checkpoint:
    """The same with references in the place of large content."""
    lists = (point.messages, point.tools, point.changes)
    claim = point.claim
    messages, tools, changes = kept = [
        [await media.stored_apart(connection, claim.key, claim.run_id, part) for part in parts] for parts in lists
    ]
    has_media = any(
        part is not before for parts, whole in zip(kept, lists, strict=True) for part, before in zip(parts, whole, strict=True)
    )
    return replace(point, messages=messages, tools=tools, changes=changes, has_media=has_media)


async def leave(connection: Connection, claim: Claim) -> None:
    """Take back that a run has begun. One update and a find, more if its input was stored apart; repeating it changes nothing."""
    await connection.collection.update_one(claim.filter, {"$unset": {claim.entry: ""}})
    await media.free_runs(connection, claim.key, [claim.run_id])
