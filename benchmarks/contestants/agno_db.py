"""Agno's own Agent on its AsyncMongoDb."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from contestants.base import HISTORY_RUNS, TOKENS, USER, Contestant, documents_of, ids_of_runs, insert, remember
from measuring import Wire, copied

os.environ["AGNO_TELEMETRY"] = "false"
try:
    from agno.agent import Agent as AgnoAgent
    from agno.db.base import SessionType as AgnoSessionType
    from agno.db.mongo import AsyncMongoDb as AgnoMongoDb
    from agno.metrics import MessageMetrics
    from agno.models.base import Model as AgnoModel
    from agno.models.response import ModelResponse
except ImportError as error:
    MISSING: str | None = str(error)
    AgnoModel = object
else:
    MISSING = None

BATCH = 500


class AgnoInstantModel(AgnoModel):  # type: ignore[misc, valid-type]
    """Answers at once."""

    def __init__(self, contestant: Contestant) -> None:
        super().__init__(id="instant", name="Instant", provider="bench")
        self.contestant = contestant

    async def ainvoke(self, messages: Sequence[Any], **_: Any) -> Any:
        counted = MessageMetrics(input_tokens=TOKENS[0], output_tokens=TOKENS[1], total_tokens=sum(TOKENS))
        return ModelResponse(role="assistant", content=self.contestant.answer(len(messages)), response_usage=counted)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    invoke = invoke_stream = ainvoke_stream = _parse_provider_response = _parse_provider_response_delta = _refuse


class Agno(Contestant):
    """Long sessions are made of two turns of its own, whose run documents are then repeated with other texts."""

    name = "Agno, AsyncMongoDb"
    missing = MISSING
    distributions = ("agno",)

    async def open(self, url: str, wire: Wire | None = None) -> None:
        await super().open(url, wire)
        self.db = AgnoMongoDb(
            db_client=self.client, db_name=self.database_name, session_collection="sessions", runs_collection="runs"
        )
        self.agent = AgnoAgent(
            id="bench-agent",
            model=AgnoInstantModel(self),
            db=self.db,
            user_id=USER,
            add_history_to_context=True,
            num_history_runs=HISTORY_RUNS,
            stream=False,
            telemetry=False,
        )

    async def seed(self, runs: int, sessions: int) -> None:
        await self.empty()
        first = str(uuid4())
        for number in range(min(runs, 2)):
            await self.turn(first, self.size.input(number))
        await self._repeat(runs)
        self.sessions = [first, *(str(uuid4()) for _ in range(sessions - 1))]
        documents = await documents_of(self.database)
        run_ids = ids_of_runs(documents["runs"])
        for other in self.sessions[1:]:
            copies = copied(documents, {first: other, **{run_id: str(uuid4()) for run_id in run_ids}})
            await insert(self.database, {name: copies[name] for name in ("sessions", "runs")})
        await remember(self)

    async def chat(self, turns: int) -> None:
        # Its turns become slower and slower: a thousand of them take minutes.
        await self.seed(turns, 1)

    async def _repeat(self, runs: int) -> None:
        stored = await self.database["runs"].find().sort("run_index", 1).to_list()
        indexes = [run["run_index"] for run in stored]
        if len(stored) != min(runs, 2) or indexes != list(range(len(stored))):
            raise AssertionError(f"Agno stores its runs otherwise than this benchmark thinks: run_index {indexes}")
        for start in range(len(stored), runs, BATCH):
            numbers = range(start, min(start + BATCH, runs))
            await self.database["runs"].insert_many([self._run_like(stored[-1], number) for number in numbers])

    def _run_like(self, pattern: dict[str, Any], number: int) -> dict[str, Any]:
        data = pattern["run_data"]
        texts = {
            pattern["run_id"]: str(uuid4()),
            data["content"]: self.size.answer(number),
            data["input"]["input_content"]: self.size.input(number),
            **{message["id"]: str(uuid4()) for message in data["messages"]},
        }
        (document,) = copied({"runs": [pattern]}, texts)["runs"]
        document["run_index"] = number
        if "run_index" in document["run_data"]:
            document["run_data"]["run_index"] = number
        return document

    async def turn(self, session_id: str, text: str) -> None:
        await self.agent.arun(text, session_id=session_id)

    async def runs_of(self, session_id: str) -> int:
        session = await self.db.get_session(session_id, AgnoSessionType.AGENT, USER)
        return sum(bool(run.content and run.messages) for run in session.runs)

    async def list_page(self, limit: int) -> int:
        # It has no order of its own.
        order = {"sort_by": "updated_at", "sort_order": "desc"}
        return len(await self.db.get_sessions(AgnoSessionType.AGENT, user_id=USER, limit=limit, page=1, **order))

    async def open_session(self, limit: int | None) -> int:
        session = await self.db.get_session(self.sessions[0], AgnoSessionType.AGENT, user_id=USER, runs_limit=limit)
        return len(session.runs)

    async def page_back(self, size: int) -> int:
        """Read all runs of the first session, the newest first; how many there were."""
        seen, page = 0, 1
        order = {"sort_by": "run_index", "sort_order": "desc"}
        while found := await self.db.get_runs(session_id=self.sessions[0], limit=size, page=page, **order):
            seen, page = seen + len(found), page + 1
        return seen
