"""The events of a workflow's run, under Agno's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from time import time
from typing import Any, Final, TypeAlias

from typing_extensions import Self

from agno_mongo.messages import Metrics
from agno_mongo.run.events import BaseRunOutputEvent
from agno_mongo.run.events import CustomEvent as AgentCustomEvent
from agno_mongo.run.step_requirement import ErrorRequirement, StepRequirement
from agno_mongo.run.steps import StepOutput, WorkflowMetrics

StepIndex: TypeAlias = "int | tuple[int, ...] | None"
"""Which step: its place, counted from 0; of a step within others their places, from the outermost."""


class WorkflowRunEvent(str, Enum):
    """The names of the events, Agno's."""

    workflow_started = "WorkflowStarted"
    workflow_continued = "WorkflowContinued"
    workflow_completed = "WorkflowCompleted"
    workflow_paused = "WorkflowPaused"
    workflow_cancelled = "WorkflowCancelled"
    workflow_error = "WorkflowError"
    workflow_agent_started = "WorkflowAgentStarted"
    workflow_agent_completed = "WorkflowAgentCompleted"
    step_started = "StepStarted"
    step_completed = "StepCompleted"
    step_paused = "StepPaused"
    step_continued = "StepContinued"
    step_executor_paused = "StepExecutorPaused"
    step_executor_continued = "StepExecutorContinued"
    step_output_review = "StepOutputReview"
    step_error = "StepError"
    loop_execution_started = "LoopExecutionStarted"
    loop_iteration_started = "LoopIterationStarted"
    loop_iteration_completed = "LoopIterationCompleted"
    loop_execution_completed = "LoopExecutionCompleted"
    parallel_execution_started = "ParallelExecutionStarted"
    parallel_execution_completed = "ParallelExecutionCompleted"
    condition_execution_started = "ConditionExecutionStarted"
    condition_execution_completed = "ConditionExecutionCompleted"
    router_execution_started = "RouterExecutionStarted"
    router_execution_completed = "RouterExecutionCompleted"
    router_paused = "RouterPaused"
    steps_execution_started = "StepsExecutionStarted"
    steps_execution_completed = "StepsExecutionCompleted"
    step_output = "StepOutput"
    step_progress = "StepProgress"
    condition_paused = "ConditionPaused"
    state_conflict = "StateConflict"
    custom_event = "CustomEvent"


@dataclass(kw_only=True, eq=False)
class BaseWorkflowRunOutputEvent(BaseRunOutputEvent):
    """What every event says: which run of which workflow in which session, and when (Unix seconds). ``step_id`` is the step's, ``parent_step_id`` that
    of the step around it.
    """

    event: str = ""
    run_id: str = ""
    session_id: str = ""
    workflow_id: str = ""
    workflow_name: str = ""
    created_at: int = field(default_factory=lambda: int(time()))
    parent_run_id: str | None = None
    step_id: str | None = None
    parent_step_id: str | None = None
    nested_depth: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The event that ``to_dict`` gave, with the outputs and metrics of steps that are within it."""
        return super().from_dict({name: _revived(name, value) for name, value in data.items()})


@dataclass(kw_only=True, eq=False)
class WorkflowStartedEvent(BaseWorkflowRunOutputEvent):
    """The input is stored; no step has begun."""

    event: str = WorkflowRunEvent.workflow_started.value


@dataclass(kw_only=True, eq=False)
class WorkflowContinuedEvent(BaseWorkflowRunOutputEvent):
    """An interrupted or paused run is this process's now, and goes on."""

    event: str = WorkflowRunEvent.workflow_continued.value


@dataclass(kw_only=True, eq=False)
class WorkflowAgentStartedEvent(BaseWorkflowRunOutputEvent):
    """The workflow's agent is asked whether the workflow is to run."""

    event: str = WorkflowRunEvent.workflow_agent_started.value


@dataclass(kw_only=True, eq=False)
class WorkflowAgentCompletedEvent(BaseWorkflowRunOutputEvent):
    """The workflow's agent has answered."""

    event: str = WorkflowRunEvent.workflow_agent_completed.value
    content: Any = None


@dataclass(kw_only=True, eq=False)
class WorkflowCompletedEvent(BaseWorkflowRunOutputEvent):
    """The run is stored."""

    event: str = WorkflowRunEvent.workflow_completed.value
    content: Any = None
    content_type: str = "str"
    step_results: list[StepOutput] = field(default_factory=list)
    step_executor_runs: list[Any] | None = None
    metadata: dict[str, Any] | None = None
    metrics: Metrics | None = None
    session_state: dict[str, Any] | None = None


@dataclass(kw_only=True, eq=False)
class WorkflowErrorEvent(BaseWorkflowRunOutputEvent):
    """The run failed and is stored with status ERROR. ``error_type`` is the exception's class name."""

    event: str = WorkflowRunEvent.workflow_error.value
    error: str | None = None
    content: str | None = None
    error_type: str | None = None
    error_id: str | None = None
    additional_data: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.error = self.content = self.error or self.content


