"""What the model is sent before it is asked, and what is stored of that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from pydantic import BaseModel
from pymongo import AsyncMongoClient

from agno_mongo import tokens
from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, ModelError, UnstorableValueError
from agno_mongo.messages import Message
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.session import SessionSummaryManager
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.llm_servers import AIMock, Answer
from tests.llm_servers import ToolCall as WireCall
from tests.test_commands import Recorder


class City(BaseModel):
    name: str


def agent_that(*script: Any, **settings: Any) -> Agent:
    settings.setdefault("db", InMemoryDb())
    return Agent(model=ScriptedModel(*script or ("ok",)), session_id="s", **settings)


async def sent(agent: Agent, question: Any = "go", **options: Any) -> list[Message]:
    """What the model is sent first in a run."""
    await agent.arun(question, **options)
    requests: list[Any] = agent.model.requests  # type: ignore[union-attr]
    return list(requests[-1].messages)


async def system_of(agent: Agent, **options: Any) -> str | None:
    first = (await sent(agent, **options))[0]
    return first.get_content_string() if first.role == "system" else None


async def stored(agent: Agent) -> list[list[Message]]:
    """The messages of the session's runs, as they are read back."""
    return [run.messages or [] for run in await agent.aget_runs(limit=1000)]


def contents(messages: list[Message]) -> list[Any]:
    return [message.content for message in messages]


class TestTheSystemMessage:
    async def test_has_what_is_fixed_before_what_changes(self) -> None:
        agent = agent_that(
            name="Bo",
            description="You sell books.",
            instructions=["Be brief.", "Be kind."],
            expected_output=" One sentence. ",
            additional_context="The shop is closed on {closed}.",
            markdown=True,
            add_name_to_context=True,
            add_session_state_to_context=True,
            session_state={"closed": "Monday"},
        )
        assert await system_of(agent) == (
            "You sell books.\n\n- Be brief.\n- Be kind.\n\nUse markdown to format your answers.\n\nYour name is Bo.\n\n"
            "<expected_output>\nOne sentence.\n</expected_output>\n\nThe shop is closed on Monday.\n\n"
            '<session_state>\n{"closed": "Monday"}\n</session_state>'
        )
        assert (await stored(agent))[0][0].role == "system"

    async def test_is_not_there_when_there_is_nothing_to_say(self) -> None:
        assert await system_of(agent_that(add_name_to_context=True)) is None

    async def test_is_not_built_without_build_context(self) -> None:
        assert await system_of(agent_that(description="You sell books.", build_context=False)) is None
        assert await system_of(agent_that(system_message="Given.", build_context=False)) == "Given."

    @pytest.mark.parametrize(
        ("lines", "shown"),
        [
            (["Only one."], "Only one."),
            (["First:\n* a\n* b", "Second."], "First:\n* a\n* b\n\nSecond."),
            (["One.\n", " Two."], "- One.\n- Two."),
            ([], None),
        ],
    )
    async def test_lists_instructions_so_that_each_stays_whole(self, lines: list[str], shown: str | None) -> None:
        assert await system_of(agent_that(instructions=lines)) == shown

    async def test_tags_instructions_if_asked(self) -> None:
        agent = agent_that(instructions=["a", "b"], use_instruction_tags=True)
        assert await system_of(agent) == "<instructions>\n- a\n- b\n</instructions>"

    async def test_takes_instructions_from_a_function_that_may_wait(self) -> None:
        async def instructions(agent: Agent, run_context: RunContext, session_state: dict[str, Any]) -> list[str]:
            await asyncio.sleep(0)
            return [f"{agent.name} for {run_context.user_id}", "Count: {n}", f"{session_state['n']}"]

        agent = agent_that(name="Bo", instructions=instructions, session_state={"n": 3})
        assert await system_of(agent, user_id="john") == "- Bo for john\n- Count: 3\n- 3"

    @pytest.mark.parametrize(
        "given",
        [
            "You are {name}.",
            lambda session_state: f"You are {session_state['name']}.",
            lambda: Message(role="system", content="You are Bo."),
            Message(role="system", content="You are Bo."),
        ],
    )
    async def test_given_by_the_user_replaces_all(self, given: Any) -> None:
        agent = agent_that(system_message=given, description="No.", markdown=True, session_state={"name": "Bo"})
        assert await system_of(agent) == "You are Bo."

    async def test_given_as_a_message_is_not_the_same_one_in_every_run(self) -> None:
        agent = agent_that("a", "b", system_message=Message(role="system", content="You are {name}."))
        await agent.arun("1")
        await agent.arun("2")
        first, second = [messages[0] for messages in await stored(agent)]
        assert first.content == second.content == "You are {name}."
        assert first.id != second.id

    async def test_may_come_from_a_coroutine_function(self) -> None:
        async def system_message(agent: Agent) -> str:
            return f"I am {agent.name}."

        assert await system_of(agent_that(name="Bo", system_message=system_message)) == "I am Bo."

    async def test_that_is_none_fails_the_run_which_is_stored(self) -> None:
        agent = agent_that(system_message=lambda: 5)
        with pytest.raises(
            ConfigurationError, match="system_message is text or a Message, or a function that gives one, not int"
        ):
            await agent.arun("go")
        assert [run.status for run in await agent.aget_runs()] == [RunStatus.error]

    async def test_with_the_role_of_a_developer_is_not_repeated_from_history(self) -> None:
        agent = agent_that("a", "b", description="D", system_message_role="developer", add_history_to_context=True)
        await agent.arun("1")
        assert [message.role for message in await sent(agent, "2")] == ["developer", "user", "assistant", "user"]
        assert contents(await agent.aget_session_messages()) == ["D", "1", "a", "2", "b"]
        assert contents(await agent.aget_chat_history()) == ["1", "a", "2", "b"]

    async def test_with_the_role_of_a_user_is_not_repeated_from_history(self) -> None:
        agent = agent_that("a", "b", description="D", system_message_role="user", add_history_to_context=True)
        await agent.arun("1")
        assert contents(await sent(agent, "2")) == ["D", "1", "a", "2"]
        assert contents(await agent.aget_session_messages()) == ["1", "a", "2", "b"]


