"""Runs whose process died go on in another, from where they were, once."""

from __future__ import annotations

import asyncio
from time import time
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db import open_runs
from agno_mongo.db.base import SessionType
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    CorruptSession,
    RunAlreadyFinished,
    RunNotFound,
    RunTakenOver,
    SessionBusy,
    SessionNotFound,
    SessionOwnedByAnotherUser,
    SessionTypeMismatch,
)
from agno_mongo.execution import Settings
from agno_mongo.history import finished_rounds
from agno_mongo.messages import Message
from agno_mongo.models.base import ModelRequest
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.processes import child
from tests.test_checkpoints import contents, note, noting, stored_entry, until_interrupted
from tests.test_commands import Recorder, recorded
from tests.test_store_contract import begin
from tests.test_turns import Held, waiting

__all__ = ["recorded"]


def agent_on(db: MongoDb | None, *script: Any, **settings: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), db=db, session_id="s", **settings)


def shown(agent: Agent, request: int = 0) -> list[Any]:
    return [message.content for message in agent.model.requests[request].messages]  # type: ignore[attr-defined]


async def set_in_entry(db: MongoDb, run_id: str, **fields: Any) -> None:
    collection = (await db.documents())[SessionType.AGENT].get_pymongo_collection()
    update = {f"active_runs.{run_id}.{name}": value for name, value in fields.items()}
    assert (await collection.update_one({"session_id": "s"}, {"$set": update})).matched_count


