"""What agent, team and workflow runs share."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from time import time
from typing import Any, ClassVar, Final

from pydantic import BaseModel, Field, PrivateAttr, field_validator, model_validator
from pydantic_core import to_jsonable_python
from typing_extensions import Self

from agno_mongo import media
from agno_mongo.media import Audios, Files, Images, Videos
from agno_mongo.messages import Message, Metrics, StoredModel, plain_data, text_of
from agno_mongo.run.state import StateAdditions


class RunStatus(str, Enum):
    """Where a run stands. The values are stored, in capitals as Agno stores them."""

    pending = "PENDING"
    running = "RUNNING"
    completed = "COMPLETED"
    paused = "PAUSED"
    cancelled = "CANCELLED"
    error = "ERROR"
    interrupted = "INTERRUPTED"
    """The process died during the run: its lease ran out. Derived when the session is read; stored a day later."""
    regenerated = "REGENERATED"


HISTORY_SKIP_STATUSES = (
    RunStatus.pending,
    RunStatus.running,
    RunStatus.paused,
    RunStatus.cancelled,
    RunStatus.error,
    RunStatus.interrupted,
    RunStatus.regenerated,
)
"""Runs that later prompts are not shown: those that never came to an answer."""


class RunInput(StoredModel):
    """What the user gave to ``run()``: text, a list, a dict or messages; and images, sounds, videos and files."""

    input_content: Any = None
    images: Images | None = None
    audios: Audios | None = None
    videos: Videos | None = None
    files: Files | None = None

    def media(self) -> dict[str, list[dict[str, Any]]]:
        """The media as plain values, by the field that holds them."""
        if not media.of(self):
            return {}
        return self.model_dump(exclude_none=True, exclude_defaults=True, include=set(media.NAMES))

    def input_content_string(self) -> str:
        """The input as text: what messages say, each on lines of its own; data as JSON."""
        given = self.input_content
        parts = given if isinstance(given, list) else [given]
        messages = [Message.model_validate(part) if isinstance(part, dict) and "role" in part else part for part in parts]
        if parts and all(isinstance(message, Message) for message in messages):
            return "\n".join(message.get_content_string() for message in messages)
        return "" if given is None else text_of(given)


class BaseRunOutput(StoredModel):
    """The fields of every run's outcome."""

    run_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    parent_run_id: str | None = None
    workflow_id: str | None = None
    input: RunInput | None = None
    content: Any = None
    content_type: str = "str"
    metrics: Metrics | None = None
    metadata: dict[str, Any] | None = None
    session_state: dict[str, Any] | None = None
    status: RunStatus | str = RunStatus.running
    state_conflicts: list[str] | None = Field(default=None, exclude=True)
    """State keys that another run had changed meanwhile, by their path in the document. Not stored."""
    created_at: int = Field(default_factory=lambda: int(time()))

    @field_validator("input", mode="before")
    @classmethod
    def _wrap_input(cls, value: Any) -> Any:
        """Older versions stored the bare input."""
        if value is None or isinstance(value, RunInput) or (isinstance(value, dict) and "input_content" in value):
            return value
        return RunInput(input_content=value)

    @field_validator("status")
    @classmethod
    def _known_status(cls, value: RunStatus | str) -> RunStatus | str:
        """A status of a newer version survives the round trip as text."""
        return RunStatus(value) if value in RunStatus._value2member_map_ else value

    @property
    def is_paused(self) -> bool:
        """True while the run waits for a person."""
        return self.status == RunStatus.paused

    @property
    def is_cancelled(self) -> bool:
        """True when the run was stopped before its answer."""
        return self.status == RunStatus.cancelled

    def get_content_as_string(self, **options: Any) -> str:
        """The answer as text: text as it is, anything else as JSON, made with ``options``; the empty string when there is none."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        if isinstance(self.content, BaseModel):
            return self.content.model_dump_json(exclude_none=True, **options)
        return json.dumps(_jsonable(self.content), **{"ensure_ascii": False, **options})

    def to_json(self, separators: tuple[str, str] | None = None, indent: int | None = 2) -> str:
        """``to_dict`` as JSON text; on one line with ``indent=None``. What has no JSON is shown as text."""
        return json.dumps(_jsonable(self.to_dict()), separators=separators, indent=indent, ensure_ascii=False)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What tells a run at a glance: long texts shortened, of lists how many."""
        for name, value in super().__repr_args__():
            yield name, _at_a_glance(str(name), value)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """The run that ``to_dict`` gave."""
        return cls.model_validate(data)


