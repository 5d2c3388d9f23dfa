"""Runs that are told to stop: from this process at once, from another when they show life, and those that wait."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator
from time import sleep
from typing import Any

import pytest

from agno_mongo import stopping
from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    RunAlreadyFinished,
    RunNotFound,
    SessionNotFound,
    SessionOwnedByAnotherUser,
)
from agno_mongo.execution import Settings
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.upkeep import RENEWED_EVERY
from agno_mongo.workflow import Workflow
from tests.test_commands import Recorder, recorded
from tests.test_continuing import set_in_entry
from tests.test_pausing import Shop, paused
from tests.test_store_contract import begin
from tests.test_turns import Held, waiting

__all__ = ["recorded"]


def agent_on(db: MongoDb | None, *script: Any, **settings: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), db=db, **{"session_id": "s", **settings})


class Talker:
    """A model that says a word at a time and never comes to an end."""

    id, provider = "talker", "test"

    def __init__(self) -> None:
        self.talks = asyncio.Event()
        self.closed = False

    async def respond(self, _request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        try:
            while True:
                yield ModelDelta(content="bla ")
                self.talks.set()
                await asyncio.sleep(0.01)
        finally:
            self.closed = True


class OnAnother(MongoDb):
    """Another object on the same database, as another process has it."""

    def __init__(self, db: MongoDb) -> None:
        super().__init__(client=db._connections._client or InMemoryDb()._connections._client, db_name=db.db_name)
        self._connections = db._connections


async def stored(db: MongoDb, run_id: str = "r") -> RunOutput:
    run = await db.get_run("s", run_id)
    assert isinstance(run, RunOutput)
    return run


@pytest.fixture
def no_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run renews its lease while a test goes on, and so hears of nothing by a renewal."""
    monkeypatch.setattr("agno_mongo.upkeep.RENEWED_EVERY", 3600)
    monkeypatch.setattr(Settings, "lease", 3 * 3600)


