"""What a run has come to so far, as it is put under its entry in ``active_runs`` and taken from there. Nothing is sent from here.

State stands there as changes, not applied: other runs do not see the state of a run that has not finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from agno_mongo.db.archive import size_of
from agno_mongo.db.leases import Claim
from agno_mongo.db.media import INLINE_BYTES, LARGE, Split
from agno_mongo.db.state import MISSING, Change, put
from agno_mongo.media import OF_INPUT

ENTRY_BYTES: Final = 8 * INLINE_BYTES
"""Bytes that the checkpoints of one run may take in the session's document, where other runs need room too."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was added to the run's lists since its last checkpoint (messages, tools, the records of finished runs within it, finished steps), or all of
    them if ``whole``; its metrics and its changes to the state so far. ``fixed`` are fields of the entry that do not change. All is encoded; ``lease`` is in seconds, ``has_media`` says that there are references to content that is stored apart. ``input`` is empty, or has
    the run's input if its hooks have changed it since the run began; it is stored with a ``whole`` one.
    """

    claim: Claim
    lease: float
    lists: Mapping[str, Sequence[dict[str, Any]]]
    metrics: Mapping[str, Any]
    changes: Sequence[dict[str, Any]]
    whole: bool
    input: Sequence[dict[str, Any]] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    has_media: bool = False

    def sizes(self) -> tuple[int, int]:
        """The bytes in the session's document of what is added by this checkpoint, and of what it puts in the place of the last one's."""
        added = chain(self.input, *self.lists.values())
        return sum(map(_inline_bytes, added)), sum(map(_inline_bytes, (self.metrics, *self.changes)))

    def update(self, now: float) -> dict[str, Any]:
        """The update of the run's entry. What is new is added to what is there; only a first checkpoint, or one after a failure,
        puts all of them in their place.
        """
        entry = self.claim.entry
        lists: dict[str, list[Any]] = {f"{entry}.{name}": list(added) for name, added in self.lists.items()}
        to_set: dict[str, Any] = {
            f"{entry}.metrics": dict(self.metrics),
            f"{entry}.state_changes": list(self.changes),
            f"{entry}.lease_until": now + self.lease,
        }
        if self.has_media:
            to_set["has_media"] = True
        if self.whole:
            for changed in self.input:
                to_set |= {f"{entry}.{name}": changed.get(name) for name in OF_INPUT} | {
                    f"{entry}.input": changed.get("input_content")
                }
            return {"$set": {**to_set, **lists, **{f"{entry}.{name}": value for name, value in self.fixed.items()}}}
        pushed = {path: {"$each": added} for path, added in lists.items() if added}
        return {"$set": to_set, "$push": pushed} if pushed else {"$set": to_set}


def _inline_bytes(part: Mapping[str, Any]) -> int:
    """What is left of ``part`` when its large content is stored apart."""
    size = size_of(part)
    return size if size <= LARGE else size_of(Split("").split(part))


def stored_changes(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Changes as a checkpoint has them: the path, what the run put there, if it put anything, and what it only added, if it did so."""
    return [
        {"path": list(change.path)}
        | {name: value for name in ("after", "added") if (value := getattr(change, name)) is not MISSING}
        for change in changes
    ]


def with_changes(state: Mapping[str, Any], stored: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A copy of the state with a checkpoint's changes laid on it."""
    changed = deepcopy(dict(state))
    for change in stored:
        put(changed, change["path"], deepcopy(change.get("after", MISSING)))
    return changed