@dataclass(kw_only=True, eq=False)
class WorkflowCancelledEvent(BaseWorkflowRunOutputEvent):
    """The run was stopped before its end and is stored with status CANCELLED."""

    event: str = WorkflowRunEvent.workflow_cancelled.value
    reason: str | None = None
    is_cancelled = True


@dataclass(kw_only=True, eq=False)
class WorkflowPausedEvent(BaseWorkflowRunOutputEvent):
    """The run waits for a person and is stored with status PAUSED. ``step_requirements`` and ``error_requirements`` are what it waits for."""

    event: str = WorkflowRunEvent.workflow_paused.value
    paused_step_index: StepIndex = None
    paused_step_name: str | None = None
    step_requirements: list[StepRequirement] | None = None
    error_requirements: list[ErrorRequirement] | None = None
    step_results: list[StepOutput] | None = None
    is_paused = True


@dataclass(kw_only=True, eq=False)
class _StepEvent(BaseWorkflowRunOutputEvent):
    step_name: str | None = None
    step_index: StepIndex = None


@dataclass(kw_only=True, eq=False)
class StepStartedEvent(_StepEvent):
    """A step begins."""

    event: str = WorkflowRunEvent.step_started.value


@dataclass(kw_only=True, eq=False)
class StepCompletedEvent(_StepEvent):
    """A step has come to its end. ``step_response`` is what it gave."""

    event: str = WorkflowRunEvent.step_completed.value
    content: Any = None
    content_type: str = "str"
    step_response: StepOutput | None = None


@dataclass(kw_only=True, eq=False)
class StepPausedEvent(_StepEvent):
    """A step waits for a person."""

    event: str = WorkflowRunEvent.step_paused.value
    requires_confirmation: bool = False
    confirmation_message: str | None = None
    requires_user_input: bool = False
    user_input_message: str | None = None
    user_input_schema: list[dict[str, Any]] | None = None


@dataclass(kw_only=True, eq=False)
class StepContinuedEvent(_StepEvent):
    """A step goes on that was answered."""

    event: str = WorkflowRunEvent.step_continued.value


@dataclass(kw_only=True, eq=False)
class StepOutputReviewEvent(_StepEvent):
    """What a step, or a round of a loop, has come to waits for a person to look at it."""

    event: str = WorkflowRunEvent.step_output_review.value
    output_review_message: str | None = None
    requires_output_review: bool = True


@dataclass(kw_only=True, eq=False)
class _ExecutorEvent(_StepEvent):
    executor_id: str | None = None
    executor_name: str | None = None
    executor_run_id: str | None = None
    executor_type: str | None = None


@dataclass(kw_only=True, eq=False)
class StepExecutorPausedEvent(_ExecutorEvent):
    """The agent or team that carries out a step waits for a person: ``executor_requirements`` are its calls."""

    event: str = WorkflowRunEvent.step_executor_paused.value
    executor_requirements: list[Any] | None = None


@dataclass(kw_only=True, eq=False)
class StepExecutorContinuedEvent(_ExecutorEvent):
    """The agent or team that carries out a step goes on, and was answered."""

    event: str = WorkflowRunEvent.step_executor_continued.value


@dataclass(kw_only=True, eq=False)
class StepErrorEvent(_StepEvent):
    """A step failed. ``attempt`` is which try it was; ``will_retry`` says whether there is another."""

    event: str = WorkflowRunEvent.step_error.value
    error: str | None = None
    attempt: int = 1
    will_retry: bool = False


@dataclass(kw_only=True, eq=False)
class LoopExecutionStartedEvent(_StepEvent):
    """A loop begins."""

    event: str = WorkflowRunEvent.loop_execution_started.value
    max_iterations: int | None = None


@dataclass(kw_only=True, eq=False)
class LoopIterationStartedEvent(_StepEvent):
    """A round of a loop begins. ``iteration`` counts from 1."""

    event: str = WorkflowRunEvent.loop_iteration_started.value
    iteration: int = 0
    max_iterations: int | None = None


@dataclass(kw_only=True, eq=False)
class LoopIterationCompletedEvent(_StepEvent):
    """A round of a loop has ended."""

    event: str = WorkflowRunEvent.loop_iteration_completed.value
    iteration: int = 0
    max_iterations: int | None = None
    iteration_results: list[StepOutput] = field(default_factory=list)
    should_continue: bool = True


@dataclass(kw_only=True, eq=False)
class LoopExecutionCompletedEvent(_StepEvent):
    """A loop has ended."""

    event: str = WorkflowRunEvent.loop_execution_completed.value
    total_iterations: int = 0
    max_iterations: int | None = None
    all_results: list[list[StepOutput]] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class ParallelExecutionStartedEvent(_StepEvent):
    """Steps begin at once."""

    event: str = WorkflowRunEvent.parallel_execution_started.value
    parallel_step_count: int | None = None


@dataclass(kw_only=True, eq=False)
class ParallelExecutionCompletedEvent(_StepEvent):
    """All steps that began at once have ended."""

    event: str = WorkflowRunEvent.parallel_execution_completed.value
    parallel_step_count: int | None = None
    step_results: list[StepOutput] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class ConditionExecutionStartedEvent(_StepEvent):
    """A condition was looked at."""

    event: str = WorkflowRunEvent.condition_execution_started.value
    condition_result: bool | None = None


