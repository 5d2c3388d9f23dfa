"""Calling the functions that users give a workflow: steps, evaluators, selectors, end conditions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, nullcontext
from functools import lru_cache
from types import FunctionType
from typing import Any, Final

from agno_mongo.errors import ConfigurationError
from agno_mongo.threads import contained, in_thread

_BY_NAME: Final = frozenset({"run_context", "session_state", "step_choices", "workflow", "execution_input"})
"""What a function is given if it has a parameter of that name."""


def called_with_one(where: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, if it takes what it is called with: one argument, and beside it only what the runtime fills in by name.

    Raises ConfigurationError, which says ``where``.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        # Some of Python's own functions do not tell.
        return function
    positional = [one for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL}]
    if not positional or (positional[0].name in {"run_context", "session_state"}):
        raise ConfigurationError(
            f"{where} takes no argument for what it is given; write it as f(step_input), f(step_input, run_context)"
        )
    needed = [one.name for one in parameters if one is not positional[0] and one.default is one.empty]
    needed = [one.name for one in parameters if one.name in needed and one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}]
    if unknown := [name for name in needed if name not in _BY_NAME]:
        raise ConfigurationError(
            f"{where} has a parameter {unknown[0]!r} that nobody fills in; it may be run_context or session_state"
        )
    return function


@lru_cache(maxsize=1024)
def _named(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(list(inspect.signature(function).parameters)[1:])
    except (TypeError, ValueError):
        return frozenset()


def _arguments(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    try:
        names = _named(function)
    except TypeError:
        # A callable object that cannot be hashed.
        names = frozenset(list(inspect.signature(function).parameters)[1:])
    return {name: offered[name] for name in names if name in offered}


def _plain(function: Callable[..., Any]) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function if isinstance(function, (FunctionType, type)) or inspect.isroutine(function) else type(function).__call__


def runs_on_the_loop(function: Callable[..., Any]) -> bool:
    """True for a coroutine function, or one that yields asynchronously: it is not given a thread."""
    plain = _plain(function)
    return inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)


async def value_of(function: Callable[..., Any], given: Any, offered: Mapping[str, Any]) -> Any:
    """What the function gives for ``given``, awaited if need be. A plain function runs in a thread. Whatever it raises goes through; where that would
    end more than the function, it is LeftError.
    """
    arguments = _arguments(function, offered)
    with contained():
        if runs_on_the_loop(function):
            outcome = function(given, **arguments)
        else:
            outcome = await in_thread(lambda _: function(given, **arguments))
        return await outcome if inspect.isawaitable(outcome) else outcome


def yields(outcome: Any) -> bool:
    """True for what comes piece by piece."""
    return isinstance(outcome, AsyncIterator) or inspect.isgenerator(outcome)


async def pieces_of(outcome: Any) -> AsyncGenerator[tuple[bool, Any], None]:
    """What a generator yields, one after the other, each with True, and what it returns at its end, with False; so is anything that is no generator."""
    if isinstance(outcome, AsyncIterator):
        with contained():
            async with aclosing(outcome) if isinstance(outcome, AsyncGenerator) else nullcontext(outcome) as pieces:
                async for piece in pieces:
                    yield True, piece
    elif inspect.isgenerator(outcome):
        iterator: Iterator[Any] = outcome
        try:
            while (item := await in_thread(lambda _: _next(iterator))) is not None:
                yield item
                if not item[0]:
                    break
        finally:
            await in_thread(lambda _: outcome.close())
    else:
        yield False, outcome


def _next(iterator: Iterator[Any]) -> tuple[bool, Any] | None:
    try:
        return True, next(iterator)
    except StopIteration as end:
        return None if end.value is None else (False, end.value)
