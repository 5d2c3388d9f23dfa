"""What passes between user, model and tools: messages, tool executions, metrics.

Field names are Agno's, so that what is stored reads the same to its UI, its exports and its users' queries.
Fields of other versions that these models do not know are kept as they are.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256
from time import time
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator
from typing_extensions import Self

from agno_mongo.ids import new_id
from agno_mongo.media import NAMES, Audios, Files, Images, Media, Videos
from agno_mongo.media import of as media_of

_STORED = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())


class StoredModel(BaseModel):
    """Base of everything that is stored in a session: tolerant of unknown fields, silent about empty ones."""

    model_config = _STORED

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What is worth showing: no fields that are empty or say what they say by default."""
        defaults = {name: info.default for name, info in type(self).model_fields.items()}
        for name, value in super().__repr_args__():
            if value is not None and (name is None or value != defaults.get(name)):
                yield name, value

    def to_dict(self) -> dict[str, Any]:
        """The model as plain Python values, without the fields that are None."""
        return self.model_dump(exclude_none=True)

    def to_json(self, *, indent: int | None = 2) -> str:
        """The model as JSON text, without the fields that are None."""
        return self.model_dump_json(exclude_none=True, indent=indent)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """What ``to_dict`` gave, in its class again."""
        return cls.model_validate(dict(data))


class Metrics(StoredModel):
    """Tokens and times of a message, a run or a session. Times are in seconds."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    audio_total_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None
    details: Any = None
    additional_metrics: dict[str, Any] | None = None
    provider_metrics: dict[str, Any] | None = None
    duration: float | None = None
    time_to_first_token: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The counters that are not zero: a stored message does not carry ten zeros."""
        return {name: value for name, value in self.model_dump(exclude_none=True).items() if value != 0}

    def counters(self) -> dict[str, float]:
        """What adds up over the runs of a session: the tokens, and the cost if there is one."""
        counters: dict[str, float] = {name: getattr(self, name) for name in TOKEN_COUNTERS}
        return counters | ({"cost": self.cost} if self.cost else {})

    def add(self, other: Metrics) -> None:
        """Count ``other``'s tokens and cost here too. Times are not tokens and are left alone."""
        for name in TOKEN_COUNTERS:
            if tokens := getattr(other, name):
                setattr(self, name, getattr(self, name) + tokens)
        if other.cost is not None:
            self.cost = (self.cost or 0.0) + other.cost

    def __add__(self, other: Metrics) -> Metrics:
        total = Metrics()
        total.add(self)
        total.add(other)
        took = [part.duration for part in (self, other) if part.duration is not None]
        total.duration = sum(took) if took else None
        return total

    def __radd__(self, other: Metrics | int) -> Metrics:
        # sum() begins with 0.
        return (Metrics() if isinstance(other, int) else other) + self


TOKEN_COUNTERS = tuple(name for name in Metrics.model_fields if name.endswith("_tokens"))


class Message(StoredModel):
    """One message of a conversation, as it is sent to the model and as it is stored.

    ``role`` is ``system``, ``user``, ``assistant`` or ``tool``; ``content`` is text or a list of OpenAI content
    parts; ``tool_calls`` have OpenAI's shape. ``images``, ``audio``, ``videos`` and ``files`` go with the content.
    ``from_history`` marks a message that an earlier run owns: it is shown to the model and not stored again. ``misfit`` marks an answer that does not fit
    its schema, and what the model was told of it: later prompts, chat history, search and summaries leave both out. ``finish_reason`` says why an
    answer ended where it did, if that is not its own end or a tool call; ``provider_data`` is what its provider wants to see again.
    """

    id: str = Field(default_factory=new_id)
    role: str
    content: str | list[Any] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    images: Images | None = None
    audio: Audios | None = None
    videos: Videos | None = None
    files: Files | None = None
    reasoning_content: str | None = None
    provider_data: dict[str, Any] | None = None
    finish_reason: str | None = None
    tool_name: str | None = None
    tool_args: Any | None = None
    tool_call_error: bool | None = None
    stop_after_tool_call: bool = False
    from_history: bool = False
    misfit: bool = False
    metrics: Metrics | None = None
    created_at: int = Field(default_factory=lambda: int(time()))

    @property
    def media(self) -> list[Media]:
        """Its images, sounds, videos and files."""
        return media_of(self)

    def without_media(self) -> Message:
        """The message without its images, sounds, videos and files; itself where it has none."""
        return self.model_copy(update=dict.fromkeys(NAMES & type(self).model_fields.keys())) if self.media else self

    def get_content_string(self) -> str:
        """The content as text: a list of parts gives the text of its text parts."""
        if isinstance(self.content, str):
            return self.content
        texts = (part.get("text") if isinstance(part, dict) else part for part in self.content or [])
        return "".join(text for text in texts if isinstance(text, str))

    def to_dict(self) -> dict[str, Any]:
        """The message as it is stored: no empty fields, no flags that say no."""
        # Comparing each field with its default, and leaving one out, would each take as long again as all of the rest.
        stored = self.model_dump(exclude_none=True)
        for flag in _FLAGS:
            if stored.get(flag) is False:
                del stored[flag]
        for name in NAMES & stored.keys():
            stored[name] = [medium.model_dump(exclude_none=True, exclude_defaults=True) for medium in getattr(self, name)]
        stored.pop("metrics", None)
        if self.metrics is not None and (metrics := self.metrics.to_dict()):
            stored["metrics"] = metrics
        return stored


