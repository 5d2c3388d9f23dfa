"""Whether a run is open still, and how it has ended if it is not: for commands that found it otherwise than they thought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agno_mongo.db import archive, media
from agno_mongo.db import state as states
from agno_mongo.db.connections import Connection
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import PAUSED, Claim
from agno_mongo.errors import RunAlreadyFinished, RunTakenOver, SessionNotFound


async def still_open(connection: Connection, claim: Claim, runs: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any] | None:
    """The state as it is stored by now; None if this run is stored already, or has paused. One read, three at most.

    What was stored apart for it, and for these ``runs``, goes if the session has gone. Raises SessionNotFound if the session was deleted, RunTakenOver and RunAlreadyFinished if another process went on with the run.
    """
    key, active = claim.key, claim.entry
    fields = (states.STATE, "state_revision", *(f"{active}.{name}" for name in ("started_at", "continued_by", "status")))
    stored: dict[str, Any] | None = await connection.collection.find_one(key.filter, projection=dict.fromkeys(fields, 1))
    if stored is not None and (entry := (stored.get("active_runs") or {}).get(claim.name)) is not None:
        if entry.get("continued_by") != claim.continued_by:
            raise RunTakenOver(
                f"run {claim.run_id!r} of session {key.session_id!r} showed no life until its lease ran out, and another process went on "
                "with it; what this one did since is not stored",
                session_id=key.session_id,
                run_id=claim.run_id,
            )
        return None if entry.get("status") == PAUSED else stored
    if stored is not None:
        finished = await finished_run(connection, claim)
        if finished is not None:
            if finished.get("attempt") != claim.attempt:
                raise finished_already(key, claim.run_id)
            return None
    await media.free_runs(connection, key, [claim.run_id, *(str(run.get("run_id")) for run in runs)])
    raise SessionNotFound(
        f"session {key.session_id!r} was deleted while run {claim.run_id!r} went on; the run was not stored",
        session_id=key.session_id,
    )


async def finished_run(connection: Connection, claim: Claim) -> dict[str, Any] | None:
    """The run as it is stored, in the tail or in the archive; None if it is not. One find, two at most."""
    # What is not in the tail is looked for in the archive as it was in that moment: it may be moved at any time.
    projection = {"runs": {"$elemMatch": {"run_id": claim.run_id}}, **archive.ARCHIVE_FIELDS}
    session = await connection.collection.find_one(claim.key.filter, projection=projection)
    if session is None:
        return None
    if session.get("runs"):
        run: dict[str, Any] = session["runs"][0]
        return run
    archived = await archive.find(connection, session, claim.run_id)
    return None if archived is None else archived[1]


def finished_already(key: SessionKey, run_id: str) -> RunAlreadyFinished:
    """The error of a run that cannot begin, go on or finish because it has finished."""
    return RunAlreadyFinished(
        f"session {key.session_id!r} already has a finished run {run_id!r}; "
        "get_run_output() reads it, and a new run needs a new run_id",
        session_id=key.session_id,
        run_id=run_id,
    )
