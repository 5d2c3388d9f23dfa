"""Between the user's values and BSON's, both ways, without losing or guessing.

BSON's own types stay what they are: text, 64-bit integers, floats, booleans, None, bytes, datetimes, ``Decimal``, ``UUID``,
lists and dicts. Tuples and sets become lists, enums their value, pydantic models and dataclasses dicts. Anything else is
an :class:`~agno_mongo.errors.UnstorableValueError` that names the path.

Keys. MongoDB reads ``.`` in a path as a step down and a leading ``$`` as an operator, mongomock takes any ``$`` in a path for one,
and the driver turns a dict with ``$ref`` and ``$id`` into a DBRef. So these characters are stored percent-encoded (``a.b`` as
``a%2Eb``, ``$x`` as ``%24x``, the empty key as ``%00``) and decoded on reading. Every other key is stored as it is.

Datetimes come back aware, in UTC, to the millisecond, which is what BSON keeps: the rest is cut off, never rounded up. A naive
one is taken to be UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from decimal import Decimal, DecimalException
from enum import Enum
from typing import Any
from uuid import UUID

from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import ALL_UUID_SUBTYPES, UUID_SUBTYPE
from pydantic import BaseModel

from agno_mongo.errors import UnstorableValueError
from agno_mongo.messages import readable

MAX_DEPTH = 90
"""Levels of nesting that a value may have. The server takes 180; the rest is ours and its own."""

_INT64_END = 2**63
_ENCODED_KEY = re.compile(r"%(2E|24|25|00)")
_DECODED = {"2E": ".", "24": "$", "25": "%", "00": ""}
_UUID_BYTES = 16
_SHOWN = 80
_PATH_SHOWN = 300


class _UnstorableError(Exception):
    """A value that cannot be stored, on its way up; each level adds its own step to the path."""

    def __init__(self, reason: str, value: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.value = value
        self.steps: list[str] = []


def encode(value: Any, *, path: str) -> Any:
    """``value`` as BSON can hold it, a copy through and through.

    Raises UnstorableValueError naming the place below ``path``.
    """
    try:
        return _encode(value, 0)
    except _UnstorableError as unstorable:
        raise _public_error(unstorable, path) from None


def encode_lenient(value: Mapping[str, Any], *, path: str) -> tuple[dict[str, Any], list[UnstorableValueError]]:
    """Like :func:`encode`, but a part that cannot be stored becomes None and its error is returned instead of raised.

    A text with lone surrogates keeps all its other characters.

    For the record of a run that has already happened: it is kept, less what has no place, and the caller is told.
    """
    errors: list[UnstorableValueError] = []
    return _encode_parts(value, path, errors, ()), errors


def _encode_parts(value: Any, path: str, errors: list[UnstorableValueError], inside: tuple[int, ...]) -> Any:
    """``inside`` are the ids of the dicts and lists around ``value``."""
    try:
        if id(value) in inside:
            raise _UnstorableError("a value that contains itself", type(value).__name__)
        return _encode(value, len(inside))
    except _UnstorableError as unstorable:
        inside = (*inside, id(value))
        if isinstance(value, dict) and unstorable.steps and all(isinstance(key, str) for key in value):
            named = {_name_of(key): part for key, part in value.items()}
            kept = {key: part for key, part in named.items() if _storable_key(key, f"{path}.{key}", errors)}
            return {encode_key(key): _encode_parts(part, f"{path}.{key}", errors, inside) for key, part in kept.items()}
        if isinstance(value, (list, tuple)) and unstorable.steps:
            return [_encode_parts(part, f"{path}[{index}]", errors, inside) for index, part in enumerate(value)]
        errors.append(_public_error(unstorable, path))
        return readable(value) if isinstance(value, str) else None


def _storable_key(key: str, path: str, errors: list[UnstorableValueError]) -> bool:
    try:
        encode_key(key)
    except _UnstorableError as unstorable:
        errors.append(_public_error(unstorable, path))
        return False
    return True


def _public_error(unstorable: _UnstorableError, path: str) -> UnstorableValueError:
    where = path + "".join(reversed(unstorable.steps))
    shown = where if len(where) <= _PATH_SHOWN else f"{where[:_PATH_SHOWN]}…"
    message = f"{shown} cannot be stored: {unstorable.reason}: {_shown(unstorable.value)}"
    return UnstorableValueError(message, path=where, value=unstorable.value)


def _shown(value: Any) -> str:
    """The beginning of what ``ascii`` makes of the value; its type where that fails, as it may for anybody's class."""
    try:
        shown = ascii(value)
    except Exception:  # noqa: BLE001 - the error that is being reported must not get lost in another
        return f"<{type(value).__qualname__}>"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def encode_key(key: str) -> str:
    """A key as it may stand in a document and in an update's path."""
    if "\x00" in key:
        raise _UnstorableError("a key with a NUL character", key)
    if not key.isascii():
        _check_text(key)
    if "%" in key:
        key = _ENCODED_KEY.sub(r"%25\1", key)
    if "." in key:
        key = key.replace(".", "%2E")
    if "$" in key:
        key = key.replace("$", "%24")
    return key or "%00"


