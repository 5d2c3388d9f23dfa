"""The events of a team's run: those of an agent's under names of their own, so that a reader can tell a leader from its members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from time import time
from typing import Any, Final, TypeAlias

from agno_mongo.media import Audio, File, Image, Video
from agno_mongo.messages import Metrics, ToolExecution
from agno_mongo.run import events
from agno_mongo.run.base import RunInput
from agno_mongo.run.events import BaseRunOutputEvent, CustomEvent, RunEvent, run_output_event_from_dict


class TeamRunEvent(str, Enum):
    """The names of the events, Agno's."""

    run_started = "TeamRunStarted"
    run_continued = "TeamRunContinued"
    run_paused = "TeamRunPaused"
    run_content = "TeamRunContent"
    run_intermediate_content = "TeamRunIntermediateContent"
    run_content_completed = "TeamRunContentCompleted"
    run_completed = "TeamRunCompleted"
    run_cancelled = "TeamRunCancelled"
    run_error = "TeamRunError"
    pre_hook_started = "TeamPreHookStarted"
    pre_hook_completed = "TeamPreHookCompleted"
    post_hook_started = "TeamPostHookStarted"
    post_hook_completed = "TeamPostHookCompleted"
    tool_call_started = "TeamToolCallStarted"
    tool_call_completed = "TeamToolCallCompleted"
    tool_call_error = "TeamToolCallError"
    model_request_started = "TeamModelRequestStarted"
    model_request_completed = "TeamModelRequestCompleted"
    model_request_failed = "TeamModelRequestFailed"
    parser_model_response_started = "TeamParserModelResponseStarted"
    parser_model_response_completed = "TeamParserModelResponseCompleted"
    output_model_response_started = "TeamOutputModelResponseStarted"
    output_model_response_completed = "TeamOutputModelResponseCompleted"
    session_summary_started = "TeamSessionSummaryStarted"
    session_summary_completed = "TeamSessionSummaryCompleted"
    state_conflict = "TeamStateConflict"
    task_iteration_started = "TeamTaskIterationStarted"
    task_iteration_completed = "TeamTaskIterationCompleted"
    task_created = "TeamTaskCreated"
    task_updated = "TeamTaskUpdated"
    task_state_updated = "TeamTaskStateUpdated"
    reasoning_started = "TeamReasoningStarted"
    reasoning_step = "TeamReasoningStep"
    reasoning_content_delta = "TeamReasoningContentDelta"
    reasoning_completed = "TeamReasoningCompleted"
    memory_update_started = "TeamMemoryUpdateStarted"
    memory_update_completed = "TeamMemoryUpdateCompleted"
    followups_started = "TeamFollowupsStarted"
    followups_completed = "TeamFollowupsCompleted"
    compression_started = "TeamCompressionStarted"
    compression_completed = "TeamCompressionCompleted"
    custom_event = "CustomEvent"


@dataclass(kw_only=True, eq=False)
class BaseTeamRunEvent(BaseRunOutputEvent):
    """What every event says: which run of which team in which session, within which run, and when (Unix seconds)."""

    event: str = ""
    run_id: str = ""
    session_id: str = ""
    team_id: str = ""
    team_name: str = ""
    created_at: int = field(default_factory=lambda: int(time()))
    parent_run_id: str | None = None


@dataclass(kw_only=True, eq=False)
class RunStartedEvent(BaseTeamRunEvent):
    """The user's input is stored; the leader has not been asked yet."""

    event: str = TeamRunEvent.run_started.value
    model: str = ""
    model_provider: str = ""


@dataclass(kw_only=True, eq=False)
class RunContinuedEvent(BaseTeamRunEvent):
    """An interrupted or paused run is this process's now and goes on."""

    event: str = TeamRunEvent.run_continued.value
    model: str = ""
    model_provider: str = ""


@dataclass(kw_only=True, eq=False)
class RunPausedEvent(BaseTeamRunEvent):
    """The run waits for a person and is stored with status PAUSED. ``requirements`` are what the leader and its members wait for."""

    event: str = TeamRunEvent.run_paused.value
    tools: list[ToolExecution] | None = None
    requirements: list[Any] | None = None
    is_paused = True

    @property
    def active_requirements(self) -> list[Any]:
        """The requirements that nobody has answered yet."""
        return [requirement for requirement in self.requirements or () if not requirement.is_resolved()]


@dataclass(kw_only=True, eq=False)
class RunContentEvent(BaseTeamRunEvent):
    """A piece of the team's answer; with ``content_type`` other than ``str`` the whole of it, as an object."""

    event: str = TeamRunEvent.run_content.value
    content: Any = None
    content_type: str = "str"
    reasoning_content: str | None = None


@dataclass(kw_only=True, eq=False)
class IntermediateRunContentEvent(BaseTeamRunEvent):
    """A piece of what a model said that is not the answer yet."""

    event: str = TeamRunEvent.run_intermediate_content.value
    content: Any = None
    content_type: str = "str"


@dataclass(kw_only=True, eq=False)
class RunContentCompletedEvent(BaseTeamRunEvent):
    """The last piece of the answer has come; it is not stored yet."""

    event: str = TeamRunEvent.run_content_completed.value


