"""Older names of Agno's settings, options and methods, in one table, and what becomes of a call that uses them.

An older name is taken with a DeprecationWarning that names today's and points at the caller's line. A name that never was, or
that has no counterpart here, is a TypeError, never ignored.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
ComponentT = TypeVar("ComponentT")

_OF_ACTORS: Final[Mapping[str, str]] = {
    "storage": "db",
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
}
"""Older names of settings that agents and teams have."""

OLDER: Final[Mapping[str, Mapping[str, str]]] = {
    "Agent": {**_OF_ACTORS, "agent_id": "id"},
    "Team": {
        **_OF_ACTORS,
        "team_id": "id",
        "team_session_state": "session_state",
        "enable_team_history": "add_history_to_context",
        "num_of_interactions_from_history": "num_history_runs",
        "read_team_history": "read_chat_history",
        "add_member_tools_to_system_message": "add_member_tools_to_context",
    },
    "Workflow": {
        "storage": "db",
        "workflow_id": "id",
        "workflow_session_state": "session_state",
        "extra_data": "metadata",
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
        "auto_rename_session": "set_session_name",
    },
}
"""Where a name was used: older name: today's. For ``run()`` that is every method that runs: ``print_response`` too, and their
twins with an ``a``."""

_INSTEAD: Final[Mapping[str, str]] = {
    "memories of a user are not there; sessions are kept with db=": (
        "memory memory_manager enable_user_memories enable_agentic_memory update_memory_on_run add_memories_to_context add_memory_references "
        "learning add_learnings_to_context"
    ),
    "knowledge bases are not there; give the model a tool that searches yours": (
        "knowledge knowledge_filters knowledge_retriever retriever search_knowledge update_knowledge add_references add_knowledge_to_context "
        "references_format add_search_knowledge_instructions enable_agentic_knowledge_filters"
    ),
    "pass a model that reasons": "reasoning reasoning_model reasoning_agent reasoning_min_steps reasoning_max_steps",
    "say it in instructions=": "goal success_criteria add_location_to_context add_location_to_instructions skills",
    "nothing is ever sent to anybody; leave it out": "telemetry monitoring",
    "the package logs to logging.getLogger('agno_mongo'); set its level": "debug_mode debug_level",
    "a session is named by set_session_name()": "session_name",
    "the input of run() is the user's message": "user_message",
    "history is limited by num_history_runs, num_history_messages and num_history_tokens": "compaction",
    "results are stored and sent whole; max_tool_calls_from_history limits those of earlier runs": (
        "compress_tool_results compression_manager offload_tool_results"
    ),
    "large content stands in GridFS": "media_storage",
    "ask for it in a run of its own": "followups num_followups followup_model",
    "write run.content to a file yourself": "save_response_to_file",
    "functions that make tools are called in every run": "cache_callables callable_tools_cache_key callable_knowledge_cache_key",
    "give the model tools of your own for it": "filesystem sandbox",
}
"""What to do instead of a setting of Agno's agents: the names that have no counterpart here."""

_INSTEAD_OF_MODELS: Final[Mapping[str, str]] = {
    "pass async_client=, an AsyncOpenAI; there is no blocking one": "client",
    "say it in Agent(instructions=…)": "system_prompt instructions",
    "answers are not cached": "cache_response cache_ttl cache_dir",
    "say it to run(): stream=True": "stream streaming",
    "Agent() has it": "tools tool_choice tool_call_limit response_format output_schema markdown",
}

_SENDING = "iterate over arun(stream=True, stream_events=True), and send what you get"
_OTHER_TABLES = "sessions, archive and media are all that is stored; session_table= names them"

_NOT_THERE: Final[Mapping[str, str]] = {name: reason for reason, names in _INSTEAD.items() for name in names.split()}

