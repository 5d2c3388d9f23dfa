"""The arguments of the public methods, checked and turned into what a command takes. Nothing is sent from here."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Any, Final, Literal

from pymongo import ASCENDING, DESCENDING

from agno_mongo import checks
from agno_mongo.db import values
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import Session
from agno_mongo.db.keys import NO_USER, Owner, owner_filter
from agno_mongo.errors import ConfigurationError, UnstorableValueError

_FAR: Final = 2**53
_SORTABLE: Final = frozenset(
    {"created_at", "updated_at", "session_id", "user_id", "session_type", "agent_id", "team_id", "workflow_id"}
)

Total = Literal["exact", "estimated"]
"""How sessions are counted: one by one, or as well as it is cheap."""


def check_id(name: str, value: Any) -> str:
    """The id, if it is text of at least one character that UTF-8 can write; else ConfigurationError naming it."""
    if type(value) is str and value and value.isascii():
        return value
    if not isinstance(value, str) or not value:
        shown = "an empty string" if value == "" else checks.typed(value)
        raise ConfigurationError(f"{name} must be text of at least one character, not {shown}")
    try:
        return str(values.encode(value, path=name))
    except UnstorableValueError as error:
        raise ConfigurationError(str(error)) from error


def check_run_id(value: Any) -> str:
    """The run's id, if ``check_id`` takes it and it has no NUL character; else ConfigurationError."""
    run_id = check_id("run_id", value)
    if "\x00" in run_id:
        raise ConfigurationError(f"run_id must have no NUL character, because it is a key in the session's document: {run_id!r}")
    return run_id


def session_type_of(value: SessionType | str) -> SessionType:
    """The session type by its name; ConfigurationError if there is no such type."""
    try:
        return SessionType(value)
    except ValueError:
        raise ConfigurationError(f"session_type is 'agent', 'team' or 'workflow', not {checks.shown(value)}") from None


def check_names(db_name: Any, session_table: Any) -> None:
    """Raise ConfigurationError for a database or collection name that MongoDB does not take."""
    for name, value, forbidden in (("db_name", db_name, '/\\. "$\x00'), ("session_table", session_table, "$\x00")):
        if not isinstance(value, str) or not value or any(character in value for character in forbidden):
            raise ConfigurationError(f"{name}={value!r}: MongoDB takes text that is not empty and has none of {forbidden!r}")
    if session_table.startswith((".", "system.")) or session_table.endswith(".") or ".." in session_table:
        raise ConfigurationError(f"session_table={session_table!r} is no name that MongoDB takes for a collection")


def scope_of(session_type: SessionType | str | None, user_id: Owner) -> dict[str, Any]:
    """The part of a filter that says whose sessions of which type; empty for any."""
    scope = owner_filter(user_id)
    return scope if session_type is None else {**scope, "session_type": session_type_of(session_type).value}


def filter_of(
    session_type: SessionType | str | None,
    user_id: Owner,
    component_id: str | None,
    session_name: str | None = None,
    start_timestamp: int | None = None,
    end_timestamp: int | None = None,
) -> dict[str, Any]:
    """The filter of a list of sessions, in a form that the indexes serve."""
    if user_id is not None and user_id is not NO_USER:
        check_id("user_id", user_id)
    which = owner_filter(user_id)
    kinds = [session_type_of(session_type)] if session_type is not None else list(SessionType)
    if component_id is None:
        # With all three types named, the indexes serve the order too.
        which["session_type"] = {"$in": [kind.value for kind in kinds]}
    else:
        check_id("component_id", component_id)
        which |= _component_filter(kinds, component_id)
    if session_name is not None:
        which["session_data.session_name"] = {"$regex": _quoted(session_name), "$options": "i"}
    for name, value in (("start_timestamp", start_timestamp), ("end_timestamp", end_timestamp)):
        if value is not None and (not isinstance(value, (int, float)) or abs(value) >= _FAR):
            raise ConfigurationError(f"{name} is in Unix seconds, not {checks.shown(value)}")
    created = {"$gte": start_timestamp, "$lte": end_timestamp}
    if bounds := {operator: bound for operator, bound in created.items() if bound is not None}:
        which["created_at"] = bounds
    return which


def _component_filter(kinds: Sequence[SessionType], component_id: str) -> dict[str, Any]:
    # The partial indexes are used only by a query that says it wants text.
    wanted = {"$eq": component_id, "$type": "string"}
    each = [{kind.id_field: wanted, "session_type": kind.value} for kind in kinds]
    return each[0] if len(each) == 1 else {"$or": each}


def _quoted(text: Any) -> str:
    if not isinstance(text, str) or not text or "\x00" in text:
        raise ConfigurationError(f"session_name is text, not {checks.shown(text)}")
    check_id("session_name", text)
    return "".join(character if character.isalnum() or character == " " else f"\\{character}" for character in text)


def page_of(limit: int | None, page: int | None) -> tuple[int, int]:
    """Limit and skip of a page that counts from 1; limit 0 is none."""
    for name, value in (("limit", limit), ("page", page)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < _FAR):
            raise ConfigurationError(f"{name} is a whole number from 1 to {_FAR - 1}, not {checks.shown(value)}")
    if page is not None and limit is None:
        raise ConfigurationError("page= needs limit=, the size of a page")
    return limit or 0, (limit or 0) * ((page or 1) - 1)


def limit_of(limit: Any) -> int:
    """The limit of what has no other end; ConfigurationError for None too."""
    if limit is None:
        raise ConfigurationError(f"limit is a whole number from 1 to {_FAR - 1}, not None")
    return page_of(limit, None)[0]


def order_of(sort_by: str | None, sort_order: str | None) -> list[tuple[str, int]]:
    """What a list is sorted by, the last used first unless asked."""
    if sort_order not in (None, "asc", "desc"):
        raise ConfigurationError(f"sort_order is 'asc' or 'desc', not {checks.shown(sort_order)}")
    field = sort_by or "updated_at"
    if field not in _SORTABLE:
        raise ConfigurationError(f"sort_by={field!r}: sessions can be sorted by {', '.join(sorted(_SORTABLE))}")
    direction = ASCENDING if sort_order == "asc" else DESCENDING
    return [(field, direction), ("touched_at" if field == "updated_at" else "_id", direction)]


def total_of(total: Any) -> Total | None:
    """How to count, if it is one of the ways; ConfigurationError if not."""
    if total not in (None, "exact", "estimated"):
        raise ConfigurationError(f"total is 'exact', 'estimated' or None, not {checks.shown(total)}")
    checked: Total | None = total
    return checked


def document_of(session: Session) -> dict[str, Any]:
    """A session as ``replace_session`` takes it. Raises ConfigurationError for one that was read in part."""
    stored = session.to_dict()
    stored.pop("active_runs")
    path = f"session {session.session_id!r}"
    document: dict[str, Any] = values.encode(stored, path=path)
    data = {name: value for name, value in (document.get("session_data") or {}).items() if value is not None}
    document["session_data"] = {"session_state": {}, **data}
    if session.runs is None:
        del document["runs"], document["run_count"]
    else:
        document["run_count"] = len(session.runs)
        if document["run_count"] < session.run_count:
            raise ConfigurationError(
                f"{path} was read with some of its {session.run_count} runs only; storing it would lose the others. "
                "Read it whole, or set runs to None to leave them alone"
            )
    document["updated_at"] = int(time())
    return document
