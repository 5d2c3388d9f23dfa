"""``EmbeddedMongoDb``: the database around the embedded server."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.errors import StoreUnavailable
from agno_mongo.run import RunStatus
from agno_mongo.testing import ScriptedModel


async def test_a_conversation_goes_on_in_another_database_object_on_the_same_folder(tmp_path: Path) -> None:
    async with EmbeddedMongoDb(path=tmp_path / "data") as db:
        await Agent(model=ScriptedModel("Hello."), db=db, session_id="s").arun("Hi")
    async with EmbeddedMongoDb(path=tmp_path / "data") as db:
        session = await db.get_session("s")
        assert [run.content for run in session.runs] == ["Hello."]
        assert str(tmp_path) in repr(db)


def test_a_server_that_was_killed_is_started_again_by_the_next_call(tmp_path: Path) -> None:
    db = EmbeddedMongoDb(path=tmp_path / "data")
    agent = Agent(model=ScriptedModel(*["ok"] * 9), db=db, session_id="s")
    agent.run("before")
    pid = db._server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
    with pytest.raises(StoreUnavailable, match=r"agno_mongo.*the next call starts it again"):
        agent.run("meanwhile")
    assert agent.run("after").status == RunStatus.completed
    session = agent.get_session()
    assert session is not None
    inputs = [run.input.input_content for run in session.runs or () if run.input]
    assert inputs[0] == "before"
    assert inputs[-1] == "after"
    db.blocking.close()
