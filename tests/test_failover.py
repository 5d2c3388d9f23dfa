"""A replica set that loses its primary while turns go on: all that was acknowledged is there, whole and once, and the rest can be repeated."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest

from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import RunAlreadyFinished, StoreUnavailable
from tests.crashing import USER, agent_on, assert_sums, plain
from tests.replica_set import ReplicaSet, replica_set

pytestmark = [
    pytest.mark.usefixtures("sockets_that_pymongo_leaves"),
    # The same sockets, where the garbage collector comes in the middle of the test.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.timeout(300),
]

SESSIONS = 3
PATIENT = "&serverSelectionTimeoutMS=90000&timeoutMS=90000"
IMPATIENT = "&timeoutMS=1000"
LONGEST = 90
"""Seconds that a turn may take with all that is repeated. On a busy machine a new client may need most of a second for one command."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[ReplicaSet]:
    with replica_set() as nodes:
        yield nodes


@dataclass(kw_only=True)
class Stream:
    """Turn after turn in one session. A turn that fails with StoreUnavailable is repeated under its run id until it is stored.

    ``own_ids``: run ids are given by the caller; else each run has a new one, and none may fail. ``connect`` gives the db for a turn.
    """

    session_id: str
    connect: Callable[[], AbstractAsyncContextManager[MongoDb]]
    own_ids: bool = True
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0

    async def flow(self, stopped: asyncio.Event) -> None:
        while not stopped.is_set():
            began = time.monotonic()
            run_id = f"run-{len(self.stored)}" if self.own_ids else None
            while not await self.is_stored(run_id):
                assert self.own_ids, self.failures
                assert time.monotonic() < began + LONGEST, self.failures
                await asyncio.sleep(0.05)
            self.longest = max(self.longest, time.monotonic() - began)

    async def is_stored(self, run_id: str | None) -> bool:
        """Whether the turn succeeded, or had succeeded unnoticed."""
        try:
            async with self.connect() as db:
                agent, _ = agent_on(db, self.session_id, num_history_runs=2)
                run = await agent.arun("And now?", run_id=run_id)
        except StoreUnavailable as error:
            self.failures[str(error).partition(":")[0].partition(" ")[0]] += 1
            return False
        except RunAlreadyFinished as error:
            # The attempt before this one was stored, and its acknowledgement lost.
            self.failures["stored all the same"] += 1
            self.stored.append(error.run_id)
            return True
        self.stored.append(str(run.run_id))
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
            stored.pop("attempt", None)
            assert stored == plain(told)


@asynccontextmanager
async def flowing(streams: list[Stream]) -> AsyncIterator[None]:
    """Turns in several sessions at once, from some time before the block until some time after it."""
    stopped = asyncio.Event()
    tasks = [asyncio.create_task(stream.flow(stopped)) for stream in streams]
    try:
        await all_go_on(streams, tasks)
        yield
        await all_go_on(streams, tasks)
        stopped.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_go_on(streams: list[Stream], tasks: list[asyncio.Task[None]], turns: int = 3) -> None:
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


EVENTS = [step_the_primary_down, kill_the_primary, kill_all_and_start_them_again]
"""The last one needs no mending of what the one before it breaks."""


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
async def test_turns_outlive_the_primary(
    nodes: ReplicaSet, event: Callable[[ReplicaSet], None], record_property: Callable[[str, object], None]
) -> None:
    """A patient client waits for the new primary; an impatient one, and one that connects anew for each turn, may be told
    StoreUnavailable and repeat the turn.
    """
    name = event.__name__
    if event is not kill_all_and_start_them_again:
        await asyncio.to_thread(nodes.mend)
    async with MongoDb(nodes.url + PATIENT, db_name=name) as patient, MongoDb(nodes.url + IMPATIENT, db_name=name) as impatient:
        waiting = [Stream(session_id=f"a{n}", connect=lambda: nullcontext(patient), own_ids=False) for n in range(SESSIONS)]
        repeating = [Stream(session_id=f"b{n}", connect=lambda: nullcontext(impatient)) for n in range(SESSIONS)]
        newcomer = Stream(session_id="c", connect=lambda: MongoDb(nodes.url + IMPATIENT, db_name=name))
        streams = [*waiting, *repeating, newcomer]
        async with flowing(streams):
            await asyncio.to_thread(event, nodes)
        for stream in streams:
            await stream.assert_whole(patient)
    longest = max(stream.longest for stream in waiting)
    failures = sum((stream.failures for stream in repeating), Counter[str]())
    record_property("longest_turn_seconds", round(longest, 2))
    print(f"{name}: {sum(len(stream.stored) for stream in streams)} turns, the longest took {longest:.2f} s;")
    print(f"  failures of the impatient: {dict(failures)}, of the newcomer: {dict(newcomer.failures)}")


async def test_a_turn_that_no_majority_confirmed_is_not_acknowledged_and_can_be_repeated(nodes: ReplicaSet) -> None:
    await asyncio.to_thread(nodes.mend)
    name = "unconfirmed"
    async with MongoDb(nodes.url + IMPATIENT, db_name=name) as db, MongoDb(nodes.url + PATIENT, db_name=name) as patient:
        stream = Stream(session_id="s", connect=lambda: nullcontext(db))
        while not await stream.is_stored("one"):
            await asyncio.sleep(0.05)
        stream.failures.clear()
        with nodes.without_majority():
            assert not await stream.is_stored("two")
        assert stream.failures == {"beginning": 1}
        while not await stream.is_stored("two"):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(nodes.mend)
        await stream.assert_whole(patient)
        assert stream.stored == ["one", "two"]
