"""The outcome of an agent's run; the events on the way to it are those of :mod:`agno_mongo.run.events`."""

from __future__ import annotations

from agno_mongo.run.base import RunContext, RunInput, RunStatus
from agno_mongo.run.events import (
    RUN_EVENT_TYPE_REGISTRY,
    BaseAgentRunEvent,
    BaseRunOutputEvent,
    CompactionCompletedEvent,
    CompactionStartedEvent,
    CompressionCompletedEvent,
    CompressionStartedEvent,
    CustomEvent,
    FollowupsCompletedEvent,
    FollowupsStartedEvent,
    IntermediateRunContentEvent,
    MemoryUpdateCompletedEvent,
    MemoryUpdateStartedEvent,
    ModelRequestCompletedEvent,
    ModelRequestFailedEvent,
    ModelRequestStartedEvent,
    OutputModelResponseCompletedEvent,
    OutputModelResponseStartedEvent,
    ParserModelResponseCompletedEvent,
    ParserModelResponseStartedEvent,
    PostHookCompletedEvent,
    PostHookStartedEvent,
    PreHookCompletedEvent,
    PreHookStartedEvent,
    ReasoningCompletedEvent,
    ReasoningContentDeltaEvent,
    ReasoningStartedEvent,
    ReasoningStepEvent,
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
from agno_mongo.run.message_run import MessageRunOutput

__all__ = [
    "RUN_EVENT_TYPE_REGISTRY",
    "BaseAgentRunEvent",
    "BaseRunOutputEvent",
    "CompactionCompletedEvent",
    "CompactionStartedEvent",
    "CompressionCompletedEvent",
    "CompressionStartedEvent",
    "CustomEvent",
    "FollowupsCompletedEvent",
    "FollowupsStartedEvent",
    "IntermediateRunContentEvent",
    "MemoryUpdateCompletedEvent",
    "MemoryUpdateStartedEvent",
    "ModelRequestCompletedEvent",
    "ModelRequestFailedEvent",
    "ModelRequestStartedEvent",
    "OutputModelResponseCompletedEvent",
    "OutputModelResponseStartedEvent",
    "ParserModelResponseCompletedEvent",
    "ParserModelResponseStartedEvent",
    "PostHookCompletedEvent",
    "PostHookStartedEvent",
    "PreHookCompletedEvent",
    "PreHookStartedEvent",
    "ReasoningCompletedEvent",
    "ReasoningContentDeltaEvent",
    "ReasoningStartedEvent",
    "ReasoningStepEvent",
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
    ``from_history``; ``tools`` the tool calls; ``metrics`` the tokens; ``status`` how it ended; ``events`` the typed events of the run, if the
    agent stores them.
    """

    agent_id: str | None = None
    agent_name: str | None = None

    def event_ids(self) -> dict[str, str]:
        """What every event of this run says of whose it is."""
        return super().event_ids() | {"agent_id": self.agent_id or "", "agent_name": self.agent_name or ""}
