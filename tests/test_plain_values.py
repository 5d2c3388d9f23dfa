"""What a component tells as plain values (``to_dict``) and reads again (``from_dict``), each in the class that it was."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import BaseModel

from agno_mongo.media import Image
from agno_mongo.messages import Message, ToolExecution, UserInputField
from agno_mongo.metrics import MessageMetrics, RunMetrics, SessionMetrics
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.run.agent import RunPausedEvent
from agno_mongo.run.base import BaseRunOutputEvent, RunInput
from agno_mongo.run.requirement import RunRequirement
from agno_mongo.run.workflow import StepCompletedEvent, WorkflowCompletedEvent, WorkflowPausedEvent
from agno_mongo.session import SessionSummary
from agno_mongo.team import Task
from agno_mongo.workflow import StepInput, StepOutput, WorkflowExecutionInput
from agno_mongo.workflow.types import StepMetrics, StepRequirement, WorkflowMetrics


class Topic(BaseModel):
    title: str


@pytest.mark.parametrize(
    "value",
    [
        RunMetrics(input_tokens=1, total_tokens=1, duration=0.5),
        RunInput(input_content="x", images=[Image(url="https://example.com/a.png")]),
        Task(title="Look", dependencies=["a"]),
        StepMetrics(step_name="ask", executor_type="agent", metrics=RunMetrics(output_tokens=2)),
        WorkflowMetrics(duration=1.0, steps={"ask": StepMetrics(step_name="ask", metrics=RunMetrics(output_tokens=2))}),
        SessionSummary(summary="of cats", topics=["cats"], updated_at=datetime(2026, 1, 1, tzinfo=timezone.utc)),
        ToolExecution(tool_name="look", requires_user_input=True, user_input_schema=[UserInputField(name="to")]),
        Message(role="user", content="x"),
        StepRequirement(id="0", step_id="0", step_name="ask", requires_confirmation=True),
        StepOutput(step_name="ask", content="x", steps=[StepOutput(step_name="inner")]),
        RunOutput(run_id="r", content="x", status=RunStatus.completed),
        StepInput(
            input={"a": 1},
            previous_step_content="x",
            previous_step_outputs={"ask": StepOutput(step_name="ask", content="x")},
            images=[Image(url="https://example.com/a.png")],
        ),
        WorkflowExecutionInput(input="x", additional_data={"a": 1}),
        RunPausedEvent(run_id="r", requirements=[RunRequirement(tool_execution=ToolExecution(tool_call_id="c", requires_confirmation=True))]),
        WorkflowPausedEvent(run_id="r", step_requirements=[StepRequirement(id="0", step_id="0", requires_confirmation=True)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_told_as_plain_values_is_read_back_as_it_was(value: Any) -> None:
    told = value.to_dict()
    again = type(value).from_dict(told)
    assert type(again) is type(value)
    assert again == value
    assert again.to_dict() == told


def test_metrics_of_several_runs_add_up() -> None:
    first = RunMetrics(input_tokens=1, output_tokens=2, total_tokens=3, duration=1.0)
    second = RunMetrics(input_tokens=10, total_tokens=10, cost=0.5, duration=0.5)
    assert (first + second).to_dict() == {
        "input_tokens": 11,
        "output_tokens": 2,
        "total_tokens": 13,
        "cost": 0.5,
        "duration": 1.5,
    }
    assert sum([first, second], SessionMetrics()).total_tokens == 13
    assert sum([first, MessageMetrics(total_tokens=1)]).total_tokens == 4
    assert first.total_tokens == 3


def test_a_workflows_metrics_carry_no_zeros_of_its_steps() -> None:
    metrics = WorkflowMetrics(steps={"ask": StepMetrics(step_name="ask", metrics=RunMetrics(output_tokens=2))})
    assert metrics.to_dict() == {"steps": {"ask": {"step_name": "ask", "metrics": {"output_tokens": 2}}}}


def test_a_workflows_event_reads_back_what_is_within_it() -> None:
    metrics = WorkflowMetrics(total_tokens=2, steps={"ask": StepMetrics(step_name="ask", metrics=RunMetrics(total_tokens=2))})
    event = WorkflowCompletedEvent(run_id="r", metrics=metrics, step_results=[StepOutput(step_name="ask", content="x")])
    again = WorkflowCompletedEvent.from_dict(event.to_dict())
    assert isinstance(again, BaseRunOutputEvent)
    assert again == event
    step = StepCompletedEvent(step_name="ask", step_response=StepOutput(content="x"))
    assert StepCompletedEvent.from_dict(step.to_dict()).step_response == StepOutput(content="x")
