"""A step that is carried out by itself, without a workflow: what its own tests do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.errors import ConfigurationError, StepFailed
from agno_mongo.run import RunContext, RunStatus, WorkflowRunOutput
from agno_mongo.run.workflow import BaseWorkflowRunOutputEvent
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from agno_mongo.workflow import Condition, Loop, Parallel, Router, Step, StepInput, StepOutput, Steps, Workflow


def upper(step_input: StepInput) -> str:
    return str(step_input.previous_step_content or step_input.input).upper()


def bang(step_input: StepInput) -> str:
    return f"{step_input.previous_step_content or step_input.input}!"


def counted(step_input: StepInput, run_context: RunContext) -> StepOutput:
    run_context.session_state["times"] = run_context.session_state.get("times", 0) + 1
    return StepOutput(content=run_context.session_state["times"], stop=run_context.session_state["times"] == 2)


@pytest.mark.parametrize(
    ("step", "kind", "within"),
    [
        (Step(name="up", executor=upper), "Step", None),
        (Steps(name="up", steps=[upper, bang]), "Steps", ["GO", "GO!"]),
        (Parallel(upper, bang, name="up"), "Parallel", ["GO", "go!"]),
        (Condition(name="up", evaluator=lambda given: given.input == "go", steps=[upper]), "Condition", ["GO"]),
        (Condition(name="up", evaluator=False, steps=[upper]), "Condition", []),
        (Loop(name="up", steps=[bang], max_iterations=2), "Loop", ["go!", "go!"]),
        (Router(name="up", selector=lambda _: "bang", choices=[upper, bang]), "Router", ["go!"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
class TestAStep:
    def test_gives_its_output(self, step: Any, kind: str, within: list[str] | None) -> None:
        output = step.execute(StepInput(input="go"))
        assert (output.step_name, output.step_type) == ("up", kind)
        assert [inner.content for inner in output.steps or ()] == (within or [])
        assert output.content == "GO" if within is None else True

    async def test_gives_its_events_and_then_its_output(self, step: Any, kind: str, within: list[str] | None) -> None:
        around = WorkflowRunOutput(run_id="r", workflow_id="w", workflow_name="W", session_id="s")
        streamed = step.aexecute_stream(StepInput(input="go"), workflow_run_response=around, stream_events=True)
        *events, output = [event async for event in streamed]
        assert isinstance(output, StepOutput)
        assert output.step_name == "up"
        assert {(event.run_id, event.workflow_name, event.session_id) for event in events} == {("r", "W", "s")}
        names = [event.event for event in events]
        assert names[0].endswith("Started")
        assert names[-1].endswith("Completed")
        assert not [name for name in names if name.startswith("Workflow")]


class TestWhoCarriesItOut:
    async def test_may_be_an_agent_whose_words_are_streamed(self) -> None:
        step = Step(name="ask", agent=Agent(name="writer", model=ScriptedModel("two words", "two more")))
        assert (await step.aexecute(StepInput(input="go"))).content == "two words"
        streamed = [event async for event in step.aexecute_stream(StepInput(input="go"))]
        assert [getattr(event, "content", None) for event in streamed] == ["two ", "more", "two more"]
        assert not isinstance(streamed[0], BaseWorkflowRunOutputEvent)

    def test_is_iterated_over_without_async(self) -> None:
        *events, output = Step(name="up", executor=upper).execute_stream(StepInput(input="go"), stream_events=True)
        assert [event.event for event in events] == ["StepStarted", "StepCompleted"]
        assert output.content == "GO"

    async def test_changes_the_state_that_it_is_given(self) -> None:
        state: dict[str, Any] = {"times": 0}
        output = await Loop(name="l", steps=[counted], max_iterations=5).aexecute(StepInput(input="go"), session_state=state)
        assert (output.stop, len(output.steps or ()), state) == (True, 2, {"times": 2})
        context = RunContext(run_id="r", session_id="s", session_state={"times": 4})
        assert (await Step(executor=counted).aexecute(StepInput(), run_context=context)).content == 5
        assert context.session_state == {"times": 5}

    async def test_says_so_if_it_fails(self) -> None:
        def fails(step_input: StepInput) -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await Step(executor=fails, max_retries=0).aexecute(StepInput())
        broken = Step(name="ask", agent=Agent(model=ScriptedModel()), max_retries=0)
        with pytest.raises(AssertionError):
            await broken.aexecute(StepInput(input="go"))
        inner = Workflow(name="inner", steps=[upper])
        assert (await Step(workflow=inner).aexecute(StepInput(input="go"))).content == "GO"
        with pytest.raises(ConfigurationError, match="takes a StepInput"):
            await Step(executor=upper).aexecute("go")  # type: ignore[arg-type]

    async def test_a_time_limit_holds(self) -> None:
        slow = Step(name="slow", agent=Agent(model=ScriptedModel(_waits)), timeout=0.02, max_retries=0)
        with pytest.raises(StepFailed, match=r"had not finished after 0.02 seconds"):
            await slow.aexecute(StepInput(input="go"))


async def _waits(_request: Any) -> str:
    await asyncio.sleep(60)
    return ""


async def test_an_agent_that_waits_for_a_person_is_an_output_that_says_so() -> None:
    paid: list[int] = []

    @tool(requires_confirmation=True)
    def pay(amount: int) -> str:
        paid.append(amount)
        return "paid"

    agent = Agent(name="Buyer", model=ScriptedModel([ToolCall("pay", {"amount": 5})]), tools=[pay])
    output = await Step(name="buy", agent=agent).aexecute(StepInput(input="go"))
    assert (output.is_paused, output.status, output.content, paid) == (True, RunStatus.paused, None, [])
