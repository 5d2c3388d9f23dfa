"""A connection that is cut in the middle of a reply: the turn is there once, or the error is clear and repeating the turn is harmless."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import RunAlreadyFinished, StoreUnavailable
from agno_mongo.run import RunStatus
from tests.crashing import ANSWER, USER, agent_on, assert_sums, question
from tests.cutting_proxy import Cut, CuttingProxy, cutting_proxy

pytestmark = pytest.mark.usefixtures("sockets_that_pymongo_leaves")

ALWAYS = 10**6
WHERE: list[dict[str, Any]] = [{"after": 0}, {"after": 10}, {"after": 100}, {"unsent": True}]
"""Nothing of the reply comes, part of its header, part of its body; or the command itself is lost."""


class Client:
    """One session behind a proxy of its own. ``direct`` goes past the proxy and has all the time in the world.

    ``too_slow`` counts the turns that a busy machine did not bring to where they were to be, within the time of an impatient client.
    """

    def __init__(self, db: MongoDb, direct: MongoDb, proxy: CuttingProxy, session_id: str) -> None:
        self.db = db
        self.direct = direct
        self.proxy = proxy
        self.too_slow = 0
        self._session_id = session_id

    async def turn(self, run_id: str, *script: Any) -> None:
        run = await agent_on(self.db, self._session_id, *script)[0].arun(question(run_id), run_id=run_id)
        assert (run.status, run.content) == (RunStatus.completed, ANSWER)

    async def repeated(self, run_id: str, *script: Any) -> None:
        """The turn, until the machine was quick enough for it. Raises RunAlreadyFinished, also if it was an attempt before that was stored."""
        while True:
            try:
                return await self.turn(run_id, *script)
            except StoreUnavailable:
                self.too_slow += 1

    async def surely(self, run_id: str) -> None:
        """The turn, repeated until it is stored. Raises RunAlreadyFinished if it was stored before."""
        before = self.too_slow
        try:
            await self.repeated(run_id)
        except RunAlreadyFinished:
            # Else an attempt that was too slow to hear of it was stored.
            if self.too_slow == before:
                raise

    async def fails(self, cut: Cut, doing: str) -> None:
        """Turn "two" while ``cut`` applies, repeated until it came as far as that: the error says what was being done then."""
        self.proxy.cut = cut
        while True:
            with pytest.raises(StoreUnavailable) as caught:
                await self.turn("two")
            if cut.made:
                break
            self.too_slow += 1
        assert doing in str(caught.value)

    async def assert_stored(self, *run_ids: str) -> None:
        await assert_stored(self.direct, self._session_id, *run_ids)


async def assert_stored(db: MongoDb, session_id: str, *run_ids: str) -> None:
    """These runs and no others, once each, and nothing begun beside them."""
    session = await db.get_session(session_id, user_id=USER)
    assert [run.run_id for run in session.runs] == list(run_ids)
    assert session.run_count == len(run_ids)
    assert session.active_runs == {}
    assert_sums(session)


@asynccontextmanager
async def behind_a_proxy(mongo_url: str, db_name: str, session_id: str, options: str = "") -> AsyncIterator[Client]:
    async with (
        cutting_proxy(mongo_url) as proxy,
        MongoDb(proxy.url + options, db_name=db_name) as db,
        MongoDb(mongo_url, db_name=db_name) as direct,
    ):
        yield Client(db, direct, proxy, session_id)


async def side_by_side(*cases: Coroutine[Any, Any, None]) -> None:
    """Run all to their end, then fail if one has failed."""
    for outcome in await asyncio.gather(*cases, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


@pytest.mark.parametrize("command", ["begin_run", "finish_run"])
async def test_a_cut_reply_is_asked_for_again_and_the_turn_stored_once(mongo_url: str, db_name: str, command: str) -> None:
    """Cut once, or the second time too. PyMongo looks for the server again after half a second, so the cases wait side by side."""

    async def check(times: int, where: dict[str, Any]) -> None:
        async with behind_a_proxy(mongo_url, db_name, f"{where} {times}") as client:
            await client.turn("one")
            client.proxy.cut = cut = Cut(command=command, times=times, **where)
            await client.turn("two")
            assert cut.made == times
            assert client.proxy.seen.count(f"{command} two") == times + 1
            await client.assert_stored("one", "two")

    await side_by_side(*(check(times, where) for times in (1, 2) for where in WHERE))


@pytest.mark.parametrize("options", ["&retryWrites=false", "&timeoutMS=3000"])
@pytest.mark.parametrize("command", ["begin_run", "finish_run"])
async def test_a_reply_that_never_comes_is_a_clear_error_and_the_turn_can_be_repeated(
    mongo_url: str, db_name: str, command: str, options: str
) -> None:
    """Without the driver's retries; and with them, until their time is up."""
    doing = {"begin_run": "beginning a run", "finish_run": "storing run 'two'"}[command]

    async def check(where: dict[str, Any]) -> None:
        async with behind_a_proxy(mongo_url, db_name, str(where), options) as client:
            await client.surely("one")
            await client.fails(cut := Cut(command=command, times=ALWAYS, **where), f"{doing} in session")
            client.proxy.cut = None
            if command == "finish_run" and "unsent" not in where:
                with pytest.raises(RunAlreadyFinished, match="'two'"):
                    await client.repeated("two")
            else:
                await client.surely("two")
            assert (cut.made == 1) == ("retryWrites=false" in options)
            await client.assert_stored("one", "two")

    await side_by_side(*(check(where) for where in WHERE))


