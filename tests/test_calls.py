"""Calls of tools: each has its own id, its own answer and its own result, however a server numbers them and however often the run pauses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.messages import Message, ToolExecution
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool

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
