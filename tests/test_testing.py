"""The doubles that users test with: a scripted model, a database in memory, fixtures."""

from __future__ import annotations

from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.run import RunStatus
from agno_mongo.testing import InMemoryDb, ScriptedModel, ScriptError, ToolCall

pytest_plugins = ["pytester"]


async def test_a_script_is_spoken_in_order_and_remembered() -> None:
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    with ScriptedModel(ToolCall("add", {"a": 1, "b": 2}, id="c1"), "3", lambda request: f"{len(request.messages)}") as model:
        agent = Agent(model=model, tools=[add])
        assert (await agent.arun("1 + 2?")).content == "3"
        assert (await agent.arun("how many?")).content == "1"
    assert model.asked == ["1 + 2?", "1 + 2?", "how many?"]
    assert model.requests[1].messages[-1].tool_call_id == "c1"
    assert model.requests[0].tools[0]["function"]["description"] == "Add two numbers."


async def test_a_call_too_many_is_complained_about() -> None:
    model = ScriptedModel("one")
    agent = Agent(model=model)
    await agent.arun("1")
    with pytest.raises(ScriptError, match="the script has 1 lines, and the model was asked once more: 'two'"):
        await agent.arun("two")
    with pytest.raises(ScriptError, match="asked 2 times"):
        model.assert_finished()


async def test_lines_left_unsaid_are_complained_about() -> None:
    with (
        pytest.raises(ScriptError, match="1 of 2 lines were never asked for; the next is 'two'"),
        ScriptedModel("one", "two") as model,
    ):
        await Agent(model=model).arun("1")


async def test_an_exception_in_the_script_is_the_models_failure() -> None:
    model = ScriptedModel(RuntimeError("boom"))
    with pytest.raises(RuntimeError, match="boom"):
        await Agent(model=model, db=InMemoryDb(), session_id="s").arun("go")


async def test_the_database_in_memory_needs_no_server() -> None:
    db = InMemoryDb()
    run = await Agent(model=ScriptedModel("ok"), db=db, session_id="s").arun("go")
    assert run.status == RunStatus.completed
    assert await db.get_all_session_ids() == ["s"]
    assert await InMemoryDb().get_all_session_ids() == []


def test_the_fixtures_serve_somebody_elses_suite(pytester: Any) -> None:
    pytester.makeconftest('pytest_plugins = ["agno_mongo.testing.fixtures"]')
    pytester.makepyfile(
        """
        import pytest
        from agno_mongo.agent import Agent

        @pytest.mark.asyncio
        async def test_mine(agno_db, scripted_model):
            scripted_model.script += ["Hello."]
            run = await Agent(model=scripted_model, db=agno_db, session_id="s").arun("Hi")
            assert run.content == "Hello."
            assert (await agno_db.get_session("s")).runs[0].content == "Hello."

        @pytest.mark.asyncio
        async def test_forgotten(scripted_model):
            scripted_model.script += ["Never."]
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ScriptError: 1 of 1 lines were never asked for*"])
