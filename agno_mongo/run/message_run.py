"""The outcome of a run that asked a model: an agent's, a team's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from agno_mongo import media
from agno_mongo.media import Audio, Audios, Files, Images, Videos
from agno_mongo.messages import Message, ToolExecution, plain_data
from agno_mongo.run.base import BaseRunOutput
from agno_mongo.run.events import run_output_event_from_dict
from agno_mongo.run.requirement import RunRequirement, requirements_of
from agno_mongo.run.stored import restored_events, stored_events


class MessageRunOutput(BaseRunOutput):
    """A run that talked to a model: it has messages. ``images``, ``audio``, ``videos`` and ``files`` are what its tools made."""

    model: str | None = None
    model_provider: str | None = None
    messages: list[Message] | None = None
    parent_tool_call_id: str | None = None
    """Which call of the run that this one is within has led to it."""
    reasoning_content: str | None = None
    tools: list[ToolExecution] | None = None
    requirements: list[RunRequirement] | None = None
    """What the run waits for, or has waited for: one for each of ``tools`` that a person is asked about. Not stored beside them."""
    images: Images | None = None
    audio: Audios | None = None
    videos: Videos | None = None
    files: Files | None = None

    # What runs of Agno's may have, and none here.
    citations: Any = None
    references: Any = None
    reasoning_steps: Any = None
    reasoning_messages: Any = None
    followups: Any = None
    additional_input: Any = None
    model_provider_data: Any = None

    _DUMPED_APART: ClassVar[frozenset[str]] = frozenset({"messages", "metrics", "session_state", "events"})
    keeps_history: bool = Field(default=False, exclude=True, repr=False)
    """True if ``to_dict`` gives the messages of earlier runs too. Not stored."""

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended where it did, if it did not come to its own end: ``"length"``, ``"content_filter"``, ``"refusal"``, or what the
        provider says. None for a whole answer.
        """
        last = self.messages[-1] if self.messages else None
        return last.finish_reason if last is not None and last.role == "assistant" else None

    @property
    def response_audio(self) -> Audio | None:
        """The sound of a spoken answer, with its ``transcript``; None for one that was only written. It is the last message's, and stored with it."""
        stored = (self.model_extra or {}).get("response_audio")
        if stored is not None:
            return Audio.from_dict(stored)
        last = self.messages[-1] if self.messages else None
        spoken = None if last is None or last.role != "assistant" else (last.provider_data or {}).get("audio")
        if last is None or not isinstance(spoken, dict):
            return None
        if spoken.get("type") != "audio":
            return Audio(not_stored=str(spoken.get("text")), transcript=last.content)
        own = {name: spoken.get(name) for name in ("id", "expires_at", "format")}
        return Audio(content=spoken.get("data"), transcript=last.content, **own)

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

    def pending_calls(self) -> list[str]:
        """The calls that wait for a person."""
        return sorted(tool.tool_call_id or "" for tool in self.tools or () if tool.is_paused)

    def started_data(self) -> dict[str, Any]:
        """What the event says that the run has begun."""
        return {"model": self.model or "", "model_provider": self.model_provider or ""}

    def paused_data(self) -> dict[str, Any]:
        """What the event says that the run has paused."""
        return {"tools": self.tools, "requirements": self.requirements}

    def completed_data(self) -> dict[str, Any]:
        """What the event says that the run has come to its answer."""
        own = ("reasoning_content", "response_audio", "images", "videos", "audio", "files")
        return super().completed_data() | {name: getattr(self, name) for name in own}

    def close(self) -> None:
        """Say what the run waits for, now that it goes no further."""
        self.requirements = requirements_of(self.tools)

    def to_dict(self) -> dict[str, Any]:
        """The run as it is stored: its own messages, and the history it was shown only if it is to keep it, or was stored with it; of its events,
        what the run does not say elsewhere. While it is paused, with its ``requirements``, for whoever is to answer.
        """
        structured = isinstance(self.content, BaseModel)
        stored = self.model_dump(exclude_none=True, exclude={*self._DUMPED_APART, *(("content",) if structured else ())})
        if structured:
            stored["content"] = plain_data(self.content)
        stored["status"] = str(getattr(self.status, "value", self.status))
        if self.messages is not None:
            kept = self.messages if self.keeps_history else [message for message in self.messages if not message.from_history]
            stored["messages"] = [message.to_dict() for message in kept]
        if self.metrics is not None:
            stored["metrics"] = self.metrics.to_dict()
        for index, _ in self._told():
            # The message has it; a large result is not stored twice.
            stored["tools"][index].pop("result", None)
        if not self.is_paused:
            stored.pop("requirements", None)
        if self.events is not None:
            stored["events"] = stored_events(self, self.events)
        return stored

    def _told(self) -> Iterator[tuple[int, Message]]:
        """Which of the tools the model was told the result of, by their places, and the message with it. Calls of one id, which older runs may have, are
        told apart by their order. One that waits has none.
        """
        results: dict[str, deque[Message]] = {}
        for message in self.messages or () if self.tools else ():
            if message.role == "tool" and message.tool_call_id and not message.from_history:
                results.setdefault(message.tool_call_id, deque()).append(message)
        for index, tool in enumerate(self.tools or ()):
            if not tool.is_paused and (of_id := results.get(tool.tool_call_id or "")):
                yield index, of_id.popleft()

    def keep_history(self) -> None:
        """Say that ``to_dict`` is to give the messages of earlier runs too, marked ``from_history``."""
        self.keeps_history = True

    @model_validator(mode="after")
    def _as_it_was_stored(self) -> Self:
        self._restore()
        return self

    def _restore(self) -> None:
        """Take up what ``to_dict`` left to other fields."""
        messages = self.messages or ()
        media.restore(self.input, messages, self)
        if any(message.from_history for message in messages):
            # A run that was stored with its history keeps it when it is stored again.
            self.keeps_history = True
        if self.tools:
            for index, message in self._told():
                if self.tools[index].result is None:
                    self.tools[index].result = message.get_content_string()
            if self.requirements is None:
                self.requirements = requirements_of(self.tools)
        if self.events:
            self.events = restored_events(self, self.events, self.event_from_dict)

    @classmethod
    def event_from_dict(cls, data: Mapping[str, Any]) -> Any:
        """One of the run's events, as ``to_dict`` gave it."""
        return run_output_event_from_dict(data)