def _name_of(key: str) -> str:
    """The key as plain text. A str enum is text, but its ``str()`` is not its value."""
    return key if type(key) is str else str.__str__(key.value if isinstance(key, Enum) else key)


def decode_key(key: str) -> str:
    """The key that :func:`encode_key` was given."""
    return _ENCODED_KEY.sub(lambda match: _DECODED[match[1]], key) if "%" in key else key


def _check_text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            reason = f"text with a lone surrogate at character {error.start}, which UTF-8 has no code for"
            raise _UnstorableError(reason, text) from None
    return text


def _encode(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise _UnstorableError(f"nested deeper than {MAX_DEPTH} levels, or containing itself", type(value).__name__)
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        encoder = _encoder_by_base(value)
    return encoder(value, depth)


def _encode_dict(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    stored = {}
    for key, part in value.items():
        if not isinstance(key, str):
            raise _UnstorableError(f"a key of type {type(key).__name__}; keys are text", key)
        try:
            # Nearly all keys are identifiers, which have no character that is encoded, and nearly all values are text.
            name = key if type(key) is str and key.isidentifier() else encode_key(_name_of(key))
            kind = type(part)
            as_it_is = kind in _AS_THEY_ARE or (kind is str and part.isascii())
            stored[name] = part if as_it_is else _encode(part, depth + 1)
        except _UnstorableError as unstorable:
            unstorable.steps.append(f".{_name_of(key)}")
            raise
    return stored


def _encode_list(value: Any, depth: int) -> list[Any]:
    stored = []
    for index, part in enumerate(value):
        try:
            stored.append(part if type(part) in _AS_THEY_ARE else _encode(part, depth + 1))
        except _UnstorableError as unstorable:
            unstorable.steps.append(f"[{index}]")
            raise
    return stored


def _encode_binary(value: Binary, _depth: int) -> Binary:
    # PyMongo before 4.20 writes such a one and then cannot read it, nor the document around it.
    if value.subtype in ALL_UUID_SUBTYPES and len(value) != _UUID_BYTES:
        raise _UnstorableError(
            f"a binary of subtype {value.subtype}, a UUID, that has {len(value)} bytes, not {_UUID_BYTES}", value
        )
    return value


def _encode_int(value: int, _depth: int) -> int:
    number = int(value)
    if not -_INT64_END <= number < _INT64_END:
        raise _UnstorableError("an integer of more than 64 bits", value)
    return number


def _encode_decimal(value: Decimal, _depth: int) -> Decimal128:
    try:
        return Decimal128(value)
    except DecimalException:
        raise _UnstorableError("a Decimal of more than 34 digits, or too large or small for Decimal128", value) from None


def _encode_datetime(value: datetime, _depth: int) -> datetime:
    try:
        utc = value if value.utcoffset() is None else value.astimezone(timezone.utc)
    except OverflowError:
        raise _UnstorableError("a datetime that falls outside the years 1 to 9999 in UTC", value) from None
    # Made anew: a subclass's instance (pandas', pendulum's) would stay one.
    cut_off = utc.microsecond // 1000 * 1000
    return datetime(utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, cut_off)  # noqa: DTZ001 - BSON's are naive


def _encode_dataclass(value: Any, depth: int) -> dict[str, Any]:
    return _encode_dict({entry.name: getattr(value, entry.name) for entry in fields(value)}, depth)


def _encode_model(value: BaseModel, depth: int) -> dict[str, Any]:
    try:
        dumped = value.model_dump()
    except (ValueError, TypeError, RecursionError) as error:
        raise _UnstorableError(f"a pydantic model that cannot be dumped ({_shown(error)})", type(value).__qualname__) from error
    return _encode_dict(dumped, depth)


def _keep(value: Any, _depth: int) -> Any:
    return value


_AS_THEY_ARE: frozenset[type] = frozenset(
    {bool, type(None), float, ObjectId, Decimal128, bytes, Code, MaxKey, MinKey, Regex, Timestamp}
)
_Encoder = Callable[[Any, int], Any]
_ENCODERS: dict[type, _Encoder] = {
    str: lambda value, _depth: _check_text(value),
    **dict.fromkeys(_AS_THEY_ARE, _keep),
    int: _encode_int,
    dict: _encode_dict,
    list: _encode_list,
    tuple: _encode_list,
    datetime: _encode_datetime,
    Decimal: _encode_decimal,
    UUID: lambda value, _depth: Binary(value.bytes, UUID_SUBTYPE),
}
_ENCODERS_BY_BASE: tuple[tuple[type | tuple[type, ...], _Encoder], ...] = (
    (Enum, lambda value, depth: _encode(value.value, depth)),
    (BaseModel, _encode_model),
    (Mapping, _encode_dict),
    ((list, tuple, set, frozenset), _encode_list),
    (str, lambda value, _depth: _check_text(str.__str__(value))),
    (int, _encode_int),
    (float, lambda value, _depth: float(value)),
    (datetime, _encode_datetime),
    (Decimal, _encode_decimal),
    (UUID, lambda value, _depth: Binary(value.bytes, UUID_SUBTYPE)),
    (Binary, _encode_binary),
    ((bytes, bytearray, memoryview), lambda value, _depth: bytes(value)),
)


def _encoder_by_base(value: Any) -> _Encoder:
    for base, encoder in _ENCODERS_BY_BASE:
        if isinstance(value, base):
            return encoder
    if is_dataclass(value) and not isinstance(value, type):
        return _encode_dataclass
    raise _UnstorableError(f"a value of type {type(value).__qualname__}, which BSON does not have", value)


def decode(value: Any) -> Any:
    """The value that :func:`encode` was given, as far as BSON kept it apart."""
    decoder = _DECODERS.get(type(value))
    return value if decoder is None else decoder(value)


def _decode_dict(value: dict[str, Any]) -> dict[str, Any]:
    # Nearly all values are text and numbers, nearly all keys plain: this loop is most of what reading a session costs.
    decoded = {}
    for key, part in value.items():
        decoder = None if type(part) is str else _DECODERS.get(type(part))
        decoded[decode_key(key) if "%" in key else key] = part if decoder is None else decoder(part)
    return decoded


def _decode_binary(value: Binary) -> Any:
    # Anybody may have written any bytes under this subtype, and a session must stay readable.
    return UUID(bytes=bytes(value)) if value.subtype == UUID_SUBTYPE and len(value) == _UUID_BYTES else value


_DECODERS: dict[type, Callable[[Any], Any]] = {
    dict: _decode_dict,
    list: lambda value: [decode(part) for part in value],
    datetime: lambda value: value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value,
    Decimal128: lambda value: value.to_decimal(),
    Binary: _decode_binary,
    Int64: int,
}
