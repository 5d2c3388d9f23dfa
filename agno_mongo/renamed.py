"""Older names of Agno's settings, options and methods, in one table, and what becomes of a call that uses them.

An older name is taken with a DeprecationWarning that names today's and points at the caller's line. A name that never was, or
that has no counterpart here, is a TypeError, never ignored.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
ComponentT = TypeVar("ComponentT")

OLDER: Final[Mapping[str, Mapping[str, str]]] = {
    "Agent": {
        "storage": "db",
        "agent_id": "id",
        "extra_data": "metadata",
        "context": "dependencies",
        "add_context": "add_dependencies_to_context",
        "resolve_context": "resolve_in_context",
        "add_state_in_messages": "resolve_in_context",
        "add_messages": "additional_input",
        "add_history_to_messages": "add_history_to_context",
        "num_history_responses": "num_history_runs",
        "add_name_to_instructions": "add_name_to_context",
        "add_datetime_to_instructions": "add_datetime_to_context",
        "add_session_summary_references": "add_session_summary_to_context",
        "search_previous_sessions_history": "search_past_sessions",
        "search_session_history": "search_past_sessions",
        "num_history_sessions": "num_past_sessions_to_search",
        "num_past_session_runs": "num_past_session_runs_in_search",
        "create_default_system_message": "build_context",
        "create_default_user_message": "build_user_context",
        "response_model": "output_schema",
        "stream_intermediate_steps": "stream_events",
    },
    "run()": {
        "message": "input",
        "messages": "input",
        "stream_intermediate_steps": "stream_events",
        "yield_run_response": "yield_run_output",
        "context": "dependencies",
        "response_model": "output_schema",
        "extra_data": "metadata",
    },
    "MongoDb": {
        "db_client": "client",
        "session_collection": "session_table",
    },
    "methods": {
        "get_messages_for_session": "get_session_messages",
        "rename_session": "set_session_name",
    },
}
"""Where a name was used: older name: today's. For ``run()`` that is every method that runs: ``print_response`` too, and their
twins with an ``a``."""

_MEMORY = "memories of a user are not there; sessions are kept with db="
_KNOWLEDGE = "knowledge bases are not there; give the model a tool that searches yours"
_SAY_IT = "say it in instructions="
_REASONING = "pass a model that reasons"
_SILENT = "nothing is ever sent to anybody; leave it out"
_LOGGING = "logging.getLogger('agno_mongo') is the standard library's; set its level"
_OTHER_TABLES = "sessions, archive and media are all that is stored; session_table= names them"

MISSING: Final[Mapping[str, Mapping[str, str]]] = {
    "Agent": {
        **dict.fromkeys(("memory", "memory_manager", "enable_user_memories", "enable_agentic_memory"), _MEMORY),
        **dict.fromkeys(("update_memory_on_run", "add_memories_to_context", "add_memory_references"), _MEMORY),
        **dict.fromkeys(("knowledge", "knowledge_filters", "knowledge_retriever", "retriever"), _KNOWLEDGE),
        **dict.fromkeys(("search_knowledge", "update_knowledge", "add_references", "add_knowledge_to_context"), _KNOWLEDGE),
        **dict.fromkeys(("reasoning", "reasoning_model", "reasoning_agent"), _REASONING),
        **dict.fromkeys(("reasoning_min_steps", "reasoning_max_steps"), _REASONING),
        **dict.fromkeys(("goal", "success_criteria", "add_location_to_context", "add_location_to_instructions"), _SAY_IT),
        **dict.fromkeys(("telemetry", "monitoring"), _SILENT),
        **dict.fromkeys(("debug_mode", "debug_level"), _LOGGING),
        "session_name": "a session is named by set_session_name()",
        "user_message": "the input of run() is the user's message",
        "team": "an agent has no team",
    },
    "run()": {
        "debug_mode": _LOGGING,
        "knowledge_filters": _KNOWLEDGE,
        "updated_tools": "pass requirements= of the paused run",
    },
    "MongoDb": {
        f"{kind}_collection": _OTHER_TABLES
        for kind in ("memory", "metrics", "eval", "knowledge", "culture", "traces", "spans", "runs")
    },
}
"""Names of Agno's that have no counterpart here, and what to do instead."""

