"""PyMongo alone: the commands that an agno_mongo turn was seen to send, and nothing around them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

from pymongo import ReturnDocument

from agno_mongo.db.documents import DEFAULT_SESSION_TABLE
from agno_mongo.db.drivers import WRITE_CONCERN
from contestants.base import Contestant, Size, Turn, documents_of, insert, remember
from contestants.ours import Ours
from measuring import Wire, substituted

TAIL = 20
"""Runs that the session document of agno_mongo has on average, once it has an archive: between 8 and 32."""

LEARNED = "the session that bare PyMongo learns from"


class Bare(Contestant):
    """The commands are filled in before the clock starts, and replies are decoded to dicts. There is nothing in it that a
    storage layer could save. They are learned anew in every run of the benchmark, so they follow the package.
    """

    name = "bare PyMongo, the same two commands"
    distributions = ("pymongo",)
    least_sessions = 10
    """It never moves runs away, so its turns are spread over as many sessions, which grow by few runs then."""

    def __init__(self, database_name: str, size: Size, ours: Ours) -> None:
        super().__init__(database_name, size)
        self._ours = ours
        self._moment = datetime(2000, 1, 1)  # noqa: DTZ001 - as BSON has it

    async def open(self, url: str, wire: Wire | None = None) -> None:
        await super().open(url, wire)
        acknowledged = self.client.get_database(self.database_name, write_concern=WRITE_CONCERN)
        self.collection = acknowledged[DEFAULT_SESSION_TABLE]
        self.run_collection = acknowledged["runs"]

    async def seed(self, runs: int, sessions: int) -> None:
        await self.empty()
        await self._learn()
        ours = self._ours
        grown = await documents_of(ours.database)
        pattern = next(found for found in grown[DEFAULT_SESSION_TABLE] if found["session_id"] == ours.sessions[0])
        self.sessions = [str(uuid4()) for _ in range(max(sessions, self.least_sessions))]
        await self._make_indexes()
        for session_id in self.sessions:
            await self._plant(pattern, session_id, runs)
        await remember(self)

    async def prepare_crowd(self) -> None:
        await self._learn()
        await self._make_indexes()

    async def _make_indexes(self) -> None:
        """The way the package makes them."""
        for name, index in self._indexes.items():
            options = {key: value for key, value in index.items() if key not in {"key", "v", "ns"}}
            await self.database[DEFAULT_SESSION_TABLE].create_index(index["key"], name=name, **options)

    async def _plant(self, pattern: dict[str, Any], session_id: str, runs: int) -> None:
        tail = pattern["runs"][-TAIL:] if runs > TAIL else pattern["runs"]
        document = pattern | {"session_id": session_id, "runs": tail}
        del document["_id"]
        await insert(self.database, {DEFAULT_SESSION_TABLE: [document]})

    async def _learn(self) -> None:
        """Watch one turn of agno_mongo in a session that has some."""
        wire = Wire()
        watched = Ours(f"{self.database_name}_learned_{os.getpid()}", self.size)
        await watched.open(self.url, wire)
        await watched.client.drop_database(watched.database_name)
        for number in range(2):
            wire.reset()
            run = await watched.agent.arun(self.size.input(number), session_id=LEARNED)
        commands, names = list(wire.commands), wire.names
        indexes = await watched.database[DEFAULT_SESSION_TABLE].index_information()
        self._indexes = {name: index for name, index in indexes.items() if name != "_id_"}
        await watched.client.drop_database(watched.database_name)
        await watched.close()
        self._learned_run, self._learned_texts = run.run_id, (self.size.input(1), run.content)
        self._learned = [command for command in commands if next(iter(command)) == "findAndModify"]
        if names != ["findAndModify"] * 2:
            raise AssertionError(f"a turn of agno_mongo is {names}: bare PyMongo has no two commands to repeat")

    def prepared(self, plan: Sequence[tuple[str, str]]) -> list[Turn]:
        # Over all sessions, whichever the plan names.
        return super().prepared([(self.sessions[at % len(self.sessions)], text) for at, (_, text) in enumerate(plan)])

    def bound(self, session_id: str, text: str) -> Turn:
        commands = self._filled(session_id, str(uuid4()), text)
        return lambda: self._send(commands)

    async def turn(self, session_id: str, text: str) -> None:
        await self.bound(session_id, text)()

    def _filled(self, session_id: str, run_id: str, text: str) -> list[dict[str, Any]]:
        self.asked += 1
        said = {self._learned_texts[0]: text, self._learned_texts[1]: self.size.answer(self.asked)}
        texts = {LEARNED: session_id, self._learned_run: run_id, **said}
        return [self._arguments(command, texts) for command in self._learned]

    def _arguments(self, command: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
        filled = substituted({name: command.get(name) for name in ("query", "update", "fields")}, texts, self._later)
        return {
            "filter": filled["query"],
            "update": filled["update"],
            "projection": filled["fields"],
            "upsert": command.get("upsert", False),
            "return_document": ReturnDocument.AFTER if command.get("new") else ReturnDocument.BEFORE,
        }

    def _later(self, value: Any) -> Any:
        if isinstance(value, datetime):
            # Everything indexed must move on as it does with agno_mongo, or the server would have less to write.
            self._moment = max(self._moment + timedelta(milliseconds=1), datetime.now(timezone.utc).replace(tzinfo=None))
            return self._moment
        return value

    async def _send(self, commands: Sequence[dict[str, Any]]) -> None:
        for command in commands:
            if await self.collection.find_one_and_update(**command) is None:
                raise AssertionError(f"a command of {self.name} did not match: {command['filter']}")

    async def runs_of(self, session_id: str) -> int:
        found = await self.collection.find_one({"session_id": session_id})
        return sum(bool(run["content"] and run["messages"]) for run in found["runs"])
