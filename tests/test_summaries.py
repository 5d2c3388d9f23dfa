"""Summaries of sessions, and their names: made by a model, stored by one guarded command, and never at a run's cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, ModelError, SessionNotFound, SessionOwnedByAnotherUser
from agno_mongo.media import Image
from agno_mongo.messages import Message, Metrics
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.run import RunStatus
from agno_mongo.run.agent import SessionSummaryCompletedEvent, SessionSummaryStartedEvent
from agno_mongo.session import AgentSession, SessionSummary, SessionSummaryManager
from agno_mongo.summaries import name_for, parsed
from agno_mongo.testing import ScriptedModel

KEY = SessionKey(session_id="s", session_type=SessionType.AGENT, user_id=None)


def as_json(summary: str, *topics: str) -> str:
    return json.dumps({"summary": summary, "topics": topics})


def agent_on(db: MongoDb | None, *script: Any, about: Any = (), **settings: Any) -> tuple[Agent, ScriptedModel]:
    """An agent that speaks ``script``, and the model that sums up with ``about``."""
    summing_up = ScriptedModel(*about, id="summing-up")
    manager = settings.pop("session_summary_manager", None) or SessionSummaryManager()
    manager.model = summing_up
    defaults = {"session_id": "s", "enable_session_summaries": True, "summary_in_background": False}
    agent = Agent(model=ScriptedModel(*script), db=db, session_summary_manager=manager, **{**defaults, **settings})
    return agent, summing_up


class Saying:
    """A model whose answers end for some other reason than that all was said."""

    id, provider = "saying", "test"

    def __init__(self, said: str, finish_reason: str) -> None:
        self._delta = ModelDelta(content=said, finish_reason=finish_reason)

    async def respond(self, _request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        yield self._delta


async def settle(db: MongoDb) -> None:
    await (await db._connection()).background.finished()


class TestASummary:
    async def test_is_made_of_what_was_said_and_stored_after_the_run(self, db: MongoDb) -> None:
        agent, summing_up = agent_on(
            db, "Hello John.", about=[as_json("John says hello.", "greetings")], instructions="Be brief."
        )
        run = await agent.arun("I am John.", images=[Image(url="https://example.org/john.png")])
        assert run.status == RunStatus.completed
        [request] = summing_up.requests
        system, asked = request.messages
        assert "User: I am John. [an image]\nAssistant: Hello John." in system.get_content_string()
        assert "Be brief." not in system.get_content_string()
        assert asked.content == "Provide the summary of the conversation."
        summary = await agent.aget_session_summary()
        assert summary is not None
        assert (summary.summary, summary.topics, summary.run_count) == ("John says hello.", ["greetings"], 1)
        assert summary.updated_at is not None
        assert (await agent.aget_session_metrics()).total_tokens == 30, "those of the run and those of the summary"

    async def test_takes_in_what_is_new_and_the_one_before_it(self) -> None:
        agent, summing_up = agent_on(InMemoryDb(), "one", "two", about=[as_json("First."), as_json("First and second.")])
        await agent.arun("say one")
        await agent.arun("say two")
        told = summing_up.requests[1].messages[0].get_content_string()
        assert "<earlier>\nFirst.\n</earlier>" in told
        assert "say two" in told
        assert "say one" not in told
        summary = await agent.aget_session_summary()
        assert summary is not None
        assert (summary.summary, summary.run_count) == ("First and second.", 2)

    async def test_is_made_every_so_many_runs(self) -> None:
        agent, summing_up = agent_on(InMemoryDb(), *"12345", about=[as_json("a"), as_json("b")], summary_every=2)
        for number in range(5):
            await agent.arun(f"question {number}")
        assert len(summing_up.requests) == 2
        assert "question 0" in summing_up.requests[0].messages[0].get_content_string()
        assert "question 1" in summing_up.requests[0].messages[0].get_content_string()
        told = summing_up.requests[1].messages[0].get_content_string()
        assert ("question 1" in told, "question 2" in told, "question 3" in told) == (False, True, True)
        summary = await agent.aget_session_summary()
        assert summary is not None
        assert summary.run_count == 4

    async def test_says_so_in_the_stream_before_the_run_is_over(self) -> None:
        agent, _ = agent_on(InMemoryDb(), "Hello.", about=[as_json("A greeting.")])
        events = [event async for event in agent.arun("Hi", stream=True, stream_events=True)]
        assert [event.event for event in events[-3:]] == ["SessionSummaryStarted", "SessionSummaryCompleted", "RunCompleted"]
        assert isinstance(events[-3], SessionSummaryStartedEvent)
        assert isinstance(events[-2], SessionSummaryCompletedEvent)
        assert events[-2].session_summary.summary == "A greeting."

    async def test_in_the_background_costs_the_caller_no_time_and_close_waits_for_it(self, db: MongoDb) -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(_request: Any) -> str:
            asked.set()
            await go_on.wait()
            return as_json("At last.")

        agent, _ = agent_on(db, "Hello.", about=[slowly], summary_in_background=True)
        events = [event.event async for event in agent.arun("Hi", stream=True, stream_events=True)]
        assert events[-1] == "RunCompleted"
        assert "SessionSummaryStarted" not in events
        await asked.wait()
        assert await agent.aget_session_summary() is None
        go_on.set()
        await settle(db)
        summary = await agent.aget_session_summary()
        assert summary is not None
        assert summary.summary == "At last."

    async def test_that_hangs_does_not_keep_the_database_from_being_closed(self, caplog: pytest.LogCaptureFixture) -> None:
        async def never(_request: Any) -> str:
            await asyncio.sleep(3600)
            return "never"

        db = InMemoryDb()
        agent, _ = agent_on(db, "Hello.", about=[never], summary_in_background=True)
        await agent.arun("Hi")
        await asyncio.wait_for(db.close(timeout=0.05), 5)
        assert "summing up session 's': given up, it was not over after 0.05 s" in caplog.text
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        with pytest.raises(ConfigurationError, match="timeout is a number of seconds"):
            await db.close(timeout=-1)

    async def test_is_off_unless_asked_for_and_needs_a_database(self) -> None:
        for db, settings in ((InMemoryDb(), {"enable_session_summaries": False}), (None, {})):
            agent, summing_up = agent_on(db, "Hello.", **settings)
            await agent.arun("Hi")
            assert summing_up.requests == []

    async def test_by_the_agents_own_model_without_another(self) -> None:
        model = ScriptedModel("Hello.", as_json("A greeting."))
        agent = Agent(model=model, db=InMemoryDb(), session_id="s", enable_session_summaries=True, summary_in_background=False)
        await agent.arun("Hi")
        assert (await agent.aget_session_summary()).summary == "A greeting."  # type: ignore[union-attr]

    async def test_has_a_prompt_and_limits_of_ones_own(self) -> None:
        manager = SessionSummaryManager(
            session_summary_prompt="Sum up as a poem.", summary_request_message="Go.", conversation_limit=1
        )
        agent, summing_up = agent_on(InMemoryDb(), "Hello.", about=[as_json("Ode.")], session_summary_manager=manager)
        await agent.arun("x" * 20_000)
        system, asked = summing_up.requests[0].messages
        assert system.get_content_string().startswith("Sum up as a poem.")
        assert "User" not in system.get_content_string()
        assert asked.content == "Go."

    async def test_of_long_messages_takes_in_beginning_and_end(self) -> None:
        agent, summing_up = agent_on(InMemoryDb(), "ok", about=[as_json("Long.")])
        await agent.arun("begin " + "x" * 50_000 + " end")
        told = summing_up.requests[0].messages[0].get_content_string()
        assert "begin x" in told
        assert "x end" in told
        assert len(told) < 10_000

    async def test_of_a_session_that_never_had_one_reads_its_newest_runs_only(self) -> None:
        db = InMemoryDb()
        before, _ = agent_on(db, *["ok"] * 40, enable_session_summaries=False)
        for number in range(40):
            await before.arun(f"question {number};")
        agent, summing_up = agent_on(db, "ok", about=[as_json("Many questions.")])
        await agent.arun("last")
        told = summing_up.requests[0].messages[0].get_content_string()
        assert ("question 8;" in told, "question 9;" in told, "last" in told) == (False, True, True)
        assert (await agent.aget_session_summary()).run_count == 41  # type: ignore[union-attr]

    async def test_can_be_asked_for(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "one", "two", about=[as_json("Both.")], enable_session_summaries=False)
        with pytest.raises(SessionNotFound):
            await agent.agenerate_session_summary()
        await agent.arun("say one")
        await agent.arun("say two")
        summary = await agent.agenerate_session_summary()
        assert summary is not None
        assert (summary.summary, summary.run_count) == ("Both.", 2)
        again = await agent.agenerate_session_summary()
        assert again is not None
        assert again.summary == "Both.", "nothing is new, and the model is not asked"
        with pytest.raises(SessionOwnedByAnotherUser):
            await agent.agenerate_session_summary(user_id="ann")

    async def test_of_a_session_in_memory_is_made_by_the_manager_alone(self) -> None:
        agent, _ = agent_on(InMemoryDb(), "Hello.", enable_session_summaries=False)
        await agent.arun("Hi")
        session = await agent.aget_session()
        assert session is not None
        used = Metrics()
        manager = SessionSummaryManager(model=ScriptedModel(as_json("A greeting.")))
        summary = await manager.acreate_session_summary(session, used)
        assert session.get_session_summary() is summary
        assert used.total_tokens == 15
        assert await manager.acreate_session_summary(AgentSession(session_id="empty")) is None
        with pytest.raises(ConfigurationError, match="needs a model"):
            await SessionSummaryManager().acreate_session_summary(session)


class TestAFailingSummary:
    @pytest.mark.parametrize("in_background", [False, True])
    @pytest.mark.parametrize("failure", [ModelError("on strike"), KeyError("a mistake of somebody's model")])
    async def test_costs_the_run_nothing_and_is_tried_again(
        self, in_background: bool, failure: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        db = InMemoryDb()
        about = [failure, as_json("Both.")]
        agent, summing_up = agent_on(db, "one", "two", about=about, summary_in_background=in_background)
        run = await agent.arun("say one")
        await settle(db)
        assert (run.status, run.content) == (RunStatus.completed, "one")
        assert await agent.aget_session_summary() is None
        assert f"session 's' is not summed up: {type(failure).__name__}" in caplog.text
        await agent.arun("say two")
        await settle(db)
        assert "say one" in summing_up.requests[1].messages[0].get_content_string()
        assert (await agent.aget_session_summary()).run_count == 2  # type: ignore[union-attr]

    async def test_that_stops_in_mid_answer_is_none(self, caplog: pytest.LogCaptureFixture) -> None:
        class Cut(ScriptedModel):
            async def respond(self, request: ModelRequest) -> Any:
                yield ModelDelta(content='{"summary": "Half')

        agent, _ = agent_on(InMemoryDb(), "one")
        assert agent.session_summary_manager is not None
        agent.session_summary_manager.model = Cut()
        await agent.arun("say one")
        assert await agent.aget_session_summary() is None
        assert "stopped in mid-answer" in caplog.text

    @pytest.mark.parametrize(
        ("said", "finish_reason"),
        [
            ('{"summary": "They talked about', "length"),
            ('{"summary": "They', "content_filter"),
            ("I'm sorry, I can't help with that.", "refusal"),
            ('{"summary": " ", "topics": []}', "stop"),
            ("<think>What was it?</think>", "stop"),
        ],
    )
    async def test_that_is_cut_off_refused_or_empty_leaves_the_one_before_it(
        self, said: str, finish_reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        agent, _ = agent_on(InMemoryDb(), "one", "two", about=[as_json("Ann has two dogs.")])
        await agent.arun("I am Ann.")
        agent.session_summary_manager.model = Saying(said, finish_reason)
        await agent.arun("Goodbye.")
        summary = await agent.aget_session_summary()
        assert (summary.summary, summary.run_count) == ("Ann has two dogs.", 1)
        assert "session 's' is not summed up" in caplog.text

    async def test_of_a_run_that_failed_is_not_tried(self) -> None:
        agent, summing_up = agent_on(InMemoryDb(), ModelError("no"), "yes", about=[as_json("Yes.")])
        await agent.arun("first")
        assert summing_up.requests == []
        await agent.arun("second")
        assert "first" not in summing_up.requests[0].messages[0].get_content_string()

    def test_settings_that_cannot_work_are_refused(self) -> None:
        for settings in ({"summary_every": 0}, {"summary_in_background": 1}, {"session_summary_manager": "mine"}):
            with pytest.raises(ConfigurationError):
                Agent(model=ScriptedModel(), **settings)
        for limits in ({"last_n_runs": 0}, {"conversation_limit": -1}):
            with pytest.raises(ConfigurationError):
                SessionSummaryManager(**limits)  # type: ignore[arg-type]


class TestOverlapping:
    async def test_runs_end_with_a_summary_of_all_of_them(self, db: MongoDb) -> None:
        seen: list[int] = []

        async def count(request: Any) -> str:
            await asyncio.sleep(0.01)
            seen.append(request.messages[0].get_content_string().count("User: "))
            return as_json(f"{sum(seen)} questions.")

        agent, _ = agent_on(db, *["ok"] * 12, about=[count] * 12, summary_in_background=True)
        await agent.arun("first")
        await asyncio.gather(*(agent.arun(f"question {number}") for number in range(11)))
        await settle(db)
        summary = await agent.aget_session_summary()
        assert summary is not None
        assert (summary.run_count, sum(seen), summary.summary) == (12, 12, "12 questions.")
        assert len(seen) < 12, "one at a time, each of all that is new"

    async def test_an_older_summary_never_replaces_a_newer_one(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, *"123", enable_session_summaries=False)
        for _ in range(3):
            await agent.arun("go")
        newer = await db.store_summary(KEY, SessionSummary(summary="of three", run_count=3), Metrics())
        assert newer is not None
        kept = await db.store_summary(KEY, SessionSummary(summary="of two", run_count=2), Metrics())
        assert kept is not None
        assert kept.summary == "of three"
        assert (await agent.aget_session_summary()).summary == "of three"  # type: ignore[union-attr]

    async def test_a_session_deleted_meanwhile_stays_deleted(self, db: MongoDb) -> None:
        async def delete(_request: Any) -> str:
            await agent.adelete_session()
            return as_json("Too late.")

        agent, _ = agent_on(db, "ok", about=[delete])
        run = await agent.arun("go")
        assert run.status == RunStatus.completed
        assert await agent.aget_session() is None
        assert await db.store_summary(KEY, SessionSummary(summary="x", run_count=1), Metrics()) is None
        assert await db.count_sessions() == 0

    async def test_a_session_of_another_user_is_not_touched(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "ok", user_id="john", enable_session_summaries=False)
        await agent.arun("go")
        assert await db.store_summary(KEY, SessionSummary(summary="x", run_count=1), Metrics()) is None
        assert await agent.aget_session_summary() is None

    async def test_a_rewound_session_and_a_fork_tell_nothing_of_what_was_said_later(self, db: MongoDb) -> None:
        agent, _ = agent_on(db, "1", "2", "3", about=[as_json("of one"), as_json("of two"), as_json("anew")])
        first = await agent.arun("say one")
        await agent.arun("say two")
        await db.fork_session("s", at_run=first.run_id, new_session_id="fork")
        assert (await db.get_session("fork")).summary is None
        await db.fork_session("s", new_session_id="whole")
        assert (await db.get_session("whole")).summary.summary == "of two"
        await db.rewind_session("s", to_run=first.run_id)
        assert await agent.aget_session_summary() is None
        assert (await db.store_summary(KEY, SessionSummary(summary="of two", run_count=2), Metrics())) is None
        await agent.arun("say three")
        assert (await agent.aget_session_summary()).summary == "anew"  # type: ignore[union-attr]

    async def test_metrics_that_are_none_do_not_keep_it_from_being_stored(self, mongo_db: MongoDb) -> None:
        agent, _ = agent_on(mongo_db, "ok", enable_session_summaries=False)
        await agent.arun("go")
        connection = await mongo_db._connection()
        await connection.collection.update_one({"session_id": "s"}, {"$set": {"session_data.session_metrics": "many"}})
        stored = await mongo_db.store_summary(KEY, SessionSummary(summary="x", run_count=1), Metrics(input_tokens=1))
        assert stored is not None
        assert stored.summary == "x"


@pytest.mark.parametrize(
    ("text", "summary", "topics"),
    [
        ('{"summary": "s", "topics": ["a", "b"]}', "s", ["a", "b"]),
        ('```json\n{"summary": " s "}\n```', "s", None),
        ('Here it is: {"summary": "s", "topics": "a"} Good?', "s", None),
        ('{"summary": "s", "topics": ["a", 7, null]}', "s", ["a"]),
        ("They said hello.", "They said hello.", None),
        ('{"broken": ', '{"broken": ', None),
        ("} before {", "} before {", None),
    ],
)
def test_whatever_shape_the_answer_has_its_words_are_kept(text: str, summary: str, topics: list[str] | None) -> None:
    found = parsed(text)
    assert found is not None
    assert (found.summary, found.topics) == (summary, topics)
    assert parsed("") is parsed('{"summary": ""}') is None


class TestANameForTheSession:
    async def test_is_given_by_the_model_from_the_first_messages(self, db: MongoDb) -> None:
        script = ["Rome it is.", "Sunny.", '"A Trip To Rome"']
        agent, _ = agent_on(db, *script, enable_session_summaries=False, instructions="Be brief.")
        await agent.arun("Where shall I go?")
        await agent.arun("How is the weather?")
        session = await agent.aset_session_name(autogenerate=True)
        assert session.session_name == await agent.aget_session_name() == "A Trip To Rome"
        told = agent.model.requests[2].messages  # type: ignore[union-attr]
        assert "five words" in told[0].content
        assert told[1].content.startswith("User: Where shall I go?\nAssistant: Rome it is.")

    @pytest.mark.parametrize(
        ("answers", "name", "asked"),
        [
            (["one two three four five six", "Short Name"], "Short Name", 2),
            (["", "<think>long</think> Thought Out"], "Thought Out", 2),
            (["1 2 3 4 5 6"] * 3, "1 2 3 4 5", 3),
            ([""] * 3, "New Session", 3),
        ],
    )
    async def test_has_five_words_at_most(self, answers: list[str], name: str, asked: int) -> None:
        agent, _ = agent_on(InMemoryDb(), "ok", *answers, enable_session_summaries=False)
        await agent.arun("go")
        assert (await agent.aset_session_name(autogenerate=True)).session_name == name
        assert len(agent.model.requests) == 1 + asked  # type: ignore[union-attr]

    async def test_is_not_what_a_model_says_that_refuses_to_give_one(self) -> None:
        assert await name_for(Saying("I cannot do that.", "refusal"), [Message(role="user", content="hi")]) == "New Session"

    async def test_that_cannot_be_given_is_an_error_and_changes_nothing(self) -> None:
        agent, _ = agent_on(InMemoryDb(), "ok", ModelError("on strike"), enable_session_summaries=False)
        with pytest.raises(SessionNotFound):
            await agent.aset_session_name(autogenerate=True)
        await agent.arun("go")
        await agent.aset_session_name(session_name="mine")
        with pytest.raises(ModelError):
            await agent.aset_session_name(autogenerate=True)
        with pytest.raises(ConfigurationError, match="not both"):
            await agent.aset_session_name(session_name="x", autogenerate=True)
        with pytest.raises(SessionOwnedByAnotherUser):
            await agent.aset_session_name(autogenerate=True, user_id="ann")
        with pytest.raises(ConfigurationError, match="nothing was said yet"):
            await agent.agenerate_session_name(AgentSession(session_id="empty"))
        assert await agent.aget_session_name() == "mine"

    def test_has_a_blocking_twin(self) -> None:
        agent, _ = agent_on(InMemoryDb(), "ok", "A Name", enable_session_summaries=False)
        agent.run(Message(role="user", content="go"))
        assert agent.set_session_name(autogenerate=True).session_name == "A Name"
