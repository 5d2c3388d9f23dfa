"""``@tool``: a function that says itself how it wants to be called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, cast, overload

from typing_extensions import Unpack

from agno_mongo import checks, renamed
from agno_mongo.errors import ConfigurationError
from agno_mongo.tools.function import Function


class ToolOptions(TypedDict, total=False):
    """What ``@tool`` takes: see :class:`~agno_mongo.tools.function.Function`."""

    name: str | None
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None
    instructions: str | None
    add_instructions: bool
    title: str | None
    annotations: dict[str, Any] | None
    show_result: bool | None
    stop_after_tool_call: bool | None
    timeout: float | None
    pre_hook: Callable[..., Any] | None
    post_hook: Callable[..., Any] | None
    tool_hooks: list[Callable[..., Any]] | None
    requires_confirmation: bool | None
    requires_user_input: bool | None
    user_input_fields: list[str] | None
    external_execution: bool | None
    external_execution_silent: bool | None
    cache_results: bool
    cache_dir: str | None
    cache_ttl: float


@overload
def tool(function: Callable[..., Any], /) -> Function: ...


@overload
def tool(**options: Unpack[ToolOptions]) -> Callable[[Callable[..., Any]], Function]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Unpack[ToolOptions]) -> Any:
    """Make a function, or a method, a tool: ``@tool``, or ``@tool(stop_after_tool_call=True, …)``.

    The outcome is a :class:`~agno_mongo.tools.function.Function`, which can be called like the function itself. Raises
    ConfigurationError for a function that cannot be a tool, TypeError for an option that is none.
    """
    renamed.refuse_unknown("tool()", options, ToolOptions.__annotations__)

    def decorate(decorated: Callable[..., Any]) -> Function:
        if not callable(decorated) or isinstance(decorated, Function):
            raise ConfigurationError(f"@tool takes a function, not {checks.shown(decorated)}")
        given = cast("dict[str, Any]", {name: value for name, value in options.items() if value is not None})
        return Function(entrypoint=decorated, **given)

    return decorate if function is None else decorate(function)