_FLAGS: Final = ("stop_after_tool_call", "from_history", "misfit")

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
"""Who may speak in a message that is given as a dict."""

_SAYING: Final = NAMES & Message.model_fields.keys() | {"content", "tool_calls", "function_call", "reasoning_content"}
_OF_OTHERS: Final = frozenset(
    {
        *("annotations", "function_call", "refusal"),
        *("add_to_agent_memory", "audio_output", "checkpoint_created_at", "checkpoint_status", "citations", "compressed_content"),
        *("file_output", "image_output", "redacted_reasoning_content", "references", "temporary", "video_output"),
    }
)
"""Fields of messages of OpenAI's, and of Agno's, which these do not have."""

_FIELDS: Final = Message.model_fields.keys() | _OF_OTHERS


def is_message(value: Any, role: str = "user") -> bool:
    """True for a Message, and for a dict that is one: with the role of one, ``role`` too, with something said, and with nothing else in it.

    Any other dict is data, which may have a key ``role`` of its own.
    """
    if not isinstance(value, Mapping):
        return isinstance(value, Message)
    known = isinstance(value.get("role"), str) and value["role"] in {*ROLES, role}
    return known and value.keys() <= _FIELDS and not _SAYING.isdisjoint(value)


class UserInputField(StoredModel):
    """A parameter of a tool that a person fills in, or may change: ``value`` is what the model gave, until then.

    ``field_type`` is a Python type, or the text of an annotation that is more than one. A field that is not ``required`` may stay
    None: the function has a default for it.
    """

    name: str
    field_type: Any = str
    description: str | None = None
    value: Any = None
    required: bool = True

    @field_validator("name", mode="before")
    @classmethod
    def _name_of_nothing(cls, value: Any) -> Any:
        """Where a model has made up the fields, Agno may have stored one without a name."""
        return "" if value is None else value

    @field_validator("field_type", mode="before")
    @classmethod
    def _type_of_name(cls, value: Any) -> Any:
        return _FIELD_TYPES.get(value, value) if isinstance(value, str) else value

    @field_serializer("field_type")
    def _name_of_type(self, value: Any) -> str:
        return value.__name__ if isinstance(value, type) else str(value)


_FIELD_TYPES = {kind.__name__: kind for kind in (str, int, float, bool, list, dict)}


class ToolExecution(StoredModel):
    """One call of a tool: who was called with what, and what came of it.

    ``requires_confirmation``, ``requires_user_input`` and ``external_execution_required`` are True while the call waits for a person,
    False once it has been answered, None where nobody was to be asked. ``shown`` is True if the result is part of the run's answer, or the text that is
    in its place.
    """

    tool_call_id: str | None = None
    tool_name: str | None = None
    tool_args: dict[str, Any] | None = None
    tool_call_error: bool | None = None
    result: str | None = None
    metrics: Metrics | None = None
    child_run_id: str | None = None
    stop_after_tool_call: bool = False
    shown: bool | str | None = None
    created_at: int = Field(default_factory=lambda: int(time()))
    requires_confirmation: bool | None = None
    confirmed: bool | None = None
    confirmation_note: str | None = None
    requires_user_input: bool | None = None
    user_input_schema: list[UserInputField] | None = None
    answered: bool | None = None
    external_execution_required: bool | None = None
    external_execution_silent: bool | None = None

    @field_serializer("metrics")
    def _metrics_that_count(self, value: Metrics | None) -> dict[str, Any] | None:
        """A stored call does not carry nine zeros."""
        return None if value is None else value.to_dict()

    @property
    def is_paused(self) -> bool:
        """True while the call waits for a person."""
        return bool(self.requires_confirmation or self.requires_user_input or self.external_execution_required)

    @property
    def was_asked(self) -> bool:
        """True if the call waits for a person, or did before it went on."""
        return not (self.requires_confirmation is self.requires_user_input is self.external_execution_required is None)


