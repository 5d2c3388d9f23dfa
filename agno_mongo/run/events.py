"""The events of an agent's run, under Agno's names.

They are plain dataclasses: a streamed answer makes one for every piece of text, and a subclass of ``CustomEvent`` need not be frozen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from time import time
from typing import Any, Final, TypeAlias

from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from typing_extensions import Self

from agno_mongo.media import Audio, File, Image, Video
from agno_mongo.messages import Metrics, ToolExecution
from agno_mongo.run.base import RunInput
from agno_mongo.run.requirement import RunRequirement


class RunEvent(str, Enum):
    """The names of the events, Agno's."""

    run_started = "RunStarted"
    run_continued = "RunContinued"
    run_paused = "RunPaused"
    run_content = "RunContent"
    run_intermediate_content = "RunIntermediateContent"
    run_content_completed = "RunContentCompleted"
    run_completed = "RunCompleted"
    run_cancelled = "RunCancelled"
    run_error = "RunError"
    pre_hook_started = "PreHookStarted"
    pre_hook_completed = "PreHookCompleted"
    post_hook_started = "PostHookStarted"
    post_hook_completed = "PostHookCompleted"
    tool_call_started = "ToolCallStarted"
    tool_call_completed = "ToolCallCompleted"
    tool_call_error = "ToolCallError"
    model_request_started = "ModelRequestStarted"
    model_request_completed = "ModelRequestCompleted"
    model_request_failed = "ModelRequestFailed"
    parser_model_response_started = "ParserModelResponseStarted"
    parser_model_response_completed = "ParserModelResponseCompleted"
    output_model_response_started = "OutputModelResponseStarted"
    output_model_response_completed = "OutputModelResponseCompleted"
    session_summary_started = "SessionSummaryStarted"
    session_summary_completed = "SessionSummaryCompleted"
    state_conflict = "StateConflict"
    reasoning_started = "ReasoningStarted"
    reasoning_step = "ReasoningStep"
    reasoning_content_delta = "ReasoningContentDelta"
    reasoning_completed = "ReasoningCompleted"
    memory_update_started = "MemoryUpdateStarted"
    memory_update_completed = "MemoryUpdateCompleted"
    compression_started = "CompressionStarted"
    compression_completed = "CompressionCompleted"
    compaction_started = "CompactionStarted"
    compaction_completed = "CompactionCompleted"
    followups_started = "FollowupsStarted"
    followups_completed = "FollowupsCompleted"
    custom_event = "CustomEvent"


