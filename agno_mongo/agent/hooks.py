"""Hooks: functions of the user's that look at a run's input before the model is asked, and at its answer before the run is stored."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agno_mongo.agent.prompt import stored_input
from agno_mongo.errors import ConfigurationError
from agno_mongo.execution import Execution
from agno_mongo.messages import Message, text_of
from agno_mongo.run.agent import (
    PostHookCompletedEvent,
    PostHookStartedEvent,
    PreHookCompletedEvent,
    PreHookStartedEvent,
    RunOutputEvent,
)
from agno_mongo.run.base import RunInput

_ALWAYS: Final = (
    "agent",
    "team",
    "session",
    "run_context",
    "session_state",
    "dependencies",
    "metadata",
    "user_id",
    "session_id",
    "debug_mode",
)
GIVEN: Final = {"pre_hooks": ("run_input", *_ALWAYS), "post_hooks": ("run_output", *_ALWAYS)}
"""What hooks get, each by the name of its parameter."""


_EITHER: Final = ("agent", "team")
"""Whose run it is; the other one is None for who asks for it."""


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A function with what it wants to be given; ``wanted`` is None if it takes everything."""

    name: str
    function: Callable[..., Any]
    wanted: frozenset[str] | None

    async def call(self, available: Mapping[str, Any]) -> None:
        """Call it, a plain function in a thread, so that it may block. Whatever it raises goes through."""
        given = dict(available)
        if self.wanted is not None:
            given = {name: available.get(name) for name in self.wanted if name in available or name in _EITHER}
        if inspect.iscoroutinefunction(self.function):
            await self.function(**given)
            return
        outcome = await asyncio.to_thread(self.function, **given)
        if inspect.isawaitable(outcome):
            await outcome


def checked_hooks(setting: str, hooks: Any) -> list[Any] | None:
    """A list of hooks, or None. Raises ConfigurationError for what is none, and for a parameter that hooks do not get."""
    if hooks is None:
        return None
    if isinstance(hooks, str) or not isinstance(hooks, Sequence):
        raise ConfigurationError(f"{setting}= takes a list of functions, not {type(hooks).__name__}: {hooks!r}")
    for hook in hooks:
        _hook(setting, hook)
    return list(hooks)


async def pre_hook_events(
    hooks: Sequence[Any], given: Any, execution: Execution, actor: Mapping[str, Any]
) -> AsyncGenerator[RunOutputEvent, None]:
    """Call the hooks in order. What they leave of the input is the run's input: it is sent, and stored.

    A run that goes on has nothing ``given``, but its stored input. If it has been sent to the model already, the hooks have seen it.
    """
    if execution.past.finished_rounds:
        return
    run_input = execution.run.input = execution.run.input or RunInput()
    before = run_input.input_content
    run_input.input_content = before if given is None else given
    available = _available(execution, actor) | {"run_input": run_input}
    try:
        for hook in (_hook("pre_hooks", hook) for hook in hooks):
            yield execution.event(PreHookStartedEvent, pre_hook_name=hook.name, run_input=run_input)
            await hook.call(available)
            yield execution.event(PreHookCompletedEvent, pre_hook_name=hook.name, run_input=run_input)
    finally:
        run_input.input_content = stored_input(run_input.input_content)
        # Data may have been changed in place.
        execution.input_changed = not isinstance(before, str) or run_input.input_content != before


async def post_hook_events(
    hooks: Sequence[Any], execution: Execution, actor: Mapping[str, Any]
) -> AsyncGenerator[RunOutputEvent, None]:
    """Call the hooks in order. What they leave of the run's ``content`` is the answer: later prompts are shown it too."""
    run = execution.run
    before, said = run.content, text_of(run.content)
    available = _available(execution, actor) | {"run_output": run}
    try:
        for hook in (_hook("post_hooks", hook) for hook in hooks):
            yield execution.event(PostHookStartedEvent, post_hook_name=hook.name)
            await hook.call(available)
            yield execution.event(PostHookCompletedEvent, post_hook_name=hook.name)
    finally:
        if run.content is not before:
            run.content_type = type(run.content).__name__ if run.content is not None else "str"
        if text_of(run.content) != said:
            _tell(run.content, run.messages or ())


def _tell(content: Any, messages: Sequence[Message]) -> None:
    """The last answer says what the hooks have made of it."""
    if messages and messages[-1].role == "assistant" and not messages[-1].tool_calls:
        messages[-1].content = None if content is None else text_of(content)


def _available(execution: Execution, actor: Mapping[str, Any]) -> dict[str, Any]:
    context = execution.context
    return {
        **actor,
        "session": execution.session_for_users(),
        "run_context": context,
        "session_state": context.session_state,
        "dependencies": context.dependencies,
        "metadata": context.metadata,
        "user_id": context.user_id,
        "session_id": context.session_id,
        "debug_mode": False,
    }


def _hook(setting: str, given: Any) -> Hook:
    """A function, or an object with ``async_check``: a guardrail, Agno's own too."""
    function = getattr(given, "async_check", given)
    name = str(getattr(given, "__name__", type(given).__name__))
    if isinstance(given, type) or not callable(function):
        raise ConfigurationError(f"{setting}= takes functions and guardrails, not {name}: {given!r}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # A function written in C may not tell.
        return Hook(name=name, function=function, wanted=frozenset())
    for parameter in parameters:
        _check_parameter(setting, name, parameter)
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return Hook(name=name, function=function, wanted=None if takes_all else frozenset(entry.name for entry in parameters))


def _check_parameter(setting: str, name: str, parameter: inspect.Parameter) -> None:
    if parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL} or parameter.default is not parameter.empty:
        return
    if parameter.kind is parameter.POSITIONAL_ONLY or parameter.name not in GIVEN[setting]:
        given = ", ".join(GIVEN[setting])
        raise ConfigurationError(f"hook {name!r} wants {parameter.name!r}; {setting} get, by name: {given}")
