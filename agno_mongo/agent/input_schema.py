"""Structured input: what a run is given must fit, before anything of it is stored."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import NotRequired, Required, TypedDict, get_type_hints, is_typeddict

from agno_mongo import checks
from agno_mongo.agent.output_schema import faults_of
from agno_mongo.errors import ConfigurationError, InputSchemaError
from agno_mongo.messages import Message


def checked_input_schema(name: str, schema: Any) -> Any:
    """A pydantic model class or a TypedDict, or None."""
    if schema is None:
        return None
    if is_typeddict(schema) or (isinstance(schema, type) and issubclass(schema, BaseModel)):
        _adapter(schema)
        return schema
    raise ConfigurationError(f"{name}= takes a pydantic model class or a TypedDict, not {checks.shown(schema)}")


def fitting_input(given: Any, schema: Any) -> Any:
    """``given`` as an instance of ``schema``: from a dict, from JSON text (a message's too), or as it is if it is one.

    Raises InputSchemaError, which names the fields.
    """
    if isinstance(given, Message):
        given = given.content
    adapter = _adapter(schema)
    try:
        if isinstance(given, (str, bytes, bytearray)):
            return adapter.validate_json(given)
        return adapter.validate_python(dict(given) if isinstance(given, Mapping) else given)
    except ValidationError as error:
        faults = faults_of(error, "input")
        raise InputSchemaError(f"the input does not fit {schema.__name__}: {'; '.join(faults)}", errors=faults) from error


@lru_cache(maxsize=256)
def _adapter(schema: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(_readable(schema))
    except PydanticUserError as error:
        remedy = "take TypedDict from typing_extensions, not from typing; " if error.code == "typed-dict-version" else ""
        raise ConfigurationError(f"input_schema={schema.__name__} cannot be used: {remedy}{error}") from error


def _readable(schema: Any) -> Any:
    """The schema as pydantic reads it: before Python 3.12 it refuses what ``typing.TypedDict`` has made, within others too."""
    if sys.version_info >= (3, 12) or not is_typeddict(schema):
        return schema
    try:
        return _rebuilt(schema)
    except (TypeError, NameError, RecursionError):
        # One that names itself, say. Pydantic says what is wrong.
        return schema


def _rebuilt(hint: Any) -> Any:
    """A TypedDict, or what has some in it, with those of ``typing_extensions``."""
    if is_typeddict(hint):
        hints = get_type_hints(hint, include_extras=True)
        make: Any = TypedDict
        made = make(hint.__name__, {name: _field(hint, name, kind) for name, kind in hints.items()})
        made.__doc__, made.__module__ = hint.__doc__, hint.__module__
        if (config := getattr(hint, "__pydantic_config__", None)) is not None:
            made.__pydantic_config__ = config
        return made
    origin, parts = get_origin(hint), get_args(hint)
    rebuilt = tuple(_rebuilt(part) for part in parts)
    if origin is None or rebuilt == parts:
        return hint
    return Union[rebuilt] if origin in {Union, UnionType} else origin[rebuilt]  # noqa: UP007 - made of parts


def _field(schema: Any, name: str, kind: Any) -> Any:
    rebuilt = _rebuilt(kind)
    if get_origin(kind) in {Required, NotRequired}:
        return rebuilt
    return NotRequired[rebuilt] if name in schema.__optional_keys__ else rebuilt
