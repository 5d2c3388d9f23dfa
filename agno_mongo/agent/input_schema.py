"""Structured input: what a run is given must fit, before anything of it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from typing_extensions import is_typeddict

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
        return TypeAdapter(schema)
    except PydanticUserError as error:
        raise ConfigurationError(f"input_schema={schema.__name__} cannot be used: {error}") from error