@dataclass(kw_only=True, eq=False)
class ConditionExecutionCompletedEvent(_StepEvent):
    """The steps of a condition have ended. ``branch``: ``"if"``, ``"else"``, or None where there were none to take."""

    event: str = WorkflowRunEvent.condition_execution_completed.value
    condition_result: bool | None = None
    executed_steps: int | None = None
    branch: str | None = None
    step_results: list[StepOutput] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class RouterExecutionStartedEvent(_StepEvent):
    """A router has chosen."""

    event: str = WorkflowRunEvent.router_execution_started.value
    selected_steps: list[str] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class RouterExecutionCompletedEvent(_StepEvent):
    """The steps that a router chose have ended."""

    event: str = WorkflowRunEvent.router_execution_completed.value
    selected_steps: list[str] = field(default_factory=list)
    executed_steps: int | None = None
    step_results: list[StepOutput] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class RouterPausedEvent(_StepEvent):
    """A router waits for a person to choose."""

    event: str = WorkflowRunEvent.router_paused.value
    available_choices: list[str] = field(default_factory=list)
    user_input_message: str | None = None
    allow_multiple_selections: bool = False


@dataclass(kw_only=True, eq=False)
class StepsExecutionStartedEvent(_StepEvent):
    """A group of steps begins."""

    event: str = WorkflowRunEvent.steps_execution_started.value
    steps_count: int | None = None


@dataclass(kw_only=True, eq=False)
class StepsExecutionCompletedEvent(_StepEvent):
    """A group of steps has ended."""

    event: str = WorkflowRunEvent.steps_execution_completed.value
    steps_count: int | None = None
    executed_steps: int | None = None
    step_results: list[StepOutput] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class StepOutputEvent(_StepEvent):
    """What a step's function has returned, with the whole ``step_output``; or, without it, a piece that it yields, as it comes."""

    event: str = WorkflowRunEvent.step_output.value
    content: Any = None
    step_output: StepOutput | None = None


@dataclass(kw_only=True, eq=False)
class StateConflictEvent(BaseWorkflowRunOutputEvent):
    """Another run changed the same state keys meanwhile; this run's values were kept (policy ``"ours"``)."""

    event: str = WorkflowRunEvent.state_conflict.value
    paths: tuple[str, ...] = ()


CustomEvent = AgentCustomEvent

WorkflowRunOutputEvent: TypeAlias = (
    WorkflowStartedEvent
    | WorkflowContinuedEvent
    | WorkflowAgentStartedEvent
    | WorkflowAgentCompletedEvent
    | WorkflowCompletedEvent
    | WorkflowPausedEvent
    | WorkflowErrorEvent
    | WorkflowCancelledEvent
    | StepStartedEvent
    | StepCompletedEvent
    | StepPausedEvent
    | StepContinuedEvent
    | StepExecutorPausedEvent
    | StepOutputReviewEvent
    | StepExecutorContinuedEvent
    | StepErrorEvent
    | LoopExecutionStartedEvent
    | LoopIterationStartedEvent
    | LoopIterationCompletedEvent
    | LoopExecutionCompletedEvent
    | ParallelExecutionStartedEvent
    | ParallelExecutionCompletedEvent
    | ConditionExecutionStartedEvent
    | ConditionExecutionCompletedEvent
    | RouterExecutionStartedEvent
    | RouterExecutionCompletedEvent
    | RouterPausedEvent
    | StepsExecutionStartedEvent
    | StepsExecutionCompletedEvent
    | StepOutputEvent
    | StateConflictEvent
)

WORKFLOW_RUN_EVENT_TYPE_REGISTRY: Final[dict[str, type[BaseWorkflowRunOutputEvent]]] = {
    kind.__dataclass_fields__["event"].default: kind for kind in WorkflowRunOutputEvent.__args__
}
"""The class of each event by its name."""


def workflow_event_from_dict(data: Mapping[str, Any]) -> BaseRunOutputEvent:
    """A workflow's event that ``to_dict`` gave, as the class that its name says; a CustomEvent if the name is not known."""
    kind: Any = WORKFLOW_RUN_EVENT_TYPE_REGISTRY.get(data.get("event", ""), CustomEvent)
    event: BaseRunOutputEvent = kind.from_dict(data)
    return event


def _revived(name: str, value: Any) -> Any:
    if name in {"step_response", "step_output"} and isinstance(value, Mapping):
        return StepOutput.model_validate(dict(value))
    if name == "metrics" and isinstance(value, Mapping):
        return WorkflowMetrics.from_dict(value)
    if name == "step_requirements" and isinstance(value, list):
        return [StepRequirement.model_validate(part) for part in value]
    if name == "error_requirements" and isinstance(value, list):
        return [ErrorRequirement.model_validate(part) for part in value]
    if name in {"step_results", "iteration_results"} and isinstance(value, list):
        return [StepOutput.model_validate(part) for part in value]
    return value
