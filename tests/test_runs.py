"""What a run promises, whatever becomes of it; over the three kinds of client."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    IncompleteResponse,
    ModelError,
    RunAlreadyFinished,
    SessionNotFound,
    SessionOwnedByAnotherUser,
    StateConflictError,
    UnstorableValueError,
)
from agno_mongo.messages import Message
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.run import RunContext, RunOutput, RunStatus
from agno_mongo.run.agent import RunContentEvent, RunErrorEvent, StateConflictEvent
from agno_mongo.testing import ScriptedModel, ToolCall


def agent_on(db: MongoDb | None, *script: Any, **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(*script)
    return Agent(model=model, db=db, session_id=settings.pop("session_id", "s"), **settings), model


async def only_run(agent: Agent) -> RunOutput:
    session = await agent.aget_session()
    assert session is not None
    assert session.runs is not None
    assert len(session.runs) == 1
    assert session.active_runs == {}
    run = session.runs[0]
    assert isinstance(run, RunOutput)
    return run


class TestACompletedRun:
    async def test_is_stored_as_it_was_returned(self, db: MongoDb) -> None:
        agent, model = agent_on(db, "Hello.", name="Greeter", user_id="john", metadata={"tag": 1})
        run = await agent.arun("Hi")
        stored = await only_run(agent)
        assert run.content == stored.content == "Hello."
        assert stored.status == RunStatus.completed
        assert stored.input is not None
        assert stored.input.input_content == "Hi"
        assert [message.role for message in stored.messages or ()] == ["user", "assistant"]
        assert stored.metrics is not None
        assert stored.metrics.total_tokens == 15
        assert stored.agent_id == "greeter"
        assert stored.user_id == "john"
        assert stored.metadata == {"tag": 1}
        model.assert_finished()

    async def test_counts_into_the_sessions_metrics(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "a", "b")
        await agent.arun("1")
        await agent.arun("2")
        assert (await agent.aget_session_metrics()).to_dict() == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}

    async def test_is_remembered_by_another_agent_on_the_same_database(self, db: MongoDb) -> None:
        first, _ = agent_on(db, "Hello John.", add_history_to_context=True)
        await first.arun("I am John.")
        second, model = agent_on(db, "You are John.", add_history_to_context=True)
        await second.arun("Who am I?")
        assert [message.content for message in model.requests[0].messages] == ["I am John.", "Hello John.", "Who am I?"]
        session = await second.aget_session()
        assert session is not None
        assert session.runs is not None
        # Each run keeps its own messages; the history it was shown belongs to others.
        assert [len(run.messages or ()) for run in session.runs] == [2, 2]

    async def test_takes_messages_data_and_models_as_input(self, db: MongoDb) -> None:
        agent, model = agent_on(db, "1", "2", "3")
        await agent.arun(Message(role="user", content="a message"))
        await agent.arun([Message(role="user", content="one"), {"role": "user", "content": "two"}])
        await agent.arun({"city": "Rome"})
        assert [[message.content for message in request.messages] for request in model.requests] == [
            ["a message"],
            ["one", "two"],
            ['{"city": "Rome"}'],
        ]
        session = await agent.aget_session()
        assert session is not None
        assert session.runs is not None
        assert session.runs[2].input is not None
        assert session.runs[2].input.input_content == {"city": "Rome"}


class TestARunThatFails:
    async def test_is_stored_as_an_error_and_raises_nothing(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, ModelError("the model is on strike"), "Back again.")
        run = await agent.arun("Hi")
        assert run.status == RunStatus.error
        assert run.content == "the model is on strike"
        stored = await only_run(agent)
        assert stored.status == RunStatus.error
        assert stored.input is not None
        assert stored.input.input_content == "Hi"
        assert (await agent.arun("And now?")).content == "Back again."

    async def test_raises_if_asked_once_it_is_stored(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, ModelError("the model is on strike"), raise_model_errors=True)
        with pytest.raises(ModelError, match="on strike"):
            await agent.arun("Hi")
        assert (await only_run(agent)).status == RunStatus.error

    async def test_through_a_mistake_of_the_programs_own_is_stored_and_raises(self, db: MongoDb) -> None:
        def instructions() -> str:
            raise KeyError("nobody thought of this")

        agent, _ = agent_on(db, instructions=instructions)
        with pytest.raises(KeyError):
            await agent.arun("Hi")
        assert (await only_run(agent)).status == RunStatus.error

    @pytest.mark.parametrize("failures", [1, 6, 40])
    async def test_is_not_shown_to_later_prompts(self, db: MongoDb, failures: int) -> None:
        agent, model = agent_on(db, "one", *[ModelError("no")] * failures, "two", add_history_to_context=True, num_history_runs=1)
        for number in range(failures + 1):
            await agent.arun(f"question {number}")
        await agent.arun("last")
        assert [message.content for message in model.requests[-1].messages] == ["question 0", "one", "last"]

    async def test_by_a_stream_without_an_end_is_no_answer(self, db: MongoDb) -> None:
        class Cut(ScriptedModel):
            async def respond(self, request: ModelRequest) -> Any:
                yield ModelDelta(content="Half an ans")

        agent = Agent(model=Cut(), db=db, session_id="s", raise_model_errors=True)
        with pytest.raises(IncompleteResponse, match="without a finish reason"):
            await agent.arun("Hi")
        stored = await only_run(agent)
        assert stored.status == RunStatus.error

    async def test_tells_the_reader_of_its_stream(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, ModelError("the model is on strike"))
        events = [event async for event in agent.arun("Hi", stream=True)]
        assert len(events) == 1
        assert isinstance(events[0], RunErrorEvent)
        assert (events[0].content, events[0].error_type) == ("the model is on strike", "ModelError")


class TestARunThatIsInterrupted:
    async def test_by_cancellation_is_stored_as_cancelled(self, db: MongoDb) -> None:
        asked = asyncio.Event()

        async def hang(_request: ModelRequest) -> str:
            asked.set()
            await asyncio.sleep(60)
            return "never"

        agent, _ = agent_on(db, hang)
        task = asyncio.create_task(agent.arun("Hi"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stored = await only_run(agent)
        assert stored.status == RunStatus.cancelled
        assert stored.input is not None
        assert stored.input.input_content == "Hi"

    async def test_at_any_moment_is_stored_or_never_began(self, db: MongoDb) -> None:
        await db.health()
        tasks = []
        for number in range(40):
            agent, _ = agent_on(db, "ok", session_id=f"s{number}")
            tasks.append(task := asyncio.create_task(agent.arun("Hi")))
            asyncio.get_running_loop().call_later(number * 0.0005, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in await db.get_sessions(include_runs=True):
            assert session.active_runs == {}
            assert len(session.runs) == 1

    async def test_by_its_reader_leaving_is_stored_as_cancelled(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "one two three four")
        events = agent.arun("Hi", stream=True)
        async for event in events:
            assert isinstance(event, RunContentEvent)
            break
        await events.aclose()  # type: ignore[attr-defined]
        stored = await only_run(agent)
        assert stored.status == RunStatus.cancelled
        assert stored.content == "one "

    async def test_by_a_reader_that_just_stops_is_stored_too(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "one two three four")

        async def read_one() -> None:
            async for _ in agent.arun("Hi", stream=True):
                break

        await read_one()
        gc.collect()
        for _ in range(3000):
            await asyncio.sleep(0.01)
            session = await agent.aget_session()
            if session is not None and session.runs:
                break
        assert (await only_run(agent)).status == RunStatus.cancelled

    async def test_while_it_is_being_stored_is_stored_all_the_same(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "Hello.")
        finish_run = db.finish_run
        finishing = asyncio.Event()

        async def slow_finish_run(*arguments: Any) -> Any:
            finishing.set()
            await asyncio.sleep(0.05)
            return await finish_run(*arguments)

        db.finish_run = slow_finish_run  # type: ignore[method-assign]
        task = asyncio.create_task(agent.arun("Hi"))
        await finishing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await only_run(agent)).content == "Hello."

    async def test_by_a_time_out_is_stored_as_cancelled(self, db: MongoDb) -> None:
        async def hang(_request: ModelRequest) -> str:
            await asyncio.sleep(60)
            return "never"

        agent, _ = agent_on(db, hang)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(agent.arun("Hi"), timeout=0.3)
        assert (await only_run(agent)).status == RunStatus.cancelled

    async def test_within_its_tools_stops_them(self, db: MongoDb) -> None:
        stopped = asyncio.Event()
        started = asyncio.Event()

        async def dig() -> str:
            """Dig."""
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()
            return "deep"

        agent, _ = agent_on(db, ToolCall("dig"), tools=[dig])
        task = asyncio.create_task(agent.arun("Hi"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stopped.is_set()
        assert (await only_run(agent)).status == RunStatus.cancelled

    def test_by_the_end_of_its_event_loop_is_stored(self) -> None:
        db = InMemoryDb()
        agent, _ = agent_on(db, lambda _request: asyncio.sleep(60))

        async def leave_it_running() -> None:
            task = asyncio.create_task(agent.arun("Hi"))
            await asyncio.sleep(0.1)
            assert not task.done()

        asyncio.run(leave_it_running())
        session = agent.get_session()
        assert session is not None
        assert [run.status for run in session.runs or ()] == [RunStatus.cancelled]


class TestStreaming:
    async def test_gives_the_answer_in_pieces(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "one two three")
        pieces = [event.content async for event in agent.arun("Hi", stream=True) if isinstance(event, RunContentEvent)]
        assert pieces == ["one ", "two ", "three"]
        assert (await only_run(agent)).content == "one two three"

    async def test_tells_every_step_if_asked(self, db: MongoDb) -> None:
        def add(a: int, b: int) -> int:
            return a + b

        agent, _ = agent_on(db, ToolCall("add", {"a": 1, "b": 2}), "3", tools=[add])
        events = agent.arun("1 + 2?", stream=True, stream_events=True, yield_run_output=True)
        names = [event.content if isinstance(event, RunOutput) else event.event async for event in events]
        assert names == [
            "RunStarted",
            "ModelRequestStarted",
            "ModelRequestCompleted",
            "ToolCallStarted",
            "ToolCallCompleted",
            "ModelRequestStarted",
            "RunContent",
            "ModelRequestCompleted",
            "RunContentCompleted",
            "RunCompleted",
            "3",
        ]

    async def test_events_carry_the_runs_ids_and_are_plain_data(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "Hello.", name="Greeter")
        events = [event async for event in agent.arun("Hi", stream=True, stream_events=True, run_id="r")]
        assert {(event.run_id, event.session_id, event.agent_id) for event in events} == {("r", "s", "greeter")}
        assert events[-1].to_dict()["metrics"]["total_tokens"] == 15


class TestTools:
    async def test_run_at_once_and_answer_in_the_order_of_the_calls(self, db: MongoDb) -> None:
        both = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None

        async def slow(name: str) -> str:
            if both is not None:
                await both.wait()
            await asyncio.sleep(0.05 if name == "first" else 0)
            return name

        calls = (ToolCall("slow", {"name": "first"}), ToolCall("slow", {"name": "second"}))
        agent, model = agent_on(db, calls, "done", tools=[slow])
        await agent.arun("go")
        assert [message.content for message in model.requests[1].messages[-2:]] == ["first", "second"]
        stored = await only_run(agent)
        assert [tool.result for tool in stored.tools or ()] == ["first", "second"]

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (ToolCall("divide", {"a": 1, "b": 0}), "ZeroDivisionError"),
            (ToolCall("divide", {"a": "many", "b": 1}), "a: Input should be a valid number"),
            (ToolCall("divide", {"a": 1}), "b: Field required"),
            (ToolCall("divide", '{"a": 1,'), "are no JSON"),
            (ToolCall("multiply", {}), "There is no tool named 'multiply'. Tools: divide."),
        ],
    )
    async def test_that_fail_tell_the_model_and_the_run_goes_on(self, db: MongoDb, call: ToolCall, words: str) -> None:
        def divide(a: float, b: float) -> float:
            return a / b

        agent, model = agent_on(db, call, "Sorry.", tools=[divide])
        run = await agent.arun("go")
        assert run.status == RunStatus.completed
        told = model.requests[1].messages[-1]
        assert words in told.get_content_string()
        assert told.tool_call_error
        assert (run.tools or ())[0].tool_call_error

    async def test_that_would_end_the_process_only_fail(self, db: MongoDb) -> None:
        def leave() -> None:
            raise SystemExit(3)

        agent, model = agent_on(db, ToolCall("leave"), "Still here.", tools=[leave])
        assert (await agent.arun("go")).content == "Still here."
        assert model.requests[1].messages[-1].content == "SystemExit: 3"

    async def test_results_are_stored_once_and_read_in_both_places(self, db: MongoDb) -> None:
        def big() -> str:
            return "x" * 9_000_000

        agent, _ = agent_on(db, ToolCall("big"), "Big.", tools=[big])
        await agent.arun("go")
        stored = await only_run(agent)
        assert stored.tools is not None
        assert len(stored.tools[0].result or "") == 9_000_000
        assert "result" not in stored.to_dict()["tools"][0]

    async def test_read_and_change_the_session_state(self, db: MongoDb) -> None:
        def add_item(run_context: RunContext, item: str) -> str:
            run_context.session_state.setdefault("items", []).append(item)
            return "added"

        agent, model = agent_on(
            db,
            ToolCall("add_item", {"item": "milk"}),
            "Added.",
            "You have milk.",
            tools=[add_item],
            session_state={"items": []},
            instructions="The list: {items}. User {user_id}. Not a key: {nothing}.",
        )
        await agent.arun("milk, please")
        assert await agent.aget_session_state() == {"items": ["milk"]}
        await agent.arun("what have I?")
        assert model.requests[2].messages[0].content == 'The list: ["milk"]. User null. Not a key: {nothing}.'
        assert "run_context" not in str(model.requests[0].tools)


class TestState:
    async def test_of_a_new_session_is_a_copy_of_the_default(self, db: MongoDb) -> None:
        def change(run_context: RunContext) -> None:
            run_context.session_state["nested"]["list"].append(1)

        default = {"nested": {"list": []}}
        agent, _ = agent_on(db, ToolCall("change"), "ok", "ok", tools=[change], session_state=default)
        await agent.arun("go")
        assert default == {"nested": {"list": []}}
        await agent.arun("go", session_id="another")
        assert await agent.aget_session_state("another") == {"nested": {"list": []}}
        assert await agent.aget_session_state() == {"nested": {"list": [1]}}

    async def test_that_is_stored_beats_the_default_and_the_call_beats_both(self, db: MongoDb) -> None:
        first, _ = agent_on(db, "ok", session_state={"a": 1, "b": {"x": 1}})
        await first.arun("go")
        second, _ = agent_on(db, "ok", session_state={"a": 2, "b": {"x": 2, "y": 2}, "c": 2})
        run = await second.arun("go", session_state={"b": {"z": 3}})
        assert run.session_state == await second.aget_session_state() == {"a": 1, "b": {"x": 1, "y": 2, "z": 3}, "c": 2}

    async def test_can_be_replaced_by_the_calls(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "ok", "ok", "ok", session_state={"a": 1}, overwrite_db_session_state=True)
        await agent.arun("go")
        await agent.arun("go", session_state={"b": 2})
        assert await agent.aget_session_state() == {"b": 2}

    async def test_changed_by_two_runs_keeps_both_changes(self, db: MongoDb) -> None:
        both = [asyncio.Event(), asyncio.Event()]

        async def set_key(run_context: RunContext, key: str, mine: int) -> None:
            both[mine].set()
            await both[1 - mine].wait()
            run_context.session_state[key] = mine

        agents = [
            agent_on(db, ToolCall("set_key", {"key": f"k{mine}", "mine": mine}), "ok", tools=[set_key])[0] for mine in (0, 1)
        ]
        await asyncio.gather(*(agent.arun("go") for agent in agents))
        assert await agents[0].aget_session_state() == {"k0": 0, "k1": 1}

    @pytest.mark.parametrize("policy", ["ours", "raise"])
    async def test_conflicts_end_as_the_agent_says(self, db: MongoDb, policy: Any) -> None:
        agent, _ = agent_on(db, "ok", session_state={"n": 0})
        await agent.arun("go")

        async def set_n(run_context: RunContext) -> None:
            await agent.aupdate_session_state({"n": "theirs"})
            run_context.session_state["n"] = "ours"

        agent, _ = agent_on(db, ToolCall("set_n"), "ok", tools=[set_n], on_state_conflict=policy)
        events: list[Any] = []
        path = "session_data.session_state.n"
        if policy == "raise":
            with pytest.raises(StateConflictError, match="changed session_data") as caught:
                await agent.arun("go")
            assert caught.value.paths == [path]
        else:
            events = [event async for event in agent.arun("go", stream=True, yield_run_output=True)]
            assert [event.paths for event in events if isinstance(event, StateConflictEvent)] == [(path,)]
            assert events[-1].state_conflicts == [path]
        assert await agent.aget_session_state() == {"n": "ours" if policy == "ours" else "theirs"}
        session = await agent.aget_session()
        assert session is not None
        assert [run.status for run in session.runs or ()] == [RunStatus.completed] * 2


class TestUnstorableValues:
    async def test_in_the_state_are_named_once_the_run_is_stored(self, db: MongoDb) -> None:
        def spoil(run_context: RunContext) -> None:
            run_context.session_state["good"] = 2
            run_context.session_state["bad"] = {"deep": [object()]}

        agent, _ = agent_on(db, ToolCall("spoil"), "ok", tools=[spoil], session_state={"good": 1, "bad": 1})
        with pytest.raises(
            UnstorableValueError, match=r"session_state\.bad\.deep\[0\] cannot be stored: a value of type object"
        ) as caught:
            await agent.arun("go")
        assert caught.value.path == "session_state.bad.deep[0]"
        assert (await only_run(agent)).status == RunStatus.completed
        assert await agent.aget_session_state() == {"good": 2, "bad": 1}

    @pytest.mark.parametrize("value", [2**63, "\ud800", {1: 2}, {"a\x00": 1}, object(), open])
    async def test_given_to_a_run_are_refused_before_the_model_is_asked(self, db: MongoDb, value: Any) -> None:
        agent, model = agent_on(db)
        for attempt in (
            agent.arun({"x": value}),
            agent.arun("go", session_state={"x": value}),
            agent.arun("go", metadata={"x": value}),
        ):
            with pytest.raises(UnstorableValueError, match="x"):
                await attempt
        assert model.requests == []
        assert await agent.aget_session() is None

    async def test_in_an_answer_are_replaced_and_the_reader_sees_what_is_stored(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "broken \ud83d emoji")
        assert (await agent.arun("go")).content == "broken \ufffd emoji"
        stored = await only_run(agent)
        assert stored.content == "broken \ufffd emoji"
        assert stored.input is not None
        assert stored.input.input_content == "go"

    @pytest.mark.parametrize("wrong", [None, [1], "text"])
    async def test_in_the_place_of_the_state_are_named_once_the_run_is_stored(self, db: MongoDb, wrong: Any) -> None:
        def spoil(run_context: RunContext) -> None:
            run_context.session_state = wrong

        agent, _ = agent_on(db, ToolCall("spoil"), "ok", tools=[spoil], session_state={"n": 1})
        with pytest.raises(UnstorableValueError, match="a tool put"):
            await agent.arun("go")
        assert (await only_run(agent)).status == RunStatus.completed
        assert await agent.aget_session_state() == {"n": 1}

    async def test_a_thread_that_outlives_its_run_does_not_take_the_run_with_it(self, db: MongoDb) -> None:
        stop = threading.Event()
        started = threading.Event()

        def scribble(run_context: RunContext) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                run_context.session_state[f"k{number % 500}"] = number
                run_context.session_state.pop(f"k{(number + 250) % 500}", None)
                started.set()

        agent, _ = agent_on(db, ToolCall("scribble"), tools=[scribble])
        task = asyncio.create_task(agent.arun("go"))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, UnstorableValueError)):
            await task
        stop.set()
        assert (await only_run(agent)).status == RunStatus.cancelled


class TestWhoseSession:
    async def test_a_made_up_session_stays_with_its_user(self, db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel(*["ok"] * 5), db=db)
        first = await agent.arun("1", user_id="john")
        second = await agent.arun("2", user_id="john")
        other = await agent.arun("3", user_id="mary")
        assert first.session_id == second.session_id != other.session_id
        assert agent.session_id is None
        assert [message.content for message in await agent.aget_session_messages(user_id="mary")] == ["3", "ok"]

    async def test_another_users_session_is_refused(self, db: MongoDb) -> None:
        agent, model = agent_on(db, "ok")
        await agent.arun("secret", user_id="john")
        for attempt in (
            agent.arun("tell me", user_id="mary"),
            agent.arun("tell me"),
            agent.aget_session(user_id="mary"),
            agent.aget_session_messages(user_id="mary"),
            agent.aget_session_state(user_id="mary"),
            agent.adelete_session(user_id="mary"),
            agent.aset_session_name(session_name="x", user_id="mary"),
        ):
            with pytest.raises(SessionOwnedByAnotherUser):
                await attempt
        assert len(model.requests) == 1

    async def test_a_run_id_is_used_once(self, db: MongoDb) -> None:
        agent, model = agent_on(db, "ok")
        await agent.arun("go", run_id="r")
        with pytest.raises(RunAlreadyFinished):
            await agent.arun("go", run_id="r")
        assert len(model.requests) == 1
        assert (await agent.aget_run_output("r")).content == "ok"  # type: ignore[union-attr]

    async def test_a_run_whose_session_is_deleted_meanwhile_says_so(self, db: MongoDb) -> None:
        agent, _ = agent_on(db)

        async def delete(_request: ModelRequest) -> str:
            await agent.adelete_session()
            return "too late"

        agent.model.script.append(delete)  # type: ignore[attr-defined]
        with pytest.raises(SessionNotFound, match="was deleted while run"):
            await agent.arun("go")
        assert await agent.aget_session() is None

    async def test_accessors_ask_which_session_where_none_is_meant(self, db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel(), db=db)
        with pytest.raises(ConfigurationError, match="which session"):
            await agent.aget_session()
        with pytest.raises(ConfigurationError, match="has no db"):
            await Agent(model=ScriptedModel()).aget_session("s")

    async def test_accessors_of_a_missing_session(self, db: MongoDb) -> None:
        agent, _ = agent_on(db)
        assert await agent.aget_session() is None
        assert await agent.aget_session_messages() == []
        assert await agent.aget_chat_history() == []
        assert await agent.aget_last_run_output() is None
        assert await agent.aget_run_output("r") is None
        assert await agent.adelete_session() is False
        for attempt in (agent.aget_session_state(), agent.aget_session_name(), agent.aget_session_metrics()):
            with pytest.raises(SessionNotFound, match="there is no session 's'"):
                await attempt

    async def test_accessors_of_a_session(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "Hello.", "Bye.", description="You are kind.", session_state={"n": 1})
        await agent.arun("Hi")
        run = await agent.arun("Go")
        assert (await agent.aset_session_name(session_name="Small talk")).session_name == "Small talk"
        assert await agent.aget_session_name() == "Small talk"
        assert await agent.aupdate_session_state({"m": 2}) == {"n": 1, "m": 2}
        assert [message.role for message in await agent.aget_session_messages()] == [
            "system", "user", "assistant", "user", "assistant",
        ]  # fmt: skip
        assert [message.content for message in await agent.aget_session_messages(limit=2)] == ["You are kind.", "Bye."]
        assert [message.content for message in await agent.aget_chat_history(last_n_runs=1)] == ["Go", "Bye."]
        assert (await agent.aget_last_run_output()).run_id == run.run_id  # type: ignore[union-attr]
        assert await agent.aget_session_summary() is None
        assert await agent.adelete_session()


async def test_a_long_run_keeps_its_lease(db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agno_mongo.upkeep.RENEWED_EVERY", 0.1)
    collection = (await db._connection()).collection

    async def lease() -> float:
        [entry] = (await collection.find_one({}))["active_runs"].values()
        return float(entry["lease_until"])

    async def look_later(_request: ModelRequest) -> str:
        first = await lease()
        while await lease() <= first:
            await asyncio.sleep(0.02)
        session = await agent.aget_session()
        assert session is not None
        return ", ".join(getattr(run.status, "value", "") for run in session.unfinished_runs)

    agent, _ = agent_on(db, look_later)
    assert (await agent.arun("go")).content == "RUNNING"


async def test_an_agent_without_a_database_answers_and_forgets() -> None:
    agent, model = agent_on(None, "one", "two", add_history_to_context=True, session_state={"n": 1})
    run = await agent.arun("first")
    assert run.session_state == {"n": 1}
    await agent.arun("second")
    assert [message.content for message in model.requests[1].messages] == ["second"]