MISSING: Final[Mapping[str, Mapping[str, str]]] = {
    "Agent": {**_NOT_THERE, "team": "give the agent to a Team(members=[…])"},
    "Team": {
        **_NOT_THERE,
        "parent_team_id": "a team that is a member of another knows it by parent_run_id of its runs",
        "callable_members_cache_key": "a function that makes members is called in every run",
        "enable_agentic_context": "share_member_interactions= shows members what others have answered",
    },
    "Workflow": {
        **{name: _NOT_THERE[name] for name in ("debug_mode", "debug_level", "telemetry", "media_storage")},
        "model": "agents have models; agent=WorkflowAgent(model=…) answers for the workflow",
    },
    "run()": {
        "debug_mode": "the package logs to logging.getLogger('agno_mongo'); set its level",
        "knowledge_filters": "knowledge bases are not there; give the model a tool that searches yours",
        "run_context": "a run makes its own, of session_state=, dependencies= and metadata=",
        "background_tasks": "background=True gives the run back as it begins",
        "websocket": _SENDING,
        "enable_websocket": _SENDING,
    },
    "continue_run()": {
        **dict.fromkeys(("input", "additional_instructions"), "that is a message of its own: run(…) it in the same session"),
        **dict.fromkeys(
            ("continue_from", "regenerate", "replace_original"), "db.rewind_session() takes runs back; then run(…) again"
        ),
        "fork": "db.fork_session(session_id, at_run) is a session of its own, in which you run(…) again",
    },
    "delete_session()": {"delete_media": "what a session has in GridFS is deleted with it"},
    "get_session_messages()": dict.fromkeys(
        ("member_ids", "skip_member_messages"),
        "members' runs are left out; (await team.aget_session()).get_messages(agent_id=…) has one member's",
    ),
    "model": {name: reason for reason, names in _INSTEAD_OF_MODELS.items() for name in names.split()},
    "MongoDb": {
        f"{kind}_collection": _OTHER_TABLES
        for kind in ("memory", "metrics", "eval", "knowledge", "culture", "traces", "spans", "runs")
    },
}
"""Names of Agno's that have no counterpart here, and what to do instead."""

_PACKAGE = os.path.dirname(__file__) + os.sep


def refuse_unknown(
    owner: str, given: Iterable[str], known: Iterable[str], *, table: str | None = None, component: type | None = None
) -> None:
    """Raise TypeError for a name that is none, with what to do instead or with the nearest name there is.

    ``owner`` is what the error calls the function: a class, or a method such as ``run()``, of ``component``, which may have a setting of that name.
    ``table`` is where older names are looked up, if that does not follow from ``owner``.
    """
    for name in given:
        if name not in known:
            reason = _reason(table or _missing_of(owner), name, known, component)
            raise TypeError(f"{owner} has no setting {name!r}" + (f"; {reason}" if reason else ""))


def _reason(table: str, name: str, known: Iterable[str], component: type | None = None) -> str | None:
    """What to do instead of a name that is none."""
    tables = (table, "run()") if table.endswith("()") else (table,)
    told = next((MISSING[each][name] for each in tables if name in MISSING.get(each, {})), None)
    if told is not None:
        return told
    if name in getattr(component, "__dataclass_fields__", ()):
        return f"it is a setting of {getattr(component, '__name__', '')}(…)"
    nearest = difflib.get_close_matches(name, [*known, *OLDER.get(table, ())], n=1, cutoff=0.75)
    return f"did you mean {nearest[0]!r}?" if nearest else None


def assigned(owner: str, name: str, known: Iterable[str]) -> str:
    """The name of the attribute that is meant where ``name``, which is no setting, is assigned: today's of an older one, else itself.

    An attribute of the user's own is nobody's business; one that is nearly a setting, or a setting of Agno's that is not there, is warned of.
    """
    today = OLDER.get(owner, {}).get(name)
    if today is not None:
        _warn(f"{owner}.{name}", f"{owner}.{today}")
        return today
    if reason := _reason(owner, name, known):
        _warn_caller(f"{owner} has no setting {name!r}; {reason} It is kept as an attribute of your own.", UserWarning)
    return name