class TestTheTime:
    async def test_is_told_in_the_zone_and_form_asked_for(self) -> None:
        agent = agent_that(add_datetime_to_context=True, timezone_identifier="Asia/Tokyo", datetime_format="%Y %Z")
        years = [datetime.now(ZoneInfo("Asia/Tokyo")).year]
        told = await system_of(agent)
        years.append(datetime.now(ZoneInfo("Asia/Tokyo")).year)
        assert told in [f"The current time is {year} JST." for year in years]

    async def test_is_told_with_its_distance_from_utc(self) -> None:
        told = await system_of(agent_that(add_datetime_to_context=True))
        assert told is not None
        moment = datetime.fromisoformat(told.removeprefix("The current time is ").removesuffix("."))
        assert moment.tzinfo is not None
        assert abs((datetime.now(moment.tzinfo) - moment).total_seconds()) < 60

    @pytest.mark.parametrize("zone", ["Middle/Earth", "../etc/passwd", "", 5])
    def test_in_a_zone_that_is_none_is_refused_at_once(self, zone: Any) -> None:
        with pytest.raises(ConfigurationError, match="timezone_identifier= takes the name of a time zone, such as 'Europe/Rome'"):
            agent_that(timezone_identifier=zone)


class TestPlaceholders:
    async def test_stand_for_state_dependencies_metadata_and_ids_in_this_order(self) -> None:
        agent = agent_that(
            description="{a} {b} {c} {user_id} {session_id} {nobody} { a }",
            session_state={"a": "state"},
            dependencies={"a": "dependency", "b": lambda: "dependency"},
            metadata={"a": "metadata", "b": "metadata", "c": {"x": 1}},
        )
        assert await system_of(agent, user_id="john") == 'state dependency {"x": 1} john s {nobody} { a }'

    async def test_within_values_are_left_alone(self) -> None:
        agent = agent_that(description="{a}", session_state={"a": "{b}", "b": "secret"})
        assert await system_of(agent) == "{b}"

    async def test_stay_if_nothing_is_to_be_resolved(self) -> None:
        assert await system_of(agent_that(description="{a}", session_state={"a": 1}, resolve_in_context=False)) == "{a}"

    async def test_in_what_the_user_says_stay(self) -> None:
        agent = agent_that(session_state={"a": "secret"}, dependencies={"b": "secret"})
        assert contents(await sent(agent, "What is {a}, and {b}?")) == ["What is {a}, and {b}?"]