class TestARunOfThisProcess:
    @pytest.mark.usefixtures("no_renewal")
    async def test_stops_in_the_middle_of_an_answer_and_keeps_what_was_said(self, db: MongoDb) -> None:
        talker = Talker()
        agent = Agent(model=talker, db=db, session_id="s")
        task = asyncio.create_task(agent.arun("Talk.", run_id="r"))
        await talker.talks.wait()
        assert await agent.acancel_run("r") is True
        run = await asyncio.wait_for(task, 30)
        assert (run.status, run.is_cancelled, talker.closed) == (RunStatus.cancelled, True, True)
        assert str(run.content).startswith("bla")
        assert (await stored(db)).content == run.content
        assert (await stored(db)).status == RunStatus.cancelled
        assert task.cancelled() is False
        assert stopping._RUNS == {}

    @pytest.mark.parametrize("reader_has_it", [True, False])
    async def test_ends_its_stream_with_an_event(self, reader_has_it: bool) -> None:
        db = InMemoryDb()
        agent = Agent(model=Talker(), db=db, session_id="s", metadata={"a": 1})
        names = []
        async for event in agent.arun("Talk.", run_id="r", stream=True, stream_events=True):
            names.append(event.event)  # type: ignore[union-attr]
            if names.count("RunContent") == 3:
                cancelling = asyncio.create_task(agent.acancel_run("r"))
                if reader_has_it:
                    await cancelling
                    # A reader is not interrupted in what he does.
                    await asyncio.sleep(0.05)
        assert names[-2:] == ["RunContent", "RunCancelled"]
        assert (await stored(db)).status == RunStatus.cancelled

    @pytest.mark.usefixtures("no_renewal")
    async def test_stops_while_a_tool_works(self, db: MongoDb) -> None:
        works, ended = asyncio.Event(), []

        async def work() -> str:
            works.set()
            try:
                await asyncio.sleep(600)
            finally:
                ended.append(True)
            return "done"

        agent = agent_on(db, ToolCall("work"), tools=[work])
        task = asyncio.create_task(agent.arun("Go.", run_id="r"))
        await works.wait()
        assert await agent.acancel_run("r")
        run = await asyncio.wait_for(task, 30)
        assert (run.status, ended, [tool.result for tool in run.tools or ()]) == (RunStatus.cancelled, [True], [None])
        follows = agent_on(db, "ok", add_history_to_context=True)
        await follows.arun("And?")
        assert [message.content for message in follows.model.requests[0].messages] == ["And?"]  # type: ignore[attr-defined]

    async def test_may_stop_itself(self) -> None:
        async def give_up(agent: Agent) -> str:
            assert await agent.acancel_run("r")
            await asyncio.sleep(60)
            return "too late"

        run = await agent_on(InMemoryDb(), ToolCall("give_up"), tools=[give_up]).arun("Go.", run_id="r")
        assert run.status == RunStatus.cancelled

    @pytest.mark.usefixtures("no_renewal")
    async def test_stops_while_it_waits_for_its_turn(self, db: MongoDb) -> None:
        async with Held(db):
            agent = agent_on(db, concurrent_runs="queue")
            task = asyncio.create_task(agent.arun("Go.", run_id="r"))
            await waiting(db, 2)
            assert await agent.acancel_run("r")
            run = await asyncio.wait_for(task, 30)
        assert run.status == (await stored(db)).status == RunStatus.cancelled

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not count who has cancelled a task")
    async def test_leaves_alone_whoever_is_cancelled_himself(self) -> None:
        db, talker = InMemoryDb(), Talker()
        agent = Agent(model=talker, db=db, session_id="s")
        task = asyncio.create_task(agent.arun("Talk.", run_id="r"))
        await talker.talks.wait()
        await agent.acancel_run("r")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await stored(db)).status == RunStatus.cancelled

    async def test_needs_neither_session_nor_database(self) -> None:
        talker = Talker()
        agent = Agent(model=talker)
        task = asyncio.create_task(agent.arun("Talk.", run_id="r", user_id="john"))
        await talker.talks.wait()
        with pytest.raises(ConfigurationError, match="has no db"):
            await agent.acancel_run("r", user_id="mary")
        assert await agent.acancel_run("r", user_id="john")
        assert (await task).is_cancelled

    def test_is_stopped_from_another_thread(self) -> None:
        talker = Talker()
        agent = Agent(model=talker, db=InMemoryDb(), session_id="s")

        def cancel() -> None:
            while not talker.talks.is_set():
                sleep(0.01)
            agent.cancel_run("r")

        threading.Thread(target=cancel, daemon=True).start()
        assert agent.run("Talk.", run_id="r").is_cancelled

    async def test_is_found_in_another_session_than_the_agents_own(self) -> None:
        agent, asked = agent_on(InMemoryDb(), asking := Talker(), session_id="own"), asking.talks
        agent.model = asking
        running = asyncio.create_task(agent.arun("go", session_id="another", run_id="r"))
        await asked.wait()
        assert await agent.acancel_run("r") is True
        assert (await running).status == RunStatus.cancelled

    @pytest.mark.parametrize("names", [("one", "two"), (None, None)])
    async def test_is_left_alone_by_another_agent_that_has_no_database_either(self, names: Any) -> None:
        talkers = Talker(), Talker()
        agents = [Agent(model=talker, name=name) for talker, name in zip(talkers, names, strict=True)]
        running = [asyncio.create_task(agent.arun("go", session_id="s", run_id="r")) for agent in agents]
        for talker in talkers:
            await talker.talks.wait()
        assert await agents[0].acancel_run("r")
        assert (await running[0]).status == RunStatus.cancelled
        assert not running[1].done()
        assert await agents[1].acancel_run("r")
        assert (await running[1]).status == RunStatus.cancelled


