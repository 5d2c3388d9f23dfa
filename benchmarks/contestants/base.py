"""What every contestant is, and the texts that all of them are given."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pymongo import AsyncMongoClient

from measuring import Snapshot, Wire

USER = "bench"
HISTORY_RUNS = 3
TOKENS = (100, 50)
TEXTS = 1024
"""How many different inputs, and answers, there are."""

Turn = Callable[[], Awaitable[Any]]
Documents = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Size:
    """How much is said in a turn, and what a stored run of agno_mongo comes to with it."""

    name: str
    input_length: int
    answer_length: int

    def input(self, number: int) -> str:
        return text_of(self.input_length, 2 * (number % TEXTS))

    def answer(self, number: int) -> str:
        return text_of(self.answer_length, 2 * (number % TEXTS) + 1)

    @property
    def payload(self) -> int:
        """Bytes of text in a turn. The words are ASCII."""
        return self.input_length + self.answer_length


# agno_mongo stores input and answer twice each, as input and content and as messages.
SIZES = {size.name: size for size in (Size("2 KB", 260, 520), Size("8 KB", 1250, 2550))}


@cache
def _words() -> list[str]:
    letters, dice = "abcdefghijklmnopqrstuvwxyz", random.Random(0)
    return ["".join(dice.choices(letters, k=dice.randint(3, 9))) for _ in range(4000)]


@cache
def text_of(length: int, seed: int) -> str:
    """Made-up words, the same for the same seed: text that a server cannot compress away."""
    return " ".join(random.Random(seed).choices(_words(), k=length // 3))[:length]


class Stopped(Exception):
    """The contestant cannot have a session of this length. The message says why."""


class Contestant:
    """``open``, ``seed``, then per round: ``reset``, ``prepared``, its turns one by one, ``settle``.

    ``name`` is how the tables call it, ``missing`` what to install where it cannot take part.
    """

    name = ""
    missing: str | None = None
    distributions: tuple[str, ...] = ()
    """Whose versions the report names."""

    def __init__(self, database_name: str, size: Size) -> None:
        self.database_name = database_name
        self.size = size
        self.sessions: list[str] = []
        self.messages_shown = 0
        """How many messages the model was sent in the last turn."""
        self.asked = 0
        self.snapshot: Snapshot | None = None

    async def open(self, url: str, wire: Wire | None = None) -> None:
        """A client of its own, watched by ``wire`` if there is one."""
        self.url = url
        self.client: Any = AsyncMongoClient(url, event_listeners=[wire] if wire else [])
        self.database = self.client[self.database_name]

    async def close(self) -> None:
        await self.client.close()

    async def seed(self, runs: int, sessions: int) -> None:
        """Make sessions of so many runs, and remember the database as it is then. Raises Stopped where it cannot."""
        raise NotImplementedError

    async def reset(self) -> None:
        """Put the database back as it was after ``seed``, unless it is so large that some turns make no difference."""
        if self.snapshot is not None:
            await self.snapshot.restore()

    def prepared(self, plan: Sequence[tuple[str, str]]) -> list[Turn]:
        """A turn for each session and input. What is done here is not timed."""
        return [self.bound(session_id, text) for session_id, text in plan]

    def bound(self, session_id: str, text: str) -> Turn:
        """One turn, ready to be played."""
        return lambda: self.turn(session_id, text)

    async def turn(self, session_id: str, text: str) -> None:
        """One turn of one session."""
        raise NotImplementedError

    async def prepare_crowd(self) -> None:
        """What has to be done once before ``turn`` may be called on sessions that are not there yet."""

    async def chat(self, turns: int) -> None:
        """One session of so many turns in an empty database, one after the other, and nothing else."""
        await self.empty()
        await self.prepare_crowd()
        for number in range(turns):
            await self.turn("chat", self.size.input(number))
        await self.settle()

    async def warm(self) -> None:
        """Be connected, and whatever else ``settle`` undid."""

    async def settle(self) -> None:
        """Wait for what the turns left to be done behind the caller's back."""

    async def runs_of(self, session_id: str) -> int:
        """How many runs with an answer the session has, asked in the contestant's own way."""
        raise NotImplementedError

    def answer(self, shown: int) -> str:
        """What the model says to so many messages."""
        self.asked += 1
        self.messages_shown = shown
        return self.size.answer(self.asked)

    async def empty(self) -> None:
        """A database without anything but what the contestant itself makes in it."""
        await self.client.drop_database(self.database_name)
        await self.close()
        await self.open(self.url)


async def documents_of(database: Any) -> Documents:
    """Every document of a database, by collection."""
    names = [name for name in await database.list_collection_names() if not name.startswith("system.")]
    return {name: await database[name].find().to_list() for name in names}


async def insert(database: Any, documents: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    for name, found in documents.items():
        if found:
            await database[name].insert_many(found)


async def remember(contestant: Contestant) -> None:
    """The database as it is now is what ``reset`` goes back to."""
    contestant.snapshot = await Snapshot.of(contestant.database)


def ids_of_runs(value: Any) -> set[str]:
    """Ids of runs have to differ between sessions where a collection has a unique index on them."""
    if isinstance(value, dict):
        own = {value["run_id"]} if isinstance(value.get("run_id"), str) else set()
        return own.union(*map(ids_of_runs, value.values()))
    if isinstance(value, list):
        return set().union(*map(ids_of_runs, value))
    return set()
