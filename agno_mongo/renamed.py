"""Older names of Agno's settings and methods, in one table, and what becomes of a call that uses them."""

from __future__ import annotations

import difflib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
ComponentT = TypeVar("ComponentT")

SETTINGS = {
    "storage": "db",
    "add_history_to_messages": "add_history_to_context",
    "num_history_responses": "num_history_runs",
    "extra_data": "metadata",
    "response_model": "output_schema",
    "db_client": "client",
    "session_collection": "session_table",
}
"""Older name: today's."""

METHODS = {
    "get_messages_for_session": "get_session_messages",
    "aget_messages_for_session": "aget_session_messages",
}


def refuse_unknown(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError, with the nearest name there is, for a name that is none."""
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(name, [*known, *SETTINGS], n=1, cutoff=0.75)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise TypeError(f"{owner} has no setting {name!r}{hint}")


def older_names_accepted(function: Callable[P, T], *, owner: str | None = None) -> Callable[P, T]:
    """Take older settings too, each with a DeprecationWarning that names today's.

    A setting that never was is a TypeError with the nearest name that is. ``owner`` is what errors call the function.
    """
    known = inspect.signature(function).parameters
    named = owner or function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def renaming(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in [name for name in kwargs if name not in known]:
            today = SETTINGS.get(name)
            if today not in known:
                refuse_unknown(named, [name], known)
            assert today is not None
            if today in kwargs:
                raise TypeError(f"{named}: {name!r} is an older name of {today!r}; both were given")
            _warn(f"{named}({name}=…)", f"{named}({today}=…)")
            kwargs[today] = kwargs.pop(name)
        return function(*args, **kwargs)

    return renaming


def older_settings_accepted(component: type[ComponentT]) -> type[ComponentT]:
    """The class, whose constructor takes older settings too: see :func:`older_names_accepted`."""
    settings = older_names_accepted(component.__init__, owner=component.__name__)
    component.__init__ = settings  # type: ignore[method-assign]
    return component


def older_method(name: str, today: Callable[P, T]) -> Callable[P, T]:
    """The method under its older name."""

    @functools.wraps(today)
    def older(*args: P.args, **kwargs: P.kwargs) -> T:
        _warn(f"{name}()", f"{METHODS[name]}()")
        return today(*args, **kwargs)

    return older


def _warn(older: str, today: str) -> None:
    warnings.warn(f"{older} is an older name of {today}", DeprecationWarning, stacklevel=3)
