"""kill -9 of the client before and after every command: what was acknowledged is whole and once, and the session goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import crashing_of_stores
from tests.crashing import SCENARIOS, Nursery, crash_everywhere, table

__all__ = ["crashing_of_stores"]


@pytest.fixture(scope="module")
def nurseries() -> Iterator[tuple[Nursery, ...]]:
    """One for each of two cores."""
    with Nursery() as one, Nursery() as other:
        yield one, other


FATES = {
    "turns": {"absent", "interrupted", "stored", "all acknowledged"},
    "long_turn": {"absent", "interrupted", "stored", "all acknowledged"},
    "deletion": {"whole", "gone"},
    "archive_move": {"absent", "interrupted", "stored", "all acknowledged"},
    "large_turn": {"absent", "interrupted", "stored", "all acknowledged"},
    "checkpoints": {f"interrupted after {rounds} rounds" for rounds in range(4)} | {"absent", "stored", "all acknowledged"},
    "pausing": {"absent", "INTERRUPTED", "PAUSED", "INTERRUPTED, answered", "COMPLETED"},
    "fork": {"not forked", "forked", "all acknowledged"},
    "rewind_with_copy": {"as before", "as before, copied", "rewound, copied", "all acknowledged"},
    "rewind_without_copy": {"as before", "rewound", "all acknowledged"},
    "large_deletion": {"whole", "gone", "all acknowledged"},
    "queue": {"absent, interrupted", "interrupted, interrupted", "interrupted, stored", "interrupted", "stored"},
}
"""What becomes of what was in flight, by where its process died; each of these must have come about."""


@pytest.mark.timeout(360)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_client_killed_at_any_command_loses_nothing_and_blocks_nobody(
    nurseries: tuple[Nursery, ...], mongo_url: str, db_name: str, name: str
) -> None:
    wanted, fates = FATES.get(name, set()), set[str]()
    # On a busy machine a lease is renewed, or a queue looked at, once more: then the numbers of the commands are others from child to child.
    for _ in range(3):
        outcomes = await crash_everywhere(nurseries, mongo_url, db_name, name)
        print(table(outcomes))
        fates |= {outcome.fate for outcome in outcomes}
        if fates >= wanted:
            break
    assert fates >= wanted
