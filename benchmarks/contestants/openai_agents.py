"""OpenAI's Agents SDK on its MongoDBSession, with a limit of six items: three turns of history."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any
from uuid import uuid4

from contestants.base import HISTORY_RUNS, TOKENS, Contestant, insert, remember
from measuring import Wire

try:
    from agents import Agent, ModelResponse, RunConfig, Runner, Usage
    from agents.extensions.memory import MongoDBSession
    from agents.memory import SessionSettings
    from agents.models.interface import Model
    from openai.types.responses import ResponseOutputMessage, ResponseOutputText
except ImportError as error:
    MISSING: str | None = str(error)
    Model = object
else:
    MISSING = None

BATCH = 1000


class AgentsInstantModel(Model):  # type: ignore[misc, valid-type]
    """Answers at once."""

    def __init__(self, contestant: Contestant) -> None:
        self._contestant = contestant

    async def get_response(self, **asked: Any) -> Any:
        shown = asked["input"]
        text = self._contestant.answer(1 if isinstance(shown, str) else len(shown))
        content = [ResponseOutputText(text=text, type="output_text", annotations=[])]
        message = ResponseOutputMessage(
            id=f"msg_{uuid4().hex}", content=content, role="assistant", status="completed", type="message"
        )
        usage = Usage(requests=1, input_tokens=TOKENS[0], output_tokens=TOKENS[1], total_tokens=sum(TOKENS))
        return ModelResponse(output=[message], usage=usage, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class OpenAIAgents(Contestant):
    """Long sessions are made of two turns of its own, whose documents are then repeated with other texts."""

    name = "OpenAI Agents, MongoDBSession"
    missing = MISSING
    distributions = ("openai-agents",)

    async def open(self, url: str, wire: Wire | None = None) -> None:
        await super().open(url, wire)
        self.agent = Agent(name="bench", model=AgentsInstantModel(self))
        self.run_config = RunConfig(tracing_disabled=True)

    def _session(self, session_id: str) -> Any:
        settings = SessionSettings(limit=2 * HISTORY_RUNS)
        return MongoDBSession(session_id, client=self.client, database=self.database_name, session_settings=settings)

    async def seed(self, runs: int, sessions: int) -> None:
        await self.empty()
        self.sessions = [str(uuid4()) for _ in range(sessions)]
        first = self.sessions[0]
        for number in range(min(runs, 2)):
            await self.turn(first, self.size.input(number))
        items = await self.database["agent_messages"].find({"session_id": first}).sort("seq", 1).to_list()
        session = await self.database["agent_sessions"].find_one({"session_id": first})
        last_turn = [item for item in items if item["seq"] >= session["_seq"] - 2]
        for session_id in self.sessions:
            if session_id != first:
                copy = {key: value for key, value in session.items() if key != "_id"} | {"session_id": session_id}
                await insert(self.database, {"agent_sessions": [copy]})
            present = min(runs, 2) if session_id == first else 0
            await self._repeat(last_turn, session_id, range(present, runs))
        await self.database["agent_sessions"].update_many({}, {"$set": {"_seq": 2 * runs}})
        await remember(self)

    async def _repeat(self, last_turn: list[dict[str, Any]], session_id: str, numbers: range) -> None:
        for start in range(0, len(numbers), BATCH):
            documents = [self._like(item, session_id, number) for number in numbers[start : start + BATCH] for item in last_turn]
            await insert(self.database, {"agent_messages": documents})

    def _like(self, pattern: dict[str, Any], session_id: str, number: int) -> dict[str, Any]:
        # The number of an item says whether it is the question or the answer: they come by twos.
        document = {key: deepcopy(value) for key, value in pattern.items() if key != "_id"}
        document |= {"session_id": session_id, "seq": 2 * number + pattern["seq"] % 2}
        document["message_data"] = [self._item_like(raw, number) for raw in pattern["message_data"]]
        return document

    def _item_like(self, raw: str, number: int) -> str:
        item = json.loads(raw)
        if item["role"] == "user":
            item["content"] = self.size.input(number)
        else:
            item["content"][0]["text"] = self.size.answer(number)
            item["id"] = f"msg_{uuid4().hex}"
        return json.dumps(item, separators=(",", ":"))

    async def turn(self, session_id: str, text: str) -> None:
        await Runner.run(self.agent, text, session=self._session(session_id), run_config=self.run_config)

    async def runs_of(self, session_id: str) -> int:
        items = await self._session(session_id).get_items(limit=10**9)
        return sum(item.get("role") == "assistant" for item in items)
