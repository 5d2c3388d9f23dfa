"""A replica set that loses its primary while turns go on: all that was acknowledged is there, whole and once, and the rest can be repeated."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import RunAlreadyFinished, StoreUnavailable
from tests.crashing import USER, agent_on, assert_sums, plain, question
from tests.replica_set import ReplicaSet, replica_set

pytestmark = pytest.mark.usefixtures("sockets_that_pymongo_leaves")

SESSIONS = 4
PATIENT = ""
IMPATIENT = "&timeoutMS=400"


@pytest.fixture(scope="module")
def nodes() -> Iterator[ReplicaSet]:
    with replica_set() as nodes:
        yield nodes


class Stream:
    """Turn after turn in one session. A turn that fails with StoreUnavailable is repeated under its run id until it is stored."""

    def __init__(self, db: MongoDb, session_id: str) -> None:
        self._db = db
        self.session_id = session_id
        self.acknowledged: list[dict[str, Any]] = []
        self.stored: list[str] = []
        self.failures: Counter[str] = Counter()
        self.longest = 0.0

    async def flow(self, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            run_id = f"run-{len(self.stored)}"
            began = time.monotonic()
            while not await self.is_stored(run_id):
                await asyncio.sleep(0.05)
            self.longest = max(self.longest, time.monotonic() - began)
            self.stored.append(run_id)

    async def is_stored(self, run_id: str) -> bool:
        agent, _ = agent_on(self._db, self.session_id, num_history_runs=2)
        try:
            run = await agent.arun(question(run_id), run_id=run_id)
        except StoreUnavailable as error:
            self.failures[str(error).partition(":")[0].partition(" ")[0]] += 1
            return False
        except RunAlreadyFinished:
            # The attempt before this one was stored, and its acknowledgement lost.
            self.failures["stored all the same"] += 1
            return True
        self.acknowledged.append(run.to_dict())
        return True

    async def assert_whole(self, db: MongoDb) -> None:
        session = await db.get_session(self.session_id, user_id=USER)
        runs = {run.run_id: plain(run.to_dict()) for run in session.runs}
        assert [run.run_id for run in session.runs] == self.stored
        assert session.run_count == len(self.stored)
        assert session.active_runs == {}
        assert_sums(session)
        for told in self.acknowledged:
            stored = runs[told["run_id"]]
            stored.pop("attempt")
            assert stored == plain(told)


@asynccontextmanager
async def flowing(db: MongoDb, name: str) -> AsyncIterator[list[Stream]]:
    """Turns in several sessions at once, through one MongoDb, from some time before the block until some time after it."""
    streams = [Stream(db, f"{name}-{number}") for number in range(SESSIONS)]
    stopped = asyncio.Event()
    tasks = [asyncio.create_task(stream.flow(stopped)) for stream in streams]
    try:
        await all_go_on(streams, tasks)
        yield streams
        await all_go_on(streams, tasks)
        stopped.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_go_on(streams: list[Stream], tasks: list[asyncio.Task[None]], turns: int = 5) -> None:
    """Wait until each stream has come so many turns further, or one has failed."""
    goals = [len(stream.stored) + turns for stream in streams]
    while any(len(stream.stored) < goal for stream, goal in zip(streams, goals, strict=True)):
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.02)


def kill_the_primary(nodes: ReplicaSet) -> None:
    nodes.kill_primary()


def step_the_primary_down(nodes: ReplicaSet) -> None:
    nodes.step_down()


def kill_all_and_start_them_again(nodes: ReplicaSet) -> None:
    nodes.stop()
    nodes.mend()


EVENTS = [kill_the_primary, step_the_primary_down, kill_all_and_start_them_again]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
async def test_turns_outlive_the_primary(
    nodes: ReplicaSet, event: Callable[[ReplicaSet], None], record_property: Callable[[str, object], None]
) -> None:
    """A patient client waits for the new primary; an impatient one is told StoreUnavailable and repeats the turn."""
    name = event.__name__
    async with MongoDb(nodes.url + PATIENT, db_name=name) as patient, MongoDb(nodes.url + IMPATIENT, db_name=name) as impatient:
        async with flowing(patient, "patient") as waiting, flowing(impatient, "impatient") as repeating:
            await asyncio.to_thread(event, nodes)
        for stream in (*waiting, *repeating):
            await stream.assert_whole(patient)
    longest = max(stream.longest for stream in waiting)
    turns = sum(len(stream.stored) for stream in (*waiting, *repeating))
    failures = sum((stream.failures for stream in repeating), Counter[str]())
    record_property("longest_turn_seconds", round(longest, 2))
    print(f"{name}: {turns} turns, the longest took {longest:.2f} s; the impatient client's failures: {dict(failures)}")
    assert all(not stream.failures for stream in waiting)
    await asyncio.to_thread(nodes.mend)


async def test_a_turn_that_no_majority_confirmed_is_not_acknowledged_and_can_be_repeated(nodes: ReplicaSet) -> None:
    async with MongoDb(nodes.url + IMPATIENT, db_name="unconfirmed") as db:
        stream = Stream(db, "s")
        assert await stream.is_stored("run-0")
        with nodes.without_majority():
            assert not await stream.is_stored("run-1")
        assert stream.failures == {"beginning": 1}
        while not await stream.is_stored("run-1"):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(nodes.mend)
        stream.stored = ["run-0", "run-1"]
        await stream.assert_whole(db)