async def test_a_repeated_turn_is_stored_once_though_its_first_begin_arrives_when_all_is_over(
    mongo_url: str, db_name: str
) -> None:
    async with behind_a_proxy(mongo_url, db_name, "s", "&timeoutMS=500") as client:
        await client.surely("one")
        await client.fails(cut := Cut(command="begin_run", late=True), "beginning a run")
        await client.surely("two")
        cut.release.set()
        await cut.answered.wait()
        await client.assert_stored("one", "two")


async def test_a_repeated_turn_is_stored_once_though_its_first_end_arrives_before_its_second(
    mongo_url: str, db_name: str
) -> None:
    async with behind_a_proxy(mongo_url, db_name, "s", "&timeoutMS=500") as client:
        await client.surely("one")
        await client.fails(cut := Cut(command="finish_run", late=True), "storing run 'two'")

        async def while_the_first_arrives(_request: Any) -> str:
            cut.release.set()
            await cut.answered.wait()
            # And no state is changed, whose comparison would keep the second out by itself.
            return "Said in vain."

        with pytest.raises(RunAlreadyFinished, match="'two'"):
            await client.repeated("two", while_the_first_arrives)
        await client.assert_stored("one", "two")


async def test_a_connection_cut_at_its_first_use_is_made_again(mongo_url: str, db_name: str) -> None:
    """At the latest by the next turn. Not every command of the first use is one that the driver repeats."""
    outcomes: dict[str, str] = {}

    async def check(command: str) -> None:
        async with behind_a_proxy(mongo_url, db_name, command) as client:
            client.proxy.cut = cut = Cut(command=command)
            try:
                await client.turn("one")
                outcomes[command] = "repeated by the driver"
            except StoreUnavailable:
                await client.turn("one")
                outcomes[command] = "repeated by the caller"
            assert cut.made == 1
            await client.assert_stored("one")

    commands = ("hello", "buildInfo", "listCollections", "createIndexes")
    await side_by_side(*(check(command) for command in commands))
    print(outcomes)


async def test_readers_do_not_notice_a_cut(mongo_url: str, db_name: str) -> None:
    async with behind_a_proxy(mongo_url, db_name, "s") as client:
        await client.turn("one")
        client.proxy.cut = cut = Cut(command="find", after=50)
        await assert_stored(client.db, "s", "one")
        assert cut.made == 1
