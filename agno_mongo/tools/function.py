"""A Python function as a tool: what the model sees of it, how its arguments are checked, and how it wants to be called."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MethodType
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from typing_extensions import Self

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import UserInputField
from agno_mongo.tools.cache import FileCache, MemoryCache
from agno_mongo.tools.result import ToolResult
from agno_mongo.tools.same_code import NotPlainError, told_apart_by
from agno_mongo.tools.signature import FILLED_IN_TYPES, Signature, allows_null, as_strict, name_of, signature_of, without

__all__ = ["BadToolArgumentsError", "Function", "FunctionCall", "ToolResult", "UserInputField"]

_log = logging.getLogger("agno_mongo")

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_ARGUMENTS: Final[dict[str, Any]] = {"type": "object", "properties": {}}


class ToldToModelError(Exception):
    """A call came to nothing; the text is for the model, as it is."""


class BadToolArgumentsError(ToldToModelError):
    """The model's arguments do not fit."""


@dataclass(kw_only=True, eq=False, repr=False)
class Function:
    """A tool. Mostly made by ``@tool``, or from a plain function among an agent's ``tools``.

    ``entrypoint``: the function behind it, plain (it runs in a thread and may block), async, or a generator of either kind. ``name``,
    ``description`` and ``parameters`` (a JSON schema) are what the model sees; what is not given is read from signature and docstring.
    ``strict``: the provider holds the model to the schema, as far as strict mode has words for it. ``instructions`` go into the agent's system message, unless
    ``add_instructions=False``.

    ``show_result``: the result is part of the run's answer too. ``stop_after_tool_call``: the run ends with the tool's result as its
    answer, without asking the model again. ``timeout``: how many seconds a call may take, hooks included; the agent's ``tool_timeout`` by
    default.

    ``pre_hook`` and ``post_hook`` are called before and after it, ``tool_hooks`` around it, as docs/tools.md tells.

    ``cache_results``: a result is kept for ``cache_ttl`` seconds and given again to the same user's calls with the same arguments: in
    memory, or in files in ``cache_dir``.

    ``requires_confirmation``, ``requires_user_input`` (of ``user_input_fields``) and ``external_execution`` pause the run before it; one
    of them at most. ``form`` makes of the arguments the fields that somebody is to fill in, in the place of the function's own: what is filled in
    is the result then, and the function is called only where there are none. ``title`` and ``annotations`` are for those who show tools to people.

    Raises ConfigurationError for a function that cannot be a tool.
    """

    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    entrypoint: Callable[..., Any] | None = None
    strict: bool | None = None
    instructions: str | None = None
    add_instructions: bool = True
    title: str | None = None
    annotations: dict[str, Any] | None = None
    skip_entrypoint_processing: bool = False

    show_result: bool | None = None
    stop_after_tool_call: bool | None = None
    timeout: float | None = None

    pre_hook: Callable[..., Any] | None = None
    post_hook: Callable[..., Any] | None = None
    tool_hooks: Sequence[Callable[..., Any]] | None = None

    requires_confirmation: bool | None = None
    requires_user_input: bool | None = None
    user_input_fields: Sequence[str] | None = None
    form: Callable[[Mapping[str, Any]], list[UserInputField]] | None = None
    external_execution: bool | None = None
    external_execution_silent: bool | None = None

    cache_results: bool = False
    cache_dir: str | Path | None = None
    cache_ttl: float = 3600

    _signature: Signature | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not self.name and self.entrypoint is not None:
            self.name = name_of(self.entrypoint)
        self._check()
        if self.entrypoint is not None:
            self._signature = signature_of(self.entrypoint, self.name)
            self.description = self.description or self._signature.description
        if self.parameters is None:
            self.parameters = self._signature.parameters if self._signature is not None else dict(_NO_ARGUMENTS)
        if self.strict:
            # Now, and not when the provider refuses it.
            self.to_openai()

    def _check(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"tool {self.name!r}: a tool's name has 1 to 64 letters, digits, _ and -; use a def with a name of its own"
            )
        where = f"tool {self.name!r}: "
        if self.entrypoint is None and not self.external_execution:
            raise ConfigurationError(f"{where}it has no function to call (entrypoint=), and is not executed outside")
        for name in ("entrypoint", "pre_hook", "post_hook"):
            checks.called(f"{where}{name}", getattr(self, name))
        checks.functions(f"{where}tool_hooks", self.tool_hooks)
        checks.time_limit(f"{where}timeout", self.timeout)
        checks.seconds(f"{where}cache_ttl", self.cache_ttl)
        if self.user_input_fields or self.form is not None:
            self.requires_user_input = True
        pausing = ("requires_confirmation", "requires_user_input", "external_execution")
        if len(given := [name for name in pausing if getattr(self, name)]) > 1:
            raise ConfigurationError(f"{where}it pauses a run for one reason, not for {' and '.join(given)}")

    def __repr__(self) -> str:
        return f"Function(name={self.name!r})"

    @classmethod
    def from_callable(cls, function: Callable[..., Any], *, name: str | None = None, strict: bool | None = None) -> Self:
        """The tool that ``function`` is. Its docstring (any common style) describes it and its parameters.

        Parameters named ``run_context``, ``session_state``, ``dependencies``, ``agent`` or ``team``, or annotated as RunContext or Agent, are
        filled in by the runtime. Raises ConfigurationError for a function that cannot be a tool.
        """
        return cls(name=name or "", entrypoint=function, strict=strict)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function behind the tool, as if it were none: no checks, no hooks, no cache."""
        if self.entrypoint is None:
            raise ConfigurationError(f"tool {self.name!r} is executed outside: there is no function to call")
        return self.entrypoint(*arguments, **named)

    def __get__(self, instance: Any, owner: type | None = None) -> Self:
        """A tool among the methods of a class: with ``self``, if it wants one."""
        return self if instance is None else self.bound_to(instance)

    def bound_to(self, instance: Any) -> Self:
        """The tool with ``instance`` as its ``self``; the tool itself if it wants none."""
        if not self.wants_self or self.entrypoint is None:
            return self
        return replace(self, entrypoint=MethodType(self.entrypoint, instance))

    @property
    def wants_self(self) -> bool:
        """True for a method that nobody has bound yet."""
        return self._signature is not None and self._signature.wants_self

    @property
    def asks_somebody(self) -> bool:
        """True if a call of it pauses the run."""
        return bool(self.requires_confirmation or self.requires_user_input or self.external_execution)

    @property
    def shows_result(self) -> bool:
        """True if the result is part of the run's answer: what ends a run is, unless ``show_result=False``."""
        return bool(self.stop_after_tool_call if self.show_result is None else self.show_result)

    @property
    def filled_in(self) -> Mapping[str, str]:
        """What the runtime fills into which parameter."""
        return self._signature.filled_in if self._signature is not None else {}

    @cached_property
    def is_async(self) -> bool:
        """True if the function belongs on the event loop; all others run in a thread."""
        function: Any = self.entrypoint
        kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        return any(kind(function) or kind(getattr(function, "__call__", None)) for kind in kinds)  # noqa: B004

    @cached_property
    def cache(self) -> MemoryCache | FileCache | None:
        """Where results are kept; None if they are not."""
        if not self.cache_results:
            return None
        if self.cache_dir is None:
            return MemoryCache(self.cache_ttl)
        try:
            whose = told_apart_by(self.entrypoint)
        except NotPlainError as error:
            _log.warning(
                "the results of tool %r are kept in memory and not in files: others of the same code could not be told from it, since it has %s",
                self.name,
                error,
            )
            return MemoryCache(self.cache_ttl)
        return FileCache(Path(self.cache_dir) / self.name, self.cache_ttl, whose)

    @property
    def arguments(self) -> type[BaseModel]:
        """What checks the arguments: a pydantic model whose fields have the parameters' names as aliases."""
        return self._signature.arguments if self._signature is not None else BaseModel

    @cached_property
    def _shown_parameters(self) -> dict[str, Any]:
        """The schema that the model is sent: without what a person fills in."""
        schema = self.parameters or _NO_ARGUMENTS
        if self.user_input_fields:
            schema = without(schema, self.user_input_fields)
        if not self.strict:
            return schema
        made = as_strict(schema)
        if made is None:
            raise ConfigurationError(
                f"tool {self.name!r}: OpenAI's strict mode has no word for its parameters: it knows no dict with keys of the model's own, no tuple "
                "and no value of any kind. Change them, a list or a pydantic model say, or leave out strict="
            )
        return made

    def to_openai(self) -> dict[str, Any]:
        """The tool in the shape of OpenAI's ``tools``."""
        function: dict[str, Any] = {"name": self.name, "parameters": self._shown_parameters}
        if self.description:
            function["description"] = self.description
        if self.strict:
            function["strict"] = True
        return {"type": "function", "function": function}

    def to_dict(self) -> dict[str, Any]:
        """What the model sees of the tool, and whether it pauses the run; without what is None."""
        names = ("name", "description", "parameters", "strict", "requires_confirmation", "external_execution")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def validated(self, arguments: str | Mapping[str, Any] | None) -> dict[str, Any]:
        """The model's arguments as the function's types. Raises BadToolArgumentsError with text for the model."""
        values: Any = arguments or {}
        if isinstance(values, str):
            try:
                values = json.loads(values)
            except (ValueError, RecursionError) as error:
                raise BadToolArgumentsError(f"The arguments of {self.name} are no JSON: {error}") from error
            values = {} if values is None else values
        if not isinstance(values, Mapping):
            raise BadToolArgumentsError(f"The arguments of {self.name} are no JSON object with an entry for each argument.")
        if self._signature is None or self.skip_entrypoint_processing:
            return dict(values)
        return self._checked(self._signature, values)

    def _checked(self, signature: Signature, values: Mapping[str, Any]) -> dict[str, Any]:
        if self.strict:
            # In strict mode null stands for what the model leaves to the function.
            shown = signature.parameters.get("properties", {})
            left = {
                name for name in shown if name not in signature.parameters.get("required", ()) and not allows_null(shown[name])
            }
            values = {name: value for name, value in values.items() if value is not None or name not in left}
        if reserved := signature.reserved.intersection(values):
            raise BadToolArgumentsError(f"{self.name}: {', '.join(sorted(reserved))} is not the model's to give.")
        try:
            model = signature.arguments.model_validate(dict(values))
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}" for fault in error.errors())
            raise BadToolArgumentsError(f"The arguments of {self.name} do not fit: {'; '.join(faults)}") from error
        fields = type(model).model_fields
        wanted = model.model_fields_set | signature.defaults
        given = {info.alias or name: getattr(model, name) for name, info in fields.items() if name in wanted}
        return given | dict(model.model_extra or {})


@dataclass(kw_only=True, eq=False)
class FunctionCall:
    """A call as hooks see it, in their parameter ``fc``: before, during and after.

    A ``pre_hook`` may change ``arguments``, a ``post_hook`` ``result``; ``error`` is what the tool raised, as text.
    """

    function: Function
    arguments: dict[str, Any]
    call_id: str | None = None
    result: Any = None
    error: str | None = None


FILLED_IN_TYPES[FunctionCall] = "fc"
