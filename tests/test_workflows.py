"""Workflows: steps in order, by agents, functions and other workflows; what is stored of each run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    InputSchemaError,
    ModelError,
    ModelTimeout,
    SessionTypeMismatch,
    UnstorableValueError,
)
from agno_mongo.media import Image
from agno_mongo.run import RunContext, RunOutput, RunStatus, WorkflowRunOutput
from agno_mongo.run.workflow import StepErrorEvent, WorkflowCompletedEvent
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.workflow import Condition, Loop, Parallel, Router, Step, StepInput, StepOutput, Steps, Workflow
from tests.test_commands import Recorder, recorded

__all__ = ["recorded"]

PIXEL = b"\x89PNG\r\n\x1a\n" + b"0" * 16


def agent_saying(*script: Any, **settings: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), **{"name": "writer", **settings})


def asked(agent: Agent, request: int = 0) -> Any:
    return agent.model.requests[request].messages[-1].content  # type: ignore[union-attr]


def upper(step_input: StepInput) -> str:
    return str(step_input.previous_step_content or step_input.input).upper()


def flow(*steps: Any, db: MongoDb | None = None, **settings: Any) -> Workflow:
    return Workflow(name="Flow", steps=list(steps), db=db, **{"session_id": "s", **settings})


async def stored(workflow: Workflow) -> WorkflowRunOutput:
    run = await workflow.aget_last_run_output()
    assert run is not None
    return run


def tree(run: WorkflowRunOutput) -> list[Any]:
    def of(output: StepOutput) -> Any:
        own = (output.step_name, output.status)
        return own if output.steps is None else (*own, [of(step) for step in output.steps])

    return [of(output) for output in run.step_results]


@pytest.fixture
def db() -> MongoDb:
    """What is stored is the same on a server: tests/test_workflows_durable.py, and those here that count commands."""
    return InMemoryDb()


class TestARunOfSteps:
    async def test_hands_each_step_what_the_one_before_has_come_to(self, db: MongoDb) -> None:
        first, last = agent_saying("notes"), agent_saying("article", name="editor")
        workflow = flow(Step(name="research", agent=first), upper, last, db=db)
        run = await workflow.arun("cats")
        assert (asked(first), asked(last)) == ("cats", "NOTES")
        assert (run.content, run.status) == ("article", RunStatus.completed)
        kept = await stored(workflow)
        assert tree(kept) == [("research", "COMPLETED"), ("upper", "COMPLETED"), ("editor", "COMPLETED")]
        assert [output.content for output in kept.step_results] == ["notes", "NOTES", "article"]
        assert [output.input for output in kept.step_results] == ["cats", "notes", "NOTES"]
        assert [output.executor_type for output in kept.step_results] == ["agent", "function", "agent"]
        assert all(output.tries == 1 and output.duration and output.started_at for output in kept.step_results)
        assert kept.to_dict() == run.to_dict()

    async def test_has_the_whole_run_of_each_agent_and_its_tokens_once(self, db: MongoDb) -> None:
        workflow = flow(agent_saying("notes"), agent_saying("article", name="editor"), db=db)
        run = await workflow.arun("cats", run_id="r")
        kept = await stored(workflow)
        assert [(inner.agent_name, inner.parent_run_id) for inner in kept.step_executor_runs or ()] == [
            ("writer", "r"),
            ("editor", "r"),
        ]
        second = kept.get_executor_run(kept.step_results[1])
        assert isinstance(second, RunOutput)
        assert [message.content for message in second.messages or ()] == ["notes", "article"]
        assert run.metrics is not None
        assert kept.metrics is not None
        assert run.metrics.total_tokens == kept.metrics.total_tokens == 30
        assert kept.metrics.steps is not None
        assert set(kept.metrics.steps) == {"writer", "editor"}
        assert (await workflow.aget_session_metrics()).total_tokens == 30
        session = await workflow.aget_session()
        assert session is not None
        assert (len(session.runs or ()), session.run_count, session.workflow_id) == (1, 1, "flow")

    async def test_of_twenty_steps_is_two_commands(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded

        def note(step_input: StepInput, run_context: RunContext) -> str:
            run_context.state.increment("steps")
            return f"{step_input.previous_step_content}."

        steps = [agent_saying(*["x"] * 2) if number % 2 else note for number in range(18)]
        workflow = flow(*steps, Parallel(note, note), db=db)
        await workflow.arun("connects", session_id="another")
        recorder.sent.clear()
        await workflow.arun("go")
        assert recorder.names == ["findAndModify", "findAndModify"]
        assert await workflow.aget_session_state() == {"steps": 11}

    async def test_finds_earlier_outputs_by_the_names_of_their_steps(self) -> None:
        seen: list[Any] = []

        def look(step_input: StepInput) -> None:
            outputs = step_input.previous_step_outputs or {}
            seen.append((list(outputs), step_input.get_step_content("first"), step_input.get_step_content("both")))
            seen.append(step_input.get_step_output("inner").content)  # type: ignore[union-attr]
            seen.append((step_input.get_step_output("none"), step_input.get_all_previous_content()[:20]))

        inner = Step(name="inner", executor=lambda _: "deep")
        await flow(Step(name="first", executor=upper), Parallel(inner, upper, name="both"), look).arun("x")
        assert seen == [
            (["first", "both"], "X", {"inner": "deep", "upper": "X"}),
            "deep",
            (None, "=== first ===\nX\n\n==="),
        ]

    async def test_finds_the_steps_of_workflows_within_by_their_names_too(self, db: MongoDb) -> None:
        def look(step_input: StepInput) -> Any:
            return [step_input.get_step_content(name) for name in ("deep", "inner", "nowhere")]

        inner = Workflow(name="inner", steps=[Steps(name="group", steps=[Step(name="deep", executor=upper)]), lambda _: "end"])
        workflow = flow(Loop(name="around", steps=[inner], max_iterations=1), look, db=db)
        run = await workflow.arun("go")
        assert run.content == ["GO", "end", None]
        for each in (run, await stored(workflow)):
            assert each.get_step_output("deep").content == "GO"  # type: ignore[union-attr]

    async def test_ends_early_when_a_step_says_so(self) -> None:
        run = await flow(lambda _: StepOutput(content="enough", stop=True), upper).arun("x")
        assert (run.content, len(run.step_results)) == ("enough", 1)

    async def test_passes_media_and_further_data_on(self, db: MongoDb) -> None:
        seen: list[Any] = []

        def draw(step_input: StepInput) -> StepOutput:
            seen.append((step_input.additional_data, len(step_input.images or ())))
            return StepOutput(content="drawn", images=[Image(content=PIXEL + b"own")])

        agent = agent_saying("nice")
        workflow = flow(draw, agent, db=db)
        await workflow.arun("draw", images=[Image(content=PIXEL)], additional_data={"style": "ink"})
        assert seen == [({"style": "ink"}, 1)]
        assert len(agent.model.requests[0].messages[-1].images) == 2  # type: ignore[union-attr]
        kept = await stored(workflow)
        assert kept.step_results[0].images[0].content == PIXEL + b"own"  # type: ignore[index]
        assert kept.images is not None

    async def test_without_a_database_has_all_of_it_too(self) -> None:
        run = await flow(agent_saying("notes"), upper).arun("cats")
        assert (run.content, len(run.step_executor_runs or ())) == ("NOTES", 1)

    async def test_does_not_keep_the_agents_runs_if_they_are_not_wanted(self, db: MongoDb) -> None:
        workflow = flow(agent_saying("notes"), db=db, store_executor_outputs=False)
        run = await workflow.arun("cats")
        kept = await stored(workflow)
        assert run.step_executor_runs is kept.step_executor_runs is None
        assert (await workflow.aget_session_metrics()).total_tokens == 15

    async def test_checks_its_input_before_anything_is_stored(self) -> None:
        class Topic(BaseModel):
            title: str

        db, seen = InMemoryDb(), []
        workflow = flow(lambda given: seen.append(given.input), db=db, input_schema=Topic)
        with pytest.raises(InputSchemaError, match="title"):
            await workflow.arun({"name": "x"})
        assert await workflow.aget_session() is None
        await workflow.arun({"title": "x"})
        assert seen == [Topic(title="x")]

    def test_can_be_waited_for_and_iterated_over_without_async(self) -> None:
        workflow = flow(upper)
        assert workflow.run("x").content == "X"
        assert [event.event for event in workflow.run("x", stream=True)] == ["WorkflowStarted", "StepOutput", "WorkflowCompleted"]




class TestAStepsFunction:
    @pytest.mark.parametrize("kind", ["run_context", "session_state", "both", "none"])
    async def test_is_given_what_it_has_parameters_for(self, kind: str) -> None:
        def with_context(step_input: StepInput, run_context: RunContext) -> str:
            run_context.session_state["seen"] = run_context.session_id
            return "x"

        def with_state(step_input: StepInput, session_state: dict[str, Any]) -> str:
            session_state["seen"] = "s"
            return "x"

        async def with_both(step_input: StepInput, session_state: dict[str, Any], run_context: RunContext) -> str:
            assert run_context.session_state is session_state
            session_state["seen"] = "s"
            return "x"

        functions = {"run_context": with_context, "session_state": with_state, "both": with_both, "none": upper}
        db = InMemoryDb()
        workflow = flow(functions[kind], db=db)
        await workflow.arun("go")
        assert await workflow.aget_session_state() == ({} if kind == "none" else {"seen": "s"})

    async def test_that_is_plain_runs_in_a_thread(self) -> None:
        threads: list[Any] = []
        await flow(lambda _: threads.append(threading.current_thread())).arun("go")
        assert threads[0] is not threading.main_thread()

    async def test_gives_anything_as_content(self, db: MongoDb) -> None:
        class Found(BaseModel):
            pages: int

        def look(step_input: StepInput) -> Found:
            return Found(pages=3)

        workflow = flow(lambda _: {"a": [1]}, look, lambda given: given.previous_step_content.pages, db=db)
        run = await workflow.arun("go")
        assert (run.content, run.step_results[1].content) == (3, Found(pages=3))
        assert [output.content for output in (await stored(workflow)).step_results] == [{"a": [1]}, {"pages": 3}, 3]

    async def test_is_told_in_which_workflow_it_is_and_so_is_an_agents_tool(self) -> None:
        def where(run_context: RunContext) -> str:
            return f"{run_context.workflow_id} {run_context.workflow_name}"

        agent = agent_saying(ToolCall("where"), "said", tools=[where])
        run = await flow(lambda _, run_context: where(run_context), agent).arun("go")
        inner = run.get_executor_run(run.step_results[1])
        assert (run.step_results[0].content, inner.tools[0].result) == ("flow Flow", "flow Flow")  # type: ignore[union-attr]

    async def test_is_told_nothing_of_what_was_left_out_whatever_that_says_of_itself(self) -> None:
        seen: list[Any] = []

        def look(step_input: StepInput) -> None:
            seen.append((step_input.previous_step_content, step_input.get_step_content("c"), step_input.get_all_previous_content()))

        left_out = Condition(name="c", evaluator=False, steps=[upper, upper])
        run = await flow(upper, left_out, look, Parallel(left_out, upper), look).arun("go")
        assert run.step_results[1].content == "c not met: 2 steps left out"
        assert seen[0] == ("GO", None, "=== upper ===\nGO")
        assert seen[1][0].startswith("=== upper ===")

    async def test_that_yields_is_streamed(self) -> None:
        def plain(step_input: StepInput) -> Iterator[str]:
            yield "a"
            yield "b"

        async def awaited(step_input: StepInput) -> AsyncIterator[Any]:
            yield "c"
            yield StepOutput(content=f"{step_input.previous_step_content}c")

        events = [event async for event in flow(plain, awaited).arun("go", stream=True, yield_run_output=True)]
        assert [(event.event, event.content) for event in events[1:-1]] == [
            ("StepOutput", "a"),
            ("StepOutput", "b"),
            ("StepOutput", "c"),
            ("StepOutput", "abc"),
            ("WorkflowCompleted", "abc"),
        ]
        assert events[-1].content == "abc"

    async def test_that_hands_on_an_agents_events_says_where_they_happen(self) -> None:
        async def asks(step_input: StepInput) -> AsyncIterator[Any]:
            async for event in agent_saying("two words").arun(step_input.input, stream=True):
                yield event

        events = [event async for event in flow(Step(name="ask", executor=asks)).arun("go", stream=True, stream_events=True)]
        said = [event for event in events if event.event == "RunContent"]
        assert {(event.step_name, event.step_index, event.workflow_run_id) for event in said} == {("ask", 0, events[0].run_id)}

    async def test_that_gives_what_cannot_be_stored_is_named_and_the_run_is_kept(self, db: MongoDb) -> None:
        workflow = flow(upper, lambda _: {"file": threading.Lock()}, db=db)
        with pytest.raises(UnstorableValueError, match=r"run\.step_results\[1\]\.content\.file"):
            await workflow.arun("go")
        kept = await stored(workflow)
        assert [output.content for output in kept.step_results] == ["GO", {"file": None}]

    async def test_may_be_all_that_a_workflow_is(self, db: MongoDb) -> None:
        async def all_of_it(workflow: Workflow, execution_input: Any, run_context: RunContext) -> str:
            run_context.session_state["who"] = workflow.name
            return f"done: {execution_input.input}"

        workflow = Workflow(name="One", steps=all_of_it, db=db, session_id="s")
        assert (await workflow.arun("x")).content == "done: x"
        assert (await stored(workflow)).content == "done: x"
        assert await workflow.aget_session_state() == {"who": "One"}


class TestTheStateOfASession:
    async def test_is_shared_by_all_steps_and_kept_from_run_to_run(self, db: MongoDb) -> None:
        def remember(session_state: dict[str, Any]) -> str:
            session_state["by_agent"] = session_state["n"]
            return "ok"

        def count(step_input: StepInput, session_state: dict[str, Any]) -> None:
            session_state["n"] = session_state.get("n", 0) + 1

        agent = agent_saying(*[ToolCall("remember"), "done"] * 2, tools=[remember])
        workflow = flow(count, agent, count, db=db, session_state={"topic": "cats"})
        await workflow.arun("go")
        await workflow.arun("go")
        assert await workflow.aget_session_state() == {"topic": "cats", "n": 4, "by_agent": 3}

    async def test_keeps_what_parallel_branches_append_to_one_list(self, db: MongoDb) -> None:
        def appending(name: str) -> Step:
            return Step(name=name, executor=lambda _, session_state: session_state["log"].append(name))

        def replaces(step_input: StepInput, session_state: dict[str, Any]) -> None:
            session_state["log"] = session_state["log"][:1]

        workflow = flow(Parallel(*map(appending, "abc")), db=db, session_state={"log": ["old"]})
        await workflow.arun("go")
        log = (await workflow.aget_session_state())["log"]
        assert (log[0], sorted(log[1:])) == ("old", ["a", "b", "c"])
        await flow(Parallel(replaces, name="p"), db=db).arun("go")
        assert (await workflow.aget_session_state())["log"] == ["old"]

    async def test_gets_what_all_parallel_branches_changed(self, db: MongoDb) -> None:
        async def one(step_input: StepInput, run_context: RunContext) -> None:
            run_context.state.increment("count")
            await asyncio.sleep(0)
            run_context.session_state.setdefault("names", {})["one"] = 1
            run_context.session_state.pop("old")

        def two(step_input: StepInput, run_context: RunContext) -> None:
            run_context.state.increment("count")
            run_context.state.append("log", "two")
            run_context.session_state.setdefault("names", {})["two"] = run_context.session_state["old"]

        workflow = flow(
            Parallel(one, two, Steps(name="third", steps=[two])), db=db, session_state={"old": True, "count": 1}
        )
        await workflow.arun("go")
        state = await workflow.aget_session_state()
        assert state == {"count": 4, "names": {"one": 1, "two": True}, "log": ["two", "two"]}


class TestAStepThatFails:
    @pytest.mark.parametrize("beside_others", [False, True])
    async def test_keeps_what_it_changed_of_the_state(self, db: MongoDb, beside_others: bool) -> None:
        def fails(step_input: StepInput, run_context: RunContext) -> None:
            run_context.session_state["tried"] = run_context.state.increment("tries")
            raise ValueError("no")

        step = Step(executor=fails, max_retries=1)
        workflow = flow(Parallel(step, upper) if beside_others else step, db=db)
        with pytest.raises(ValueError, match="no"):
            await workflow.arun("go")
        assert await workflow.aget_session_state() == {"tries": 2, "tried": 2}

    async def test_is_tried_again_after_a_while_and_tells_of_it(self, db: MongoDb) -> None:
        tried: list[float] = []

        def flaky(step_input: StepInput) -> str:
            tried.append(asyncio.run(asyncio.sleep(0, 0)) or 0)
            if len(tried) < 3:
                raise ValueError(f"no {len(tried)}")
            return "at last"

        workflow = flow(Step(executor=flaky, delay_between_retries=0.01, exponential_backoff=True), db=db)
        events = [event async for event in workflow.arun("go", stream=True, stream_events=True)]
        errors = [(event.error, event.attempt, event.will_retry) for event in events if isinstance(event, StepErrorEvent)]
        assert errors == [("no 1", 1, True), ("no 2", 2, True)]
        [output] = (await stored(workflow)).step_results
        assert (output.status, output.tries, output.content) == ("COMPLETED", 3, "at last")
        assert output.duration is not None
        assert output.duration > 0.03

    async def test_for_good_ends_the_run_and_raises_what_its_function_raised(self, db: MongoDb) -> None:
        def fails(step_input: StepInput) -> str:
            raise LookupError("nothing there")

        workflow = flow(upper, Steps(name="both", steps=[Step(executor=fails, max_retries=1), upper]), upper, db=db)
        with pytest.raises(LookupError, match="nothing there"):
            await workflow.arun("go")
        kept = await stored(workflow)
        assert (kept.status, kept.content) == (RunStatus.error, "nothing there")
        assert tree(kept) == [("upper", "COMPLETED"), ("both", "ERROR", [("fails", "ERROR")])]
        assert (kept.step_results[1].steps[0].tries, kept.step_results[1].steps[0].error) == (2, "nothing there")  # type: ignore[index]

    async def test_may_be_left_out(self, db: MongoDb) -> None:
        def fails(step_input: StepInput) -> str:
            raise LookupError("nothing there")

        workflow = flow(upper, Step(executor=fails, max_retries=0, skip_on_failure=True), upper, db=db)
        run = await workflow.arun("go")
        assert (run.status, run.content) == (RunStatus.completed, "GO")
        assert tree(await stored(workflow)) == [("upper", "COMPLETED"), ("fails", "SKIPPED"), ("upper", "COMPLETED")]

    async def test_because_its_agent_failed_is_told_by_the_run_or_raised(self, db: MongoDb) -> None:
        script = [ModelTimeout("too slow"), ModelTimeout("too slow")]
        step = Step(name="ask", agent=agent_saying(*script, "never"), max_retries=1)
        workflow = flow(step, upper, db=db)
        run = await workflow.arun("go")
        assert run.status is RunStatus.error
        assert "too slow" in run.content
        kept = await stored(workflow)
        assert [inner.status for inner in kept.step_executor_runs or ()] == [RunStatus.error, RunStatus.error]
        assert kept.step_results[0].tries == 2
        raising = agent_saying(*script, raise_model_errors=True)
        with pytest.raises(ModelError):
            await flow(Step(agent=raising, max_retries=0), raise_model_errors=True).arun("go")

    async def test_because_its_agents_run_was_cancelled_is_not_tried_again(self, db: MongoDb) -> None:
        async def cancelled(request: Any) -> str:
            assert await workflow.acancel_run(begun[1])
            return "late"

        workflow, begun = flow(agent_saying(cancelled), upper, db=db), []
        async for event in workflow.arun("go", stream=True, stream_events=True):
            begun += [event.run_id] if event.event in {"WorkflowStarted", "RunStarted"} else []
        run = await stored(workflow)
        assert (run.status, run.content) == (RunStatus.error, "step 'writer': the run of 'writer' ended as CANCELLED: late")
        assert run.step_results[0].tries == 1

    async def test_because_it_takes_too_long_is_cancelled(self, db: MongoDb) -> None:
        ended: list[str] = []

        async def slow(step_input: StepInput) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("cancelled")

        async def thinks(request: Any) -> str:
            await asyncio.sleep(60)
            return "never"

        steps = [
            Step(name="slow", executor=slow, timeout=0.02, max_retries=0, skip_on_failure=True),
            Step(name="ask", agent=agent_saying(thinks), timeout=0.02, max_retries=0),
        ]
        workflow = flow(*steps, db=db)
        run = await workflow.arun("go")
        assert (run.status, run.content) == (RunStatus.error, "step 'ask' had not finished after 0.02 seconds")
        assert ended == ["cancelled"]
        kept = await stored(workflow)
        assert tree(kept) == [("slow", "SKIPPED"), ("ask", "ERROR")]
        assert [inner.status for inner in kept.step_executor_runs or ()] == [RunStatus.cancelled]


class TestAReader:
    async def test_sees_every_step_and_what_the_agents_say(self) -> None:
        workflow = flow(Step(name="ask", agent=agent_saying("two words")), upper)
        events = [event async for event in workflow.arun("go", stream=True, stream_events=True)]
        names = [event.event for event in events if not event.event.startswith("ModelRequest")]
        assert names == [
            "WorkflowStarted",
            "StepStarted",
            "RunStarted",
            "RunContent",
            "RunContent",
            "RunContentCompleted",
            "RunCompleted",
            "StepCompleted",
            "StepStarted",
            "StepOutput",
            "StepCompleted",
            "WorkflowCompleted",
        ]
        assert {(event.step_name, event.step_index) for event in events if event.event == "RunContent"} == {("ask", 0)}
        said = [event for event in events if event.event == "RunContent"]
        assert {(event.workflow_id, event.workflow_run_id) for event in said} == {("flow", events[0].run_id)}
        assert type(said[0]).from_dict(said[0].to_dict()) == said[0]
        assert type(said[0]).from_dict(said[0].to_dict()).workflow_run_id == events[0].run_id
        assert isinstance(events[-1], WorkflowCompletedEvent)
        assert [output.content for output in events[-1].step_results] == ["two words", "TWO WORDS"]

    async def test_is_told_what_each_function_returned_without_asking_for_every_step(self, db: MongoDb) -> None:
        inside = Steps(name="inside", steps=[Step(name="hidden", executor=upper)])
        workflow = flow(upper, inside, lambda _: StepOutput(content="end"), db=db, store_events=True)
        events = [event async for event in workflow.arun("go", stream=True)]
        assert [(event.event, event.content) for event in events] == [
            ("WorkflowStarted", None),
            ("StepOutput", "GO"),
            ("StepOutput", "end"),
            ("WorkflowCompleted", "end"),
        ]
        assert [event.step_output.step_name for event in events[1:3]] == ["upper", "<lambda>"]
        assert "StepOutput" not in [event.event for event in (await stored(workflow)).events or ()]

    async def test_may_see_the_workflows_own_events_only(self) -> None:
        workflow = flow(agent_saying("two words"), stream_executor_events=False)
        events = [event.event async for event in workflow.arun("go", stream=True, stream_events=True)]
        assert events == ["WorkflowStarted", "StepStarted", "StepCompleted", "WorkflowCompleted"]

    async def test_who_leaves_ends_the_run_as_cancelled(self, db: MongoDb) -> None:
        workflow = flow(upper, agent_saying("a b c"), upper, db=db)
        events = workflow.arun("go", stream=True)
        async for event in events:
            if event.event == "RunContent":
                break
        await events.aclose()  # type: ignore[attr-defined]
        kept = await stored(workflow)
        assert (kept.status, tree(kept)) == (RunStatus.cancelled, [("upper", "COMPLETED"), ("writer", "CANCELLED")])
        assert [inner.status for inner in kept.step_executor_runs or ()] == [RunStatus.cancelled]

    async def test_who_leaves_parallel_steps_ends_them_all(self, db: MongoDb) -> None:
        async def waits(step_input: StepInput) -> AsyncIterator[str]:
            yield "waiting"
            await asyncio.sleep(60)

        workflow = flow(Parallel(waits, Step(name="second", executor=waits)), db=db)
        events = workflow.arun("go", stream=True)
        async for event in events:
            if event.event == "StepOutput":
                break
        await events.aclose()  # type: ignore[attr-defined]
        kept = await stored(workflow)
        assert tree(kept) == [("Parallel", "CANCELLED", [("waits", "CANCELLED"), ("second", "CANCELLED")])]

    async def test_of_a_run_that_is_cancelled_gets_it_in_good_order(self, db: MongoDb) -> None:
        cancelling: list[Any] = []

        async def waits(step_input: StepInput) -> None:
            cancelling.append(asyncio.create_task(workflow.acancel_run("r")))
            await asyncio.sleep(60)

        workflow = flow(upper, waits, db=db)
        run = await workflow.arun("go", run_id="r")
        assert await cancelling[0]
        assert (run.status, tree(await stored(workflow))[1]) == (RunStatus.cancelled, ("waits", "CANCELLED"))

    async def test_of_a_run_that_nobody_stores_may_cancel_it_too(self) -> None:
        async def waits(step_input: StepInput) -> None:
            assert await Workflow(name="Flow", steps=[waits]).acancel_run("r")

        assert (await flow(waits).arun("go", run_id="r")).status is RunStatus.cancelled

    async def test_finds_the_events_with_the_run_if_they_are_kept(self, db: MongoDb) -> None:
        workflow = flow(agent_saying("two words"), upper, db=db, store_events=True, events_to_skip=["RunContent"])
        run = await workflow.arun("go")
        kept = await stored(workflow)
        assert [event.event for event in kept.events or ()] == [event.event for event in run.events or ()]
        assert {event.event for event in kept.events or ()} >= {"StepStarted", "StepCompleted", "WorkflowCompleted"}
        assert kept.events is not None
        assert kept.events[0].workflow_name == "Flow"
        assert kept.to_dict() == run.to_dict()


class TestParallelSteps:
    async def test_run_at_once_and_are_handed_on_together(self, db: MongoDb) -> None:
        meeting = asyncio.Event()

        async def waits(step_input: StepInput) -> str:
            await meeting.wait()
            return f"a of {step_input.input}"

        async def frees(step_input: StepInput) -> str:
            meeting.set()
            return "b"

        last = agent_saying("both")
        workflow = flow(Parallel("gather", waits, frees), last, db=db)
        await workflow.arun("x")
        assert asked(last) == "=== waits ===\na of x\n\n=== frees ===\nb"
        assert tree(await stored(workflow))[0] == ("gather", "COMPLETED", [("waits", "COMPLETED"), ("frees", "COMPLETED")])

    async def test_all_come_to_their_end_though_one_fails(self, db: MongoDb) -> None:
        async def fails(step_input: StepInput) -> None:
            raise ValueError("one")

        async def slow(step_input: StepInput) -> str:
            await asyncio.sleep(0.02)
            return "kept"

        workflow = flow(Parallel(Step(executor=fails, max_retries=0), slow), db=db)
        with pytest.raises(ValueError, match="one"):
            await workflow.arun("x")
        kept = await stored(workflow)
        assert tree(kept) == [("Parallel", "ERROR", [("fails", "ERROR"), ("slow", "COMPLETED")])]


class TestACondition:
    @pytest.mark.parametrize(
        ("evaluator", "expected"),
        [
            (lambda given: given.input == "yes", ["a"]),
            (lambda given, session_state: session_state.get("never"), ["b"]),
            (True, ["a"]),
        ],
    )
    async def test_takes_the_way_that_its_evaluator_says(self, evaluator: Any, expected: list[str]) -> None:
        condition = Condition(
            evaluator=evaluator,
            steps=[Step(name="a", executor=upper)],
            else_steps=[Step(name="b", executor=upper)],
            name="which",
        )
        run = await flow(condition).arun("yes")
        assert [step.step_name for step in run.step_results[0].steps or ()] == expected
        assert run.content == "YES"
        assert run.step_results[0].chosen == ("if" if expected == ["a"] else "else")

    async def test_without_a_way_is_passed_by(self) -> None:
        run = await flow(upper, Condition(evaluator=False, steps=[lambda _: "no"], name="c"), upper).arun("x")
        assert (run.content, tree(run)[1]) == ("X", ("c", "SKIPPED"))

    async def test_that_raises_fails_the_run_and_says_where(self, db: MongoDb) -> None:
        def broken(step_input: StepInput) -> bool:
            raise ZeroDivisionError("oops")

        workflow = flow(Condition(evaluator=broken, steps=[upper], name="which"), db=db)
        with pytest.raises(ZeroDivisionError):
            await workflow.arun("x")
        kept = await stored(workflow)
        assert tree(kept) == [("which", "ERROR")]
        assert kept.step_results[0].error == "oops"


class TestALoop:
    async def test_ends_when_its_condition_says_so(self, db: MongoDb) -> None:
        def longer(step_input: StepInput) -> str:
            return f"{step_input.previous_step_content or ''}x"

        def enough(outputs: list[StepOutput]) -> bool:
            return len(outputs[-1].content) >= 2

        loop = Loop(steps=[longer], end_condition=enough, max_iterations=5, forward_iteration_output=True, name="grow")
        workflow = flow(loop, db=db)
        events = [event async for event in workflow.arun("go", stream=True, stream_events=True)]
        iterations = [(event.iteration, event.should_continue) for event in events if event.event == "LoopIterationCompleted"]
        assert iterations == [(1, True), (2, False)]
        kept = await stored(workflow)
        assert kept.content == "xx"
        assert [(step.iteration, step.content) for step in kept.step_results[0].steps or ()] == [(1, "x"), (2, "xx")]

    async def test_ends_after_its_most_rounds(self) -> None:
        run = await flow(Loop(steps=[upper], end_condition=lambda _: False)).arun("x")
        assert len(run.step_results[0].steps or ()) == 3

    @pytest.mark.parametrize("most", [None, 0, -1, 1.5, True])
    def test_that_would_never_end_is_refused(self, most: Any) -> None:
        with pytest.raises(ConfigurationError, match="'forever'"):
            Loop(steps=[upper], max_iterations=most, name="forever")


class TestARouter:
    @pytest.mark.parametrize("chosen", ["name", "step", "list"])
    async def test_goes_where_its_selector_says(self, chosen: str) -> None:
        first, second = Step(name="first", executor=upper), Step(name="second", executor=lambda _: "2")
        found = {"name": "second", "step": second, "list": ["first", second]}[chosen]
        run = await flow(Router(choices=[first, second], selector=lambda _: found, name="r")).arun("x")
        assert [step.step_name for step in run.step_results[0].steps or ()] == (
            ["first", "second"] if chosen == "list" else ["second"]
        )
        assert run.content == "2"

    async def test_that_names_an_unknown_step_fails_the_run_and_names_it(self, db: MongoDb) -> None:
        workflow = flow(Router(choices=[upper], selector=lambda _: "lower", name="r"), db=db)
        with pytest.raises(ConfigurationError, match="Router 'r': its selector chose 'lower'; there is 'upper'"):
            await workflow.arun("x")
        assert tree(await stored(workflow)) == [("r", "ERROR")]


class TestAWorkflowWithinAnother:
    async def test_is_a_step_with_steps_of_its_own(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded

        def count(step_input: StepInput, run_context: RunContext) -> str:
            run_context.state.increment("n")
            return f"{step_input.previous_step_content or step_input.input}!"

        agent = agent_saying(*["said"] * 2)
        inner = Workflow(name="inner", steps=[count, agent])
        outer = flow(count, inner, count, db=db)
        await outer.arun("connects", session_id="another")
        recorder.sent.clear()
        run = await outer.arun("go", run_id="r")
        assert recorder.names == ["findAndModify", "findAndModify"]
        assert (run.content, asked(agent, 1)) == ("said!", "go!!")
        kept = await stored(outer)
        assert [(output.step_name, output.step_type) for output in kept.step_results][1] == ("inner", "Workflow")
        own = kept.get_executor_run(kept.step_results[1])
        assert isinstance(own, WorkflowRunOutput)
        assert (own.parent_run_id, [output.content for output in own.step_results]) == ("r", ["go!!", "said"])
        assert [run.parent_run_id for run in kept.step_executor_runs or ()] == [own.run_id, "r"]
        assert await outer.aget_session_state() == {"n": 3}
        assert (await outer.aget_session_metrics()).total_tokens == 15

    async def test_is_another_run_each_time_that_it_is_tried(self, db: MongoDb) -> None:
        def fails_twice(step_input: StepInput) -> str:
            tried.append(step_input.input)
            if len(tried) < 3:
                raise ValueError("not yet")
            return "at last"

        tried: list[Any] = []
        inner = Workflow(name="inner", steps=[Step(executor=fails_twice, max_retries=0)])
        workflow = flow(inner, db=db)
        await workflow.arun("go")
        kept = await stored(workflow)
        runs = kept.step_executor_runs or []
        assert [run.status for run in runs] == [RunStatus.error, RunStatus.error, RunStatus.completed]
        assert len({run.run_id for run in runs}) == 3
        assert kept.get_executor_run(kept.step_results[0]) is runs[-1]


class TestAWorkflowThatCannotWork:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Workflow(name="w"), "'w' has no steps"),
            (flow, "has no steps"),
            (lambda: flow(3), r"^steps\[0\] of workflow 'Flow' is no step: int"),
            (lambda: flow("upper"), r"is no step: str"),
            (lambda: Steps(name="x", steps=upper), r"^steps= of Steps 'x' takes a list of steps, not function"),
            (lambda: Workflow(steps="upper"), "has no steps"),
            (lambda: Step(name="x"), "step 'x' takes one of agent=, team=, executor= and workflow=; none was given"),
            (lambda: Step(name="x", executor=upper, agent=agent_saying()), "agent and executor were given"),
            (lambda: Step(name="x", agent=upper), "agent= of step 'x' takes Agent, not function"),
            (lambda: Step(name="x", executor=lambda: 1), "takes no argument"),
            (lambda: Step(name="x", executor=lambda a, b: 1), "has a parameter 'b' that nobody fills in"),
            (lambda: Step(executor=upper, timeout=0), "timeout"),
            (lambda: Step(executor=upper, max_retries=-1), "max_retries"),
            (lambda: Steps(name="x", steps=[]), "^Steps 'x' has no steps"),
            (Parallel, "^a Parallel without a name has no steps"),
            (lambda: Router(choices=[], selector=upper, name="x"), "^Router 'x' has no choices"),
            (lambda: Condition(steps=[upper], evaluator="input == 1", name="x"), "evaluator of Condition 'x'"),
            (lambda: Router(choices=[upper], name="x"), "Router 'x' needs a selector="),
            (lambda: Loop(steps=[upper], end_condition="done", name="x"), "end_condition of Loop 'x'"),
            (lambda: flow(upper, checkpoint="tool-batch"), "checkpoint is one of 'runs', 'steps'"),
            (lambda: flow(upper, events_to_skip=["StepStartd"]), "did you mean 'StepStarted'"),
        ],
    )
    def test_is_refused_when_it_is_made(self, make: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            make()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: flow(upper, step=[upper]), "Workflow has no setting 'step'; did you mean 'steps'"),
            (lambda: Step(executor=upper, max_retry=1), "Step has no setting 'max_retry'; did you mean 'max_retries'"),  # type: ignore[call-arg]
            (lambda: Loop(steps=[upper], max_iteration=1), "Loop has no setting 'max_iteration'; did you mean 'max_iterations'"),
            (lambda: Condition(steps=[upper], evalutor=True), "Condition has no setting 'evalutor'; did you mean 'evaluator'"),
            (lambda: Router(choices=[upper], seletor=upper), "Router has no setting 'seletor'; did you mean 'selector'"),
            (lambda: Steps(steps=[upper], require_confirmation=True), "Steps has no .* mean 'requires_confirmation'"),
            (lambda: Parallel(upper, nam="x"), "Parallel has no setting 'nam'; did you mean 'name'"),  # type: ignore[call-arg]
        ],
    )
    def test_is_told_which_setting_was_meant(self, make: Any, message: str) -> None:
        with pytest.raises(TypeError, match=message):
            make()

    async def test_is_not_given_an_agents_session(self, db: MongoDb) -> None:
        await agent_saying("hi", db=db, session_id="s").arun("Hello.")
        with pytest.raises(SessionTypeMismatch):
            await flow(upper, db=db).arun("go")
        await flow(upper, db=db).arun("go", session_id="other")
        found = await db.get_sessions(session_type="workflow")
        assert [session.session_id for session in found] == ["other"]

    async def test_is_not_a_step_of_itself(self) -> None:
        inner = Workflow(name="inner", steps=[upper])
        outer = Workflow(name="outer", steps=[Steps(name="group", steps=[inner])])
        inner.steps = [outer]
        with pytest.raises(ConfigurationError, match="'outer' is a step of itself"):
            await outer.arun("x")

    def test_has_an_id_of_its_name_in_any_script(self) -> None:
        ids = [Workflow(name=name, steps=[upper]).id for name in ("Мой отчёт", "A b", "🎉", None)]
        assert ids == ["мой-отчёт", "a-b", "workflow", "workflow"]

    async def test_may_run_without_an_input(self, db: MongoDb) -> None:
        workflow = flow(lambda _: 1, db=db)
        assert (await workflow.arun()).content == 1
        assert (await stored(workflow)).input is None

    async def test_is_told_which_option_there_is(self) -> None:
        with pytest.raises(TypeError, match="did you mean 'session_id'"):
            await flow(upper).arun("go", sesion_id="s")  # type: ignore[call-overload]
