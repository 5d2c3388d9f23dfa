"""What a run asks of the database while it lives. For the runtime, not for its users."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeVar

from agno_mongo.db import archive, media, open_runs, retired, sessions, store, summaries, values
from agno_mongo.db import retention as retentions
from agno_mongo.db.arguments import check_run_id
from agno_mongo.db.checkpoints import Checkpoint
from agno_mongo.db.connections import Connection
from agno_mongo.db.database import Database
from agno_mongo.db.documents import SessionSummary
from agno_mongo.db.expiry import moment
from agno_mongo.db.keys import NO_USER, SessionKey
from agno_mongo.db.leases import Ahead, Claim
from agno_mongo.db.open_runs import Renewed
from agno_mongo.db.store import RunBegin, RunBegun, RunEnd, RunEnded
from agno_mongo.errors import DocumentTooLarge
from agno_mongo.messages import Metrics

T = TypeVar("T")


class RunMethods(Database):
    """The commands of runs, each checked and its errors translated, and the work in the background that they give rise to."""

    # Runs: two commands each.

    async def begin_run(self, begin: RunBegin) -> RunBegun:
        """Record a run's input and return its session. See :func:`agno_mongo.db.store.begin_run`."""
        self._check_run(begin.key, begin.run_id)
        connection = await self._connection()
        what = f"beginning a run in session {begin.key.session_id!r}"
        begun = await self._with_room(connection, begin.key, begin.runs_wanted, what, lambda: store.begin_run(connection, begin))
        if connection.retention is not None and not connection.retention_applied:
            connection.background.start("applying the retention", self._apply_where_missing(connection))
        if begun.session.revision % retired.LOOKED_FOR_EVERY == 0:
            what = f"retiring interrupted runs of session {begin.key.session_id!r}"
            connection.background.start(what, self._retire(connection, begin.key, what))
        return begun

    async def finish_run(self, end: RunEnd) -> RunEnded:
        """Store a run's outcome. See :func:`agno_mongo.db.store.finish_run`."""
        self._check_run(end.key, end.run_id)
        connection = await self._connection()
        what = f"storing run {end.run_id!r} in session {end.key.session_id!r}"
        ended = await self._with_room(connection, end.key, end.history_runs, what, lambda: store.finish_run(connection, end))
        if ended.tail_overflows:
            what = f"moving older runs of session {end.key.session_id!r} to the archive"
            connection.background.start(what, self._move(connection, end, what))
        if ended.needed is not None:
            what = f"freeing what run {end.run_id!r} of session {end.key.session_id!r} does not need any more"
            connection.background.start(what, self._free(connection, end, ended.needed, what))
        if ended.margin_worn:
            what = f"keeping archive and media of session {end.key.session_id!r}"
            connection.background.start(what, self._keep_parts(connection, end.key, what))
        return ended

    async def _with_room(
        self, connection: Connection, key: SessionKey, history_runs: int, what: str, work: Callable[[], Awaitable[T]]
    ) -> T:
        """What the work returns, done again if older runs, moved to the archive, have made room for it in the document."""
        try:
            with self._translated(what):
                return await work()
        except DocumentTooLarge:
            with self._translated(what):
                # Not by far every call that is too large is so because of the document, nor is every document the caller's.
                await sessions.refuse_if_anothers(connection, key.session_id, key.user_id or NO_USER)
                await sessions.lift(connection, key.session_id)
                if not await archive.move(connection, key, history_runs=history_runs):
                    raise
                return await work()

    async def _move(self, connection: Connection, end: RunEnd, what: str) -> None:
        with self._translated(what):
            await retired.retire(connection, end.key)
            await archive.move(connection, end.key, history_runs=end.history_runs)

    async def _free(self, connection: Connection, end: RunEnd, needed: Collection[Any], what: str) -> None:
        with self._translated(what):
            await media.free_unneeded(connection, end.key, end.run_id, needed)

    async def _apply_where_missing(self, connection: Connection) -> None:
        with self._translated("applying the retention"):
            await retentions.apply_where_missing(connection)
        connection.retention_applied = True

    async def _retire(self, connection: Connection, key: SessionKey, what: str) -> None:
        with self._translated(what):
            await retired.retire(connection, key)

    async def _keep_parts(self, connection: Connection, key: SessionKey, what: str) -> None:
        with self._translated(what):
            await retentions.refresh_parts(connection, key)

    async def server_time(self) -> float:
        """Unix seconds by the server's clock, as far as it is known here. No command."""
        return (await self._connection()).now()

    # A run that takes longer, or waits for others.

    async def renew_lease(self, claim: Claim, lease: float) -> Renewed:
        """Say that a long run is alive; false if it is not open any more. See :func:`agno_mongo.db.open_runs.renew_lease`."""
        self._check_run(claim.key, claim.run_id)
        connection = await self._connection()
        with self._translated(f"renewing the lease of run {claim.run_id!r}"):
            renewed = await open_runs.renew_lease(connection, claim, lease)
            if renewed.expires_at is not None and renewed.expires_at < moment(connection.now() + lease):
                await retentions.stay(connection, claim.key, lease)
            return renewed

    async def still_ahead(self, claim: Claim, ahead: Ahead) -> Ahead:
        """Who of those ahead is still there. See :func:`agno_mongo.db.open_runs.still_ahead`."""
        self._check_run(claim.key, claim.run_id)
        connection = await self._connection()
        with self._translated(f"waiting for a turn in session {claim.key.session_id!r}"):
            return await open_runs.still_ahead(connection, claim, ahead)

    async def read_run_again(self, begin: RunBegin, claim: Claim) -> RunBegun:
        """The session as it is once a run's turn has come. See :func:`agno_mongo.db.open_runs.read_again`."""
        self._check_run(claim.key, claim.run_id)
        connection = await self._connection()
        with self._translated(f"beginning a run in session {begin.key.session_id!r}"):
            return await open_runs.read_again(connection, begin, claim)

    async def checkpoint_run(self, point: Checkpoint) -> Renewed:
        """Store what a run has so far. See :func:`agno_mongo.db.open_runs.checkpoint`."""
        self._check_run(point.claim.key, point.claim.run_id)
        connection = await self._connection()
        with self._translated(f"storing a checkpoint of run {point.claim.run_id!r}"):
            return await open_runs.checkpoint(connection, point)

    async def take_over_run(self, claim: Claim, begin: RunBegin) -> RunBegun:
        """Go on with a run whose process died, or that has paused. See :func:`agno_mongo.db.open_runs.take_over`."""
        self._check_run(claim.key, claim.run_id)
        connection = await self._connection()
        with self._translated(f"continuing run {claim.run_id!r} of session {claim.key.session_id!r}"):
            return await open_runs.take_over(connection, claim, begin)

    async def leave_run(self, claim: Claim, *, paused: bool = False) -> None:
        """Take back that a run has begun, or was taken over. See :func:`agno_mongo.db.open_runs.leave`."""
        self._check_run(claim.key, claim.run_id)
        connection = await self._connection()
        with self._translated(f"taking back run {claim.run_id!r} of session {claim.key.session_id!r}"):
            await open_runs.leave(connection, claim, paused=paused)

    async def cancel_run(self, claim: Claim) -> bool:
        """Stop a run, whoever has it; False if it has finished. See :func:`agno_mongo.db.open_runs.cancel`."""
        self._check_run(claim.key, claim.run_id)
        connection = await self._connection()
        with self._translated(f"cancelling run {claim.run_id!r} of session {claim.key.session_id!r}"):
            return await open_runs.cancel(connection, claim)

    # Beside runs.

    async def store_summary(self, key: SessionKey, summary: SessionSummary, used: Metrics) -> SessionSummary | None:
        """Store a summary that takes in ``summary.run_count`` runs, unless the stored one takes in more, and return what is stored then.

        ``used`` are the tokens it took, which are added to the session's. None if there is no such session any more. See
        :func:`agno_mongo.db.summaries.store`.
        """
        self._check(key.session_id, key.user_id)
        fields = values.encode(summary.to_dict(), path="summary")
        connection = await self._connection()
        with self._translated(f"storing the summary of session {key.session_id!r}"):
            found = await summaries.store(connection, key, fields, used.counters())
        stored = values.decode((found or {}).get("summary"))
        return None if stored is None else SessionSummary.model_validate(stored)

    async def in_background(self, name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Begin ``work`` and return; :meth:`close` waits for it. Work of the same name that is under way is followed by this, not joined."""
        connection = await self._connection()
        connection.background.start_or_follow(name, work)

    async def keep_in_background(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Begin ``work`` and return its task; :meth:`close` waits for it. What it raises is for who has the task."""
        connection = await self._connection()
        return connection.background.keep(name, work())

    def _check_run(self, key: SessionKey, run_id: Any) -> None:
        self._check(key.session_id, key.user_id)
        check_run_id(run_id)
