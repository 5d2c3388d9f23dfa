"""The tools by which a model looks up its own past: what they find, and whose past they never show."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from agno_mongo.agent import Agent, AgentSession, own_past
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, ModelError, UnstorableValueError
from agno_mongo.messages import Message, ToolExecution
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def said(db: MongoDb | None, session_id: str, *lines: Any, user_id: str | None = None, **settings: Any) -> Agent:
    """An agent that has given these answers in a session, each to the question "about" and the answer's first word."""
    agent = Agent(model=ScriptedModel(*lines), db=db, session_id=session_id, user_id=user_id, **settings)
    for line in [line for line in lines if isinstance(line, (str, BaseException))]:
        await agent.arun(f"about {str(line).split()[0]}")
    return agent


def run_that(answers: str) -> RunOutput:
    messages = [Message(role="user", content="go"), Message(role="assistant", content=answers)]
    return RunOutput(run_id=str(uuid4()), agent_id="agent", status=RunStatus.completed, messages=messages)


async def made_of(db: MongoDb, session_id: str, *runs: RunOutput) -> None:
    await db.upsert_session(AgentSession(session_id=session_id, agent_id="agent", runs=list(runs)))


async def asked_for(
    db: MongoDb | None, tool: str, arguments: dict[str, Any] | None = None, *, session_id: str = "now", **settings: Any
) -> str:
    """What the model is told by its tool."""
    model = ScriptedModel(ToolCall(tool, arguments or {}), "ok")
    flags = dict.fromkeys(("read_chat_history", "read_tool_call_history", "search_past_sessions"), True)
    run = await Agent(model=model, db=db, session_id=session_id, **{**flags, **settings}).arun("go")
    told = model.requests[1].messages[-1]
    assert run.tools is not None
    assert told.content == run.tools[0].result
    return told.get_content_string()


async def found(db: MongoDb | None, query: str | None = None, **settings: Any) -> list[str]:
    entries = json.loads(await asked_for(db, "search_past_sessions", {"query": query}, **settings))
    return [entry["session_id"] for entry in entries]


class TestChatHistory:
    async def test_is_told_by_chats_oldest_first(self, db: MongoDb) -> None:
        await said(db, "s", "one", ModelError("no"), ToolCall("add", {"a": 1, "b": 2}), "three", tools=[add])
        chats = [{"user": "about one", "assistant": "one"}, {"user": "about three", "assistant": "three"}]
        assert json.loads(await asked_for(db, "get_chat_history", session_id="s")) == chats
        newest = json.loads(await asked_for(db, "get_chat_history", {"num_chats": 1}, session_id="s"))
        assert newest == [{"user": "go", "assistant": "ok"}]

    async def test_of_a_new_session_is_empty(self) -> None:
        assert await asked_for(InMemoryDb(), "get_chat_history") == "[]"
        assert await asked_for(None, "get_chat_history") == "[]"

    async def test_begins_with_the_introduction(self) -> None:
        told = await asked_for(InMemoryDb(), "get_chat_history", introduction="I am Bo.")
        assert json.loads(told) == [{"assistant": "I am Bo."}]

    async def test_has_a_hundred_chats_and_long_texts_in_part(self) -> None:
        db = InMemoryDb()
        await made_of(db, "s", *[run_that(f"{number}" * 2000) for number in range(120)])
        for arguments in ({}, {"num_chats": 5000}):
            chats = json.loads(await asked_for(db, "get_chat_history", arguments, session_id="s"))
            assert len(chats) == 100
        assert chats[0]["assistant"] == "21" * 2000
        assert chats[-2]["assistant"].endswith("1191… (2000 characters more)")


class TestToolCallHistory:
    async def test_is_told_newest_first_with_arguments_and_results(self, db: MongoDb) -> None:
        calls = [ToolCall("add", {"a": 1, "b": 1}), ToolCall("add", {"a": 2, "b": 2})]
        await said(db, "s", calls, ToolCall("add", {"a": 3}), "one", "nothing", tools=[add])
        told = json.loads(await asked_for(db, "get_tool_call_history", {"num_calls": 2}, session_id="s"))
        assert told[0]["tool"] == "add"
        assert told[0]["arguments"] == {"a": 3}
        assert told[0]["failed"] is True
        assert "b: Field required" in told[0]["result"]
        assert told[1] == {"tool": "add", "arguments": {"a": 2, "b": 2}, "result": "4"}
        assert len(told) == 2

    async def test_reaches_back_over_pages_and_over_failed_runs(self) -> None:
        db = InMemoryDb()
        call = ToolExecution(tool_call_id="c", tool_name="add", tool_args={"a": 1}, result="2")
        failed = RunOutput(run_id="failed", agent_id="agent", status=RunStatus.error, tools=[call])
        await made_of(db, "s", failed, *[run_that("ok") for _ in range(200)])
        told = await asked_for(db, "get_tool_call_history", session_id="s")
        assert json.loads(told) == [{"tool": "add", "arguments": {"a": 1}, "result": "2"}]

    async def test_of_a_new_session_is_empty(self) -> None:
        assert await asked_for(InMemoryDb(), "get_tool_call_history") == "[]"
        assert await asked_for(None, "get_tool_call_history") == "[]"


