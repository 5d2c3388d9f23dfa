"""What the type checker makes of the main calls. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from typing_extensions import assert_type

from agno_mongo.agent import Agent
from agno_mongo.db.documents import AgentSession, TeamSession, WorkflowSession
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.db.mongo import Health, MongoDb
from agno_mongo.db.search import SessionMatch
from agno_mongo.db.watch import SessionEvent
from agno_mongo.messages import Message, Metrics
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run.agent import RunOutput, RunOutputEvent
from agno_mongo.run.team import TeamRunOutput, TeamRunOutputEvent
from agno_mongo.run.workflow import WorkflowRunOutput, WorkflowRunOutputEvent
from agno_mongo.team import Team
from agno_mongo.tools import Function, tool
from agno_mongo.workflow import Workflow


async def of_an_agent(agent: Agent) -> None:
    assert_type(agent.run("Hi"), RunOutput)
    assert_type(agent.run("Hi", stream=True), Iterator[RunOutputEvent | RunOutput])
    assert_type(await agent.arun("Hi"), RunOutput)
    assert_type(await agent.arun("Hi", user_id="john", session_state={"n": 1}), RunOutput)
    assert_type(await agent.arun({"city": "Rome"}, output_schema=Metrics), RunOutput)
    assert_type(await agent.acontinue_run("r", output_schema={"type": "object"}), RunOutput)
    assert_type(agent.arun("Hi", stream=True, stream_events=True), AsyncIterator[RunOutputEvent | RunOutput])
    assert_type(agent.continue_run("r"), RunOutput)
    assert_type(await agent.acontinue_run("r", session_id="s", user_id="john"), RunOutput)
    assert_type(agent.acontinue_run("r", stream=True), AsyncIterator[RunOutputEvent | RunOutput])
    assert_type(agent.get_session(session_id="s"), AgentSession | None)
    assert_type(await agent.aget_session_messages(last_n_runs=1), list[Message])
    assert_type(agent.get_session_metrics(), Metrics)
    assert_type(agent.get_session_state("s"), dict[str, Any])
    assert_type(agent.delete_session("s"), bool)
    agent.run("Hi", sesion_id="s")  # type: ignore[call-overload]


async def of_a_workflow(workflow: Workflow) -> None:
    assert_type(workflow.run("Hi"), WorkflowRunOutput)
    assert_type(workflow.run("Hi", stream=True), Iterator[WorkflowRunOutputEvent | WorkflowRunOutput])
    assert_type(await workflow.arun("Hi", session_id="s", additional_data={"n": 1}), WorkflowRunOutput)
    assert_type(workflow.arun("Hi", stream=True), AsyncIterator[WorkflowRunOutputEvent | WorkflowRunOutput])
    assert_type(await workflow.acontinue_run(run_id="r"), WorkflowRunOutput)
    assert_type(workflow.get_session(session_id="s"), WorkflowSession | None)
    assert_type(workflow.get_last_run_output(), WorkflowRunOutput | None)
    workflow.run("Hi", sesion_id="s")  # type: ignore[call-overload]


async def of_a_team(team: Team) -> None:
    assert_type(team.run("Hi"), TeamRunOutput)
    assert_type(await team.arun("Hi", session_id="s"), TeamRunOutput)
    assert_type(team.arun("Hi", stream=True), AsyncIterator[TeamRunOutputEvent | RunOutputEvent | TeamRunOutput])
    assert_type(team.continue_run("r"), TeamRunOutput)
    assert_type(team.get_session(session_id="s"), TeamSession | None)
    assert_type(await team.aget_last_run_output(), TeamRunOutput | None)
    team.run("Hi", sesion_id="s")  # type: ignore[call-overload]


def of_a_tool() -> None:
    def add(a: int) -> int:
        return a

    assert_type(tool(add), Function)
    assert_type(tool(name="plus", timeout=5)(add), Function)
    tool(stop_after=True)(add)  # type: ignore[call-overload]


async def of_a_database(db: MongoDb) -> None:
    assert_type(await db.get_all_session_ids("john"), list[str])
    assert_type(await db.delete_session("s"), bool)
    assert_type(await db.health(), Health)
    assert_type(await db.search_sessions("words", "john"), list[SessionMatch])
    async with db.watch(user_id="john") as events:
        assert_type(await anext(events), SessionEvent)


def of_the_constructors() -> None:
    assert_type(Agent(model=OpenAIChat(id="gpt-5-mini"), db=EmbeddedMongoDb(path="tmp/data")), Agent)
    Agent(add_history_to_contxt=True)  # type: ignore[call-arg]
