"""Who takes part. Each has a database of its own on the same server, and a client of its own of the same kind."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from uuid import uuid4

from measuring import Snapshot, Wire, copied, substituted
from pymongo import AsyncMongoClient, ReturnDocument

from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import DEFAULT_SESSION_TABLE
from agno_mongo.db.drivers import WRITE_CONCERN
from agno_mongo.db.mongo import MongoDb
from agno_mongo.messages import Metrics
from agno_mongo.models.base import ModelDelta, ModelRequest

os.environ["AGNO_TELEMETRY"] = "false"
try:
    from agno.agent import Agent as AgnoAgent
    from agno.db.base import SessionType as AgnoSessionType
    from agno.db.mongo import AsyncMongoDb as AgnoMongoDb
    from agno.metrics import MessageMetrics
    from agno.models.base import Model as AgnoModel
    from agno.models.response import ModelResponse
except ImportError as error:
    AGNO_MISSING: str | None = str(error)
    AgnoModel = object
else:
    AGNO_MISSING = None

HOW_TO_GET_AGNO = 'pip install "agno==3.1.10" "sqlalchemy>=2"'
USER = "bench"
HISTORY_RUNS = 3
TOKENS = (100, 50)

_WORDS = [
    "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz", k=random.Random(seed).randint(3, 9)))
    for seed in range(4000)
]


def text_of(length: int, seed: int) -> str:
    """Made-up words, the same for the same seed: text that a server cannot compress away."""
    chosen = " ".join(random.Random(seed).choices(_WORDS, k=length // 3))
    return chosen[:length]


# Input and answer are stored twice each, as input and content and as messages: a run comes to 2 KB.
ANSWERS = [text_of(520, seed) for seed in range(64)]
INPUTS = [text_of(260, seed) for seed in range(64, 128)]

Turn = Callable[[], Awaitable[Any]]


class Contestant:
    """``open``, ``seed``, then per round: ``reset``, ``prepared``, its turns one by one, ``runs_of`` to look what was stored."""

    name = ""

    def __init__(self, database_name: str) -> None:
        self.database_name = database_name
        self.sessions: list[str] = []
        self.messages_shown: int | None = None
        """How many messages the model was sent in the last turn."""

    async def open(self, client: Any) -> None:
        """Use this client from now on."""
        self.client = client
        self.database = client[self.database_name]

    async def seed(self, runs: int, sessions: int) -> None:
        """Make sessions of so many runs, and remember the database as it is then."""
        raise NotImplementedError

    async def reset(self) -> None:
        await self.snapshot.restore()

    def prepared(self, plan: Sequence[tuple[str, str]]) -> list[Turn]:
        """A turn for each session and input. What is done here is not timed."""
        raise NotImplementedError

    async def runs_of(self, session_id: str) -> int:
        """How many runs with an answer the session has, asked in the contestant's own way."""
        raise NotImplementedError

    async def _documents(self) -> dict[str, list[dict[str, Any]]]:
        return {name: await self.database[name].find().to_list() for name in await self.database.list_collection_names()}

    async def _multiply(self, session_id: str, sessions: int) -> None:
        """Copy all documents of one session for others, whichever collections they are in."""
        self.sessions = [session_id] + [str(uuid4()) for _ in range(sessions - 1)]
        for name, documents in (await self._documents()).items():
            for other in self.sessions[1:]:
                copies = copied(documents, {session_id: other, **{run_id: str(uuid4()) for run_id in _run_ids(documents)}})
                await self.database[name].insert_many(copies)
        self.snapshot = await Snapshot.of(self.database)


def _run_ids(value: Any) -> set[str]:
    """Ids of runs have to differ between sessions where a collection has a unique index on them."""
    if isinstance(value, dict):
        own = {value["run_id"]} if isinstance(value.get("run_id"), str) else set()
        return own.union(*map(_run_ids, value.values()))
    if isinstance(value, list):
        return set().union(*map(_run_ids, value))
    return set()


