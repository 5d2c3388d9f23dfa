"""The outcome of an agent's run, and the events on the way to it.

Events are frozen dataclasses rather than pydantic models: a streamed answer makes one for every piece of text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from time import time
from typing import Any, TypeAlias

from agno_mongo.messages import Metrics, StoredModel, ToolExecution
from agno_mongo.run.base import MessageRunOutput, RunContext, RunInput, RunStatus

__all__ = ["RunContext", "RunEvent", "RunInput", "RunOutput", "RunOutputEvent", "RunStatus"]


class RunOutput(MessageRunOutput):
    """What ``Agent.run()`` returns and stores.

    ``content`` is the answer, ``messages`` all that the model was sent and said, those of earlier runs marked
    ``from_history``; ``tools`` the tool calls; ``metrics`` the tokens; ``status`` how it ended.
    """

    agent_id: str | None = None
    agent_name: str | None = None
    reasoning_content: str | None = None
    tools: list[ToolExecution] | None = None


class RunEvent(str, Enum):
    """The names of the events, Agno's."""

    run_started = "RunStarted"
    run_continued = "RunContinued"
    run_content = "RunContent"
    run_content_completed = "RunContentCompleted"
    run_completed = "RunCompleted"
    run_error = "RunError"
    tool_call_started = "ToolCallStarted"
    tool_call_completed = "ToolCallCompleted"
    tool_call_error = "ToolCallError"
    model_request_started = "ModelRequestStarted"
    model_request_completed = "ModelRequestCompleted"
    state_conflict = "StateConflict"


@dataclass(frozen=True, kw_only=True)
class BaseRunEvent:
    """What every event says: which run of which agent in which session, and when (Unix seconds)."""

    event: str = ""
    run_id: str = ""
    session_id: str = ""
    agent_id: str = ""
    agent_name: str = ""
    created_at: int = field(default_factory=lambda: int(time()))

    def to_dict(self) -> dict[str, Any]:
        """The event as plain values, without the fields that are None."""
        return {
            name: value.to_dict() if isinstance(value, StoredModel) else value
            for name, value in vars(self).items()
            if value is not None
        }


@dataclass(frozen=True, kw_only=True)
class RunStartedEvent(BaseRunEvent):
    """The user's input is stored; the model has not been asked yet."""

    event: str = RunEvent.run_started.value
    model: str = ""
    model_provider: str = ""


@dataclass(frozen=True, kw_only=True)
class RunContinuedEvent(BaseRunEvent):
    """An interrupted run is this process's now and goes on; the model has not been asked yet."""

    event: str = RunEvent.run_continued.value
    model: str = ""
    model_provider: str = ""


@dataclass(frozen=True, kw_only=True)
class RunContentEvent(BaseRunEvent):
    """A piece of the answer."""

    event: str = RunEvent.run_content.value
    content: str | None = None
    reasoning_content: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunContentCompletedEvent(BaseRunEvent):
    """The last piece of the answer has come; it is not stored yet."""

    event: str = RunEvent.run_content_completed.value


@dataclass(frozen=True, kw_only=True)
class RunCompletedEvent(BaseRunEvent):
    """The run is stored."""

    event: str = RunEvent.run_completed.value
    content: Any = None
    metrics: Metrics | None = None
    session_state: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RunErrorEvent(BaseRunEvent):
    """The run failed and is stored with status ERROR. ``error_type`` is the exception's class name."""

    event: str = RunEvent.run_error.value
    content: str | None = None
    error_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class ToolCallStartedEvent(BaseRunEvent):
    """A tool begins."""

    event: str = RunEvent.tool_call_started.value
    tool: ToolExecution | None = None


@dataclass(frozen=True, kw_only=True)
class ToolCallCompletedEvent(BaseRunEvent):
    """A tool returned; ``tool.result`` is what the model is told."""

    event: str = RunEvent.tool_call_completed.value
    tool: ToolExecution | None = None
    content: str | None = None


@dataclass(frozen=True, kw_only=True)
class ToolCallErrorEvent(BaseRunEvent):
    """A tool failed; the model is told ``error`` and may try again."""

    event: str = RunEvent.tool_call_error.value
    tool: ToolExecution | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelRequestStartedEvent(BaseRunEvent):
    """The model is asked."""

    event: str = RunEvent.model_request_started.value
    model: str = ""
    model_provider: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelRequestCompletedEvent(BaseRunEvent):
    """The model has answered, with text or with tool calls. Token counts are this request's."""

    event: str = RunEvent.model_request_completed.value
    model: str = ""
    model_provider: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    time_to_first_token: float | None = None


@dataclass(frozen=True, kw_only=True)
class StateConflictEvent(BaseRunEvent):
    """Another run changed the same state keys meanwhile; this run's values were kept (policy ``"ours"``)."""

    event: str = RunEvent.state_conflict.value
    paths: tuple[str, ...] = ()


RunOutputEvent: TypeAlias = (
    RunStartedEvent
    | RunContinuedEvent
    | RunContentEvent
    | RunContentCompletedEvent
    | RunCompletedEvent
    | RunErrorEvent
    | ToolCallStartedEvent
    | ToolCallCompletedEvent
    | ToolCallErrorEvent
    | ModelRequestStartedEvent
    | ModelRequestCompletedEvent
    | StateConflictEvent
)
