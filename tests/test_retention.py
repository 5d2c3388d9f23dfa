"""Retention: what is not used for so long goes, with all that belongs to it; what is used stays whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest
import pytest_asyncio
from mongomock_motor import AsyncMongoMockClient
from pymongo import AsyncMongoClient

from agno_mongo.agent import Agent
from agno_mongo.db import archive
from agno_mongo.db import retention as retentions
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import Claim
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, SessionNotFound
from agno_mongo.run import RunOutput
from agno_mongo.session import AgentSession
from agno_mongo.testing import ScriptedModel
from tests.servers import quick_mongod
from tests.test_commands import Recorder

DAY = timedelta(days=1)
LONG_AGO = datetime.fromtimestamp(86400, timezone.utc).replace(tzinfo=None)
PARTS = 3
"""What ``with_parts`` stores beside the session: an archive document, a file, its chunk."""


@pytest.fixture
def quick_url(tmp_path: Path) -> Iterator[str]:
    """The address of a server that deletes within a second what has expired."""
    with quick_mongod(tmp_path) as url:
        yield url


@pytest.fixture(params=["mongomock", "pymongo"])
def client(request: pytest.FixtureRequest, mongo_url: str) -> Any:
    """A client that several databases share."""
    return AsyncMongoMockClient() if request.param == "mongomock" else AsyncMongoClient(mongo_url)


@pytest_asyncio.fixture
async def shared(client: Any) -> AsyncIterator[Any]:
    yield client
    if isinstance(client, AsyncMongoClient):
        await client.close()


def kept(client: Any, db_name: str, retention: timedelta | None) -> MongoDb:
    return MongoDb(client=client, db_name=db_name, retention=retention)


def talker(db: MongoDb, *answers: Any, session_id: str = "s") -> Agent:
    return Agent(model=ScriptedModel(*answers), db=db, session_id=session_id)


async def document(db: MongoDb, session_id: str = "s") -> dict[str, Any]:
    found: dict[str, Any] = await (await db._connection()).collection.find_one({"session_id": session_id})
    return found


async def with_parts(db: MongoDb, session_id: str = "s") -> None:
    """A session with an archive and large content, and a turn."""
    runs = [RunOutput(run_id=f"r{n}", agent_id="a", content=f"{n}", messages=[]) for n in range(40)]
    await db.upsert_session(AgentSession(session_id=session_id, agent_id="a", runs=runs))
    await talker(db, "x" * 100_000, session_id=session_id).arun("go")
    await settled(db)


async def settled(db: MongoDb) -> None:
    await (await db._connection()).background.finished()


def parts_of(connection: Connection) -> list[tuple[Any, str]]:
    chunks = (connection.media_chunks, "expires_at")
    return [(connection.archive, "expires_at"), (connection.media_files, "metadata"), chunks]


async def ends_of_parts(db: MongoDb) -> list[datetime | None]:
    ends: list[datetime | None] = []
    for collection, field in parts_of(await db._connection()):
        parts = await collection.find({}, projection={field: 1}).to_list(None)
        ends += [part.get("metadata", part).get("expires_at") for part in parts]
    return ends


async def left(db: MongoDb) -> int:
    connection = await db._connection()
    everything = [connection.collection, *(collection for collection, _ in parts_of(connection))]
    return sum([await collection.count_documents({}) for collection in everything])


def days_until(moment: datetime) -> float:
    return (moment.replace(tzinfo=timezone.utc).timestamp() - time()) / 86400


def about(days: float) -> Any:
    return pytest.approx(days, abs=0.01)


class TestOnTheServer:
    async def test_what_is_not_used_goes_with_all_its_parts_and_what_is_used_stays(self, quick_url: str) -> None:
        async with MongoDb(quick_url, retention=timedelta(seconds=1)) as db, MongoDb(quick_url) as forever:
            asked, going_on = asyncio.Event(), asyncio.Event()

            async def takes_its_time(_request: Any) -> str:
                asked.set()
                await going_on.wait()
                return "y" * 100_000

            live = asyncio.ensure_future(talker(db, takes_its_time, session_id="live").arun("z" * 100_000))
            await asked.wait()
            # What was there without an end would get one.
            await settled(db)
            before = await left(db)
            await with_parts(forever)
            assert await left(db) == before + 1 + PARTS
            await with_parts(forever, "kept")
            await forever.set_retention("kept", timedelta(days=1))
            await forever.set_retention("kept", None)
            assert await left(db) == before + 2 * (1 + PARTS)
            # Only now, or it might go before all of it was counted.
            await db.set_retention("s", None)
            deadline = monotonic() + 60
            while await document(db) is not None or len(await ends_of_parts(db)) > PARTS + 2:
                assert monotonic() < deadline, await ends_of_parts(db)
                await asyncio.sleep(0.2)
            # That it went on has kept it until here; a second would be little time to read it.
            await db.set_retention("live", DAY)
            going_on.set()
            await live
            session = await db.get_session("live")
            assert session.runs[0].content == "y" * 100_000
            assert session.runs[0].input.input_content == "z" * 100_000
            assert len((await forever.get_session("kept")).runs) == 41

    async def test_an_index_that_expires_at_another_time_is_brought_in_line(self, mongo_url: str, db_name: str) -> None:
        async with AsyncMongoClient[dict[str, Any]](mongo_url) as client:
            collection = client[db_name].agno_sessions
            await collection.create_index("expires_at", expireAfterSeconds=3600)
            await client[db_name].agno_sessions_archive.create_index("expires_at", expireAfterSeconds=60, name="by_hand")
            db = kept(client, db_name, DAY)
            await with_parts(db)
            for name in ("agno_sessions", "agno_sessions_archive"):
                indexes = await client[db_name][name].index_information()
                seconds = [index["expireAfterSeconds"] for index in indexes.values() if "expireAfterSeconds" in index]
                assert seconds == [0]
                assert len(indexes) > 4

    async def test_another_conflict_of_indexes_is_told(self, mongo_url: str, db_name: str) -> None:
        async with AsyncMongoClient[dict[str, Any]](mongo_url) as client:
            await client[db_name].agno_sessions.create_index("session_id")
            with pytest.raises(Exception, match="session_id"):
                await talker(kept(client, db_name, None), "ok").arun("go")

    async def test_a_turn_stays_two_commands(self, mongo_url: str, db_name: str) -> None:
        recorder = Recorder()
        async with AsyncMongoClient[dict[str, Any]](mongo_url, event_listeners=[recorder]) as client:
            db = kept(client, db_name, timedelta(days=30))
            await with_parts(db)
            agent = talker(db, "ok", "ok", "ok")
            await agent.arun("go")
            await db.set_retention("s", timedelta(days=7))
            recorder.sent.clear()
            await agent.arun("go")
            await agent.arun("go")
            await settled(db)
            assert recorder.names == ["findAndModify"] * 4


class TestSliding:
    async def test_every_turn_and_every_write_moves_the_end(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, timedelta(days=30))
        agent = talker(db, "one", "two")
        connection = await db._connection()
        soon = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(days=2)
        sooner = {"$set": {"expires_at": soon}}
        await agent.arun("first")
        writes = (
            lambda: agent.arun("second"),
            lambda: agent.aset_session_name(session_name="x"),
            lambda: agent.aupdate_session_state({"n": 1}),
            lambda: _stored_again(db),
            lambda: db.rewind_session("s", first["runs"][0]["run_id"], keep_copy=False),
        )
        first = await document(db)
        assert days_until(first["expires_at"]) == about(30)
        for write in writes:
            await connection.collection.update_one({"session_id": "s"}, sooner)
            await write()
            assert days_until((await document(db))["expires_at"]) == about(30)
        await agent.aget_session()
        fork = await db.fork_session("s")
        assert days_until((await document(db, fork.session_id))["expires_at"]) == about(30)

    async def test_without_retention_nothing_expires(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, None)
        await with_parts(db)
        assert (await document(db))["expires_at"] is None
        assert set(await ends_of_parts(db)) == {None}

    @pytest.mark.parametrize("wrong", [timedelta(0), timedelta(days=-1), 30, "30d"])
    async def test_takes_a_timedelta_above_zero(self, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match="retention is a"):
            InMemoryDb(retention=wrong)
        with pytest.raises(ConfigurationError, match="retention is a"):
            await InMemoryDb().set_retention("s", wrong)

    async def test_parts_last_longer_than_their_session_and_are_given_more_time_at_half(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, timedelta(days=30))
        await with_parts(db)
        assert [days_until(end) for end in await ends_of_parts(db) if end] == [about(60)] * PARTS
        connection = await db._connection()
        for days_left, after in ((46, 46), (44, 60), (None, 60)):
            await _parts_end(connection, days_left)
            await talker(db, "ok").arun("go")
            await settled(db)
            assert [days_until(end) for end in await ends_of_parts(db) if end] == [about(after)] * PARTS
            assert days_until((await document(db))["kept_until"]) == about(after)

    async def test_parts_that_would_go_first_are_kept_before_the_model_is_asked(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, timedelta(days=30))
        await with_parts(db)
        connection = await db._connection()
        await _parts_end(connection, 20)

        async def look(_request: Any) -> str:
            assert [days_until(end) for end in await ends_of_parts(db) if end] == [about(60)] * PARTS
            return "ok"

        await talker(db, look).arun("go")

    async def test_content_that_is_about_to_go_is_stored_anew(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, timedelta(days=30))
        connection = await db._connection()
        await talker(db, "x" * 100_000).arun("go")
        await settled(db)
        await _parts_end(connection, 0.01)
        # As the server does it: the session first, its parts later.
        await connection.collection.delete_many({})
        await talker(db, "x" * 100_000).arun("go")
        await settled(db)
        assert await connection.media_files.count_documents({}) == 2
        assert [run.content for run in (await db.get_session("s")).runs] == ["x" * 100_000]


async def _stored_again(db: MongoDb) -> None:
    await db.upsert_session(await db.get_session("s"))


async def _parts_end(connection: Connection, days: float | None) -> None:
    """As if the parts, and what the session knows of them, had so many days left."""
    end = None if days is None else datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(days=days)
    change = {"$unset": {"kept_until": ""}} if end is None else {"$set": {"kept_until": end}}
    await connection.collection.update_many({}, change)
    for collection, field in parts_of(connection):
        name = "metadata.expires_at" if field == "metadata" else field
        await collection.update_many({}, {"$unset": {name: ""}} if end is None else {"$set": {name: end}})


class TestARetentionOfItsOwn:
    async def test_beats_the_databases_in_both_directions_and_can_be_taken_back(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, timedelta(days=30))
        await with_parts(db)
        agent = talker(db, *["ok"] * 9)
        for own, days in ((timedelta(days=365), 365), (timedelta(days=7), 7), (None, 30), (timedelta.max, 200 * 365)):
            session = await db.set_retention("s", own)
            assert session.retention == (None if own is None else min(own.total_seconds(), 200 * 365 * 86400))
            for write in (lambda: agent.arun("go"), lambda: agent.aset_session_name(session_name="x")):
                assert days_until((await document(db))["expires_at"]) == about(days)
                ends = [days_until(end) for end in await ends_of_parts(db) if end]
                assert len(ends) == PARTS
                assert all(days < end < 3 * days + 1 for end in ends)
                await write()
                await settled(db)
            assert days_until((await document(db))["expires_at"]) == about(days)
        with pytest.raises(SessionNotFound):
            await db.set_retention("nowhere", DAY)

    async def test_works_without_one_of_the_database_and_goes_with_a_fork(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, None)
        await with_parts(db)
        await db.set_retention("s", timedelta(days=7))
        fork = await db.fork_session("s", new_session_id="fork")
        assert fork.retention == 7 * 86400
        assert days_until((await document(db, "fork"))["expires_at"]) == about(7)
        rewound = await db.rewind_session("s", "r5")
        assert rewound.rewound_from is not None
        for session_id in ("s", "fork", rewound.rewound_from):
            assert days_until((await document(db, session_id))["expires_at"]) == about(7)
        assert None not in await ends_of_parts(db)
        await db.set_retention("fork", None)
        assert "expires_at" not in await document(db, "fork")
        assert set(await ends_of_parts(db)) == {None}, "a fork that stays keeps what it shares"
        await db.set_retention("s", timedelta(days=3))
        assert set(await ends_of_parts(db)) == {None}

    @pytest.mark.parametrize("of_database", [None, timedelta(days=10)])
    async def test_holds_for_large_content_of_every_later_run(
        self, shared: Any, db_name: str, of_database: timedelta | None
    ) -> None:
        db = kept(shared, db_name, of_database)
        agent = talker(db, "ok", "y" * 100_000, "ok", "ok")
        await agent.arun("go")
        await db.set_retention("s", timedelta(days=365))
        for text in ("x" * 100_000, "go", "z" * 100_000):
            await agent.arun(text)
            ends = await ends_of_parts(db)
            assert [days_until(end) for end in ends if end] == [about(730)] * len(ends)
        assert len(ends) == 6
        session = await db.get_session("s")
        session.runs = [*session.runs, RunOutput(run_id="r", content="w" * 100_000)]
        await db.upsert_session(session)
        ends = await ends_of_parts(db)
        assert [days_until(end) for end in ends if end] == [about(730)] * len(ends)

    async def test_is_not_overtaken_by_who_keeps_the_parts_as_it_was_before(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, None)
        await with_parts(db)
        await db.set_retention("s", DAY)
        before = await document(db)
        for own, days in ((timedelta(days=365), 365), (None, None), (DAY, 1)):
            await db.set_retention("s", own)
            await retentions.keep_parts(await db._connection(), before, before["expires_at"])
            ends = await ends_of_parts(db)
            if days is None:
                assert ends == [None] * PARTS
            else:
                assert all(end is not None and days_until(end) > 2 * days - 0.1 for end in ends)

    async def test_that_is_taken_back_during_a_move_leaves_no_part_that_expires(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, None)
        agent = talker(db, *["ok"] * 33)
        await agent.arun("go")
        await db.set_retention("s", DAY)
        for _ in range(31):
            await agent.arun("go")
        connection = await db._connection()
        session = await document(db)
        # As whoever moved, and came too late, has left it.
        bucket = archive.buckets(session["runs"][:25], [1] * 25, 0)[0]
        ends = session["expires_at"] + DAY
        await connection.archive.insert_one(archive.bucket_document(bucket, session["_id"], session, ends))
        await db.set_retention("s", None)
        await agent.arun("go")
        await settled(db)
        assert (await document(db))["archived_runs"] == 25
        assert set(await ends_of_parts(db)) == {None}

    async def test_that_was_taken_back_halfway_is_brought_to_an_end_by_the_next_turn(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, None)
        await with_parts(db)
        await _parts_end(await db._connection(), 2)
        await talker(db, "ok").arun("go")
        await settled(db)
        assert set(await ends_of_parts(db)) == {None}

    async def test_that_is_set_during_a_run_holds_after_it(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, timedelta(days=7))

        async def set_it(_request: Any) -> str:
            await db.set_retention("s", timedelta(days=365))
            return "ok"

        await talker(db, set_it).arun("go")
        assert days_until((await document(db))["expires_at"]) == about(365)

    async def test_that_is_nearly_over_does_not_take_the_session_from_a_run(self, shared: Any, db_name: str) -> None:
        db = kept(shared, db_name, None)
        await talker(db, "ok").arun("go")
        await db.set_retention("s", timedelta(seconds=20))
        key = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None)

        async def look(_request: Any) -> str:
            assert days_until((await document(db))["expires_at"]) * 86400 > 50
            connection = await db._connection()
            soon = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(seconds=5)
            await connection.collection.update_one({}, {"$set": {"expires_at": soon}})
            [run] = (await db.get_session("s")).unfinished_runs
            assert await db.renew_lease(Claim(key=key, run_id=run.run_id or ""), 60)
            assert days_until((await document(db))["expires_at"]) * 86400 > 50
            await talker(db, "a short one").arun("and this?")
            assert days_until((await document(db))["expires_at"]) * 86400 > 50
            return "ok"

        await talker(db, look).arun("go")
        assert days_until((await document(db))["expires_at"]) * 86400 < 25
        assert len((await db.get_session("s")).runs) == 3

    async def test_of_a_session_that_expires_while_a_run_begins_lets_it_begin_anew(self, mongo_db: MongoDb) -> None:
        connection = await mongo_db._connection()
        key = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None)
        gone = {"expires_at": LONG_AGO}
        assert not await retentions.outlives_run(connection, key, gone, 60)
        await talker(mongo_db, "ok").arun("go")
        assert await retentions.outlives_run(connection, key, gone, 60), "its retention was taken away meanwhile"


class TestApplyRetention:
    async def test_switches_it_on_changes_it_and_takes_it_away(self, shared: Any, db_name: str) -> None:
        before = kept(shared, db_name, None)
        await with_parts(before)
        await with_parts(before, "own")
        await before.set_retention("own", timedelta(days=100))
        connection = await before._connection()
        used = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=3)
        await connection.collection.update_one({"session_id": "s"}, {"$set": {"touched_at": used}})
        old = {"session_id": "old", "session_type": "agent", "updated_at": int(time()) - 2 * 86400}
        await connection.collection.insert_one(old)
        for retention, days in ((30, 27), (300, 297), (None, None), (10, 7)):
            db = kept(shared, db_name, retention and timedelta(days=retention))
            assert await db.apply_retention() == 2
            await settled(db)
            documents = {name: await document(db, name) for name in ("s", "old", "own")}
            assert days_until(documents["own"]["expires_at"]) == about(100)
            if days is None:
                assert documents["s"].get("expires_at") is None
                assert None in await ends_of_parts(db)
                continue
            assert days_until(documents["s"]["expires_at"]) == about(days)
            assert days_until(documents["old"]["expires_at"]) == about(days + 1)
            ends = sorted(round(days_until(end), 1) for end in await ends_of_parts(db) if end)
            assert ends == sorted([round(days + (retention or 0), 1)] * PARTS + [200.0] * PARTS)

    async def test_is_done_at_the_first_run_if_sessions_have_none(self, shared: Any, db_name: str) -> None:
        await with_parts(kept(shared, db_name, None))
        db = kept(shared, db_name, timedelta(days=30))
        await talker(db, "ok", session_id="another").arun("go")
        await settled(db)
        assert days_until((await document(db))["expires_at"]) == about(30)
        assert None not in await ends_of_parts(db)

    async def test_leaves_a_session_time_that_may_have_runs(self, shared: Any, db_name: str) -> None:
        before = kept(shared, db_name, None)
        connection = await before._connection()
        entry = {"input": "x", "started_at": 1.0, "lease_until": time() + 60}
        stored = {"session_type": "agent", "touched_at": LONG_AGO, "updated_at": 1}
        await connection.collection.insert_one({"session_id": "s", "active_runs": {"r": entry}, **stored})
        await kept(shared, db_name, DAY).apply_retention()
        assert 60 < days_until((await document(before))["expires_at"]) * 86400 <= 120