class InstantModel:
    """Answers at once. Unlike ScriptedModel it remembers nothing, so that it does not grow."""

    id = "instant"
    provider = "bench"

    def __init__(self) -> None:
        self.asked = 0
        self.messages_shown = 0

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        self.asked += 1
        self.messages_shown = len(request.messages)
        counted = Metrics(input_tokens=TOKENS[0], output_tokens=TOKENS[1], total_tokens=sum(TOKENS))
        yield ModelDelta(content=ANSWERS[self.asked % len(ANSWERS)], metrics=counted, finish_reason="stop")


class Ours(Contestant):
    """``agno_mongo``: an Agent on a MongoDb. Sessions are seeded by turns of its own."""

    name = "agno_mongo"

    async def open(self, client: Any) -> None:
        await super().open(client)
        self.model = InstantModel()
        self.db = MongoDb(client=client, db_name=self.database_name)
        self.agent = Agent(
            id="bench-agent",
            model=self.model,
            db=self.db,
            user_id=USER,
            add_history_to_context=True,
            num_history_runs=HISTORY_RUNS,
            stream=False,
        )

    async def seed(self, runs: int, sessions: int) -> None:
        await self.client.drop_database(self.database_name)
        await self.open(self.client)
        first = str(uuid4())
        for number in range(runs):
            await self.agent.arun(INPUTS[number % len(INPUTS)], session_id=first)
        await self._multiply(first, sessions)

    def prepared(self, plan: Sequence[tuple[str, str]]) -> list[Turn]:
        return [partial(self._turn, session_id, text) for session_id, text in plan]

    async def _turn(self, session_id: str, text: str) -> None:
        await self.agent.arun(text, session_id=session_id)
        self.messages_shown = self.model.messages_shown

    async def runs_of(self, session_id: str) -> int:
        session = await self.db.get_session(session_id, SessionType.AGENT, USER)
        return sum(run.content in ANSWERS and bool(run.messages) for run in session.runs)


class Bare(Contestant):
    """PyMongo alone: the commands that an agno_mongo turn was seen to send, filled in before the clock starts, and replies
    decoded to dicts. There is nothing in it that a storage layer could save.
    """

    name = "bare PyMongo"

    def __init__(self, database_name: str, ours: Ours) -> None:
        super().__init__(database_name)
        self._ours = ours

    async def open(self, client: Any) -> None:
        await super().open(client)
        options = MongoDb(client=client, db_name=self.database_name)
        # Indexes and collections the way the package makes them.
        await (await options._connections.get()).ensure_indexes()
        self.collection = client.get_database(self.database_name, write_concern=WRITE_CONCERN)[DEFAULT_SESSION_TABLE]

    async def seed(self, runs: int, sessions: int) -> None:
        del runs, sessions
        await self.client.drop_database(self.database_name)
        await self.open(self.client)
        await self._ours.reset()
        self.sessions = self._ours.sessions
        for name, documents in (await self._ours._documents()).items():
            await self.database[name].insert_many(documents)
        self.snapshot = await Snapshot.of(self.database)

    async def learn(self, url: str) -> None:
        """Watch one turn of ours."""
        await self._ours.reset()
        wire = Wire()
        async with AsyncMongoClient(url, event_listeners=[wire]) as client:
            watched = Ours(self._ours.database_name)
            await watched.open(client)
            self._learned_session = self._ours.sessions[0]
            await watched.agent.arun(INPUTS[0], session_id=str(uuid4()))
            wire.reset()
            run = await watched.agent.arun(INPUTS[0], session_id=self._learned_session)
            commands, names = list(wire.commands), wire.names
        self._learned_run = run.run_id
        self._learned = [command for command in commands if next(iter(command)) == "findAndModify"]
        if names != ["findAndModify"] * 2:
            print(f"! a turn of agno_mongo is {names}, of which bare PyMongo repeats the findAndModify only")

    def prepared(self, plan: Sequence[tuple[str, str]]) -> list[Turn]:
        # Everything indexed must move on as it does with ours, or the server would have less to write.
        self._moment = datetime.now(timezone.utc).replace(tzinfo=None)
        return [partial(self._send, self._filled(session_id, str(uuid4()))) for session_id, _ in plan]

    def _filled(self, session_id: str, run_id: str) -> list[dict[str, Any]]:
        texts = {self._learned_session: session_id, self._learned_run: run_id}
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
            self._moment += timedelta(milliseconds=1)
            return self._moment
        return value

    async def _send(self, commands: Sequence[dict[str, Any]]) -> None:
        for command in commands:
            if await self.collection.find_one_and_update(**command) is None:
                raise AssertionError(f"a command of bare PyMongo did not match: {command['filter']}")

    async def runs_of(self, session_id: str) -> int:
        found = await self.collection.find_one({"session_id": session_id})
        return sum(run["content"] in ANSWERS and bool(run["messages"]) for run in found["runs"])


