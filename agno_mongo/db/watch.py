"""What happens to sessions, as it happens, from a change stream.

The server filters and cuts down: of a change only names of fields travel, and of a run its id and status. Since a change says which
document it concerns and not whose that is, the ids of the sessions to watch are read first, and sessions that are made later add to them.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timezone
from time import monotonic
from typing import Any, Final, Literal, TypedDict

import pymongo.errors
from bson import Timestamp
from typing_extensions import NotRequired, Self

from agno_mongo.db import drivers, values
from agno_mongo.db.connections import Connection
from agno_mongo.db.leases import PAUSED
from agno_mongo.db.sessions import refuse_owner
from agno_mongo.errors import ConfigurationError, StoreError, StoreUnavailable

SessionEventKind = Literal["created", "run_begun", "run_paused", "run_continued", "run_finished", "renamed", "updated", "deleted"]

PATIENCE: Final = 60.0
"""Seconds without a server after which a watch gives up. A failover takes a dozen."""

_PAUSE: Final = 0.2
_BAD_TOKEN: Final = frozenset({2, 9, 14, 15, 260, 50788, 50811, 50812})
_CURSOR_GONE: Final = frozenset({43, 237})
_HISTORY_LOST: Final = frozenset({280, 286})


@dataclass(frozen=True, kw_only=True)
class SessionEvent:
    """One thing that happened to a session.

    ``run_id`` is the run's that has begun, paused, gone on or finished, ``status`` a finished run's, ``member_run_ids`` those of its members that
    were stored with it. ``changed`` names what else was written: ``session_state``, ``metadata``, ``summary``, ``session_data``,
    ``runs``. ``token`` is text that a later watch goes on behind; ``at`` is when the server wrote it.
    """

    kind: SessionEventKind
    session_id: str
    session_type: str | None
    user_id: str | None
    at: datetime
    token: str
    run_id: str | None = None
    member_run_ids: tuple[str, ...] = ()
    status: str | None = None
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WatchScope:
    """Which sessions to watch: one, a user's, one if it is the user's, or all."""

    session_id: str | None
    user_id: str | None

    @property
    def filter(self) -> dict[str, str]:
        """What a session of the scope has."""
        wanted = {"session_id": self.session_id, "user_id": self.user_id}
        return {name: value for name, value in wanted.items() if value is not None}


@dataclass(frozen=True)
class _Known:
    session_id: str
    session_type: str | None
    user_id: str | None


class _StartAt(TypedDict):
    """Where a change stream begins, in the driver's words."""

    resume_after: NotRequired[dict[str, str]]
    start_at_operation_time: NotRequired[Timestamp]


_TOKEN: Final = re.compile(r"82([0-9A-Fa-f]{8})([0-9A-Fa-f]{8})[0-9A-Fa-f]*$")
"""A resume token of the server begins with the time of its change, in BSON's order of keys; so do tokens compare."""

_TIME: Final = re.compile(r"@(\d{1,10})\.(\d{1,10})")


def position_of(token: Any) -> _StartAt | None:
    """The place that a token names; ConfigurationError if it is no token."""
    if token is None:
        return None
    if isinstance(token, str) and (time := _TIME.fullmatch(token)):
        seconds, increment = int(time[1]), int(time[2])
        if max(seconds, increment) < 2**32:
            return {"start_at_operation_time": Timestamp(seconds, increment)}
    if isinstance(token, str) and _TOKEN.match(token):
        return {"resume_after": {"_data": token}}
    raise _bad_token(token)


def _opening_at(position: _StartAt) -> _StartAt:
    """The same place by its time. The server finds a token only in a stream whose filter lets the token's own change through."""
    token = _TOKEN.match(position.get("resume_after", {}).get("_data", ""))
    if token is None:
        return position
    return {"start_at_operation_time": Timestamp(int(token[1], 16), int(token[2], 16))}


def _bad_token(token: Any) -> ConfigurationError:
    return ConfigurationError(f"resume_after is the token of an event of watch(), not {token!r}")


