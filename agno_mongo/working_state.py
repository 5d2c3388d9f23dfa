"""A run's working copy of the session state, on its way to the store and back from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from agno_mongo.db import values
from agno_mongo.db.state import MISSING, Change, descend, merge, put
from agno_mongo.errors import StateTypeError, UnstorableValueError
from agno_mongo.run.base import RunContext
from agno_mongo.run.state import Addition

_LOOKS: Final = 1000
"""How often a state that a thread is changing is looked at."""


def encoded_state(state: Any, base: dict[str, Any]) -> tuple[dict[str, Any], list[UnstorableValueError]]:
    """The state to store. A key whose value cannot be stored keeps the value it had, and its error is returned.

    A tool's thread that outlives its run may still be changing the state; it is looked at again until it holds still.
    """
    if not isinstance(state, dict):
        wrong = f"session_state cannot be stored: it is a dict, and a tool put {type(state).__name__} in its place"
        return base, [UnstorableValueError(wrong, path="session_state", value=state)]
    for _ in range(_LOOKS):
        with suppress(RuntimeError):
            return _encoded_keys(list(state.items()), base)
    wrong = "session_state cannot be stored: a tool that outlived the run keeps changing it"
    return base, [UnstorableValueError(wrong, path="session_state", value=None)]


def add_again(context: RunContext, change: Mapping[str, Any]) -> None:
    """What an interrupted run had added to the state is added to what stands there now; where that cannot be, its value is put there."""
    path = [values.decode_key(key) for key in change["path"]]
    after, added = values.decode(change["after"]), values.decode(change["added"])
    try:
        if isinstance(added, list):
            context.state.append(path, *added)
        else:
            context.state.increment(path, added)
    except (StateTypeError, UnstorableValueError):
        put(context.session_state, path, after)


def lay_on(context: RunContext, changes: Sequence[Change]) -> None:
    """The changes that a run within this one made, in this run's working copy: later ones count, what is added is added, dicts that two runs made under
    the same key become one, and a list to whose end two runs put something has both.
    """
    for change in changes:
        if change.added is not MISSING:
            add_again(context, {"path": change.path, "after": change.after, "added": change.added})
            continue
        path = tuple(values.decode_key(key) for key in change.path)
        after = MISSING if change.after is MISSING else values.decode(change.after)
        _, beside = descend(context.session_state, path)
        if change.before is MISSING and isinstance(after, dict) and isinstance(beside, dict):
            # Both have made it.
            after = merge(beside, after)
        elif isinstance(change.before, list) and _begins_with(after, before := values.decode(change.before)):
            after = [*beside, *after[len(before) :]] if _begins_with(beside, before) else after
        put(context.session_state, path, after)


def _begins_with(value: Any, start: list[Any]) -> bool:
    return isinstance(value, list) and value[: len(start)] == start


def encoded_additions(additions: Sequence[Addition]) -> list[tuple[tuple[str, ...], Any]]:
    """What ``run_context.state`` recorded, by encoded path. What cannot be stored is left out; ``encoded_state`` names it."""
    encoded: list[tuple[tuple[str, ...], Any]] = []
    for addition in additions:
        with suppress(UnstorableValueError):
            path = tuple(key for name in addition.path for key in values.encode({name: None}, path="session_state"))
            encoded.append((path, values.encode(addition.added, path="session_state")))
    return encoded


def _encoded_keys(items: list[tuple[Any, Any]], base: dict[str, Any]) -> tuple[dict[str, Any], list[UnstorableValueError]]:
    encoded: dict[str, Any] = {}
    errors: list[UnstorableValueError] = []
    for key, value in items:
        try:
            encoded |= values.encode({key: value}, path="session_state")
        except UnstorableValueError as error:
            errors.append(error)
            with suppress(UnstorableValueError):
                encoded |= {name: base[name] for name in values.encode({key: None}, path="session_state") if name in base}
    return encoded, errors
