"""The outcome of a workflow's run; the events on the way to it are those of :mod:`agno_mongo.run.workflow_events`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from agno_mongo.media import Audios, Files, Images, Videos
from agno_mongo.messages import Message, Metrics
from agno_mongo.run import events as agent_events
from agno_mongo.run.agent import RunOutput
from agno_mongo.run.base import BaseRunOutput, given_up
from agno_mongo.run.events import BaseRunOutputEvent, CustomEvent, plain, run_output_event_from_dict
from agno_mongo.run.mermaid import chart_of_run
from agno_mongo.run.requirement import RunRequirement
from agno_mongo.run.step_requirement import ErrorRequirement, StepRequirement
from agno_mongo.run.steps import StepOutput, WorkflowMetrics, all_outputs, found_in, plain_content, tree_of
from agno_mongo.run.team import TeamRunOutput, record_of, requirements_within
from agno_mongo.run.workflow_events import (
    WORKFLOW_RUN_EVENT_TYPE_REGISTRY,
    BaseWorkflowRunOutputEvent,
    ConditionExecutionCompletedEvent,
    ConditionExecutionStartedEvent,
    LoopExecutionCompletedEvent,
    LoopExecutionStartedEvent,
    LoopIterationCompletedEvent,
    LoopIterationStartedEvent,
    ParallelExecutionCompletedEvent,
    ParallelExecutionStartedEvent,
    RouterExecutionCompletedEvent,
    RouterExecutionStartedEvent,
    RouterPausedEvent,
    StateConflictEvent,
    StepCompletedEvent,
    StepContinuedEvent,
    StepErrorEvent,
    StepExecutorContinuedEvent,
    StepExecutorPausedEvent,
    StepOutputEvent,
    StepOutputReviewEvent,
    StepPausedEvent,
    StepsExecutionCompletedEvent,
    StepsExecutionStartedEvent,
    StepStartedEvent,
    WorkflowAgentCompletedEvent,
    WorkflowAgentStartedEvent,
    WorkflowCancelledEvent,
    WorkflowCompletedEvent,
    WorkflowContinuedEvent,
    WorkflowErrorEvent,
    WorkflowPausedEvent,
    WorkflowRunEvent,
    WorkflowRunOutputEvent,
    WorkflowStartedEvent,
    workflow_event_from_dict,
)

__all__ = [
    "WORKFLOW_RUN_EVENT_TYPE_REGISTRY",
    "BaseWorkflowRunOutputEvent",
    "ConditionExecutionCompletedEvent",
    "ConditionExecutionStartedEvent",
    "CustomEvent",
    "LoopExecutionCompletedEvent",
    "LoopExecutionStartedEvent",
    "LoopIterationCompletedEvent",
    "LoopIterationStartedEvent",
    "ParallelExecutionCompletedEvent",
    "ParallelExecutionStartedEvent",
    "RouterExecutionCompletedEvent",
    "RouterExecutionStartedEvent",
    "RouterPausedEvent",
    "StateConflictEvent",
    "StepCompletedEvent",
    "StepContinuedEvent",
    "StepErrorEvent",
    "StepExecutorContinuedEvent",
    "StepExecutorPausedEvent",
    "StepOutputEvent",
    "StepOutputReviewEvent",
    "StepPausedEvent",
    "StepStartedEvent",
    "StepsExecutionCompletedEvent",
    "StepsExecutionStartedEvent",
    "WorkflowAgentCompletedEvent",
    "WorkflowAgentStartedEvent",
    "WorkflowCancelledEvent",
    "WorkflowCompletedEvent",
    "WorkflowContinuedEvent",
    "WorkflowErrorEvent",
    "WorkflowPausedEvent",
    "WorkflowRunEvent",
    "WorkflowRunOutput",
    "WorkflowRunOutputEvent",
    "WorkflowStartedEvent",
    "workflow_run_output_event_from_dict",
]


def workflow_run_output_event_from_dict(data: Mapping[str, Any]) -> BaseRunOutputEvent:
    """An event that ``to_dict`` gave: the workflow's own, or one of an agent that carried out a step."""
    if data.get("event") in WORKFLOW_RUN_EVENT_TYPE_REGISTRY:
        return workflow_event_from_dict(data)
    return run_output_event_from_dict(data)


