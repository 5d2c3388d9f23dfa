"""A run within another: one bracket inside the other, one command that stores both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from agno_mongo.db.base import SessionType
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import RunAlreadyFinished, RunTakenOver
from agno_mongo.execution import Execution, Settings
from agno_mongo.messages import Metrics
from agno_mongo.run.agent import RunContentEvent, RunInput, RunOutput
from agno_mongo.run.base import RunStatus
from tests.test_continuing import set_in_entry

Body = Callable[[Execution], AsyncGenerator[Any, None]]


def execution(db: MongoDb | None, run_id: str, within: Execution | None = None, **settings: Any) -> Execution:
    key = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None)
    parent = None if within is None else within.run.run_id
    run = RunOutput(run_id=run_id, session_id="s", agent_id="a", parent_run_id=parent, input=RunInput(input_content=run_id))
    return Execution(db, run, Settings(key=key, component_id="a", default_state={"n": 0, "log": []}, **settings), within=within)


async def all_of(run: Execution, body: Body) -> list[Any]:
    async with aclosing(run.events(body)) as events:
        return [event async for event in events]


def changing(**changes: Any) -> Body:
    async def body(run: Execution) -> AsyncGenerator[Any, None]:
        run.context.session_state.update(changes)
        run.context.state.increment("n")
        run.context.state.append("log", run.run.run_id)
        run.run.metrics = Metrics(input_tokens=1, total_tokens=1)
        run.run.content = "done"
        yield run.event(RunContentEvent, content="done")

    return body


def holding(db: MongoDb | None, *bodies: Body, at_once: bool = False) -> Body:
    """A body that runs others within its own run."""

    async def body(run: Execution) -> AsyncGenerator[Any, None]:
        inner = [all_of(execution(db, f"inner-{number}", run), one) for number, one in enumerate(bodies)]
        if at_once:
            for events in await asyncio.gather(*inner):
                for event in events:
                    yield event
            return
        for one in inner:
            for event in await one:
                yield event

    return body


class TestARunWithinAnother:
    async def test_is_stored_before_it_by_the_same_command_with_its_state_and_its_tokens(self, db: MongoDb) -> None:
        await all_of(execution(db, "outer"), holding(db, changing(a=1), changing(b=2)))
        session = await db.get_session("s")
        assert [(run.run_id, run.parent_run_id, run.status) for run in session.runs] == [
            ("inner-0", "outer", RunStatus.completed),
            ("inner-1", "outer", RunStatus.completed),
            ("outer", None, RunStatus.completed),
        ]
        assert session.session_state == {"n": 2, "log": ["inner-0", "inner-1"], "a": 1, "b": 2}
        assert session.session_data["session_metrics"]["total_tokens"] == 2
        assert session.active_runs == {}
        assert session.revision == 2

    async def test_adds_to_what_others_add_at_the_same_time(self) -> None:
        db = InMemoryDb()
        await all_of(execution(db, "outer"), holding(db, *[changing(**{f"key{n}": n}) for n in range(4)], at_once=True))
        state = (await db.get_session("s")).session_state
        assert state["n"] == 4
        assert sorted(state["log"]) == [f"inner-{n}" for n in range(4)]
        assert {name for name in state if name.startswith("key")} == {f"key{n}" for n in range(4)}

    async def test_says_in_each_event_whose_it_is(self) -> None:
        events = await all_of(execution(None, "outer"), holding(None, changing()))
        assert [(event.event, event.run_id, event.parent_run_id) for event in events] == [
            ("RunStarted", "outer", None),
            ("RunStarted", "inner-0", "outer"),
            ("RunContent", "inner-0", "outer"),
            ("RunCompleted", "inner-0", "outer"),
            ("RunCompleted", "outer", None),
        ]

    async def test_is_kept_when_it_fails_and_the_outer_one_goes_on(self) -> None:
        db = InMemoryDb()

        async def fails(run: Execution) -> AsyncGenerator[Any, None]:
            run.context.session_state["tried"] = True
            yield run.event(RunContentEvent, content="x")
            raise ValueError("no")

        async def outer(run: Execution) -> AsyncGenerator[Any, None]:
            with pytest.raises(ValueError, match="no"):
                await all_of(execution(db, "inner", run), fails)
            yield run.event(RunContentEvent, content="went on")

        await all_of(execution(db, "outer"), outer)
        session = await db.get_session("s")
        assert [(run.run_id, run.status) for run in session.runs] == [
            ("inner", RunStatus.error),
            ("outer", RunStatus.completed),
        ]
        assert session.session_state["tried"]

    async def test_is_stored_as_cancelled_when_the_reader_leaves(self) -> None:
        db = InMemoryDb()

        async def outer(run: Execution) -> AsyncGenerator[Any, None]:
            async with aclosing(execution(db, "inner", run).events(changing())) as events:
                async for event in events:
                    yield event

        events = execution(db, "outer").events(outer)
        async for event in events:
            if event.event == "RunContent":
                break
        await events.aclose()
        runs = (await db.get_session("s")).runs
        assert [(run.run_id, run.status) for run in runs] == [("inner", RunStatus.cancelled), ("outer", RunStatus.cancelled)]


class TestWhatHasFinishedWithinARunThatDies:
    async def test_is_taken_up_by_whoever_goes_on_with_it(self, db: MongoDb) -> None:
        async def stalls(run: Execution) -> AsyncGenerator[Any, None]:
            for event in await all_of(execution(db, "inner", run), changing(a=1)):
                yield event
            await run.checkpoint()
            await set_in_entry(db, "outer", lease_until=0)
            await all_of(execution(db, "outer", continues=True), changing(b=2))

        with pytest.raises((RunAlreadyFinished, RunTakenOver)):
            await all_of(execution(db, "outer", checkpoint="tool-batch"), stalls)
        session = await db.get_session("s")
        assert [(run.run_id, run.parent_run_id) for run in session.runs] == [("inner", "outer"), ("outer", None)]
        assert session.session_state == {"n": 2, "log": ["inner", "outer"], "a": 1, "b": 2}
        assert session.session_data["session_metrics"]["total_tokens"] == 2
