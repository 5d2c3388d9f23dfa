"""What signature and docstring say of a function as a tool: what a model gives to it, and what the runtime does."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from agno_mongo.errors import ConfigurationError
from agno_mongo.json_schema import strict
from agno_mongo.media import Media
from agno_mongo.run.base import RunContext

FILLED_IN: Final = ("run_context", "session_state", "dependencies", "agent", "team", "fc")
"""What the runtime fills in, by the names of parameters. The model does not see them. ``session_state`` is the run's own working copy."""

FILLED_IN_TYPES: Final[dict[type, str]] = {RunContext: "run_context"}
"""The same by annotation, however the parameter is named. Modules above add their own classes."""

MEDIA: Final = ("images", "videos", "audios", "files")
"""What the user gave with the run's input, for parameters of these names that are annotated as media or not at all."""

_GIVEN_BY_MODELS: Final = (str, int, float, bool, list, tuple, set, frozenset)
"""A parameter that is called ``agent`` and is a text means a text."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """``arguments`` checks what a model gives, ``parameters`` is their JSON schema; ``filled_in`` says what goes into which other parameter.

    ``defaults`` are the fields whose default stands in a pydantic ``Field``, of which the function itself knows nothing; ``reserved`` the
    parameters that no model fills in.
    """

    description: str | None
    arguments: type[BaseModel]
    parameters: dict[str, Any]
    filled_in: Mapping[str, str]
    defaults: frozenset[str]
    reserved: frozenset[str]
    wants_self: bool


def signature_of(function: Callable[..., Any], name: str) -> Signature:
    """Read a function. Raises ConfigurationError, with the tool's name, for one that a model cannot call."""
    doc = docstring_parser.parse(_docstring(function))
    described = {entry.arg_name: entry.description for entry in doc.params if entry.description}
    parameters, filled_in, wants_self = _parameters(function, name)
    arguments, defaults = _arguments_model(name, parameters, described)
    try:
        schema = without_titles(arguments.model_json_schema())
    except Exception as error:
        raise ConfigurationError(f"tool {name!r}: no schema can be made of its signature: {error}") from error
    return Signature(
        description="\n\n".join(part for part in (doc.short_description, doc.long_description) if part) or None,
        arguments=arguments,
        parameters=schema,
        filled_in=filled_in,
        defaults=defaults,
        reserved=frozenset(inspect.signature(function).parameters) - frozenset(parameters),
        wants_self=wants_self,
    )


def name_of(function: Callable[..., Any]) -> str:
    """The name that a function has by itself; that of its class for a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def accepted(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the offered arguments that the function has parameters for."""
    return {name: offered[name] for name in inspect.signature(function).parameters if name in offered}