@dataclass(kw_only=True, eq=False)
class RunCompletedEvent(BaseTeamRunEvent):
    """The run is stored, with those of its members. ``member_responses`` are theirs; ``images``, ``videos``, ``audio`` and ``files`` are what
    the leader's tools made, ``response_audio`` what its model said.
    """

    event: str = TeamRunEvent.run_completed.value
    content: Any = None
    content_type: str = "str"
    reasoning_content: str | None = None
    images: list[Image] | None = None
    videos: list[Video] | None = None
    audio: list[Audio] | None = None
    files: list[File] | None = None
    response_audio: Audio | None = None
    member_responses: list[Any] = field(default_factory=list)
    metadata: dict[str, Any] | None = None
    metrics: Metrics | None = None
    session_state: dict[str, Any] | None = None


@dataclass(kw_only=True, eq=False)
class RunCancelledEvent(BaseTeamRunEvent):
    """The run was stopped before its answer and is stored with status CANCELLED."""

    event: str = TeamRunEvent.run_cancelled.value
    reason: str | None = None
    is_cancelled = True


@dataclass(kw_only=True, eq=False)
class RunErrorEvent(BaseTeamRunEvent):
    """The run failed and is stored with status ERROR. ``error_type`` is the exception's class name."""

    event: str = TeamRunEvent.run_error.value
    content: str | None = None
    error_type: str | None = None
    error_id: str | None = None
    additional_data: dict[str, Any] | None = None


@dataclass(kw_only=True, eq=False)
class PreHookStartedEvent(BaseTeamRunEvent):
    """A hook before the run begins. ``run_input`` is what it is given."""

    event: str = TeamRunEvent.pre_hook_started.value
    pre_hook_name: str | None = None
    run_input: RunInput | None = None


@dataclass(kw_only=True, eq=False)
class PreHookCompletedEvent(BaseTeamRunEvent):
    """A hook before the run has let it pass."""

    event: str = TeamRunEvent.pre_hook_completed.value
    pre_hook_name: str | None = None
    run_input: RunInput | None = None


@dataclass(kw_only=True, eq=False)
class PostHookStartedEvent(BaseTeamRunEvent):
    """A hook after the answer begins."""

    event: str = TeamRunEvent.post_hook_started.value
    post_hook_name: str | None = None


@dataclass(kw_only=True, eq=False)
class PostHookCompletedEvent(BaseTeamRunEvent):
    """A hook after the answer has let it pass."""

    event: str = TeamRunEvent.post_hook_completed.value
    post_hook_name: str | None = None


@dataclass(kw_only=True, eq=False)
class ToolCallStartedEvent(BaseTeamRunEvent):
    """A tool of the leader begins; to give a member a task is one."""

    event: str = TeamRunEvent.tool_call_started.value
    tool: ToolExecution | None = None


@dataclass(kw_only=True, eq=False)
class ToolCallCompletedEvent(BaseTeamRunEvent):
    """A tool returned; ``tool.result`` is what the leader is told."""

    event: str = TeamRunEvent.tool_call_completed.value
    tool: ToolExecution | None = None
    content: Any = None


@dataclass(kw_only=True, eq=False)
class ToolCallErrorEvent(BaseTeamRunEvent):
    """A tool or a member failed; the leader is told ``error``."""

    event: str = TeamRunEvent.tool_call_error.value
    tool: ToolExecution | None = None
    error: str | None = None


@dataclass(kw_only=True, eq=False)
class ModelRequestStartedEvent(BaseTeamRunEvent):
    """The leader's model is asked."""

    event: str = TeamRunEvent.model_request_started.value
    model: str = ""
    model_provider: str = ""


@dataclass(kw_only=True, eq=False)
class ModelRequestCompletedEvent(BaseTeamRunEvent):
    """The leader's model has answered. Token counts are this request's."""

    event: str = TeamRunEvent.model_request_completed.value
    model: str = ""
    model_provider: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    time_to_first_token: float | None = None
    reasoning_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    finish_reason: str | None = None


@dataclass(kw_only=True, eq=False)
class ModelRequestFailedEvent(BaseTeamRunEvent):
    """A request to ``model`` failed. ``next_model``, the same or another, is asked after ``delay`` seconds."""

    event: str = TeamRunEvent.model_request_failed.value
    model: str = ""
    model_provider: str = ""
    error: str = ""
    error_type: str = ""
    next_model: str = ""
    delay: float = 0.0


@dataclass(kw_only=True, eq=False)
class ParserModelResponseStartedEvent(BaseTeamRunEvent):
    """A second model begins to read the answer into the schema."""

    event: str = TeamRunEvent.parser_model_response_started.value


@dataclass(kw_only=True, eq=False)
class ParserModelResponseCompletedEvent(BaseTeamRunEvent):
    """The second model has read the answer into the schema."""

    event: str = TeamRunEvent.parser_model_response_completed.value


@dataclass(kw_only=True, eq=False)
class OutputModelResponseStartedEvent(BaseTeamRunEvent):
    """A second model begins to write the answer."""

    event: str = TeamRunEvent.output_model_response_started.value


