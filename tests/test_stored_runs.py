"""What is stored of a run, and what the next one is shown of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, UnstorableValueError
from agno_mongo.messages import Message
from agno_mongo.run import RunContext, RunOutput, RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from tests.test_events import raw_run


def agent_on(db: MongoDb | None, *script: Any, **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(*script)
    return Agent(model=model, db=db, session_id="s", **settings), model


def told(messages: Any) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in messages or ()]


def look_up(secret: str) -> str:
    """Look something up."""
    return f"found {secret}"


class TestWithoutToolMessages:
    async def test_nothing_is_stored_of_what_tools_were_asked_and_answered(self, db: MongoDb) -> None:
        agent, model = agent_on(
            db,
            ToolCall("look_up", {"secret": "bluebird"}),
            "Done.",
            tools=[look_up],
            store_tool_messages=False,
            store_events=True,
        )
        run = await agent.arun("go")
        assert model.requests[1].messages[-1].content == "found bluebird"
        # The caller has it all; what is stored has who was called, and how it went.
        assert [message.role for message in run.messages or ()] == ["user", "assistant", "tool", "assistant"]
        assert run.tools is not None
        assert run.tools[0].result == "found bluebird"
        stored = await agent.aget_last_run_output()
        assert stored is not None
        assert "bluebird" not in json.dumps(await raw_run(db), default=str)
        assert told(stored.messages) == [("user", "go"), ("assistant", "Done.")]
        assert [(tool.tool_name, tool.tool_call_error, tool.result) for tool in stored.tools or ()] == [("look_up", False, None)]
        assert "ToolCallCompleted" in {event.event for event in stored.events or ()}

    async def test_the_next_prompt_is_one_that_providers_accept(self) -> None:
        async def speak_and_call(_request: Any) -> list[ToolCall]:
            return [ToolCall("look_up", {"secret": "1"}), ToolCall("look_up", {"secret": "2"})]

        script = (speak_and_call, "Done.", "And again.")
        agent, model = agent_on(InMemoryDb(), *script, tools=[look_up], store_tool_messages=False, add_history_to_context=True)
        await agent.arun("go")
        await agent.arun("more")
        shown = model.requests[-1].messages
        assert told(shown) == [("user", "go"), ("assistant", "Done."), ("user", "more")]
        assert not any(message.tool_calls for message in shown)

    def test_what_was_said_beside_a_call_is_kept(self) -> None:
        from agno_mongo.run.stored import without_tool_messages

        call = ToolCall("look_up", {"secret": "x"}).to_openai()
        messages = [
            Message(role="user", content="go"),
            Message(role="assistant", content="I will look.", tool_calls=[call], provider_data={"id": "item"}),
            Message(role="tool", content="x", tool_call_id=call["id"]),
            Message(role="assistant", tool_calls=[call]),
            Message(role="assistant", content="Done."),
        ]
        record = without_tool_messages(RunOutput(run_id="r", messages=messages).to_dict())
        kept = RunOutput.from_dict(record).messages
        assert told(kept) == [("user", "go"), ("assistant", "I will look."), ("assistant", "Done.")]
        assert (kept[1].tool_calls, kept[1].provider_data) == (None, None)
        assert "tools" not in record
        assert "events" not in record

    async def test_its_checkpoints_have_them_as_long_as_it_goes_on(self) -> None:
        db = InMemoryDb()
        roles: list[str] = []

        async def look(_request: Any) -> str:
            session = await db.get_session("s")
            roles.extend(message.role for message in session.unfinished_runs[0].messages)
            return "Done."

        call = ToolCall("look_up", {"secret": "x"})
        agent, _ = agent_on(db, call, look, tools=[look_up], store_tool_messages=False, checkpoint="tool-batch")
        await agent.arun("go")
        assert roles == ["user", "assistant", "tool"]
        stored = await agent.aget_last_run_output()
        assert stored is not None
        assert told(stored.messages) == [("user", "go"), ("assistant", "Done.")]

    async def test_nor_what_a_person_was_asked_and_answered(self) -> None:
        @tool(user_input_fields=["password"])
        def log_in(host: str, password: str) -> str:
            """Log in."""
            return f"{password} at {host}"

        @tool(requires_confirmation=True)
        def pay(amount: int) -> str:
            """Pay."""
            return str(amount)

        db, calls = InMemoryDb(), [ToolCall("log_in", {"host": "bluebird"}), ToolCall("pay", {"amount": 1})]
        agent, _ = agent_on(db, calls, "Done.", tools=[log_in, pay], store_tool_messages=False, store_events=True)
        run = await agent.arun("go")
        to_log_in, to_pay = run.requirements
        to_log_in.provide_user_input({"password": "bluebird"})
        to_pay.reject("not for a bluebird")
        assert (await agent.acontinue_run(run)).status == RunStatus.completed
        assert "bluebird" not in json.dumps(await raw_run(db), default=str)

    @pytest.mark.parametrize("how", ["a pause", "a checkpoint"])
    async def test_nor_is_large_content_kept_that_only_they_had(self, how: str, db: MongoDb) -> None:
        @tool
        def read() -> str:
            """Read."""
            return "bluebird" * 20_000

        @tool(requires_confirmation=True)
        def pay() -> str:
            """Pay."""
            return "paid"

        calls = [ToolCall("read"), *([ToolCall("pay")] if how == "a pause" else [])]
        checkpoint = "runs" if how == "a pause" else "tool-batch"
        agent, _ = agent_on(db, calls, "Done.", tools=[read, pay], store_tool_messages=False, checkpoint=checkpoint)
        run = await agent.arun("x" * 100_000)
        if run.is_paused:
            run.requirements[0].confirm()
            run = await agent.acontinue_run(run)
        connection = await db._connection()
        await connection.background.finished()
        [file] = await connection.media_files.find().to_list(None)
        assert file["length"] == 100_000
        assert await connection.media_chunks.count_documents({}) == 1
        session = await db.get_session("s")
        assert session.runs[0].input.input_content == "x" * 100_000


class TestWithHistoryMessages:
    async def test_a_run_is_stored_with_the_history_it_was_shown(self, db: MongoDb) -> None:
        agent, model = agent_on(db, "1", "2", "3", store_history_messages=True, add_history_to_context=True)
        for question in ("a", "b", "c"):
            await agent.arun(question)
        stored = await agent.aget_last_run_output()
        assert stored is not None
        # All that the model was sent, and its answer.
        assert told(stored.messages) == [*told(model.requests[-1].messages), ("assistant", "3")]
        assert [message.from_history for message in stored.messages or ()] == [True] * 4 + [False] * 2

    async def test_and_nobody_is_shown_it_twice(self, db: MongoDb) -> None:
        agent, model = agent_on(db, *"1234", store_history_messages=True, add_history_to_context=True)
        for question in "abcd":
            await agent.arun(question)
        assert told(model.requests[-1].messages) == [
            ("user", "a"), ("assistant", "1"), ("user", "b"), ("assistant", "2"), ("user", "c"), ("assistant", "3"), ("user", "d"),
        ]  # fmt: skip
        assert len(await agent.aget_chat_history()) == len(await agent.aget_session_messages()) == 8
        assert len(await agent.aget_session_messages(skip_history_messages=False)) == 2 + 4 + 6 + 8

    async def test_and_a_tool_call_counts_once(self) -> None:
        call = ToolCall("look_up", {"secret": "x"})
        agent, _ = agent_on(
            InMemoryDb(), call, "1", "2", tools=[look_up], store_history_messages=True, add_history_to_context=True
        )
        await agent.arun("a")
        await agent.arun("b")
        session = await agent.aget_session()
        assert session is not None
        assert [found["id"] for found in session.get_tool_calls()] == [call.id]

    async def test_and_a_search_finds_words_where_they_were_said(self, mongo_url: str, db_name: str) -> None:
        async with MongoDb(mongo_url, db_name=db_name, search=True) as db:
            agent, _ = agent_on(db, "1", "2", store_history_messages=True, add_history_to_context=True)
            first = await agent.arun("I have seen an ocelot.")
            await agent.arun("Really.")
            (match,) = await db.search_sessions("ocelot")
        assert [excerpt.run_id for excerpt in match.excerpts] == [first.run_id]

    async def test_it_stays_when_the_session_is_stored_again(self) -> None:
        db = InMemoryDb()
        agent, _ = agent_on(db, "1", "2", store_history_messages=True, add_history_to_context=True)
        await agent.arun("a")
        await agent.arun("b")
        session = await agent.aget_session()
        assert session is not None
        await db.upsert_session(session)
        again = await agent.aget_last_run_output()
        assert again is not None
        assert len(again.messages or ()) == 4

    async def test_without_it_a_run_is_stored_with_its_own_messages(self) -> None:
        agent, _ = agent_on(InMemoryDb(), "1", "2", add_history_to_context=True)
        await agent.arun("a")
        run = await agent.arun("b")
        assert len(run.messages or ()) == 4
        stored = await agent.aget_last_run_output()
        assert stored is not None
        assert told(stored.messages) == [("user", "b"), ("assistant", "2")]

    async def test_a_run_that_goes_on_is_not_sent_its_history_twice(self) -> None:
        db = InMemoryDb()
        looked: list[Any] = []

        async def look(_request: Any) -> str:
            session = await db.get_session("s")
            looked.extend(session.unfinished_runs[0].messages)
            return "Done."

        settings = {
            "store_history_messages": True,
            "add_history_to_context": True,
            "checkpoint": "tool-batch",
            "tools": [look_up],
        }
        agent, _ = agent_on(db, "1", ToolCall("look_up", {"secret": "x"}), look, **settings)
        await agent.arun("a")
        await agent.arun("b")
        assert not any(message.from_history for message in looked)


class TestMetadata:
    async def test_of_the_call_beats_the_sessions_which_beats_the_agents(self, db: MongoDb) -> None:
        seen: list[Any] = []

        def look(run_context: RunContext) -> str:
            seen.append(run_context.metadata)
            return "ok"

        first, _ = agent_on(db, "hi", metadata={"agent": 1, "session": 1, "call": 1, "deep": {"session": 1}})
        await first.arun("go", metadata={"only": "this call's"})
        second, _ = agent_on(db, ToolCall("look"), "hi", metadata={"agent": 2, "new": 2, "deep": {"agent": 2}}, tools=[look])
        run = await second.arun("go", metadata={"call": 3, "deep": {"call": 3}})
        merged = {"agent": 1, "session": 1, "call": 3, "new": 2, "deep": {"session": 1, "agent": 2, "call": 3}}
        assert seen == [merged]
        assert run.metadata == merged
        stored = await second.aget_last_run_output()
        assert stored is not None
        assert stored.metadata == merged

    async def test_of_a_call_is_not_the_sessions(self) -> None:
        agent, _ = agent_on(InMemoryDb(), "1", "2", metadata={"agent": 1})
        await agent.arun("go", metadata={"call": 1})
        assert (await agent.arun("go")).metadata == {"agent": 1}
        session = await agent.aget_session()
        assert session is not None
        assert session.metadata == {"agent": 1}
        assert agent.metadata == {"agent": 1}

    async def test_that_a_tool_changes_is_stored_with_the_run_alone(self) -> None:
        def tag(run_context: RunContext) -> str:
            assert run_context.metadata is not None
            run_context.metadata["tags"].append("seen")
            return "ok"

        mine = {"tags": ["mine"]}
        agent, _ = agent_on(InMemoryDb(), ToolCall("tag"), "1", "2", metadata=mine, tools=[tag])
        assert (await agent.arun("go")).metadata == {"tags": ["mine", "seen"]}
        assert (await agent.arun("go")).metadata == {"tags": ["mine"]}
        assert mine == {"tags": ["mine"]}

    @pytest.mark.parametrize("where", ["agent", "call"])
    async def test_that_cannot_be_stored_is_refused_before_anything_is_sent(self, where: str) -> None:
        db = InMemoryDb()
        odd = {"x": object()}
        agent, _ = agent_on(db, metadata=odd if where == "agent" else None)
        with pytest.raises(UnstorableValueError, match=r"metadata\.x"):
            await agent.arun("go", metadata=odd if where == "call" else None)
        assert await db.count_sessions() == 0


class Answer(BaseModel):
    city: str
    people: int | None = None


class TestARunsOutput:
    @pytest.mark.parametrize(
        ("content", "text"),
        [("Rome", "Rome"), (None, ""), ({"city": "Köln"}, '{"city": "Köln"}'), (Answer(city="Rome"), '{"city":"Rome"}'), ([1], "[1]")],
    )  # fmt: skip
    def test_is_text_if_asked(self, content: Any, text: str) -> None:
        assert RunOutput(content=content).get_content_as_string() == text

    async def test_is_json_that_reads_back(self) -> None:
        agent, _ = agent_on(InMemoryDb(), ToolCall("look_up", {"secret": "x"}), "ok", tools=[look_up], store_events=True)
        run = await agent.arun({"data": b"\xff"}, metadata={"a": 1})
        again = RunOutput.from_dict(json.loads(run.to_json()))
        assert told(again.messages) == told(run.messages)
        assert (again.tools, again.metrics, again.status) == (run.tools, run.metrics, RunStatus.completed)
        assert [event.event for event in again.events or ()] == [event.event for event in run.events or ()]
        assert "\n" not in run.to_json(indent=None)

    async def test_is_shown_at_a_glance(self) -> None:
        agent, _ = agent_on(
            InMemoryDb(), ToolCall("look_up", {"secret": "x"}), "word " * 1000, tools=[look_up], store_events=True
        )
        run = await agent.arun("go")
        shown = repr(run)
        assert shown.startswith(f"RunOutput(run_id='{run.run_id}', session_id='s'")
        assert all(
            part in shown for part in ("content='word word", "messages=[4 messages]", "tools=[1 tool]", "status=COMPLETED")
        )
        assert len(shown) < 900


@pytest.mark.parametrize("setting", ["store_tool_messages", "store_history_messages", "store_events", "cache_session"])
def test_what_is_stored_is_said_by_true_or_false(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting}= takes True or False"):
        Agent(model=ScriptedModel(), **{setting: "yes"})  # type: ignore[arg-type]