class TestARunThatGoesOn:
    async def test_begins_again_from_its_input_where_there_is_no_checkpoint(self, db: MongoDb) -> None:
        await agent_on(db, "ok", instructions="Old.").arun("before")
        await begin(db, run_id="r", lease=-60)
        agent = agent_on(db, "done", instructions="New.", add_history_to_context=True)
        run = await agent.acontinue_run("r")
        assert shown(agent) == ["New.", "before", "ok", "hello"]
        assert (run.run_id, run.content, run.status) == ("r", "done", RunStatus.completed)
        assert run.input is not None
        assert run.input.input_content == "hello"
        session = await db.get_session("s")
        assert [stored.run_id for stored in session.runs[1:]] == ["r"]
        assert session.active_runs == {}
        assert session.run_count == 2

    async def test_goes_on_from_its_checkpoint(
        self, mongo_url: str, db_name: str, mongo_db: MongoDb, child_environment: dict[str, str]
    ) -> None:
        process = await child("die_in_the_third_round", mongo_url, db_name, "tool-batch", child_environment)
        assert await process.wait() == 9
        await until_interrupted(mongo_db)
        agent = agent_on(mongo_db, noting("four"), "done", tools=[note], checkpoint="tool-batch", instructions="Go on: {noted}.")
        run = await agent.acontinue_run("r")
        rounds = ["note all", None, "noted one", "noted two", None, "noted three"]
        assert shown(agent) == ['Go on: ["one", "two", "three"].', *rounds]
        assert contents(run) == [*shown(agent), None, "noted four", "done"]
        assert [tool.result for tool in run.tools or ()] == ["noted one", "noted two", "noted three", "noted four"]
        assert run.metrics is not None
        assert run.metrics.total_tokens == 60
        session = await mongo_db.get_session("s")
        assert session.session_state == {"kept": 1, "noted": ["one", "two", "three", "four"]}
        assert contents(session.runs[0]) == contents(run)
        assert (await agent.aget_session_metrics()).total_tokens == 60

    async def test_asks_again_for_a_round_that_was_not_finished(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)
        calls = [noting("one").to_openai(), noting("two").to_openai()]
        messages = [
            Message(role="user", content="hello"),
            Message(role="assistant", tool_calls=calls),
            Message(role="tool", content="noted one", tool_call_id=calls[0]["id"]),
        ]
        await set_in_entry(db, "r", messages=[message.to_dict() for message in messages])
        agent = agent_on(db, "done")
        await agent.acontinue_run("r")
        assert shown(agent) == ["hello"]

    async def test_that_cannot_be_read_is_given_back(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)
        await set_in_entry(db, "r", messages=[{"role": 7}], started_at="never")
        with pytest.raises(CorruptSession, match="interrupted run 'r'"):
            await agent_on(db).acontinue_run("r")
        assert (await stored_entry(db))["lease_until"] < time() + 30

    async def test_keeps_what_others_did_to_the_state_meanwhile(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60, state={"a": 1, "b": 1})
        await set_in_entry(db, "r", state_changes=[{"path": ["a"], "after": 2}])
        await db.update_session_state("s", {"a": 3, "b": 3, "c": 3})
        assert (await agent_on(db, "done").acontinue_run("r")).session_state == {"a": 2, "b": 3, "c": 3}
        assert (await db.get_session("s")).session_state == {"a": 2, "b": 3, "c": 3}

    async def test_has_its_large_content_whole(self, db: MongoDb) -> None:
        large = "x" * 200_000

        async def die(_request: ModelRequest) -> str:
            await set_in_entry(db, "r", lease_until=0)
            agent = agent_on(db, "done", tools=[note])
            assert (await agent.acontinue_run("r")).content == "done"
            assert shown(agent) == [large, None, f"noted {large}"]
            return "too late"

        with pytest.raises(RunAlreadyFinished):
            await agent_on(db, noting(large), die, tools=[note], checkpoint="tool-batch").arun(large, run_id="r")
        (stored,) = (await db.get_session("s")).runs
        assert contents(stored) == [large, None, f"noted {large}", "done"]

    async def test_adds_what_it_had_added_to_what_stands_there_now(self, db: MongoDb) -> None:
        def add(run_context: RunContext) -> None:
            run_context.state.increment(("a.b", "n"), 5)
            run_context.state.append("log", "mine")
            run_context.state.increment("gone", 1)

        async def die(_request: ModelRequest) -> str:
            await db.update_session_state("s", {"a.b": {"n": 100}, "log": ["theirs"], "gone": "text"})
            await set_in_entry(db, "r", lease_until=0)
            await agent_on(db, meanwhile).acontinue_run("r")
            return "too late"

        async def meanwhile(_request: ModelRequest) -> str:
            await db.update_session_state("s", {"a.b": {"n": 200}, "log": ["theirs", "too"]})
            return "done"

        state = {"a.b": {"n": 1}, "log": [], "gone": 1}
        agent = agent_on(db, ToolCall("add"), die, tools=[add], checkpoint="tool-batch", session_state=state)
        with pytest.raises(RunAlreadyFinished):
            await agent.arun("go", run_id="r")
        stored = (await db.get_session("s")).session_state
        assert stored == {"a.b": {"n": 205}, "log": ["theirs", "too", "mine"], "gone": 2}

    async def test_can_be_interrupted_and_go_on_again(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)

        async def die(_request: ModelRequest) -> str:
            await set_in_entry(db, "r", lease_until=0)
            agent = agent_on(db, "done", tools=[note], checkpoint="tool-batch")
            assert (await agent.acontinue_run("r")).content == "done"
            assert shown(agent) == ["hello", None, "noted one"]
            return "too late"

        with pytest.raises(RunAlreadyFinished):
            await agent_on(db, noting("one"), die, tools=[note], checkpoint="tool-batch").acontinue_run("r")
        assert [run.content for run in (await db.get_session("s")).runs] == ["done"]

    async def test_is_streamed_like_any_run(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)
        agent = agent_on(db, "all done")
        events = [event async for event in agent.acontinue_run("r", stream=True, stream_events=True, yield_run_output=True)]
        assert [getattr(event, "event", "output") for event in events] == [
            "RunContinued", "ModelRequestStarted", "RunContent", "RunContent", "ModelRequestCompleted", "RunContentCompleted",
            "RunCompleted", "output",
        ]  # fmt: skip

    async def test_that_fails_is_stored_as_any_run(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)
        with pytest.raises(AssertionError):
            await agent_on(db).acontinue_run("r", metadata={"tag": 1})
        (stored,) = (await db.get_session("s")).runs
        assert (stored.status, stored.metadata) == (RunStatus.error, {"tag": 1})


def test_a_run_goes_on_behind_a_blocking_call(mongo_url: str, db_name: str) -> None:
    db = MongoDb(mongo_url, db_name=db_name)
    for run_id in ("q", "r"):
        asyncio.run(begin(db, run_id=run_id, lease=-60))
    agent = agent_on(db, "done", "all done")
    assert agent.continue_run("q").content == "done"
    assert [getattr(event, "content", None) for event in agent.continue_run("r", stream=True)] == ["all ", "done"]
    db.blocking.close()


