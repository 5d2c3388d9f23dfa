"""A chat in a process of its own: ``python -m tests.chatting_process URL DATABASE`` (``-`` for a database in memory), with ``async`` for ``acli_app``."""

from __future__ import annotations

import asyncio
import sys

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.models.base import ModelDelta, ModelRequest


class Slow:
    """Repeats what it is told; told to take its time it says so and does not end."""

    id = "slow"
    provider = "test"

    async def respond(self, request: ModelRequest):
        said = request.messages[-1].get_content_string()
        if said.startswith("slowly"):
            yield ModelDelta(content="I take my time. ")
            await asyncio.sleep(60)
        yield ModelDelta(content=f"You said {said!r}.")
        yield ModelDelta(finish_reason="stop")


def main(url: str, database: str, *how: str) -> None:
    db = InMemoryDb() if url == "-" else MongoDb(url, db_name=database)
    agent = Agent(model=Slow(), db=db, session_id="chat", user_id="john")
    if "async" in how:
        asyncio.run(agent.acli_app())
    else:
        agent.cli_app()


if __name__ == "__main__":
    main(*sys.argv[1:])
