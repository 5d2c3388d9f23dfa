"""What a setting may be: each check gives the value back, or raises ConfigurationError with the setting's name and what was given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agno_mongo.errors import ConfigurationError

ValueT = TypeVar("ValueT")
ChoiceT = TypeVar("ChoiceT", bound=str)


def shown(value: Any) -> str:
    """What was given, for the text of an error: a number, or a short word, as it is; of all else the type. It may be large, or a secret."""
    return repr(value) if _is_plain(value) else _kind_of(value)


def typed(value: Any) -> str:
    """The type of what was given, and what it was, if that can be shown."""
    return f"{_kind_of(value)}: {value!r}" if _is_plain(value) else _kind_of(value)


def _kind_of(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _SHORT and _WORDS.fullmatch(value) is not None and not value.startswith("sk-")
    return value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < _LARGE)


_SHORT: Final = 60
_LARGE: Final = 10**20
_WORDS: Final = re.compile(r"(?!.*://)[\w .,:;/+!?'-]*")
"""Text without what addresses with passwords, keys of dicts and code have."""


def instance_of(name: str, value: ValueT, *kinds: type) -> ValueT:
    """A value of one of ``kinds``, or None."""
    if value is not None and not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigurationError(f"{name}= takes {wanted}, not {typed(value)}")
    return value


def flag(name: str, value: bool) -> bool:
    """True or False, and not what merely counts as one."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name}= takes True or False, not {shown(value)}")
    return value


def count(name: str, value: int | None, *, least: int = 1) -> int | None:
    """A whole number from ``least``, or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ConfigurationError(f"{name} is a whole number from {least}, not {shown(value)}")
    return value


def seconds(name: str, value: float) -> float:
    """A number of seconds, zero included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ConfigurationError(f"{name} is a number of seconds, not {shown(value)}")
    return value


def one_of(name: str, value: ChoiceT, known: tuple[ChoiceT, ...]) -> ChoiceT:
    """One of the words of ``known``."""
    if value not in known:
        raise ConfigurationError(f"{name} is one of {', '.join(map(repr, known))}, not {shown(value)}")
    return value


def mapping(name: str, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A dict of one's own, or None."""
    return None if instance_of(name, value, Mapping) is None else dict(value or {})


def time_limit(name: str, value: float | None) -> float | None:
    """A number of seconds above zero, or None for no limit."""
    if value is not None and not seconds(name, value):
        raise ConfigurationError(f"{name} is a number of seconds above zero, not {shown(value)}")
    return value


def called(name: str, value: Any) -> Any:
    """A function, or None."""
    if value is not None and not callable(value):
        raise ConfigurationError(f"{name} is a function, not {typed(value)}")
    return value


def functions(name: str, value: Any) -> list[Any] | None:
    """A list of functions of one's own, or None."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigurationError(f"{name}= takes a list of functions, not {typed(value)}")
    return [called(name, function) for function in value]


def id_of(name: str) -> str:
    """An id made of a name: its letters and digits, of whatever script, in small letters, with dashes for all between them. It may be empty."""
    return re.sub(r"[\W_]+", "-", name.lower()).strip("-")


def text(name: str, value: str | None) -> str | None:
    """Text, or None."""
    return instance_of(name, value, str)


def role(name: str, value: str) -> str:
    """Who speaks in a message: text of at least one character."""
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{name}= takes the name of a role, such as 'user', not {shown(value)}")
    return value


@cache
def zone(name: str) -> ZoneInfo:
    """The time zone of that name. Reads a small file the first time."""
    return ZoneInfo(name)


def time_zone(name: str, value: str | None) -> str | None:
    """The name of a time zone that this system knows, or None."""
    if value is None:
        return None
    try:
        zone(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise ConfigurationError(
            f"{name}= takes the name of a time zone, such as 'Europe/Rome', not {shown(value)}; a system that knows none needs the package tzdata"
        ) from error
    return value