class TestDependencies:
    async def test_are_resolved_before_all_else_and_seen_by_tools(self) -> None:
        async def weather(run_context: RunContext) -> str:
            return f"rain for {run_context.user_id}"

        def look(run_context: RunContext) -> str:
            assert run_context.dependencies is not None
            return f"{run_context.dependencies['weather']}, {run_context.dependencies['sum']}"

        agent = agent_that(
            ToolCall("look"),
            "ok",
            tools=[look],
            dependencies={"weather": weather, "one": 1, "sum": lambda run_context: run_context.dependencies["one"] + 1},
        )
        run = await agent.arun("go", user_id="john")
        assert run.tools is not None
        assert run.tools[0].result == "rain for john, 2"
        assert callable((agent.dependencies or {})["weather"])

    async def test_may_know_agent_input_and_session(self) -> None:
        def known(agent: Agent, run_input: Any, session: Any) -> str:
            return f"{agent.name} {run_input.input_content} {session.session_id}"

        agent = agent_that(name="Bo", description="{known}", dependencies={"known": known})
        assert await system_of(agent) == "Bo go s"

    async def test_of_a_call_are_laid_over_the_agents(self) -> None:
        agent = agent_that("ok", "ok", description="{a}{b}", dependencies={"a": 1, "b": 1})
        assert await system_of(agent, dependencies={"b": 2}) == "12"
        assert await system_of(agent) == "11"

    async def test_are_added_to_the_input_and_stored_with_it(self) -> None:
        agent = agent_that(dependencies={"city": City(name="Rome"), "n": lambda: 1}, add_dependencies_to_context=True)
        text = 'go\n\n<additional context>\n{"city": {"name": "Rome"}, "n": 1}\n</additional context>'
        assert contents(await sent(agent)) == [text]
        assert contents((await stored(agent))[0])[0] == text
        run = (await agent.aget_runs())[0]
        assert run.input is not None
        assert run.input.input_content == "go"

    async def test_are_added_by_a_call_to_whatever_kind_of_input(self) -> None:
        agent = agent_that("ok", "ok", "ok", dependencies={"n": 1})
        added = '<additional context>\n{"n": 1}\n</additional context>'
        mine = Message(role="user", content=[{"type": "text", "text": "Look"}])
        assert contents(await sent(agent, mine, add_dependencies_to_context=True)) == [
            [{"type": "text", "text": "Look"}, {"type": "text", "text": added}]
        ]
        assert mine.content == [{"type": "text", "text": "Look"}]
        assert contents(await sent(agent)) == ["go"]
        agent.build_user_context = False
        assert contents(await sent(agent, add_dependencies_to_context=True)) == ["go"]

    async def test_that_raise_fail_the_run_which_is_stored(self) -> None:
        def broken() -> str:
            raise LookupError("nobody answers")

        agent = agent_that(dependencies={"x": broken})
        with pytest.raises(LookupError, match="nobody answers"):
            await agent.arun("go")
        run = (await agent.aget_runs())[0]
        assert (run.status, run.content) == (RunStatus.error, "nobody answers")
        assert agent.model.requests == []  # type: ignore[union-attr]

    async def test_may_block_without_stopping_the_others(self) -> None:
        came = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow() -> str:
            asyncio.run_coroutine_threadsafe(came.wait(), loop).result(5)
            return "there"

        agent = agent_that(description="{slow}", dependencies={"slow": slow})
        task = asyncio.create_task(system_of(agent))
        await asyncio.sleep(0.01)
        came.set()
        assert await task == "there"

    @pytest.mark.parametrize("setting", ["instructions", "system_message", "tools"])
    async def test_may_do_so_in_the_place_of_other_settings_too(self, setting: str) -> None:
        came = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow() -> Any:
            asyncio.run_coroutine_threadsafe(came.wait(), loop).result(5)
            return [] if setting == "tools" else "there"

        task = asyncio.create_task(system_of(agent_that(**{setting: slow})))
        await asyncio.sleep(0.01)
        came.set()
        assert await task == (None if setting == "tools" else "there")


