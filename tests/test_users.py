"""All that is stored of a user: deleted without a trace, told as a whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import timedelta, timezone
from typing import Any

import bson
import pytest
from bson import json_util

from agno_mongo.agent import Agent
from agno_mongo.db import archive, media
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, SessionNotFound
from agno_mongo.messages import Message
from agno_mongo.run import RunOutput, RunStatus, TeamRunOutput, WorkflowRunOutput
from agno_mongo.session import AgentSession, TeamSession, WorkflowSession
from agno_mongo.testing import ScriptedModel

WORDS = {"john": "jkwords", "maria": "mkwords"}
"""What each user says and is told; neither is a part of an id."""


def large(user: str) -> str:
    return f"{WORDS[user]} " * 20_000


async def lives_a_life(db: MongoDb, user: str) -> None:
    """Sessions of every type, an archive, large content, a fork and what it was rewound from, a run that was interrupted."""
    word = WORDS[user]
    agent = Agent(model=ScriptedModel(*[f"{word} answer"] * 33, large(user)), db=db, session_id=f"{word}-1", user_id=user)
    for turn in range(34):
        await agent.arun(f"{word} question", run_id=f"{word}{turn}", session_state={f"{word}.key": word})
    await (await db._connection()).background.finished()
    await db.fork_session(f"{word}-1", at_run=f"{word}5", user_id=user)
    await db.rewind_session(f"{word}-1", f"{word}33", user_id=user)
    team_run = TeamRunOutput(run_id="t", team_id="team", content=word)
    await db.upsert_session(TeamSession(session_id=f"{word}-2", user_id=user, team_id="team", runs=[team_run]))
    steps = WorkflowRunOutput(run_id="w", workflow_id="flow", content=large(user))
    await db.upsert_session(WorkflowSession(session_id=f"{word}-3", user_id=user, workflow_id="flow", runs=[steps]))
    connection = await db._connection()
    entry = {"input": f"{word} and then", "started_at": 1.0, "lease_until": 2.0}
    await connection.collection.update_one({"session_id": f"{word}-2"}, {"$set": {f"active_runs.{word}x": entry}})


async def documents_with(db: MongoDb, *texts: str) -> list[str]:
    """Every document of the database, of whatever collection, in which one of the texts stands, in a value, a key or in bytes."""
    connection = await db._connection()
    found = []
    for name in await connection.database.list_collection_names():
        async for document in connection.database.get_collection(name).find({}):
            stored = bson.encode(document)
            found += [f"{name} {document['_id']}" for text in texts if text.encode() in stored]
    return found


KEY = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id="john")


class Instead:
    """A collection, but for some of its methods."""

    def __init__(self, collection: Any, **methods: Any) -> None:
        self._collection = collection
        vars(self).update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)


async def held_upload(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Event, asyncio.Task[Any]]:
    """An upload whose first chunks are stored, and which goes on when the event is set."""
    begun, go_on, insert_many = asyncio.Event(), asyncio.Event(), connection.media_chunks.insert_many

    async def held(batch: list[dict[str, Any]]) -> None:
        await insert_many(batch)
        begun.set()
        await go_on.wait()

    monkeypatch.setattr(connection, "media_chunks", Instead(connection.media_chunks, insert_many=held))
    upload = asyncio.create_task(media.stored_apart(connection, KEY, "r", "x" * 20_000_000))
    await begun.wait()
    return go_on, upload


class TestDeleteUser:
    async def test_leaves_no_trace_and_touches_nobody_else(self, db: MongoDb) -> None:
        for user in WORDS:
            await lives_a_life(db, user)
        others = sorted(await documents_with(db, "maria", WORDS["maria"]))
        assert len(await documents_with(db, WORDS["john"])) > 8
        assert await db.count_sessions(user_id="john") == 5
        assert await db.delete_user("john") == 5
        assert await documents_with(db, "john", WORDS["john"]) == []
        assert sorted(await documents_with(db, "maria", WORDS["maria"])) == others
        connection = await db._connection()
        files = {file["_id"] async for file in connection.media_files.find({})}
        assert {chunk["files_id"] async for chunk in connection.media_chunks.find({})} == files
        assert await db.delete_user("john") == 0
        assert len((await db.get_session(f"{WORDS['maria']}-1", user_id="maria")).runs) == 34

    async def test_clears_up_what_a_crash_has_left(self, db: MongoDb) -> None:
        await lives_a_life(db, "john")
        connection = await db._connection()
        await connection.collection.delete_many({})
        await connection.media_files.delete_many({})
        assert await documents_with(db, WORDS["john"])
        assert await db.delete_user("john") == 0
        assert await documents_with(db, "john", WORDS["john"]) == []

    async def test_ends_a_run_that_is_going_on_and_it_leaves_nothing(self, db: MongoDb) -> None:
        async def delete_then_answer(_request: Any) -> str:
            assert await db.delete_user("john") == 1
            return large("john")

        agent = Agent(model=ScriptedModel(delete_then_answer), db=db, session_id="s", user_id="john")
        with pytest.raises(SessionNotFound):
            await agent.arun(large("john"))
        assert await documents_with(db, "john", WORDS["john"]) == []

    async def test_takes_what_moves_uploads_forks_and_stores_at_that_moment(self, mongo_db: MongoDb) -> None:
        connection = await mongo_db._connection()
        key = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id="john")
        for attempt in range(12):
            runs = [RunOutput(run_id=f"r{n}", agent_id="a", content=WORDS["john"]) for n in range(32)]
            await mongo_db.upsert_session(AgentSession(session_id="s", user_id="john", agent_id="a", runs=runs))
            again = await mongo_db.get_session("s")
            again.runs = [*again.runs, RunOutput(run_id="new", agent_id="a", content=large("john"))]
            too_long = [{"run_id": f"q{n}", "agent_id": "a", "content": WORDS["john"]} for n in range(9)]
            await connection.collection.update_one({"session_id": "s"}, {"$push": {"runs": {"$each": too_long}}})
            agent = Agent(model=ScriptedModel(large("john")), db=mongo_db, session_id="s", user_id="john")
            work: list[Coroutine[Any, Any, Any]] = [
                archive.move(connection, key, history_runs=3),
                mongo_db.fork_session("s", user_id="john"),
                mongo_db.upsert_session(again),
                agent.arun("go"),
            ]
            begun = [asyncio.ensure_future(one) for one in work]
            await asyncio.sleep(attempt / 2000)
            await mongo_db.delete_user("john")
            outcomes = await asyncio.gather(*begun, return_exceptions=True)
            if await mongo_db.count_sessions(user_id="john"):
                # The run began when all was deleted, and is the first of a new session; its answer is whole.
                [run] = (await mongo_db.get_session("s", user_id="john")).runs
                assert run.content == large("john")
                await mongo_db.delete_session("s", user_id="john")
            assert await documents_with(mongo_db, "john", WORDS["john"]) == [], outcomes

    async def test_is_not_undone_by_a_session_that_was_read_before_and_is_stored_over_a_new_one(self, db: MongoDb) -> None:
        await db.upsert_session(AgentSession(session_id="s", user_id="john", runs=[RunOutput(run_id="r", content=WORDS["john"])]))
        read = await db.get_session("s")
        await db.delete_user("john")
        made = await db.upsert_session(AgentSession(session_id="s", user_id="john", runs=[]))
        assert made.revision == read.revision
        with pytest.raises(SessionNotFound, match="deleted since it was read"):
            await db.upsert_session(read)
        assert (await db.get_session("s")).runs == []

    async def test_lets_an_upload_begin_again_whose_file_is_gone(
        self, mongo_db: MongoDb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = await mongo_db._connection()
        go_on, upload = await held_upload(connection, monkeypatch)
        await mongo_db.delete_user("john")
        go_on.set()
        reference = await upload
        assert await media.restored(connection, reference, session_id="s") == "x" * 20_000_000
        assert await connection.media_chunks.count_documents({"files_id": {"$ne": reference.id}}) == 0

    async def test_takes_the_chunks_of_an_upload_that_ends_in_its_midst(
        self, mongo_db: MongoDb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = await mongo_db._connection()
        go_on, upload = await held_upload(connection, monkeypatch)
        delete_many = connection.media_files.delete_many

        async def after_the_upload(which: dict[str, Any]) -> Any:
            go_on.set()
            await upload
            return await delete_many(which)

        monkeypatch.setattr(connection, "media_files", Instead(connection.media_files, delete_many=after_the_upload))
        await mongo_db.delete_user("john")
        assert await connection.media_files.count_documents({}) == await connection.media_chunks.count_documents({}) == 0

    async def test_takes_the_id_of_a_user(self, db: MongoDb) -> None:
        for wrong in (None, "", 7):
            with pytest.raises(ConfigurationError, match="user_id"):
                await db.delete_user(wrong)  # type: ignore[arg-type]


async def exported(db: MongoDb, user: str) -> list[dict[str, Any]]:
    lines = [line async for line in db.export_user(user)]
    assert not [line for line in lines if "\n" in line]
    return [json.loads(line) for line in lines]


class TestExportUser:
    async def test_tells_all_of_the_user_and_nothing_of_others(self, db: MongoDb) -> None:
        for user in WORDS:
            await lives_a_life(db, user)
        lines = await exported(db, "john")
        text = json.dumps(lines)
        assert WORDS["maria"] not in text
        assert "maria" not in text
        word = WORDS["john"]
        headers = [line for line in lines if line["kind"] == "session"]
        assert len(headers) == 5
        assert all(header["session"]["user_id"] == "john" and "runs" not in header["session"] for header in headers)
        told = [line for line in lines if line["kind"] == "run" and line["session_id"] == f"{word}-1"]
        assert [line["number"] for line in told] == list(range(34))
        assert [line["run"]["run_id"] for line in told] == [f"{word}{turn}" for turn in range(34)]
        assert told[0]["run"]["messages"][0]["content"] == f"{word} question"
        assert told[33]["run"]["content"] == large("john")
        [begun] = [line for line in lines if line["kind"] == "active_run"]
        assert (begun["run_id"], begun["run"]["input"]) == (f"{word}x", f"{word} and then")
        first = next(header for header in headers if header["session_id"] == f"{word}-1")
        assert first["session"]["session_data"]["session_state"] == {f"{word}.key": word}

    async def test_keeps_what_json_has_no_words_for(self, db: MongoDb) -> None:
        image = bytes(range(256)) * 400
        agent = Agent(model=ScriptedModel("seen"), db=db, session_id="s", user_id="john")
        await agent.arun(Message(role="user", content=[{"type": "image", "data": image}]))
        header, run = [json_util.loads(line) async for line in db.export_user("john")]
        assert run["run"]["messages"][0]["content"][0]["data"] == image
        touched_at = header["session"]["touched_at"].replace(tzinfo=timezone.utc)
        assert abs(touched_at - (await db.get_session("s")).touched_at) < timedelta(milliseconds=1)

    async def test_tells_three_thousand_runs_in_order_a_bucket_at_a_time(self, mongo_db: MongoDb) -> None:
        runs = [RunOutput(run_id=f"r{n}", agent_id="a", content=n, status=RunStatus.completed) for n in range(3000)]
        await mongo_db.upsert_session(AgentSession(session_id="s", user_id="john", agent_id="a", runs=runs))
        connection = await mongo_db._connection()
        stored = await connection.collection.find_one({"session_id": "s"})
        assert stored["archived_runs"] > 2900
        lines = mongo_db.export_user("john")
        assert json.loads(await anext(lines))["session"]["run_count"] == 3000
        assert [json.loads(await anext(lines))["run"]["content"] for _ in range(100)] == list(range(100))
        # What happens meanwhile to runs that are still to come is seen, and none is told twice.
        await mongo_db.rewind_session("s", "r2000", keep_copy=False)
        assert [json.loads(line)["run"]["content"] async for line in lines] == list(range(100, 2001))

    async def test_ends_with_a_session_that_is_deleted_meanwhile(self, db: MongoDb) -> None:
        await lives_a_life(db, "john")
        lines = db.export_user("john")
        await anext(lines)
        await db.delete_user("john")
        assert len([line async for line in lines]) <= 64

    async def test_says_which_session_was_deleted_in_the_midst_of_it(self, mongo_db: MongoDb) -> None:
        runs = [RunOutput(run_id=f"r{n}", agent_id="a", content=n, status=RunStatus.completed) for n in range(300)]
        for name in ("first", "second"):
            await mongo_db.upsert_session(AgentSession(session_id=name, user_id="john", agent_id="a", runs=runs))
        lines = mongo_db.export_user("john")
        whose = json.loads(await anext(lines))["session_id"]
        for _ in range(100):
            await anext(lines)
        await mongo_db.delete_session(whose)
        rest = [json.loads(line) async for line in lines]
        deleted = next(line for line in rest if line["kind"] == "deleted")
        assert deleted["session_id"] == whose
        assert 100 <= deleted["number"] < 300
        assert len([line for line in rest if line["kind"] == "run" and line["session_id"] != whose]) == 300

    def test_can_be_waited_for(self, mongo_url: str, db_name: str) -> None:
        db = MongoDb(mongo_url, db_name=db_name)
        Agent(model=ScriptedModel("hello"), db=db, session_id="s", user_id="john").run("hi")
        assert [json.loads(line)["kind"] for line in db.blocking.export_user("john")] == ["session", "run"]
        assert db.blocking.delete_user("john") == 1
        db.blocking.close()
