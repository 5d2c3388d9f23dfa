"""``Toolkit``: tools that belong together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.tools.function import Function
from agno_mongo.tools.signature import name_of

_CACHED_FOR: Final = 3600.0


class Toolkit:
    """Tools that belong together, to be given to an agent as one: ``Agent(tools=[Calculator()])``.

    ::

        class Calculator(Toolkit):
            def __init__(self, **options):
                super().__init__(name="calculator", tools=[self.add], **options)

            def add(self, a: int, b: int) -> int:
                "Add two numbers."
                return a + b

    ``tools`` are functions, methods, or what ``@tool`` made of them; ``async_tools`` pairs of an async function and the name of the tool it
    stands for, which runs in its place. ``include_tools`` and ``exclude_tools`` choose among them by name.
    ``instructions`` go into the agent's system message with ``add_instructions=True``.

    The lists of names say of single tools what ``@tool`` would: ``requires_confirmation_tools``, ``external_execution_required_tools``,
    ``stop_after_tool_call_tools``, ``show_result_tools``. A name among them that no tool has raises ConfigurationError when an agent takes the
    toolkit. ``cache_results``, ``cache_ttl``, ``cache_dir`` and ``tool_timeout`` (seconds) hold for tools that say nothing themselves.

    ``timeout`` is an attribute for subclasses, for whatever they wait for; nothing here reads it. With ``auto_register=False`` a subclass
    calls ``register`` itself.
    """

    MADE_OF_ITSELF: ClassVar = frozenset({"tools", "async_tools", "functions", "async_functions", "_registered"})
    """Attributes that say nothing of a toolkit that tells it from another of its class."""

    def __init__(
        self,
        name: str = "toolkit",
        id: str | None = None,  # noqa: A002 - Agno's name
        tools: Sequence[Callable[..., Any] | Function] | None = None,
        async_tools: Sequence[tuple[Callable[..., Any], str]] | None = None,
        instructions: str | None = None,
        add_instructions: bool = False,
        include_tools: Collection[str] | None = None,
        exclude_tools: Collection[str] | None = None,
        requires_confirmation_tools: Collection[str] | None = None,
        external_execution_required_tools: Collection[str] | None = None,
        stop_after_tool_call_tools: Collection[str] | None = None,
        show_result_tools: Collection[str] | None = None,
        cache_results: bool = False,
        cache_ttl: float = _CACHED_FOR,
        cache_dir: str | Path | None = None,
        timeout: Any = None,
        auto_register: bool = True,
        *,
        tool_timeout: float | None = None,
    ) -> None:
        self.name = name
        self.id = id or checks.id_of(name)
        self.tools = list(tools or ())
        self.async_tools = list(async_tools or ())
        self.instructions = checks.instance_of("instructions", instructions, str)
        self.add_instructions = add_instructions
        self.include_tools = _names("include_tools", include_tools)
        self.exclude_tools = _names("exclude_tools", exclude_tools) or []
        self.requires_confirmation_tools = _names("requires_confirmation_tools", requires_confirmation_tools) or []
        self.external_execution_required_tools = (
            _names("external_execution_required_tools", external_execution_required_tools) or []
        )
        self.stop_after_tool_call_tools = _names("stop_after_tool_call_tools", stop_after_tool_call_tools) or []
        self.show_result_tools = _names("show_result_tools", show_result_tools) or []
        self.cache_results, self.cache_ttl, self.cache_dir = cache_results, cache_ttl, cache_dir
        self.tool_timeout = checks.time_limit("tool_timeout", tool_timeout)
        if timeout is not None or not hasattr(self, "timeout"):
            self.timeout = timeout
        self.functions: dict[str, Function] = {}
        self.async_functions: dict[str, Function] = {}
        self._registered: set[str] = set()
        if auto_register:
            for tool in self.tools:
                self.register(tool)
            for function, tool_name in self.async_tools:
                self.register(function, name=tool_name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, tools={list(self.get_async_functions())})"

    def register(self, function: Callable[..., Any] | Function, name: str | None = None) -> None:
        """Add a tool, under a name of its own if one is given. An async function goes before a plain one of the same name.

        Raises ConfigurationError for what cannot be a tool.
        """
        if not isinstance(function, Function) and not callable(function):
            raise ConfigurationError(f"toolkit {self.name!r}: {function!r} is no function")
        tool_name = name or (function.name if isinstance(function, Function) else name_of(function))
        self._registered.add(tool_name)
        if tool_name in self.exclude_tools or (self.include_tools is not None and tool_name not in self.include_tools):
            return
        made = function.bound_to(self) if isinstance(function, Function) else Function(name=tool_name, entrypoint=function)
        made = replace(made, **self._options(made, tool_name))
        (self.async_functions if made.is_async else self.functions)[tool_name] = made

    def _options(self, function: Function, name: str) -> dict[str, Any]:
        """What a tool of the toolkit is, by its own word or by the toolkit's."""
        stops = function.stop_after_tool_call or name in self.stop_after_tool_call_tools or None
        cached = {"cache_results": True, "cache_ttl": self.cache_ttl, "cache_dir": self.cache_dir}
        return {
            "name": name,
            "requires_confirmation": function.requires_confirmation or name in self.requires_confirmation_tools or None,
            "external_execution": function.external_execution or name in self.external_execution_required_tools or None,
            "stop_after_tool_call": stops,
            "show_result": True if name in self.show_result_tools else function.show_result,
            "timeout": self.tool_timeout if function.timeout is None else function.timeout,
            **(cached if self.cache_results and not function.cache_results else {}),
        }

    def get_functions(self) -> dict[str, Function]:
        """The plain functions, by name."""
        return self.functions

    def get_async_functions(self) -> dict[str, Function]:
        """What an agent is given: all tools by name, an async function in the place of the plain one of the same name."""
        return {**self.functions, **self.async_functions}

    def check(self) -> None:
        """Raise ConfigurationError for a name in one of the lists that no registered tool has: a misspelt confirmation would be none."""
        for setting in _LISTS:
            unknown = set(getattr(self, setting) or ()) - self._registered
            if unknown:
                known = ", ".join(sorted(self._registered)) or "none"
                raise ConfigurationError(
                    f"toolkit {self.name!r}: {setting}= names {', '.join(sorted(unknown))}, which is none of its tools ({known})"
                )


_LISTS: Final = (
    "include_tools",
    "exclude_tools",
    "requires_confirmation_tools",
    "external_execution_required_tools",
    "stop_after_tool_call_tools",
    "show_result_tools",
)


def _names(setting: str, names: Collection[str] | None) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"{setting}= takes a list of names of tools, not {checks.shown(names)}")
    return list(names)
