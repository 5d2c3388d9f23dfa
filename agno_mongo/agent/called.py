"""Calling the functions that users put in the place of a setting."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any


async def called(function: Callable[..., Any], available: Mapping[str, Any], *, may_block: bool = False) -> Any:
    """What ``function`` gives, awaited if need be. It gets those of ``available`` that it has a parameter for, by name.

    With ``may_block`` a plain function runs in a thread. Whatever it raises goes through.
    """
    wanted = _parameters(function)
    arguments = {name: value for name, value in available.items() if name in wanted}
    if may_block and not inspect.iscoroutinefunction(function):
        outcome = await asyncio.to_thread(function, **arguments)
    else:
        outcome = function(**arguments)
    return await outcome if inspect.isawaitable(outcome) else outcome


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Some of Python's own functions do not tell.
        return {}
