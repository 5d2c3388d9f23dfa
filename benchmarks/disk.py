"""What a long chat takes on disk, beside the text that was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contestants import Contestant
from contestants.bare import Bare
from contestants.run_documents import RunDocuments
from measuring import table


@dataclass(frozen=True)
class Plan:
    """``most`` says for whom a chat of ``turns`` would take too long, by name."""

    turns: int
    most: dict[str, int]


@dataclass(frozen=True)
class Result:
    """Bytes. ``bson`` is what was stored before compression, ``data`` and ``indexes`` the files."""

    contestant: Contestant
    turns: int
    payload: int
    bson: int
    data: int
    indexes: int


async def measure(contestants: Sequence[Contestant], plan: Plan) -> list[Result]:
    """A chat of real turns, one after the other, in an empty database. Bare PyMongo is left out: it stores what agno_mongo does."""
    playing = [
        contestant for contestant in contestants if not isinstance(contestant, Bare) or isinstance(contestant, RunDocuments)
    ]
    return [await _one(contestant, min(plan.turns, plan.most.get(contestant.name, plan.turns))) for contestant in playing]


async def _one(contestant: Contestant, turns: int) -> Result:
    await contestant.chat(turns)
    sizes = await _sizes(contestant)
    await contestant.client.drop_database(contestant.database_name)
    return Result(contestant, turns, turns * contestant.size.payload, *sizes)


async def _sizes(contestant: Contestant) -> tuple[int, int, int]:
    # The files grow when the server makes a checkpoint.
    await contestant.client.admin.command("fsync")
    names = await contestant.database.list_collection_names()
    stats: list[dict[str, Any]] = [await contestant.database.command("collStats", name) for name in names]
    return tuple(sum(found[field] for found in stats) for field in ("size", "storageSize", "totalIndexSize"))


HEADER = ("a chat", "turns", "text KB", "BSON KB", "x text", "on disk KB", "x text", "indexes KB")


def shown(results: Sequence[Result]) -> str:
    rows = [
        [
            f"{result.contestant.size.name}: {result.contestant.name}",
            f"{result.turns:,}",
            f"{result.payload / 1024:,.0f}",
            f"{result.bson / 1024:,.0f}",
            f"{result.bson / result.payload:.2f}",
            f"{result.data / 1024:,.0f}",
            f"{result.data / result.payload:.2f}",
            f"{result.indexes / 1024:,.0f}",
        ]
        for result in results
    ]
    return table(HEADER, rows)