class TestExamples:
    async def test_stand_between_system_and_history_and_are_not_stored(self) -> None:
        examples = [
            "2 + 2?",
            Message(role="assistant", content="4"),
            {"role": "user", "content": "3 + 3?"},
            {"role": "assistant", "content": "6"},
            City(name="Rome"),
        ]
        agent = agent_that("a", "b", description="D", additional_input=examples, add_history_to_context=True)
        await agent.arun("1")
        told = await sent(agent, "2")
        assert contents(told) == ["D", "2 + 2?", "4", "3 + 3?", "6", '{"name":"Rome"}', "1", "a", "2"]
        assert [contents(messages) for messages in await stored(agent)] == [["D", "1", "a"], ["D", "2", "b"]]

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("one text", "takes a list of messages, not str"),
            ([5], r"additional_input\[0\] is text, a Message, a dict or a pydantic model, not int"),
            (["a", {"content": "b"}], r"additional_input\[1\] is a message without a role"),
            ([{"role": None}], r"additional_input\[0\] is no message"),
            ([None], r"additional_input\[0\] is text"),
        ],
    )
    def test_that_are_none_are_refused_at_once(self, given: Any, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            agent_that(additional_input=given)


class TestTheIntroduction:
    async def test_is_said_once_in_a_session_and_stored(self, db: MongoDb) -> None:
        agent = agent_that("a", "b", db=db, introduction="I am Bo.", name="Bo", add_history_to_context=True)
        assert contents(await sent(agent, "1", user_id="john")) == ["I am Bo.", "1"]
        assert contents(await sent(agent, "2", user_id="john")) == ["I am Bo.", "1", "a", "2"]
        session = await agent.aget_session(user_id="john")
        assert session is not None
        assert [(run.content, run.status, run.user_id) for run in session.runs or ()] == [
            (said, RunStatus.completed, "john") for said in ("I am Bo.", "a", "b")
        ]
        assert session.run_count == 3
        assert contents(await agent.aget_chat_history(user_id="john")) == ["I am Bo.", "1", "a", "2", "b"]

    async def test_is_said_once_by_runs_that_begin_a_session_together(self, db: MongoDb) -> None:
        agents = [agent_that(db=db, introduction="I am Bo.") for _ in range(10)]
        await asyncio.gather(*(agent.arun(f"{number}") for number, agent in enumerate(agents)))
        said = contents(await agents[0].aget_chat_history())
        assert said[0] == "I am Bo."
        assert said.count("I am Bo.") == 1
        assert len(said) == 21

    async def test_is_not_said_in_a_session_that_is_there_already(self) -> None:
        db = InMemoryDb()
        await agent_that(db=db).arun("1")
        agent = agent_that(db=db, introduction="I am Bo.", add_history_to_context=True)
        assert contents(await sent(agent, "2")) == ["1", "ok", "2"]

    async def test_is_said_anew_where_nothing_is_stored(self) -> None:
        agent = agent_that("a", "b", db=None, introduction="I am Bo.", add_history_to_context=True)
        assert contents(await sent(agent, "1")) == contents(await sent(agent, "1")) == ["I am Bo.", "1"]

    async def test_outlives_a_first_run_that_fails(self) -> None:
        agent = agent_that(ModelError("no"), "b", introduction="I am Bo.", add_history_to_context=True)
        await agent.arun("1")
        assert contents(await sent(agent, "2")) == ["I am Bo.", "2"]

    async def test_that_cannot_be_stored_is_named_before_anything_is_sent(self) -> None:
        agent = agent_that(introduction="half a \ud83d")
        with pytest.raises(UnstorableValueError, match="introduction"):
            await agent.arun("go")
        assert await agent.aget_session() is None


class TestStateAndSummary:
    async def test_are_as_they_were_when_the_run_began(self) -> None:
        def change(session_state: dict[str, Any]) -> None:
            session_state["n"] = 2

        agent = agent_that(ToolCall("change"), "ok", "ok", tools=[change], session_state={"n": 1})
        options = {"add_session_state_to_context": True}
        assert await system_of(agent, **options) == '<session_state>\n{"n": 1}\n</session_state>'
        assert await system_of(agent, **options) == '<session_state>\n{"n": 2}\n</session_state>'

    async def test_the_summary_is_told_once_there_is_one(self) -> None:
        db = InMemoryDb()
        agent = agent_that(*["ok"] * 5, db=db, add_session_summary_to_context=True)
        assert await system_of(agent) is None
        session = await agent.aget_session()
        assert session is not None
        session = type(session).from_dict(session.to_dict() | {"summary": {"summary": "John asked for {books}."}})
        await db.upsert_session(session)
        told = await system_of(agent)
        assert told is not None
        assert told.startswith(
            "<summary_of_previous_interactions>\nJohn asked for {books}.\n</summary_of_previous_interactions>\n"
        )
        agent.add_session_summary_to_context = None
        assert await system_of(agent) is None
        # An agent that keeps summaries is told them, unless it says otherwise.
        agent.session_summary_manager = SessionSummaryManager()
        assert await system_of(agent) == told
        agent.add_session_summary_to_context = False
        assert await system_of(agent) is None


class TestRoles:
    async def test_the_input_has_the_role_asked_for(self) -> None:
        agent = agent_that("ok", "ok", user_message_role="human")
        assert [message.role for message in await sent(agent)] == ["human"]
        assert [message.role for message in await sent(agent, {"role": "user", "content": "Mine."})] == ["user"]


async def talk(agent: Agent, *questions: Any) -> None:
    for question in questions:
        await agent.arun(question)


def look(number: int) -> str:
    """Look."""
    return f"result {number}"


def looks(*numbers: int) -> list[ToolCall]:
    return [ToolCall("look", {"number": number}, id=f"c{index}") for index, number in enumerate(numbers)]


class TestHistory:
    @pytest.mark.parametrize(
        ("limit", "shown"),
        [
            (None, ["1", "c0 c1", "result 1", "result 2", "a", "2", "c0", "result 3", "new", "result 4", "b", "3"]),
            (3, ["1", "c1", "result 2", "a", "2", "c0", "result 3", "new", "result 4", "b", "3"]),
            (2, ["1", "a", "2", "c0", "result 3", "new", "result 4", "b", "3"]),
            (1, ["1", "a", "2", "new", "result 4", "b", "3"]),
            (0, ["1", "a", "2", "b", "3"]),
        ],
    )
    async def test_has_the_newest_tool_calls_with_their_results(self, limit: int | None, shown: list[str]) -> None:
        # The ids are the same in every answer, as some servers have them; the second of a run has been given a new one.
        script = (looks(1, 2), "a", looks(3), looks(4), "b", "c")
        agent = agent_that(*script, tools=[look], add_history_to_context=True, max_tool_calls_from_history=limit)
        await talk(agent, "1", "2")
        told = [
            message.content or " ".join(call["id"] for call in message.tool_calls or ()) for message in await sent(agent, "3")
        ]
        assert ["new" if text.startswith("call_") else text for text in told] == shown
        assert [len(messages) for messages in await stored(agent)] == [5, 6, 2]

    async def test_keeps_what_was_said_beside_a_call_that_is_left_out(self) -> None:
        db = InMemoryDb()
        agent = agent_that(looks(1), "a", "b", db=db, tools=[look], add_history_to_context=True, max_tool_calls_from_history=0)
        await agent.arun("1")
        session = await agent.aget_session()
        assert session is not None
        session.runs[0].messages[1].content = "I will look."  # type: ignore[index,union-attr]
        await db.upsert_session(session)
        assert contents(await sent(agent, "2")) == ["1", "I will look.", "a", "2"]

    async def test_of_an_agent_can_be_switched_by_a_call(self) -> None:
        agent = agent_that("a", "b", "c")
        await agent.arun("1")
        assert contents(await sent(agent, "2", add_history_to_context=True)) == ["1", "a", "2"]
        assert contents(await sent(agent, "3")) == ["3"]


@pytest_asyncio.fixture
async def recorded(mongo_url: str, db_name: str) -> AsyncIterator[tuple[MongoDb, Recorder]]:
    recorder = Recorder()
    async with AsyncMongoClient(mongo_url, event_listeners=[recorder]) as client:
        yield MongoDb(client=client, db_name=db_name), recorder


def budgeted(tokens: int, *script: Any, **settings: Any) -> Agent:
    return agent_that(*script, add_history_to_context=True, num_history_tokens=tokens, **settings)


class TestATokenBudget:
    """A run here has two messages of 36 bytes, 9 tokens, and 4 more for each message: 26 tokens."""

    QUESTION = "0123456789 0123456789 0123456789 ..."

    @pytest.fixture(autouse=True)
    def estimated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # As if tiktoken were not there.
        ready: Future[tokens.TokenCounter] = Future()
        ready.set_result(tokens.ESTIMATE)
        monkeypatch.setitem(tokens._loading, "scripted", ready)

    @pytest.mark.parametrize(("budget", "runs"), [(25, 0), (26, 1), (77, 2), (78, 3), (10_000, 5)])
    async def test_is_filled_with_the_newest_whole_runs(self, budget: int, runs: int) -> None:
        agent = budgeted(budget, *[self.QUESTION] * 6)
        await talk(agent, *[self.QUESTION] * 5)
        told = await sent(agent, "last")
        assert len(told) == 2 * runs + 1

    async def test_ends_where_a_run_does_not_fit(self) -> None:
        agent = budgeted(60, "small", "x" * 400, "small", "ok")
        await talk(agent, "1", "2", "3")
        assert contents(await sent(agent, "4")) == ["3", "small", "4"]

    async def test_and_other_limits_hold_together(self) -> None:
        agent = budgeted(1000, *[self.QUESTION] * 6, num_history_runs=2)
        await talk(agent, *[self.QUESTION] * 5)
        assert len(await sent(agent, "last")) == 5

    async def test_counts_what_is_left_of_the_tool_calls(self) -> None:
        script = [looks(1), "a", looks(2), "b", "c"]
        agent = budgeted(30, *script, tools=[look], max_tool_calls_from_history=0)
        await talk(agent, "1", "2")
        assert contents(await sent(agent, "3")) == ["1", "a", "2", "b", "3"]

    async def test_costs_two_commands_a_turn_while_the_session_is_short(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded
        agent = budgeted(8000, *["ok"] * 21, db=db)
        await talk(agent, *["go"] * 20)
        recorder.sent.clear()
        assert len(await sent(agent, "last")) == 41
        assert recorder.names == ["findAndModify", "findAndModify"]

    async def test_reads_one_page_more_of_a_long_session_and_never_all_of_it(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded
        await agent_that(db=db).arun("makes the session")
        session = await agent_that(db=db).aget_session()
        assert session is not None
        one = session.runs[0].to_dict()  # type: ignore[index]
        runs = []
        for number in range(600):
            question, answer = Message(role="user", content=self.QUESTION), Message(role="assistant", content=self.QUESTION)
            runs.append(one | {"run_id": f"r{number}", "messages": [question.to_dict(), answer.to_dict()]})
        await db.upsert_session(type(session).from_dict(session.to_dict() | {"runs": runs}))
        agent = budgeted(26 * 100, "ok", "ok", "ok", db=db)
        # The first run moves the older ones to the archive.
        await agent.arun("go")
        await db.close()
        recorder.sent.clear()
        told = await sent(agent, "last")
        assert 2 * 95 <= len(told) <= 2 * 101 + 1
        assert told[-1].content == "last"
        sent_for_the_run = [name for name in recorder.names if name in {"find", "findAndModify"}]
        assert sent_for_the_run == ["findAndModify", "find", "find", "findAndModify"]

    async def test_is_filled_from_a_cached_session_as_from_the_stored_one(self, mongo_db: MongoDb) -> None:
        cached = budgeted(1000, *["cached"] * 40, db=mongo_db, cache_session=True)
        other = budgeted(1000, *["other"] * 3, db=mongo_db)
        await talk(cached, "1", "2")
        assert contents(await sent(cached, "3")) == ["1", "cached", "2", "cached", "3"]
        await other.arun("4")
        assert contents(await sent(cached, "5"))[-5:] == ["3", "cached", "4", "other", "5"]
        await talk(cached, *[f"{number}" for number in range(6, 40)])
        assert contents(await sent(other, "40")) == [*contents(await sent(cached, "40"))[:-3], "40"]

    async def test_survives_failed_runs_at_the_end(self) -> None:
        agent = budgeted(100, "first", *[ModelError("no")] * 40, "ok")
        await talk(agent, *["go"] * 41)
        assert contents(await sent(agent, "last")) == ["go", "first", "last"]


class TestCounting:
    def test_is_estimated_by_bytes(self) -> None:
        assert [tokens.estimated(text) for text in ("", "abcd", "abcde", "日本")] == [0, 1, 2, 2]

    def test_counts_calls_and_media_too(self) -> None:
        image = {"type": "image_url", "image_url": {"url": "data:" + "x" * 100_000}}
        assert tokens.ESTIMATE(Message(role="user", content=[{"type": "text", "text": "abcd"}, image])) == 805
        calls = [looks(1)[0].to_openai()]
        assert tokens.ESTIMATE(Message(role="assistant", tool_calls=calls)) > 10

    def test_by_tiktoken_remembers_and_takes_time_for_no_text(self) -> None:
        tiktoken = pytest.importorskip("tiktoken")
        ranks = {bytes([value]): value for value in range(256)} | {b"ab": 256}
        encoding = tiktoken.Encoding("tiny", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={"<|end|>": 257})
        counter = tokens.counter_by(encoding)
        message = Message(role="user", content="abab <|end|>")
        assert counter(message) == 4 + 2 + len(" <|end|>")
        message.content = ""
        assert counter(message) == 14
        assert counter(Message(role="user", content="a" * 10_000_000)) == 4 + 2_500_000
        for number in range(5000):
            counter(Message(role="user", content="", id=f"m{number}"))
        assert len(counter._known) == 4096

    async def test_is_estimated_where_tiktoken_cannot_load_its_table(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        pytest.importorskip("tiktoken")
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setattr(tokens, "_loading", {})
        monkeypatch.setattr(tokens, "_PATIENCE", 60)
        assert await tokens.counter_for("gpt-4") is tokens.ESTIMATE
        assert "tokens of 'gpt-4' are estimated: tiktoken could not load its table" in caplog.text

    async def test_is_estimated_while_tiktoken_takes_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slow: Future[tokens.TokenCounter] = Future()
        monkeypatch.setattr(tokens, "_loading", {"slow": slow})
        monkeypatch.setattr(tokens, "_late", set())
        monkeypatch.setattr(tokens, "_PATIENCE", 0.01)
        assert await tokens.counter_for("slow") is tokens.ESTIMATE
        monkeypatch.setattr(tokens, "_PATIENCE", 60)
        assert await tokens.counter_for("slow") is tokens.ESTIMATE
        exact = tokens.TokenCounter(len)
        slow.set_result(exact)
        assert await tokens.counter_for("slow") is exact


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_history_tokens": 0}, "num_history_tokens is a whole number from 1"),
        ({"max_tool_calls_from_history": -1}, "max_tool_calls_from_history is a whole number from 0"),
        ({"system_message": 5}, "system_message= takes text, a Message or a function, not int"),
        ({"system_message_role": ""}, "system_message_role= takes the name of a role"),
        ({"user_message_role": None}, "user_message_role= takes the name of a role"),
        ({"introduction": ["a"]}, "introduction= takes str, not list"),
        ({"expected_output": 5}, "expected_output= takes str"),
        ({"dependencies": [1]}, "dependencies= takes Mapping"),
        ({"add_session_summary_to_context": "yes"}, "add_session_summary_to_context= takes True or False"),
        ({"build_context": None}, "build_context= takes True or False"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        agent_that(**settings)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dependencies": [1]}, "dependencies is a dict, not list"),
        ({"add_dependencies_to_context": "yes"}, "add_dependencies_to_context is True or False"),
        ({"add_session_state_to_context": 1}, "add_session_state_to_context is True or False"),
        ({"add_history_to_context": 1}, "add_history_to_context is True or False"),
    ],
)
async def test_what_a_call_cannot_set_is_refused_before_anything_is_sent(options: Any, words: str) -> None:
    agent = agent_that()
    with pytest.raises(ConfigurationError, match=words):
        await agent.arun("go", **options)
    assert await agent.aget_session() is None


async def test_an_interrupted_run_that_goes_on_is_shown_its_context_once() -> None:
    db = InMemoryDb()
    sessions = (await db.documents())[SessionType.AGENT].get_pymongo_collection()
    left: list[dict[str, Any]] = []

    async def stop_here(_request: Any) -> str:
        left.append(await sessions.find_one({"session_id": "s"}))
        return "ok"

    agent = agent_that(
        ToolCall("look", {"number": 1}),
        stop_here,
        "done",
        db=db,
        tools=[look],
        checkpoint="tool-batch",
        description="D",
        system_message_role="developer",
        additional_input=["Example."],
        dependencies={"n": 1},
        add_dependencies_to_context=True,
    )
    await agent.arun("go", run_id="r")
    # As a process leaves it that dies after its first round of tools.
    left[0]["active_runs"]["r"]["lease_until"] = 0
    await sessions.replace_one({"session_id": "s"}, left[0])
    run = await agent.acontinue_run("r")
    told = ["D", "Example.", 'go\n\n<additional context>\n{"n": 1}\n</additional context>', None, "result 1"]
    assert contents(agent.model.requests[2].messages) == told  # type: ignore[union-attr]
    assert run.content == "done"
    assert contents((await stored(agent))[0]) == [told[0], *told[2:], "done"]


async def test_all_of_it_crosses_the_wire_in_order(aimock: AIMock) -> None:
    aimock.script(Answer(tool_calls=(WireCall("look", {"number": 1}),)), Answer(text="one"), Answer(text="two"))
    agent = Agent(
        model=OpenAIChat(id="gpt-test", base_url=aimock.base_url, api_key="test", max_retries=0),
        db=InMemoryDb(),
        session_id="s",
        tools=[look],
        description="You look.",
        additional_input=["How?", {"role": "assistant", "content": "So."}],
        introduction="I look.",
        add_history_to_context=True,
        max_tool_calls_from_history=0,
        dependencies={"n": lambda: 1},
        add_dependencies_to_context=True,
    )
    await agent.arun("first")
    await agent.arun("second")
    added = '\n\n<additional context>\n{"n": 1}\n</additional context>'
    assert [(message["role"], message["content"]) for message in aimock.journal()[-1]["messages"]] == [
        ("system", "You look."),
        ("user", "How?"),
        ("assistant", "So."),
        ("assistant", "I look."),
        ("user", f"first{added}"),
        ("assistant", "one"),
        ("user", f"second{added}"),
    ]
    aimock.assert_finished()


async def test_texts_in_a_list_stand_on_lines_of_their_own_and_other_data_is_json() -> None:
    model = ScriptedModel("ok", "ok")
    agent = Agent(model=model)
    await agent.arun(["a", "b"])
    await agent.arun(["a", 1])
    assert model.asked == ["a\nb", '["a", 1]']
