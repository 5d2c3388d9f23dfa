"""pytest fixtures: a database in memory, and a model whose script is checked at the end of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.testing.scripted_model import ScriptedModel


@pytest_asyncio.fixture
async def agno_db() -> AsyncIterator[InMemoryDb]:
    """An empty database of the test's own, without a server."""
    db = InMemoryDb()
    yield db
    await db.close()


@pytest.fixture
def scripted_model() -> Iterator[ScriptedModel]:
    """A model without lines yet: ``scripted_model.script += ["Hello."]``. Lines left at the end fail the test."""
    model = ScriptedModel()
    yield model
    model.assert_finished()
