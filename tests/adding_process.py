"""A process of its own that runs an agent several times at once in one session; the runs add to the same keys.

Arguments: address, database, number of the process, number of runs. It says when it is ready and begins on a line of input; then it
prints how often its runs sent which command. What the archive moves in the background is not theirs.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener

from agno_mongo.agent import Agent
from agno_mongo.db.mongo import MongoDb
from agno_mongo.run import RunContext
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.crashing import described


class Counts(CommandListener):
    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def started(self, event: Any) -> None:
        if event.command_name == "findAndModify" and event.command.get("upsert"):
            self.sent["begins"] += 1
        elif described(event.command) == "renewal":
            # Of a lease, on a machine that has other things to do.
            return
        elif any(name.startswith("active_runs.") for name in event.command.get("query", {})):
            self.sent["ends"] += 1
        elif any(name.startswith("active_runs.") for name in event.command.get("projection", {})):
            self.sent["second looks"] += 1

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        self.sent[f"refused {event.command_name}"] += 1


def add(run_context: RunContext, own: str) -> int:
    run_context.session_state[own] = own
    run_context.state.append(("nested", "log"), own)
    return run_context.state.increment("counter")


async def main(url: str, db_name: str, process: int, runs: int) -> None:
    counts = Counts()
    async with AsyncMongoClient(url, event_listeners=[counts]) as client:
        db = MongoDb(client=client, db_name=db_name)
        agents = [
            Agent(model=ScriptedModel(ToolCall("add", {"own": f"{process}_{run}"}), "ok"), db=db, session_id="s", tools=[add])
            for run in range(runs)
        ]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        outcomes = await asyncio.gather(*(agent.arun("go") for agent in agents))
        assert all(not run.state_conflicts and run.tools and not run.tools[0].tool_call_error for run in outcomes)
        await db.close()
        print(json.dumps(counts.sent), flush=True)


if __name__ == "__main__":
    address, name, number, count = sys.argv[1:]
    asyncio.run(main(address, name, int(number), int(count)))
