"""The newest runs of sessions as this process last saw them, so that a run that begins need not be sent them again.

Whether they are still what is stored is for the server to say, in the command that begins the run: the runs are left out of its reply only if
nobody has written to the session since (``_id`` and ``revision``). So the cache is never stale, and costs no command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from agno_mongo.db import values
from agno_mongo.db.documents import AnyRun, Session, run_from_dict
from agno_mongo.db.keys import SessionKey
from agno_mongo.history import told_runs

SESSIONS: Final = 64
"""Sessions that one cache holds; the one that was not used for the longest time makes room."""

CONTENT: Final = 32 * 1024 * 1024
"""Characters and bytes that their runs may have together. What is too large by itself is not held."""


@dataclass(frozen=True, kw_only=True)
class KnownRuns:
    """The newest runs of the session ``id`` at ``revision``, oldest first; ``wanted`` is how many a run may ask for that is given them,
    ``sizes`` how many characters and bytes each has.
    """

    id: Any
    revision: int
    wanted: int
    runs: tuple[AnyRun, ...]
    sizes: tuple[int, ...]

    def projection(self, wanted: int, *, with_active_runs: bool) -> dict[str, Any]:
        """What a write asks to have back of the session: its newest ``wanted`` runs only if it was not the first since. For a server."""
        unchanged = {"$and": [{"$eq": ["$_id", self.id]}, {"$eq": ["$revision", self.revision + 1]}]}
        fields: dict[str, Any] = {name: 1 for name in Session.model_fields if name not in {"id", "revision_id", "runs"}}
        if not with_active_runs:
            del fields["active_runs"]
        return {**fields, "runs": {"$cond": [unchanged, [], {"$slice": [{"$ifNull": ["$runs", []]}, -wanted]}]}}

    def is_of(self, session: Session) -> bool:
        """True if the session is as it was but for the write that it was returned by."""
        return session.id == self.id and session.revision == self.revision + 1


class SessionCache:
    """The newest runs of some sessions, by session, type and owner. For any number of threads. The runs are shared: nobody changes them."""

    def __init__(self) -> None:
        self._known: dict[SessionKey, KnownRuns] = {}

    def known(self, key: SessionKey, wanted: int) -> KnownRuns | None:
        """What is known of the session, if it is enough for a run that asks for ``wanted`` runs."""
        found = self._known.pop(key, None)
        if found is not None:
            self._known[key] = found
        return found if found is not None and 0 < wanted <= found.wanted else None

    def ended(
        self,
        key: SessionKey,
        session: Session,
        before: Sequence[AnyRun] | None,
        stored: Sequence[dict[str, Any]],
        *,
        revision: int | None,
        wanted: int,
    ) -> None:
        """A run that began with ``session`` has ended: ``before`` are the session's runs as it found them, ``stored`` those that it added, encoded,
        and ``revision`` what it made of the session's. If others wrote meanwhile, what is known is forgotten.
        """
        old = self._known.pop(key, None)
        if wanted and before is not None and revision == session.revision + 1:
            measured = {} if old is None else {id(run): size for run, size in zip(old.runs, old.sizes, strict=True)}
            runs = _newest((*before, *(run_from_dict(values.decode(run)) for run in stored)), wanted)
            sizes = tuple(measured.get(id(run)) or _content(run) for run in runs)
            if sum(sizes) <= CONTENT:
                self._known[key] = KnownRuns(id=session.id, revision=revision, wanted=wanted, runs=runs, sizes=sizes)
            self._make_room()

    def _make_room(self) -> None:
        left = CONTENT
        for number, (key, known) in enumerate(reversed(list(self._known.items()))):
            left -= sum(known.sizes)
            if left < 0 or number >= SESSIONS:
                self._known.pop(key, None)


def _content(value: Any) -> int:
    """How many characters and bytes stand in a run, about."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, BaseModel):
        # Of a run that was read back with its events these name what the run has.
        return sum(_content(part) for name, part in vars(value).items() if name != "events")
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(_content, parts))


def _newest(runs: tuple[AnyRun, ...], wanted: int) -> tuple[AnyRun, ...]:
    """As few of the newest runs as have ``wanted`` that count as history, but ``wanted`` at least."""
    count = wanted
    while count < len(runs) and len(told_runs(runs[-count:])) < wanted:
        count += 1
    return runs[-count:]
