"""The outcome of a team's run; the events on the way to it are those of :mod:`agno_mongo.run.team_events`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, field_validator

from agno_mongo.media import NAMES
from agno_mongo.run.agent import RunOutput
from agno_mongo.run.base import RunInput
from agno_mongo.run.events import CustomEvent
from agno_mongo.run.message_run import MessageRunOutput
from agno_mongo.run.requirement import RunRequirement, key_of_call
from agno_mongo.run.team_events import (
    TEAM_EVENT_KINDS,
    TEAM_RUN_EVENT_TYPE_REGISTRY,
    BaseTeamRunEvent,
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
    RunPausedEvent,
    RunStartedEvent,
    SessionSummaryCompletedEvent,
    SessionSummaryStartedEvent,
    StateConflictEvent,
    TaskCreatedEvent,
    TaskIterationCompletedEvent,
    TaskIterationStartedEvent,
    TaskStateUpdatedEvent,
    TaskUpdatedEvent,
    TeamRunEvent,
    TeamRunOutputEvent,
    ToolCallCompletedEvent,
    ToolCallErrorEvent,
    ToolCallStartedEvent,
    team_run_output_event_from_dict,
)

__all__ = [
    "TEAM_RUN_EVENT_TYPE_REGISTRY",
    "BaseTeamRunEvent",
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
    "RunContinuedEvent",
    "RunErrorEvent",
    "RunPausedEvent",
    "RunStartedEvent",
    "SessionSummaryCompletedEvent",
    "SessionSummaryStartedEvent",
    "StateConflictEvent",
    "TaskCreatedEvent",
    "TaskIterationCompletedEvent",
    "TaskIterationStartedEvent",
    "TaskStateUpdatedEvent",
    "TaskUpdatedEvent",
    "TeamRunEvent",
    "TeamRunInput",
    "TeamRunOutput",
    "TeamRunOutputEvent",
    "ToolCallCompletedEvent",
    "ToolCallErrorEvent",
    "ToolCallStartedEvent",
    "team_run_output_event_from_dict",
]

TeamRunInput = RunInput


class TeamRunOutput(MessageRunOutput):
    """What ``Team.run()`` returns and stores: the leader's run.

    ``member_responses`` are the runs of the members, in the order in which they ended. Each is stored as a run of its own, with ``parent_run_id``;
    with the team's ``store_member_responses`` they are stored here, too.
    """

    team_id: str | None = None
    team_name: str | None = None
    member_responses: list[Any] = Field(default_factory=list)

    EVENT_KINDS: ClassVar[Mapping[type, type]] = TEAM_EVENT_KINDS
    _DUMPED_APART: ClassVar[frozenset[str]] = frozenset({"messages", "metrics", "session_state", "events", "member_responses"})

    @field_validator("member_responses", mode="before")
    @classmethod
    def _by_kind(cls, runs: Any) -> Any:
        return [member_run_from_dict(run) if isinstance(run, Mapping) else run for run in runs or ()]

    def event_ids(self) -> dict[str, str]:
        """What every event of this run says of whose it is."""
        return super().event_ids() | {"team_id": self.team_id or "", "team_name": self.team_name or ""}

    def close(self) -> None:
        """Say what the run waits for, now that it goes no further: its leader, or its members."""
        super().close()
        self._add_requirements()

    def _add_requirements(self) -> None:
        of_members = [one for run in self.member_responses if run.is_paused for one in requirements_within(run)]
        if of_members:
            self.requirements = [*(self.requirements or ()), *of_members]

    def _restore(self) -> None:
        super()._restore()
        if self.is_paused and not any(one.member_run_id for one in self.requirements or ()):
            self._add_requirements()

    def pending_calls(self) -> list[str]:
        """The calls that wait for a person, the leader's and the members'."""
        waiting = [
            one for one in self.requirements or () if one.member_run_id and one.tool_execution and one.tool_execution.is_paused
        ]
        calls = [key_of_call(one.id, one.member_run_id) for one in waiting]
        return sorted([*super().pending_calls(), *calls])

    def inner_records(self) -> list[dict[str, Any]]:
        """The members' runs, each before the one that it belongs to."""
        return [record for run in self.member_responses for record in (*run.inner_records(), record_of(run))]

    @classmethod
    def inner_fields(cls, run_id: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The members' runs as ``member_responses``."""
        own = [record for record in records if record.get("parent_run_id") == run_id]
        members = [
            member_run_from_dict({**record, **TeamRunOutput.inner_fields(str(record.get("run_id")), records)})
            if record.get("team_id") is not None
            else member_run_from_dict(record)
            for record in own
        ]
        return {"member_responses": members} if members else {}

    def take_media_of_inner(self) -> None:
        """Take over what its members made that had ended before the team went on."""
        for run in self.member_responses:
            self.take_media_of(run)

    def take_media_of(self, run: RunOutput | TeamRunOutput) -> None:
        """What a member made is the team's, too."""
        for name in NAMES:
            if made := getattr(run, name, None):
                setattr(self, name, [*(getattr(self, name, None) or ()), *made])

    def completed_data(self) -> dict[str, Any]:
        """What the event says that the team has come to its answer."""
        return super().completed_data() | {"member_responses": self.member_responses}

    def own_dict(self) -> dict[str, Any]:
        """The run as it is stored, without its members'."""
        return super().to_dict()

    def to_dict(self) -> dict[str, Any]:
        """The run as it is stored, with what its members' runs have stored."""
        stored = super().to_dict()
        if self.member_responses:
            stored["member_responses"] = [run.to_dict() for run in self.member_responses]
        return stored

    @classmethod
    def event_from_dict(cls, data: Mapping[str, Any]) -> Any:
        """One of the run's events, as ``to_dict`` gave it."""
        return team_run_output_event_from_dict(data)


def requirements_within(run: RunOutput | TeamRunOutput) -> list[RunRequirement]:
    """What a run within another waits for, marked as its own."""
    found = []
    for one in run.requirements or ():
        if one.member_run_id is None:
            whose = {"member_agent_id": getattr(run, "agent_id", None) or getattr(run, "team_id", None)}
            whose["member_agent_name"] = getattr(run, "agent_name", None) or getattr(run, "team_name", None)
            one = one.model_copy(update={**whose, "member_run_id": run.run_id})
        found.append(one)
    return found


def record_of(run: RunOutput | TeamRunOutput) -> dict[str, Any]:
    """A run within another, as it is stored beside it."""
    record = run.own_dict()
    record.pop("requirements", None)
    return record


def member_run_from_dict(data: Mapping[str, Any]) -> RunOutput | TeamRunOutput:
    """A member's run, as ``to_dict`` gave it."""
    kind = RunOutput if data.get("team_id") is None else TeamRunOutput
    return kind.model_validate(dict(data))