class BaseRunOutputEvent:
    """What can be asked of every event, whatever it has to say. What no run here has is None.

    ``step_name``, ``step_id``, ``step_index``, ``workflow_id`` and ``workflow_run_id`` say of an event within a workflow's run where it stands there.
    """

    step_name: str | None = None
    step_id: str | None = None
    step_index: Any = None
    workflow_id: str | None = None
    workflow_run_id: str | None = None
    nested_depth: int = 0
    content: Any = None
    tools: Any = None
    is_paused: bool = False
    is_cancelled: bool = False
    reasoning_content: Any = None
    response_audio: Any = None
    image: Any = None
    citations: Any = None
    references: Any = None
    reasoning_steps: Any = None
    reasoning_messages: Any = None
    additional_input: Any = None
    model_provider_data: Any = None

    @property
    def tools_requiring_confirmation(self) -> list[ToolExecution]:
        """The calls that wait for a yes or no."""
        return [tool for tool in self.tools or () if tool.requires_confirmation]

    @property
    def tools_requiring_user_input(self) -> list[ToolExecution]:
        """The calls that wait for input."""
        return [tool for tool in self.tools or () if tool.requires_user_input]

    @property
    def tools_awaiting_external_execution(self) -> list[ToolExecution]:
        """The calls that are executed outside, and have no result yet."""
        return [tool for tool in self.tools or () if tool.external_execution_required]

    def __eq__(self, other: object) -> bool:
        """True for an event of the same class that says the same. Here once: that a hundred classes each make their own takes a tenth of the import."""
        return vars(self) == vars(other) if type(self) is type(other) else NotImplemented

    __hash__ = None  # type: ignore[assignment] # an event can be changed

    def to_dict(self) -> dict[str, Any]:
        """The event as plain values, without the fields that are None: models and dataclasses become dicts."""
        return {name: plain(value) for name, value in vars(self).items() if value is not None}

    def to_json(self, separators: tuple[str, str] | None = None, indent: int | None = 2) -> str:
        """The event as JSON text; on one line with ``indent=None``. What has no JSON is shown as text."""
        values = to_jsonable_python(self.to_dict(), bytes_mode="base64", fallback=str)
        return json.dumps(values, separators=separators, indent=indent, ensure_ascii=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The event that ``to_dict`` gave. Fields that this class does not have are left out. ``data`` is not changed."""
        known = {part.name for part in fields(cls)}  # type: ignore[arg-type] # every event is a dataclass
        event = cls(**{name: _revived(name, value) for name, value in data.items() if name in known})
        vars(event).update({name: data[name] for name in IN_A_WORKFLOW if name in data and name not in known})
        return event


IN_A_WORKFLOW: Final = ("step_name", "step_id", "step_index", "workflow_id", "workflow_run_id")
"""What a workflow adds to the events of those who carry out its steps."""


@dataclass(kw_only=True, eq=False)
class BaseAgentRunEvent(BaseRunOutputEvent):
    """What every event says: which run of which agent in which session, and when (Unix seconds)."""

    event: str = ""
    run_id: str = ""
    session_id: str = ""
    agent_id: str = ""
    agent_name: str = ""
    created_at: int = field(default_factory=lambda: int(time()))
    parent_run_id: str | None = None


@dataclass(kw_only=True, eq=False)
class RunStartedEvent(BaseAgentRunEvent):
    """The user's input is stored; the model has not been asked yet."""

    event: str = RunEvent.run_started.value
    model: str = ""
    model_provider: str = ""


@dataclass(kw_only=True, eq=False)
class RunContinuedEvent(BaseAgentRunEvent):
    """An interrupted or paused run is this process's now and goes on; the model has not been asked yet."""

    event: str = RunEvent.run_continued.value
    model: str = ""
    model_provider: str = ""


@dataclass(kw_only=True, eq=False)
class RunPausedEvent(BaseAgentRunEvent):
    """The run waits for a person and is stored with status PAUSED. ``requirements`` are what it waits for."""

    event: str = RunEvent.run_paused.value
    tools: list[ToolExecution] | None = None
    requirements: list[RunRequirement] | None = None
    is_paused = True

    @property
    def active_requirements(self) -> list[RunRequirement]:
        """The requirements that nobody has answered yet."""
        return [requirement for requirement in self.requirements or () if not requirement.is_resolved()]


@dataclass(kw_only=True, eq=False)
class RunContentEvent(BaseAgentRunEvent):
    """A piece of the answer; with ``content_type`` other than ``str`` the whole of it, as an object."""

    event: str = RunEvent.run_content.value
    content: Any = None
    content_type: str = "str"
    reasoning_content: str | None = None


@dataclass(kw_only=True, eq=False)
class IntermediateRunContentEvent(BaseAgentRunEvent):
    """A piece of what a model said that is not the answer yet: another model makes the answer of it."""

    event: str = RunEvent.run_intermediate_content.value
    content: Any = None
    content_type: str = "str"


@dataclass(kw_only=True, eq=False)
class RunContentCompletedEvent(BaseAgentRunEvent):
    """The last piece of the answer has come; it is not stored yet."""

    event: str = RunEvent.run_content_completed.value


@dataclass(kw_only=True, eq=False)
class RunCompletedEvent(BaseAgentRunEvent):
    """The run is stored. ``images``, ``videos``, ``audio`` and ``files`` are what its tools made, ``response_audio`` what its model said."""

    event: str = RunEvent.run_completed.value
    content: Any = None
    content_type: str = "str"
    reasoning_content: str | None = None
    images: list[Image] | None = None
    videos: list[Video] | None = None
    audio: list[Audio] | None = None
    files: list[File] | None = None
    response_audio: Audio | None = None
    metadata: dict[str, Any] | None = None
    metrics: Metrics | None = None
    session_state: dict[str, Any] | None = None


@dataclass(kw_only=True, eq=False)
class RunCancelledEvent(BaseAgentRunEvent):
    """The run was stopped before its answer and is stored with status CANCELLED."""

    event: str = RunEvent.run_cancelled.value
    reason: str | None = None
    is_cancelled = True


@dataclass(kw_only=True, eq=False)
class RunErrorEvent(BaseAgentRunEvent):
    """The run failed and is stored with status ERROR. ``error_type`` is the exception's class name."""

    event: str = RunEvent.run_error.value
    content: str | None = None
    error_type: str | None = None
    error_id: str | None = None
    additional_data: dict[str, Any] | None = None


@dataclass(kw_only=True, eq=False)
class PreHookStartedEvent(BaseAgentRunEvent):
    """A hook before the run begins. ``run_input`` is what it is given."""

    event: str = RunEvent.pre_hook_started.value
    pre_hook_name: str | None = None
    run_input: RunInput | None = None


@dataclass(kw_only=True, eq=False)
class PreHookCompletedEvent(BaseAgentRunEvent):
    """A hook before the run has let it pass. ``run_input`` is what it has made of it."""

    event: str = RunEvent.pre_hook_completed.value
    pre_hook_name: str | None = None
    run_input: RunInput | None = None


@dataclass(kw_only=True, eq=False)
class PostHookStartedEvent(BaseAgentRunEvent):
    """A hook after the answer begins."""

    event: str = RunEvent.post_hook_started.value
    post_hook_name: str | None = None


@dataclass(kw_only=True, eq=False)
class PostHookCompletedEvent(BaseAgentRunEvent):
    """A hook after the answer has let it pass."""

    event: str = RunEvent.post_hook_completed.value
    post_hook_name: str | None = None


@dataclass(kw_only=True, eq=False)
class ToolCallStartedEvent(BaseAgentRunEvent):
    """A tool begins."""

    event: str = RunEvent.tool_call_started.value
    tool: ToolExecution | None = None


@dataclass(kw_only=True, eq=False)
class ToolCallCompletedEvent(BaseAgentRunEvent):
    """A tool returned; ``tool.result`` is what the model is told."""

    event: str = RunEvent.tool_call_completed.value
    tool: ToolExecution | None = None
    content: Any = None


@dataclass(kw_only=True, eq=False)
class ToolCallErrorEvent(BaseAgentRunEvent):
    """A tool failed; the model is told ``error`` and may try again."""

    event: str = RunEvent.tool_call_error.value
    tool: ToolExecution | None = None
    error: str | None = None


@dataclass(kw_only=True, eq=False)
class ModelRequestStartedEvent(BaseAgentRunEvent):
    """The model is asked."""

    event: str = RunEvent.model_request_started.value
    model: str = ""
    model_provider: str = ""


@dataclass(kw_only=True, eq=False)
class ModelRequestCompletedEvent(BaseAgentRunEvent):
    """The model has answered, with text or with tool calls. Token counts are this request's."""

    event: str = RunEvent.model_request_completed.value
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
class ModelRequestFailedEvent(BaseAgentRunEvent):
    """A request to ``model`` failed. ``next_model``, the same or another, is asked after ``delay`` seconds; nothing of an answer has been shown.

    ``error_type`` is the exception's class name.
    """

    event: str = RunEvent.model_request_failed.value
    model: str = ""
    model_provider: str = ""
    error: str = ""
    error_type: str = ""
    next_model: str = ""
    delay: float = 0.0


@dataclass(kw_only=True, eq=False)
class ParserModelResponseStartedEvent(BaseAgentRunEvent):
    """A second model begins to read the answer into the schema."""

    event: str = RunEvent.parser_model_response_started.value


@dataclass(kw_only=True, eq=False)
class ParserModelResponseCompletedEvent(BaseAgentRunEvent):
    """The second model has read the answer into the schema."""

    event: str = RunEvent.parser_model_response_completed.value


@dataclass(kw_only=True, eq=False)
class OutputModelResponseStartedEvent(BaseAgentRunEvent):
    """A second model begins to write the answer."""

    event: str = RunEvent.output_model_response_started.value


@dataclass(kw_only=True, eq=False)
class OutputModelResponseCompletedEvent(BaseAgentRunEvent):
    """The second model has written the answer."""

    event: str = RunEvent.output_model_response_completed.value


@dataclass(kw_only=True, eq=False)
class SessionSummaryStartedEvent(BaseAgentRunEvent):
    """The session's summary is being made."""

    event: str = RunEvent.session_summary_started.value


@dataclass(kw_only=True, eq=False)
class SessionSummaryCompletedEvent(BaseAgentRunEvent):
    """The session's summary is stored."""

    event: str = RunEvent.session_summary_completed.value
    session_summary: Any = None


@dataclass(kw_only=True, eq=False)
class StateConflictEvent(BaseAgentRunEvent):
    """Another run changed the same state keys meanwhile; this run's values were kept (policy ``"ours"``)."""

    event: str = RunEvent.state_conflict.value
    paths: tuple[str, ...] = ()


class _OfOtherRuns(BaseAgentRunEvent):
    """An event of Agno's that no run here has: a usual loop over events names it, a run that Agno has stored may have it."""


@dataclass(kw_only=True, eq=False)
class ReasoningStartedEvent(_OfOtherRuns):
    """A reasoning agent begins."""

    event: str = RunEvent.reasoning_started.value


@dataclass(kw_only=True, eq=False)
class ReasoningStepEvent(_OfOtherRuns):
    """A step of a reasoning agent."""

    event: str = RunEvent.reasoning_step.value
    content: Any = None
    content_type: str = "str"
    reasoning_content: str = ""


@dataclass(kw_only=True, eq=False)
class ReasoningContentDeltaEvent(_OfOtherRuns):
    """A piece of what a reasoning agent says to itself. What a model does is in RunContentEvent's ``reasoning_content``."""

    event: str = RunEvent.reasoning_content_delta.value
    reasoning_content: str = ""


@dataclass(kw_only=True, eq=False)
class ReasoningCompletedEvent(_OfOtherRuns):
    """A reasoning agent has ended."""

    event: str = RunEvent.reasoning_completed.value
    content: Any = None
    content_type: str = "str"


@dataclass(kw_only=True, eq=False)
class MemoryUpdateStartedEvent(_OfOtherRuns):
    """Memories are being made."""

    event: str = RunEvent.memory_update_started.value


@dataclass(kw_only=True, eq=False)
class MemoryUpdateCompletedEvent(_OfOtherRuns):
    """Memories were made."""

    event: str = RunEvent.memory_update_completed.value
    memories: list[Any] | None = None


@dataclass(kw_only=True, eq=False)
class CompressionStartedEvent(_OfOtherRuns):
    """Results of tools are being shortened."""

    event: str = RunEvent.compression_started.value


@dataclass(kw_only=True, eq=False)
class CompressionCompletedEvent(_OfOtherRuns):
    """Results of tools were shortened."""

    event: str = RunEvent.compression_completed.value
    tool_results_compressed: int | None = None
    original_size: int | None = None
    compressed_size: int | None = None


@dataclass(kw_only=True, eq=False)
class CompactionStartedEvent(_OfOtherRuns):
    """The conversation is being shortened."""

    event: str = RunEvent.compaction_started.value


@dataclass(kw_only=True, eq=False)
class CompactionCompletedEvent(_OfOtherRuns):
    """The conversation was shortened."""

    event: str = RunEvent.compaction_completed.value
    messages_compacted: int | None = None
    tokens_before: int | None = None
    tokens_after: int | None = None
    archived: bool | None = None


@dataclass(kw_only=True, eq=False)
class FollowupsStartedEvent(_OfOtherRuns):
    """Proposals of what to ask next are being made."""

    event: str = RunEvent.followups_started.value


@dataclass(kw_only=True, eq=False)
class FollowupsCompletedEvent(_OfOtherRuns):
    """Proposals of what to ask next."""

    event: str = RunEvent.followups_completed.value
    followups: list[str] | None = None


@dataclass(kw_only=True, eq=False)
class CustomEvent(BaseAgentRunEvent):
    """An event of the user's own, which a tool yields: a subclass with fields, or this class with any values by name.

    ::

        @dataclass
        class CustomerFound(CustomEvent):
            customer: str = ""

    ``tool_call_id`` and the run's ids are filled in as it passes. Stored events of a kind that is not known read back as this class.
    """

    event: str = RunEvent.custom_event.value
    tool_call_id: str | None = None

    def __init__(self, **values: Any) -> None:
        self.event = RunEvent.custom_event.value
        self.run_id = self.session_id = self.agent_id = self.agent_name = ""
        self.created_at = int(time())
        self.parent_run_id = self.tool_call_id = None
        vars(self).update(values)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The event that ``to_dict`` gave. Of a CustomEvent that is no subclass every value is kept."""
        return cls(**data) if cls is CustomEvent else super().from_dict(data)


RunOutputEvent: TypeAlias = (
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
    | ReasoningStartedEvent
    | ReasoningStepEvent
    | ReasoningContentDeltaEvent
    | ReasoningCompletedEvent
    | MemoryUpdateStartedEvent
    | MemoryUpdateCompletedEvent
    | CompressionStartedEvent
    | CompressionCompletedEvent
    | CompactionStartedEvent
    | CompactionCompletedEvent
    | FollowupsStartedEvent
    | FollowupsCompletedEvent
    | CustomEvent
)

RUN_EVENT_TYPE_REGISTRY: Final[dict[str, type[BaseAgentRunEvent]]] = {
    kind.__dataclass_fields__["event"].default: kind for kind in RunOutputEvent.__args__
}
"""The class of each event by its name."""


def run_output_event_from_dict(data: Mapping[str, Any]) -> BaseAgentRunEvent:
    """The event that ``to_dict`` gave, as the class that its name says; a CustomEvent if the name is not known."""
    return RUN_EVENT_TYPE_REGISTRY.get(data.get("event", ""), CustomEvent).from_dict(data)


def plain(value: Any) -> Any:
    """A value as text, numbers, lists and dicts, as far as it is made of models, dataclasses and enums."""
    if value is None or type(value) in {str, int, float, bool}:
        return value
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(part) for part in value]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, type) else _as_data(value)


def _as_data(value: Any) -> Any:
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return to_dict()
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True)
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value)}
    return value


_REVIVED: Final[dict[str, Callable[[Any], Any]]] = {
    "tool": ToolExecution.model_validate,
    "metrics": Metrics.model_validate,
    "run_input": RunInput.model_validate,
    "tools": lambda tools: [ToolExecution.model_validate(tool) for tool in tools],
    "paths": tuple,
    "images": lambda images: [Image.model_validate(image) for image in images],
    "videos": lambda videos: [Video.model_validate(video) for video in videos],
    "audio": lambda sounds: [Audio.model_validate(sound) for sound in sounds],
    "files": lambda files: [File.model_validate(file) for file in files],
    "response_audio": Audio.model_validate,
    "requirements": lambda waiting: [RunRequirement.model_validate(requirement) for requirement in waiting],
}


def _revived(name: str, value: Any) -> Any:
    return value if value is None or name not in _REVIVED else _REVIVED[name](value)
