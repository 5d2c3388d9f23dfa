"""Session state by difference: what a run changed, and how that meets what others changed meanwhile.

All of it is about encoded values (see :mod:`agno_mongo.db.values`) and without any input or output. A change is one key, at any
depth of nested dicts, that was set or removed; lists are values like others, replaced whole. What came about by ``increment`` and
``append`` alone is a change that the server adds to what it finds, whatever that is by then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import Any, Final, Literal

import bson
from bson import Int64

STATE = "session_data.session_state"
"""Where the state stands in the session document."""

GUARDED_BYTES = 4096
"""The largest value, in bytes of BSON, that is compared on the server to see whether somebody else changed it."""

_INT64: Final = range(-(2**63), 2**63)


class Missing(Enum):
    """The value of a key that is not there; None is a value."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True)
class Change:
    """One key that a run changed: ``before`` is what the run loaded, ``after`` what it left.

    If a number, or a list, was ``added`` and nothing else was done, that is what is sent, and ``before`` does not matter.
    """

    path: tuple[str, ...]
    before: Any
    after: Any
    added: Any = MISSING

    @property
    def name(self) -> str:
        """The dotted path of the key in the session document."""
        return ".".join((STATE, *self.path))


def same(left: Any, right: Any) -> bool:
    """Equality as BSON sees it: ``1``, ``1.0`` and ``True`` differ, and so do both zeros; a NaN equals itself, key order is nothing."""
    if _type(left) is not _type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return math.isnan(right) if math.isnan(left) else left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


def _type(value: Any) -> type:
    """An integer over 32 bits comes back from the server as the driver's Int64, and is the same number."""
    return int if type(value) is Int64 else type(value)


def difference(before: Mapping[str, Any], after: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[Change]:
    """The changes that lead from ``before`` to ``after``, key by key down through nested dicts."""
    changes: list[Change] = []
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key, MISSING), after.get(key, MISSING)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += difference(old, new, (*path, key))
        elif not same(old, new):
            changes.append(Change((*path, key), old, new))
    return changes


