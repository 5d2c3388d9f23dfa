"""Around a workflow's runs: earlier ones as history, an agent that stands before it, its sessions, what it looks like."""

from __future__ import annotations

import asyncio
import io
import re
from typing import Any

import pytest
from rich.console import Console

from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, ModelTimeout
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.session import WorkflowSession
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.workflow import (
    Condition,
    HumanReview,
    Loop,
    Parallel,
    Router,
    Step,
    StepInput,
    WorkflowAgent,
)
from tests.test_workflows import agent_saying, asked, flow, stored, upper

HISTORY = (
    "<workflow_history_context>\n[Workflow Run-1]\nUser input: cats\nWorkflow output: about cats\n\n"
    "[Workflow Run-2]\nUser input: dogs\nWorkflow output: about dogs\n\n</workflow_history_context>\n\n"
)


@pytest.fixture
def db() -> MongoDb:
    """What is stored is the same on a server: tests/test_workflows_durable.py, and those here that count commands."""
    return InMemoryDb()


class TestTheHistoryOfAWorkflow:
    async def test_is_shown_to_the_agents_of_its_steps(self, db: MongoDb) -> None:
        agent = agent_saying("about mice", "about cats", "about dogs", "about birds")
        workflow = flow(agent, db=db, add_workflow_history_to_steps=True, num_history_runs=2)
        for topic in ("mice", "cats", "dogs", "birds"):
            await workflow.arun(topic)
        assert asked(agent, 0) == "mice"
        assert asked(agent, 3) == f"{HISTORY}birds"

    async def test_is_shown_as_each_step_wants_it(self) -> None:
        db, seen = InMemoryDb(), []

        def look(step_input: StepInput) -> str:
            seen.append((step_input.get_workflow_history(), step_input.get_workflow_history_context(1)))
            return f"about {step_input.input}"

        hidden = agent_saying("1", "2", "3")
        steps = [Step(name="hidden", agent=hidden, add_workflow_history=False), look]
        workflow = flow(*steps, db=db, add_workflow_history_to_steps=True)
        for topic in ("cats", "dogs", "birds"):
            await workflow.arun(topic)
        assert asked(hidden, 2) == "birds"
        assert seen[2][0] == [("cats", "about cats"), ("dogs", "about dogs")]
        assert seen[2][1] is not None
        assert "Run-2" not in seen[2][1]
        shown = agent_saying("1", "2")
        workflow = flow(Step(agent=shown, add_workflow_history=True), db=InMemoryDb())
        await workflow.arun("cats")
        await workflow.arun("dogs")
        assert asked(shown, 1).startswith("<workflow_history_context>")

    async def test_leaves_out_what_came_to_nothing(self, db: MongoDb) -> None:
        def fails(step_input: StepInput, run_context: RunContext) -> str:
            if step_input.input == "bad":
                raise ValueError("bad")
            seen.append(step_input.get_workflow_history())
            return f"about {step_input.input}"

        seen: list[Any] = []
        workflow = flow(Step(executor=fails, max_retries=0), db=db, add_workflow_history_to_steps=True, num_history_runs=1)
        await workflow.arun("cats")
        for _ in range(3):
            with pytest.raises(ValueError, match="bad"):
                await workflow.arun("bad")
        await workflow.arun("dogs")
        assert seen[-1] == [("cats", "about cats")]


class TestAnAgentBeforeAWorkflow:
    async def test_runs_it_or_answers_from_what_it_did(self, db: MongoDb) -> None:
        run_it = ToolCall("run_workflow", {"query": "cats, in short"})
        model = ScriptedModel(run_it, "As I said: about cats.")
        writer = agent_saying("about cats")
        workflow = flow(writer, db=db, agent=WorkflowAgent(model=model), description="Writes about animals.")
        events = [event.event async for event in workflow.arun("Cats?", stream=True, stream_events=True, run_id="r")]
        assert {"WorkflowAgentStarted", "WorkflowAgentCompleted", "StepStarted"} <= set(events)
        first = await stored(workflow)
        assert (first.content, asked(writer)) == ("about cats", "cats, in short")
        assert first.workflow_agent_run is not None
        assert first.workflow_agent_run.parent_run_id == "r"
        second = await workflow.arun("What did you say?")
        assert (second.content, second.step_results) == ("As I said: about cats.", [])
        system = model.requests[1].messages[0].content
        assert "Writes about animals." in system
        assert "User input: Cats?\nWorkflow output: about cats" in system
        assert (await workflow.aget_session_metrics()).total_tokens == 45

    async def test_fails_the_run_if_it_comes_to_no_answer(self, db: MongoDb) -> None:
        model = ScriptedModel(ModelTimeout("too slow"), "Nothing yet.")
        workflow = flow(agent_saying(), db=db, agent=WorkflowAgent(model=model))
        await workflow.arun("Cats?")
        failed = await stored(workflow)
        assert (failed.status, failed.step_results) == (RunStatus.error, [])
        assert failed.content == "step 'workflow agent': the run of 'workflow agent' ended as ERROR: too slow"
        assert failed.workflow_agent_run is not None
        assert failed.workflow_agent_run.status is RunStatus.error
        await workflow.arun("And now?")
        assert "too slow" not in str(model.requests[1].messages)


