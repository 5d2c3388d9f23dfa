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
from agno_mongo.testing import ScriptedModel, ToolCall


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


async def die_in_the_third_round(db: MongoDb, checkpoint: Any) -> None:
    """A run that finishes two rounds of tools, and whose process is gone in the third; its lease holds for half a second."""
    Settings.lease = 0.5

    def note(session_state: dict[str, Any], word: str) -> str:
        if word == "third":
            os._exit(9)
        session_state.setdefault("noted", []).append(word)
        session_state.pop("old", None)
        return f"noted {word}"

    words = [(ToolCall("note", {"word": "one"}), ToolCall("note", {"word": "two"})), ToolCall("note", {"word": "three"})]
    agent = Agent(
        model=ScriptedModel(*words, (ToolCall("note", {"word": "four"}), ToolCall("note", {"word": "third"}))),
        db=db, session_id="s", tools=[note], checkpoint=checkpoint, session_state={"old": 1, "kept": 1},
    )  # fmt: skip
    await agent.arun("note all", run_id="r")


async def main(what: str, url: str, db_name: str, argument: str = "") -> None:
    tasks: dict[str, Any] = {"queue": queue, "die": die, "die_in_the_third_round": die_in_the_third_round}
    async with MongoDb(url, db_name=db_name) as db:
        await tasks[what](db, argument)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
