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
}
"""What becomes of the run in flight, by where its process died; each of these must have come about."""


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_client_killed_at_any_command_loses_nothing_and_blocks_nobody(
    nurseries: tuple[Nursery, ...], mongo_url: str, db_name: str, name: str
) -> None:
    outcomes = await crash_everywhere(nurseries, mongo_url, db_name, name)
    print(table(outcomes))
    assert {outcome.fate for outcome in outcomes} >= FATES.get(name, set())
