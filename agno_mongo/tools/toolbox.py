"""All the tools of a run: functions, toolkits, and those that a provider runs itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.run.base import RunContext
from agno_mongo.threads import called
from agno_mongo.tools.function import Function
from agno_mongo.tools.signature import accepted
from agno_mongo.tools.toolkit import Toolkit

Tool: TypeAlias = Callable[..., Any] | Function | Toolkit | Mapping[str, Any]
Tools: TypeAlias = Sequence[Tool] | Callable[..., Any]
"""A list of tools, or a function that makes one for each run."""


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """``functions`` by name; ``provided``: what the provider runs itself, as it was given; ``instructions``: texts for the system message."""

    functions: Mapping[str, Function] = field(default_factory=dict)
    provided: Sequence[dict[str, Any]] = ()
    instructions: Sequence[str] = ()

    def to_openai(self) -> list[dict[str, Any]]:
        """All of them in the shape of OpenAI's ``tools``."""
        return [*(function.to_openai() for function in self.functions.values()), *self.provided]


def toolbox_of(tools: Sequence[Any]) -> Toolbox:
    """The tools of a list. Raises ConfigurationError for what is no tool, and for two of one name."""
    functions: dict[str, Function] = {}
    provided: list[dict[str, Any]] = []
    instructions: list[str] = []
    for tool in tools:
        if isinstance(tool, Mapping):
            provided.append(_provided(tool))
            continue
        for function in _functions(tool):
            if function.name in functions:
                raise ConfigurationError(f"two tools are named {function.name!r}; a model tells tools apart by name")
            functions[function.name] = function
            _add(instructions, function)
        if isinstance(tool, Toolkit):
            _add(instructions, tool)
    return Toolbox(functions=functions, provided=provided, instructions=instructions)


def parts_of(tools: Sequence[Any]) -> list[Any]:
    """What a list of tools consists of by now: a toolkit may have been given more."""
    return [list(tool.get_async_functions().values()) if isinstance(tool, Toolkit) else tool for tool in tools]


async def made_for(tools: Callable[..., Any], context: RunContext, actor: Mapping[str, Any]) -> Sequence[Any]:
    """The list of tools that a function makes for a run. Raises ConfigurationError if that is none, and what the function raises."""
    offered = {
        "agent": None,
        "team": None,
        **actor,
        "run_context": context,
        "session_state": context.session_state,
        "dependencies": context.dependencies,
    }
    made = await called(tools, **accepted(tools, offered))
    if made is None:
        return []
    if not isinstance(made, Sequence) or isinstance(made, str):
        raise ConfigurationError(f"the function given as tools= makes a list of tools, not {type(made).__name__}")
    return made


def checked_choice(name: str, value: Any) -> Any:
    """OpenAI's ``tool_choice``: a word, or a dict that names a tool; or None."""
    if isinstance(value, str):
        return checks.one_of(name, value, ("none", "auto", "required"))
    if value is not None and not (isinstance(value, Mapping) and isinstance(value.get("type"), str)):
        raise ConfigurationError(
            f'{name}= takes a word or {{"type": "function", "function": {{"name": …}}}}, not {checks.shown(value)}'
        )
    return value


def is_maker(tools: Any) -> bool:
    """True for a function that makes the tools, as distinct from a list of them."""
    return callable(tools) and not isinstance(tools, (Function, Toolkit, Sequence, type))


def _functions(tool: Any) -> list[Function]:
    if isinstance(tool, Toolkit):
        tool.check()
        return list(tool.get_async_functions().values())
    if isinstance(tool, type) and issubclass(tool, Toolkit):
        raise ConfigurationError(f"tools= takes toolkits, and {tool.__name__} is a class of them; pass {tool.__name__}()")
    if not callable(tool):
        raise ConfigurationError(f"tools= takes functions, not {checks.typed(tool)}")
    function = tool if isinstance(tool, Function) else Function.from_callable(tool)
    if function.wants_self:
        raise ConfigurationError(f"tool {function.name!r} is a method without its object; pass the method of an instance")
    return [function]


def _provided(tool: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(tool.get("type"), str):
        raise ConfigurationError(
            f'a tool that the provider runs is a dict like {{"type": "web_search"}}, not one with {sorted(map(str, tool))[:8]}'
        )
    return dict(tool)


def _add(instructions: list[str], source: Function | Toolkit) -> None:
    if source.add_instructions and source.instructions and source.instructions not in instructions:
        instructions.append(source.instructions)
