"""``cache_session``: runs that are known are not sent again, and are never other than what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener

from agno_mongo.agent import Agent
from agno_mongo.db import session_cache
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ModelError
from agno_mongo.testing import ScriptedModel, ToolCall


class Replies(CommandListener):
    """Keeps what the server answers to the commands of a run."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.sessions: list[dict[str, Any]] = []

    def started(self, event: Any) -> None:
        self.commands.append(event.command_name)

    def succeeded(self, event: Any) -> None:
        if event.command_name == "findAndModify":
            self.sessions.append(event.reply.get("value") or {})

    def failed(self, event: Any) -> None:
        pass


@pytest_asyncio.fixture
async def watched(mongo_url: str, db_name: str) -> AsyncIterator[tuple[MongoDb, Replies]]:
    replies = Replies()
    async with AsyncMongoClient[dict[str, Any]](mongo_url, event_listeners=[replies]) as client:
        yield MongoDb(client=client, db_name=db_name), replies


def agent_on(db: MongoDb, *script: Any, **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(*script)
    return Agent(model=model, db=db, session_id="s", **{"add_history_to_context": True, "cache_session": True, **settings}), model


def shown(model: ScriptedModel) -> list[Any]:
    return [message.content for message in model.requests[-1].messages]


async def test_runs_that_are_known_are_not_sent_again(watched: tuple[MongoDb, Replies]) -> None:
    db, replies = watched
    agent, model = agent_on(db, *"1234", num_history_runs=2)
    for question in "abc":
        await agent.arun(question)
    replies.sessions.clear()
    replies.commands.clear()
    await agent.arun("d")
    assert replies.commands == ["findAndModify", "findAndModify"]
    assert replies.sessions[0]["runs"] == []
    assert shown(model) == ["b", "2", "c", "3", "d"]


async def test_large_content_that_is_known_is_not_read_again(watched: tuple[MongoDb, Replies]) -> None:
    db, replies = watched
    agent, model = agent_on(db, "x" * 100_000, "2", "3")
    await agent.arun("a")
    await agent.arun("b")
    replies.commands.clear()
    await agent.arun("c")
    assert "find" not in replies.commands
    assert shown(model) == ["a", "x" * 100_000, "b", "2", "c"]


async def write_a_run(db: MongoDb) -> None:
    other, _ = agent_on(db, "theirs", cache_session=False)
    await other.arun("they")


async def rename(db: MongoDb) -> None:
    await db.rename_session("s", "agent", "new name")


async def rewind(db: MongoDb) -> None:
    session = await db.get_session("s")
    await db.rewind_session("s", session.runs[0].run_id)


async def delete(db: MongoDb) -> None:
    await db.delete_session("s")


async def replace(db: MongoDb) -> None:
    session = await db.get_session("s")
    session.runs[0].messages[-1].content = "changed"
    await db.upsert_session(session)


async def delete_and_make_anew(db: MongoDb) -> None:
    """As many writes as there were before: the revision is the same."""
    await db.delete_session("s")
    other, _ = agent_on(db, "other 1", "other 2", cache_session=False)
    await other.arun("other a")
    await other.arun("other b")


async def nothing(_db: MongoDb) -> None:
    pass


@pytest.mark.parametrize("meanwhile", [nothing, write_a_run, rename, rewind, delete, replace, delete_and_make_anew])
async def test_what_the_model_is_shown_is_what_is_stored(db: MongoDb, meanwhile: Callable[[MongoDb], Awaitable[None]]) -> None:
    agent, model = agent_on(db, *"1234")
    await agent.arun("a")
    await agent.arun("b")
    await meanwhile(db)
    session = await db.get_session("s")
    stored = [] if session is None else [message.content for message in session.get_messages()]
    await agent.arun("c")
    assert shown(model) == [*stored, "c"]
    await agent.arun("d")
    assert shown(model) == [*stored[-4:], "c", "3", "d"]


async def test_a_run_that_overlapped_with_another_is_not_taken_for_all_there_is(db: MongoDb) -> None:
    other, _ = agent_on(db, "theirs", cache_session=False)

    async def meanwhile(_request: Any) -> str:
        await other.arun("they")
        return "2"

    agent, model = agent_on(db, "1", meanwhile, "3")
    for question in "abc":
        await agent.arun(question)
    assert shown(model) == ["a", "1", "they", "theirs", "b", "2", "c"]


async def test_what_is_known_is_as_it_is_stored(db: MongoDb) -> None:
    def look_up() -> str:
        return "secret"

    agent, model = agent_on(db, ToolCall("look_up"), "1", "2", tools=[look_up], store_tool_messages=False)
    await agent.arun("a")
    await agent.arun("b")
    assert shown(model) == ["a", "1", "b"]


async def test_runs_that_failed_do_not_hide_those_that_did_not(db: MongoDb) -> None:
    agent, model = agent_on(db, "1", *[ModelError("no")] * 3, "2", num_history_runs=1)
    for question in "abcde":
        await agent.arun(question)
    assert shown(model) == ["a", "1", "e"]


async def test_users_do_not_share_what_is_known() -> None:
    db = InMemoryDb()
    agent, model = agent_on(db, *"1234")
    for user in ("john", "mary", "john", "mary"):
        await agent.arun(f"I am {user}", session_id=f"{user}'s", user_id=user)
    assert shown(model) == ["I am mary", "2", "I am mary"]


async def test_what_is_kept_does_not_grow(db: MongoDb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_cache, "SESSIONS", 3)
    agent, _ = agent_on(db, *["ok"] * 40, num_history_runs=2)
    for number in range(30):
        await agent.arun("go", session_id=f"s{number % 5}")
    known = agent._session_cache._known
    assert len(known) == 3
    assert {len(one.runs) for one in known.values()} == {2}


@pytest.mark.parametrize("changes", ["pre_hooks", "dependencies"])
@pytest.mark.parametrize("in_run", [1, 2])
async def test_what_a_function_changes_in_its_session_is_for_its_run_alone(changes: str, in_run: int) -> None:
    calls: list[int] = []

    def hide(session: Any) -> None:
        calls.append(1)
        if len(calls) == in_run + 1:
            session.runs[-1].messages[-1].content = "hidden"

    given: Any = [hide] if changes == "pre_hooks" else {"hidden": hide}
    agent, model = agent_on(InMemoryDb(), *"1234", **{changes: given})
    for question in "abcd":
        await agent.arun(question)
    told = [message.content for message in model.requests[in_run].messages]
    assert told == [*"a1b2"[: 2 * in_run - 1], "hidden", "abcd"[in_run]]
    assert shown(model) == list("a1b2c3d")


async def test_what_is_kept_has_a_limit_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_cache, "CONTENT", 10_000)
    agent, model = agent_on(InMemoryDb(), *["x" * 3000] * 5, "x" * 20_000, "ok", num_history_runs=1)
    known = agent._session_cache._known
    for number in range(5):
        await agent.arun("go", session_id=f"s{number}")
    assert 0 < len(known) < 4
    assert all(key.session_id != "s0" for key in known)
    await agent.arun("go", session_id="s4")
    assert all(key.session_id != "s4" for key in known), "a run that is too large by itself"
    await agent.arun("go", session_id="s4")
    assert shown(model) == ["go", "x" * 20_000, "go"]
