"""Leases and times of last use are in the server's time, however the clocks of its clients stand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from time import time
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient

from agno_mongo.agent import Agent
from agno_mongo.db.connections import ServerClock
from agno_mongo.db.documents import AgentSession
from agno_mongo.db.mongo import MongoDb
from agno_mongo.models.base import ModelRequest
from agno_mongo.run import RunStatus
from agno_mongo.testing import ScriptedModel

EPOCH = datetime.fromtimestamp(0, timezone.utc).replace(tzinfo=None)


def beside(db: MongoDb, *, ahead: float) -> MongoDb:
    """The same store, as a machine sees it whose clock is ``ahead`` seconds ahead."""
    other = MongoDb(client=db._connections._client, db_name=db.db_name)
    other._connections.clock = lambda: time() + ahead
    return other


@pytest.mark.parametrize(("mine", "theirs"), [(70, 0), (-70, 0), (0, 70), (0, -70), (70, -70)])
async def test_nobodys_live_run_is_taken_for_a_dead_one(db: MongoDb, mine: float, theirs: float) -> None:
    seen: list[list[Any]] = []

    async def look(_request: ModelRequest) -> str:
        for looking in (beside(db, ahead=mine), beside(db, ahead=theirs), db):
            session = await looking.get_session("s")
            seen.append([run.status for run in session.unfinished_runs])
        return "ok"

    await Agent(model=ScriptedModel(look), db=beside(db, ahead=mine), session_id="s").arun("go")
    assert seen == [[RunStatus.running]] * 3


@pytest.mark.parametrize("ahead", [70, -70, 86_400])
async def test_a_session_was_used_when_the_server_says_so(db: MongoDb, ahead: float) -> None:
    before = time()
    other = beside(db, ahead=ahead)
    await Agent(model=ScriptedModel("ok"), db=other, session_id="s").arun("go")
    await other.rename_session("s", None, "A name")
    session = await other.get_session("s")
    for moment in (session.touched_at.timestamp(), session.updated_at, session.created_at):
        assert before - 2 <= moment <= time() + 2


async def test_a_run_began_when_the_server_says_so(db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agno_mongo.run.base.time", lambda: 5.0)
    shown: list[int] = []

    async def look(_request: ModelRequest) -> str:
        session = await db.get_session("s")
        shown.extend(run.created_at for run in session.unfinished_runs)
        return "ok"

    before = time()
    agent = Agent(model=ScriptedModel(look), db=db, session_id="s")
    run = await agent.arun("go")
    stored = await agent.aget_last_run_output()
    assert shown == [run.created_at] == [stored.created_at]
    assert before - 2 <= run.created_at <= time() + 2


async def test_every_turn_corrects_the_clock(db: MongoDb) -> None:
    other = beside(db, ahead=0)
    agent = Agent(model=ScriptedModel("ok", "ok"), db=other, session_id="s")
    await agent.arun("go")
    other._connections.clock = clock = lambda: time() + 600
    connection = await other._connection()
    connection.clock.local = clock
    assert connection.now() - time() > 500
    await agent.arun("go")
    assert abs(connection.now() - time()) < 300


def clock_at(readings: list[float]) -> Callable[[], float]:
    return lambda: readings.pop(0) if len(readings) > 1 else readings[0]


class TestTheServersClock:
    def test_is_this_machines_until_the_server_has_spoken(self) -> None:
        clock = ServerClock(lambda: 100.0)
        clock.heard(None, 99.0)
        assert clock.now() == 100.0

    @pytest.mark.parametrize("moment", [100.0, 101.0, 102.0])
    def test_is_this_machines_where_the_server_does_not_say_otherwise(self, moment: float) -> None:
        clock = ServerClock(lambda: 102.0)
        clock.heard(EPOCH + timedelta(seconds=moment), 100.0)
        assert clock.now() == 102.0

    @pytest.mark.parametrize(("moment", "then"), [(600, 600.0), (50, 52.001)])
    def test_moves_no_further_than_it_must(self, moment: float, then: float) -> None:
        clock = ServerClock(lambda: 102.0)
        clock.heard(EPOCH + timedelta(seconds=moment), 100.0)
        assert clock.now() == pytest.approx(then, abs=0.0001)

    def test_stays_where_it_is_while_an_answer_agrees_with_it(self) -> None:
        clock = ServerClock(clock_at([102.0, 112.0]))
        clock.heard(EPOCH + timedelta(seconds=600), 100.0)
        clock.heard(EPOCH + timedelta(seconds=609), 110.0)
        assert clock.now() == pytest.approx(610.0, abs=0.001)
        clock.heard(EPOCH + timedelta(seconds=612.5), 112.0)
        assert clock.now() == pytest.approx(612.5, abs=0.001)

    @pytest.mark.parametrize(("takes", "then"), [([0.01], 170.01), ([2.0, 0.01], 172.01)])
    async def test_is_asked_again_where_connecting_took_long(self, takes: list[float], then: float) -> None:
        connections, here = MongoDb(client=AsyncMongoMockClient())._connections, [100.0]
        connections.clock = lambda: here[0]

        class Server:
            async def command(self, _name: str) -> dict[str, Any]:
                shown = EPOCH + timedelta(seconds=here[0] + 70)
                here[0] += takes.pop(0)
                return {"localTime": shown}

        clock = await connections._clock_of(Server())
        assert (clock.now(), takes) == (pytest.approx(then, abs=0.011), [])

    def test_learns_nothing_while_this_machines_clock_is_set_back(self) -> None:
        clock = ServerClock(clock_at([50.0]))
        clock.heard(EPOCH + timedelta(seconds=600), 100.0)
        assert clock.now() == 50.0


def test_a_session_in_memory_is_judged_by_this_machines_clock() -> None:
    session = AgentSession(session_id="s", active_runs={"r": {"lease_until": time() + 5}, "q": {"lease_until": time() - 5}})
    assert {run.run_id: run.status for run in session.unfinished_runs} == {"r": RunStatus.running, "q": RunStatus.interrupted}