class TestTheSessionsOfAWorkflow:
    async def test_are_read_and_changed_like_an_agents(self, db: MongoDb) -> None:
        def count(step_input: StepInput, session_state: dict[str, Any]) -> str:
            session_state["n"] = session_state.get("n", 0) + 1
            return f"run {session_state['n']}"

        workflow = flow(count, db=db, user_id="ann")
        for topic in ("cats", "dogs"):
            await workflow.arun(topic)
        session = await workflow.aget_session(session_id="s")
        assert isinstance(session, WorkflowSession)
        assert (session.workflow_id, session.user_id) == ("flow", "ann")
        assert session.workflow_data is not None
        assert session.workflow_data["steps"] == [{"name": "count", "type": "function"}]
        said = [(message.role, message.content) for message in await workflow.aget_chat_history()]
        assert said == [("user", "cats"), ("assistant", "run 1"), ("user", "dogs"), ("assistant", "run 2")]
        assert [message.content for message in await workflow.aget_session_messages(last_n_runs=1)] == ["dogs", "run 2"]
        assert await workflow.aupdate_session_state({"n": 7}) == {"n": 7}
        assert await workflow.aget_session_state() == {"n": 7}
        await workflow.aset_session_name(session_name="Animals")
        assert await workflow.aget_session_name() == "Animals"
        assert await workflow.aget_session_summary() is None
        assert [run.content for run in await workflow.aget_runs()] == ["run 1", "run 2"]
        assert await workflow.aget_run_output("none") is None
        assert await workflow.adelete_session()
        assert await workflow.aget_session() is None

    async def test_have_no_model_that_could_name_them(self) -> None:
        workflow = flow(upper, db=InMemoryDb())
        await workflow.arun("x")
        for call in (workflow.aset_session_name(autogenerate=True), workflow.agenerate_session_summary()):
            with pytest.raises(ConfigurationError, match="workflow has no model"):
                await call
        with_agent = flow(upper, db=workflow.db, agent=WorkflowAgent(model=ScriptedModel("Loud Letters")))
        assert (await with_agent.aset_session_name(autogenerate=True)).session_name == "Loud Letters"


class TestWhatIsStoredOfAWorkflow:
    @pytest.mark.timeout(300)
    async def test_may_be_two_hundred_steps_of_a_megabyte_each(self, mongo_db: MongoDb) -> None:
        texts = [letter * 1_000_000 for letter in "abcd"]
        steps = [Step(name=f"s{n}", executor=lambda _, n=n: texts[n % 4]) for n in range(200)]
        workflow = flow(*steps, db=mongo_db)
        await workflow.arun("go")
        kept = await stored(workflow)
        assert len(kept.step_results) == 200
        assert all(output.content == texts[n % 4] for n, output in enumerate(kept.step_results))
        document = await (await mongo_db._connection()).collection.find_one({"session_id": "s"})
        assert document is not None
        assert document["tail_bytes"] < 256 * 1024

    async def test_reads_what_agno_stored(self) -> None:
        stored_by_agno = {
            "session_id": "s",
            "workflow_id": "w",
            "runs": [
                {
                    "run_id": "r",
                    "workflow_id": "w",
                    "workflow_name": "W",
                    "input": "cats",
                    "content": "about cats",
                    "status": "COMPLETED",
                    "step_results": [
                        {"step_name": "both", "step_type": "Parallel", "content": "x", "steps": [{"step_name": "a", "content": "1"}]},
                        [{"step_name": "b", "content": "2", "success": False, "error": "no"}],
                    ],
                    "step_executor_runs": [{"run_id": "e", "agent_id": "a", "content": "1", "parent_run_id": "r"}],
                    "metrics": {"steps": {"a": {"step_name": "a", "executor_type": "agent", "executor_name": "A"}}, "duration": 2.0},
                }
            ],
        }
        [run] = WorkflowSession.from_dict(stored_by_agno).runs
        assert [output.step_name for output in run.step_results] == ["both", "b"]
        assert run.get_step_output("a").content == "1"
        assert run.step_executor_runs[0].agent_id == "a"
        assert (run.input.input_content, run.metrics.duration) == ("cats", 2.0)