class AgnoInstantModel(AgnoModel):  # type: ignore[misc, valid-type]
    """The same for Agno."""

    def __init__(self) -> None:
        super().__init__(id="instant", name="Instant", provider="bench")
        self.asked = 0
        self.messages_shown = 0

    async def ainvoke(self, messages: Sequence[Any], **_: Any) -> Any:
        self.asked += 1
        self.messages_shown = len(messages)
        counted = MessageMetrics(input_tokens=TOKENS[0], output_tokens=TOKENS[1], total_tokens=sum(TOKENS))
        return ModelResponse(role="assistant", content=ANSWERS[self.asked % len(ANSWERS)], response_usage=counted)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    invoke = invoke_stream = ainvoke_stream = _parse_provider_response = _parse_provider_response_delta = _refuse


class Agno(Contestant):
    """Agno's own Agent on its AsyncMongoDb. Seeded by a turn of its own, whose documents are then copied."""

    name = "Agno"

    async def open(self, client: Any) -> None:
        await super().open(client)
        self.model = AgnoInstantModel()
        self.db = AgnoMongoDb(db_client=client, db_name=self.database_name, session_collection="sessions", runs_collection="runs")
        self.agent = AgnoAgent(
            id="bench-agent",
            model=self.model,
            db=self.db,
            user_id=USER,
            add_history_to_context=True,
            num_history_runs=HISTORY_RUNS,
            stream=False,
            telemetry=False,
        )

    async def seed(self, runs: int, sessions: int) -> None:
        await self.client.drop_database(self.database_name)
        await self.open(self.client)
        first = str(uuid4())
        # Two, to see by which fields one run's document differs from the next one's.
        for number in range(min(runs, 2)):
            await self.agent.arun(INPUTS[number], session_id=first)
        stored = await self.database["runs"].find().sort("run_index", 1).to_list()
        indexes = [run["run_index"] for run in stored]
        if len(stored) != min(runs, 2) or indexes != list(range(len(stored))):
            raise AssertionError(f"Agno stores its runs otherwise than this benchmark thinks: run_index {indexes}")
        more = []
        for number in range(len(stored), runs):
            pattern = stored[-1]
            again = {pattern["run_id"]: str(uuid4()), pattern["run_data"]["content"]: ANSWERS[number % len(ANSWERS)]}
            document = copied([pattern], again)[0] | {"run_index": number}
            if "run_index" in document["run_data"]:
                document["run_data"]["run_index"] = number
            more.append(document)
        if more:
            await self.database["runs"].insert_many(more)
        await self._multiply(first, sessions)

    def prepared(self, plan: Sequence[tuple[str, str]]) -> list[Turn]:
        return [partial(self._turn, session_id, text) for session_id, text in plan]

    async def _turn(self, session_id: str, text: str) -> None:
        await self.agent.arun(text, session_id=session_id)
        self.messages_shown = self.model.messages_shown

    async def runs_of(self, session_id: str) -> int:
        session = await self.db.get_session(session_id, AgnoSessionType.AGENT, USER)
        return sum(run.content in ANSWERS and bool(run.messages) for run in session.runs)