class TestTwoProcesses:
    async def test_that_try_at_once_get_the_run_once(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)
        agents = [agent_on(db, "done") for _ in range(8)]
        outcomes = await asyncio.gather(*(agent.acontinue_run("r") for agent in agents), return_exceptions=True)
        assert sum(getattr(outcome, "content", None) == "done" for outcome in outcomes) == 1
        assert sum(isinstance(outcome, (SessionBusy, RunAlreadyFinished)) for outcome in outcomes) == 7
        assert sum(len(agent.model.requests) for agent in agents) == 1  # type: ignore[attr-defined]
        assert len((await db.get_session("s")).runs) == 1

    @pytest.mark.parametrize("checkpoint", ["runs", "tool-batch"])
    async def test_do_not_both_store_it_when_the_first_was_only_stalled(self, db: MongoDb, checkpoint: Any) -> None:
        """The first wakes up while the second goes on, and again once the second has finished."""
        for wakes_early, error in ((True, RunTakenOver), (False, RunAlreadyFinished)):
            await db.delete_session("s")
            stalled, awake = asyncio.Event(), asyncio.Event()

            async def stall(_request: ModelRequest, stalled: Any = stalled, awake: Any = awake) -> ToolCall:
                stalled.set()
                await awake.wait()
                return noting("late")

            script = [stall, "late"]
            first = asyncio.create_task(agent_on(db, *script, tools=[note], checkpoint=checkpoint).arun("go", run_id="r"))
            await stalled.wait()
            await set_in_entry(db, "r", lease_until=0)
            async with Goes(db) as second:
                if wakes_early:
                    awake.set()
                    with pytest.raises(error):
                        await first
            awake.set()
            if not wakes_early:
                with pytest.raises(error):
                    await first
            assert (await second.task).content == "done"
            session = await db.get_session("s")
            assert [run.content for run in session.runs] == ["done"]
            assert session.session_state == {}

    async def test_the_stalled_ones_lease_is_not_the_others(self, mongo_db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Settings, "lease", 0.3)
        async with Held(mongo_db) as first:
            (run_id,) = (await mongo_db.get_session("s")).active_runs
            monkeypatch.setattr(Settings, "lease", 60.0)
            await set_in_entry(mongo_db, run_id, lease_until=0, continued_by="another")
            await asyncio.sleep(0.3)
            assert (await stored_entry(mongo_db))["lease_until"] == 0
            with pytest.raises(RunTakenOver, match="another process went on with it"):
                await first.let_go()
            first.task = asyncio.create_task(asyncio.sleep(0))  # type: ignore[arg-type]

    async def test_the_first_may_finish_before_the_second_comes(self, db: MongoDb) -> None:
        await agent_on(db, "ok").arun("go", run_id="r")
        with pytest.raises(RunAlreadyFinished):
            await agent_on(db).acontinue_run("r")

    async def test_the_first_may_be_in_the_archive_by_then(self, db: MongoDb) -> None:
        agent = agent_on(db, *["ok"] * 40)
        for number in range(40):
            await agent.arun("go", run_id=str(number))
        with pytest.raises(RunAlreadyFinished):
            await agent_on(db).acontinue_run("0")


class Goes(Held):
    """The run ``r`` continued, until it is let go."""

    async def __aenter__(self) -> Any:
        self.task = asyncio.create_task(self.agent.acontinue_run("r"))
        await self._asked.wait()
        return self


