"""What tells functions apart that are made by the same code: methods of different objects, closures over different values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

_DEEPEST: Final = 12
_SAY_ALL: Final = (str, int, float, complex, bytes, date, time, timedelta, Decimal, UUID, PurePath, type(None))
_NAMED: Final = (type, ModuleType, BuiltinFunctionType)


class NotPlainError(Exception):
    """A value does not say all that it is, as a connection; the text is what it is."""


def told_apart_by(function: Callable[..., Any] | None) -> str:
    """A short text that is the same, in every process, for functions of the same code with the same object, the same enclosed values and the same
    defaults; empty where there are none of these. Raises NotPlainError if they cannot be written down.
    """
    if isinstance(function, FunctionType) and not (function.__closure__ or function.__defaults__ or function.__kwdefaults__):
        return ""
    written = json.dumps(_described(function, _DEEPEST))
    return hashlib.sha256(written.encode(errors="surrogatepass")).hexdigest()[:32]


def _described(value: Any, deeper: int) -> Any:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, _NAMED):
        return [kind, getattr(value, "__module__", None), getattr(value, "__qualname__", value.__name__)]
    if isinstance(value, _SAY_ALL) and not isinstance(value, Enum):
        return [kind, repr(value)]
    if deeper == 0:
        raise NotPlainError(kind)
    parts = [_described(part, deeper - 1) for part in _parts(value, kind)]
    return [kind, sorted(parts, key=json.dumps) if isinstance(value, (set, frozenset)) else parts]


def _parts(value: Any, kind: str) -> list[Any]:
    for kinds, parts in _MADE_OF:
        if isinstance(value, kinds):
            return parts(value)
    called = getattr(type(value), "__call__", None)  # noqa: B004 - what Python itself calls
    if is_dataclass(value) or isinstance(called, FunctionType):
        return _attributes(value)
    raise NotPlainError(kind)


def _parts_of_function(function: FunctionType) -> list[Any]:
    try:
        enclosed = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError as error:
        raise NotPlainError("a cell that is empty") from error
    return [function.__module__, function.__qualname__, function.__defaults__, function.__kwdefaults__, *enclosed]


def _attributes(value: Any) -> list[Any]:
    if isinstance(value, type):
        return [value]
    try:
        own: Mapping[str, Any] = vars(value)
    except TypeError as error:
        raise NotPlainError(type(value).__qualname__) from error
    left_out = getattr(type(value), "MADE_OF_ITSELF", ())
    return [type(value), *(part for name in sorted(own) if name not in left_out for part in (name, own[name]))]


_MADE_OF: Final[tuple[tuple[Any, Callable[[Any], list[Any]]], ...]] = (
    (Enum, lambda value: [value.name]),
    ((list, tuple, set, frozenset), list),
    (dict, lambda value: [part for item in value.items() for part in item]),
    (partial, lambda value: [value.func, value.args, value.keywords]),
    (MethodType, lambda value: [value.__func__, *_attributes(value.__self__)]),
    (FunctionType, _parts_of_function),
    (BaseModel, _attributes),
)
