"""Runs that meet in one session: beside each other, refused, or one after the other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from time import monotonic
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient
from typing_extensions import Self

from agno_mongo import upkeep
from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import Claim
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.open_runs import Renewed
from agno_mongo.db.store import RunBegin
from agno_mongo.errors import RunAlreadyFinished, RunTakenOver, SessionBusy, SessionNotFound
from agno_mongo.execution import Settings
from agno_mongo.models.base import ModelRequest
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.upkeep import Upkeep
from tests.processes import child
from tests.test_checkpoints import stored_entry
from tests.test_commands import Recorder, recorded

__all__ = ["recorded"]


class Held:
    """A run of ``db`` that goes on until it is let go."""

    def __init__(self, db: MongoDb, run_id: str | None = None, **settings: Any) -> None:
        self._run_id = run_id
        self._asked, self._let_go = asyncio.Event(), asyncio.Event()
        self.agent = Agent(model=ScriptedModel(self._hold), db=db, session_id="s", **settings)

    async def _hold(self, _request: ModelRequest) -> str:
        self._asked.set()
        await self._let_go.wait()
        return "done"

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.agent.arun("hold", run_id=self._run_id))
        await self._asked.wait()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.let_go()

    async def let_go(self) -> None:
        self._let_go.set()
        await self.task


def agent_on(db: MongoDb, *script: Any, **settings: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), db=db, session_id="s", **settings)


async def inputs(db: MongoDb) -> list[Any]:
    return [run.input.input_content for run in (await db.get_session("s")).runs]


async def waiting(db: MongoDb, count: int) -> None:
    """Until ``count`` runs are open in the session."""
    while len((await db.get_session("s")).active_runs) < count:
        await asyncio.sleep(0.005)


async def leases(db: MongoDb) -> dict[str, float]:
    """Until when each open run of the session has its lease."""
    found = await (await db._connection()).collection.find_one({"session_id": "s"})
    return {run_id: entry["lease_until"] for run_id, entry in found["active_runs"].items()}


class TestAllowed:
    async def test_runs_go_on_beside_each_other(self, db: MongoDb) -> None:
        async with Held(db):
            assert (await agent_on(db, "ok").arun("go")).content == "ok"
        assert await inputs(db) == ["go", "hold"]


class TestRejected:
    async def test_runs_say_how_many_are_ahead_and_leave_no_trace(self, db: MongoDb) -> None:
        async with Held(db), Held(db):
            agent = agent_on(db, concurrent_runs="reject")
            with pytest.raises(SessionBusy, match=r"session 's': 2 other runs are going on there") as caught:
                await agent.arun("go")
            assert caught.value.session_id == "s"
            assert caught.value.runs_ahead == 2
            soon = caught.value.lease_until - datetime.now(timezone.utc)
            assert timedelta(seconds=50) < soon < timedelta(seconds=70)
            assert len((await db.get_session("s")).active_runs) == 2
            with pytest.raises(SessionBusy):
                async for _ in agent.arun("go", stream=True):
                    pass
        assert await inputs(db) == ["hold", "hold"]
        assert (await agent_on(db, "ok", concurrent_runs="reject").arun("go")).content == "ok"

    async def test_runs_do_not_mind_the_dead(self, db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
        await left_behind(db, monkeypatch)
        assert (await agent_on(db, "ok", concurrent_runs="reject").arun("go")).content == "ok"

    async def test_one_of_many_at_once_goes_on(self, db: MongoDb) -> None:
        refused: list[SessionBusy] = []
        all_others_refused = asyncio.Event()

        async def work(_request: ModelRequest) -> str:
            await asyncio.wait_for(all_others_refused.wait(), 30)
            return "ok"

        async def run() -> str:
            try:
                return str((await agent_on(db, work, concurrent_runs="reject").arun("go")).content)
            except SessionBusy as busy:
                refused.append(busy)
                if len(refused) == 9:
                    all_others_refused.set()
                return "refused"

        outcomes = await asyncio.gather(*(run() for _ in range(10)))
        assert sorted(outcomes) == ["ok", *["refused"] * 9]
        assert len(await inputs(db)) == 1


async def left_behind(db: MongoDb, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """A run as a dead process leaves it: begun, its lease run out."""
    with monkeypatch.context() as patch:
        patch.setattr(Settings, "lease", -60.0)
        async with Held(db, **options) as held:
            finish_run, db.finish_run = db.finish_run, None  # type: ignore[method-assign, assignment]
            held.task.cancel()
            await asyncio.gather(held.task, return_exceptions=True)
            db.finish_run = finish_run  # type: ignore[method-assign]
            held.task = asyncio.create_task(asyncio.sleep(0))  # type: ignore[arg-type]


class TestQueued:
    async def test_runs_come_in_the_order_in_which_they_arrived(self, db: MongoDb) -> None:
        async with Held(db) as held:
            tasks = []
            for number in range(5):
                agent = agent_on(db, "ok", concurrent_runs="queue")
                # Digits alone are where an order of keys would show that it is none.
                tasks.append(asyncio.create_task(agent.arun(f"run {number}", run_id=str(5 - number))))
                await waiting(db, number + 2)
            await held.let_go()
            await asyncio.gather(*tasks)
        assert await inputs(db) == ["hold", *(f"run {number}" for number in range(5))]

    async def test_a_run_sees_what_those_ahead_have_left_behind(self, db: MongoDb) -> None:
        def count(run_context: RunContext) -> int:
            run_context.session_state["n"] += 1
            return run_context.session_state["n"]

        def agent() -> Agent:
            return agent_on(
                db, ToolCall("count"), "ok", tools=[count], session_state={"n": 0},
                add_history_to_context=True, concurrent_runs="queue",
            )  # fmt: skip

        agents = [agent() for _ in range(5)]
        runs = await asyncio.gather(*(agent.arun(f"{number}") for number, agent in enumerate(agents)))
        assert sorted((run.session_state or {})["n"] for run in runs) == [1, 2, 3, 4, 5]
        assert sorted(len(agent.model.requests[0].messages) for agent in agents) == [1, 5, 9, 13, 13]  # type: ignore[attr-defined]

    async def test_ten_runs_of_two_processes_take_turns(
        self, mongo_url: str, db_name: str, mongo_db: MongoDb, child_environment: dict[str, str]
    ) -> None:
        async with Held(mongo_db) as held:
            children = [await child("queue", mongo_url, db_name, name, child_environment) for name in "ab"]
            await waiting(mongo_db, 11)
            arrived = list((await mongo_db.get_session("s")).active_runs)
            await held.let_go()
            assert await asyncio.gather(*(process.wait() for process in children)) == [0, 0]
        session = await mongo_db.get_session("s")
        assert session.active_runs == {}
        assert [run.run_id for run in session.runs] == arrived
        # Each was shown all that came before it: none began before the one ahead had finished.
        assert [run.content for run in session.runs[1:]] == [f"{2 * number + 1} messages" for number in range(1, 11)]

    async def test_the_crash_of_the_one_ahead_is_waited_out(
        self, mongo_url: str, db_name: str, mongo_db: MongoDb, child_environment: dict[str, str]
    ) -> None:
        process = await child("die", mongo_url, db_name, "", child_environment)
        assert await process.wait() == 9
        run = await agent_on(mongo_db, "ok", concurrent_runs="queue", queue_timeout=10).arun("go")
        assert run.status == RunStatus.completed
        session = await mongo_db.get_session("s")
        assert [run.status for run in session.unfinished_runs] == [RunStatus.interrupted]

    async def test_a_run_gives_up_in_time_and_leaves_no_trace(self, db: MongoDb) -> None:
        async with Held(db):
            started = monotonic()
            with pytest.raises(SessionBusy, match=r"did not finish within queue_timeout=0\.2 s") as caught:
                await agent_on(db, concurrent_runs="queue", queue_timeout=0.2).arun("go")
            assert 0.2 <= monotonic() - started < 30
            assert caught.value.runs_ahead == 1
            assert len((await db.get_session("s")).active_runs) == 1
        assert await inputs(db) == ["hold"]

    async def test_a_run_within_a_run_of_the_same_agent_gives_up_and_tells_the_model(self, db: MongoDb) -> None:
        async def again(agent: Agent) -> str:
            return str((await agent.arun("inner")).content)

        agent = agent_on(db, ToolCall("again"), "ok", tools=[again], concurrent_runs="queue", queue_timeout=0.1)
        run = await agent.arun("outer")
        assert "SessionBusy: session 's': 1 other run is going on there" in str((run.tools or ())[0].result)
        assert await inputs(db) == ["outer"]

    async def test_a_run_that_is_cancelled_while_it_waits_is_stored_as_cancelled(self, db: MongoDb) -> None:
        async with Held(db):
            task = asyncio.create_task(agent_on(db, concurrent_runs="queue").arun("go"))
            await waiting(db, 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            session = await db.get_session("s")
            assert [(run.input.input_content, run.status) for run in session.runs] == [("go", RunStatus.cancelled)]
            assert len(session.active_runs) == 1

    async def test_a_run_keeps_its_place_however_long_it_waits(self, db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upkeep, "RENEWED_EVERY", 0.3)
        async with Held(db) as held:
            task = asyncio.create_task(agent_on(db, "ok", concurrent_runs="queue").arun("go"))
            await waiting(db, 2)
            for _ in range(2):
                before = await leases(db)
                while any(lease <= before[run_id] for run_id, lease in (await leases(db)).items()):
                    await asyncio.sleep(0.01)
            assert not task.done()
            assert [run.status for run in (await db.get_session("s")).unfinished_runs] == [RunStatus.running] * 2
            await held.let_go()
            assert (await task).status == RunStatus.completed

    async def test_a_run_whose_session_is_deleted_while_it_waits_says_so(self, db: MongoDb) -> None:
        held = Held(db)
        async with held:
            task = asyncio.create_task(agent_on(db, concurrent_runs="queue").arun("go"))
            await waiting(db, 2)
            await db.delete_session("s")
            with pytest.raises(SessionNotFound, match="was deleted while run"):
                await task
            with pytest.raises(SessionNotFound):
                await held.let_go()
            held.task = asyncio.create_task(asyncio.sleep(0))  # type: ignore[arg-type]
        assert await db.get_session("s") is None


@pytest.mark.parametrize("reused_id", [True, False])
async def test_a_run_that_others_took_while_it_waited_hears_of_that(db: MongoDb, reused_id: bool) -> None:
    """Its process was stalled for longer than its lease."""
    key = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None)
    begin = RunBegin(
        key=key, run_id="r", input="hold", state={}, metadata=None, component_id=None, component={}, runs_wanted=0,
        lease=-60, reused_id=reused_id,
    )  # fmt: skip
    await db.begin_run(begin)
    second = Claim(key=key, run_id="r", continued_by="second")
    await db.take_over_run(second, begin)
    await db.take_over_run(replace(second, continued_by="third"), begin)
    waiting = [second] if reused_id else [begin.claim, second]
    for claim in waiting:
        with pytest.raises(RunTakenOver):
            await db.read_run_again(begin, claim)
    assert await db.cancel_run(second)
    for claim in [begin.claim, second]:
        with pytest.raises(RunAlreadyFinished):
            await db.read_run_again(begin, claim)


@pytest.mark.parametrize("mode", ["allow", "reject", "queue"])
async def test_a_turn_that_meets_nobody_is_two_commands(recorded: tuple[MongoDb, Recorder], mode: Any) -> None:
    db, recorder = recorded
    agent = agent_on(db, "ok", "ok", concurrent_runs=mode)
    await agent.arun("connects")
    recorder.sent.clear()
    await agent.arun("go")
    assert recorder.names == ["findAndModify", "findAndModify"]


class TestASecondCallWithARunIdThatIsAlive:
    """The entry of the run is the first one's; the second is its guest."""

    async def test_takes_nothing_from_the_first_when_it_is_refused(self, db: MongoDb) -> None:
        async with Held(db, "r") as held, Held(db):
            before = (await db.get_session("s")).active_runs["r"]
            with pytest.raises(SessionBusy):
                await agent_on(db, concurrent_runs="reject").arun("hold", run_id="r")
            assert (await db.get_session("s")).active_runs["r"] == before
        assert held.task.result().content == "done"
        assert await inputs(db) == ["hold", "hold"]

    async def test_waits_for_it_where_runs_wait_and_hears_that_it_has_finished(self, db: MongoDb) -> None:
        second = agent_on(db, concurrent_runs="queue", queue_timeout=10)
        async with Held(db, "r", concurrent_runs="queue"):
            other = asyncio.create_task(agent_on(db, "ok", concurrent_runs="queue", queue_timeout=10).arun("go"))
            await waiting(db, 2)
            task = asyncio.create_task(second.arun("hold", run_id="r"))
            await asyncio.sleep(0.1)
            assert not other.done()
        assert (await other).content == "ok"
        with pytest.raises(RunAlreadyFinished):
            await task
        assert second.model.requests == []  # type: ignore[union-attr]

    async def test_adds_nothing_to_its_checkpoints(self, db: MongoDb) -> None:
        def note(word: str) -> str:
            return word

        async def look(_request: ModelRequest) -> str:
            seen.append((await db.get_session("s")).active_runs["r"].messages)
            return "second"

        seen: list[Any] = []
        second = agent_on(db, ToolCall("note", {"word": "x"}), look, tools=[note], checkpoint="tool-batch")
        held = Held(db, "r")
        with pytest.raises(RunAlreadyFinished):
            async with held:
                assert (await second.arun("hold", run_id="r")).content == "second"
        assert seen == [None]
        assert [run.content for run in (await db.get_session("s")).runs] == ["second"]

    async def test_that_fails_leaves_the_run_to_it(self, db: MongoDb) -> None:
        def fail(_request: ModelRequest) -> str:
            raise ValueError("no")

        async with Held(db, "r"):
            with pytest.raises(ValueError, match="no"):
                await agent_on(db, fail).arun("hold", run_id="r")
        assert [run.content for run in (await db.get_session("s")).runs] == ["done"]

    async def test_keeps_the_run_alive_once_the_first_is_dead(self, db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
        async def slowly(_request: ModelRequest) -> str:
            while (await stored_entry(db))["attempt"] == "dead":
                await asyncio.sleep(0.01)
            assert (await db.get_session("s")).interrupted_runs == []
            return "ok"

        monkeypatch.setattr(upkeep, "RENEWED_EVERY", 0.4)
        begin = RunBegin(
            key=SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None), run_id="r", input="hold", state={},
            metadata=None, component_id=None, component={}, runs_wanted=0, lease=0.6, reused_id=True, attempt="dead",
        )  # fmt: skip
        await db.begin_run(begin)
        assert (await agent_on(db, slowly).arun("hold", run_id="r")).content == "ok"
        assert (await db.get_session("s")).active_runs == {}