def without_media(value: Any) -> Any:
    """A message, an input or another plain value with a note in the place of media: images, sounds and files whose bytes it carries.

    A part of a message's content that carries some becomes a text part, ``[image/png, 31457280 bytes, sha256 9f2c…: not stored]``, which a
    model can be sent in its place; bytes elsewhere, and ``data:`` addresses within texts, become that text. Of an Image and its like the note takes
    the place of ``content``, as ``not_stored``. ``http`` addresses and ids of files stay as they are. The value itself is not changed.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _note("bytes", bytes(value))
    if isinstance(value, (list, tuple)):
        return [without_media(part) for part in value]
    if isinstance(value, str) and "base64," in value:
        return _EMBEDDED.sub(lambda found: _note(found[1] or "text/plain", _from_base64(found[2])), value)
    if not isinstance(value, dict):
        return value
    note = _note_of_part(value)
    if note is not None:
        return {"type": "text", "text": note}
    return {key: _media_noted(part) if key in NAMES else without_media(part) for key, part in value.items()}


def _media_noted(parts: Any) -> Any:
    """A list of media as plain values, less their bytes."""
    if not isinstance(parts, list):
        return without_media(parts)
    noted = []
    for part in parts:
        rest = dict(part) if isinstance(part, dict) else {}
        data = rest.pop("content", None)
        if not isinstance(data, bytes):
            noted.append(without_media(part))
            continue
        noted.append({**rest, "not_stored": _note(rest.get("mime_type") or "bytes", data)})
    return noted


def _note_of_part(part: dict[str, Any]) -> str | None:
    """The note that stands for a content part, if the part carries the bytes of media."""
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _MEDIA_PARTS:
        return None
    inner = part.get(kind, part.get("source", part))
    fields = inner if isinstance(inner, dict) else {"url": inner}
    for name in _MEDIA_FIELDS:
        data = fields.get(name)
        if isinstance(data, (bytes, bytearray, memoryview)):
            return _note(_media_type(kind, fields), bytes(data))
        if isinstance(data, str) and (found := _DATA_URL.match(data)):
            encoded = data[found.end() :]
            return _note(found[1] or "text/plain", _from_base64(encoded) if found[2] else unquote_to_bytes(encoded))
        if isinstance(data, str) and name in {"data", "file_data"}:
            return _note(_media_type(kind, fields), _from_base64(data))
    return None


def _media_type(kind: str, fields: dict[str, Any]) -> str:
    given = fields.get("mime_type") or fields.get("media_type")
    if not given and isinstance(fields.get("format"), str):
        given = f"{'audio' if 'audio' in kind else kind.partition('_')[0]}/{fields['format']}"
    return given if isinstance(given, str) else kind


def _from_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=False)
    except ValueError:
        return text.encode(errors="surrogatepass")


def _note(media_type: str, data: bytes) -> str:
    return f"[{media_type}, {len(data)} bytes, sha256 {sha256(data).hexdigest()}: not stored]"


_MEDIA_PARTS = frozenset(
    {"image_url", "input_image", "image", "input_audio", "audio", "file", "input_file", "video_url", "video"}
)
_MEDIA_FIELDS = ("url", "image_url", "data", "file_data", "content")
_EMBEDDED = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,([A-Za-z0-9+/=_-]{64,})", re.IGNORECASE)
"""Bytes within a text: in Markdown, in HTML, in the JSON of a tool's result."""

_DATA_URL = re.compile(r"\s*data:([^,;]*)(?:;(?!base64)[^,;]*)*(;base64)?,", re.IGNORECASE)


def text_of(value: Any) -> str:
    """A value as text for the model: text as it is, pydantic models, dataclasses and plain data as JSON, what has no JSON by ``str``. Models have
    the names there under which they are stored.

    It always gives one: of a value that cannot even be shown, the name of its type.
    """
    if isinstance(value, str):
        return value
    for write in (_json, str):
        try:
            return write(value)
        except Exception:  # noqa: BLE001, S112 - whatever the code of somebody's class raises
            continue
    return f"<{type(value).__qualname__}>"


def readable(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, which UTF-8 has no code for; two that belong together become their character."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def plain_data(model: BaseModel, *, exclude_none: bool = False) -> Any:
    """A pydantic model as it is stored: in JSON's types, under the names by which it can be read back. Text, where its class cannot be dumped."""
    try:
        return model.model_dump(mode="json", by_alias=True, exclude_none=exclude_none)
    except Exception:  # noqa: BLE001 - whatever the serializers of somebody's class raise
        return text_of(model)


def _json(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json(by_alias=True, exclude_none=True)
    return json.dumps(value, ensure_ascii=False, default=_within_data)


def _within_data(value: Any) -> Any:
    """What stands among plain data and is none."""
    if isinstance(value, BaseModel):
        return plain_data(value, exclude_none=True)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return str(value)
