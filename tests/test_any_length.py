"""A session of any length, of runs of any size: bounded documents, nothing lost, nothing read that is not asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import bson
import pytest
from gridfs import AsyncGridFSBucket

from agno_mongo.agent import Agent
from agno_mongo.db import archive, branches, media, runs
from agno_mongo.db.base import SessionType
from agno_mongo.db.connections import Connection
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import Claim
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.store import RunBegin
from agno_mongo.errors import (
    ConfigurationError,
    CorruptSession,
    RunAlreadyFinished,
    RunNotFound,
    SessionNotFound,
    SessionOwnedByAnotherUser,
    SessionTypeMismatch,
)
from agno_mongo.messages import Message
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.session import AgentSession
from agno_mongo.testing import ScriptedModel, ToolCall

LIMIT = 16 * 1024 * 1024
KEY = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None)


def talker(db: MongoDb, turns: int, **settings: Any) -> Agent:
    """An agent that answers ``answer 0``, ``answer 1``, …"""
    return Agent(model=ScriptedModel(*[f"answer {turn}" for turn in range(turns)]), db=db, session_id="s", **settings)


async def talk(db: MongoDb, turns: int, **settings: Any) -> Agent:
    agent = talker(db, turns, **settings)
    background = (await db._connection()).background
    for turn in range(turns):
        if turn == turns - 1:
            # A move is not begun while one is under way.
            await background.finished()
        await agent.arun(f"question {turn}", run_id=f"r{turn}")
    await background.finished()
    return agent


async def seeded(db: MongoDb, turns: int, **settings: Any) -> Agent:
    """The same session, stored in one go."""
    runs = [
        RunOutput(run_id=f"r{turn}", agent_id="agent", content=f"answer {turn}", status=RunStatus.completed, messages=[])
        for turn in range(turns)
    ]
    await db.upsert_session(AgentSession(session_id="s", agent_id="agent", runs=runs, **settings))
    return talker(db, 0)


async def document(db: MongoDb, session_id: str = "s") -> dict[str, Any]:
    found: dict[str, Any] = await (await db._connection()).collection.find_one({"session_id": session_id})
    return found


async def leftovers(db: MongoDb) -> int:
    """Documents beside the sessions themselves."""
    connection = await db._connection()
    return sum([await part.count_documents({}) for part in (connection.archive, connection.media_files, connection.media_chunks)])


def contents(session: Any) -> list[str]:
    return [run.content for run in session.runs]


class TestManyRuns:
    async def test_of_a_session_that_does_not_know_their_size_are_measured_by_the_first_move(self, db: MongoDb) -> None:
        agent = await talk(db, 32)
        await (await db._connection()).collection.update_one({}, {"$unset": {"tail_bytes": ""}})
        agent.model = ScriptedModel("ok")
        await agent.arun("one more")
        await (await db._connection()).background.finished()
        stored = await document(db)
        assert stored["archived_runs"] == 25
        assert stored["tail_bytes"] == sum(archive.size_of(run) for run in stored["runs"])

    async def test_stay_few_in_the_document_and_are_all_there_in_order(self, db: MongoDb) -> None:
        agent = await talk(db, 90)
        stored = await document(db)
        assert len(stored["runs"]) <= archive.TAIL_RUNS
        assert stored["archived_runs"] + len(stored["runs"]) == stored["run_count"] == 90
        assert stored["tail_bytes"] == sum(archive.size_of(run) for run in stored["runs"])
        session = await agent.aget_session()
        assert session is not None
        assert contents(session) == [f"answer {turn}" for turn in range(90)]
        newest = await db.get_session("s", runs_limit=50)
        assert contents(newest) == [f"answer {turn}" for turn in range(40, 90)]
        [listed] = await db.get_sessions(include_runs=True)
        assert len(listed.runs) == 90
        [listed] = await db.get_sessions(runs_limit=50)
        assert contents(listed) == contents(newest)

    async def test_are_paged_backwards_to_the_first(self, db: MongoDb) -> None:
        await seeded(db, 70)
        page = await db.get_runs("s", limit=9)
        seen = [run.content for run in page]
        while page:
            page = await db.get_runs("s", limit=9, before=page[0].run_id)
            assert len(page) <= 9
            seen = [run.content for run in page] + seen
        assert seen == [f"answer {turn}" for turn in range(70)]
        with pytest.raises(RunNotFound, match="'r70'"):
            await db.get_runs("s", before="r70")
        assert await db.get_runs("another") == []

    async def test_are_found_by_their_id_wherever_they_stand(self, db: MongoDb) -> None:
        agent = await seeded(db, 60)
        for turn in (0, 24, 25, 59):
            run = await agent.aget_run_output(f"r{turn}")
            assert run is not None
            assert run.content == f"answer {turn}"
        assert await agent.aget_run_output("r60") is None
        last = await agent.aget_last_run_output()
        assert last is not None
        assert last.run_id == "r59"

    async def test_are_shown_to_the_model_from_the_archive_too(self, db: MongoDb) -> None:
        await talk(db, 60)
        model = ScriptedModel("yes")
        agent = Agent(model=model, db=db, session_id="s", add_history_to_context=True, num_history_runs=55)
        await agent.arun("Do you remember?")
        asked = [message.content for message in model.requests[0].messages]
        assert asked[0] == "question 5"
        assert asked[-3:] == ["question 59", "answer 59", "Do you remember?"]
        assert len(asked) == 2 * 55 + 1
        assert len(await agent.aget_session_messages(last_n_runs=40)) == 80
        assert len(await agent.aget_chat_history(last_n_runs=3)) == 6

    async def test_are_not_run_twice_under_one_id(self, db: MongoDb) -> None:
        agent = await seeded(db, 60)
        for run_id in ("r1", "r59"):
            with pytest.raises(RunAlreadyFinished, match=run_id):
                await agent.arun("again", run_id=run_id)
        session = await agent.aget_session()
        assert session is not None
        assert len(session.runs or ()) == 60
        assert session.unfinished_runs == []

    async def test_of_large_size_are_moved_sooner(self, db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel(*["x" * 40_000] * 20), db=db, session_id="s", add_history_to_context=True)
        for turn in range(20):
            await agent.arun(str(turn))
            # A move is not begun while one is under way.
            await (await db._connection()).background.finished()
        stored = await document(db)
        assert len(bson.encode(stored)) < 2 * archive.TAIL_BYTES
        session = await agent.aget_session()
        assert session is not None
        assert [run.input.input_content for run in session.runs or ()] == [str(turn) for turn in range(20)]  # type: ignore[union-attr]

    async def test_go_with_their_session(self, db: MongoDb) -> None:
        agent = await seeded(db, 60)
        assert await leftovers(db) > 0
        assert await agent.adelete_session()
        assert await leftovers(db) == 0
        await talker(db, 1).arun("a new one under the old name")
        assert len((await db.get_session("s")).runs) == 1

    async def test_that_a_deletion_left_when_it_died_go_when_it_is_repeated(self, db: MongoDb) -> None:
        agent = Agent(
            model=ScriptedModel(*[f"{turn} " + "x" * 70_000 for turn in range(40)]), db=db, session_id="s", user_id="john"
        )
        for turn in range(40):
            await agent.arun(f"{turn}")
        connection = await db._connection()
        await connection.background.finished()
        await connection.collection.delete_one({"session_id": "s"})
        before = await leftovers(db)
        assert before > 40
        assert not await db.delete_session("s", user_id="mary")
        assert await leftovers(db) == before
        assert not await db.delete_session("s", user_id="john")
        assert await leftovers(db) == 0

    async def test_are_stored_again_as_a_whole(self, db: MongoDb) -> None:
        await seeded(db, 60)
        session = await db.get_session("s")
        session.runs[3].content = "corrected"
        stored = await db.upsert_session(session)
        assert len(stored.runs) == 60
        again = await db.get_session("s")
        assert contents(again)[2:5] == ["answer 2", "corrected", "answer 4"]
        assert len((await document(db))["runs"]) <= archive.TAIL_RUNS
        await db.delete_session("s")
        assert await leftovers(db) == 0


class TestAMove:
    async def test_may_be_done_by_many_at_once(self, mongo_db: MongoDb) -> None:
        agent = talker(mongo_db, 34)
        connection = await mongo_db._connection()
        connection.background.start = lambda _name, work: work.close()  # type: ignore[method-assign]
        for turn in range(34):
            await agent.arun(f"question {turn}")
        moved = await asyncio.gather(*[archive.move(connection, KEY, history_runs=3) for _ in range(8)])
        assert sorted(moved)[:-1] == [0] * 7
        session = await agent.aget_session()
        assert session is not None
        assert contents(session) == [f"answer {turn}" for turn in range(34)]

    @pytest.mark.parametrize("inserted", [5, 26, 30])
    async def test_that_died_half_way_is_finished_by_the_next(self, db: MongoDb, inserted: int) -> None:
        await talk(db, 33)
        agent = await _unarchived(db, 34)
        connection = await db._connection()
        stored = await document(db)
        [bucket] = archive.buckets(stored["runs"][:inserted], [1] * inserted, 0)
        await connection.archive.insert_one(archive.bucket_document(bucket, archive.own_segment(stored), stored))
        session = await agent.aget_session()
        assert session is not None
        assert contents(session) == [f"answer {turn}" for turn in range(34)]
        while await archive.move(connection, KEY, history_runs=3):
            session = await agent.aget_session()
            assert session is not None
            assert contents(session) == [f"answer {turn}" for turn in range(34)]
        assert (await document(db))["archived_runs"] >= inserted

    async def test_leaves_nothing_when_its_session_is_deleted_meanwhile(self, mongo_db: MongoDb) -> None:
        connection = await mongo_db._connection()
        for _ in range(10):
            await _unarchived(mongo_db, 34)
            await asyncio.gather(archive.move(connection, KEY, history_runs=3), mongo_db.delete_session("s"))
            assert await leftovers(mongo_db) == 0

    async def test_is_waited_for_by_close_and_by_nobody_else(self, mongo_db: MongoDb) -> None:
        agent = talker(mongo_db, 33)
        for turn in range(33):
            await agent.arun(f"question {turn}")
        connection: Connection = await mongo_db._connection()
        assert connection.background._tasks
        await mongo_db.close()
        assert (await document(mongo_db))["archived_runs"] == 25

    async def test_costs_a_page_no_more_than_a_bucket(self, mongo_db: MongoDb) -> None:
        runs = [
            RunOutput(run_id=f"r{n}", agent_id="a", content=f"answer {n}", status=RunStatus.completed, messages=[])
            for n in range(10_000)
        ]
        await mongo_db.upsert_session(AgentSession(session_id="s", agent_id="a", runs=runs))
        connection = await mongo_db._connection()
        stored = await document(mongo_db)
        assert stored["run_count"] == 10_000
        page = await mongo_db.get_runs("s", limit=64, before="r5000")
        assert [run.run_id for run in page] == [f"r{n}" for n in range(4936, 5000)]
        segment = archive.own_segment(stored)
        for which, most in (
            ({"archive_id": segment, "end": {"$gt": 4936, "$lt": 5000 + archive.BUCKET_RUNS}}, 64 // archive.BUCKET_RUNS + 2),
            ({"archive_id": {"$in": [segment]}, "runs.run_id": "r5000"}, 1),
        ):
            plan = await connection.archive.find(which).explain()
            assert plan["executionStats"]["totalDocsExamined"] <= most
            assert plan["executionStats"]["totalKeysExamined"] <= most + 1


async def _unarchived(db: MongoDb, turns: int) -> Agent:
    """A session whose tail is too long, since nobody has moved it yet."""
    await db.delete_session("s")
    agent = talker(db, turns)
    connection = await db._connection()
    for turn in range(turns):
        await agent.arun(f"question {turn}")
    await connection.background.finished()
    stored = await document(db)
    runs = [run async for bucket in connection.archive.find({}) for run in bucket["runs"]] + stored["runs"]
    await connection.archive.delete_many({})
    await connection.collection.update_one({"session_id": "s"}, {"$set": {"runs": runs, "archived_runs": 0}})
    return agent


def hand_over(size: int) -> str:
    """A large result."""
    return "wörd " * (size // 6)


class TestAFullDocument:
    @pytest.fixture
    async def roomy(self, mongo_db: MongoDb) -> AsyncIterator[MongoDb]:
        """A server whose cache is large enough for a write of 16 MB."""
        server = (await mongo_db._connection()).client.admin
        await server.command({"setParameter": 1, "wiredTigerEngineRuntimeConfig": "cache_size=1G"})
        yield mongo_db
        await server.command({"setParameter": 1, "wiredTigerEngineRuntimeConfig": "cache_size=256M"})

    @pytest.mark.parametrize("schema", [{"schema_version": 1}, {}])
    async def test_makes_room_for_the_run_that_no_longer_fits(self, roomy: MongoDb, schema: dict[str, Any]) -> None:
        connection = await roomy._connection()
        common = {"agent_id": "a", "session_id": "s", "status": "COMPLETED"}
        runs = [{"run_id": f"old{n}", "content": "y" * 1_040_000, **common} for n in range(16)]
        session = {"session_id": "s", "session_type": "agent", "agent_id": "a", "user_id": None, "runs": runs, **schema}
        filling = "z" * (LIMIT - archive.size_of(session) - 30_000)
        await connection.collection.insert_one({**session, "created_at": 1, "updated_at": 1, "filling": filling})
        agent = Agent(model=ScriptedModel("ok"), db=roomy, session_id="s")
        await agent.arun("x" * 50_000)
        assert (await document(roomy))["archived_runs"] > 0
        stored = await roomy.get_session("s")
        assert [run.run_id for run in stored.runs[:-1]] == [run["run_id"] for run in runs]
        assert stored.runs[-1].content == "ok"

    async def test_of_somebody_else_is_left_as_it_is(self, mongo_db: MongoDb) -> None:
        connection = await mongo_db._connection()
        theirs = {"session_id": "s", "session_type": "agent", "user_id": "john", "runs": [], "created_at": 1}
        await connection.collection.insert_one(dict(theirs))
        agent = Agent(model=ScriptedModel("ok"), db=mongo_db, session_id="s", session_state={"large": "x" * LIMIT})
        with pytest.raises(SessionOwnedByAnotherUser):
            await agent.arun("go", user_id="eve")
        assert {name: value for name, value in (await document(mongo_db)).items() if name != "_id"} == theirs


class TestLargeContent:
    @pytest.mark.parametrize("size", [100_000, 20_000_000])
    async def test_of_a_tool_is_stored_and_read_back(self, db: MongoDb, size: int) -> None:
        await self._is_stored_and_read_back(db, size)

    @pytest.mark.timeout(300)
    async def test_of_a_hundred_megabytes_is_stored_and_read_back(self, mongo_db: MongoDb) -> None:
        await self._is_stored_and_read_back(mongo_db, 100_000_000)

    async def _is_stored_and_read_back(self, db: MongoDb, size: int) -> None:
        model = ScriptedModel(ToolCall("hand_over", {"size": size}), "done", "yes")
        agent = Agent(model=model, db=db, session_id="s", tools=[hand_over], add_history_to_context=True)
        run = await agent.arun("go")
        assert len(bson.encode(await document(db))) < 20_000
        session = await agent.aget_session()
        assert session is not None
        [result] = [message.content for message in session.get_messages() if message.role == "tool"]
        assert result == hand_over(size)
        found = await agent.aget_run_output(run.run_id or "")
        assert found is not None
        assert found.tools is not None
        assert found.tools[0].result == result
        await agent.arun("Did you see it?")
        assert model.requests[-1].messages[2].content == result
        await agent.adelete_session()
        assert await leftovers(db) == 0

    async def test_of_the_user_is_stored_before_the_model_is_asked(self, db: MongoDb) -> None:
        image = "data:image/png;base64," + "iVBOR" * 4_000_000
        parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": image}}]

        async def look(_request: Any) -> str:
            [run] = (await db.get_session("s")).unfinished_runs
            assert run.input.input_content["content"][1]["image_url"]["url"] == image
            [renamed] = (await db.rename_session("s", session_name="Pictures")).unfinished_runs
            assert renamed.input.input_content == run.input.input_content
            return "a picture"

        agent = Agent(model=ScriptedModel(look, "still"), db=db, session_id="s", add_history_to_context=True)
        await agent.arun(Message(role="user", content=parts))
        await agent.arun(Message(role="user", content=parts))
        connection = await db._connection()
        assert await connection.media_files.count_documents({}) == 1, "the same content is stored once"
        messages = await agent.aget_session_messages()
        assert [message.content[1]["image_url"]["url"] == image for message in messages if message.role == "user"] == [True] * 2  # type: ignore[index]

    @pytest.mark.parametrize("taken_by", [None, "john"])
    async def test_of_a_session_that_is_deleted_while_it_is_listed_does_not_fail_the_list(
        self, db: MongoDb, taken_by: str | None
    ) -> None:
        await Agent(model=ScriptedModel("ok"), db=db, session_id="large").arun("x" * 100_000)
        await Agent(model=ScriptedModel("ok"), db=db, session_id="small").arun("hello")
        connection = await db._connection()
        found = await connection.collection.find({}).sort([("session_id", 1)]).to_list(None)
        await db.delete_session("large")
        if taken_by is not None:
            await Agent(model=ScriptedModel("ok"), db=db, session_id="large", user_id=taken_by).arun("mine")
        listed = [await runs.listed(connection, document) for document in found]
        assert [document and document["session_id"] for document in listed] == [None, "small"]

    async def test_of_five_thousand_messages_is_stored_and_read_back(self, db: MongoDb) -> None:
        messages = [Message(role="user", content=f"{number} " + "word " * 800) for number in range(5000)]
        agent = Agent(model=ScriptedModel("read"), db=db, session_id="s")
        await agent.arun(messages)
        assert len(bson.encode(await document(db))) < archive.TAIL_BYTES
        stored = await agent.aget_session_messages()
        assert [message.content for message in stored[:-1]] == [message.content for message in messages]

    async def test_is_readable_by_any_gridfs_client(self, mongo_db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel("x" * 1_000_000), db=mongo_db, session_id="s", user_id="john")
        await agent.arun("go")
        connection = await mongo_db._connection()
        bucket = AsyncGridFSBucket(connection.database, bucket_name=f"{mongo_db.session_table}_media")
        [file] = await bucket.find({"metadata.user_id": "john"}).to_list()
        assert await (await bucket.open_download_stream(file._id)).read() == b"x" * 1_000_000

    async def test_stored_by_two_runs_at_once_is_kept_once(self, mongo_db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel(*["x" * 3_000_000] * 8), db=mongo_db, session_id="s")
        await asyncio.gather(*[agent.arun(str(number)) for number in range(8)])
        connection = await mongo_db._connection()
        assert await connection.media_files.count_documents({}) == 1
        assert await connection.media_chunks.count_documents({}) == 12
        session = await agent.aget_session()
        assert session is not None
        assert {len(content) for content in contents(session)} == {3_000_000}

    async def test_of_a_run_whose_session_is_deleted_is_not_left_behind(self, db: MongoDb) -> None:
        async def delete_then_answer(_request: Any) -> str:
            await db.delete_session("s")
            return "x" * 1_000_000

        with pytest.raises(SessionNotFound):
            await Agent(model=ScriptedModel(delete_then_answer), db=db, session_id="s").arun("y" * 100_000)
        assert await leftovers(db) == 0

    async def test_that_is_refused_is_not_left_behind(self, db: MongoDb) -> None:
        await Agent(model=ScriptedModel("ok"), db=db, session_id="s", user_id="john").arun("mine")
        with pytest.raises(Exception, match="does not belong"):
            await Agent(model=ScriptedModel(), db=db, session_id="s", user_id="mary").arun("y" * 100_000)
        assert await leftovers(db) == 0

    async def test_of_a_finished_run_outlives_a_repetition_that_is_refused(self, db: MongoDb) -> None:
        question, answer = "x" * 100_000, "y" * 100_000
        await Agent(model=ScriptedModel(answer), db=db, session_id="s").arun(question, run_id="r")
        with pytest.raises(RunAlreadyFinished):
            await Agent(model=ScriptedModel(), db=db, session_id="s").arun(question, run_id="r")
        with pytest.raises(SessionTypeMismatch):
            await db.begin_run(begin_of("r", question, SessionType.TEAM))
        [run] = (await db.get_session("s")).runs
        assert (run.input.input_content, run.content) == (question, answer)

    async def test_of_a_run_that_another_process_took_over_is_not_taken_from_it(self, db: MongoDb) -> None:
        question = "x" * 100_000
        begun = begin_of("r", question)
        await db.begin_run(replace(begun, lease=-60))

        async def meanwhile(_request: Any) -> str:
            # The first process comes to life again and thinks that its turn has not come.
            await db.leave_run(Claim(key=KEY, run_id="r"))
            [run] = (await db.get_session("s")).unfinished_runs
            assert run.input.input_content == question
            return "done"

        await Agent(model=ScriptedModel(meanwhile), db=db, session_id="s").acontinue_run("r")
        [run] = (await db.get_session("s")).runs
        assert (run.input.input_content, run.content) == (question, "done")

    async def test_that_is_lost_stops_a_run_before_it_leaves_anything(self, db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel("ok"), db=db, session_id="s", add_history_to_context=True)
        await agent.arun("x" * 100_000)
        await (await db._connection()).media_chunks.delete_many({})
        for question in ("go", "y" * 100_000):
            with pytest.raises(CorruptSession):
                await agent.arun(question)
        assert (await document(db))["active_runs"] == {}
        assert await (await db._connection()).media_files.count_documents({}) == 1


def begin_of(run_id: str, text: str, session_type: SessionType = SessionType.AGENT) -> RunBegin:
    """A run as it begins with a text."""
    return RunBegin(
        key=replace(KEY, session_type=session_type), run_id=run_id, input=text, state={}, metadata=None, component_id=None,
        component={}, runs_wanted=0, lease=60, reused_id=True,
    )  # fmt: skip


async def test_large_content_that_is_missing_names_its_session(db: MongoDb) -> None:
    agent = Agent(model=ScriptedModel("x" * 100_000), db=db, session_id="s")
    await agent.arun("go", run_id="r")
    await (await db._connection()).media_chunks.delete_many({})
    for read in (
        lambda: db.get_session("s"),
        lambda: agent.aget_run_output("r"),
        lambda: db.get_runs("s"),
    ):
        with pytest.raises(CorruptSession, match="session 's': of the 100000 bytes") as caught:
            await read()
        assert caught.value.session_id == "s"


class TestAFork:
    @pytest.mark.parametrize("at", [0, 24, 25, 59])
    async def test_has_the_runs_up_to_there_and_goes_its_own_way(self, db: MongoDb, at: int) -> None:
        agent = await seeded(db, 60, session_data={"session_state": {"mood": "fine"}})
        fork = await db.fork_session("s", at_run=f"r{at}", new_session_id="fork")
        assert fork.forked_from == {"session_id": "s", "run_id": f"r{at}"}
        other = Agent(model=ScriptedModel(*["another way"] * 26), db=db, session_id="fork")
        for _ in range(26):
            await other.arun("and now?")
        await (await db._connection()).background.finished()
        expected = [f"answer {turn}" for turn in range(at + 1)] + ["another way"] * 26
        assert contents(await other.aget_session()) == expected
        assert (await other.aget_session_state()) == {"mood": "fine"}
        assert contents(await agent.aget_session()) == [f"answer {turn}" for turn in range(60)]
        found = await other.aget_run_output("r0")
        assert found is not None
        assert found.content == "answer 0"
        assert await other.aget_run_output(f"r{at + 1}") is None

    async def test_outlives_its_original_and_the_last_one_clears_up(self, db: MongoDb) -> None:
        await seeded(db, 60)
        await db.fork_session("s", at_run="r30", new_session_id="fork")
        await db.fork_session("fork", at_run="r10", new_session_id="second")
        await db.delete_session("s")
        assert contents(await db.get_session("fork")) == [f"answer {turn}" for turn in range(31)]
        connection = await db._connection()
        told = [run["content"] async for bucket in connection.archive.find({}) for run in bucket["runs"]]
        assert "answer 31" not in told, "nothing is left of what only the original knew"
        await db.delete_session("fork")
        assert contents(await db.get_session("second")) == [f"answer {turn}" for turn in range(11)]
        await db.delete_session("second")
        assert await leftovers(db) == 0

    async def test_shares_large_content(self, db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel("x" * 1_000_000), db=db, session_id="s")
        await agent.arun("go")
        await db.fork_session("s", new_session_id="fork")
        await db.delete_session("s")
        assert contents(await db.get_session("fork")) == ["x" * 1_000_000]
        await db.delete_session("fork")
        assert await leftovers(db) == 0

    async def test_that_never_came_about_keeps_nothing(self, db: MongoDb) -> None:
        await Agent(model=ScriptedModel("x" * 100_000), db=db, session_id="s").arun("go")
        connection = await db._connection()
        # What a process leaves that dies before it stores the fork.
        await media.share(connection, "s", "never")
        await db.fork_session("s", new_session_id="fork")
        await db.delete_session("s")
        assert contents(await db.get_session("fork")) == ["x" * 100_000]
        await db.delete_session("fork")
        assert await leftovers(db) == 0

    async def test_shares_only_what_its_own_runs_refer_to(self, db: MongoDb) -> None:
        ready, gate = asyncio.Event(), asyncio.Event()

        async def slow(_request: Any) -> str:
            ready.set()
            await gate.wait()
            return "ok"

        agent = Agent(model=ScriptedModel("x" * 100_000, "x" * 100_000, "y" * 100_000), db=db, session_id="s")
        for turn in range(3):
            await agent.arun("go", run_id=f"r{turn}")
        going_on = asyncio.create_task(Agent(model=ScriptedModel(slow), db=db, session_id="s").arun("z" * 100_000))
        await ready.wait()
        await db.fork_session("s", at_run="r0", new_session_id="early")
        await db.fork_session("s", new_session_id="late")
        gate.set()
        await going_on
        connection = await db._connection()
        shared = [len(file["metadata"]["sessions"]) async for file in connection.media_files.find({}).sort("uploadDate", 1)]
        assert shared == [3, 2, 1]
        await db.delete_session("s")
        assert contents(await db.get_session("early")) == ["x" * 100_000]
        assert contents(await db.get_session("late")) == ["x" * 100_000, "x" * 100_000, "y" * 100_000]
        for session_id in ("late", "early"):
            await db.delete_session(session_id)
        assert await leftovers(db) == 0

    async def test_that_withdraws_after_its_original_was_deleted_leaves_nothing(self, db: MongoDb) -> None:
        await seeded(db, 60)
        await Agent(model=ScriptedModel("x" * 100_000), db=db, session_id="s").arun("go")
        await db.fork_session("s", new_session_id="fork")
        copy = await document(db, "fork")
        await db.delete_session("s")
        assert await leftovers(db) > 0, "the fork reads it"
        await branches._withdraw(await db._connection(), copy)
        assert await leftovers(db) == 0

    @pytest.mark.parametrize("at", ["r0", "r40"])
    async def test_of_a_session_whose_runs_are_replaced_while_it_is_read_has_those(
        self, db: MongoDb, monkeypatch: pytest.MonkeyPatch, at: str
    ) -> None:
        await seeded(db, 60)
        cut = branches._cut

        async def later(connection: Any, session: Any, end: int) -> Any:
            monkeypatch.undo()
            whole = await db.get_session("s")
            await db.upsert_session(whole)
            return await cut(connection, session, end)

        for made in (lambda: db.fork_session("s", at, new_session_id="fork"), lambda: db.rewind_session("s", at)):
            monkeypatch.setattr(branches, "_cut", later)
            made_of = await made()
            assert contents(await db.get_session(made_of.session_id))[-1] == f"answer {at[1:]}"

    async def test_that_drops_a_run_takes_nothing_from_its_original(self, db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel("short", "x" * 100_000, "y" * 100_000, "z" * 100_000), db=db, session_id="s")
        for turn in range(3):
            await agent.arun("go", run_id=f"r{turn}")
        await db.fork_session("s", new_session_id="fork")
        await db.rewind_session("fork", "r0", keep_copy=False)
        await db.delete_session("fork")
        await agent.arun("go", run_id="r3")
        await db.rewind_session("s", "r1", keep_copy=False)
        assert contents(await db.get_session("s")) == ["short", "x" * 100_000]
        await db.delete_session("s")
        assert await leftovers(db) == 0

    async def test_needs_an_id_that_is_free_and_a_run_that_is_there(self, db: MongoDb) -> None:
        await seeded(db, 2)
        with pytest.raises(ConfigurationError, match="'s' already"):
            await db.fork_session("s", new_session_id="s")
        with pytest.raises(RunNotFound, match="'r7'"):
            await db.fork_session("s", at_run="r7")
        with pytest.raises(SessionNotFound, match="'nowhere'"):
            await db.fork_session("nowhere")
        assert await db.count_sessions() == 1


class TestARewind:
    @pytest.mark.parametrize("to", [0, 24, 40])
    @pytest.mark.parametrize("keep_copy", [True, False])
    async def test_makes_an_earlier_run_the_last(self, db: MongoDb, to: int, keep_copy: bool) -> None:
        agent = await seeded(db, 60)
        rewound = await db.rewind_session("s", f"r{to}", keep_copy=keep_copy)
        assert rewound.runs is not None
        assert rewound.runs[-1].run_id == f"r{to}"
        again = Agent(model=ScriptedModel(*["once more"] * 26), db=db, session_id="s")
        for _ in range(26):
            await again.arun("and now?")
        await (await db._connection()).background.finished()
        assert contents(await agent.aget_session()) == [f"answer {turn}" for turn in range(to + 1)] + ["once more"] * 26
        if keep_copy:
            copy = await db.get_session(rewound.rewound_from)
            assert contents(copy) == [f"answer {turn}" for turn in range(60)]
            await db.delete_session(copy.session_id)
            assert contents(await agent.aget_session())[:3] == [f"answer {turn}" for turn in range(min(to + 1, 3))] + [
                "once more"
            ] * (3 - min(to + 1, 3))
        else:
            connection = await db._connection()
            told = [run["content"] async for bucket in connection.archive.find({}) for run in bucket["runs"]]
            assert f"answer {to + 1}" not in told
        await db.delete_session("s")
        assert await leftovers(db) == 0

    @pytest.mark.parametrize("keep_copy", [True, False])
    async def test_after_a_move_that_died_leaves_nothing_to_the_deletion(self, db: MongoDb, keep_copy: bool) -> None:
        await talk(db, 20)
        connection, stored = await db._connection(), await document(db)
        await connection.ensure_archive()
        portion = {"first": 0, "end": 12, "size": 0, "runs": stored["runs"][:12]}
        await connection.archive.insert_one(archive.bucket_document(portion, stored["_id"], stored))
        copy_id = (await db.rewind_session("s", "r4", keep_copy=keep_copy)).rewound_from
        await db.delete_sessions(["s", *([copy_id] if copy_id else [])])
        assert await leftovers(db) == 0

    async def test_frees_what_only_the_later_runs_had(self, db: MongoDb) -> None:
        agent = Agent(model=ScriptedModel("x" * 100_000, "y" * 100_000, "x" * 100_000), db=db, session_id="s")
        for turn in range(3):
            await agent.arun("go", run_id=f"r{turn}")
        connection = await db._connection()
        assert await connection.media_files.count_documents({}) == 2
        await db.rewind_session("s", "r0", keep_copy=False)
        assert await connection.media_files.count_documents({}) == 1
        assert contents(await db.get_session("s")) == ["x" * 100_000]
