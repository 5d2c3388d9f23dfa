"""``agno_mongo``: an Agent on a MongoDb."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.mongo import MongoDb
from agno_mongo.messages import Metrics
from agno_mongo.models.base import ModelDelta, ModelRequest
from contestants.base import HISTORY_RUNS, TOKENS, USER, Contestant, Documents, Size, documents_of, ids_of_runs, insert, remember
from measuring import Wire, copied

AT_ONCE = 16
"""Turns at once while a long session is made."""

WARM = "warm"


class InstantModel:
    """Answers at once. Unlike ScriptedModel it remembers nothing, so that it does not grow."""

    id = "instant"
    provider = "bench"

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        counted = Metrics(input_tokens=TOKENS[0], output_tokens=TOKENS[1], total_tokens=sum(TOKENS))
        yield ModelDelta(content=self._contestant.answer(len(request.messages)), metrics=counted, finish_reason="stop")


class Ours(Contestant):
    """Sessions grow by turns of the package's own, so that what is stored is whatever the package makes of them.

    A session that is to be long is grown once, in a database beside, and copied from there at each length.
    """

    name = "agno_mongo"
    distributions = ("agno_mongo", "beanie", "pydantic")

    def __init__(self, database_name: str, size: Size) -> None:
        super().__init__(database_name, size)
        self._grown = ""
        self._grown_runs = 0

    async def open(self, url: str, wire: Wire | None = None) -> None:
        await super().open(url, wire)
        self.db, self.agent = self._agent_on(self.database_name)

    def _agent_on(self, database_name: str) -> tuple[MongoDb, Agent]:
        db = MongoDb(client=self.client, db_name=database_name)
        agent = Agent(
            id="bench-agent",
            model=InstantModel(self),
            db=db,
            user_id=USER,
            add_history_to_context=True,
            num_history_runs=HISTORY_RUNS,
            stream=False,
        )
        return db, agent

    async def close(self) -> None:
        await self.settle()
        await super().close()

    async def warm(self) -> None:
        await self.agent.arun("", session_id=WARM)
        await self.db.delete_session(WARM, user_id=USER)

    async def settle(self) -> None:
        await self.db.close()

    async def seed(self, runs: int, sessions: int) -> None:
        grown = await self._grow(runs)
        await self.empty()
        self.sessions = [str(uuid4()) for _ in range(sessions)]
        # The indexes and collections are the package's own doing.
        await self.warm()
        for session_id in self.sessions:
            await insert(self.database, renamed(grown, self._grown, session_id))
        await remember(self)

    async def _grow(self, runs: int) -> Documents:
        """The documents of one session of so many runs, of which the last three at least were one after the other."""
        beside = f"{self.database_name}_grown"
        if not self._grown or self._grown_runs > runs:
            await self.client.drop_database(beside)
            self._grown, self._grown_runs = str(uuid4()), 0
        db, agent = self._agent_on(beside)
        while self._grown_runs < runs:
            missing = runs - self._grown_runs
            at_once = AT_ONCE if missing > 2 * AT_ONCE else 1
            turns = [agent.arun(self.size.input(self._grown_runs + at), session_id=self._grown) for at in range(at_once)]
            await asyncio.gather(*turns)
            self._grown_runs += at_once
        await db.close()
        session = await db.get_session(self._grown, user_id=USER, runs_limit=0)
        await db.close()
        if session.run_count != runs:
            raise AssertionError(f"the session made for the benchmark has {session.run_count} runs, not {runs}")
        return await documents_of(self.client[beside])

    async def turn(self, session_id: str, text: str) -> None:
        await self.agent.arun(text, session_id=session_id)

    async def runs_of(self, session_id: str) -> int:
        session = await self.db.get_session(session_id, user_id=USER)
        return sum(bool(run.content and run.messages) for run in session.runs)

    async def list_page(self, limit: int) -> int:
        return len(await self.db.get_sessions(SessionType.AGENT, user_id=USER, limit=limit, page=1))

    async def open_session(self, limit: int | None) -> int:
        session = await self.db.get_session(self.sessions[0], SessionType.AGENT, user_id=USER, runs_limit=limit)
        return len(session.runs)

    async def page_back(self, page: int) -> int:
        """Read all runs of the first session, the newest first; how many there were."""
        seen, before = 0, None
        while found := await self.db.get_runs(self.sessions[0], user_id=USER, limit=page, before=before):
            seen, before = seen + len(found), found[0].run_id
        return seen


def renamed(documents: Documents, session_id: str, other: str) -> dict[str, list[dict[str, Any]]]:
    """The documents of one session as those of another."""
    texts = {session_id: other, **{run_id: str(uuid4()) for found in documents.values() for run_id in ids_of_runs(found)}}
    return copied(documents, texts)
