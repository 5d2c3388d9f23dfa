"""Who holds a run, and which runs came before it. About stored entries of ``active_runs``; nothing is sent from here.

A session's ``active_runs`` has an entry for every run that was begun and not finished. MongoDB keeps the order of a document's keys, and
an entry that is set for the first time goes behind the others: the order of the keys is the order in which the runs arrived, the same for
every reader.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from agno_mongo.db import values
from agno_mongo.db.keys import SessionKey
from agno_mongo.errors import SessionBusy

PAUSED: Final = "PAUSED"
"""The ``status`` of an entry that waits for a person. It has no lease, ``lease_until`` is 0, so that it is ahead of nobody."""

_IDENTITY = ("started_at", "continued_by")
"""What changes when a run is begun anew or taken over by another process."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An open run, as the process sees it that holds it.

    ``continued_by`` is the token of the process that took the run over, None in the process that began it. ``attempt`` tells two calls apart
    that were given the same run id: the entry is the first one's while that lives, and the second is its guest.
    """

    key: SessionKey
    run_id: str
    continued_by: str | None = None
    attempt: str | None = None

    @property
    def name(self) -> str:
        """The run's key in ``active_runs``."""
        return values.encode_key(self.run_id)

    @property
    def entry(self) -> str:
        """The path of the run's entry."""
        return f"active_runs.{self.name}"

    @property
    def filter(self) -> dict[str, Any]:
        """Matches the session while the run is open there and nobody else has taken it over. Of two calls with one run id either may
        finish it.
        """
        token = {"$exists": False} if self.continued_by is None else self.continued_by
        return {**self.key.filter, self.entry: {"$exists": True}, f"{self.entry}.continued_by": token}

    @property
    def held(self) -> dict[str, Any]:
        """Matches while, beside that, the entry is this very call's: nobody else renews it, adds to it or takes it back."""
        return self.filter if self.continued_by is not None else {**self.filter, f"{self.entry}.attempt": self.attempt}

    def to_renew(self, now: float) -> dict[str, Any]:
        """Matches while the entry is this call's, or is nobody's any more because the call died that had it."""
        if self.continued_by is not None:
            return self.filter
        forsaken = {f"{self.entry}.lease_until": {"$lte": now}, f"{self.entry}.status": {"$ne": PAUSED}}
        return {**self.filter, "$or": [{f"{self.entry}.attempt": self.attempt}, forsaken]}

    def free_for(self, now: float) -> dict[str, Any]:
        """Matches unless another call has an entry of this id and lives, or the run waits for a person."""
        anothers = {f"{self.entry}.lease_until": {"$gt": now}, f"{self.entry}.attempt": {"$ne": self.attempt}}
        return {"$nor": [anothers, {f"{self.entry}.status": PAUSED}]}

    def to_take_over(self, now: float, answered: Collection[str] | None) -> dict[str, Any]:
        """Matches if the run may go on: nobody has it, and these calls are those that wait for an answer. Without answers, none may wait."""
        expected = {f"{self.entry}.status": {"$ne": PAUSED}} if answered is None else {f"{self.entry}.pending": sorted(answered)}
        free = {f"{self.entry}.lease_until": {"$lte": now}, **expected}
        return {**self.key.filter, "$or": [free, {f"{self.entry}.continued_by": self.continued_by}]}


@dataclass(frozen=True)
class Ahead:
    """Runs that hold a live lease and came before. ``entries`` has of each what tells it apart, by its key in ``active_runs``."""

    entries: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, active_runs: Mapping[str, Any], name: str | None, now: float, *, came_again: bool) -> Ahead:
        """Those ahead of the run under ``name``. One that ``came_again`` stands in its old place and yields to all who are there; a
        guest has no place of its own, its ``name`` is None.
        """
        entries: dict[str, Mapping[str, Any]] = {}
        for other, entry in active_runs.items():
            if other != name:
                entries[other] = entry
            elif not came_again:
                break
        return cls({other: entry for other, entry in entries.items() if _live(entry, now)})

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def projection(self) -> dict[str, int]:
        """What must be read to see who is still there."""
        fields = ("lease_until", *_IDENTITY)
        return {"_id": 0, **{f"active_runs.{name}.{field}": 1 for name in self.entries for field in fields}}

    def still(self, active_runs: Mapping[str, Any], now: float) -> Ahead:
        """Those who are still there. Who was begun anew or taken over since has come later."""
        return Ahead(
            {
                name: active_runs[name]
                for name, entry in self.entries.items()
                if name in active_runs and _live(active_runs[name], now) and _identity(active_runs[name]) == _identity(entry)
            }
        )

    def busy(self, session_id: str, waited: float | None = None) -> SessionBusy:
        """The error of a run that does not wait, or has waited long enough. It says nothing about whose runs they are."""
        until = moment_of(max(entry["lease_until"] for entry in self.entries.values()))
        others = "1 other run is" if len(self) == 1 else f"{len(self)} other runs are"
        outcome = 'and concurrent_runs="reject"' if waited is None else f"and did not finish within queue_timeout={waited:g} s"
        return SessionBusy(
            f"session {session_id!r}: {others} going on there {outcome}; this run did not begin, nothing of it is stored. "
            f"The last lease holds until {until:%Y-%m-%d %H:%M:%S} UTC, and is renewed while a run shows life",
            session_id=session_id,
            runs_ahead=len(self),
            lease_until=until,
        )


NOBODY: Final = Ahead({})


def moment_of(seconds: float) -> datetime:
    """Unix seconds as an aware datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def _live(entry: Mapping[str, Any], now: float) -> bool:
    return bool(entry.get("lease_until", 0) > now)


def _identity(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(field) for field in _IDENTITY)