class MessageRunOutput(BaseRunOutput):
    """A run that talked to a model: it has messages. ``images``, ``audio``, ``videos`` and ``files`` are what its tools made."""

    model: str | None = None
    model_provider: str | None = None
    messages: list[Message] | None = None
    images: Images | None = None
    audio: Audios | None = None
    videos: Videos | None = None
    files: Files | None = None

    _DUMPED_APART: ClassVar[frozenset[str]] = frozenset({"messages", "metrics", "session_state"})
    _keeps_history: bool = PrivateAttr(default=False)

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended where it did, if it did not come to its own end: ``"length"``, ``"content_filter"``, ``"refusal"``, or what the
        provider says. None for a whole answer.
        """
        last = self.messages[-1] if self.messages else None
        return last.finish_reason if last is not None and last.role == "assistant" else None

    def to_dict(self) -> dict[str, Any]:
        """The run as it is stored: its own messages, and the history it was shown only if it is to keep it, or was stored with it."""
        structured = isinstance(self.content, BaseModel)
        stored = self.model_dump(exclude_none=True, exclude={*self._DUMPED_APART, *(("content",) if structured else ())})
        if structured:
            stored["content"] = plain_data(self.content)
        stored["status"] = str(getattr(self.status, "value", self.status))
        if self.messages is not None:
            kept = self.messages if self._keeps_history else [message for message in self.messages if not message.from_history]
            stored["messages"] = [message.to_dict() for message in kept]
        if self.metrics is not None:
            stored["metrics"] = self.metrics.to_dict()
        answered = {message.tool_call_id for message in self.messages or () if message.role == "tool"}
        for tool in stored.get("tools") or ():
            # The message has it; a large result is not stored twice.
            if tool.get("tool_call_id") in answered:
                tool.pop("result", None)
        return stored

    def keep_history(self) -> None:
        """Say that ``to_dict`` is to give the messages of earlier runs too, marked ``from_history``."""
        self._keeps_history = True

    @model_validator(mode="after")
    def _as_it_was_stored(self) -> Self:
        self._restore()
        return self

    def _restore(self) -> None:
        """Take up what ``to_dict`` left to other fields."""
        media.restore(self.input, self.messages or (), self)
        if any(message.from_history for message in self.messages or ()):
            # A run that was stored with its history keeps it when it is stored again.
            self._keeps_history = True
        missing = [tool for tool in getattr(self, "tools", None) or () if tool.result is None and tool.tool_call_id]
        if missing:
            results = {message.tool_call_id: message for message in self.messages or () if message.role == "tool"}
            for tool in missing:
                if tool.tool_call_id in results:
                    tool.result = results[tool.tool_call_id].get_content_string()


def _jsonable(value: Any) -> Any:
    return to_jsonable_python(value, bytes_mode="base64", fallback=str)


class _Shown(str):
    """Text that is shown without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _at_a_glance(name: str, value: Any) -> Any:
    if isinstance(value, Enum):
        return _Shown(value.value)
    if isinstance(value, list):
        return _Shown(f"[{len(value)} {name if len(value) != 1 else name.removesuffix('s')}]")
    if isinstance(value, (str, dict)):
        return _Shown(_SHORT.repr(value))
    return value


_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = 120


@dataclass(kw_only=True)
class RunContext:
    """What a tool, or an instructions function, may know and change of the run it belongs to.

    ``session_state`` is the run's own working copy: change it in place, the changed keys are saved when the run ends. A key that
    another run changes at the same time is a conflict, which the component's ``on_state_conflict`` decides; for counters and lists that
    many runs add to there are ``state.increment(key, by=1)`` and ``state.append(key, *values)``, which lose nothing and never
    conflict with each other. See :class:`~agno_mongo.run.state.StateAdditions`.
    """

    run_id: str
    session_id: str
    user_id: str | None = None
    session_state: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] | None = None
    dependencies: dict[str, Any] | None = None
    messages: list[Message] = field(default_factory=list)
    state: StateAdditions = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.state = StateAdditions(lambda: self.session_state)
