"""A process of its own that runs an agent: ``python -m tests.turn_process <what> <address> <database> [argument]``."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from agno_mongo.agent import Agent
from agno_mongo.db.mongo import MongoDb
from agno_mongo.execution import Settings
from agno_mongo.models.base import ModelRequest
from agno_mongo.testing import ScriptedModel


async def queue(db: MongoDb, name: str) -> None:
    """Five runs at once that wait their turn, each answering how much it was shown."""

    async def work(request: ModelRequest) -> str:
        await asyncio.sleep(0.01)
        return f"{len(request.messages)} messages"

    async def run(number: int) -> None:
        agent = Agent(
            model=ScriptedModel(work), db=db, session_id="s",
            add_history_to_context=True, num_history_runs=20, concurrent_runs="queue",
        )  # fmt: skip
        await agent.arun(f"{name}{number}")

    await asyncio.gather(*(run(number) for number in range(5)))


async def die(db: MongoDb, _argument: str) -> None:
    """A run whose process is gone in the middle of it; its lease holds for one second."""
    Settings.lease = 1.0

    def leave(_request: ModelRequest) -> str:
        os._exit(9)

    await Agent(model=ScriptedModel(leave), db=db, session_id="s").arun("go")


async def main(what: str, url: str, db_name: str, argument: str = "") -> None:
    tasks: dict[str, Any] = {"queue": queue, "die": die}
    async with MongoDb(url, db_name=db_name) as db:
        await tasks[what](db, argument)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