@dataclass(kw_only=True, eq=False)
class OutputModelResponseCompletedEvent(BaseTeamRunEvent):
    """The second model has written the answer."""

    event: str = TeamRunEvent.output_model_response_completed.value


@dataclass(kw_only=True, eq=False)
class SessionSummaryStartedEvent(BaseTeamRunEvent):
    """The session's summary is being made."""

    event: str = TeamRunEvent.session_summary_started.value


@dataclass(kw_only=True, eq=False)
class SessionSummaryCompletedEvent(BaseTeamRunEvent):
    """The session's summary is stored."""

    event: str = TeamRunEvent.session_summary_completed.value
    session_summary: Any = None


@dataclass(kw_only=True, eq=False)
class StateConflictEvent(BaseTeamRunEvent):
    """Another run changed the same state keys meanwhile; this run's values were kept (policy ``"ours"``)."""

    event: str = TeamRunEvent.state_conflict.value
    paths: tuple[str, ...] = ()


@dataclass(kw_only=True, eq=False)
class TaskIterationStartedEvent(BaseTeamRunEvent):
    """A turn of the leader begins: it works on its tasks until it answers."""

    event: str = TeamRunEvent.task_iteration_started.value
    iteration: int = 0
    max_iterations: int = 0


@dataclass(kw_only=True, eq=False)
class TaskIterationCompletedEvent(BaseTeamRunEvent):
    """The leader has answered. If tasks are open, another turn follows."""

    event: str = TeamRunEvent.task_iteration_completed.value
    iteration: int = 0
    max_iterations: int = 0
    task_summary: str | None = None


@dataclass(kw_only=True, eq=False)
class TaskCreatedEvent(BaseTeamRunEvent):
    """The leader has put a task on its list."""

    event: str = TeamRunEvent.task_created.value
    task_id: str = ""
    title: str = ""
    description: str = ""
    assignee: str | None = None
    status: str = "pending"
    dependencies: list[str] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class TaskUpdatedEvent(BaseTeamRunEvent):
    """A task stands differently than before: ``status`` and ``previous_status``."""

    event: str = TeamRunEvent.task_updated.value
    task_id: str = ""
    title: str = ""
    status: str = ""
    previous_status: str | None = None
    result: str | None = None
    assignee: str | None = None


@dataclass(kw_only=True, eq=False)
class TaskStateUpdatedEvent(BaseTeamRunEvent):
    """The list of tasks after a turn of the leader. ``tasks`` are plain values."""

    event: str = TeamRunEvent.task_state_updated.value
    task_summary: str | None = None
    goal_complete: bool = False
    tasks: list[Any] = field(default_factory=list)
    completion_summary: str | None = None


TeamRunOutputEvent: TypeAlias = (
    RunStartedEvent
    | RunContinuedEvent
    | RunPausedEvent
    | RunContentEvent
    | IntermediateRunContentEvent
    | RunContentCompletedEvent
    | RunCompletedEvent
    | RunCancelledEvent
    | RunErrorEvent
    | PreHookStartedEvent
    | PreHookCompletedEvent
    | PostHookStartedEvent
    | PostHookCompletedEvent
    | ToolCallStartedEvent
    | ToolCallCompletedEvent
    | ToolCallErrorEvent
    | ModelRequestStartedEvent
    | ModelRequestCompletedEvent
    | ModelRequestFailedEvent
    | ParserModelResponseStartedEvent
    | ParserModelResponseCompletedEvent
    | OutputModelResponseStartedEvent
    | OutputModelResponseCompletedEvent
    | SessionSummaryStartedEvent
    | SessionSummaryCompletedEvent
    | StateConflictEvent
    | TaskIterationStartedEvent
    | TaskIterationCompletedEvent
    | TaskCreatedEvent
    | TaskUpdatedEvent
    | TaskStateUpdatedEvent
    | CustomEvent
)

TEAM_RUN_EVENT_TYPE_REGISTRY: Final[dict[str, type[BaseRunOutputEvent]]] = {
    kind.__dataclass_fields__["event"].default: kind for kind in TeamRunOutputEvent.__args__
}
"""The class of each event by its name."""

TEAM_EVENT_KINDS: Final[dict[type, type]] = {
    events.RUN_EVENT_TYPE_REGISTRY[RunEvent[name.name].value]: TEAM_RUN_EVENT_TYPE_REGISTRY[name.value]
    for name in TeamRunEvent
    if name.name in RunEvent.__members__ and name.value in TEAM_RUN_EVENT_TYPE_REGISTRY and name is not TeamRunEvent.custom_event
}
"""The events of a team by those of an agent that say the same."""


def team_run_output_event_from_dict(data: Mapping[str, Any]) -> BaseRunOutputEvent:
    """The event that ``to_dict`` gave, a team's or a member's, as the class that its name says; a CustomEvent if the name is not known."""
    kind = TEAM_RUN_EVENT_TYPE_REGISTRY.get(data.get("event", ""))
    return run_output_event_from_dict(data) if kind is None else kind.from_dict(data)