class WorkflowRunOutput(BaseRunOutput):
    """What ``Workflow.run()`` returns and stores.

    ``content`` is what the last step has come to, ``step_results`` the tree of all steps that began, ``step_executor_runs`` the whole run of each
    agent, team or workflow that carried one out; a step's ``step_run_id`` names its. ``metrics`` are the tokens of all of them. While the run is paused,
    ``step_requirements`` are what it waits for.
    """

    workflow_name: str | None = None
    metrics: WorkflowMetrics | None = None
    images: Images | None = None
    videos: Videos | None = None
    audio: Audios | None = None
    files: Files | None = None
    step_results: list[StepOutput] = Field(default_factory=list)
    step_executor_runs: list[Any] | None = None
    workflow_agent_run_id: str | None = None
    step_requirements: list[StepRequirement] | None = None
    error_requirements: list[ErrorRequirement] | None = None
    paused_step_index: int | None = None
    paused_step_name: str | None = None

    goes_on_with_outer: ClassVar[bool] = True

    EVENT_KINDS: ClassVar[Mapping[type, type]] = {
        agent_events.RunStartedEvent: WorkflowStartedEvent,
        agent_events.RunContinuedEvent: WorkflowContinuedEvent,
        agent_events.RunCompletedEvent: WorkflowCompletedEvent,
        agent_events.RunPausedEvent: WorkflowPausedEvent,
        agent_events.RunCancelledEvent: WorkflowCancelledEvent,
        agent_events.RunErrorEvent: WorkflowErrorEvent,
        agent_events.StateConflictEvent: StateConflictEvent,
    }

    _finished_steps: list[dict[str, Any]] = PrivateAttr(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _of_entry(cls, data: Any) -> Any:
        """A run that has not finished has its steps one by one, each with its path."""
        if not isinstance(data, dict) or "steps" not in data:
            return data
        rest = {name: value for name, value in data.items() if name != "steps"}
        return {**rest, "step_results": tree_of(data["steps"] or ())}

    @field_validator("metrics", mode="before")
    @classmethod
    def _with_steps(cls, value: Any) -> Any:
        return value.model_dump() if type(value) is Metrics else value

    @field_validator("step_results", mode="before")
    @classmethod
    def _no_results(cls, value: Any) -> Any:
        """Older versions stored lists within the list, for steps that have others within them."""
        if value is None:
            return []
        return [part for each in value for part in (each if isinstance(each, list) else [each])]

    @field_validator("step_executor_runs", mode="before")
    @classmethod
    def _runs_by_kind(cls, value: Any) -> Any:
        return None if value is None else [executor_run_from_dict(run) if isinstance(run, dict) else run for run in value]

    @model_validator(mode="after")
    def _restore(self) -> WorkflowRunOutput:
        if self.events:
            ids = self.event_ids()
            self.events = [_event(event, ids) if isinstance(event, Mapping) else event for event in self.events]
        for requirement in self.step_requirements or ():
            if requirement.executor_run_id is not None and requirement.executor_requirements is None:
                # They are stored with the run that waits.
                requirement.executor_requirements = waiting_in(requirement.executor_run_id, self.step_executor_runs or ())
            if (named := requirement.step_output) is not None and named.status is None:
                # It stands among the steps; of those of one name the last waits.
                found = [one for one in all_outputs(self.step_results) if one.step_id == named.step_id]
                requirement.step_output = found[-1] if found else named
        return self

    def event_ids(self) -> dict[str, str]:
        """What every event of this run says of whose it is."""
        return super().event_ids() | {"workflow_id": self.workflow_id or "", "workflow_name": self.workflow_name or ""}

    @property
    def active_step_requirements(self) -> list[StepRequirement]:
        """The requirements that have no answer yet."""
        return [requirement for requirement in self.step_requirements or () if not requirement.is_resolved]

    @property
    def steps_requiring_confirmation(self) -> list[StepRequirement]:
        """The steps that wait for a yes or no."""
        return [requirement for requirement in self.step_requirements or () if requirement.needs_confirmation]

    @property
    def steps_requiring_user_input(self) -> list[StepRequirement]:
        """The steps that wait for input."""
        return [requirement for requirement in self.step_requirements or () if requirement.needs_user_input]

    @property
    def steps_requiring_route(self) -> list[StepRequirement]:
        """The routers that wait for somebody to choose."""
        return [requirement for requirement in self.step_requirements or () if requirement.needs_route_selection]

    @property
    def steps_requiring_output_review(self) -> list[StepRequirement]:
        """The steps whose output waits for somebody to look at it."""
        return [requirement for requirement in self.step_requirements or () if requirement.needs_output_review]

    @property
    def active_error_requirements(self) -> list[ErrorRequirement]:
        """The steps that have failed, and of which nobody has said yet what becomes of them."""
        return [requirement for requirement in self.error_requirements or () if not requirement.is_resolved]

    @property
    def all_requirements(self) -> list[StepRequirement | ErrorRequirement]:
        """All that the run waits for."""
        return [*(self.step_requirements or ()), *(self.error_requirements or ())]

    @property
    def steps_requiring_executor_resolution(self) -> list[StepRequirement]:
        """The steps whose agent or team waits for a person."""
        return [requirement for requirement in self.step_requirements or () if requirement.needs_executor_resolution]

    @property
    def requirements(self) -> list[RunRequirement]:
        """What the agents and teams that carry out steps wait for, each with the ``member_run_id`` of the run that waits."""
        return [one for requirement in self.step_requirements or () for one in requirement.executor_requirements or ()]

    @property
    def active_requirements(self) -> list[RunRequirement]:
        """Those of ``requirements`` that have no answer yet."""
        return [one for one in self.requirements if not one.is_resolved()]

    @property
    def workflow_agent_run(self) -> BaseRunOutput | None:
        """The run of the workflow's agent, if it has one."""
        return next((run for run in self.step_executor_runs or () if run.run_id == self.workflow_agent_run_id), None)

    @property
    def messages(self) -> list[Message] | None:
        """What was asked and what came of it, as two messages; None if there is neither."""
        asked = self.input.input_content_string() if self.input is not None else ""
        said = [("user", asked), ("assistant", self.get_content_as_string())]
        told = [Message(role=role, content=text, created_at=self.created_at) for role, text in said if text]
        return told or None

    def get_step_output(self, name: str) -> StepOutput | None:
        """The step of that name, at any depth; the last of several, None if there is none."""
        inner = (run for run in self.step_executor_runs or () if isinstance(run, WorkflowRunOutput))
        return found_in(self.step_results, name) or found_in((step for run in inner for step in run.step_results), name)

    def get_executor_run(self, output: StepOutput) -> BaseRunOutput | None:
        """The whole run of whoever carried out a step; None if that was a function."""
        return next((run for run in self.step_executor_runs or () if run.run_id == output.step_run_id), None)

    def to_mermaid(self) -> str:
        """The steps as a Mermaid flowchart, each with its status and its time."""
        return chart_of_run(self)

    def past_parts(self) -> dict[str, Any]:
        """What the run goes on from, where there is no database."""
        return {"steps": self._finished_steps, "run": self.to_dict()}

    def keep_steps(self, finished: list[dict[str, Any]]) -> None:
        """Remember the finished steps of a run that pauses."""
        self._finished_steps = finished

    def paused_data(self) -> dict[str, Any]:
        """What the event says that the run has paused."""
        names = ("paused_step_index", "paused_step_name", "step_requirements", "error_requirements", "step_results")
        return {name: getattr(self, name) for name in names}

    def completed_data(self) -> dict[str, Any]:
        """What the event says that the run has come to its end."""
        return super().completed_data() | {"step_results": self.step_results}

    def close(self) -> None:
        """Add up what the steps took."""
        duration = self.metrics.duration if self.metrics is not None else None
        self.metrics = WorkflowMetrics.of(self.step_results)
        self.metrics.duration = duration

    def pending_calls(self) -> list[str]:
        """The places of the steps that wait for a person, and the calls within steps."""
        return sorted(waiting for requirement in self.all_requirements for waiting in requirement.pending())

    def inner_records(self) -> list[dict[str, Any]]:
        """The runs of those who carried out steps, with those within them; but for a workflow that waits, which begins anew."""
        return [
            record
            for run in self.step_executor_runs or ()
            for record in (*run.inner_records(), *(() if run.is_paused and run.goes_on_with_outer else (record_of(run),)))
        ]

    @classmethod
    def inner_fields(cls, run_id: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: ARG003 - they are all its own
        """The runs of those who carried out steps."""
        return {"step_executor_runs": list(records)} if records else {}

    def to_dict(self) -> dict[str, Any]:
        """The run as it is stored: of its events, what the tree of steps does not have."""
        # First, so that what cannot be stored is named by its step.
        stored: dict[str, Any] = {"step_results": [output.to_dict() for output in self.step_results]} if self.step_results else {}
        stored |= self.model_dump(exclude_none=True, exclude={*_DUMPED_APART})
        stored["status"] = str(getattr(self.status, "value", self.status))
        if self.content is not None:
            stored["content"] = plain_content(self.content)
        if self.metrics is not None:
            stored["metrics"] = self.metrics.to_dict()
        if self.step_executor_runs:
            stored["step_executor_runs"] = [run.to_dict() for run in self.step_executor_runs]
        if self.is_paused and self.step_requirements:
            stored["step_requirements"] = [requirement.to_dict() for requirement in self.step_requirements]
        if self.is_paused and self.error_requirements:
            stored["error_requirements"] = [requirement.to_dict() for requirement in self.error_requirements]
        if self.events is not None:
            stored["events"] = [_stored_event(event) for event in self.events]
        return stored

    @classmethod
    def with_inner(cls, record: dict[str, Any], inner: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """One record: the runs of those who carried out the steps are part of it."""
        return [{**record, "step_executor_runs": [given_up(one) for one in inner]}] if inner else [record]

    @classmethod
    def event_from_dict(cls, data: Mapping[str, Any]) -> Any:
        """One of the run's events, as ``to_dict`` gave it."""
        return workflow_run_output_event_from_dict(data)


_DUMPED_APART: Final = frozenset(
    {
        "content",
        "metrics",
        "session_state",
        "step_results",
        "step_executor_runs",
        "step_requirements",
        "error_requirements",
        "events",
    }
)
_IN_THE_TREE: Final = frozenset(
    {
        "session_state",
        "step_results",
        "step_response",
        "step_executor_runs",
        "iteration_results",
        "all_results",
        "step_requirements",
        "error_requirements",
        "executor_requirements",
    }
)


def waiting_in(run_id: str, runs: Sequence[Any]) -> list[RunRequirement]:
    """What a run waits for, and those within it, each marked as the run's that waits. ``runs`` are all, each before the one that it belongs to."""
    inside = {run_id}
    for run in reversed(runs):
        if run.parent_run_id in inside:
            inside.add(run.run_id)
    waiting = (run for run in runs if run.run_id in inside and run.is_paused)
    return [one for run in waiting for one in requirements_within(run) if not one.is_resolved()]


def executor_run_from_dict(data: dict[str, Any]) -> BaseRunOutput:
    """The stored run of whoever carried out a step, as the class that fits it."""
    kind: type[BaseRunOutput] = RunOutput
    if data.get("team_id") is not None:
        kind = TeamRunOutput
    elif data.get("agent_id") is None and ("step_results" in data or data.get("workflow_name") is not None):
        kind = WorkflowRunOutput
    return kind.model_validate(data)


def _stored_event(event: Any) -> Any:
    return {name: plain(value) for name, value in vars(event).items() if value is not None and name not in _IN_THE_TREE}


def _event(stored: Mapping[str, Any], ids: Mapping[str, str]) -> Any:
    own = ids if stored.get("event") in WORKFLOW_RUN_EVENT_TYPE_REGISTRY else {}
    try:
        return workflow_run_output_event_from_dict({**own, **stored})
    except (ValidationError, TypeError, ValueError):
        # Of another version, or changed by hand: no reason not to read the run.
        return CustomEvent(**stored)