class SessionWatch:
    """The events of :meth:`~agno_mongo.db.mongo.MongoDb.watch`, an asynchronous iterator without an end.

    ``async with`` opens the stream at its beginning and closes it at its end; a bare ``async for`` opens it with the first event asked
    for, and ``aclose()`` closes it. It survives a failover and up to PATIENCE seconds without a server.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        translated: Callable[[str], AbstractContextManager[None]],
        scope: WatchScope,
        resume_after: str | None,
    ) -> None:
        self._connect = connect
        self._translated = translated
        self._scope = scope
        self._token = resume_after
        self._position = position_of(resume_after)
        self._known: dict[Any, _Known] = {}
        self._ready: deque[SessionEvent] = deque()
        self._stream: Any = None
        self._opened = False
        self._outdated = False
        self._request: asyncio.Task[Any] | None = None
        self._closed = False
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        async with self._lock:
            await self._open()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionEvent:
        while not self._ready:
            async with self._lock:
                if self._closed:
                    raise StopAsyncIteration
                if not self._opened:
                    await self._open()
                change = await self._next_change()
                if change is not None:
                    self._ready.extend(self._take(change))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Close the stream; a request that is waiting ends within a second. May be repeated."""
        self._closed = True
        self._ready.clear()
        async with self._lock:
            await self._close_stream()

    async def _make_ready(self) -> None:
        """Open the stream, or open it anew where sessions have come that its filter does not know."""
        if self._stream is None:
            await self._open()
        elif self._outdated:
            connection = await self._connect()
            with self._translated("watching sessions"):
                await self._open_stream(connection)

    async def _open(self) -> None:
        """Read which sessions there are, and open the stream at the time before that. Three commands."""
        connection = await self._connect()
        if drivers.is_mock(connection.client):
            raise ConfigurationError("watch() needs a replica set: mongomock has no change streams")
        with self._translated("watching sessions"), self._explained():
            # The reply's time is that of the newest write that the reading below is certain to see.
            time = (await connection.database.command("ping")).get("operationTime")
            if time is None:
                raise ConfigurationError(
                    "watch() needs a replica set: a standalone server has no change streams. One server is enough for a set: "
                    "mongod --replSet rs0, then rs.initiate()"
                )
            await self._learn(connection)
            if self._position is None:
                self._position = {"start_at_operation_time": Timestamp(time.time, time.inc + 1)}
            await self._open_stream(connection)
        self._opened = True

    async def _learn(self, connection: Connection) -> None:
        """Which documents the sessions are. One find by the index on the session or the user."""
        asked = {"session_id": self._scope.session_id} if self._scope.session_id is not None else self._scope.filter
        cursor = connection.collection.find(asked, projection={"session_id": 1, "session_type": 1, "user_id": 1})
        async for document in cursor:
            if self._scope.user_id not in {None, document.get("user_id")}:
                refuse_owner(document["session_id"], self._scope.user_id)
            self._remember(document["_id"], document)

    def _remember(self, key: Any, session: Mapping[str, Any]) -> None:
        self._known[key] = _Known(session["session_id"], session.get("session_type"), session.get("user_id"))

    async def _open_stream(self, connection: Connection) -> None:
        await self._close_stream()
        self._stream = await connection.collection.watch(
            pipeline_of(self._scope.filter, list(self._known)), **_opening_at(self._position or {})
        )
        self._outdated = False

    async def _close_stream(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            await asyncio.wait([request])
            if not request.cancelled():
                # Whatever went wrong with it concerns nobody any more.
                request.exception()
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _next_change(self) -> dict[str, Any] | None:
        """The next change, or None if there was none for a second. One getMore; after a failure, those of ``_open``."""
        gone_since = monotonic()
        while True:
            try:
                await self._make_ready()
                with self._translated("watching sessions"), self._explained():
                    return await self._requested()
            except StoreUnavailable:
                await self._forget_stream()
                if self._closed or monotonic() - gone_since > PATIENCE:
                    raise
                await asyncio.sleep(_PAUSE)

    async def _requested(self) -> dict[str, Any] | None:
        # A reader that waits no longer must not cut a reply in two: the request goes on, and the next reader gets it.
        request = self._request = self._request or asyncio.ensure_future(self._stream.try_next())
        change: dict[str, Any] | None = await asyncio.shield(request)
        self._request = None
        # The server has taken it; what fails from here on is not its fault.
        self._token = None
        if change is None:
            if not self._stream.alive:
                raise StoreError("watching sessions: the collection was dropped or renamed, and the stream ended with it")
            token = self._stream.resume_token
            if token is not None and token["_data"] > (self._position or {}).get("resume_after", {}).get("_data", ""):
                self._position = {"resume_after": token}
        return change

    async def _forget_stream(self) -> None:
        """Let go of a stream whose server is gone."""
        with self._translated("watching sessions"):
            try:
                await self._close_stream()
            except pymongo.errors.ConnectionFailure:
                # Nobody is left to be told.
                self._stream = None

    def _explained(self) -> AbstractContextManager[None]:
        return _Explained(self._token)

    def _take(self, change: Mapping[str, Any]) -> Sequence[SessionEvent]:
        """The events of a change. A session that is new to a watch of some sessions makes the stream's filter outdated."""
        if change["_id"]["_data"] <= (self._position or {}).get("resume_after", {}).get("_data", ""):
            # Of the same moment as the place where the stream was opened, and told already.
            return ()
        self._position = {"resume_after": change["_id"]}
        key = change["documentKey"]["_id"]
        session = change.get("session") or {}
        if change["operationType"] in {"insert", "replace"}:
            if any(session.get(name) != value for name, value in self._scope.filter.items()):
                # Replaced by one that is somebody else's.
                self._known.pop(key, None)
                return ()
            self._outdated = self._outdated or (bool(self._scope.filter) and key not in self._known)
            self._remember(key, session)
        known = self._known.get(key)
        if change["operationType"] == "delete":
            self._known.pop(key, None)
        return () if known is None else tuple(_events_of(change, known))


class _Explained:
    """What the server says of a token, in our words."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, pymongo.errors.OperationFailure):
            return
        if error.code in _CURSOR_GONE or error.has_error_label("ResumableChangeStreamError"):
            raise StoreUnavailable("watching sessions: the server let go of the stream") from error
        if error.code in _HISTORY_LOST:
            raise StoreError(
                "watching sessions: what followed resume_after is no longer in the server's oplog; read the sessions anew and "
                "watch without resume_after"
            ) from error
        if error.code in _BAD_TOKEN and self._token is not None:
            raise _bad_token(self._token) from error


_FIELDS: Final = r"^(active_runs(\.[^.]+)?$|runs(\.[0-9]+)?$|archive_id$|metadata($|\.)|summary($|\.)|session_data($|\.session_(name|state)($|\.)))"
"""The fields whose change is an event. A lease that is renewed and a checkpoint lie deeper than ``active_runs.<run_id>``."""

_UPDATED: Final = "$updateDescription.updatedFields"


def pipeline_of(scope: Mapping[str, str], keys: Sequence[Any]) -> list[dict[str, Any]]:
    """What the server does with the changes: those of ``keys`` and of new sessions of the scope, cut down to names and ids."""
    made = {"operationType": "insert", **{f"fullDocument.{name}": value for name, value in scope.items()}}
    changed: dict[str, Any] = {"operationType": {"$in": ["update", "replace", "delete"]}}
    if scope:
        changed["documentKey._id"] = {"$in": list(keys)}
    return [
        {"$match": {"$or": [made, changed]}},
        {"$project": _CUT_DOWN},
        {"$match": {"$or": [{"operationType": {"$ne": "update"}}, *({name: {"$ne": []}} for name in _TELLING)]}},
    ]


def _where_field(array: Any, name: str, pattern: str) -> dict[str, Any]:
    return {"$filter": {"input": array, "as": "field", "cond": {"$regexMatch": {"input": name, "regex": pattern}}}}


def _names_in(path: str) -> dict[str, Any]:
    """The keys of an embedded document; none of anything else."""
    return {"$cond": [{"$eq": [{"$type": path}, "object"]}, {"$map": {**_PAIRS, "input": {"$objectToArray": path}}}, []]}


_TELLING: Final = ("fields", "removed", "statuses")
_STATUS: Final = r"^active_runs\.[^.]+\.status$"
_PAIRS: Final = {"as": "pair", "in": "$$pair.k"}
_UPDATES: Final = {"$objectToArray": {"$ifNull": [_UPDATED, {}]}}
_RUN: Final = {"run_id": "$$run.run_id", "parent": "$$run.parent_run_id", "status": "$$run.status"}
_APPENDED: Final = {
    "$map": {"input": _where_field(_UPDATES, "$$field.k", r"^runs\.[0-9]+$"), "as": "pair", "in": "$$pair.v"},
}
_CUT_DOWN: Final = {
    "operationType": 1,
    "clusterTime": 1,
    "wallTime": 1,
    "documentKey._id": 1,
    "session.session_id": "$fullDocument.session_id",
    "session.session_type": "$fullDocument.session_type",
    "session.user_id": "$fullDocument.user_id",
    "begun": {"$concatArrays": [_names_in("$fullDocument.active_runs"), _names_in(f"{_UPDATED}.active_runs")]},
    "fields": {"$map": {**_PAIRS, "input": _where_field(_UPDATES, "$$field.k", _FIELDS)}},
    "statuses": {
        "$map": {
            "input": _where_field(_UPDATES, "$$field.k", _STATUS),
            "as": "pair",
            "in": {"name": "$$pair.k", "status": "$$pair.v"},
        }
    },
    "removed": _where_field({"$ifNull": ["$updateDescription.removedFields", []]}, "$$field", _FIELDS),
    # The first runs of a session are logged as the whole list, later ones each by its index.
    "runs": {
        "$map": {
            "input": {
                "$concatArrays": [{"$cond": [{"$isArray": [f"{_UPDATED}.runs"]}, f"{_UPDATED}.runs", []]}, _APPENDED],
            },
            "as": "run",
            "in": _RUN,
        }
    },
    "counted": {"$ne": [{"$type": f"{_UPDATED}.run_count"}, "missing"]},
    "archived": {"$ne": [{"$type": f"{_UPDATED}.archived_runs"}, "missing"]},
}


def _events_of(change: Mapping[str, Any], known: _Known) -> Iterator[SessionEvent]:
    """The events of one change, oldest first. Only the last has the change's own token, so that going on behind an
    earlier one repeats it and loses none.
    """
    time = change["clusterTime"]
    found = list(_kinds_of(change))
    wall: datetime | None = change.get("wallTime")
    at = time.as_datetime() if wall is None else wall.replace(tzinfo=timezone.utc)
    for number, (kind, details) in enumerate(found, start=1):
        yield SessionEvent(
            kind=kind,
            session_id=known.session_id,
            session_type=known.session_type,
            user_id=known.user_id,
            at=at,
            token=change["_id"]["_data"] if number == len(found) else f"@{time.time}.{time.inc}",
            **details,
        )


def _kinds_of(change: Mapping[str, Any]) -> Iterator[tuple[SessionEventKind, dict[str, Any]]]:
    operation = change["operationType"]
    if operation == "delete":
        yield "deleted", {}
        return
    if operation == "insert":
        yield "created", {}
    for run_id in _begun(change):
        yield "run_begun", {"run_id": run_id}
    if operation == "replace":
        yield "updated", {}
    elif operation == "update":
        yield from _kinds_of_update(change)


def _kinds_of_update(change: Mapping[str, Any]) -> Iterator[tuple[SessionEventKind, dict[str, Any]]]:
    changed = _changed(change)
    finished = _finished(change)
    if finished:
        yield "run_finished", {**finished, "changed": changed}
    elif change.get("statuses"):
        yield from _kinds_of_statuses(change["statuses"], changed)
    elif "session_name" in changed:
        yield "renamed", {"changed": tuple(name for name in changed if name != "session_name")}
    elif changed:
        yield "updated", {"changed": changed}


def _kinds_of_statuses(
    statuses: Sequence[Mapping[str, Any]], changed: tuple[str, ...]
) -> Iterator[tuple[SessionEventKind, dict[str, Any]]]:
    for found in statuses:
        run_id = values.decode_key(found["name"].split(".")[1])
        kind: SessionEventKind = "run_paused" if found["status"] == PAUSED else "run_continued"
        yield kind, {"run_id": run_id, "status": found["status"], "changed": changed}


def _begun(change: Mapping[str, Any]) -> Iterator[str]:
    for run_id in change.get("begun") or ():
        yield values.decode_key(run_id)
    for name in change.get("fields") or ():
        if name.startswith("active_runs."):
            yield values.decode_key(name.removeprefix("active_runs."))


def _finished(change: Mapping[str, Any]) -> dict[str, Any] | None:
    """The run that was appended, by the entry of its input that went, and its members; None if there is none."""
    if not change["counted"]:
        return None
    went = {values.decode_key(name.removeprefix("active_runs.")) for name in change["removed"] if name.startswith("active_runs.")}
    for run in change["runs"]:
        if run.get("run_id") in went:
            members = tuple(member["run_id"] for member in change["runs"] if member.get("parent") == run["run_id"])
            return {"run_id": run["run_id"], "status": run.get("status"), "member_run_ids": members}
    return None


def _changed(change: Mapping[str, Any]) -> tuple[str, ...]:
    """What of the session was written, by the names that a user knows."""
    found: dict[str, None] = {}
    for name in (*change["fields"], *change["removed"]):
        top, _, below = name.partition(".")
        if top == "session_data" and below:
            found[below.partition(".")[0]] = None
        elif top in {"session_data", "metadata", "summary"}:
            found[top] = None
        elif name == "archive_id" or (name == "runs" and not (change["archived"] or change["counted"])):
            # A rewind turns to another segment of the archive; a move to the archive leaves what the runs are.
            found["runs"] = None
    return tuple(found)
