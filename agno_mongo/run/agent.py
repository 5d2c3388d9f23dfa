"""The outcome of an agent's run; the events on the way to it are those of :mod:`agno_mongo.run.events`."""

from __future__ import annotations

from agno_mongo.messages import ToolExecution
from agno_mongo.run.base import MessageRunOutput, RunContext, RunInput, RunStatus
from agno_mongo.run.events import (
    RUN_EVENT_TYPE_REGISTRY,
    BaseAgentRunEvent,
    BaseRunOutputEvent,
    CustomEvent,
    IntermediateRunContentEvent,
    ModelRequestCompletedEvent,
    ModelRequestStartedEvent,
    OutputModelResponseCompletedEvent,
    OutputModelResponseStartedEvent,
    ParserModelResponseCompletedEvent,
    ParserModelResponseStartedEvent,
    PostHookCompletedEvent,
    PostHookStartedEvent,
    PreHookCompletedEvent,
    PreHookStartedEvent,
    RunCancelledEvent,
    RunCompletedEvent,
    RunContentCompletedEvent,
    RunContentEvent,
    RunContinuedEvent,
    RunErrorEvent,
    RunEvent,
    RunOutputEvent,
    RunPausedEvent,
    RunStartedEvent,
    SessionSummaryCompletedEvent,
    SessionSummaryStartedEvent,
    StateConflictEvent,
    ToolCallCompletedEvent,
    ToolCallErrorEvent,
    ToolCallStartedEvent,
    run_output_event_from_dict,
)

__all__ = [
    "RUN_EVENT_TYPE_REGISTRY",
    "BaseAgentRunEvent",
    "BaseRunOutputEvent",
    "CustomEvent",
    "IntermediateRunContentEvent",
    "ModelRequestCompletedEvent",
    "ModelRequestStartedEvent",
    "OutputModelResponseCompletedEvent",
    "OutputModelResponseStartedEvent",
    "ParserModelResponseCompletedEvent",
    "ParserModelResponseStartedEvent",
    "PostHookCompletedEvent",
    "PostHookStartedEvent",
    "PreHookCompletedEvent",
    "PreHookStartedEvent",
    "RunCancelledEvent",
    "RunCompletedEvent",
    "RunContentCompletedEvent",
    "RunContentEvent",
    "RunContext",
    "RunContinuedEvent",
    "RunErrorEvent",
    "RunEvent",
    "RunInput",
    "RunOutput",
    "RunOutputEvent",
    "RunPausedEvent",
    "RunStartedEvent",
    "RunStatus",
    "SessionSummaryCompletedEvent",
    "SessionSummaryStartedEvent",
    "StateConflictEvent",
    "ToolCallCompletedEvent",
    "ToolCallErrorEvent",
    "ToolCallStartedEvent",
    "run_output_event_from_dict",
]


class RunOutput(MessageRunOutput):
    """What ``Agent.run()`` returns and stores.

    ``content`` is the answer, ``messages`` all that the model was sent and said, those of earlier runs marked
    ``from_history``; ``tools`` the tool calls; ``metrics`` the tokens; ``status`` how it ended.
    """

    agent_id: str | None = None
    agent_name: str | None = None
    reasoning_content: str | None = None
    tools: list[ToolExecution] | None = None