def older_names_of(owner: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """:func:`older_names_accepted` for a function of a class whose users know it by another name."""
    return lambda function: older_names_accepted(function, owner=owner)


def older_names_accepted(function: Callable[P, T], *, owner: str | None = None, table: str | None = None) -> Callable[P, T]:
    """Take older settings too, each with a DeprecationWarning that names today's.

    A setting that is not there and asks for nothing (None, False) is left out; ``debug_mode=True`` of a component lets the package's DEBUG through.
    A setting that never was is a TypeError with the nearest name that is; a function with ``**options`` sees to those itself. ``owner`` is
    what errors call the function.
    """
    parameters = inspect.signature(function).parameters
    known = {name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD}
    has_options = len(known) < len(parameters)
    named = owner or function.__qualname__.removesuffix(".__init__")
    older = OLDER.get(table or _table_of(named), {})

    @functools.wraps(function)
    def renaming(*args: P.args, **kwargs: P.kwargs) -> T:
        if not older.keys().isdisjoint(kwargs):
            _rename(named, {name: today for name, today in older.items() if has_options or today in known}, known, kwargs)
        if not known.issuperset(kwargs):
            _leave_out(named, MISSING.get(table or _table_of(named), {}), known, kwargs)
        if not has_options and not known.issuperset(kwargs):
            refuse_unknown(named, kwargs, known, table=table)
        return function(*args, **kwargs)

    return renaming


def _leave_out(owner: str, missing: Mapping[str, str], known: set[str], given: dict[str, Any]) -> None:
    """Drop the settings of Agno's that ask for nothing: what is not there is given as None or False, ``telemetry=False`` say."""
    for name in [name for name in given if name in missing and name not in known]:
        if given[name] is None or given[name] is False:
            del given[name]
        elif name == "debug_mode" and not owner.endswith("()"):
            logging.getLogger("agno_mongo").setLevel(logging.DEBUG)
            del given[name]


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


def model_settings_told(model: type[ComponentT]) -> type[ComponentT]:
    """The class of a model, whose constructor says what to do instead of a setting that is none."""
    settings = older_names_accepted(model.__init__, owner=model.__name__, table="model")
    model.__init__ = settings  # type: ignore[method-assign]
    return model


def older_options_accepted(method: Callable[P, T]) -> Callable[P, T]:
    """The method that runs, which takes older options too: see :func:`older_names_accepted`."""
    return older_names_accepted(method, owner=f"{method.__name__}()")


def older_method(
    name: str, today: Callable[..., T], *, arguments: tuple[str, ...] | None = None, **fixed: Any
) -> Callable[..., T]:
    """The method ``today`` under its older name. ``arguments`` are what it called them by position, where that differs; ``fixed`` is what it
    meant by itself.
    """

    @functools.wraps(today)
    def older(self: Any, *args: Any, **kwargs: Any) -> T:
        _warn(f"{name}()", f"{today.__name__}()")
        if arguments is None:
            return today(self, *args, **kwargs)
        if len(args) > len(arguments):
            raise TypeError(f"{name}() takes at most {len(arguments)} arguments, not {len(args)}")
        return today(self, **dict(zip(arguments, args, strict=False)), **fixed, **kwargs)

    older.__name__ = name
    return older


def older_value(owner: str, setting: str, older: str, today: str) -> None:
    """Warn of a setting's value that has another name today."""
    _warn(f"{owner}({setting}={older!r})", f"{owner}({setting}={today!r})")


def _table_of(owner: str) -> str:
    return "run()" if owner.endswith("()") else "MongoDb" if owner.endswith("Db") else owner


def _missing_of(owner: str) -> str:
    """The table that has what ``owner`` does not: a method has one of its own where it has more to say than others, its twin the same."""
    return _table_of(owner) if not owner.endswith("()") else owner.removeprefix("a")


def _warn(older: str, today: str) -> None:
    _warn_caller(f"{older} is an older name of {today}", DeprecationWarning)


def _warn_caller(text: str, category: type[Warning]) -> None:
    # The caller's line, however many of our own frames are between: the blocking twins have more than the others.
    frame, level = sys._getframe(), 1  # noqa: SLF001 - what warnings itself counts by
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