_PACKAGE = os.path.dirname(__file__) + os.sep


def refuse_unknown(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for a name that is none, with what to do instead or with the nearest name there is.

    ``owner`` is what the error calls the function: a class, or a method such as ``run()``.
    """
    for name in given:
        if name not in known:
            table = _table_of(owner)
            reason = MISSING.get(table, {}).get(name)
            if reason is None:
                nearest = difflib.get_close_matches(name, [*known, *OLDER.get(table, ())], n=1, cutoff=0.75)
                reason = f"did you mean {nearest[0]!r}?" if nearest else None
            raise TypeError(f"{owner} has no setting {name!r}" + (f"; {reason}" if reason else ""))


def older_names_accepted(function: Callable[P, T], *, owner: str | None = None) -> Callable[P, T]:
    """Take older settings too, each with a DeprecationWarning that names today's.

    A setting that never was is a TypeError with the nearest name that is; a function with ``**options`` sees to those itself. ``owner`` is
    what errors call the function.
    """
    parameters = inspect.signature(function).parameters
    known = {name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD}
    has_options = len(known) < len(parameters)
    named = owner or function.__qualname__.removesuffix(".__init__")
    older = OLDER.get(_table_of(named), {})

    @functools.wraps(function)
    def renaming(*args: P.args, **kwargs: P.kwargs) -> T:
        if not older.keys().isdisjoint(kwargs):
            _rename(named, {name: today for name, today in older.items() if has_options or today in known}, known, kwargs)
        if not has_options and not known.issuperset(kwargs):
            refuse_unknown(named, kwargs, known)
        return function(*args, **kwargs)

    return renaming


def _rename(owner: str, older: Mapping[str, str], known: set[str], given: dict[str, Any]) -> None:
    for name in [name for name in given if name in older and name not in known]:
        today = older[name]
        if today in given:
            raise TypeError(f"{owner}: {name!r} is an older name of {today!r}; both were given")
        _warn(f"{owner.removesuffix('()')}({name}=…)", f"{owner.removesuffix('()')}({today}=…)")
        given[today] = given.pop(name)


def older_settings_accepted(component: type[ComponentT]) -> type[ComponentT]:
    """The class, whose constructor takes older settings too: see :func:`older_names_accepted`."""
    settings = older_names_accepted(component.__init__, owner=component.__name__)
    component.__init__ = settings  # type: ignore[method-assign]
    return component


def older_options_accepted(method: Callable[P, T]) -> Callable[P, T]:
    """The method that runs, which takes older options too: see :func:`older_names_accepted`."""
    return older_names_accepted(method, owner=f"{method.__name__}()")


def older_method(name: str, today: Callable[..., T], *, arguments: tuple[str, ...] = ()) -> Callable[..., T]:
    """The method ``today`` under its older name. ``arguments`` are what it called them by position, where that differs."""

    @functools.wraps(today)
    def older(self: Any, *args: Any, **kwargs: Any) -> T:
        _warn(f"{name}()", f"{today.__name__}()")
        if not arguments:
            return today(self, *args, **kwargs)
        if len(args) > len(arguments):
            raise TypeError(f"{name}() takes at most {len(arguments)} arguments, not {len(args)}")
        return today(self, **dict(zip(arguments, args, strict=False)), **kwargs)

    older.__name__ = name
    return older


def _table_of(owner: str) -> str:
    return "run()" if owner.endswith("()") else "MongoDb" if owner.endswith("Db") else owner


def _warn(older: str, today: str) -> None:
    # The caller's line, however many of our own frames are between: the blocking twins have more than the others.
    frame, level = sys._getframe(), 1  # noqa: SLF001 - what warnings itself counts by
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{older} is an older name of {today}", DeprecationWarning, stacklevel=level)
