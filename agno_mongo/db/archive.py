"""The archive: a session's older runs, moved out of its document in batches that never change again.

A session's runs are numbered from 0 in the order in which they finished. Its document holds the newest, the tail: those from
``archived_runs`` on. All before stand in ``<session_table>_archive``, in buckets of neighbouring runs. A bucket belongs to a segment
(``archive_id``), as a rule the only one of its session; a session that was forked or rewound reads its older runs from the segments in
``archive_lineage``, each up to its ``end``, and shares them with others.

A move inserts the bucket first and takes the runs out of the document second, and only if ``archived_runs`` is still what it was. A
crash in between leaves a bucket that nobody reads, since it begins where the archive ends; the next move finds it by its ``_id``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import bson
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from agno_mongo.db.connections import Connection
from agno_mongo.db.expiry import EXPIRY_FIELDS, new_parts_until, retention_of
from agno_mongo.db.keys import SessionKey
from agno_mongo.errors import CorruptSession

TAIL_RUNS: Final = 32
"""Runs that a session's document may hold before the oldest are moved."""

TAIL_BYTES: Final = 256 * 1024
"""Bytes of BSON that they may take."""

KEPT_RUNS: Final = 8
"""Runs that a move leaves in the document, if they are not too large."""

BUCKET_RUNS: Final = 32
"""Runs in one archive document, at most."""

ARCHIVE_FIELDS: Final = {"archived_runs": 1, "archive_id": 1, "archive_lineage": 1, "run_count": 1, "tail_bytes": 1}
"""What a projection must name for the functions here to find a session's runs."""

_ALL: Final = 2**31 - 1


@dataclass(frozen=True)
class Segment:
    """The runs from ``begin`` up to ``end``, without ``end``, as a session finds them under ``archive_id``."""

    archive_id: ObjectId
    begin: int
    end: int


def own_segment(session: Mapping[str, Any]) -> ObjectId:
    """The segment that a stored session's runs are moved to."""
    archive_id: ObjectId = session.get("archive_id") or session["_id"]
    return archive_id


def segments_of(session: Mapping[str, Any], end: int | None = None) -> list[Segment]:
    """Where a stored session's archived runs stand, oldest first; with ``end`` only those of the runs before it."""
    archived = session.get("archived_runs") or 0
    parts = [(part["id"], part["end"]) for part in session.get("archive_lineage") or ()]
    found: list[Segment] = []
    begin = 0
    for archive_id, until in [*parts, (own_segment(session), archived)]:
        until = min(until, archived if end is None else end)
        if until > begin:
            found.append(Segment(archive_id, begin, until))
            begin = until
    return found


