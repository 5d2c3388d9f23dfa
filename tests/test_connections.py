"""Addresses, clients, event loops, servers that are away: what works, and what is said when it does not."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import AsyncMongoDb, MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    DocumentTooLarge,
    EventLoopError,
    StoreAuthenticationError,
    StorePermissionError,
    StoreUnavailable,
)
from agno_mongo.event_loops import PerLoop
from agno_mongo.run import RunStatus
from agno_mongo.session import AgentSession
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.servers import guarded_mongod


class TestAnAddress:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("http://localhost", "Invalid URI scheme"),
            ("mongodb://host:port", "Port contains non-digit"),
            ("mongodb://", "no MongoDB address"),
            ("", "takes an address"),
            (27017, "takes an address"),
            ("mongodb://user:pass@word@host/", "must be escaped"),
        ],
    )
    def test_that_is_none_is_refused_at_once(self, url: Any, words: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            MongoDb(url)
        assert words in str(caught.value)

    def test_is_never_shown_with_its_password(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            MongoDb("mongodb://john:s3cret@host:port/")
        assert "s3cret" not in str(caught.value)
        assert "s3cret" not in repr(MongoDb("mongodb://john:s3cret@host/"))

    async def test_may_come_from_the_environment(self, mongo_url: str, db_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ConfigurationError, match="AGNO_MONGO_URL"):
            MongoDb()
        monkeypatch.setenv("AGNO_MONGO_URL", mongo_url)
        async with AsyncMongoDb(db_name=db_name) as db:
            assert (await db.health()).writable

    @pytest.mark.parametrize(
        "settings",
        [{"db_name": "a.b"}, {"db_name": ""}, {"session_table": ""}, {"session_table": "a$b"}, {"session_table": "system.x"}],
    )
    def test_comes_with_names_that_mongodb_takes(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match=next(iter(settings))):
            MongoDb("mongodb://localhost", **settings)


@pytest.mark.usefixtures("sockets_that_pymongo_leaves")
class TestAServer:
    async def test_that_is_down_is_named_without_its_password(self) -> None:
        db = MongoDb("mongodb://john:s3cret@127.0.0.1:9/?serverSelectionTimeoutMS=200")
        model = ScriptedModel()
        with pytest.raises(StoreUnavailable, match=r"no MongoDB server answers at 127\.0\.0\.1:9") as caught:
            await Agent(model=model, db=db).arun("go")
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is not None
        assert model.requests == []
        await db.close()

    async def test_that_is_down_is_given_up_after_five_seconds_unless_told_otherwise(self) -> None:
        db = MongoDb("mongodb://127.0.0.1:9/")
        client = await db._connections._new_client()
        assert client.options.server_selection_timeout == 5.0
        await client.close()

    async def test_that_comes_back_is_used_again(self, mongo_url: str, db_name: str) -> None:
        db = MongoDb("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100", db_name=db_name)
        with pytest.raises(StoreUnavailable):
            await db.health()
        db._url = mongo_url
        assert (await db.health()).writable
        await db.close()


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with guarded_mongod(tmp_path_factory.mktemp("guarded")) as url:
        yield url


@pytest.mark.usefixtures("sockets_that_pymongo_leaves")
class TestCredentials:
    """On a mongod that asks for them."""

    async def test_that_are_wrong_are_refused(self, guarded_url: str) -> None:
        async with MongoDb(guarded_url.replace("root:secret", "root:wr0ng")) as db:
            with pytest.raises(StoreAuthenticationError, match="refused the user name or password") as caught:
                await db.get_session("s")
        assert "wr0ng" not in str(caught.value)

    async def test_that_are_missing_are_asked_for(self, guarded_url: str) -> None:
        async with MongoDb(guarded_url.replace("root:secret@", "")) as db:
            with pytest.raises(StoreAuthenticationError, match="wants a user name and password"):
                await db.get_session("s")

    async def test_of_a_read_only_user_read_and_do_not_write(self, guarded_url: str) -> None:
        async with MongoDb(guarded_url, db_name="agno") as db:
            await Agent(model=ScriptedModel("ok"), db=db, session_id="s").arun("go")
        async with MongoDb(guarded_url.replace("root:secret", "reader:secret"), db_name="agno") as db:
            before = await db.get_session("s")
            assert len(before.runs) == 1
            model = ScriptedModel()
            with pytest.raises(StorePermissionError, match="needs the role readWrite"):
                await Agent(model=model, db=db, session_id="s").arun("go")
            for attempt in (
                db.rename_session("s", None, "x"),
                db.delete_session("s"),
                db.update_session_state("s", {"n": 1}),
            ):
                with pytest.raises(StorePermissionError):
                    await attempt
            assert model.requests == []
            assert (await db.get_session("s")).to_dict() == before.to_dict()


class TestTooMuch:
    async def test_state_is_an_error_and_the_run_is_kept(self, db: MongoDb) -> None:
        def hoard(session_state: dict[str, Any]) -> str:
            session_state["hoard"] = "x" * 20_000_000
            return "hoarded"

        agent = Agent(model=ScriptedModel(ToolCall("hoard"), "ok", "still here"), db=db, session_id="s", tools=[hoard])
        with pytest.raises(DocumentTooLarge, match="16 MB"):
            await agent.arun("go")
        run = await agent.aget_last_run_output()
        assert run is not None
        assert (run.status, run.content) == (RunStatus.completed, "ok")
        assert await agent.aget_session_state() == {}
        assert (await agent.arun("and now?")).content == "still here"


class TestClients:
    def test_of_another_kind_are_refused(self) -> None:
        client: Any = MongoClient("mongodb://127.0.0.1:9", connect=False)
        with client, pytest.raises(ConfigurationError, match=r"blocking client, use pymongo\.AsyncMongoClient"):
            MongoDb(client=client)
        with pytest.raises(ConfigurationError, match=r"not builtins\.str"):
            MongoDb(client="mongodb://localhost")
        with pytest.warns(DeprecationWarning, match="session_collection"):
            assert MongoDb("mongodb://localhost", session_collection="x").session_table == "x"  # type: ignore[call-arg]
        with pytest.raises(ConfigurationError, match="not both"):
            MongoDb("mongodb://localhost", client=AsyncMongoMockClient())

    @pytest.mark.parametrize("make_client", [AsyncMongoClient, AsyncIOMotorClient])
    def test_stay_on_the_loop_of_their_first_use(self, mongo_url: str, db_name: str, make_client: Any) -> None:
        async def use_twice() -> None:
            client = make_client(mongo_url)
            db = MongoDb(client=client, db_name=db_name)
            assert await db.get_session("s") is None
            with pytest.raises(EventLoopError, match=r"MongoDb\(db_url=…\)"):
                await asyncio.to_thread(db.blocking.get_session, "s")
            assert await db.get_session("s") is None
            closing = client.close()
            if closing is not None:
                await closing

        asyncio.run(use_twice())

    def test_that_their_owner_used_on_another_loop_are_a_clear_error(self, mongo_url: str) -> None:
        client: Any = AsyncMongoClient(mongo_url)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(client.admin.command("ping"))
        with pytest.raises(EventLoopError, match="first use"):
            asyncio.run(MongoDb(client=client).get_session("s"))
        loop.run_until_complete(client.close())
        loop.close()

    async def test_of_the_user_stay_open(self, mongo_url: str, db_name: str) -> None:
        async with AsyncMongoClient(mongo_url) as client:
            async with MongoDb(client=client, db_name=db_name) as db:
                await db.health()
            assert (await client.admin.command("ping"))["ok"]


class TestEventLoops:
    def test_one_db_works_from_many(self, mongo_url: str, db_name: str) -> None:
        db = MongoDb(mongo_url, db_name=db_name)
        agent = Agent(model=ScriptedModel(*["ok"] * 20), db=db, session_id="s")
        for _ in range(3):
            asyncio.run(agent.arun("a loop of its own"))
        agent.run("the loop behind blocking calls")
        threads = [threading.Thread(target=lambda: asyncio.run(agent.arun("a thread of its own"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        session = agent.get_session()
        assert session is not None
        assert len(session.runs or ()) == 8
        db.blocking.close()

    async def test_a_db_can_be_closed_and_used_again(self, mongo_url: str, db_name: str) -> None:
        db = MongoDb(mongo_url, db_name=db_name)
        for _ in range(2):
            assert (await db.health()).writable
            await db.close()
            await db.close()

    async def test_closing_reaches_the_clients_of_other_loops(self, mongo_url: str, db_name: str) -> None:
        db = MongoDb(mongo_url, db_name=db_name)
        await asyncio.to_thread(db.blocking.health)
        await db.health()
        await db.close()

    async def test_a_first_use_by_many_at_once_makes_one_connection(self, mongo_url: str, db_name: str) -> None:
        db = MongoDb(mongo_url, db_name=db_name)
        connections = await asyncio.gather(*(db._connection() for _ in range(20)))
        assert len({id(connection) for connection in connections}) == 1
        await db.close()

    @pytest.mark.usefixtures("sockets_that_pymongo_leaves")
    async def test_a_first_use_that_is_cancelled_leaves_the_others_alone(self, mongo_url: str, db_name: str) -> None:
        for moment in (0, 0.001, 0.005, 0.02):
            db = MongoDb(mongo_url, db_name=db_name)
            first = asyncio.create_task(db.health())
            second = asyncio.create_task(db.health())
            await asyncio.sleep(moment)
            first.cancel()
            assert (await asyncio.wait_for(second, 10)).writable
            await asyncio.gather(first, return_exceptions=True)
            assert (await asyncio.wait_for(MongoDb(client=AsyncMongoMockClient()).health(), 10)).writable
            await db.close()

    def test_that_have_ended_are_let_go(self, mongo_url: str, db_name: str) -> None:
        db = MongoDb(mongo_url, db_name=db_name)
        loops = []

        async def use() -> None:
            loops.append(weakref.ref(asyncio.get_running_loop()))
            await db.get_session("s")

        for _ in range(5):
            asyncio.run(use())
        gc.collect()
        assert [loop() for loop in loops] == [None] * 5

    @pytest.mark.usefixtures("sockets_that_pymongo_leaves")
    async def test_one_server_that_is_away_does_not_hold_up_another(self, mongo_url: str, db_name: str) -> None:
        away = asyncio.create_task(MongoDb("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=60000").health())
        await asyncio.sleep(0.05)
        async with MongoDb(mongo_url, db_name=db_name) as db:
            assert (await asyncio.wait_for(db.health(), 30)).writable
        assert not away.done()
        away.cancel()
        await asyncio.gather(away, return_exceptions=True)

    async def test_a_first_use_that_fails_fails_for_all_who_wait(self) -> None:
        db = MongoDb("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100")
        outcomes = await asyncio.gather(*(db.health() for _ in range(5)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}


class TestSeveralDatabases:
    async def test_do_not_touch_each_other(self, mongo_url: str, db_name: str) -> None:
        dbs = [
            MongoDb(mongo_url, db_name=db_name),
            MongoDb(mongo_url, db_name=db_name, session_table="another"),
            InMemoryDb(),
            InMemoryDb(session_table="another"),
        ]
        for number, db in enumerate(dbs):
            await Agent(model=ScriptedModel("ok"), db=db, session_id="s").arun(f"input {number}")
            await db.upsert_session(AgentSession(session_id=f"only {number}"))
        for number, db in enumerate(dbs):
            session = await db.get_session("s")
            assert [run.input.input_content for run in session.runs] == [f"input {number}"]
            assert set(await db.get_all_session_ids()) == {"s", f"only {number}"}
            documents = (await db.documents()).values()
            assert {document.get_collection_name() for document in documents} == {db.session_table}
        for db in dbs:
            await db.close()

    def test_leave_the_public_session_classes_alone(self) -> None:
        asyncio.run(InMemoryDb().documents())
        session = AgentSession(session_id="s")
        assert session.runs is None
        assert session.to_dict()["revision"] == 0
        assert "session_id" not in vars(AgentSession)


async def test_what_is_dropped_is_closed_free_of_whatever_was_going_on_there() -> None:
    deadline: ContextVar[str] = ContextVar("deadline", default="none")
    closed_under: asyncio.Queue[str] = asyncio.Queue()

    async def make() -> str:
        return "client"

    async def close(_client: str) -> None:
        await closed_under.put(deadline.get())

    per_loop: PerLoop[str] | None = PerLoop(make, close)
    assert per_loop is not None
    await per_loop.get()
    deadline.set("a caller's")
    per_loop = None
    gc.collect()
    assert await asyncio.wait_for(closed_under.get(), 5) == "none"
