"""The rival layout: a document for each run, its commands sent in parallel by bare PyMongo."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from typing import Any
from uuid import uuid4

from pymongo import DESCENDING

from agno_mongo.db.documents import DEFAULT_SESSION_TABLE
from contestants.bare import Bare
from contestants.base import HISTORY_RUNS, insert

BATCH = 1000


class RunDocuments(Bare):
    """Four commands a turn, two and two at once. In: the session is upserted and its newest runs are found; out: the run is
    inserted and the session is updated. What would make a storage layer of it is not there: nothing is parsed or checked.
    """

    name = "bare PyMongo, a document for each run"
    least_sessions = 1

    async def _make_indexes(self) -> None:
        await super()._make_indexes()
        await self.database["runs"].create_index([("session_id", 1), ("run_index", DESCENDING)])

    async def _plant(self, pattern: dict[str, Any], session_id: str, runs: int) -> None:
        session = pattern | {"session_id": session_id, "runs": []}
        del session["_id"]
        await insert(self.database, {DEFAULT_SESSION_TABLE: [session]})
        for start in range(0, runs, BATCH):
            numbers = range(start, min(start + BATCH, runs))
            await self.database["runs"].insert_many([self._run_of(pattern, session_id, number) for number in numbers])

    def _run_of(self, pattern: dict[str, Any], session_id: str, number: int) -> dict[str, Any]:
        run = deepcopy(pattern["runs"][number % len(pattern["runs"])])
        texts = (self.size.input(number), self.size.answer(number))
        run |= {"run_id": str(uuid4()), "session_id": session_id, "run_index": number, "content": texts[1]}
        run["input"] = {"input_content": texts[0]}
        for message, text in zip(run["messages"], texts, strict=True):
            message["content"] = text
        return run

    def _filled(self, session_id: str, run_id: str, text: str) -> list[dict[str, Any]]:
        begin, finish = super()._filled(session_id, run_id, text)
        begin["projection"] = {"runs": 0, "active_runs": 0}
        (run,) = finish["update"].pop("$push")["runs"]["$each"]
        return [begin, finish, run | {"session_id": session_id}]

    async def _send(self, commands: Sequence[dict[str, Any]]) -> None:
        begin, finish, run = commands
        newest = self.run_collection.find({"session_id": run["session_id"]}).sort("run_index", DESCENDING).limit(HISTORY_RUNS)
        session, history = await asyncio.gather(self.collection.find_one_and_update(**begin), newest.to_list())
        run["run_index"] = history[0]["run_index"] + 1 if history else 0
        await asyncio.gather(self.run_collection.insert_one(run), self.collection.find_one_and_update(**finish))
        self.messages_shown = 1 + sum(len(earlier["messages"]) for earlier in history)
        if session is None:
            raise AssertionError(f"a command of {self.name} did not match: {begin['filter']}")

    async def runs_of(self, session_id: str) -> int:
        return int(await self.run_collection.count_documents({"session_id": session_id, "content": {"$ne": None}}))
