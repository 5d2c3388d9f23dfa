"""What people give an agent to say, as messages: the input of a run, and examples. Nothing here knows of a run that goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import Message, is_message, plain_data, text_of

Instructions: TypeAlias = str | Sequence[str] | Callable[..., Any]
SystemMessage: TypeAlias = str | Message | Callable[..., Any]
Example: TypeAlias = str | Message | BaseModel | Mapping[str, Any]


def checked_system_message(name: str, given: Any) -> SystemMessage | None:
    """Text, a Message, a function that gives either, or None; else ConfigurationError."""
    if given is None or isinstance(given, (str, Message)) or callable(given):
        checked: SystemMessage | None = given
        return checked
    raise ConfigurationError(f"{name}= takes text, a Message or a function, not {checks.typed(given)}")


def examples(name: str, given: Any) -> list[Message] | None:
    """Messages that every run is shown, of texts, messages, dicts and models, each what it would be as the input of a run.

    Raises ConfigurationError, with the place in the list, for what is no message.
    """
    if given is None:
        return None
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Sequence):
        raise ConfigurationError(f"{name}= takes a list of messages, not {checks.typed(given)}")
    return [message for index, part in enumerate(given) for message in _example(f"{name}[{index}]", part)]


def _example(name: str, part: Any) -> list[Message]:
    if isinstance(part, Mapping) and "role" not in part:
        raise ConfigurationError(f"{name} is a message without a role: a dict with {sorted(map(str, part))[:8]}")
    if not isinstance(part, (str, Mapping, BaseModel)):
        raise ConfigurationError(f"{name} is text, a Message, a dict or a pydantic model, not {checks.typed(part)}")
    try:
        return [Message.model_validate(dict(part))] if isinstance(part, Mapping) else user_messages(part)
    except ValidationError as error:
        raise ConfigurationError(f"{name} is no message: {error}") from error


def user_messages(given: Any, *, role: str = "user") -> list[Message]:
    """The input of a run as messages: text, a message, a list of messages, or plain data as JSON. ``role`` is whose words text and data are.

    Raises ConfigurationError for None, which is no input.
    """
    if given is None:
        raise ConfigurationError("a run needs an input; None was given")
    parts = given if isinstance(given, list) else [given]
    if parts and all(is_message(part, role) for part in parts):
        return [part if isinstance(part, Message) else Message.model_validate(dict(part)) for part in parts]
    return [Message(role=role, content=_text_of_input(given))]


def _text_of_input(given: Any) -> str:
    """Texts in a list stand on lines of their own; other data is JSON."""
    if isinstance(given, list) and given and all(isinstance(part, str) for part in given):
        return "\n".join(given)
    return text_of(given)


def stored_input(given: Any) -> Any:
    """The input as it is stored: text as it is, models and messages, also in a list, as plain data."""
    if isinstance(given, (list, tuple)):
        return [_as_data(part) for part in given]
    return _as_data(given)


def _as_data(part: Any) -> Any:
    if isinstance(part, Message):
        return part.to_dict()
    return plain_data(part, exclude_none=True) if isinstance(part, BaseModel) else part