class TestARunOfAnotherProcess:
    async def test_stops_when_it_renews_its_lease(self, db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agno_mongo.upkeep.RENEWED_EVERY", 0.1)
        monkeypatch.setattr(Settings, "lease", 3600)
        talker = Talker()
        task = asyncio.create_task(Agent(model=talker, db=db, session_id="s").arun("Talk.", run_id="r"))
        await talker.talks.wait()
        assert await agent_on(OnAnother(db)).acancel_run("r") is True
        run = await asyncio.wait_for(task, 60)
        assert run.status == RunStatus.cancelled
        session = await db.get_session("s")
        assert ([each.status for each in session.runs], session.active_runs) == ([RunStatus.cancelled], {})

    async def test_hears_of_it_within_five_seconds(self) -> None:
        assert RENEWED_EVERY <= 5

    async def test_stops_at_its_next_checkpoint(self, db: MongoDb) -> None:
        async def cancel() -> str:
            assert await agent_on(OnAnother(db)).acancel_run("r")
            return "done"

        agent = agent_on(db, ToolCall("cancel"), "too late", tools=[cancel], checkpoint="tool-batch")
        run = await agent.arun("Go.", run_id="r")
        assert (run.status, len(agent.model.requests)) == (RunStatus.cancelled, 1)  # type: ignore[attr-defined]
        assert [tool.result for tool in (await stored(db)).tools or ()] == ["done"]

    async def test_that_finishes_first_stays_finished(self, db: MongoDb) -> None:
        async def cancel(_request: ModelRequest) -> str:
            assert await agent_on(OnAnother(db)).acancel_run("r")
            return "done"

        run = await agent_on(db, cancel).arun("Go.", run_id="r")
        assert (run.status, (await db.get_session("s")).active_runs) == (RunStatus.completed, {})
        assert await agent_on(db).acancel_run("r") is False

    async def test_that_died_before_it_heard_of_it_does_not_go_on(self, db: MongoDb) -> None:
        async with Held(db, "r") as held:
            assert await agent_on(OnAnother(db)).acancel_run("r")
            await set_in_entry(db, "r", lease_until=1.0)
            agent = agent_on(db)
            run = await agent.acontinue_run("r")
            assert (run.status, agent.model.requests) == (RunStatus.cancelled, [])  # type: ignore[attr-defined]
            with pytest.raises(RunAlreadyFinished):
                await held.let_go()
            held.task = asyncio.create_task(asyncio.sleep(0))  # type: ignore[arg-type]
        assert (await stored(db)).status == RunStatus.cancelled


class TestARunThatNobodyHas:
    async def test_if_it_is_paused_it_is_stored_as_cancelled(self, db: MongoDb) -> None:
        shop = Shop()
        run = await paused(db, shop, ToolCall("pay", {"amount": 5}, id="pay"), ToolCall("look", id="look"), metadata={"a": 1})
        assert await agent_on(db).acancel_run("r") is True
        session = await db.get_session("s")
        [cancelled] = session.runs
        assert (cancelled.status, cancelled.metadata, session.active_runs) == (RunStatus.cancelled, {"a": 1}, {})
        assert [message.content for message in cancelled.messages] == ["Buy it.", None, "three"]
        assert session.session_state == {"looked": 1, "visits": 1}
        assert (await agent_on(db).aget_session_metrics()).total_tokens == 15
        run.active_requirements[0].confirm()
        with pytest.raises(RunAlreadyFinished):
            await agent_on(db).acontinue_run(run)
        assert await agent_on(db).acancel_run("r") is False

    async def test_keeps_no_more_of_its_tools_than_its_agent_wanted(self, db: MongoDb) -> None:
        shop = Shop()
        pay = ToolCall("pay", {"amount": 1, "note": "n" * 100_000}, id="pay")
        await paused(db, shop, pay, ToolCall("look", id="look"), store_tool_messages=False)
        assert await agent_on(db).acancel_run("r")
        assert await (await db._connection()).media_files.count_documents({}) == 0
        cancelled = await stored(db)
        assert [message.content for message in cancelled.messages or ()] == ["Buy it."]
        assert [(tool.tool_name, tool.tool_args, tool.result) for tool in cancelled.tools or ()] == [
            ("pay", None, None),
            ("look", None, None),
        ]

    async def test_if_it_was_interrupted_too(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)
        assert await agent_on(db).acancel_run("r") is True
        assert (await stored(db)).status == RunStatus.cancelled

    @pytest.mark.parametrize("metrics", [{"total_tokens": 7}, "none"])
    async def test_has_its_tokens_counted(self, metrics: Any, db: MongoDb) -> None:
        shop = Shop()
        await paused(db, shop)
        used = {"total_tokens": 100, "cost": 0.5, "duration": 3.0}
        inner = [{"run_id": "i", "agent_id": "agent", "metrics": {"total_tokens": 10}}]
        # As if it had gone on, and its process had died.
        await set_in_entry(db, "r", metrics=used, counted={"total_tokens": 15}, inner=inner, lease_until=1)
        collection = (await db._connection()).collection
        await collection.update_one({"session_id": "s"}, {"$set": {"session_data.session_metrics": metrics}})
        assert await agent_on(db).acancel_run("r") is True
        stored = (await db.get_session("s")).session_data["session_metrics"]
        assert stored == ("none" if metrics == "none" else {"total_tokens": 7 + 100 + 10 - 15, "cost": 0.5})

    async def test_is_told_to_stop_while_it_pauses(self, db: MongoDb) -> None:
        shop = Shop()

        async def cancel(_request: ModelRequest) -> ToolCall:
            assert await agent_on(OnAnother(db)).acancel_run("r")
            return ToolCall("pay", {"amount": 5})

        run = await agent_on(db, cancel, tools=shop.tools).arun("Buy it.", run_id="r")
        assert run.status == (await stored(db)).status == RunStatus.cancelled
        assert (await db.get_session("s")).paused_runs == []

    async def test_answered_and_cancelled_at_once_does_one_of_the_two(self, db: MongoDb) -> None:
        for number in range(4):
            shop, run_id = Shop(), f"r{number}"
            run = await paused(db, shop, run_id=run_id)
            run.active_requirements[0].confirm()
            goes_on = Agent(model=ScriptedModel("done"), db=db, session_id="s", tools=shop.tools).acontinue_run(run)
            outcome, stopped = await asyncio.gather(goes_on, agent_on(OnAnother(db)).acancel_run(run_id), return_exceptions=True)
            status = (await stored(db, run_id)).status
            assert isinstance(outcome, RunAlreadyFinished) or outcome.status == status  # type: ignore[union-attr]
            assert stopped is (status == RunStatus.cancelled) or stopped is True


class TestWhatCannotBeCancelled:
    async def test_is_not_there_or_is_somebody_elses(self, db: MongoDb) -> None:
        with pytest.raises(SessionNotFound):
            await agent_on(db).acancel_run("r")
        await agent_on(db, "ok", user_id="john").arun("Go.")
        with pytest.raises(RunNotFound):
            await agent_on(db).acancel_run("r", user_id="john")
        async with Held(db, "r", user_id="john") as held:
            for user_id in ("mary", None):
                with pytest.raises(SessionOwnedByAnotherUser):
                    await agent_on(db).acancel_run("r", user_id=user_id)
            assert not held.task.done()
        with pytest.raises(ConfigurationError, match="which session"):
            await Agent(model=ScriptedModel(), db=db).acancel_run("r")


async def test_a_run_that_nobody_cancels_sends_nothing_for_it(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    await agent_on(db, "connects").arun("Go.")
    recorder.sent.clear()
    await agent_on(db, "ok").arun("Go.")
    assert recorder.names == ["findAndModify"] * 2


@pytest.mark.parametrize("component", [Agent, Team, Workflow])
async def test_a_class_does_not_know_whose_run_is_meant(component: Any) -> None:
    with pytest.raises(TypeError, match="which agent's, team's or workflow's run"):
        component.cancel_run("r")
    with pytest.raises(TypeError, match="found in its session"):
        await component.acancel_run("r")
