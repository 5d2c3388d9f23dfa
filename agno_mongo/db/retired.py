"""Interrupted runs retire: after a day they leave ``active_runs`` for ``runs``, from where they move to the archive like all others.

So a session does not grow with every process that dies. What they have stored is kept: the user's input, and messages as far as a
checkpoint has them. Their status is INTERRUPTED, and no prompt ever shows them. A paused run does not retire: it waits as long as it takes.
A run that nobody has may also be cancelled, and goes the same way with status CANCELLED.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import pymongo.errors

from agno_mongo.db import archive, media
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.documents import RUN_CLASSES
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.state import is_number
from agno_mongo.db.summaries import METRICS
from agno_mongo.db.translation import NOT_VIABLE
from agno_mongo.db.values import decode_key
from agno_mongo.media import NAMES
from agno_mongo.messages import TOKEN_COUNTERS
from agno_mongo.run import RunStatus
from agno_mongo.run.steps import tree_of
from agno_mongo.run.stored import without_tool_messages

RETIRE_AFTER: Final = 24 * 3600.0
"""Seconds after the end of its lease when a run retires. Until then it may be continued."""

LOOKED_FOR_EVERY: Final = 64
"""Runs to retire are looked for when older runs are moved to the archive. A session whose every run dies never comes to that; so they are
looked for too when a run begins at a revision that this number divides, which in a session without interrupted runs is rare.
"""

_AT_ONCE: Final = 32
_TOLD_APART_BY: Final = ("started_at", "lease_until", "continued_by", "status")
_KEPT: Final = ("messages", "tools", "events", "metrics", "parent_run_id")


async def retire(connection: Connection, key: SessionKey) -> int:
    """Put the runs among ``runs`` whose lease ended more than a day ago, and say how many.

    One find; a findAndModify for every 32 of them, which takes effect only if nobody has touched them meanwhile. Each is found in one of the
    two places at any moment. May be repeated, and done by several processes at once.
    """
    fields = ("active_runs", "agent_id", "team_id", "workflow_id", "has_media")
    session = await connection.collection.find_one(key.filter, projection=dict.fromkeys(fields, 1))
    entries = (session or {}).get("active_runs") or {}
    latest = connection.now() - RETIRE_AFTER
    # A paused run has no lease: 0.
    dead = [name for name, entry in entries.items() if 0 < (entry.get("lease_until") or 0) < latest]
    retired = 0
    for start in range(0, len(dead), _AT_ONCE):
        batch = {name: entries[name] for name in dead[start : start + _AT_ONCE]}
        retired += await _retire(connection, key, session, batch)
    return retired


async def _retire(
    connection: Connection, key: SessionKey, session: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]]
) -> int:
    runs = [
        await _as_wanted(connection, key, entry, _run(key, session, name, entry, RunStatus.interrupted))
        for name, entry in entries.items()
    ]
    return len(entries) if await _put_among_runs(connection, key, entries, runs) else 0


async def cancel(connection: Connection, key: SessionKey, name: str) -> bool | None:
    """Store the run of this entry as cancelled if nobody has it; False if somebody does, None if there is no such entry.

    One find, one findAndModify, and a find more for large content that is not to be stored, and what :func:`media.free_unneeded` says.
    """
    fields = (f"active_runs.{name}", "agent_id", "team_id", "workflow_id")
    session = await connection.collection.find_one(key.filter, projection=dict.fromkeys(fields, 1))
    entry = ((session or {}).get("active_runs") or {}).get(name)
    if session is None or entry is None:
        return None
    if (entry.get("lease_until") or 0) > connection.now():
        return False
    records = await _as_wanted(connection, key, entry, _run(key, session, name, entry, RunStatus.cancelled))
    return await _put_among_runs(connection, key, {name: entry}, [records])


async def _as_wanted(
    connection: Connection, key: SessionKey, entry: Mapping[str, Any], run: dict[str, Any]
) -> list[dict[str, Any]]:
    """The run with what had finished within it, but for what its component did not want stored: what was said between model and tools, or
    the runs within it.
    """
    if entry.get("store_tool_messages") is False:
        run = without_tool_messages(await media.restored(connection, run, session_id=key.session_id))
        run = await media.stored_apart(connection, key, str(run["run_id"]), run)
    if steps := entry.get("steps"):
        run = {**run, "step_results": tree_of(steps)}
    inner = () if entry.get("store_inner") is False else entry.get("inner") or ()
    for record in inner:
        # It was stored apart for the run that goes with it.
        await media.also_of(connection, str(record.get("run_id")), media.files_in(record))
    return RUN_CLASSES[key.session_type].with_inner(run, inner)


async def _put_among_runs(
    connection: Connection, key: SessionKey, entries: Mapping[str, Mapping[str, Any]], records: Sequence[list[dict[str, Any]]]
) -> bool:
    """False if somebody has touched one of the entries since they were read. ``records`` are what is stored for each of them."""
    runs = list(chain.from_iterable(records))
    untouched = {f"active_runs.{name}.{field}": entry.get(field) for name, entry in entries.items() for field in _TOLD_APART_BY}
    counted = {"run_count": len(runs), "tail_bytes": sum(map(archive.size_of, runs)), "revision": 1}
    update: dict[str, Any] = {
        "$push": {"runs": {"$each": runs}},
        "$unset": {f"active_runs.{name}": "" for name in entries},
        "$inc": counted | _tokens(entries.values()),
    }
    which = {**key.filter, **untouched}
    try:
        done = await connection.collection.find_one_and_update(which, update, projection={"_id": 1})
    except (pymongo.errors.WriteError, pymongo.errors.OperationFailure) as error:
        if error.code not in NOT_VIABLE:
            raise
        # Metrics that are stored as something else than numbers cannot be added to.
        done = await connection.collection.find_one_and_update(which, {**update, "$inc": counted}, projection={"_id": 1})
    if done is None:
        return False
    for (name, entry), kept in zip(entries.items(), records, strict=True):
        if media.references_in(entry):
            await media.free_unneeded(connection, key, decode_key(name), media.files_in(kept))
    return True


def _tokens(entries: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What is to be added to the session's metrics: what the runs and those within them have used, less what was counted when they paused."""
    added: Counter[str] = Counter()
    for entry in entries:
        records = (entry, *(entry.get("inner") or ()))
        for record in records:
            added.update(_numbers(record.get("metrics")))
        added.subtract(_numbers(entry.get("counted")))
    return {f"{METRICS}.{name}": amount for name, amount in added.items() if amount}


def _numbers(metrics: Any) -> dict[str, float]:
    """What adds up over the runs of a session, as far as it is a number."""
    stored = metrics if isinstance(metrics, Mapping) else {}
    return {name: stored[name] for name in (*TOKEN_COUNTERS, "cost") if is_number(stored.get(name))}


def _run(key: SessionKey, session: Mapping[str, Any], name: str, entry: Mapping[str, Any], status: RunStatus) -> dict[str, Any]:
    """The stored run. Its ``attempt`` is nobody's: a process that wakes up after days and ends it hears RunAlreadyFinished."""
    component: SessionType = key.session_type
    said = entry.get("run")
    run = (said if isinstance(said, dict) else {}) | {
        "run_id": decode_key(name),
        component.id_field: session.get(component.id_field),
        "session_id": key.session_id,
        "user_id": key.user_id,
        "input": {"input_content": entry.get("input"), **{name: entry[name] for name in NAMES.intersection(entry)}},
        "status": status.value,
        "attempt": "retired",
        "created_at": int(entry.get("started_at") or 0),
    }
    run |= {field: entry[field] for field in _KEPT if field in entry}
    return {field: value for field, value in run.items() if value is not None}
