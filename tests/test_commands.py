"""What goes over the wire: two commands a turn, acknowledged by a majority and the journal, one shard each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener

from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.mongo import MongoDb
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.crashing import described


class Recorder(CommandListener):
    """Keeps every command that is sent, but for renewals of a lease: those come on a machine that has other things to do, or not at all."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: Any) -> None:
        if event.command_name not in {"hello", "endSessions"} and described(event.command) != "renewal":
            self.sent.append(dict(event.command))

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass

    @property
    def names(self) -> list[str]:
        return [next(iter(command)) for command in self.sent]


@pytest_asyncio.fixture
async def recorded(mongo_url: str, db_name: str) -> AsyncIterator[tuple[MongoDb, Recorder]]:
    recorder = Recorder()
    async with AsyncMongoClient(mongo_url, event_listeners=[recorder]) as client:
        yield MongoDb(client=client, db_name=db_name), recorder


@pytest.mark.parametrize("runs_before", [0, 1, 30])
async def test_a_turn_is_two_commands_at_any_length(recorded: tuple[MongoDb, Recorder], runs_before: int) -> None:
    db, recorder = recorded
    agent = Agent(model=ScriptedModel(*["ok"] * 40), db=db, session_id="s", add_history_to_context=True)
    await agent.arun("connects", session_id="another")
    for _ in range(runs_before):
        await agent.arun("go")
    recorder.sent.clear()
    await agent.arun("go")
    assert recorder.names == ["findAndModify", "findAndModify"]


async def test_a_turn_with_a_schema_hooks_and_a_repaired_answer_is_two_commands(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded

    class Answer(BaseModel):
        text: str

    script = ["no", '{"text": "yes"}'] * 2
    agent = Agent(
        model=ScriptedModel(*script),
        db=db,
        session_id="s",
        output_schema=Answer,
        pre_hooks=[lambda: None],
        post_hooks=[lambda: None],
    )
    await agent.arun("connects")
    recorder.sent.clear()
    assert (await agent.arun("go")).content == Answer(text="yes")
    assert recorder.names == ["findAndModify", "findAndModify"]


async def test_a_turn_with_tools_and_state_is_two_commands(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded

    def note(session_state: dict[str, Any]) -> str:
        session_state["noted"] = session_state.get("noted", 0) + 1
        return "noted"

    agent = Agent(model=ScriptedModel(*[ToolCall("note"), ToolCall("note"), "ok"] * 2), db=db, session_id="s", tools=[note])
    await agent.arun("connects")
    recorder.sent.clear()
    await agent.arun("go")
    assert recorder.names == ["findAndModify", "findAndModify"]
    assert await agent.aget_session_state() == {"noted": 4}


async def test_the_input_is_on_its_way_before_the_model_is_asked(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    sent_when_asked: list[str] = []

    def look(_request: Any) -> str:
        sent_when_asked.extend(recorder.names)
        return "ok"

    await Agent(model=ScriptedModel(look), db=db, session_id="s").arun("go")
    assert sent_when_asked[-1] == "findAndModify"


async def test_every_write_waits_for_the_majority_and_the_journal(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    agent = Agent(model=ScriptedModel("ok"), db=db, session_id="s")
    await agent.arun("go")
    await agent.aset_session_name(session_name="x")
    await agent.aupdate_session_state({"n": 1})
    await agent.adelete_session()
    writes = [command for command in recorder.sent if next(iter(command)) in {"findAndModify", "update", "delete", "insert"}]
    assert len(writes) == 5
    assert {(command["writeConcern"]["w"], command["writeConcern"]["j"]) for command in writes} == {("majority", True)}


async def test_every_command_of_a_run_names_the_session_the_type_and_the_owner(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    agent = Agent(model=ScriptedModel("ok"), db=db, session_id="s", user_id="john", add_history_to_context=True)
    await agent.arun("go")
    queries = [command["query"] for command in recorder.sent if next(iter(command)) == "findAndModify"]
    assert len(queries) == 2
    for query in queries:
        assert (query["session_id"], query["session_type"], query["user_id"]) == ("s", "agent", "john")


async def test_indexes_are_made_in_one_command_before_the_first_write(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    await db.get_sessions()
    assert "createIndexes" not in recorder.names
    agent = Agent(model=ScriptedModel("ok", "ok"), db=db, session_id="s")
    await agent.arun("go")
    await agent.arun("go")
    assert recorder.names.count("createIndexes") == 1


@pytest.mark.parametrize(
    "filters", [{"component_id": "agent"}, {"component_id": "agent", "session_type": "agent"}, {"session_type": "agent"}, {}]
)
async def test_a_page_of_sessions_is_read_from_an_index(recorded: tuple[MongoDb, Recorder], filters: dict[str, Any]) -> None:
    db, recorder = recorded
    agent = Agent(model=ScriptedModel(*["ok"] * 30), db=db)
    for number in range(30):
        await agent.arun("go", session_id=f"s{number}")
    recorder.sent.clear()
    assert len(await db.get_sessions(limit=5, **filters)) == 5
    command = next(command for command in recorder.sent if "find" in command)
    collection = (await db.documents())[SessionType.AGENT].get_pymongo_collection()
    plan = await collection.find(command["filter"]).sort(list(command["sort"].items())).limit(5).explain()
    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
    assert plan["executionStats"]["totalDocsExamined"] <= 10


async def test_a_users_newest_sessions_are_read_from_an_index(recorded: tuple[MongoDb, Recorder]) -> None:
    db, _ = recorded
    agent = Agent(model=ScriptedModel(*["ok"] * 30), db=db)
    for number in range(30):
        await agent.arun("go", session_id=f"s{number}", user_id=f"user{number % 3}")
    collection = (await db.documents())[SessionType.AGENT].get_pymongo_collection()
    which = {"user_id": "user1", "session_type": {"$in": ["agent", "team", "workflow"]}}
    plan = await collection.find(which).sort([("updated_at", -1), ("touched_at", -1)]).limit(5).explain()
    assert plan["executionStats"]["totalDocsExamined"] == 5
    assert "SORT_MERGE" in str(plan["queryPlanner"]["winningPlan"])
    assert await db.get_all_session_ids("user1") == [f"s{number}" for number in range(28, 0, -3)]