class TestSearch:
    async def test_lists_the_newest_sessions_with_a_few_words(self, db: MongoDb) -> None:
        await said(db, "old", "one", "two", "three", "x" * 300)
        await said(db, "new", "four")
        told = json.loads(await asked_for(db, "search_past_sessions"))
        assert [entry["session_id"] for entry in told] == ["new", "old"]
        assert told[0]["runs"] == [{"user": "about four", "assistant": "four"}]
        assert [run["user"][:11] for run in told[1]["runs"]] == ["about two", "about three", "about xxxxx"]
        assert told[1]["runs"][2]["assistant"].endswith("… (100 characters more)")
        assert told[0]["created_at"].endswith("+00:00")

    async def test_by_words_puts_the_best_first_whatever_their_case_and_accents(self) -> None:
        db = InMemoryDb()
        await said(db, "a", "Un café in Rome")
        await said(db, "b", "Rome is large")
        await said(db, "c", "Nothing here")
        assert await found(db, "ROME, Cafe!") == ["a", "b"]
        assert await found(db, "romes") == []
        await (await said(db, "d", "Hello")).aset_session_name(session_name="Trip to Rome")
        assert set(await found(db, "rome")) == {"a", "b", "d"}

    async def test_by_the_text_index_reaches_all_that_was_said(self, mongo_url: str, db_name: str) -> None:
        async with MongoDb(mongo_url, db_name=db_name, search=True) as db:
            await said(db, "a", "the elephant", *["ok"] * 5)
            await said(db, "anothers", "the elephant", user_id="eve")
            await said(db, "of another agent", "the elephant", id="other")
            told = json.loads(await asked_for(db, "search_past_sessions", {"query": "elephant"}))
            assert [entry["session_id"] for entry in told] == ["a"]
            assert {"assistant": "the elephant"} in told[0]["excerpts"]
            assert await found(db, "elephant " * 100) == []
            assert await found(db) == ["a"]

    async def test_looks_only_at_as_many_sessions_and_runs_as_the_agent_says(self) -> None:
        db = InMemoryDb()
        for number in range(5):
            await said(db, f"s{number}", "word", f"answer {number}")
        assert await found(db, num_past_sessions_to_search=2) == ["s4", "s3"]
        assert len(await found(db, num_past_sessions_to_search=None)) == 5
        assert await found(db, "word", num_past_session_runs_in_search=1) == []
        assert len(await found(db, "word", num_past_session_runs_in_search=2)) == 5

    async def test_by_words_of_large_sessions_lets_other_runs_go_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        db, begun, others_went_on, real = InMemoryDb(), threading.Event(), threading.Event(), own_past._with_words
        await said(db, "s", "lorem ipsum é " * 7_000)

        def slow(*arguments: Any) -> Any:
            begun.set()
            assert others_went_on.wait(30)
            return real(*arguments)

        monkeypatch.setattr(own_past, "_with_words", slow)
        searching = asyncio.create_task(found(db, "ipsum"))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        others_went_on.set()
        assert await searching == ["s"]

    async def test_leaves_out_the_session_itself(self) -> None:
        db = InMemoryDb()
        await said(db, "now", "word")
        await said(db, "then", "word")
        assert await found(db, "word") == ["then"]
        assert await found(db) == ["then"]

    async def test_without_a_database_finds_nothing(self) -> None:
        assert await found(None, "word") == []
        assert "There is no earlier conversation" in await asked_for(None, "read_past_session", {"session_id": "x"})


OWN = {"john": "johns", "eve": "eves", None: "nobodys"}


@pytest_asyncio.fixture
async def of_several(db: MongoDb) -> MongoDb:
    """Sessions of john, eve and nobody, of this agent and of another."""
    await said(db, "johns", "word of john", user_id="john")
    await said(db, "eves", "word of eve", user_id="eve")
    await said(db, "nobodys", "word of nobody")
    await said(db, "johns other", "word of john", user_id="john", id="other")
    return db


class TestNobodyElsesPast:
    async def test_is_listed(self, of_several: MongoDb) -> None:
        for user, own in OWN.items():
            for query in (None, "word"):
                assert await found(of_several, query, user_id=user, session_id=f"{user} now") == [own]

    async def test_is_read_whatever_id_the_model_asks_for(self, of_several: MongoDb) -> None:
        for user, own in OWN.items():
            for session_id in ("johns", "eves", "nobodys", "johns other", "nowhere", ""):
                arguments = {"session_id": session_id}
                told = await asked_for(of_several, "read_past_session", arguments, user_id=user, session_id=f"{user} now")
                if session_id == own:
                    assert told.endswith(f"User: about word\n\nAssistant: word of {user or 'nobody'}")
                else:
                    assert told == f"There is no earlier conversation {session_id!r} with this user."

    async def test_is_read_by_parameters_that_the_model_makes_up(self, of_several: MongoDb) -> None:
        for extra in ({"user_id": "eve"}, {"run_context": {"user_id": "eve"}}, {"agent": {"id": "other"}}):
            told = await asked_for(of_several, "read_past_session", {"session_id": "eves", **extra}, user_id="john")
            assert "word of eve" not in told

    async def test_is_named_in_the_tools_parameters(self) -> None:
        model = ScriptedModel("ok")
        await Agent(model=model, search_past_sessions=True, read_chat_history=True, enable_agentic_state=True).arun("go")
        shown = {
            tool["function"]["name"]: sorted(tool["function"]["parameters"]["properties"]) for tool in model.requests[0].tools
        }
        assert shown == {
            "get_chat_history": ["num_chats"],
            "search_past_sessions": ["query"],
            "read_past_session": ["num_runs", "session_id"],
            "update_session_state": ["session_state_updates"],
        }