def merge(default: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid on ``default``, key by key down through nested dicts. Neither is changed or shared."""
    merged = deepcopy(dict(default))
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else deepcopy(value)
    return merged


def put(state: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put the value at ``path``, in place; MISSING removes the key. Where a parent is no dict, one takes its place; what is to go has gone with it."""
    *parents, last = path
    for step in parents:
        if not isinstance(state.get(step), dict):
            if value is MISSING:
                return
            state[step] = {}
        state = state[step]
    if value is MISSING:
        state.pop(last, None)
    else:
        state[last] = value


def changes_of(
    before: Mapping[str, Any], after: Mapping[str, Any], additions: Iterable[tuple[tuple[str, ...], Any]] = ()
) -> list[Change]:
    """The changes that lead from ``before`` to ``after``, of which ``additions``, by path, made a part.

    A key for which the additions alone account is added to. One that was changed in another way as well is set, like all others.
    """
    by_path: dict[tuple[str, ...], list[Any]] = {}
    for path, added in additions:
        by_path.setdefault(path, []).append(added)
    added_to = [change for path, parts in by_path.items() if (change := _addition(path, parts, before, after))]
    for change in added_to:
        before = _with(before, change.path, change.after)
    return [*added_to, *difference(before, after)]


def _addition(path: tuple[str, ...], parts: list[Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> Change | None:
    (depth, old), (depth_now, new) = descend(before, path), descend(after, path)
    lists = [part for part in parts if isinstance(part, list)]
    if min(depth, depth_now) < len(path) or len(lists) not in {0, len(parts)}:
        return None
    total = list(chain.from_iterable(lists)) if lists else sum(parts)
    # Numbers one after the other: the order of floats matters to the last digit.
    expected = _increased(old, [total] if lists else parts)
    if expected is MISSING or not same(expected, new) or same(old, new) or not _is_storable(total):
        return None
    return Change(path, old, new, total)


def _increased(value: Any, parts: Iterable[Any]) -> Any:
    """What the server makes of ``value`` by ``$inc`` or ``$push``; MISSING where it refuses."""
    for part in parts:
        if value is MISSING:
            value = part
        elif isinstance(part, list) and isinstance(value, list):
            value = [*value, *part]
        elif is_number(part) and is_number(value) and _is_storable(value + part):
            value += part
        else:
            return MISSING
    return value


def is_number(value: Any) -> bool:
    """Whether it can be added to: a bool cannot."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_storable(value: Any) -> bool:
    return not isinstance(value, int) or value in _INT64


def _with(state: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The state with that value at ``path``; a copy as far as they differ."""
    below = value if len(path) == 1 else _with(state.get(path[0], {}), path[1:], value)
    return {**state, path[0]: below}


def update_of(changes: Iterable[Change]) -> dict[str, dict[str, Any]]:
    """The changes as MongoDB's ``$set``, ``$unset``, ``$inc`` and ``$push``, all four of them."""
    update: dict[str, dict[str, Any]] = {"$set": {}, "$unset": {}, "$inc": {}, "$push": {}}
    for change in changes:
        if isinstance(change.added, list):
            update["$push"][change.name] = {"$each": change.added}
        elif change.added is not MISSING:
            update["$inc"][change.name] = change.added
        elif change.after is not MISSING:
            update["$set"][change.name] = change.after
        else:
            update["$unset"][change.name] = ""
    return update


def guard_of(changes: Iterable[Change], state_revision: int | None) -> dict[str, Any]:
    """A filter that matches only while nobody else has changed the same keys.

    Values are compared themselves; for large ones ``state_revision``, which counts the writes to the state, stands in, and for a NaN,
    which to mongomock equals nothing. It may tell of a change that was none of ours, which costs a second look and nothing else. A key
    that is added to may have any value.
    """
    guard: dict[str, Any] = {}
    for change in changes:
        before = change.before
        if change.added is not MISSING:
            pass
        elif before is MISSING:
            guard[change.name] = {"$exists": False}
        elif _is_large(before) or _has_nan(before):
            guard["state_revision"] = state_revision
        else:
            guard[change.name] = {"$eq": before, "$exists": True}
            if not isinstance(before, (dict, list)):
                # An equality matches a list that has the value as an element; a list has an element "0".
                guard[f"{change.name}.0"] = {"$exists": False}
        guard |= _no_lists_above(change)
    return guard


def _no_lists_above(change: Change) -> dict[str, Any]:
    """By a key such as "0" the server would reach into a list that somebody put in its parent's place."""
    depths = [depth for depth, key in enumerate(change.path) if depth and key.isdigit()]
    return {".".join((STATE, *change.path[:depth])): {"$not": {"$type": "array"}} for depth in depths}


def _is_large(value: Any) -> bool:
    return isinstance(value, (str, bytes, dict, list)) and len(bson.encode({"": value})) > GUARDED_BYTES


def _has_nan(value: Any) -> bool:
    if isinstance(value, (dict, list)):
        return any(map(_has_nan, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and math.isnan(value)


def rebase(
    changes: Iterable[Change], theirs: Mapping[str, Any], keep: Literal["ours", "theirs"] = "ours"
) -> tuple[list[Change], list[Change]]:
    """The same changes as seen from ``theirs``, what is stored by now; and those among them that conflict.

    A key that both set to the same value, or both removed, is no conflict. A dict that both added is merged key by key.
    A key whose parent is no dict any more conflicts, and takes the parent's place. What was added is added to whatever they left; only
    where that is no number, or no list, it conflicts, and is a value like others from then on. To ``keep`` theirs leaves out what
    conflicts, at whatever depth that is, and nothing else.
    """
    rebased: dict[tuple[str, ...], Change] = {}
    conflicts: list[Change] = []
    pending = list(reversed(list(changes)))
    while pending:
        change = pending.pop()
        depth, found = descend(theirs, change.path)
        whole = depth == len(change.path)
        if whole and (agreed := _agreed(change, found)):
            rebased[change.path] = agreed
        elif change.after is MISSING and not whole:
            # Gone with its parent, and to be looked after should the parent come back.
            parent = change.path[:depth]
            rebased.setdefault(parent, Change(parent, found, found))
        elif whole and change.before is MISSING and isinstance(found, dict) and isinstance(change.after, dict):
            within = difference({}, change.after, change.path)
            pending += reversed(within or [Change(change.path, found, found)])
        else:
            clashes = not whole or not same(found, change.before)
            if clashes:
                conflicts.append(change)
            if not clashes or keep == "ours":
                _lay(rebased, Change(change.path[:depth], found, _nested(change.path[depth:], change.after)))
    return list(rebased.values()), conflicts


def _agreed(change: Change, found: Any) -> Change | None:
    """The change where what was ``found`` is no obstacle, whoever set it; None if it may be one."""
    if change.added is not MISSING and _increased(found, [change.added]) is not MISSING:
        return change
    if same(found, change.after):
        # Already so; it is written again all the same, so that its guard sees whether it stays so until then.
        return Change(change.path, found, change.after)
    return None


def _lay(rebased: dict[tuple[str, ...], Change], change: Change) -> None:
    """Put the change beside the others, or into the one that has its path."""
    rebased[change.path] = _joined(rebased[change.path], change) if change.path in rebased else change


def descend(state: Mapping[str, Any], path: tuple[str, ...]) -> tuple[int, Any]:
    """How far ``path`` leads through dicts, and what stands there. A missing step is no obstacle: it can be set."""
    value: Any = state
    for depth, key in enumerate(path):
        if value is MISSING:
            return len(path), MISSING
        if not isinstance(value, dict):
            return depth, value
        value = value.get(key, MISSING)
    return len(path), value


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _joined(first: Change, second: Change) -> Change:
    if isinstance(first.after, dict) and isinstance(second.after, dict):
        return Change(first.path, first.before, merge(first.after, second.after))
    return second