async def test_a_renewal_that_hangs_does_not_cost_the_lease() -> None:
    """A busy machine is late with one try or another, but not with each of many."""
    lease = 1.5
    for _ in range(20):
        passed = await seconds_around_a_renewal_that_hangs(lease)
        if passed < lease - lease / 6:
            return
    pytest.fail(f"the lease of {lease} s was left alone for {passed:.2f} s, every time")


async def seconds_around_a_renewal_that_hangs(lease: float) -> float:
    """Between the renewal before it and the one after it."""

    class Hanging(MongoDb):
        """Its second renewal does not come back."""

        async def renew_lease(self, claim: Claim, lease: float) -> Renewed:
            renewed.append(monotonic())
            if len(renewed) == 2:
                await asyncio.sleep(60)
            return await super().renew_lease(claim, lease)

    renewed: list[float] = []
    claim = Claim(key=SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None), run_id="r")
    async with Upkeep(Hanging(client=AsyncMongoMockClient()), claim, lease).alive():
        while len(renewed) < 3:
            await asyncio.sleep(0.01)
    return renewed[2] - renewed[0]


async def test_a_run_may_end_in_the_moment_in_which_a_renewal_is_answered() -> None:
    answered = asyncio.Event()

    class Answering(MongoDb):
        async def renew_lease(self, _claim: Claim, _lease: float) -> Renewed:
            answered.set()
            return Renewed(alive=True)

    claim = Claim(key=SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None), run_id="r")

    async def ends() -> None:
        async with Upkeep(Answering(client=AsyncMongoMockClient()), claim, 0.3).alive():
            await answered.wait()

    await asyncio.wait_for(ends(), 30)
