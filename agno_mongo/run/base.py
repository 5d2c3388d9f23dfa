"""What agent, team and workflow runs share."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib import import_module
from time import time
from typing import Any, ClassVar, Final

from pydantic import BaseModel, Field, field_validator
from pydantic_core import to_jsonable_python

from agno_mongo import media
from agno_mongo.media import Audios, Files, Images, Videos
from agno_mongo.messages import Message, Metrics, StoredModel, is_message, text_of
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
        if parts and all(map(is_message, parts)):
            return "\n".join(Message.model_validate(part).get_content_string() for part in parts)
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
    events: list[Any] | None = None
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

    goes_on_with_outer: ClassVar[bool] = False
    """True if a run of this kind that paused within another begins anew when that one goes on, from what had finished."""

    EVENT_KINDS: ClassVar[Mapping[type, type]] = {}
    """The run's own events, by those of an agent that stand for them; an agent's has none."""

    went_on: bool = Field(default=False, exclude=True, repr=False)
    """True once somebody has gone on with this very object. Not stored; no private attribute, which pydantic takes as long to make as ten fields."""

    @property
    def may_go_on(self) -> bool:
        """True while the run waits, and nobody has gone on with this very object: where no database knows of it."""
        return self.is_paused and not self.went_on

    def goes_on(self) -> None:
        """Say that somebody has gone on with this object."""
        self.went_on = True

    def event_ids(self) -> dict[str, str]:
        """What every event of this run says of whose it is."""
        ids = {"run_id": self.run_id or "", "session_id": self.session_id or ""}
        return ids if self.parent_run_id is None else {**ids, "parent_run_id": self.parent_run_id}

    def started_data(self) -> dict[str, Any]:
        """What the event says that the run has begun."""
        return {}

    def paused_data(self) -> dict[str, Any]:
        """What the event says that the run has paused."""
        return {}

    def completed_data(self) -> dict[str, Any]:
        """What the event says that the run has come to its answer."""
        return {name: getattr(self, name) for name in ("content", "content_type", "metadata", "metrics")}

    def past_parts(self) -> dict[str, Any]:
        """What a paused run goes on from, beside its messages, where there is no database."""
        return {}

    def close(self) -> None:
        """Put in order what is to be stored, now that the run goes no further."""

    @classmethod
    def with_inner(cls, record: dict[str, Any], inner: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is stored: the records of the runs within this one, and its own. Each before the run that it belongs to."""
        return [*(given_up(one) for one in inner), record]

    def pending_calls(self) -> list[str]:
        """The calls that wait for a person, in this run and in those within it."""
        return []

    def own_dict(self) -> dict[str, Any]:
        """The run as it is stored, without the runs within it."""
        return self.to_dict()

    def inner_records(self) -> list[dict[str, Any]]:
        """The runs within this one, as far as the run itself has them, each before the one that it belongs to."""
        return []

    @classmethod
    def inner_fields(cls, run_id: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: ARG003 - for runs that have them
        """What the run that is not finished has of the runs within it, by its fields."""
        return {}

    def take_media_of_inner(self) -> None:
        """Take over what the runs within it made that had ended before this one went on."""

    def keep_history(self) -> None:
        """Say that ``to_dict`` is to give the messages of earlier runs too. A run without messages has none."""

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


def given_up(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a run within another that has ended: it waits for nobody any more."""
    waits = record.get("status") == RunStatus.paused.value
    return {**record, "status": RunStatus.cancelled.value} if waits else record


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
    conflict with each other. See :class:`~agno_mongo.run.state.StateAdditions`. ``workflow_id`` and ``workflow_name`` are those of the workflow that
    the run is, or is within.
    """

    run_id: str
    session_id: str
    user_id: str | None = None
    session_type: str = "agent"
    session_state: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] | None = None
    dependencies: dict[str, Any] | None = None
    messages: list[Message] = field(default_factory=list)
    workflow_id: str | None = None
    workflow_name: str | None = None
    state: StateAdditions = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.state = StateAdditions(lambda: self.session_state)


def __getattr__(name: str) -> Any:
    # Agno's import path for what stands above this module here.
    if name == "BaseRunOutputEvent":
        return import_module("agno_mongo.run.events").BaseRunOutputEvent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
