"""The bracket around every run: begin, run the body, finish. The only place that knows the whole order.

Whatever happens in between, the run is stored: completed, failed, cancelled, or left by its reader. Two commands, none of them in
the middle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import replace
from time import perf_counter, time
from typing import Any, TypeVar

from agno_mongo.db import state as states
from agno_mongo.db import values
from agno_mongo.db.arguments import check_run_id
from agno_mongo.db.checkpoints import with_changes
from agno_mongo.db.documents import Session
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import Ahead, Claim
from agno_mongo.db.looking_back import session_with_runs
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.store import RunBegin, RunBegun, RunEnd
from agno_mongo.errors import (
    CheckError,
    CorruptSession,
    DocumentTooLarge,
    ModelError,
    OutputSchemaError,
    RunIsPaused,
    SessionBusy,
    SessionError,
    StateConflictError,
    StepFailed,
    StoreError,
    UnstorableValueError,
    WorkflowChanged,
)
from agno_mongo.history import runs_of, runs_that_count
from agno_mongo.ids import new_id
from agno_mongo.inner_runs import InnerRuns, added
from agno_mongo.messages import Metrics
from agno_mongo.recording import Recording, paused_entry
from agno_mongo.resuming import Past, take_up
from agno_mongo.run.agent import (
    RunCancelledEvent,
    RunCompletedEvent,
    RunContinuedEvent,
    RunErrorEvent,
    RunOutputEvent,
    RunPausedEvent,
    RunStartedEvent,
    StateConflictEvent,
)
from agno_mongo.run.base import BaseRunOutput, RunContext, RunStatus
from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.run_settings import Settings
from agno_mongo.stopping import Stopping
from agno_mongo.streams import uninterrupted
from agno_mongo.summaries import Summaries
from agno_mongo.unstored import unstored
from agno_mongo.upkeep import Upkeep
from agno_mongo.working_state import add_again, encoded_additions, encoded_state, lay_on

T = TypeVar("T")


class Execution:
    """One run between its two commands. ``run``, ``session`` and ``context`` are there once it has begun; ``past`` is what a run brings with it
    that goes on. ``input_changed``: the body has put another input into ``run`` than the one that the run began with. The body sets
    ``runs_shown``, how many runs its history goes back, if ``history_runs`` of the settings do not say it: a move to the archive leaves so many
    within reach. ``steps`` are the finished steps of a run that consists of some, encoded: while it is not stored whole they are kept in its entry, beside
    ``fixed``, what else its entry has from the first checkpoint on.

    A run ``within`` another, a member's in its team's, sends no commands; ``root_db`` is where the outermost one is stored. It begins with the outer run's state as it is then, and when it has
    ended the outer run has its record, to be stored with its own, and its changes to the state.
    """

    session: Session
    context: RunContext

    def __init__(self, db: MongoDb | None, run: Any, settings: Settings, *, within: Execution | None = None) -> None:
        self._db = db if within is None else None
        self._settings = settings
        self._within = within
        self.root_db: MongoDb | None = db if within is None else within.root_db
        self._started = perf_counter()
        self._base_state: dict[str, Any] = {}
        self._state_revision: int | None = None
        self._attempt = new_id() if settings.reused_id or settings.continues else None
        self._continued_by = self._attempt if settings.continues else None
        self._upkeep: Upkeep | None = None
        self._is_guest = False
        self._begun_with_media = False
        self._cached_runs: list[Any] | None = None
        self._run_count = 0
        self._stopping = Stopping(self.root_db, settings.key, run.run_id or "", settings.whose)
        self._ids = run.event_ids()
        self._inner = InnerRuns(stored=settings.recording.store_inner, when_replaced=self._send_all_again)
        self.run = run
        self.past = Past()
        self.steps: list[dict[str, Any]] = []
        self.fixed: dict[str, Any] = {}
        self.input_changed = False
        self.runs_shown = 0

    @property
    def key(self) -> SessionKey:
        """Whose session the run belongs to."""
        return self._settings.key

    def event(self, kind: Callable[..., T], **data: Any) -> T:
        """An event of this run: of the given class, or the one that stands for it in runs of this kind."""
        of_kind: Callable[..., T] = self.run.EVENT_KINDS.get(kind, kind)
        return of_kind(**self._ids, **data)

    async def events(
        self, body: Callable[[Execution], AsyncGenerator[RunOutputEvent, None]]
    ) -> AsyncGenerator[RunOutputEvent, None]:
        """The events of the whole run, RunStarted to RunCompleted, RunPaused, RunCancelled or RunError.

        Raises what the store raises, always; what the body raises only if it is neither a ModelError nor a CheckError, or if ``raise_errors`` or
        ``raise_check_errors`` is set. Closing the generator, or cancelling whoever reads it, stores the run as cancelled; so does a request to stop
        it, which ends it in good order.
        """
        with self._stopping as stopping:
            try:
                await self._begin()
            except asyncio.CancelledError as error:
                if not stopping.is_cause_of(error):
                    raise
                yield self.event(RunCancelledEvent)
                return
            failure: BaseException | None = None
            left: GeneratorExit | None = None
            try:
                async with self._alive(), aclosing(body(self)) as events:
                    yield self._settings.recording.noted(self._first_event(), self.run)
                    stopping.listen()
                    async for event in events:
                        stopping.let_go()
                        try:
                            yield self._settings.recording.noted(event, self.run)
                        except GeneratorExit as gone:
                            left = gone
                            raise
                        stopping.listen()
            except BaseException as error:  # noqa: BLE001 - raised again below, once the run is stored
                # A reader who has left is why the run ended, whatever goes wrong on the way out.
                failure = left or error
            stopping.close()
            stopped = stopping.is_cause_of(failure)
            failure = None if stopped else failure
            self._close_run(failure, stopped=stopped)
            last = self._settings.recording.noted(self._last_event(failure), self.run)
            conflicts = await self._stored(failure)
        if conflicts:
            yield self.event(StateConflictEvent, paths=conflicts)
        if self.run.status is RunStatus.completed:
            last.session_state = self.run.session_state
            if self._settings.summaries is not None:
                async with aclosing(self._summed_up(self._settings.summaries)) as events:
                    async for event in events:
                        yield event
        # Somebody may have wanted it cancelled in the moment in which it paused.
        cancelled = self.run.is_cancelled and last.is_paused
        yield self.event(RunCancelledEvent) if cancelled else last

    def _last_event(self, failure: BaseException | None) -> Any:
        """How the run ended. Its reader hears of it once the run is stored."""
        run = self.run
        if run.status is RunStatus.cancelled:
            return self.event(RunCancelledEvent, reason=str(failure or "") or None)
        if failure is not None:
            more = {name: getattr(failure, name) for name in ("error_id", "additional_data") if isinstance(failure, CheckError)}
            return self.event(RunErrorEvent, content=str(failure), error_type=type(failure).__name__, **more)
        if run.status is RunStatus.paused:
            return self.event(RunPausedEvent, **run.paused_data())
        return self.event(RunCompletedEvent, **run.completed_data())

    async def _summed_up(self, summaries: Summaries) -> AsyncGenerator[RunOutputEvent, None]:
        """Sum up the session, if enough is new. The run is stored, whatever comes of it."""
        if self._db is None:
            return
        async with aclosing(
            summaries.after_run(self._db, self._settings.key, self.session, self._run_count, self.event)
        ) as events:
            async for event in events:
                yield event

    def session_for_users(self) -> Session:
        """The session for functions of the user's, who may change it: for this run, and not for those that are shown the same cached runs."""
        session = self.session
        if self._settings.cache is not None and self._cached_runs is None and session.runs is not None:
            self._cached_runs = session.runs
            session.runs = [run.model_copy(deep=True) for run in session.runs]
        return session

    def _first_event(self) -> RunOutputEvent:
        data = self.run.started_data()
        return self.event(RunContinuedEvent, **data) if self._settings.continues else self.event(RunStartedEvent, **data)

    async def _to_begin(self) -> RunBegin:
        """What the first command needs. Raises UnstorableValueError, which names the value, before anything is stored."""
        settings = self._settings
        path = f"session {settings.key.session_id!r}"
        default = values.encode(settings.default_state, path="session_state")
        metadata = values.encode(settings.metadata, path="metadata")
        values.encode(settings.run_metadata, path="metadata")
        answers = None if settings.answers is None else [answer.to_dict() for answer in settings.answers]
        return RunBegin(
            key=settings.key,
            run_id=check_run_id(self.run.run_id),
            input=values.encode(
                await self._settings.recording.kept(self.run.input and self.run.input.input_content), path="input"
            ),
            media=await self._media_of_input(),
            state=default,
            metadata=metadata,
            component_id=settings.component_id,
            component=values.encode(settings.component, path=f"{path} {settings.key.session_type.data_field}"),
            runs_wanted=settings.runs_wanted,
            lease=settings.lease,
            reused_id=settings.reused_id,
            yields=settings.concurrent_runs != "allow",
            attempt=self._attempt,
            known=settings.cache.known(settings.key, settings.runs_wanted) if settings.cache is not None else None,
            first_runs=[values.encode(run, path="introduction") for run in settings.first_runs],
            answers=values.encode(answers, path="requirements"),
            wishes=settings.recording.wishes,
        )

    async def _begin(self) -> None:
        self.run.session_state = None
        run_state = values.encode(self._settings.run_state, path="session_state")
        begin = await self._to_begin()
        self._stopping.listen()
        begun, cancelled = await self._uninterrupted(lambda: self._entered(begin))
        self._enter(begun, begin, run_state)
        try:
            if cancelled is not None:
                raise cancelled
            while begun.ahead:
                begun = await self._turn(begin, begun.ahead)
                self._enter(begun, begin, run_state)
            await self._load_more_history()
        except BaseException as error:
            self._stopping.let_go()
            await self._not_begun(error)
            raise
        self._stopping.let_go()

    async def _media_of_input(self) -> dict[str, Any]:
        found = self.run.input.media() if self.run.input is not None else {}
        kept: dict[str, Any] = values.encode(await self._settings.recording.kept(found), path="input") if found else {}
        return kept

    async def _entered(self, begin: RunBegin) -> RunBegun:
        """The run has begun, or goes on. Where what is stored cannot be read the run is given up: nothing is left of one that was to begin.
        One that was not answered as it must be is paused again, and so is one that waited and cannot be read.
        """
        try:
            begun = await self._begun(begin)
            if begun.started_at is not None:
                # The same moment for everybody, whatever this machine's clock says: whoever goes on with the run, and who reads it meanwhile.
                self.run.created_at = int(begun.started_at)
            self._take_up(begun.entry or {})
            if self._settings.continues and self._settings.paused_run is not None and self.root_db is None:
                self._settings.paused_run.goes_on()
        except (CorruptSession, RunIsPaused, WorkflowChanged) as error:
            if self._upkeep is not None:
                await self._upkeep.give_up(paused=isinstance(error, RunIsPaused) or self._settings.answers is not None)
            raise
        return begun

    async def _begun(self, begin: RunBegin) -> RunBegun:
        if self._db is None:
            return unstored(begin, self._settings) if self._within is None else self._begun_within(self._within, begin)
        claim = Claim(key=begin.key, run_id=begin.run_id, continued_by=self._continued_by, attempt=self._attempt)
        self._upkeep = Upkeep(self._db, claim, begin.lease, self._stopping.request)
        if self._settings.continues:
            return await self._db.take_over_run(claim, begin)
        return await self._db.begin_run(begin)

    def _begun_within(self, outer: Execution, begin: RunBegin) -> RunBegun:
        begun = outer.begun_within(begin)
        return replace(begun, entry=outer.handed_over(begin.run_id)) if self._settings.continues else begun

    def _take_up(self, entry: Mapping[str, Any]) -> None:
        self.past = take_up(self.run, self._settings.key.session_id, entry, self._settings.fault_of)
        self._settings.check_past(self.past)
        self._started -= self.past.duration
        self.steps = self.past.steps
        self._inner.take_up(self.past)
        if self.past.is_cancelled:
            self._stopping.request()

    async def _not_begun(self, error: BaseException) -> None:
        """What is left of a run that did not come to its body: nothing, if others were ahead; else a run that failed, or was cancelled.
        One that was to go on stays interrupted, or paused; unless it was told to stop.
        """
        upkeep, given_up = self._upkeep, self._settings.continues and not self._stopping.requested
        if upkeep is not None and (given_up or isinstance(error, SessionBusy)):
            _, cancelled = await uninterrupted(lambda: upkeep.give_up(paused=self._settings.answers is not None))
            if cancelled is not None:
                raise cancelled
            return
        self._close_run(error)
        await self._stored(error)

    def _enter(self, begun: RunBegun, begin: RunBegin, run_state: dict[str, Any]) -> None:
        """Go on from the session as it is: once when the run has begun, and again when it has waited for others."""
        settings = self._settings
        self.session, self._base_state, self._state_revision = begun.session, begun.state, begun.state_revision
        self._is_guest = begun.is_guest
        self._begun_with_media = self._begun_with_media or begun.has_media
        earlier = [] if settings.overwrite_state else self.past.state_changes
        state = run_state if settings.overwrite_state else states.merge(begin.state, begun.state)
        if earlier:
            state = with_changes(state, [change for change in earlier if "added" not in change])
        if run_state and not settings.overwrite_state:
            state = states.merge(state, run_state)
        self.context = RunContext(
            run_id=begin.run_id,
            session_id=settings.key.session_id,
            user_id=settings.key.user_id,
            session_type=settings.key.session_type.value,
            session_state=values.decode(state),
            metadata=self._metadata(),
            **self._workflow(),
        )
        self.run.metadata = self.context.metadata
        self.context.state.check = _storable
        for change in earlier:
            if "added" in change:
                add_again(self.context, change)

    def _workflow(self) -> dict[str, Any]:
        """Which workflow the run is, or is within."""
        whose: Any = self.run if isinstance(self.run, WorkflowRunOutput) else None
        if whose is None and self._within is not None:
            whose = self._within.context
        return {} if whose is None else {"workflow_id": whose.workflow_id, "workflow_name": whose.workflow_name}

    def _metadata(self) -> dict[str, Any] | None:
        """The run's metadata, a dict of its own: the component's, over it what the session has, what the run had when it paused, and the call's."""
        merged: dict[str, Any] = {}
        for layer in (self._settings.metadata, self.session.metadata, self.past.metadata, self._settings.run_metadata):
            if layer:
                merged = states.merge(merged, values.decode(values.encode(layer, path="metadata")))
        return merged or None

    async def _turn(self, begin: RunBegin, ahead: Ahead) -> RunBegun:
        """Wait for those ahead, or refuse to; then see what they have left behind. The run's input is stored meanwhile."""
        assert self._db is not None
        assert self._upkeep is not None
        settings = self._settings
        await self._upkeep.turn(ahead, settings.queue_timeout if settings.concurrent_runs == "queue" else None)
        return await self._db.read_run_again(begin, self._upkeep.claim)

    async def checkpoint(self) -> None:
        """Store what the run has so far, if the component wants that. For moments when every tool call has its result, or a step has finished."""
        if self._upkeep is None or self._settings.checkpoint == "runs":
            return
        _, changes, _ = self._changed_state()
        # What consists of steps is kept by them: all of it would be sent again with each.
        record = await self._settings.recording.record(self.run) if self._settings.checkpoint == "tool-batch" else {}
        await self._upkeep.checkpoint(
            record, changes, input_changed=self.input_changed, parts=self._finished_parts(), fixed=self.fixed
        )

    def _finished_parts(self) -> dict[str, list[dict[str, Any]]]:
        """What has finished within the run, by the field of its entry that has it. Empty where there is no such thing."""
        parts = {"inner": self._inner.records, "steps": self.steps}
        return {name: part for name, part in parts.items() if part}

    def _changed_state(self) -> tuple[dict[str, Any], list[states.Change], list[UnstorableValueError]]:
        """The state as the run has it by now, what it changed there, and what of it cannot be stored."""
        with self.context.state.held() as additions:
            state, unstorable = encoded_state(self.context.session_state, self._base_state)
            added = encoded_additions(additions)
        return state, states.changes_of(self._base_state, state, added), unstorable

    def _alive(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._upkeep is None else self._upkeep.alive()

    async def _load_more_history(self) -> None:
        """Where runs that failed are among the newest, look further back. One read then, rarely more."""
        wanted, session = self._settings.history_runs, self.session
        if self._db is None or len(session.runs or ()) >= session.run_count or len(runs_that_count(session.runs or ())) >= wanted:
            return
        further = await session_with_runs(self._db, self._settings.key, told=wanted)
        # Deleted meanwhile? finish_run will say so.
        session.runs = session.runs if further is None else further.runs

    async def look_back_further(self, runs_to_read: Callable[[Sequence[BaseRunOutput]], int]) -> None:
        """Have more of the session's newest runs at hand, if ``runs_to_read``, given those that are, says so; 0 is enough.

        One read, and none if there are no more.
        """
        session = self.session
        at_hand = session.runs or []
        limit = 0 if self._db is None or len(at_hand) >= session.run_count else runs_to_read(at_hand)
        if limit > len(at_hand):
            assert self._db is not None
            key = self._settings.key
            further = await self._db.get_session(key.session_id, key.session_type, key.owner, runs_limit=limit)
            # Deleted meanwhile? finish_run will say so.
            session.runs = session.runs if further is None else further.runs

    def _close_run(self, failure: BaseException | None, *, stopped: bool = False) -> None:
        run = self.run
        run.metrics = run.metrics or Metrics()
        run.metrics.duration = perf_counter() - self._started
        run.close()
        if stopped:
            run.status = RunStatus.cancelled
        elif failure is None:
            run.status = RunStatus.paused if run.status is RunStatus.paused else RunStatus.completed
        elif isinstance(failure, Exception):
            run.status = RunStatus.error
            run.content_type = "str"
            if not isinstance(failure, OutputSchemaError):
                # That one leaves the answer that does not fit.
                run.content = str(failure) or type(failure).__name__
        else:
            # CancelledError, GeneratorExit, KeyboardInterrupt: somebody did not want to wait.
            run.status = RunStatus.cancelled

    async def _stored(self, failure: BaseException | None) -> tuple[str, ...]:
        """Store the run, whatever tries to interrupt it, then raise what must be raised: the store's errors before all others."""
        try:
            (conflicts, unstorable), cancelled = await self._uninterrupted(self._finish)
        except (StoreError, SessionError) as error:
            raise error from failure
        self.run.state_conflicts = list(conflicts) or None
        if cancelled is not None:
            raise cancelled
        if failure is not None and not self._is_told_by_the_run(failure):
            raise failure
        if unstorable:
            raise unstorable[0]
        if conflicts and self._settings.on_state_conflict == "raise":
            raise StateConflictError(
                f"run {self.run.run_id!r} and another changed {', '.join(conflicts)} of session {self.run.session_id!r} at once; "
                "the run is stored, its changes to these keys are not",
                session_id=self.run.session_id or "",
                run_id=self.run.run_id or "",
                paths=list(conflicts),
            )
        return conflicts

    async def _uninterrupted(self, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, asyncio.CancelledError | None]:
        """Without a database there is nothing that could be interrupted."""
        return (await work(), None) if self._keeps_nothing else await uninterrupted(work)

    def _is_told_by_the_run(self, failure: BaseException) -> bool:
        """True for what the run's status tells and what is not raised as well: a model's error, a hook's refusal."""
        if isinstance(failure, CheckError):
            return not self._settings.raise_check_errors
        return isinstance(failure, (ModelError, StepFailed)) and not self._settings.raise_errors

    async def _finish(self) -> tuple[tuple[str, ...], list[UnstorableValueError]]:
        state, changes, unstorable = self._changed_state()
        self.run.session_state = values.decode(state)
        self._inner.settle()
        if self._keeps_nothing or (self._is_guest and self.run.status is not RunStatus.completed):
            # A guest that failed leaves the run to the call that has it.
            if self._within is not None:
                self._within.adopt((), changes, {})
            return (), unstorable
        record, unstorable_parts = values.encode_lenient(await self._settings.recording.last_record(self.run), path="run")
        counters = added(self._inner.counters, self.run.metrics.counters())
        if self._within is not None:
            counters = {name: amount - self.past.counted.get(name, 0) for name, amount in counters.items()}
            own = () if self.run.is_paused and self.run.goes_on_with_outer else (record,)
            self._within.adopt([*self._inner.records, *own], changes, counters)
            if self._settings.own_session is not None and not self.run.is_paused:
                await self._settings.own_session.keep(await self._to_begin(), self._to_store(record), counters)
            return (), [*unstorable, *unstorable_parts]
        return await self._finish_run(record, changes, counters), [*unstorable, *unstorable_parts]

    async def _finish_run(
        self, record: dict[str, Any], changes: Sequence[states.Change], counters: Mapping[str, float]
    ) -> tuple[str, ...]:
        """Store the run, and those within it. Returns the state keys that another run had changed meanwhile."""
        assert self._db is not None
        if self._attempt is not None:
            record["attempt"] = self._attempt
        paused = self.run.status is RunStatus.paused
        end = RunEnd(
            key=self._settings.key,
            run_id=self.context.run_id,
            runs=[] if paused else self._to_store(record),
            changes=changes,
            counters={name: amount - self.past.counted.get(name, 0) for name, amount in counters.items()},
            pause=self._pause(record, counters) if paused else None,
            state_revision=self._state_revision,
            attempt=self._attempt,
            continued_by=self._continued_by,
            on_state_conflict=self._settings.on_state_conflict,
            history_runs=max(self._settings.history_runs, self.runs_shown) + len(self._inner.records),
            retention=self.session.retention,
            entry_has_media=self._entry_has_media,
        )
        try:
            ended = await self._db.finish_run(end)
            if ended.cancelled and await self._db.cancel_run(end.claim):
                self.run.status = RunStatus.cancelled
        except DocumentTooLarge as error:
            # Large runs are stored apart; it is the state.
            await self._db.finish_run(replace(end, changes=[]))
            raise DocumentTooLarge(
                f"the state of session {end.key.session_id!r} would be over MongoDB's limit of 16 MB for one document; run "
                f"{end.run_id!r} is stored, none of its changes to the state are"
            ) from error
        if (cache := self._settings.cache) is not None:
            before = self.session.runs if self._cached_runs is None else self._cached_runs
            cache.ended(end.key, self.session, before, end.runs, revision=ended.revision, wanted=self._settings.runs_wanted)
        self._run_count = ended.run_count
        return ended.conflicts

    def _to_store(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """The records of the run and of those within it."""
        records: list[dict[str, Any]] = self.run.with_inner(record, self._inner.records if self.recording.store_inner else ())
        return records

    @property
    def _keeps_nothing(self) -> bool:
        """True if there is no database in which the run would be kept."""
        return self.root_db is None and self._settings.own_session is None

    @property
    def _entry_has_media(self) -> bool:
        """True if content may have been stored apart that the run's record does not need: with its input, which it has too, only if that was changed."""
        taken_up = self._begun_with_media and (self.input_changed or self._settings.continues)
        return taken_up or (self._upkeep is not None and self._upkeep.has_media)

    def _pause(self, record: dict[str, Any], counters: Mapping[str, float]) -> dict[str, Any]:
        entry = paused_entry(self.run, record, input_changed=self.input_changed)
        entry["run"] |= self.fixed.get("run") or {}
        # What runs within it have used is theirs, though the run tells of it.
        own = self.run.metrics.counters()
        entry["metrics"] = {name: amount for name, amount in entry["metrics"].items() if name in own or name not in counters}
        return {**entry, **self._finished_parts(), "counted": {**entry["counted"], **counters}}

    async def now(self) -> float:
        """Unix seconds, by the server's clock; by this machine's where there is no database."""
        return time() if self.root_db is None else await self.root_db.server_time()

    @property
    def recording(self) -> Recording:
        """What of the run is stored."""
        return self._settings.recording

    @property
    def keeps_checkpoints(self) -> bool:
        """True if what has finished within the run is stored before the run ends."""
        return self._upkeep is not None and self._settings.checkpoint != "runs"

    def stop(self) -> None:
        """End the run as cancelled, at its next event, and with it those that it is within."""
        self._stopping.request()
        if self._within is not None:
            self._within.stop()

    # Runs within this one.

    def begun_within(self, begin: RunBegin) -> RunBegun:
        """What a run within this one begins with: the session, with those of its runs that the component has run before, and the state as this
        run has it now.
        """
        outermost = self
        while outermost._within is not None:
            outermost = outermost._within
        runs = runs_of(outermost.session.runs or (), begin.component_id) if begin.runs_wanted else []
        return RunBegun(session=self.session.model_copy(update={"runs": runs}), state=self.state_now(), state_revision=None)

    def state_now(self) -> dict[str, Any]:
        """The state as the run has it now, encoded."""
        return encoded_state(self.context.session_state, self._base_state)[0]

    def waits_within(self, run_id: str | None) -> bool:
        """True if a run of this id within this one, or within the one around it, has paused and did not go on yet."""
        return self._inner.has_waiting(run_id) or (self._within is not None and self._within.waits_within(run_id))

    def handed_over(self, run_id: str) -> dict[str, Any]:
        """What a run within this one that has paused goes on from. Until it is adopted again, what is stored of it is that it waits."""
        if self._within is not None and not self._inner.has(run_id):
            return self._within.handed_over(run_id)
        return self._inner.entry_of(run_id, self.past.answers)

    def adopt(self, records: Sequence[dict[str, Any]], changes: Sequence[states.Change], counters: Mapping[str, float]) -> None:
        """Take over what a run within this one has come to: its record, to be stored before this run's own, and its changes to the state,
        which are laid on this run's, key by key. Counters and lists are added to. The record of a run that had paused takes the place of what it had
        stored then.
        """
        self._inner.adopt(records, counters)
        lay_on(self.context, changes)

    def _send_all_again(self) -> None:
        if self._upkeep is not None:
            self._upkeep.send_all_again()

    def hand_on(self) -> None:
        """Let the outer run have what this one has come to so far, and not only at its end. Nothing, if there is none."""
        if self._within is None:
            return
        state, changes, _ = self._changed_state()
        self.context.state.forget()
        self._base_state = state
        records, counters = self._inner.handed_on()
        self._within.adopt(records, changes, counters)
        self._within.hand_on()


def _storable(value: Any, path: str) -> None:
    values.encode(value, path=path)
