"""Calls of tools: each has its own id, its own answer and its own result, however a server numbers them and however often the run pauses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, RunAlreadyFinished, RunIsPaused, SessionError
from agno_mongo.exceptions import StopAgentRun
from agno_mongo.media import Image
from agno_mongo.messages import Message, ToolExecution
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.run.agent import RunContentEvent
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from tests.test_continuing import set_in_entry

calls: list[Any] = []


@tool
def look(x: str) -> str:
    return f"looked at {x}"


@tool(requires_confirmation=True)
def pay(to: str) -> str:
    calls.append(("pay", to))
    return f"paid {to}"


def agent_of(*script: Any, tools: Any = (look, pay), db: Any = None, **settings: Any) -> Agent:
    calls.clear()
    return Agent(model=ScriptedModel(*script), db=db, tools=list(tools), session_id="s", **settings)


async def confirmed(agent: Agent, run: RunOutput, **given: Any) -> RunOutput:
    for requirement in run.active_requirements:
        requirement.confirm()
    return await agent.acontinue_run(run, **given)


class TestAServerThatNumbersCallsAnewInEachAnswer:
    async def test_has_a_confirmed_call_made_and_its_own_result_told(self) -> None:
        look_first, then_pay = ToolCall("look", {"x": "a"}, id="call_0"), ToolCall("pay", {"to": "Ann"}, id="call_0")
        agent = agent_of(look_first, then_pay, "done", db=InMemoryDb())
        run = await agent.arun("Pay Ann.")
        stored = await agent.aget_run_output(run.run_id or "")
        assert stored is not None
        assert [each.result for each in stored.tools or ()] == ["looked at a", None]
        run = await confirmed(agent, stored)
        assert calls == [("pay", "Ann")]
        told = agent.model.requests[-1].messages  # type: ignore[attr-defined]
        assert [(message.tool_name, message.content) for message in told if message.role == "tool"] == [
            ("look", "looked at a"),
            ("pay", "paid Ann"),
        ]
        called = [call["id"] for message in told for call in message.tool_calls or ()]
        assert [message.tool_call_id for message in told if message.role == "tool"] == called
        assert len(set(called)) == 2

    async def test_has_each_result_read_back(self) -> None:
        agent = agent_of(*(ToolCall("look", {"x": x}, id="call_0") for x in "ab"), "done", db=InMemoryDb())
        run = await agent.arun("Look.")
        stored = await agent.aget_run_output(run.run_id or "")
        assert stored is not None
        assert [each.result for each in stored.tools or ()] == ["looked at a", "looked at b"]

    async def test_may_call_twice_by_one_id_in_one_answer(self) -> None:
        agent = agent_of([ToolCall("pay", {"to": to}, id="c") for to in ("Ann", "Bob")], "done", db=InMemoryDb())
        run = await confirmed(agent, await agent.arun("Pay both."))
        assert (run.status, sorted(calls)) == (RunStatus.completed, [("pay", "Ann"), ("pay", "Bob")])


def test_a_run_stored_with_calls_of_one_id_has_the_result_of_each() -> None:
    said = [Message(role="tool", tool_call_id="call_0", content=content) for content in ("one", "two")]
    earlier = Message(role="tool", tool_call_id="call_0", content="of another run", from_history=True)
    tools = [ToolExecution(tool_call_id="call_0") for _ in said]
    waiting = ToolExecution(tool_call_id="call_0", requires_confirmation=True)
    run = RunOutput.from_dict(RunOutput(messages=[earlier, *said], tools=[*tools, waiting]).to_dict())
    assert [each.result for each in run.tools] == ["one", "two", None]


class TestAFieldThatAPersonFillsIn:
    @staticmethod
    def agent_for(sent: dict[str, Any] | str, got: list[Any]) -> Agent:
        @tool(user_input_fields=["approved_by"])
        def wire(amount: int = 1, approved_by: str = "nobody") -> str:
            got.append((amount, approved_by))
            return "sent"

        return agent_of(ToolCall("wire", sent), "done", tools=[wire], db=InMemoryDb())

    async def test_is_never_what_the_model_sent(self) -> None:
        got: list[Any] = []
        agent = self.agent_for({"amount": 5, "approved_by": "the model says boss"}, got)
        run = await agent.arun("Send it.")
        stored = await agent.aget_run_output(run.run_id or "")
        assert stored is not None
        for each in (run, stored):
            assert [tool.tool_args for tool in each.tools or ()] == [{"amount": 5}]
        stored.active_requirements[0].provide_user_input({})
        await agent.acontinue_run(stored)
        assert got == [(5, "nobody")]

    async def test_is_asked_for_where_the_model_sends_null_for_all_arguments(self) -> None:
        got: list[Any] = []
        agent = self.agent_for("null", got)
        run = await agent.arun("Send it.")
        assert (run.status, got) == (RunStatus.paused, [])


class NotAnError(BaseException):
    """As pytest.fail() raises."""


@pytest.mark.parametrize("in_a_thread", [True, False])
async def test_what_is_no_exception_ends_the_run_and_is_raised(in_a_thread: bool) -> None:
    def plain() -> None:
        raise NotAnError("not to be called")

    async def on_the_loop() -> None:
        plain()

    function = plain if in_a_thread else on_the_loop
    agent = agent_of(ToolCall(function.__name__), tools=[function], db=InMemoryDb())
    with pytest.raises(NotAnError, match="not to be called"):
        await asyncio.wait_for(agent.arun("go"), 10)
    stored = await agent.aget_last_run_output()
    assert stored is not None
    assert stored.status is RunStatus.cancelled


@tool(show_result=True)
def table() -> str:
    return "TABLE"


@tool
def draw() -> Image:
    return Image(content=b"\x89PNG\r\n\x1a\n" + bytes(32))


@tool
def stop() -> str:
    raise StopAgentRun("stopped", agent_message="The answer is 42.")


PAY = ToolCall("pay", {"to": "Ann"})


class TestWhatIsShownBesideMessages:
    @pytest.mark.parametrize("db", [None, InMemoryDb()], ids=["no db", "db"])
    async def test_is_there_when_a_paused_run_goes_on(self, db: MongoDb | None) -> None:
        script = ([ToolCall("table"), ToolCall("draw")], PAY, "done")
        agent = agent_of(*script, tools=[table, draw, pay], db=db, store_events=True)
        run = await agent.arun("go", metadata={"of": "the call"})
        assert (run.content, len(run.images or ())) == ("TABLE", 1)
        before = [event.event for event in run.events or ()]
        run = await confirmed(agent, run)
        assert (run.content, len(run.images or ()), run.metadata) == ("TABLE\n\ndone", 1, {"of": "the call"})
        assert [event.event for event in run.events or ()][: len(before)] == before

    async def test_is_there_when_another_process_goes_on_from_a_checkpoint(self) -> None:
        db, tools = InMemoryDb(), [table, draw]
        settings: dict[str, Any] = {"tools": tools, "db": db, "checkpoint": "tool-batch", "store_events": True}
        continued: list[RunOutput] = []

        async def die(_: Any) -> str:
            await set_in_entry(db, "r", lease_until=1.0)
            continued.append(await agent_of("done", **settings).acontinue_run("r"))
            return "too late"

        with pytest.raises(SessionError):
            await agent_of([ToolCall("draw"), ToolCall("table")], die, **settings).arun("go", run_id="r")
        [run] = continued
        assert (run.content, len(run.images or ())) == ("TABLE\n\ndone", 1)
        kinds = [event.event for event in run.events or ()]
        assert (kinds[0], kinds.count("ToolCallCompleted"), kinds.count("RunContinued")) == ("RunStarted", 2, 1)
        stored = await agent_of(**settings).aget_run_output("r")
        assert stored is not None
        assert (stored.events or ())[0].event == "RunStarted"

    async def test_is_the_answer_of_a_tool_that_ended_the_run_beside_a_call_that_waits(self) -> None:
        agent = agent_of([ToolCall("stop"), PAY], tools=[stop, pay], db=InMemoryDb())
        run = await confirmed(agent, await agent.arun("go"))
        assert (run.status, run.content, calls) == (RunStatus.completed, "The answer is 42.", [("pay", "Ann")])

    async def test_is_what_was_streamed_before_the_pause_and_after(self) -> None:
        @tool(show_result=True, external_execution=True)
        def outside() -> str: ...

        @tool(show_result=True, requires_confirmation=True)
        def sure() -> str:
            return "SURE"

        script = ([ToolCall("outside"), ToolCall("sure"), ToolCall("table")], PAY, "done")
        agent = agent_of(*script, tools=[outside, sure, table, pay], db=InMemoryDb())
        pieces: list[str] = []
        run: Any = None

        async def read(events: Any) -> Any:
            last = None
            async for event in events:
                if isinstance(event, RunContentEvent):
                    pieces.append(event.content)
                last = event
            return last

        run = await read(agent.arun("go", stream=True, yield_run_output=True, run_id="r"))
        while run.is_paused:
            for requirement in run.active_requirements:
                if requirement.needs_external_execution:
                    requirement.set_external_execution_result("OUTSIDE")
                else:
                    requirement.confirm()
            run = await read(agent.acontinue_run(run, stream=True, yield_run_output=True))
        assert run.content == "".join(pieces) == "TABLE\n\nOUTSIDE\n\nSURE\n\ndone"


async def test_results_that_are_shown_stand_in_the_order_of_the_calls_streamed_and_whole() -> None:
    second_done = asyncio.Event()

    @tool(show_result=True)
    async def first() -> Any:
        yield "1a "
        await asyncio.wait_for(second_done.wait(), 10)
        yield "1b"

    @tool(show_result=True)
    async def second() -> Any:
        yield "2a "
        second_done.set()
        yield "2b"

    agent = agent_of([ToolCall("first"), ToolCall("second")], "done", tools=[first, second])
    events = [event async for event in agent.arun("go", stream=True, yield_run_output=True)]
    run = events.pop()
    assert isinstance(run, RunOutput)
    pieces = [event.content for event in events if isinstance(event, RunContentEvent)]
    assert run.content == "".join(pieces) == "1a 1b\n\n2a 2b\n\ndone"


class TestWithoutADatabase:
    async def test_a_paused_run_goes_on_once(self) -> None:
        agent = agent_of(PAY, "done", "again")
        run = await agent.arun("go")
        with pytest.raises(RunIsPaused):
            await agent.acontinue_run(run)
        await confirmed(agent, run)
        with pytest.raises(RunAlreadyFinished, match="goes on once"):
            await agent.acontinue_run(run)
        assert calls == [("pay", "Ann")]

    async def test_a_run_that_does_not_wait_does_not_go_on(self) -> None:
        agent = agent_of("one", "two")
        with pytest.raises(RunAlreadyFinished):
            await agent.acontinue_run(await agent.arun("Hello."))
        assert len(agent.model.requests) == 1  # type: ignore[attr-defined]


async def test_rounds_of_tools_are_counted_over_pauses() -> None:
    agent = agent_of(*(ToolCall("pay", {"to": "Ann"}) for _ in range(4)), max_tool_rounds=2, db=InMemoryDb())
    run = await agent.arun("go")
    while run.is_paused:
        run = await confirmed(agent, run)
    assert (run.status, len(calls)) == (RunStatus.error, 2)
    assert [request.tool_choice for request in agent.model.requests] == [None, None, "none"]  # type: ignore[attr-defined]


async def test_a_stored_call_has_no_counters_that_count_nothing() -> None:
    run = await agent_of(ToolCall("look", {"x": "a"}), "done").arun("go")
    [stored] = run.to_dict()["tools"]
    assert list(stored["metrics"]) == ["duration"]


async def test_what_is_no_requirement_is_not_repeated_in_the_error() -> None:
    given = {"tool_execution": {"tool_args": 5, "result": "sk-secret" * 1000}}
    for wrong in (given, ["sk-secret"]):
        with pytest.raises(ConfigurationError, match="is no RunRequirement") as caught:
            await agent_of(db=InMemoryDb()).acontinue_run("r", requirements=[wrong])  # type: ignore[list-item]
        assert "secret" not in str(caught.value)
        assert len(str(caught.value)) < 500
