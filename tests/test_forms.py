"""What a model asks the user by UserControlFlowTools: it makes up the fields, and the run pauses."""

from __future__ import annotations

from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import RunIsPaused
from agno_mongo.run import RunStatus
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools.user_control_flow import UserControlFlowTools
from tests.test_terminal import chat

NIGHTS = {"field_name": "nights", "field_type": "int", "field_description": "How long?"}
CITY = {"field_name": "city"}


def form(*fields: Any) -> ToolCall:
    return ToolCall("get_user_input", {"user_input_fields": list(fields)})


def agent_with(*script: Any, db: Any = None, **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(*script)
    return Agent(model=model, db=db or InMemoryDb(), session_id="s", tools=[UserControlFlowTools()], **settings), model


async def test_what_is_filled_in_is_the_result_in_any_process() -> None:
    agent, _ = agent_with(form(NIGHTS, CITY))
    run = await agent.arun("Book me a room.")
    assert run.is_paused
    (requirement,) = (await agent.aget_session()).paused_runs[0].active_requirements
    fields = [(field.name, field.field_type, field.description) for field in requirement.user_input_schema]
    assert fields == [("nights", int, "How long?"), ("city", str, None)]
    requirement.provide_user_input({"nights": 2, "city": "Rome"})
    other, model = agent_with("Done.", db=agent.db)
    run = await other.acontinue_run(run_id=run.run_id, requirements=[requirement.to_dict()])
    assert (run.status, run.content) == (RunStatus.completed, "Done.")
    told = 'User inputs retrieved: [{"name": "nights", "value": 2}, {"name": "city", "value": "Rome"}]'
    assert model.requests[0].messages[-1].content == told
    stored = await other.aget_run_output(run.run_id)
    assert stored.tools[0].result == told
    assert list(stored.tools[0].tool_args) == ["user_input_fields"]


async def test_a_value_that_is_none_of_the_fields_type_leaves_the_run_paused() -> None:
    agent, _ = agent_with(form(NIGHTS), "Done.")
    run = await agent.arun("go")
    run.active_requirements[0].provide_user_input({"nights": "many"})
    with pytest.raises(RunIsPaused, match="nights: Input should be a valid integer"):
        await agent.acontinue_run(run)
    run.requirements[0].provide_user_input({"nights": 3})
    assert (await agent.acontinue_run(run)).content == "Done."


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (form(), "The form has no fields: the user was not asked."),
        (form(CITY, CITY), "Two fields have the name 'city'."),
        (form({"name": "city"}), "field_name"),
        (ToolCall("get_user_input", "no JSON"), "no JSON"),
    ],
)
async def test_nobody_is_asked_by_a_form_that_is_none(call: ToolCall, told: str) -> None:
    agent, model = agent_with(call, "ok")
    assert (await agent.arun("go")).content == "ok"
    assert told in model.requests[1].messages[-1].content


async def test_the_model_is_told_when_to_ask_and_what_a_field_is() -> None:
    agent, model = agent_with("ok")
    await agent.arun("go")
    assert "call get_user_input" in model.requests[0].messages[0].content
    shown = model.requests[0].tools[0]["function"]
    assert "field_description" in str(shown["parameters"])
    assert UserControlFlowTools(enable_get_user_input=False).get_async_functions() == {}


async def test_a_members_form_pauses_the_team() -> None:
    helper = Agent(name="helper", model=ScriptedModel(form(CITY), "Rome."), tools=[UserControlFlowTools()])
    ask = ToolCall("delegate_task_to_member", {"member_id": "helper", "task": "Help."})
    team = Team([helper], model=ScriptedModel(ask, "Done."), db=InMemoryDb(), session_id="s")
    run = await team.arun("go")
    run.active_requirements[0].provide_user_input({"city": "Rome"})
    assert (await team.acontinue_run(run)).content == "Done."


async def test_a_chat_asks_field_by_field() -> None:
    agent, model = agent_with(form(NIGHTS, CITY), "Done.")
    text = await chat(agent, "Book.", "2", "Rome")
    assert "get_user_input(): nights (How long?)?" in text
    assert "get_user_input(): city?" in text
    assert '"value": 2}, {"name": "city", "value": "Rome"}' in model.requests[1].messages[-1].content
