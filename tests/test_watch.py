"""Watching sessions: what happened, to whose session, once and in order, from wherever a reader left off."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient

from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.embedded_server import find_mongod
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.watch import SessionEvent, SessionWatch
from agno_mongo.errors import ConfigurationError, ModelError, SessionOwnedByAnotherUser, StoreError, UserRequired
from agno_mongo.run import RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.servers import free_port
from tests.test_commands import Recorder


@pytest_asyncio.fixture(params=["pymongo", "motor"])
async def watched(request: pytest.FixtureRequest, mongo_url: str, db_name: str) -> AsyncIterator[MongoDb]:
    """A store over both clients that have a server."""
    if request.param == "pymongo":
        async with MongoDb(mongo_url, db_name=db_name) as db:
            yield db
        return
    client = AsyncIOMotorClient(mongo_url)
    yield MongoDb(client=client, db_name=db_name)
    client.close()


@pytest_asyncio.fixture
async def recorded(mongo_url: str, db_name: str) -> AsyncIterator[tuple[MongoDb, Recorder]]:
    recorder = Recorder()
    async with AsyncMongoClient(mongo_url, event_listeners=[recorder]) as client:
        yield MongoDb(client=client, db_name=db_name), recorder


async def next_of(events: SessionWatch, number: int) -> list[SessionEvent]:
    return [await asyncio.wait_for(anext(events), 10) for _ in range(number)]


async def nothing_comes(events: SessionWatch) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(anext(events), 0.1)


def said(events: list[SessionEvent]) -> list[tuple[str, str]]:
    return [(event.kind, event.session_id) for event in events]


async def say(db: MongoDb, session_id: str, user_id: str | None = "john", *lines: Any) -> Any:
    return await Agent(model=ScriptedModel(*(lines or ("ok",))), db=db).arun("go", session_id=session_id, user_id=user_id)


async def test_everything_that_happens_to_a_session_is_told_in_order(watched: MongoDb) -> None:
    db = watched

    def note(session_state: dict[str, Any]) -> str:
        session_state["noted"] = True
        return "noted"

    async with db.watch("s", "john") as events:
        first = await say(db, "s")
        agent = Agent(model=ScriptedModel(ToolCall("note"), "ok", ModelError("on strike")), db=db, tools=[note])
        second = await agent.arun("go", session_id="s", user_id="john", run_id="a.b$%2E")
        third = await agent.arun("go", session_id="s", user_id="john")
        await db.rename_session("s", session_name="a name", user_id="john")
        await db.update_session_state("s", {"x.y": 1, "z": [2]}, user_id="john")
        session = await db.get_session("s")
        session.metadata, session.runs = {"k": 1}, None
        await db.upsert_session(session)
        await db.delete_session("s", user_id="john")
        told = await next_of(events, 11)
        assert [(event.kind, event.run_id, event.status, event.changed) for event in told] == [
            ("created", None, None, ()),
            ("run_begun", first.run_id, None, ()),
            ("run_finished", first.run_id, RunStatus.completed, ()),
            ("run_begun", "a.b$%2E", None, ()),
            ("run_finished", second.run_id, RunStatus.completed, ("session_state",)),
            ("run_begun", third.run_id, None, ()),
            ("run_finished", third.run_id, RunStatus.error, ()),
            ("renamed", None, None, ()),
            ("updated", None, None, ("session_state",)),
            ("updated", None, None, ("metadata",)),
            ("deleted", None, None, ()),
        ]
        assert {(event.session_id, event.session_type, event.user_id) for event in told} == {("s", "agent", "john")}
        assert all(abs(datetime.now(timezone.utc) - event.at) < timedelta(minutes=1) for event in told)
        await say(db, "s")
        assert said(await next_of(events, 3)) == [("created", "s"), ("run_begun", "s"), ("run_finished", "s")]


async def test_a_users_sessions_are_watched_those_made_later_too_and_nobody_elses(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    await say(db, "before")
    await say(db, "jane's", "jane")
    async with db.watch(user_id="john") as events:
        recorder.sent.clear()
        await say(db, "jane's", "jane")
        await say(db, "nobody's", None)
        await say(db, "jane's second", "jane")
        await say(db, "later")
        await say(db, "before")
        await db.delete_session("jane's")
        await say(db, "later")
        await db.delete_session("before")
        told = await next_of(events, 8)
        assert said(told) == [
            ("created", "later"), ("run_begun", "later"), ("run_finished", "later"), ("run_begun", "before"),
            ("run_finished", "before"), ("run_begun", "later"), ("run_finished", "later"), ("deleted", "before"),
        ]  # fmt: skip
        await nothing_comes(events)


async def test_only_names_and_ids_travel(mongo_url: str, db_name: str) -> None:
    received: list[Any] = []

    class Replies(Recorder):
        def succeeded(self, event: Any) -> None:
            if event.command_name in {"getMore", "aggregate"}:
                received.append(event.reply)

    async with AsyncMongoClient(mongo_url, event_listeners=[Replies()]) as client:
        db = MongoDb(client=client, db_name=db_name)
        async with db.watch() as events:
            await say(db, "s", "john", "secret " * 10_000)
            await db.update_session_state("s", {"k": "secret"})
            await say(db, "s", "john", "secret " * 10_000)
            assert len(await next_of(events, 6)) == 6
    assert "secret" not in str(received)
    assert len(str(received)) < 10_000


async def test_leases_checkpoints_and_moves_to_the_archive_are_no_events(watched: MongoDb) -> None:
    db = watched
    await say(db, "s")
    await say(db, "s")
    collection = (await db.documents())[SessionType.AGENT].get_pymongo_collection()
    session = await db.get_session("s")
    which = {"session_id": "s"}
    async with db.watch("s") as events:
        await collection.update_one(which, {"$set": {"active_runs.r": {"input": "x", "lease_until": 1.0}}})
        await collection.update_one(which, {"$set": {"active_runs.r.lease_until": 2.0}})
        await collection.update_one(which, {"$set": {"active_runs.r.messages": [{"role": "user"}]}})
        await collection.update_one(which, {"$set": {"touched_at": datetime.now(timezone.utc), "expires_at": None}})
        await collection.update_one(
            which, {"$pull": {"runs": {"run_id": {"$in": [session.runs[0].run_id]}}}, "$inc": {"archived_runs": 1}}
        )
        await collection.update_one(which, [{"$set": {"runs": [], "archived_runs": 2}}])
        await collection.update_one(which, {"$unset": {"active_runs.r": ""}})
        await db.rename_session("s", session_name="the end")
        assert [(event.kind, event.run_id) for event in await next_of(events, 2)] == [("run_begun", "r"), ("renamed", None)]


async def test_a_long_session_is_told_run_by_run_and_a_fork_and_a_rewind_once(mongo_db: MongoDb) -> None:
    db = mongo_db
    agent = Agent(model=ScriptedModel(*["ok"] * 35), db=db, session_id="s", user_id="john")
    async with db.watch(user_id="john") as events:
        ids = [(await agent.arun("go")).run_id for _ in range(34)]
        await (await db._connection()).background.finished()
        assert (await db.get_session("s")).archived_runs
        await db.fork_session("s", new_session_id="fork")
        await db.rewind_session("s", ids[3], keep_copy=False)
        await db.rename_session("fork", session_name="the end")
        told = await next_of(events, 1 + 2 * 34 + 3)
        assert [event.run_id for event in told if event.kind == "run_finished"] == ids
        assert [(event.kind, event.session_id, event.changed) for event in told[-3:]] == [
            ("created", "fork", ()),
            ("updated", "s", ("runs",)),
            ("renamed", "fork", ()),
        ]


async def test_a_run_is_told_with_its_members(mongo_db: MongoDb) -> None:
    await say(mongo_db, "s")
    collection = (await mongo_db.documents())[SessionType.AGENT].get_pymongo_collection()
    async with mongo_db.watch("s") as events:
        for runs in ([], [{"run_id": "earlier"}]):
            await collection.update_one({"session_id": "s"}, {"$set": {"runs": runs, "active_runs.lead": {"input": "x"}}})
            members = [{"run_id": name, "parent_run_id": "lead", "status": "ERROR"} for name in ("m1", "m2")]
            done = {"$each": [*members, {"run_id": "lead", "status": "COMPLETED"}]}
            await collection.update_one(
                {"session_id": "s"}, {"$push": {"runs": done}, "$unset": {"active_runs.lead": ""}, "$inc": {"run_count": 3}}
            )
        told = [event for event in await next_of(events, 6) if event.kind == "run_finished"]
        assert [(event.run_id, event.status, event.member_run_ids) for event in told] == [("lead", "COMPLETED", ("m1", "m2"))] * 2


async def test_a_watch_goes_on_behind_the_last_event_that_was_seen(watched: MongoDb) -> None:
    db = watched
    async with db.watch(user_id="john") as events:
        await say(db, "a")
        await db.rename_session("a", session_name="x")
        seen = await next_of(events, 4)
    await say(db, "b")
    await db.rename_session("b", session_name="y")
    rest = [("created", "b"), ("run_begun", "b"), ("run_finished", "b"), ("renamed", "b")]
    for number, event in enumerate(seen[1:], start=2):
        async with db.watch(user_id="john", resume_after=event.token) as events:
            assert said(await next_of(events, 4 - number + 4)) == said(seen[number:]) + rest
    # The first of two events of one write has a token that repeats it rather than lose the second.
    async with db.watch(user_id="john", resume_after=seen[0].token) as events:
        assert said(await next_of(events, 8)) == said(seen) + rest


async def test_what_a_gap_hides_is_the_deletion_of_a_session_that_was_there_before(mongo_db: MongoDb) -> None:
    await say(mongo_db, "old")
    async with mongo_db.watch(user_id="john") as events:
        await say(mongo_db, "a")
        token = (await next_of(events, 3))[-1].token
    await say(mongo_db, "new")
    await mongo_db.delete_sessions(["old", "new"])
    await say(mongo_db, "last")
    async with mongo_db.watch(user_id="john", resume_after=token) as events:
        told = said(await next_of(events, 5))
    assert told[0] == ("created", "new")
    assert ("created", "last") in told
    assert ("deleted", "old") not in told


async def test_somebody_elses_session_is_not_watched(watched: MongoDb) -> None:
    db = watched
    await say(db, "jane's", "jane")
    with pytest.raises(SessionOwnedByAnotherUser):
        async with db.watch("jane's", "john"):
            pass
    with pytest.raises(SessionOwnedByAnotherUser):
        await anext(db.watch("jane's", "john"))
    async with db.watch("not yet", "john") as events:
        await say(db, "not yet", "jane")
        await db.delete_session("not yet")
        await say(db, "not yet", "john")
        told = await next_of(events, 3)
        assert [(event.kind, event.user_id) for event in told] == [
            (kind, "john") for kind in ("created", "run_begun", "run_finished")
        ]
    async with db.watch("jane's") as events:
        await db.rename_session("jane's", session_name="x")
        assert said(await next_of(events, 1)) == [("renamed", "jane's")]


def test_a_watch_names_its_user_where_one_is_required() -> None:
    db = InMemoryDb(require_user_id=True)
    for session_id in (None, "s"):
        with pytest.raises(UserRequired):
            db.watch(session_id)
    with pytest.raises(ConfigurationError, match="session_id must be text"):
        db.watch("", "john")


@pytest.mark.parametrize("token", ["", "no token", 7, b"82", "@1", "@99999999999.1", "@9999999999.1"])
def test_a_token_that_is_none_is_refused_at_once(token: Any) -> None:
    with pytest.raises(ConfigurationError, match="resume_after is the token of an event"):
        InMemoryDb().watch(resume_after=token)


async def test_a_token_that_the_server_does_not_know_is_refused(watched: MongoDb) -> None:
    async with watched.watch() as events:
        await say(watched, "s")
        token = (await next_of(events, 3))[-1].token
    for wrong in ("8", "82", "ABCDEF", "820000", f"FF{token}"):
        with pytest.raises(ConfigurationError, match="resume_after is the token of an event"):
            await next_of(watched.watch(resume_after=wrong), 1)


async def test_a_reader_that_gives_up_waiting_loses_nothing(watched: MongoDb) -> None:
    db = watched
    async with db.watch(user_id="john") as events:
        for _ in range(3):
            await nothing_comes(events)
        await say(db, "s")
        assert said(await next_of(events, 3)) == [("created", "s"), ("run_begun", "s"), ("run_finished", "s")]
        task = asyncio.create_task(anext(events))
        await asyncio.sleep(0.05)
        task.cancel()
        await db.rename_session("s", session_name="x")
        assert said(await next_of(events, 1)) == [("renamed", "s")]


async def test_closing_ends_a_reader_and_the_stream(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    events = db.watch(user_id="john")
    reader = asyncio.create_task(anext(events, None))
    await asyncio.sleep(0.1)
    await events.aclose()
    await events.aclose()
    assert await asyncio.wait_for(reader, 5) is None
    assert [event async for event in events] == []
    assert recorder.names.count("killCursors") == 1


async def test_a_watch_survives_the_loss_of_its_cursor_and_of_its_connections(mongo_url: str, mongo_db: MongoDb) -> None:
    await say(mongo_db, "s")
    async with mongo_db.watch("s") as events:
        with MongoClient[dict[str, Any]](mongo_url) as client:
            await nothing_comes(events)
            operations = client.admin.aggregate([{"$currentOp": {"idleCursors": True}}])
            cursors = [
                operation["cursor"]
                for operation in operations
                if "agno_sessions" in operation.get("ns", "") and "cursor" in operation
            ]
            assert cursors
            client[mongo_db.db_name].command("killCursors", "agno_sessions", cursors=[cursor["cursorId"] for cursor in cursors])
            await mongo_db.rename_session("s", session_name="x")
            assert said(await next_of(events, 1)) == [("renamed", "s")]
            client.admin.command("replSetStepDown", 1, force=True)
            for _ in range(100):
                if client.admin.command("hello")["isWritablePrimary"]:
                    break
                await asyncio.sleep(0.1)
        await mongo_db.rename_session("s", session_name="y")
        assert said(await next_of(events, 1)) == [("renamed", "s")]


async def test_a_watch_of_a_collection_that_is_dropped_says_so(mongo_url: str, mongo_db: MongoDb) -> None:
    await say(mongo_db, "s")
    async with mongo_db.watch("s") as events:
        with MongoClient[dict[str, Any]](mongo_url) as client:
            client[mongo_db.db_name].drop_collection("agno_sessions")
        with pytest.raises(StoreError, match="dropped or renamed"):
            await next_of(events, 1)


async def test_a_watch_over_mongomock_says_what_it_needs() -> None:
    with pytest.raises(ConfigurationError, match="needs a replica set"):
        async with InMemoryDb().watch():
            pass


@pytest.fixture
def standalone_url(tmp_path: Path) -> Iterator[str]:
    """The address of a mongod that is no replica set."""
    port = free_port()
    command = [
        find_mongod(), "--dbpath", str(tmp_path), "--port", str(port), "--bind_ip", "127.0.0.1",
        "--wiredTigerCacheSizeGB", "0.25", "--logpath", str(tmp_path / "mongod.log"),
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    yield f"mongodb://127.0.0.1:{port}/"
    server.terminate()
    server.wait(timeout=90)


async def test_a_watch_on_a_standalone_server_says_what_it_needs(standalone_url: str) -> None:
    async with MongoDb(f"{standalone_url}?serverSelectionTimeoutMS=90000&timeoutMS=90000") as db:
        with pytest.raises(ConfigurationError, match=re.escape("mongod --replSet rs0")):
            await anext(db.watch())


def test_blocking_code_watches_too(mongo_url: str, db_name: str) -> None:
    db = MongoDb(mongo_url, db_name=db_name)
    agent = Agent(model=ScriptedModel("ok", "ok"), db=db, session_id="s", user_id="john")
    with db.blocking.watch("s") as events:
        agent.run("go")
        kinds = [next(events).kind for _ in range(3)]
        assert kinds == ["created", "run_begun", "run_finished"]
    assert list(events) == []
    db.blocking.close()


async def test_a_token_of_a_session_that_is_gone_by_now_is_a_place_like_others(mongo_db: MongoDb) -> None:
    agent = Agent(model=ScriptedModel(*["ok"] * 3), db=mongo_db, user_id="john")
    await agent.arun("hi", session_id="old")
    async with mongo_db.watch(user_id="john") as events:
        await agent.arun("hi", session_id="old")
        token = [await anext(events) for _ in range(2)][-1].token
    await mongo_db.delete_session("old", user_id="john")
    await agent.arun("hi", session_id="new")
    async with mongo_db.watch(user_id="john", resume_after=token) as events:
        told = [await asyncio.wait_for(anext(events), 10) for _ in range(3)]
    assert [(event.session_id, event.kind) for event in told] == [
        ("new", "created"),
        ("new", "run_begun"),
        ("new", "run_finished"),
    ]
