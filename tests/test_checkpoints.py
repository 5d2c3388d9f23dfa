"""What a crash leaves of a run that keeps checkpoints, and what they cost."""

from __future__ import annotations

import asyncio
from typing import Any

import bson
import pytest
from mongomock_motor import AsyncMongoMockClient

from agno_mongo.agent import Agent
from agno_mongo.db import checkpoints
from agno_mongo.db.base import SessionType
from agno_mongo.db.checkpoints import Checkpoint
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.open_runs import Renewed
from agno_mongo.db.state import MISSING, Change
from agno_mongo.errors import DocumentTooLarge, SessionNotFound, StoreUnavailable
from agno_mongo.models.base import ModelRequest
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.processes import child
from tests.test_commands import Recorder, recorded

__all__ = ["recorded"]


def note(session_state: dict[str, Any], word: str) -> str:
    session_state.setdefault("noted", []).append(word)
    return f"noted {word}"


def noting(word: str) -> ToolCall:
    return ToolCall("note", {"word": word})


def agent_on(db: MongoDb, *script: Any, **settings: Any) -> Agent:
    return Agent(model=ScriptedModel(*script), db=db, session_id="s", tools=[note], checkpoint="tool-batch", **settings)


async def stored_entry(db: MongoDb) -> dict[str, Any]:
    collection = (await db.documents())[SessionType.AGENT].get_pymongo_collection()
    (entry,) = (await collection.find_one({"session_id": "s"}))["active_runs"].values()
    return dict(entry)


async def unfinished(db: MongoDb) -> RunOutput:
    (run,) = (await db.get_session("s")).unfinished_runs
    assert isinstance(run, RunOutput)
    return run


async def until_interrupted(db: MongoDb) -> None:
    """Until the lease of a run of the session has run out."""
    while not (await db.get_session("s")).interrupted_runs:
        await asyncio.sleep(0.05)


def contents(run: RunOutput) -> list[Any]:
    return [message.content for message in run.messages or ()]


class TestARunWithCheckpoints:
    async def test_has_its_finished_rounds_stored_before_the_model_is_asked_again(self, db: MongoDb) -> None:
        seen: list[RunOutput] = []

        async def look(_request: ModelRequest) -> Any:
            seen.append(await unfinished(db))
            return noting("three") if len(seen) == 1 else "done"

        agent = agent_on(db, (noting("one"), noting("two")), look, look, instructions="Take notes.")
        run = await agent.arun("go")
        assert contents(seen[0]) == ["Take notes.", "go", None, "noted one", "noted two"]
        assert contents(seen[1]) == [*contents(seen[0]), None, "noted three"]
        assert [tool.result for tool in seen[1].tools or ()] == ["noted one", "noted two", "noted three"]
        assert seen[1].metrics is not None
        assert seen[1].metrics.total_tokens == 30
        stored = (await db.get_session("s")).runs[0]
        assert contents(stored) == contents(run)
        assert len(contents(run)) == 8

    async def test_shows_its_state_to_nobody_before_it_has_finished(self, db: MongoDb) -> None:
        entries = []

        async def look(_request: ModelRequest) -> str:
            entries.append(await stored_entry(db))
            assert (await db.get_session("s")).session_state == {"noted": [], "a.b": 1}
            assert (await Agent(model=ScriptedModel("ok"), db=db, session_id="s").arun("go")).session_state == {
                "noted": [],
                "a.b": 1,
            }
            return "done"

        await agent_on(db, noting("one"), look, session_state={"noted": [], "a.b": 1}).arun("go")
        assert entries[0]["state_changes"] == [{"path": ["noted"], "after": ["one"]}]
        assert (await db.get_session("s")).session_state == {"noted": ["one"], "a.b": 1}

    async def test_is_not_shown_to_other_runs_half_finished(self, db: MongoDb) -> None:
        models = []

        async def ask_beside(_request: ModelRequest) -> str:
            other = Agent(model=ScriptedModel("ok"), db=db, session_id="s", add_history_to_context=True)
            models.append(other.model)
            await other.arun("beside")
            return "done"

        await agent_on(db, noting("one"), ask_beside).arun("go")
        assert [message.content for message in models[0].requests[0].messages] == ["beside"]

    async def test_ends_with_an_error_once_its_session_is_deleted(self, db: MongoDb) -> None:
        async def delete(_request: ModelRequest) -> ToolCall:
            await db.delete_session("s")
            return noting("one")

        agent = agent_on(db, delete)
        with pytest.raises(SessionNotFound, match="was deleted while run"):
            await agent.arun("go")
        assert len(agent.model.requests) == 1  # type: ignore[attr-defined]
        assert await db.get_session("s") is None

    async def test_leaves_the_rounds_that_it_had_finished_when_its_process_dies(
        self, mongo_url: str, db_name: str, mongo_db: MongoDb, child_environment: dict[str, str]
    ) -> None:
        process = await child("die_in_the_third_round", mongo_url, db_name, "tool-batch", child_environment)
        assert await process.wait() == 9
        await until_interrupted(mongo_db)
        run = await unfinished(mongo_db)
        assert run.status == RunStatus.interrupted
        assert contents(run) == ["note all", None, "noted one", "noted two", None, "noted three"]
        assert (await mongo_db.get_session("s")).session_state == {"old": 1, "kept": 1}

    async def test_keeps_large_content_apart_and_shows_it_whole(self, db: MongoDb) -> None:
        large = "x" * 200_000

        async def look(_request: ModelRequest) -> str:
            entry = await stored_entry(db)
            assert len(str(entry)) < 5_000
            seen.append(await unfinished(db))
            return "done"

        seen: list[RunOutput] = []
        await agent_on(db, noting("one"), noting(large), look).arun("go")
        assert contents(seen[0])[-1] == (seen[0].tools or [])[-1].result == f"noted {large}"
        assert contents((await db.get_session("s")).runs[0])[4] == f"noted {large}"


