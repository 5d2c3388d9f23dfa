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
from agno_mongo.db.leases import Claim
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import RunAlreadyFinished, RunTakenOver, SessionNotFound
from agno_mongo.execution import Execution, Settings
from agno_mongo.messages import Message, Metrics
from agno_mongo.run.agent import RunContentEvent, RunInput, RunOutput
from agno_mongo.run.base import RunStatus
from agno_mongo.session import SessionSummaryManager
from agno_mongo.summaries import Summaries
from agno_mongo.testing import ScriptedModel
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


def holding(db: MongoDb | None, *bodies: Body, at_once: bool = False, then: Body | None = None) -> Body:
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
        if then is not None:
            async for event in then(run):
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


def saying(content: str) -> Body:
    async def body(run: Execution) -> AsyncGenerator[Any, None]:
        run.run.content = content
        run.run.messages = [Message(role="user", content=run.run.run_id), Message(role="assistant", content=content)]
        yield run.event(RunContentEvent, content="done")

    return body


LARGE = "inner " * 20_000


async def files(db: MongoDb) -> int:
    connection = await db._connection()
    await connection.background.finished()
    return int(await connection.media_files.count_documents({}))


class TestLargeContentOfARunWithinAnother:
    async def test_survives_a_rewind_that_keeps_it_and_not_the_outer_one(self, db: MongoDb) -> None:
        await all_of(execution(db, "outer"), holding(db, saying(LARGE)))
        await db.rewind_session("s", "inner-0", keep_copy=False)
        [run] = (await db.get_session("s")).runs
        assert (run.run_id, run.content) == ("inner-0", LARGE)
        await db.delete_session("s")
        assert await files(db) == 0

    async def test_survives_a_fork_and_the_archive_and_goes_with_the_last_session(self, db: MongoDb) -> None:
        await all_of(execution(db, "outer"), holding(db, saying(LARGE)))
        for number in range(40):
            await all_of(execution(db, f"later-{number}"), saying("small"))
        await files(db)
        assert (await db.get_session("s", runs_limit=1)).archived_runs > 2
        for name, run_id in (("at-inner", "inner-0"), ("at-outer", "outer")):
            await db.fork_session("s", at_run=run_id, new_session_id=name)
        await db.delete_session("s")
        for name in ("at-inner", "at-outer"):
            assert (await db.get_run(name, "inner-0")).content == LARGE
            await db.delete_session(name)
        assert await files(db) == 0

    async def test_goes_when_a_rewind_leaves_both_out(self, db: MongoDb) -> None:
        await all_of(execution(db, "first"), saying("small"))
        await all_of(execution(db, "outer"), holding(db, saying(LARGE)))
        await db.rewind_session("s", "first", keep_copy=False)
        assert [run.run_id for run in (await db.get_session("s")).runs] == ["first"]
        assert await files(db) == 0

    async def test_survives_an_outer_run_that_died_and_was_cancelled(self, db: MongoDb) -> None:
        async def stalls(run: Execution) -> AsyncGenerator[Any, None]:
            for event in await all_of(execution(db, "inner", run), saying(LARGE)):
                yield event
            await run.checkpoint()
            await set_in_entry(db, "outer", lease_until=1)
            await db.cancel_run(Claim(key=run.key, run_id="outer"))

        with pytest.raises(RunAlreadyFinished):
            await all_of(execution(db, "outer", checkpoint="tool-batch", reused_id=True), stalls)
        await db.rewind_session("s", "inner", keep_copy=False)
        assert (await db.get_run("s", "inner")).content == LARGE

    async def test_leaves_nothing_in_a_session_that_is_deleted_meanwhile(self) -> None:
        db = InMemoryDb()

        async def deletes(run: Execution) -> AsyncGenerator[Any, None]:
            async for event in holding(db, saying(LARGE))(run):
                yield event
            await db.delete_session("s")

        with pytest.raises(SessionNotFound):
            await all_of(execution(db, "outer"), deletes)
        assert await files(db) == 0


class TestASummary:
    async def test_counts_the_turns_of_the_conversation_and_not_the_runs_within_them(self) -> None:
        db = InMemoryDb()
        model = ScriptedModel('{"summary": "All of them."}')
        summaries = Summaries(manager=SessionSummaryManager(), model=model, every=20, in_background=False)
        for number in range(20):
            assert model.requests == []
            inner = [saying(f"aside {n}") for n in range(4)]
            await all_of(execution(db, f"turn {number}", summaries=summaries), holding(db, *inner, then=saying("Well.")))
        assert (await db.get_session("s")).summary.run_count == 100
        told = model.requests[0].messages[0].get_content_string()
        assert all(f"User: turn {number}\n" in told for number in range(20))
        assert "aside" not in told
