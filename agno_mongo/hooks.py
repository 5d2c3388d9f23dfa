"""Agno's decorator for hooks: functions for ``pre_hooks`` and ``post_hooks``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@overload
def hook(function: FunctionT, /) -> FunctionT: ...
@overload
def hook(*, run_in_background: bool = False) -> Callable[[FunctionT], FunctionT]: ...
def hook(function: Callable[..., Any] | None = None, /, *, run_in_background: bool = False) -> Any:  # noqa: ARG001 - Agno's
    """Mark a function as a hook. Any function is one without it.

    ``run_in_background`` is for Agno's server, which has somewhere to run it after the response. Here, as in Agno without that server, the run waits for
    its hooks; what shall not be waited for is a task of the hook's own.
    """
    return (lambda given: given) if function is None else function


__all__ = ["hook"]