class TestARunThatCannotGoOn:
    async def test_is_alive(self, db: MongoDb) -> None:
        async with Held(db):
            (run_id,) = (await db.get_session("s")).active_runs
            before = await stored_entry(db)
            with pytest.raises(SessionBusy, match=r"is going on: its process has shown life, its lease holds until .* UTC"):
                await agent_on(db).acontinue_run(run_id)
            assert await stored_entry(db) == before

    async def test_is_free_by_the_time_that_is_asked_why_not(self, db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
        """The lease runs out between the command that finds it held and the one that looks for the reason."""
        connection = await db._connection()
        reason = open_runs._why_not

        async def later(*args: Any) -> Any:
            connection.clock.local = lambda: time() + 3600
            return await reason(*args)

        monkeypatch.setattr(open_runs, "_why_not", later)
        await begin(db, run_id="r", lease=60)
        assert (await agent_on(db, "done").acontinue_run("r")).content == "done"

    async def test_has_finished_and_is_moved_to_the_archive_while_it_is_asked_why_not(
        self, db: MongoDb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look = open_runs.finished_run

        async def later(*args: Any) -> Any:
            for turn in range(32):
                await agent_on(db, "ok").arun("go", run_id=f"later {turn}")
            await (await db._connection()).background.finished()
            return await look(*args)

        await agent_on(db, "ok").arun("go", run_id="r")
        monkeypatch.setattr(open_runs, "finished_run", later)
        with pytest.raises(RunAlreadyFinished):
            await agent_on(db).acontinue_run("r")

    async def test_is_not_there(self, db: MongoDb) -> None:
        with pytest.raises(SessionNotFound, match="there is no session 's'"):
            await agent_on(db).acontinue_run("r")
        await agent_on(db, "ok").arun("go")
        with pytest.raises(RunNotFound, match=r"session 's' has no run 'r\.1'") as caught:
            await agent_on(db).acontinue_run("r.1")
        assert caught.value.run_id == "r.1"

    async def test_is_somebody_elses(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60, user_id="john")
        for user_id in ("mary", None):
            with pytest.raises(SessionOwnedByAnotherUser):
                await agent_on(db).acontinue_run("r", user_id=user_id)
        await begin(db, "team", run_id="r", lease=-60, kind=SessionType.TEAM)
        with pytest.raises(SessionTypeMismatch):
            await agent_on(db).acontinue_run("r", session_id="team")
        assert (await agent_on(db, "done").acontinue_run("r", user_id="john")).content == "done"

    async def test_is_asked_for_without_saying_where(self) -> None:
        with pytest.raises(ConfigurationError, match="has no db"):
            await agent_on(None).acontinue_run("r")
        with pytest.raises(ConfigurationError, match="which session"):
            await Agent(model=ScriptedModel(), db=InMemoryDb()).acontinue_run("r")
        with pytest.raises(ConfigurationError, match="one of them"):
            await agent_on(InMemoryDb()).acontinue_run("r", run_id="q")
        with pytest.raises(ConfigurationError, match=r"which run\? Pass run_id="):
            await agent_on(InMemoryDb()).acontinue_run()
        with pytest.raises(ConfigurationError, match="run_response= takes a RunOutput, not int"):
            await agent_on(InMemoryDb()).acontinue_run(7)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"continue_run\(\) has no setting 'input'"):
            await agent_on(InMemoryDb()).acontinue_run("r", input="x")  # type: ignore[call-overload]


class TestTurns:
    async def test_a_run_that_goes_on_waits_for_those_who_came_meanwhile(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)
        async with Held(db) as held:
            with pytest.raises(SessionBusy, match="concurrent_runs"):
                await agent_on(db, concurrent_runs="reject").acontinue_run("r")
            session = await db.get_session("s")
            assert [run.run_id for run in session.interrupted_runs] == ["r"]
            agent = agent_on(db, "done", concurrent_runs="queue", add_history_to_context=True)
            task = asyncio.create_task(agent.acontinue_run("r"))
            while (await db.get_session("s")).interrupted_runs:
                await asyncio.sleep(0.005)
            await held.let_go()
            assert (await task).content == "done"
        assert shown(agent) == ["hold", "done", "hello"]

    async def test_who_waits_for_a_run_does_not_wait_for_its_continuation(self, db: MongoDb) -> None:
        """The one that goes on waits for the one that waited; both would wait for ever if that one did too."""
        await begin(db, run_id="r", lease=60)
        waits = asyncio.create_task(agent_on(db, "ok", concurrent_runs="queue", queue_timeout=10).arun("go"))
        await waiting(db, 2)
        await set_in_entry(db, "r", lease_until=0)
        agent = agent_on(db, "done", concurrent_runs="queue", queue_timeout=10)
        await asyncio.gather(waits, agent.acontinue_run("r"))
        assert [run.content for run in (await db.get_session("s")).runs] == ["ok", "done"]

    async def test_one_that_is_cancelled_while_it_waits_is_interrupted_as_before(self, db: MongoDb) -> None:
        await begin(db, run_id="r", lease=-60)
        async with Held(db):
            task = asyncio.create_task(agent_on(db, concurrent_runs="queue").acontinue_run("r"))
            while (await db.get_session("s")).interrupted_runs:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [run.run_id for run in (await db.get_session("s")).interrupted_runs] == ["r"]
        assert (await agent_on(db, "done").acontinue_run("r")).content == "done"


async def test_a_run_that_goes_on_is_two_commands(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    await begin(db, run_id="r", lease=-60)
    recorder.sent.clear()
    await agent_on(db, "done").acontinue_run("r")
    assert recorder.names == ["findAndModify", "findAndModify"]
    for command in recorder.sent:
        query = command["query"]
        assert (query["session_id"], query["session_type"], query["user_id"]) == ("s", "agent", None)


def test_finished_rounds_end_before_the_first_call_without_a_result() -> None:
    def call(*ids: str) -> Message:
        return Message(role="assistant", tool_calls=[{"id": id_, "function": {"name": "f"}} for id_ in ids])

    def result(id_: str) -> Message:
        return Message(role="tool", tool_call_id=id_, content="x")

    asked = Message(role="user", content="go")
    whole = [asked, call("a", "b"), result("b"), result("a"), call("c"), result("c")]
    assert finished_rounds(whole) == whole
    assert finished_rounds(whole[:-1]) == whole[:4]
    assert finished_rounds(whole[:3]) == whole[:1]
    assert finished_rounds([]) == []