def as_strict(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as OpenAI's strict mode wants it: every argument given, null for those that need not be, nothing beside them. None if it has no
    such form: see :func:`agno_mongo.json_schema.strict`.
    """
    needed = parameters.get("required") or ()
    properties = {
        name: part if name in needed or allows_null(part) else _or_null(part)
        for name, part in parameters.get("properties", {}).items()
    }
    return strict({"type": "object", **parameters, "properties": properties, "additionalProperties": False})


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    details = {key: schema[key] for key in ("description",) if key in schema}
    return {"anyOf": [{key: part for key, part in schema.items() if key not in details}, {"type": "null"}], **details}


def without(schema: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The schema of an object without some of its properties."""
    properties = {name: part for name, part in schema.get("properties", {}).items() if name not in names}
    required = [name for name in schema.get("required", ()) if name not in names]
    left = {key: part for key, part in schema.items() if key != "required"}
    return left | {"properties": properties} | ({"required": required} if required else {})


def allows_null(schema: Mapping[str, Any]) -> bool:
    """True if null fits the schema."""
    return not schema.keys() - {"description"} or any(part.get("type") == "null" for part in (schema, *schema.get("anyOf", ())))


def without_titles(schema: Any) -> Any:
    """The schema without the titles that pydantic makes of every name: tokens that tell nothing."""
    if isinstance(schema, list):
        return [without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, part in schema.items():
        if key == "title" and isinstance(part, str):
            continue
        if key in {"properties", "$defs"}:
            kept[key] = {name: without_titles(entry) for name, entry in part.items()}
        else:
            kept[key] = part if key in {"default", "enum", "const", "examples"} else without_titles(part)
    return kept


def _plain_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function or method in which annotations and docstring stand."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, type) or hasattr(function, "__wrapped__"):
        return function
    called: Callable[..., Any] = type(function).__call__.__get__(function)  # what Python itself calls
    return called


def _docstring(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    plain = _plain_function(function)
    # What a callable object does is mostly told by its class.
    told = function if plain is function or not plain.__doc__ else plain
    return inspect.getdoc(told) or ""


def _parameters(function: Callable[..., Any], name: str) -> tuple[dict[str, inspect.Parameter], dict[str, str], bool]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"tool {name!r}: Python does not tell its parameters: {error}") from error
    hints = _hints(_plain_function(function), signature, name)
    # What a partial has bound is nobody's to give.
    bound = set(function.keywords) if isinstance(function, functools.partial) else set()
    shown: dict[str, inspect.Parameter] = {}
    filled_in: dict[str, str] = {}
    wants_self = next(iter(signature.parameters), None) == "self"
    for parameter in signature.parameters.values():
        hint = hints.get(parameter.name, Any)
        if parameter.name in bound or (wants_self and parameter.name == "self"):
            continue
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ConfigurationError(f"tool {name!r}: a model passes arguments by name, {parameter.name!r} takes none")
        if (what := _filled_in(parameter.name, hint)) is not None:
            filled_in[parameter.name] = what
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            shown[parameter.name] = parameter.replace(annotation=hint)
    return shown, filled_in, wants_self


def _hints(function: Callable[..., Any], signature: inspect.Signature, name: str) -> dict[str, Any]:
    """The annotations by parameter. One that cannot be read may stand where the runtime fills in by name: ``agent: "Agent"``."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - one of them fails; below it is told which
        names = getattr(inspect.unwrap(function), "__globals__", {})
    hints: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.annotation is inspect.Parameter.empty:
            continue
        alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
        try:
            hints |= typing.get_type_hints(alone, globalns=names, include_extras=True)
        except Exception as error:
            if parameter.name not in FILLED_IN:
                raise ConfigurationError(f"tool {name!r}: its annotations cannot be read: {error}") from error
    return hints


def _filled_in(name: str, hint: Any) -> str | None:
    """What the runtime fills into a parameter; None if the model gives it."""
    kinds = [kind for kind in _members(hint) if isinstance(kind, type)]
    for kind in kinds:
        for known, what in FILLED_IN_TYPES.items():
            if issubclass(kind, known):
                return what
    if name in MEDIA:
        return name if hint is Any or _mentions_media(hint) else None
    if name not in FILLED_IN or (name != "run_context" and any(kind in _GIVEN_BY_MODELS for kind in kinds)):
        return None
    return name


def _mentions_media(hint: Any) -> bool:
    is_media = isinstance(hint, type) and not typing.get_args(hint) and issubclass(hint, Media)
    return is_media or any(_mentions_media(part) for part in typing.get_args(hint))


def _members(hint: Any) -> Iterator[Any]:
    """The types that an annotation names: each of a union, without Annotated and aliases around it."""
    hint = getattr(hint, "__value__", getattr(hint, "__supertype__", hint))
    origin = typing.get_origin(hint)
    if origin is Annotated:
        yield from _members(typing.get_args(hint)[0])
    elif origin in {typing.Union, types.UnionType}:
        for member in typing.get_args(hint):
            yield from _members(member)
    else:
        yield origin or hint


def _arguments_model(
    name: str, parameters: Mapping[str, inspect.Parameter], described: Mapping[str, str]
) -> tuple[type[BaseModel], frozenset[str]]:
    fields: dict[str, Any] = {}
    defaults: set[str] = set()
    extra = "forbid"
    for index, (parameter_name, parameter) in enumerate(parameters.items()):
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            extra = "allow"
            continue
        # A parameter may be called like an attribute of pydantic's models, or begin with an underscore.
        field_name = f"argument_{index}"
        fields[field_name] = _field(parameter_name, parameter, described.get(parameter_name))
        if isinstance(parameter.default, FieldInfo):
            defaults.add(field_name)
    config = ConfigDict(extra=extra, arbitrary_types_allowed=True)  # type: ignore[typeddict-item]
    try:
        return create_model(name, __config__=config, **fields), frozenset(defaults)
    except Exception as error:
        raise ConfigurationError(f"tool {name!r}: no schema can be made of its signature: {error}") from error


def _field(name: str, parameter: inspect.Parameter, description: str | None) -> tuple[Any, Any]:
    annotation = parameter.annotation
    texts = [part for part in getattr(annotation, "__metadata__", ()) if isinstance(part, str)]
    details: dict[str, Any] = {"alias": name}
    if description or texts:
        details["description"] = description or texts[0]
    if isinstance(parameter.default, FieldInfo):
        return Annotated[annotation, parameter.default], Field(**details)
    default = ... if parameter.default is inspect.Parameter.empty else parameter.default
    return annotation, Field(default, **details)
