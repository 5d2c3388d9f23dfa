"""Calling the functions that users put in the place of a setting."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from agno_mongo import threads


async def called(function: Callable[..., Any], available: Mapping[str, Any]) -> Any:
    """What ``function`` gives, awaited if need be. It gets those of ``available`` that it has a parameter for, by name.

    A plain function runs in a thread, so that it may block. Whatever it raises goes through.
    """
    wanted = _parameters(function)
    return await threads.called(function, **{name: value for name, value in available.items() if name in wanted})


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        # Some of Python's own functions do not tell.
        return {}
