"""Hooks: functions of the user's that look at a run's input before the model is asked, and at its answer before the run is stored."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agno_mongo import checks
from agno_mongo.agent.media_input import asked_again
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
from agno_mongo.run.events import RunEvent
from agno_mongo.threads import called
from agno_mongo.tool_calls import BETWEEN_PARTS

_PIECES: Final = frozenset({RunEvent.run_content.value, RunEvent.run_intermediate_content.value})

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
        """Call it, a plain function in a thread, so that it may block. Whatever it raises goes through; LeftError where it would end the process."""
        given = dict(available)
        if self.wanted is not None:
            given = {name: available.get(name) for name in self.wanted if name in available or name in _EITHER}
        await called(self.function, **given)


def checked_hooks(setting: str, hooks: Any) -> list[Any] | None:
    """A list of hooks, or None. Raises ConfigurationError for what is none, and for a parameter that hooks do not get."""
    if hooks is None:
        return None
    if isinstance(hooks, str) or not isinstance(hooks, Sequence):
        raise ConfigurationError(f"{setting}= takes a list of functions, not {checks.typed(hooks)}")
    for hook in hooks:
        _hook(setting, hook)
    return list(hooks)


class PreHooks:
    """What a run's ``pre_hooks`` make of its input. What they leave of it is the run's input: it is sent, and stored.

    A run that goes on has nothing ``given``, but its stored input. If it has been sent to the model already, the hooks have seen it.
    """

    def __init__(self, hooks: Sequence[Any], given: Any, execution: Execution) -> None:
        self._hooks = hooks
        self._given = given
        self._execution = execution
        self._left: RunInput | None = None

    def asked(self, role: str) -> list[Message] | None:
        """The messages of the input as the hooks have left it; None if they have not looked at it. ``role`` is the user's."""
        return None if self._left is None else asked_again(self._left, role)

    async def events(self, actor: Mapping[str, Any]) -> AsyncGenerator[RunOutputEvent, None]:
        """Call the hooks in order."""
        execution, given = self._execution, self._given
        if execution.past.finished_rounds:
            return
        run_input = execution.run.input = execution.run.input or RunInput()
        before, media = run_input.input_content, run_input.media()
        run_input.input_content = before if given is None else given
        available = _available(execution, actor) | {"run_input": run_input}
        try:
            for hook in (_hook("pre_hooks", hook) for hook in self._hooks):
                yield execution.event(PreHookStartedEvent, pre_hook_name=hook.name, run_input=run_input)
                await hook.call(available)
                yield execution.event(PreHookCompletedEvent, pre_hook_name=hook.name, run_input=run_input)
        finally:
            # What is sent is made of the objects that they leave, not of what is stored in their place.
            self._left = run_input.model_copy()
            run_input.input_content = stored_input(run_input.input_content)
            # Data may have been changed in place.
            is_as_given = isinstance(before, str) and run_input.input_content == before and run_input.media() == media
            execution.input_changed = not is_as_given


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
            _tell("" if run.content is None else text_of(run.content), said, run.messages or ())
            run.events = (
                None if run.events is None else [event for event in map(_without_pieces, run.events) if event is not None]
            )


def _tell(text: str, said: str, messages: Sequence[Message]) -> None:
    """The last answer says what the hooks have made of it, and so does a tool's result that was a part of what was ``said``."""
    last = messages[-1] if messages else None
    if last is not None and last.role == "assistant" and not last.tool_calls:
        last.content = text or None
        # The provider's own form of it, and its way back to it.
        last.provider_data = None
    for message in messages:
        if message.role == "tool" and not message.from_history and _is_part(message.get_content_string(), said):
            message.content = text


def _without_pieces(event: Any) -> Any:
    """An event that is to be stored, without a piece of an answer that was changed; None if it was nothing else."""
    if _plain_name(event) not in _PIECES or event.content is None:
        return event
    return replace(event, content=None) if getattr(event, "reasoning_content", None) else None


def _plain_name(event: Any) -> str:
    return str(getattr(event, "event", "")).removeprefix("Team")


def _is_part(text: str, said: str) -> bool:
    """True for a result that was shown as it was, alone or between others."""
    return bool(text) and f"{BETWEEN_PARTS}{text}{BETWEEN_PARTS}" in f"{BETWEEN_PARTS}{said}{BETWEEN_PARTS}"


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
        raise ConfigurationError(f"{setting}= takes functions and guardrails, not {name}")
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