class TestReading:
    async def test_tells_the_newest_runs(self) -> None:
        db = InMemoryDb()
        agent = await said(db, "then", "one", "two", "three")
        await agent.aset_session_name(session_name="Counting")
        told = await asked_for(db, "read_past_session", {"session_id": "then", "num_runs": 2})
        first, *lines = told.split("\n\n")
        assert first.startswith("Conversation then (Counting), begun 20")
        assert lines == ["User: about two", "Assistant: two", "User: about three", "Assistant: three"]


class TestAgenticState:
    async def test_is_changed_by_the_model_and_stored(self, db: MongoDb) -> None:
        updates = {"items": ["milk"], "user": {"name": "Jo"}}
        told = await asked_for(
            db,
            "update_session_state",
            {"session_state_updates": updates},
            enable_agentic_state=True,
            session_state={"n": 1, "items": [], "user": {"age": 5}},
        )
        assert told == 'The state is now {"n": 1, "items": ["milk"], "user": {"name": "Jo"}}'
        session = await db.get_session("now")
        assert session.session_state == {"n": 1, **updates}

    @pytest.mark.parametrize("updates", ['{"m": 2, "n": 36893488147419103232}', "5", "[]"])
    async def test_that_cannot_be_is_told_to_the_model_and_changes_nothing(self, updates: str) -> None:
        db = InMemoryDb()
        arguments: Any = f'{{"session_state_updates": {updates}}}'
        model = ScriptedModel(ToolCall("update_session_state", arguments), "Sorry.")
        agent = Agent(model=model, db=db, session_id="s", enable_agentic_state=True, session_state={"n": 1, "m": 1})
        with suppress(UnstorableValueError):
            # Nor can the call itself be stored as it was made, which the caller hears once the run is.
            await agent.arun("go")
        assert model.requests[1].messages[-1].tool_call_error
        assert (await db.get_session("s")).session_state == {"n": 1, "m": 1}
        assert [run.content for run in await agent.aget_runs()] == ["Sorry."]

    async def test_of_runs_at_once_keeps_all_keys(self, db: MongoDb) -> None:
        def agent(number: int) -> Agent:
            call = ToolCall("update_session_state", {"session_state_updates": {f"k{number}": number}})
            return Agent(model=ScriptedModel(call, "ok"), db=db, session_id="s", enable_agentic_state=True)

        await asyncio.gather(*(agent(number).arun("go") for number in range(5)))
        assert (await db.get_session("s")).session_state == {f"k{number}": number for number in range(5)}


async def tools_sent(**settings: Any) -> list[str]:
    model = ScriptedModel("ok")
    await Agent(model=model, **settings).arun("go")
    return [tool["function"]["name"] for tool in model.requests[0].tools]


class TestSettings:
    async def test_that_are_off_add_no_tools(self) -> None:
        assert await tools_sent() == []

    async def test_add_their_tools_to_the_others_however_these_are_given(self) -> None:
        assert await tools_sent(tools=[add], read_chat_history=True) == ["add", "get_chat_history"]
        assert await tools_sent(tools=lambda: [add], read_chat_history=True) == ["add", "get_chat_history"]

    async def test_switched_on_later_count_from_then_on(self) -> None:
        model = ScriptedModel("ok")
        agent = Agent(model=model, tools=[add])
        agent.read_chat_history = True
        await agent.arun("go")
        assert [tool["function"]["name"] for tool in model.requests[0].tools] == ["add", "get_chat_history"]

    def test_and_a_tool_of_the_same_name_are_refused(self) -> None:
        def get_chat_history() -> str:
            return ""

        with pytest.raises(ConfigurationError, match="two tools are named 'get_chat_history'"):
            Agent(model=ScriptedModel(), tools=[get_chat_history], read_chat_history=True)

    @pytest.mark.parametrize("name", ["num_past_sessions_to_search", "num_past_session_runs_in_search"])
    def test_that_are_no_numbers_are_refused(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match=f"{name} is a whole number from 1"):
            Agent(model=ScriptedModel(), **{name: 0})  # type: ignore[arg-type]


async def test_a_turn_with_these_tools_is_still_stored_whole(db: MongoDb) -> None:
    await said(db, "s", "one")
    await asked_for(db, "get_chat_history", session_id="s")
    run = await db.get_runs("s", limit=1)
    assert isinstance(run[0], RunOutput)
    assert run[0].tools is not None
    assert run[0].tools[0].tool_name == "get_chat_history"
