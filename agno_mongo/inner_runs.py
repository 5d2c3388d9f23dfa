"""The runs within a run, a member's in its team's, an agent's in a workflow's: what is kept of them until it is stored with the run's own record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agno_mongo.resuming import Past, entry_of_inner, is_waiting, waiting_with_inner

Record = dict[str, Any]
"""A run as it is stored, encoded."""


class InnerRuns:
    """``records`` are to be stored with the run's own, each before that of the run it belongs to; ``counters`` is what all have used.

    Without ``stored`` only those that wait for a person are kept, without which nobody could go on. ``when_replaced`` is called when records are not
    those that they were, with something added.
    """

    def __init__(self, *, stored: bool, when_replaced: Callable[[], None]) -> None:
        self._stored = stored
        self._when_replaced = when_replaced
        self._waiting: list[Record] = []
        self._ids: set[Any] = set()
        self.records: list[Record] = []
        self.counters: dict[str, float] = {}

    def take_up(self, past: Past) -> None:
        """Go on with those that a run brings with it that goes on."""
        self.records = past.inner
        self._ids = _ids_of(self.records)
        for metrics in past.inner_metrics:
            self.counters = added(self.counters, metrics.counters())

    def adopt(self, records: Sequence[Record], counters: Mapping[str, float]) -> None:
        """Take over what a run has come to: its record, behind those of the runs within it. It takes the place of what was stored when it had paused."""
        waiting = waiting_with_inner(records)
        # They are stored when the outer run pauses, and not before: nobody is asked yet.
        self._waiting += [record for record in records if record.get("run_id") in waiting]
        ended = [record for record in records if record.get("run_id") not in waiting]
        self._replace(ended, ended if self._stored else ())
        self.counters = added(self.counters, counters)

    def settle(self) -> None:
        """The outer run ends, or pauses: those that wait are stored with it."""
        self._replace(self._waiting, self._waiting)

    def _replace(self, records: Sequence[Record], kept: Sequence[Record]) -> None:
        ids = _ids_of(records)
        if not ids.isdisjoint(self._ids):
            self.records = [record for record in self.records if record.get("run_id") not in ids]
            self._when_replaced()
        self.records += kept
        self._ids -= ids
        self._ids |= _ids_of(kept)

    def has(self, run_id: str | None) -> bool:
        """True if there is the record of a run of this id."""
        return run_id in self._ids

    def has_waiting(self, run_id: str | None) -> bool:
        """True if a run of this id has paused and did not go on yet."""
        return any(record.get("run_id") == run_id and is_waiting(record) for record in self.records)

    def entry_of(self, run_id: str, answers: Sequence[Mapping[str, Any]]) -> Record:
        """What a run goes on from that has paused. Until it is adopted again, what is stored of it is that it waits."""
        return entry_of_inner(self.records, run_id, answers)

    def handed_on(self) -> tuple[list[Record], dict[str, float]]:
        """All records and counters, for the outer run to adopt. None are here any more."""
        records, counters = [*self.records, *self._waiting], self.counters
        self.records, self._waiting, self.counters, self._ids = [], [], {}, set()
        return records, counters


def _ids_of(records: Sequence[Record]) -> set[Any]:
    return {record.get("run_id") for record in records}


def added(counters: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Both, key by key."""
    return {**counters, **{name: counters.get(name, 0) + amount for name, amount in more.items()}}