def lineage_of(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """The segments as they are stored in ``archive_lineage``."""
    return [{"id": segment.archive_id, "end": segment.end} for segment in segments]


def size_of(value: Any) -> int:
    """Bytes of BSON."""
    return len(bson.encode({"": value}))


def kept_of(sizes: Sequence[int], history_runs: int) -> int:
    """How many of the newest runs a move leaves in the tail: as many as history needs, and few enough to leave room for more."""
    wanted = min(max(KEPT_RUNS, history_runs), TAIL_RUNS - KEPT_RUNS)
    floor = min(max(1, history_runs), wanted)
    kept = size = 0
    for bytes_of_run in reversed(sizes[-wanted:]):
        size += bytes_of_run
        if kept >= floor and size > TAIL_BYTES // 2:
            break
        kept += 1
    return kept


def overflows(*, runs: int, size: int, history_runs: int) -> bool:
    """True if a tail of so many runs and bytes is to be shortened."""
    return runs > TAIL_RUNS or (size > TAIL_BYTES and runs >= 2 * min(max(1, history_runs), KEPT_RUNS))


def buckets(runs: Sequence[dict[str, Any]], sizes: Sequence[int], first: int) -> list[dict[str, Any]]:
    """The runs in portions for an archive document each; ``first`` is the number of the first run."""
    portions: list[dict[str, Any]] = []
    start = 0
    while start < len(runs):
        stop, size = start + 1, sizes[start]
        while stop < len(runs) and stop - start < BUCKET_RUNS and size + sizes[stop] <= TAIL_BYTES:
            size += sizes[stop]
            stop += 1
        portions.append({"first": first + start, "end": first + stop, "size": size, "runs": list(runs[start:stop])})
        start = stop
    return portions


def bucket_document(
    portion: Mapping[str, Any], archive_id: ObjectId, session: Mapping[str, Any], kept_until: datetime | None = None
) -> dict[str, Any]:
    """The archive document of a portion. Its ``_id`` is made of the segment and the number of its first run."""
    owner = {name: session.get(name) for name in ("session_id", "session_type", "user_id")}
    _id = {"archive": archive_id, "first": portion["first"]}
    retained = {} if kept_until is None else {"expires_at": kept_until}
    return {"_id": _id, "archive_id": archive_id, **owner, **portion, **retained}


async def move(connection: Connection, key: SessionKey, *, history_runs: int) -> int:
    """Shorten the tail of a session that has grown too long, and say how many runs were moved.

    A find, an insert for each bucket (one, as a rule), and one findAndModify, which takes effect only if nobody else has moved,
    rewound or replaced runs meanwhile, nor made the session last longer than the buckets do. Readers see every run once at any moment, runs that finish meanwhile are not touched. May be
    repeated, and done by several processes at once.
    """
    fields = ("runs", "session_id", "session_type", "user_id", *EXPIRY_FIELDS)
    session = await connection.collection.find_one(key.filter, projection={**dict.fromkeys(fields, 1), **ARCHIVE_FIELDS})
    if session is None:
        return 0
    runs = session.get("runs") or []
    sizes = [size_of(run) for run in runs]
    if not overflows(runs=len(runs), size=sum(sizes), history_runs=history_runs):
        return 0
    moved = len(runs) - kept_of(sizes, history_runs)
    first, known = session.get("archived_runs") or 0, session.get("tail_bytes") or 0
    unchanged = {name: session.get(name) for name in ("_id", "archived_runs", "archive_id")}
    # Of a session that has just been given no retention any more, the end is about to go too.
    stays = retention_of(session, connection.retention) is None
    kept_until = None if stays else new_parts_until(session, connection.retention)
    count = await _insert(connection, session, buckets(runs[:moved], sizes[:moved], first), kept_until) - first
    taken_out = await connection.collection.find_one_and_update(
        {**key.filter, **unchanged, **_not_longer(session, kept_until)},
        [
            {
                "$set": {
                    "runs": {"$slice": ["$runs", count, _ALL]},
                    "archived_runs": first + count,
                    # What stays, and what was added since: a session of an earlier version knows of nothing that it had before.
                    "tail_bytes": {"$add": [sum(sizes[count:]), {"$subtract": [{"$ifNull": ["$tail_bytes", 0]}, known]}]},
                }
            }
        ],
        projection={"_id": 1},
    )
    if taken_out is None:
        await _forget_unless_needed(connection, session)
        return 0
    return count


def _not_longer(session: Mapping[str, Any], kept_until: datetime | None) -> dict[str, Any]:
    """Matches the session unless, since it was read, it was given more time than buckets have that are kept until then."""
    retention = {"retention": session.get("retention")}
    if kept_until is None:
        return retention
    return {**retention, "expires_at": {"$lte": kept_until}, "kept_until": {"$not": {"$gt": kept_until}}}


async def _insert(
    connection: Connection, session: Mapping[str, Any], portions: Sequence[Mapping[str, Any]], kept_until: datetime | None
) -> int:
    """Insert the buckets and return the number of the run after the last that the archive now holds."""
    await connection.ensure_archive()
    archive_id = own_segment(session)
    for portion in portions:
        try:
            await connection.archive.insert_one(bucket_document(portion, archive_id, session, kept_until))
        except DuplicateKeyError:
            # Somebody else is moving, or died while he was: what he took is what is there.
            bucket = {"_id": {"archive": archive_id, "first": portion["first"]}}
            found = await connection.archive.find_one(bucket, {"end": 1})
            await _prolong(connection, bucket, kept_until)
            if found is None or found["end"] != portion["end"]:
                return int(portion["first"] if found is None else found["end"])
    return int(portions[-1]["end"])


async def _prolong(connection: Connection, bucket: Mapping[str, Any], kept_until: datetime | None) -> None:
    """Keep a bucket until then at least. It may have been inserted while the session had less time."""
    if kept_until is None:
        await connection.archive.update_one(dict(bucket), {"$unset": {"expires_at": ""}})
    else:
        await connection.archive.update_one({**bucket, "expires_at": {"$lt": kept_until}}, {"$set": {"expires_at": kept_until}})


async def _forget_unless_needed(connection: Connection, session: Mapping[str, Any]) -> None:
    """After a move that came too late: if the session is gone or has turned to another segment, nobody will read these buckets."""
    now = await connection.collection.find_one({"_id": session["_id"]}, projection=ARCHIVE_FIELDS)
    if now is None or own_segment(now) != own_segment(session):
        await free(connection, [own_segment(session)])


async def read(connection: Connection, session: Mapping[str, Any], begin: int, end: int) -> list[dict[str, Any]]:
    """The archived runs numbered ``begin`` up to ``end``, without ``end``, oldest first.

    One find for each segment, one as a rule, by the index on segment and ``end``; it examines the buckets that hold these runs and one
    more at most. Raises CorruptSession if a bucket is missing.
    """
    runs: list[dict[str, Any]] = []
    for segment in segments_of(session):
        low, high = max(begin, segment.begin), min(end, segment.end)
        if low < high:
            which = {"archive_id": segment.archive_id, "end": {"$gt": low, "$lt": high + BUCKET_RUNS}}
            cursor = connection.archive.find(which, projection={"first": 1, "runs": 1}).sort([("end", 1)])
            for bucket in await cursor.to_list(None):
                start = bucket["first"]
                runs += bucket["runs"][max(0, low - start) : max(0, high - start)]
    if len(runs) != max(0, end - begin):
        session_id = str(session.get("session_id"))
        raise CorruptSession(
            f"session {session_id!r}: of the archived runs {begin} to {end - 1} only {len(runs)} are there", session_id=session_id
        )
    return runs


async def find(connection: Connection, session: Mapping[str, Any], run_id: str) -> tuple[int, dict[str, Any]] | None:
    """The archived run with this id and its number; None if there is none. One find by the index on ``runs.run_id``."""
    segments = {segment.archive_id: segment for segment in segments_of(session)}
    if not segments:
        return None
    which = {"archive_id": {"$in": list(segments)}, "runs.run_id": run_id}
    for bucket in await connection.archive.find(which).to_list(None):
        segment = segments[bucket["archive_id"]]
        for number, run in enumerate(bucket["runs"], start=bucket["first"]):
            if run.get("run_id") == run_id and segment.begin <= number < segment.end:
                return number, run
    return None


async def write(
    connection: Connection, session: Mapping[str, Any], runs: Sequence[dict[str, Any]], kept_until: datetime | None
) -> dict[str, Any]:
    """Put the older of a whole session's ``runs`` into a new segment and return the fields that its document takes.

    One insert for every bucket, none for a session that fits its document. Nobody reads them until the fields are stored.
    """
    sizes = [size_of(run) for run in runs]
    moved = 0
    if overflows(runs=len(runs), size=sum(sizes), history_runs=0):
        moved = len(runs) - kept_of(sizes, 0)
    archive_id = ObjectId()
    if moved:
        await connection.ensure_archive()
        for portion in buckets(runs[:moved], sizes[:moved], 0):
            await connection.archive.insert_one(bucket_document(portion, archive_id, session, kept_until))
    return {
        "runs": list(runs[moved:]),
        "run_count": len(runs),
        "archived_runs": moved,
        "archive_id": archive_id,
        "archive_lineage": [],
        "tail_bytes": sum(sizes[moved:]),
    }


async def segments_written_by(connection: Connection, which: Mapping[str, Any]) -> set[ObjectId]:
    """The segments with buckets that were moved there from the sessions that match. One find by the index on ``session_id``."""
    buckets = connection.archive.find(dict(which), projection={"archive_id": 1})
    return {bucket["archive_id"] for bucket in await buckets.to_list(None)}


async def free(connection: Connection, archive_ids: Iterable[ObjectId]) -> None:
    """Delete the buckets of these segments that no session reads.

    One find and one delete for each segment; two commands more where a session shares half a bucket. A session that is being forked
    off at the same moment is safe: it is stored before its origin is looked at once more.
    """
    for archive_id in archive_ids:
        readers = await connection.collection.find(
            {"$or": [{"_id": archive_id}, {"archive_id": archive_id}, {"archive_lineage.id": archive_id}]},
            projection=ARCHIVE_FIELDS,
        ).to_list(None)
        if any(own_segment(reader) == archive_id for reader in readers):
            continue
        needed = max((s.end for reader in readers for s in segments_of(reader) if s.archive_id == archive_id), default=0)
        await connection.archive.delete_many({"archive_id": archive_id, "first": {"$gte": needed}})
        if needed:
            await _trim(connection, archive_id, needed)


async def _trim(connection: Connection, archive_id: ObjectId, end: int) -> None:
    """Cut from the last bucket of a segment the runs from number ``end`` on."""
    which = {"archive_id": archive_id, "first": {"$lt": end}, "end": {"$gt": end}}
    bucket = await connection.archive.find_one(which, projection={"first": 1})
    if bucket is not None:
        shorter = {"$push": {"runs": {"$each": [], "$slice": end - bucket["first"]}}, "$set": {"end": end}}
        await connection.archive.update_one({"_id": bucket["_id"]}, shorter)
