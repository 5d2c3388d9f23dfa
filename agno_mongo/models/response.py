"""What a model written for Agno gives (``ModelResponse``), and Agno's import path for the calls of tools."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from time import time
from typing import Any

from agno_mongo.messages import Metrics, ToolExecution, UserInputField

__all__ = ["ModelResponse", "ModelResponseEvent", "ToolExecution", "UserInputField"]


class ModelResponseEvent(str, Enum):
    """What a ModelResponse is about, in Agno's words. Only what the assistant says counts here."""

    assistant_response = "AssistantResponse"
    tool_call_paused = "ToolCallPaused"
    tool_call_started = "ToolCallStarted"
    tool_call_completed = "ToolCallCompleted"
    model_request_started = "ModelRequestStarted"
    model_request_completed = "ModelRequestCompleted"


@dataclass
class ModelResponse:
    """An answer, or a piece of one, of a model that has Agno's methods.

    ``content`` is its text; ``parsed`` an object that is given in its place; ``tool_calls`` have OpenAI's shape, each whole; ``response_usage`` are the
    tokens. ``extra`` is the model's own.
    """

    role: str | None = None
    content: Any = None
    parsed: Any = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    tool_executions: list[ToolExecution] | None = field(default_factory=list)
    event: str = ModelResponseEvent.assistant_response.value
    provider_data: dict[str, Any] | None = None
    reasoning_content: str | None = None
    response_usage: Metrics | None = None
    created_at: int = field(default_factory=lambda: int(time()))
    extra: dict[str, Any] | None = None
