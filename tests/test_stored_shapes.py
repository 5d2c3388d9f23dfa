"""What was once stored can be read for ever, and gone on with. The golden files are never edited."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import SESSION_CLASSES, Session
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.sessions import lift
from agno_mongo.errors import SessionOwnedByAnotherUser
from agno_mongo.run import RunOutput, RunStatus, TeamRunOutput
from agno_mongo.session import AgentSession, WorkflowSession
from agno_mongo.testing import ScriptedModel

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return document


async def read_from(db: MongoDb, name: str) -> Session:
    collection = (await db._connection()).collection
    document = golden(name)
    await collection.insert_one({key: value for key, value in document.items() if key != "_id"})
    session: Session = await db.get_session(document["session_id"])
    return session


async def test_a_session_of_agno_1(db: MongoDb) -> None:
    session = await read_from(db, "agno_1_session")
    assert isinstance(session, AgentSession)
    assert session.session_name == "Old times"
    assert session.metadata == {"tag": "x"}
    assert [message.content for message in session.get_messages()] == ["My name is John.", "Hello John."]
    assert session.runs is not None
    assert session.runs[0].status == RunStatus.completed


async def test_a_session_of_agno_2(db: MongoDb) -> None:
    session = await read_from(db, "agno_2_session")
    assert session.runs is not None
    first, second = session.runs
    assert isinstance(first, RunOutput)
    assert isinstance(second, TeamRunOutput)
    assert first.tools is not None
    assert first.tools[0].result == "found"
    assert session.summary is not None
    assert session.summary.topics == ["names"]
    assert [message.content for message in session.get_messages()] == ["My name is John.", "Hello John."]
    assert session.run_count == 2


async def test_a_session_of_agno_3(db: MongoDb) -> None:
    session = await read_from(db, "agno_3_session")
    assert isinstance(session, WorkflowSession)
    assert session.session_state == {}
    assert session.runs == []


async def test_a_session_of_ours(db: MongoDb) -> None:
    session = await read_from(db, "schema_1_session")
    assert session.session_state == {"a.b": 1}
    lost = session.interrupted_runs[0]
    assert (lost.run_id, lost.status) == ("a.b", RunStatus.interrupted)
    assert lost.input is not None
    assert lost.input.input_content == "lost words"
    assert [message.content for message in session.get_messages()] == ["Hi", "Hello."]


@pytest.mark.parametrize("name", ["agno_2_session", "agno_1_session", "schema_1_session"])
async def test_is_gone_on_with(db: MongoDb, name: str) -> None:
    session = await read_from(db, name)
    model = ScriptedModel("Welcome back.")
    agent = Agent(model=model, db=db, id="a", session_id=session.session_id, user_id="john", add_history_to_context=True)
    before = len(session.runs or ())
    await agent.arun("I am back.")
    assert len(model.requests[0].messages) == 3
    again = await agent.aget_session()
    assert again is not None
    assert len(again.runs or ()) == before + 1


async def test_one_without_a_type_is_renamed_changed_replaced_and_deleted_like_any_other(db: MongoDb) -> None:
    """Agno 1 wrote none; the accessors name theirs."""
    session = await read_from(db, "agno_1_session")
    collection = (await db._connection()).collection
    before = await collection.find_one({})
    agent = Agent(model=ScriptedModel(), db=db, id="a", session_id=session.session_id, user_id="john")

    async def replaced() -> str | None:
        session.session_data = {"session_name": "Replaced"}
        stored = await db.upsert_session(session)
        assert [run.run_id for run in stored.runs] == [run.run_id for run in session.runs or ()]
        return str((await db.get_session(session.session_id)).session_name)

    async def renamed() -> str | None:
        return (await agent.aset_session_name(session_name="Renamed")).session_name

    async def changed() -> Any:
        return (await agent.aupdate_session_state({"n": 1}))["n"]

    for attempt, expected in ((replaced, "Replaced"), (renamed, "Renamed"), (changed, 1), (agent.adelete_session, True)):
        await collection.replace_one({}, before)
        assert await attempt() == expected
    assert await db.get_session(session.session_id) is None
    await collection.insert_one(before)
    mary = Agent(model=ScriptedModel(), db=db, id="a", session_id=session.session_id, user_id="mary")
    for attempt in (mary.adelete_session, lambda: mary.aset_session_name(session_name="Mine")):
        with pytest.raises(SessionOwnedByAnotherUser):
            await attempt()
    assert await collection.find_one({}) == before


async def test_containers_that_agno_left_empty_are_made_when_a_run_needs_them(db: MongoDb) -> None:
    collection = (await db._connection()).collection
    document = golden("agno_3_session") | {"session_type": "agent", "agent_id": "a", "workflow_id": None, "session_id": "s"}
    document.pop("_id")
    await collection.insert_one(document)
    agent = Agent(model=ScriptedModel("ok"), db=db, session_id="s", session_state={"n": 1})
    run = await agent.arun("go")
    assert run.status == RunStatus.completed
    session = await agent.aget_session()
    assert session is not None
    assert session.session_state == {"n": 1}
    assert [stored.content for stored in session.runs or ()] == ["ok"]


@pytest.mark.parametrize("schema", [{}, {"schema_version": 1}])
@pytest.mark.parametrize("metrics", [{"input_tokens": [1, 2], "output_tokens": None, "extra": "kept"}, None, [1]])
async def test_metrics_that_are_no_numbers_do_not_keep_a_run_from_being_stored(db: MongoDb, metrics: Any, schema: Any) -> None:
    collection = (await db._connection()).collection
    data = {"session_state": {}, "session_metrics": metrics}
    session = {"session_id": "s", "session_type": "agent", "agent_id": "a", "user_id": None, "session_data": data, "runs": []}
    await collection.insert_one({**session, "created_at": 1, "updated_at": 1, **schema})
    agent = Agent(model=ScriptedModel("ok", "ok", "ok"), db=db, id="a", session_id="s")
    run = await agent.arun("go", session_state={"n": 1})
    await agent.arun("go")
    assert run.metrics is not None
    stored = (await collection.find_one({"session_id": "s"}))["session_data"]
    began_with = 3 if metrics and not schema and isinstance(metrics, dict) else 0
    assert stored["session_metrics"]["input_tokens"] == began_with + 2 * run.metrics.input_tokens
    assert stored["session_metrics"]["output_tokens"] == 2 * run.metrics.output_tokens
    assert stored["session_metrics"].get("extra") == ("kept" if isinstance(metrics, dict) else None)
    assert stored["session_state"] == {"n": 1}


@pytest.mark.parametrize("name", ["agno_1_session", "agno_2_session", "agno_3_session", "as JSON text"])
async def test_runs_are_read_before_any_run_has_lifted_their_session(db: MongoDb, name: str) -> None:
    collection = (await db._connection()).collection
    runs = [{"run_id": "r", "agent_id": "a", "content": "text", "status": "COMPLETED"}]
    as_text = {
        "_id": 1,
        "session_id": "s",
        "session_type": "agent",
        "agent_id": "a",
        "session_data": "{}",
        "runs": json.dumps(runs),
    }
    document = {**as_text, "created_at": 1} if name == "as JSON text" else golden(name)
    del document["_id"]
    await collection.insert_one(document)
    session = await db.get_session(document["session_id"])
    page = await db.get_runs(document["session_id"])
    assert [(run.run_id, run.content) for run in page] == [(run.run_id, run.content) for run in session.runs or ()]
    for run in page:
        found = await db.get_run(document["session_id"], run.run_id)
        assert found is not None
        assert found.content == run.content
    assert await db.get_run(document["session_id"], "no such run") is None


async def test_runs_without_an_id_are_paged_through_once(db: MongoDb) -> None:
    collection = (await db._connection()).collection
    runs = [{"agent_id": "a", "content": "of a member", "parent_run_id": "p"} for _ in range(25)]
    await collection.insert_one({"session_id": "s", "session_type": "agent", "agent_id": "a", "user_id": None, "runs": runs})
    assert await Agent(model=ScriptedModel(), db=db, session_id="s").aget_last_run_output() is None


class AgnoWritesFirst:
    """A collection to which Agno writes a session in the moment before our next update."""

    def __init__(self, collection: Any, session: dict[str, Any]) -> None:
        self._collection = collection
        self._session: dict[str, Any] | None = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def update_one(self, *args: Any) -> Any:
        session, self._session = self._session, None
        if session is not None:
            await self._collection.replace_one({"session_id": session["session_id"]}, session)
        return await self._collection.update_one(*args)


@pytest.mark.parametrize("later", [0, 1])
async def test_what_agno_writes_while_a_session_is_lifted_is_kept(db: MongoDb, later: int) -> None:
    connection = await db._connection()
    session = golden("agno_2_session")
    del session["_id"]
    await connection.collection.insert_one(dict(session))
    runs = [*session["runs"], {"run_id": "agno's last", "agent_id": "a", "content": "later"}]
    written = {**session, "runs": runs, "updated_at": session["updated_at"] + later}
    await lift(replace(connection, collection=AgnoWritesFirst(connection.collection, written)), session["session_id"])
    stored = await connection.collection.find_one({"session_id": session["session_id"]})
    assert stored["schema_version"] == 1
    assert [run["run_id"] for run in stored["runs"]] == [run["run_id"] for run in runs]


@pytest.mark.parametrize("name", ["agno_1_session", "agno_2_session", "agno_3_session", "schema_1_session"])
def test_goes_through_to_dict_and_back(name: str) -> None:
    document = golden(name)
    document.pop("_id")
    kind = SessionType(document.get("session_type") or "agent")
    session = SESSION_CLASSES[kind].from_dict(document)
    again = SESSION_CLASSES[kind].from_dict(session.to_dict())
    assert again.to_dict() == session.to_dict()


def test_a_field_that_nobody_knows_is_kept() -> None:
    document = golden("agno_2_session") | {"from_the_future": {"x": 1}, "schema_version": 99}
    document.pop("_id")
    session = AgentSession.from_dict(document)
    assert session.to_dict()["from_the_future"] == {"x": 1}
    assert session.schema_version == 99
    run = RunOutput.from_dict({"run_id": "r", "status": "HIBERNATING", "new_field": 1})
    assert run.to_dict()["status"] == "HIBERNATING"
    assert run.to_dict()["new_field"] == 1
