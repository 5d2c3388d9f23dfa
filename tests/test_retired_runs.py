"""Runs whose process died retire after a day: a session does not grow with every crash."""

from __future__ import annotations

import asyncio
from time import time
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db import archive, retired
from agno_mongo.db.base import SessionType
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import Claim
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import RunAlreadyFinished
from agno_mongo.run import RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall

KEY = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None)


def entry(number: int, *, hours_ago: float) -> dict[str, Any]:
    ended = time() - hours_ago * 3600
    said = [{"id": "m", "role": "user", "content": f"lost {number}", "created_at": 1}]
    return {"input": f"lost {number}", "started_at": ended - 60, "lease_until": ended, "messages": said}


async def crashes(db: MongoDb, hours_ago: list[float]) -> None:
    connection = await db._connection()
    entries = {f"active_runs.dead{n}": entry(n, hours_ago=hours) for n, hours in enumerate(hours_ago)}
    await connection.collection.update_one({"session_id": "s"}, {"$set": entries})


async def document(db: MongoDb) -> dict[str, Any]:
    found: dict[str, Any] = await (await db._connection()).collection.find_one({"session_id": "s"})
    return found


async def test_runs_interrupted_a_day_ago_stand_among_the_runs_and_are_never_told_to_the_model(db: MongoDb) -> None:
    model = ScriptedModel("one", "two")
    agent = Agent(model=model, db=db, session_id="s", add_history_to_context=True)
    await agent.arun("first")
    await crashes(db, [25, 23, -1])
    before = await agent.aget_session()
    assert before is not None
    assert len(before.interrupted_runs) == 2
    connection = await db._connection()
    assert await retired.retire(connection, KEY) == 1
    assert await retired.retire(connection, KEY) == 0
    stored = await document(db)
    assert list(stored["active_runs"]) == ["dead1", "dead2"]
    assert stored["run_count"] == len(stored["runs"]) == 2
    assert stored["tail_bytes"] == sum(archive.size_of(run) for run in stored["runs"])
    session = await agent.aget_session()
    assert session is not None
    assert [run.input.input_content for run in session.interrupted_runs] == ["lost 0", "lost 1"]  # type: ignore[union-attr]
    assert session.get_messages() == before.get_messages()
    await agent.arun("second")
    assert [message.content for message in model.requests[1].messages] == ["first", "one", "second"]
    run = await agent.aget_run_output("dead0")
    assert run is not None
    assert run.status == RunStatus.interrupted
    last = await agent.aget_last_run_output()
    assert last is not None
    assert last.content == "two"


async def test_they_retire_when_older_runs_are_moved(db: MongoDb) -> None:
    agent = Agent(model=ScriptedModel(*["ok"] * 40), db=db, session_id="s")
    await agent.arun("first")
    await crashes(db, [30] * 40)
    for _ in range(32):
        await agent.arun("and")
    await (await db._connection()).background.finished()
    stored = await document(db)
    assert stored["active_runs"] == {}
    assert stored["run_count"] == 33 + 40 == stored["archived_runs"] + len(stored["runs"])
    session = await agent.aget_session()
    assert session is not None
    assert len(session.interrupted_runs) == 40
    assert len({run.run_id for run in session.runs or ()}) == 73


async def test_a_session_whose_every_run_dies_does_not_grow_for_ever(db: MongoDb) -> None:
    agent = Agent(model=ScriptedModel("ok", "ok"), db=db, session_id="s")
    connection = await db._connection()
    await agent.arun("first")
    await crashes(db, [48] * 10)
    await connection.collection.update_one({"session_id": "s"}, {"$set": {"revision": retired.LOOKED_FOR_EVERY - 1}})
    await agent.arun("next")
    await connection.background.finished()
    assert (await document(db))["active_runs"] == {}


async def test_many_may_retire_them_at_once_and_a_run_that_shows_life_stays(mongo_db: MongoDb) -> None:
    connection = await mongo_db._connection()
    await Agent(model=ScriptedModel("ok"), db=mongo_db, session_id="s").arun("first")
    await crashes(mongo_db, [30] * 20)
    renewing = mongo_db.renew_lease(Claim(key=KEY, run_id="dead7"), 60)
    outcomes = await asyncio.gather(renewing, *[retired.retire(connection, KEY) for _ in range(6)])
    await retired.retire(connection, KEY)
    stored = await document(mongo_db)
    ids = [run["run_id"] for run in stored["runs"][1:]]
    assert sorted([*ids, *stored["active_runs"]]) == sorted(f"dead{n}" for n in range(20))
    assert bool(outcomes[0]) == ("dead7" in stored["active_runs"])


async def test_a_process_that_wakes_up_after_days_is_told_that_its_run_has_retired(db: MongoDb) -> None:
    async def sleep_for_days(_request: Any) -> str:
        connection = await db._connection()
        await connection.collection.update_one({"session_id": "s"}, {"$set": {"active_runs.r.lease_until": 5.0}})
        assert await retired.retire(connection, KEY) == 1
        return "good morning"

    with pytest.raises(RunAlreadyFinished, match="'r'"):
        await Agent(model=ScriptedModel(sleep_for_days), db=db, session_id="s").arun("good night", run_id="r")
    with pytest.raises(RunAlreadyFinished, match="'r'"):
        await Agent(model=ScriptedModel(), db=db, session_id="s").arun("again", run_id="r")
    with pytest.raises(RunAlreadyFinished, match="'r'"):
        await Agent(model=ScriptedModel(), db=db, session_id="s").acontinue_run("r")
    [run] = (await db.get_session("s")).runs
    assert run.input.input_content == "good night"


@pytest.mark.parametrize("times", [1, 20_000])
async def test_they_keep_no_more_of_their_tools_than_their_agent_wanted(times: int, db: MongoDb) -> None:
    def read(secret: str) -> str:
        """Read."""
        return secret * times

    async def sleep_for_days(_request: Any) -> str:
        await connection.collection.update_one({"session_id": "s"}, {"$set": {"active_runs.r.lease_until": 5.0}})
        assert await retired.retire(connection, KEY) == 1
        return "good morning"

    connection = await db._connection()
    model = ScriptedModel(ToolCall("read", {"secret": "bluebird"}), sleep_for_days)
    settings: dict[str, Any] = {"store_tool_messages": False, "checkpoint": "tool-batch"}
    with pytest.raises(RunAlreadyFinished, match="'r'"):
        await Agent(model=model, db=db, session_id="s", tools=[read], **settings).arun("good night", run_id="r")
    [run] = (await document(db))["runs"]
    assert "bluebird" not in str(run)
    assert [message["content"] for message in run["messages"]] == ["good night"]
    assert [tool["tool_name"] for tool in run["tools"]] == ["read"]
    assert await connection.media_files.count_documents({}) == 0
