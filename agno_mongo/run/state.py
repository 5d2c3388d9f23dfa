"""What a run adds to its session's state: counters and lists that other runs add to at the same time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final

from agno_mongo.errors import ConfigurationError, StateTypeError, UnstorableValueError

_INT64: Final = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Addition:
    """One call of ``increment``, with a number, or of ``append``, with a list. ``path`` are the names that lead to the key."""

    path: tuple[str, ...]
    added: int | float | list[Any]


class StateAdditions:
    """``run_context.state``: counters and lists in the session's state that runs at the same time add to without losing any.

    ::

        run_context.state.increment("visits")
        run_context.state.increment(("cart", "total"), 9.5)
        run_context.state.append("log", "opened", "paid")

    A key is a name, or the names that lead through nested dicts; missing dicts are made. The run's working copy,
    ``run_context.session_state``, has the new value at once. When the run ends, the server adds to whatever stands there by then, in
    the command that stores the run: nothing is read first, nothing is repeated, and no conflict arises from other runs that add.

    A key that the run also changed in another way (an assignment, a list changed in place) so that it is no longer what the
    run loaded plus what was added here, is saved as a changed key like every other. Calls may come from several threads.
    """

    def __init__(self, session_state: Callable[[], Any]) -> None:
        self._session_state = session_state
        self._lock = RLock()
        self.check: Callable[[Any, str], object] | None = None
        """Raises UnstorableValueError for a value that the session cannot store, given with its path. Set by the runtime."""
        self._additions: list[Addition] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._additions!r})"

    def increment(self, key: str | Sequence[str], by: float = 1) -> int | float:
        """Add ``by``, an int or a finite float, to a counter, and return what this run then sees. A missing key counts from 0.

        Raises, having changed nothing: StateTypeError if the key holds no int or float, UnstorableValueError if the sum has
        more than 64 bits, ConfigurationError for a ``key`` or a ``by`` that is none.
        """
        path, amount = _path_of(key), _amount_of(by)
        with self._lock:
            parent = self._parent_of(path)
            before = 0 if parent is None else parent.get(path[-1], 0)
            if isinstance(before, bool) or not isinstance(before, (int, float)):
                raise _wrong_type("increment", path, before, "an int or a float")
            after = before + amount
            if isinstance(after, int) and after not in _INT64:
                raise _too_large(path, after)
            self._made_parent_of(path)[path[-1]] = after
            self._additions.append(Addition(path, amount))
        return after

    def append(self, key: str | Sequence[str], *values: Any) -> None:
        """Append ``values`` to a list. A missing key is a list without entries. Lists of several runs keep each run's values together.

        Raises, having changed nothing: StateTypeError if the key holds no list, UnstorableValueError for a value that cannot be stored,
        ConfigurationError for a ``key`` that is none.
        """
        path = _path_of(key)
        if self.check is not None:
            self.check(list(values), _shown(path))
        with self._lock:
            parent = self._parent_of(path)
            before = [] if parent is None else parent.get(path[-1], [])
            if not isinstance(before, list):
                raise _wrong_type("append", path, before, "a list")
            before.extend(values)
            self._made_parent_of(path)[path[-1]] = before
            self._additions.append(Addition(path, list(values)))

    @contextmanager
    def held(self) -> Iterator[Sequence[Addition]]:
        """What was added so far, in order. Within the block nothing is added: threads that want to wait."""
        with self._lock:
            yield self._additions

    def forget(self) -> None:
        """Let go of what was added so far: it was handed on."""
        with self._lock:
            self._additions.clear()

    def _parent_of(self, path: tuple[str, ...]) -> dict[str, Any] | None:
        """The dict that has the key or would have it; None if a dict on the way is missing."""
        found: Any = self._session_state()
        for depth, name in enumerate((*path[:-1], None)):
            if not isinstance(found, dict):
                raise StateTypeError(
                    f"{_shown(path)} leads through {_shown(path[:depth])}, which is {_kind(found)} and not a dict",
                    path=_shown(path),
                    value=found,
                )
            if name is None:
                return found
            if name not in found:
                return None
            found = found[name]
        return None

    def _made_parent_of(self, path: tuple[str, ...]) -> dict[str, Any]:
        parent: dict[str, Any] = self._session_state()
        for name in path[:-1]:
            parent = parent.setdefault(name, {})
        return parent


def _path_of(key: Any) -> tuple[str, ...]:
    path = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, (list, tuple)) else ()
    if not path or not all(isinstance(name, str) for name in path):
        raise ConfigurationError(f"a key of the state is a name, or a list or tuple of names for a nested one, not {key!r}")
    return path


def _amount_of(by: Any) -> int | float:
    if isinstance(by, float) and math.isfinite(by):
        return float(by)
    if isinstance(by, bool) or not isinstance(by, int):
        raise ConfigurationError(f"increment() adds an int or a finite float, not {by!r}, {_kind(by)}")
    return int(by)


def _wrong_type(method: str, path: tuple[str, ...], value: Any, wanted: str) -> StateTypeError:
    where = _shown(path)
    return StateTypeError(f"{method}() wants {wanted} at {where}, which is {_kind(value)}", path=where, value=value)


def _too_large(path: tuple[str, ...], value: int) -> UnstorableValueError:
    where = _shown(path)
    return UnstorableValueError(f"{where} cannot be stored: an integer of more than 64 bits: {value}", path=where, value=value)


def _shown(path: Sequence[str]) -> str:
    return ".".join(("session_state", *path))


def _kind(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
