"""A Python function as a tool: its schema from signature and docstring, its arguments checked, its result as text."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import text_of
from agno_mongo.run.base import RunContext

INJECTED = ("run_context", "session_state", "agent")
"""Parameters that the runtime fills in and the model does not see. ``session_state`` is the run's own working copy."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class BadToolArgumentsError(Exception):
    """The model's arguments do not fit; the text is for the model."""


@dataclass(frozen=True)
class Function:
    """A tool. ``parameters`` is the JSON schema that the model sees, ``entrypoint`` the function behind it."""

    name: str
    description: str | None
    parameters: dict[str, Any]
    entrypoint: Callable[..., Any]
    arguments: type[BaseModel]
    injected: tuple[str, ...] = field(default=())

    @classmethod
    def from_callable(cls, function: Callable[..., Any], *, name: str | None = None) -> Function:
        """The tool that ``function`` is. Its docstring (any common style) describes it and its parameters.

        Parameters named ``run_context``, ``session_state`` or ``agent``, or annotated as RunContext, are filled in by
        the runtime. Raises ConfigurationError for a function that cannot be a tool.
        """
        name = name or str(getattr(function, "__name__", type(function).__name__))
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"tool {name!r}: a tool's name has 1 to 64 letters, digits, _ and -; use a def with a name of its own"
            )
        doc = docstring_parser.parse(inspect.getdoc(function) or "")
        parameters, injected = _parameters(function, name)
        described = {entry.arg_name: entry.description for entry in doc.params}
        arguments = _arguments_model(name, parameters, described)
        description = "\n\n".join(part for part in (doc.short_description, doc.long_description) if part)
        schema = _without_titles(arguments.model_json_schema())
        return cls(name, description or None, schema, function, arguments, injected)

    def to_openai(self) -> dict[str, Any]:
        """The tool in the shape of OpenAI's ``tools``."""
        function: dict[str, Any] = {"name": self.name, "parameters": self.parameters}
        if self.description:
            function["description"] = self.description
        return {"type": "function", "function": function}

    def validated(self, arguments: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """The model's arguments as the function's types. Raises BadToolArgumentsError with text for the model."""
        values: Any = arguments or {}
        if isinstance(values, str):
            try:
                values = json.loads(values)
            except (ValueError, RecursionError) as error:
                raise BadToolArgumentsError(f"The arguments of {self.name} are no JSON: {error}") from error
        try:
            model = self.arguments.model_validate(values)
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}" for fault in error.errors())
            raise BadToolArgumentsError(f"The arguments of {self.name} do not fit: {'; '.join(faults)}") from error
        fields = type(model).model_fields
        given = {field.alias or name: getattr(model, name) for name, field in fields.items() if name in model.model_fields_set}
        return given | dict(model.model_extra or {})

    async def call(self, arguments: Mapping[str, Any], run_context: RunContext, agent: Any) -> str:
        """Call the function and give its result as text. A plain function runs in a thread, so that it may block.

        Whatever the function raises goes through.
        """
        available = {"run_context": run_context, "session_state": run_context.session_state, "agent": agent}
        filled_in = {name: available.get(name, run_context) for name in self.injected}
        if inspect.iscoroutinefunction(self.entrypoint):
            result = await self.entrypoint(**arguments, **filled_in)
        else:
            result = await asyncio.to_thread(self.entrypoint, **arguments, **filled_in)
            if inspect.isawaitable(result):
                result = await result
        return text_of(result)


def functions_of(tools: Sequence[Any]) -> dict[str, Function]:
    """The tools by name. Raises ConfigurationError for what is no function, and for two of one name."""
    functions: dict[str, Function] = {}
    for tool in tools:
        if not isinstance(tool, Function) and not callable(tool):
            raise ConfigurationError(f"tools= takes functions, not {type(tool).__name__}: {tool!r}")
        function = tool if isinstance(tool, Function) else Function.from_callable(tool)
        if function.name in functions:
            raise ConfigurationError(f"two tools are named {function.name!r}; a model tells tools apart by name")
        functions[function.name] = function
    return functions


def _parameters(function: Callable[..., Any], name: str) -> tuple[dict[str, inspect.Parameter], tuple[str, ...]]:
    signature = inspect.signature(function)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise ConfigurationError(f"tool {name!r}: its annotations cannot be read: {error}") from error
    shown: dict[str, inspect.Parameter] = {}
    injected: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigurationError(f"tool {name!r}: a model passes arguments by name, {parameter.name!r} takes none")
        if parameter.name in INJECTED or hints.get(parameter.name) is RunContext:
            injected.append(parameter.name)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            shown[parameter.name] = parameter.replace(annotation=hints.get(parameter.name, Any))
    return shown, tuple(injected)


def _arguments_model(
    name: str, parameters: Mapping[str, inspect.Parameter], described: Mapping[str, str | None]
) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    extra = "forbid"
    for index, (parameter_name, parameter) in enumerate(parameters.items()):
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            extra = "allow"
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        # A parameter may be called like an attribute of pydantic's models, or begin with an underscore.
        details = Field(default, alias=parameter_name, description=described.get(parameter_name))
        fields[f"argument_{index}"] = (parameter.annotation, details)
    config = ConfigDict(extra=extra, arbitrary_types_allowed=True)  # type: ignore[typeddict-item]
    try:
        return create_model(name, __config__=config, **fields)
    except Exception as error:
        raise ConfigurationError(f"tool {name!r}: no schema can be made of its signature: {error}") from error


def _without_titles(schema: Any) -> Any:
    """The schema without the titles that pydantic makes of every name: tokens that tell nothing."""
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, part in schema.items():
        if key == "title" and isinstance(part, str):
            continue
        if key in {"properties", "$defs"}:
            part = {name: _without_titles(entry) for name, entry in part.items()}
            kept[key] = part
        else:
            kept[key] = _without_titles(part)
    return kept