class TestAPictureOfAWorkflow:
    async def test_shows_all_ways_and_a_run_the_one_that_was_taken(self) -> None:
        def fails(step_input: StepInput) -> None:
            raise ValueError("no")

        condition = Condition(evaluator=lambda _: False, steps=[upper], else_steps=[upper, upper], name='is "it"?')
        router = Router(choices=[upper, Step(name="fails", executor=fails, max_retries=0)], selector=lambda _: "fails", name="r")
        workflow = flow(Parallel(upper, upper, name="both"), condition, Loop(steps=[upper], name="l"), router)
        drawn = workflow.to_mermaid()
        assert drawn.startswith("flowchart TD\n")
        assert 's4{"is &quot;it&quot;?<br>Condition"}' in drawn
        assert "s2 --> s4" in drawn
        assert "s3 --> s4" in drawn
        kept = flow(upper, Step(executor=fails, max_retries=0, skip_on_failure=True))
        picture = (await kept.arun("x")).to_mermaid()
        assert "upper<br>function, COMPLETED" in picture
        assert ":::SKIPPED" in picture
        assert "classDef COMPLETED" in picture

    async def test_is_printed_as_a_tree_with_the_answer(self) -> None:
        out = io.StringIO()
        workflow = flow(Step(name="research", agent=agent_saying("**notes**")), Parallel(upper, upper, name="both"))
        await workflow.aprint_response("cats", console=Console(file=out, width=80))
        shown = out.getvalue()
        lines = [line.rstrip() for line in shown.splitlines()]
        assert "│ cats" in shown
        assert any(re.match(r"├── ✓ research  agent  \d+\.\ds  \*\*notes\*\*", line) for line in lines)
        assert any(line.startswith("└── ✓ both  parallel") for line in lines)
        assert any(line.startswith("    ├── ✓ upper  function") for line in lines)
        assert "15 tokens" in shown

    async def test_changes_while_the_steps_go_on(self) -> None:
        out = io.StringIO()
        console = Console(file=out, width=80, force_terminal=True, legacy_windows=False, color_system=None)

        async def slow(step_input: StepInput) -> str:
            while "… slow" not in out.getvalue():
                await asyncio.sleep(0.01)
            return "done"

        await flow(upper, Step(name="slow", executor=slow)).aprint_response("x", console=console, show_message=False)
        assert "✓ slow" in out.getvalue()

    async def test_tells_what_it_waits_for_and_what_failed(self) -> None:
        out = io.StringIO()
        console = Console(file=out, width=80)
        review = HumanReview(requires_confirmation=True, confirmation_message="Publish it?")
        await flow(Step(name="publish", executor=upper, human_review=review)).aprint_response("x", console=console)
        assert "publish: Publish it?" in out.getvalue()

        def fails(step_input: StepInput) -> None:
            raise ValueError("nothing there")

        with pytest.raises(ValueError, match="nothing"):
            await flow(Step(executor=fails, max_retries=0)).aprint_response("x", console=console)
        assert "✗ fails" in out.getvalue()


async def test_a_chat_asks_no_more_of_a_step_that_was_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("cats\ntoo dear\ndogs\nyes\n2\nbye\n"))
    fields = [{"name": "copies", "field_type": "int"}]
    review = HumanReview(requires_confirmation=True, requires_user_input=True, user_input_schema=fields)
    workflow = flow(upper, Step(name="print", executor=upper, human_review=review), db=InMemoryDb(), session_id="s")
    await workflow.acli_app(console=Console(file=io.StringIO(), width=80))
    runs = await workflow.aget_runs()
    assert [run.step_results[1].status for run in runs] == ["SKIPPED", "COMPLETED"]