class TestTheCost:
    async def test_is_one_update_for_each_round_of_what_is_new(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded
        large = "x" * 10_000
        agent = agent_on(db, (noting(large), noting("b")), noting("c"), noting("d"), "done")
        await agent.arun("connects", session_id="another")
        agent.model.script += [(noting(large), noting("b")), noting("c"), noting("d"), "done"]  # type: ignore[attr-defined]
        recorder.sent.clear()
        await agent.arun("go")
        assert recorder.names == ["findAndModify"] * 5
        updates = [{"u": command["update"], "q": command["query"]} for command in recorder.sent[1:4]]
        assert [len(next(iter(update["u"].get("$push", {"": {"$each": []}}).values()))["$each"]) for update in updates] == [
            0,
            2,
            2,
        ]
        # The large message is sent with its own round, and not again.
        assert [len(str(update["u"].get("$push"))) < 2_000 for update in updates] == [True] * 3
        for update in updates:
            assert (update["q"]["session_id"], update["q"]["session_type"], update["q"]["user_id"]) == ("s", "agent", None)

    async def test_is_nothing_by_default(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded
        agent = Agent(model=ScriptedModel("ok", noting("a"), "done"), db=db, session_id="s", tools=[note])
        await agent.arun("connects")
        recorder.sent.clear()
        await agent.arun("go")
        assert recorder.names == ["findAndModify", "findAndModify"]


class Faulty(MongoDb):
    """A store whose checkpoints fail, before or after the server has them."""

    def __init__(self, *faults: str) -> None:
        super().__init__(client=AsyncMongoMockClient())
        self.faults = list(faults)
        self.points: list[Checkpoint] = []

    async def checkpoint_run(self, point: Checkpoint) -> Renewed:
        self.points.append(point)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "too large":
            raise DocumentTooLarge("over 16 MB")
        if fault == "before":
            raise StoreUnavailable("away")
        renewed = await super().checkpoint_run(point)
        if fault == "after":
            raise StoreUnavailable("away")
        return renewed


class TestACheckpointThatFails:
    @pytest.mark.parametrize("fault", ["before", "after"])
    async def test_for_a_moment_is_made_good_by_the_next(self, fault: str) -> None:
        db = Faulty("", fault)
        seen = []

        async def look(_request: ModelRequest) -> str:
            seen.append(await unfinished(db))
            return "done"

        await agent_on(db, noting("one"), noting("two"), noting("three"), look).arun("go")
        assert [len(point.lists["messages"]) for point in db.points] == [3, 2, 7]
        assert contents(seen[0]) == ["go", None, "noted one", None, "noted two", None, "noted three"]
        assert [tool.result for tool in seen[0].tools or ()] == ["noted one", "noted two", "noted three"]

    async def test_for_want_of_room_is_the_last(self) -> None:
        db = Faulty("too large")
        run = await agent_on(db, noting("one"), noting("two"), "done").arun("go")
        assert run.status == RunStatus.completed
        assert len(db.points) == 1
        assert (await db.get_session("s")).session_state == {"noted": ["one", "two"]}

    async def test_for_the_run_has_taken_its_share_of_the_document_is_the_last(
        self, db: MongoDb, caplog: pytest.LogCaptureFixture
    ) -> None:
        sizes = []

        async def look(_request: ModelRequest) -> str:
            collection = (await db.documents())[SessionType.AGENT].get_pymongo_collection()
            sizes.append(len(bson.encode(await collection.find_one({"session_id": "s"}))))
            assert contents(await unfinished(db))[-1] == noted[len(contents(await unfinished(db))) // 2 - 1]
            return "done"

        words = [f"{number} " + "x" * 60_000 for number in range(20)]
        noted = [f"noted {word}" for word in words]
        run = await agent_on(db, *map(noting, words), look).arun("go")
        assert checkpoints.ENTRY_BYTES - 300_000 < sizes[0] < checkpoints.ENTRY_BYTES + 10_000
        assert [record.getMessage().split(":")[0] for record in caplog.records if record.name == "agno_mongo"] == [
            f"run {run.run_id!r} of session 's' goes on without further checkpoints"
        ]
        assert (await db.get_session("s")).session_state == {"noted": words}


def test_changes_come_out_of_a_checkpoint_as_they_went_in() -> None:
    changes = [
        Change(("a", "b"), MISSING, {"c": [1]}),
        Change(("gone",), 1, MISSING),
        Change(("deep", "gone"), 1, MISSING),
        Change(("text", "key"), MISSING, None),
    ]
    stored = checkpoints.stored_changes(changes)
    assert checkpoints.stored_changes([Change(("n",), 1, 3, 2)]) == [{"path": ["n"], "after": 3, "added": 2}]
    assert checkpoints.with_changes({"gone": 1, "kept": 2, "text": "x"}, stored) == {
        "a": {"b": {"c": [1]}},
        "kept": 2,
        "text": {"key": None},
    }
