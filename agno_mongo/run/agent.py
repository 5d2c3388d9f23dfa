"""The outcome of an agent's run; the events on the way to it are those of :mod:`agno_mongo.run.events`."""

from __future__ import annotations

from typing import Any, ClassVar

from agno_mongo.messages import ToolExecution
from agno_mongo.run.base import MessageRunOutput, RunContext, RunInput, RunStatus
from agno_mongo.run.events import (
    RUN_EVENT_TYPE_REGISTRY,
    BaseAgentRunEvent,
    BaseRunOutputEvent,
    CustomEvent,
    IntermediateRunContentEvent,
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
from agno_mongo.run.requirement import RunRequirement, requirements_of
from agno_mongo.run.stored import restored_events, stored_events

__all__ = [
    "RUN_EVENT_TYPE_REGISTRY",
    "BaseAgentRunEvent",
    "BaseRunOutputEvent",
    "CustomEvent",
    "IntermediateRunContentEvent",
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
    reasoning_content: str | None = None
    tools: list[ToolExecution] | None = None
    requirements: list[RunRequirement] | None = None
    """What the run waits for, or has waited for: one for each of ``tools`` that a person is asked about. Not stored beside them."""
    events: list[Any] | None = None

    _DUMPED_APART: ClassVar[frozenset[str]] = frozenset({"messages", "metrics", "session_state", "events"})

    @property
    def active_requirements(self) -> list[RunRequirement]:
        """The requirements that have no answer yet."""
        return [requirement for requirement in self.requirements or () if not requirement.is_resolved()]

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

    def to_dict(self) -> dict[str, Any]:
        """The run as it is stored: of its events, what the run does not say elsewhere. While it is paused, with its ``requirements``, for
        whoever is to answer.
        """
        stored = super().to_dict()
        if not self.is_paused:
            stored.pop("requirements", None)
        if self.events is not None:
            stored["events"] = stored_events(self, self.events)
        return stored

    def _restore(self) -> None:
        super()._restore()
        if self.requirements is None and self.tools:
            self.requirements = requirements_of(self.tools)
        if self.events:
            self.events = restored_events(self, self.events)
