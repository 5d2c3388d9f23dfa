"""An agent's tools: how they are given, added and exchanged, and those of one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import ToolExecution
from agno_mongo.run.base import RunContext
from agno_mongo.tool_calls import ToolSettings
from agno_mongo.tools.function import Function
from agno_mongo.tools.pausing import fault_of
from agno_mongo.tools.toolbox import Tool, Toolbox, Tools, checked_choice, is_maker, made_for, parts_of, toolbox_of

TOOL_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "tool_choice": checked_choice,
    "tool_call_limit": lambda name, value: checks.count(name, value, least=0),
    "tool_hooks": checks.functions,
    "tool_timeout": checks.time_limit,
    "max_tool_rounds": checks.count,
}
"""How the settings of tools are checked."""


class HasTools:
    """What an agent does with its settings ``tools`` and ``tool_…``."""

    tools: Tools | None
    tool_choice: str | dict[str, Any] | None
    tool_call_limit: int | None
    tool_hooks: Sequence[Callable[..., Any]] | None
    tool_timeout: float | None
    max_tool_rounds: int | None
    as_arguments: Any
    _toolbox: tuple[list[Any], Toolbox] = ([], Toolbox())

    def set_tools(self, tools: Tools) -> None:
        """Give the agent other tools, from its next run on. Raises ConfigurationError for what is none, and keeps those that it has."""
        if is_maker(tools):
            self.tools = tools
            return
        if isinstance(tools, str) or not isinstance(tools, Sequence):
            raise ConfigurationError(
                f"tools= takes a list of functions, toolkits and dicts, or a function that makes it, not {type(tools).__name__}"
            )
        self._tools_of(tools)
        self.tools = list(tools)

    def add_tool(self, tool: Tool) -> None:
        """Give the agent one tool more, from its next run on. Raises ConfigurationError for what is none."""
        if callable(self.tools):
            raise ConfigurationError("tools= is a function, which makes the list; set_tools() replaces it")
        self.set_tools([*(self.tools or ()), tool])

    async def _tools_for(self, context: RunContext) -> Toolbox:
        """The tools of a run."""
        if callable(self.tools):
            return toolbox_of([*await made_for(self.tools, context, self.as_arguments), *self._own_tools()])
        return self._tools_of(self.tools or ())

    def _own_tools(self) -> list[Function]:
        """Those that other settings ask for."""
        return []

    def _fault_of_input(self, execution: ToolExecution, _member_id: str | None = None) -> str | None:
        """What is wrong with what a person has filled in. Where a function makes the tools only the call itself can tell, to the model."""
        if callable(self.tools):
            return None
        return fault_of(self._tools_of(self.tools or ()).functions.get(execution.tool_name or ""), execution)

    def _tools_of(self, tools: Sequence[Any]) -> Toolbox:
        tools = [*tools, *self._own_tools()]
        parts = parts_of(tools)
        if self._toolbox[0] != parts:
            self._toolbox = (parts, toolbox_of(tools))
        return self._toolbox[1]

    @property
    def _tool_settings(self) -> ToolSettings:
        return ToolSettings(
            limit=self.tool_call_limit,
            choice=self.tool_choice,
            hooks=self.tool_hooks or (),
            timeout=self.tool_timeout,
            max_rounds=self.max_tool_rounds,
        )
