"""Runs for which their caller does not wait: one suite over all kinds of component."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, SessionOwnedByAnotherUser
from agno_mongo.run import RunStatus
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from agno_mongo.workflow import Workflow

Make = Callable[..., Any]


class Gate:
    """A model whose answer comes once it is ``open``."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def answer(self, _request: Any) -> str:
        await self.open.wait()
        return "done"

    @property
    def model(self) -> ScriptedModel:
        return ScriptedModel(self.answer)


def an_agent(model: Any, db: MongoDb | None, **settings: Any) -> Agent:
    return Agent(name="one", model=model, db=db, session_id="s", **settings)


def a_team(model: Any, db: MongoDb | None, **settings: Any) -> Team:
    return Team([Agent(name="helper", model=ScriptedModel())], name="one", model=model, db=db, session_id="s", **settings)


def a_workflow(model: Any, db: MongoDb | None, **settings: Any) -> Workflow:
    return Workflow(name="one", steps=[Agent(name="writer", model=model)], db=db, session_id="s", **settings)


@pytest.fixture(params=[an_agent, a_team, a_workflow])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param  # type: ignore[no-any-return]


async def ended(component: Any, run_id: str) -> Any:
    while (run := await component.aget_run_output(run_id)).status is RunStatus.running:
        await asyncio.sleep(0.01)
    return run


async def test_a_run_in_the_background_is_stored_as_it_begins_and_when_it_is_over(make: Make) -> None:
    gate = Gate()
    component = make(gate.model, InMemoryDb())
    begun = await component.arun("go", background=True)
    assert (begun.status, begun.content) == (RunStatus.running, None)
    assert (await component.aget_run_output(begun.run_id)).input.input_content == "go"
    gate.open.set()
    over = await ended(component, begun.run_id)
    assert (over.status, over.content) == (RunStatus.completed, "done")
    assert begun.status is RunStatus.running


async def test_it_can_be_cancelled(make: Make) -> None:
    component = make(Gate().model, InMemoryDb())
    begun = await component.arun("go", background=True)
    assert await component.acancel_run(begun.run_id)
    assert (await ended(component, begun.run_id)).status is RunStatus.cancelled


async def test_close_waits_for_it_and_gives_it_up_as_cancelled(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    for patience, status in ((30, RunStatus.completed), (0.05, RunStatus.cancelled)):
        gate, db = Gate(), InMemoryDb()
        component = make(gate.model, db)
        begun = await component.arun("go", background=True)
        if status is RunStatus.completed:
            asyncio.get_running_loop().call_later(0.2, gate.open.set)
        await db.close(timeout=patience)
        assert (await component.aget_run_output(begun.run_id)).status is status
    assert f"run {begun.run_id!r} of session 's': given up" in caplog.text


async def test_what_keeps_it_from_beginning_is_raised(make: Make) -> None:
    db = InMemoryDb()
    await make(ScriptedModel("mine"), db).arun("go", user_id="mary")
    with pytest.raises(SessionOwnedByAnotherUser):
        await make(ScriptedModel(), db).arun("go", user_id="john", background=True)
    with pytest.raises(ConfigurationError, match="needs a db"):
        await make(ScriptedModel(), None).arun("go", background=True)


async def test_what_goes_wrong_later_the_run_tells_and_the_log(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    component = make(ScriptedModel(*[ZeroDivisionError("by me")] * 4), InMemoryDb())
    with caplog.at_level(logging.WARNING, "agno_mongo"):
        begun = await component.arun("go", background=True)
        assert (await ended(component, begun.run_id)).status is RunStatus.error
        await component.db.close()
    assert f"run {begun.run_id!r} of session 's', in the background: by me" in caplog.text


def test_behind_a_blocking_call_it_goes_on_too(make: Make) -> None:
    component = make(ScriptedModel("done"), InMemoryDb(), stream=True)
    begun = component.run("go", background=True)
    component.db.blocking.close()
    assert component.get_run_output(begun.run_id).content == "done"


async def test_it_has_no_stream(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="no stream"):
        make(ScriptedModel(), InMemoryDb()).arun("go", background=True, stream=True)
    with pytest.raises(ConfigurationError, match="background"):
        make(ScriptedModel(), InMemoryDb()).arun("go", background="yes")


async def test_a_paused_run_goes_on_in_the_background() -> None:
    @tool(requires_confirmation=True)
    def send() -> str:
        """Send."""
        return "sent"

    agent = an_agent(ScriptedModel(ToolCall("send"), "done"), InMemoryDb(), tools=[send])
    paused = await ended(agent, (await agent.arun("go", background=True)).run_id)
    paused.requirements[0].confirm()
    begun = await agent.acontinue_run(paused, background=True)
    assert (begun.run_id, begun.status) == (paused.run_id, RunStatus.running)
    assert (await ended(agent, begun.run_id)).content == "done"
