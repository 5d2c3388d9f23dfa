"""What is left of a workflow's settings: each has its effect, in what a model is sent and in what is stored."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import CheckError, InputCheckError, SessionBusy, SessionOwnedByAnotherUser, StateConflictError
from agno_mongo.media import Image
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.workflow import Loop, Parallel, Step, StepInput, StepOutput, Workflow
from tests.test_workflows import PIXEL, agent_saying, asked, flow, stored, upper


async def test_media_are_not_stored_if_they_are_not_wanted() -> None:
    def draw(step_input: StepInput) -> StepOutput:
        return StepOutput(content="drawn", images=[Image(content=PIXEL)])

    agent = agent_saying("nice", store_media=False)
    workflow = flow(draw, agent, db=InMemoryDb(), store_media=False)
    run = await workflow.arun("draw", images=[Image(content=PIXEL + b"given")])
    assert len(agent.model.requests[0].messages[-1].images) == 2  # type: ignore[union-attr]
    assert run.step_results[0].images[0].content == PIXEL  # type: ignore[index]
    kept = await stored(workflow)
    [medium] = kept.step_results[0].images or []
    assert medium.content is None
    assert str(medium.not_stored).startswith("[")
    assert PIXEL not in str(kept.to_dict()).encode("latin-1", "replace")


async def test_dependencies_and_state_are_shown_to_the_agents() -> None:
    seen: list[Any] = []

    def look(step_input: StepInput, run_context: RunContext) -> None:
        seen.append(run_context.dependencies)

    agent = agent_saying("a", "b")
    workflow = flow(
        agent,
        look,
        dependencies={"city": "Rome", "unit": "C"},
        add_dependencies_to_context=True,
        add_session_state_to_context=True,
        session_state={"mood": "calm"},
    )
    await workflow.arun("weather")
    await workflow.arun("weather", dependencies={"city": "Oslo"}, add_session_state_to_context=False)
    assert '"city": "Rome"' in asked(agent)
    assert '"city": "Oslo"' in asked(agent, 1)
    assert seen == [{"city": "Rome", "unit": "C"}, {"city": "Oslo", "unit": "C"}]
    system = [request.messages[0] for request in agent.model.requests]  # type: ignore[union-attr]
    assert "calm" in str(system[0].content)
    assert "calm" not in str(system[1].content)


async def test_a_calls_state_is_laid_over_what_is_stored_or_takes_its_place() -> None:
    db = InMemoryDb()
    await flow(upper, db=db, session_state={"a": 1, "b": 1}).arun("x", session_state={"b": 2})
    assert await flow(upper, db=db).aget_session_state() == {"a": 1, "b": 2}
    await flow(upper, db=db, overwrite_db_session_state=True).arun("x", session_state={"c": 3})
    assert await flow(upper, db=db).aget_session_state() == {"c": 3}


async def test_metadata_are_the_workflows_and_the_calls() -> None:
    workflow = flow(upper, db=InMemoryDb(), metadata={"team": "news", "level": 1})
    await workflow.arun("x", metadata={"level": 2})
    assert (await stored(workflow)).metadata == {"team": "news", "level": 2}


async def test_users_do_not_share_a_session() -> None:
    db = InMemoryDb()
    await flow(upper, db=db, user_id="ann").arun("x")
    with pytest.raises(SessionOwnedByAnotherUser):
        await flow(upper, db=db).arun("x", user_id="eve")
    made_up = Workflow(steps=[upper], db=db)
    first, second = await made_up.arun("x", user_id="ann"), await made_up.arun("x", user_id="bob")
    assert first.session_id != second.session_id


@pytest.mark.parametrize("concurrent_runs", ["allow", "reject", "queue"])
async def test_runs_that_meet_do_what_the_workflow_says(concurrent_runs: Any) -> None:
    meeting = asyncio.Event()

    async def waits(step_input: StepInput, run_context: RunContext) -> str:
        run_context.state.increment("runs")
        await meeting.wait()
        return str(run_context.session_state["runs"])

    workflow = flow(waits, db=InMemoryDb(), concurrent_runs=concurrent_runs, queue_timeout=5)
    first = asyncio.ensure_future(workflow.arun("a"))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(workflow.arun("b"))
    await asyncio.sleep(0.05)
    meeting.set()
    if concurrent_runs == "reject":
        with pytest.raises(SessionBusy):
            await second
        assert (await first).content == "1"
        return
    runs = [(await first).content, (await second).content]
    assert runs == (["1", "1"] if concurrent_runs == "allow" else ["1", "2"])
    assert await workflow.aget_session_state() == {"runs": 2}


async def test_a_key_that_two_runs_changed_is_decided_by_the_policy() -> None:
    db, meeting = InMemoryDb(), asyncio.Event()

    async def slow(step_input: StepInput, session_state: dict[str, Any]) -> None:
        session_state["who"] = step_input.input
        if step_input.input == "slow":
            await meeting.wait()

    workflow = flow(slow, db=db, on_state_conflict="raise", session_state={"who": ""})
    late = asyncio.ensure_future(workflow.arun("slow"))
    await asyncio.sleep(0.05)
    await workflow.arun("quick")
    meeting.set()
    with pytest.raises(StateConflictError):
        await late
    assert await workflow.aget_session_state() == {"who": "quick"}


async def test_a_session_that_is_cached_is_shown_whole() -> None:
    agent = agent_saying("1", "2", "3")
    workflow = flow(agent, db=InMemoryDb(), cache_session=True, add_workflow_history_to_steps=True)
    for topic in "abc":
        await workflow.arun(topic)
    assert "User input: a\nWorkflow output: 1" in asked(agent, 2)
    assert "User input: b\nWorkflow output: 2" in asked(agent, 2)


async def test_a_check_that_refuses_is_not_asked_again() -> None:
    def refuse(run_input: Any) -> None:
        tried.append(1)
        raise InputCheckError("not that")

    tried: list[int] = []
    agent = agent_saying("never", pre_hooks=[refuse], raise_check_errors=True)
    workflow = flow(Step(name="ask", agent=agent), db=InMemoryDb(), raise_model_errors=True)
    with pytest.raises(CheckError, match="not that"):
        await workflow.arun("x")
    assert tried == [1]
    assert (await stored(workflow)).status == RunStatus.error


async def test_an_agent_remembers_its_own_runs_in_the_workflow() -> None:
    agent = agent_saying("first answer", "second answer", add_history_to_context=True)
    workflow = flow(lambda given: given.input.upper(), agent, db=InMemoryDb())
    await workflow.arun("one")
    await workflow.arun("two")
    shown = [message.content for message in agent.model.requests[1].messages]  # type: ignore[union-attr]
    assert shown == ["ONE", "first answer", "TWO"]


async def test_members_of_a_team_remember_their_own_runs_in_the_workflow() -> None:
    one = Agent(name="one", model=ScriptedModel("first answer", "second answer"), add_history_to_context=True)
    call = ToolCall("delegate_task_to_member", {"member_id": "one", "task": "Do it."})
    team = Team(name="crew", members=[one], model=ScriptedModel(call, "told", call, "told"))
    workflow = flow(team, db=InMemoryDb())
    await workflow.arun("one")
    await workflow.arun("two")
    assert [message.content for message in one.model.requests[1].messages] == ["Do it.", "first answer", "Do it."]  # type: ignore[union-attr]


@pytest.mark.parametrize("beside_others", [False, True])
async def test_a_team_carries_out_a_step_with_its_members(beside_others: bool) -> None:
    def member(name: str) -> Agent:
        def count(run_context: RunContext) -> str:
            run_context.state.increment("calls")
            return "counted"

        return Agent(name=name, model=ScriptedModel(ToolCall("count"), f"{name} says so"), tools=[count])

    calls = [ToolCall("delegate_task_to_member", {"member_id": name, "task": "t"}) for name in ("ann", "bob")]
    team = Team(name="team", members=[member("ann"), member("bob")], model=ScriptedModel(calls, "Both say so."))
    workflow = flow(Parallel(team, upper) if beside_others else team, upper, db=InMemoryDb())
    run = await workflow.arun("x", run_id="r")
    assert run.status is RunStatus.completed
    kept = await stored(workflow)
    assert kept.get_step_output("team").content == "Both say so."  # type: ignore[union-attr]
    names = [getattr(run, "agent_name", None) or getattr(run, "team_name", None) for run in kept.step_executor_runs or ()]
    assert sorted(names[:2]) == ["ann", "bob"]
    assert names[2:] == ["team"]
    assert await workflow.aget_session_state() == {"calls": 2}
    assert (await workflow.aget_session_metrics()).total_tokens == 90


async def test_one_agent_may_carry_out_several_steps_at_once() -> None:
    agent = agent_saying(*["said"] * 3)
    workflow = flow(Parallel(Step(name="a", agent=agent), Step(name="b", agent=agent)), agent, db=InMemoryDb())
    await workflow.arun("x")
    kept = await stored(workflow)
    assert len({run.run_id for run in kept.step_executor_runs or ()}) == 3
    assert (await workflow.aget_session_metrics()).total_tokens == 45


async def test_runs_follow_the_archive_like_an_agents() -> None:
    workflow = flow(agent_saying(*["said"] * 40), upper, db=InMemoryDb())
    for number in range(40):
        await workflow.arun(f"go {number}")
    session = await workflow.aget_session()
    assert session is not None
    assert session.run_count == 40
    assert [run.input.input_content for run in session.runs or ()] == [f"go {number}" for number in range(40)]  # type: ignore[union-attr]
    await workflow.db.close()  # type: ignore[union-attr]


async def test_a_copy_runs_by_itself_on_the_same_database() -> None:
    db = InMemoryDb()
    agent = agent_saying("one", "two", db=db, session_id="of the agent")
    team = Team([agent_saying("never")], model=ScriptedModel("three"), db=db, session_id="of the team")
    workflow = flow(agent, Loop(steps=[upper], max_iterations=1), db=db)
    assert (await workflow.arun("go")).content == "ONE"
    copied = [copy.deepcopy(each) for each in (agent, team, workflow)]
    assert [(await each.arun("go")).content for each in copied] == ["two", "three", "TWO"]
    assert [each.db is db for each in copied] == [True] * 3
    assert [len(session.runs or ()) for session in [await each.aget_session() for each in copied] if session] == [1, 1, 2]
    assert (await agent.arun("go")).content == "two"


async def test_a_copy_of_an_openai_model_has_its_own_clients() -> None:
    first = OpenAIChat(id="x", api_key="first")
    second = copy.deepcopy(Agent(model=first)).model
    assert isinstance(second, OpenAIChat)
    second.api_key = "second"
    keys = [(await model._client()).api_key for model in (first, second)]
    assert keys == ["first", "second"]
