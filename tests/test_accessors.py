"""What every component can be asked about its sessions: one suite over all kinds of component."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    RunNotFound,
    SessionNotFound,
    SessionOwnedByAnotherUser,
    SessionTypeMismatch,
)
from agno_mongo.run import RunStatus
from agno_mongo.session import SessionSummaryManager
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.workflow import Workflow

Make = Callable[..., Any]

ASK = ToolCall("delegate_task_to_member", {"member_id": "helper", "task": "Help."})


def an_agent(db: MongoDb | None, *answers: str, **settings: Any) -> Agent:
    return Agent(name="one", model=ScriptedModel(*answers), db=db, **{"session_id": "s", **settings})


def a_team(db: MongoDb | None, *answers: str, **settings: Any) -> Team:
    """Each answer is found with a member's help."""
    script = [line for answer in answers for line in (ASK, answer)]
    helper = Agent(name="helper", model=ScriptedModel(*["helped"] * len(answers)))
    return Team([helper], name="one", model=ScriptedModel(*script), db=db, **{"session_id": "s", **settings})


def a_workflow(db: MongoDb | None, *answers: str, **settings: Any) -> Workflow:
    """Each answer is a step's."""
    settings.pop("session_summary_manager", None)
    writer = Agent(name="writer", model=ScriptedModel(*answers))
    return Workflow(name="one", steps=[writer], db=db, **{"session_id": "s", **settings})


KINDS: dict[SessionType, Make] = {SessionType.AGENT: an_agent, SessionType.TEAM: a_team, SessionType.WORKFLOW: a_workflow}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.value)
def kind(request: pytest.FixtureRequest) -> SessionType:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def make(kind: SessionType) -> Make:
    return KINDS[kind]


def texts(messages: Any) -> list[Any]:
    return [message.content for message in messages if message.content and message.role in {"user", "assistant"}]


async def test_the_session_with_its_runs_and_messages(db: MongoDb, kind: SessionType, make: Make) -> None:
    one = make(db, "a", "b", "c")
    assert await one.aget_session() is None
    assert await one.aget_session_messages() == []
    runs = [await one.arun(text) for text in ("1", "2", "3")]
    session = await one.aget_session(session_id="s")
    assert (type(session).__mro__[1].TYPE, session.component_id, session.session_type) == (kind, "one", kind.value)
    assert [run.run_id for run in session.runs if run.parent_run_id is None] == [run.run_id for run in runs]
    assert texts(await one.aget_session_messages()) == ["1", "a", "2", "b", "3", "c"]
    assert texts(await one.aget_session_messages(last_n_runs=1)) == ["3", "c"]
    assert texts(await one.aget_chat_history(last_n_runs=2)) == ["2", "b", "3", "c"]
    assert texts(session.get_chat_history()) == ["1", "a", "2", "b", "3", "c"]


async def test_its_runs_one_by_one_and_by_pages(db: MongoDb, make: Make) -> None:
    one = make(db, "a", "b")
    first, last = await one.arun("1"), await one.arun("2")
    found = await one.aget_run_output(first.run_id)
    assert (type(found), found.content, found.status) == (type(first), "a", RunStatus.completed)
    assert (await one.aget_last_run_output()).run_id == last.run_id
    assert [run.run_id for run in await one.aget_runs() if run.parent_run_id is None] == [first.run_id, last.run_id]
    assert await one.aget_run_output("nothing") is None


async def test_its_state(db: MongoDb, make: Make) -> None:
    one = make(db, "a", session_state={"n": 1})
    with pytest.raises(SessionNotFound):
        await one.aget_session_state()
    await one.arun("1")
    assert await one.aget_session_state("s") == {"n": 1}
    assert await one.aupdate_session_state({"m": 2}) == {"n": 1, "m": 2}
    assert await one.aget_session_state() == {"n": 1, "m": 2}


async def test_its_name_given_or_made_by_the_model(db: MongoDb, kind: SessionType, make: Make) -> None:
    one = make(db, "a")
    await one.arun("1")
    assert await one.aget_session_name() is None
    assert (await one.aset_session_name(session_name="Trip")).session_name == "Trip"
    if kind is SessionType.WORKFLOW:
        with pytest.raises(ConfigurationError, match="no model that could name a session"):
            await one.aset_session_name(autogenerate=True)
        return
    one.model.script.append("A fine name")
    await one.aset_session_name(autogenerate=True)
    assert await one.aget_session_name() == "A fine name"


async def test_its_summary_and_its_tokens(db: MongoDb, kind: SessionType, make: Make) -> None:
    summing = SessionSummaryManager(model=ScriptedModel('{"summary": "They talked.", "topics": []}'))
    one = make(db, "a", session_summary_manager=summing)
    run = await one.arun("1")
    assert await one.aget_session_summary() is None
    if kind is SessionType.WORKFLOW:
        assert (await one.aget_session_metrics()).total_tokens > 0
        with pytest.raises(ConfigurationError, match="no model that could sum up a session"):
            await one.agenerate_session_summary()
        return
    assert (await one.agenerate_session_summary()).summary == "They talked."
    assert (await one.aget_session_summary()).summary == "They talked."
    inner = getattr(run, "member_responses", [])
    assert (await one.aget_session_metrics()).total_tokens >= sum(each.metrics.total_tokens for each in (run, *inner))


async def test_goes_when_it_is_deleted(db: MongoDb, make: Make) -> None:
    one = make(db, "a")
    await one.arun("1")
    assert await one.adelete_session() is True
    assert await one.aget_session() is None
    assert await one.adelete_session() is False


async def test_belongs_to_its_owner_and_to_its_kind(db: MongoDb, kind: SessionType, make: Make) -> None:
    await make(db, "a").arun("1", user_id="john")
    for user in (None, "mary"):
        for call in (
            lambda one: one.arun("2"), lambda one: one.aget_session(), lambda one: one.aget_session_messages(),
            lambda one: one.aget_session_state(), lambda one: one.aupdate_session_state({"n": 1}),
            lambda one: one.aset_session_name(session_name="x"), lambda one: one.aget_session_metrics(),
            lambda one: one.aget_session_summary(), lambda one: one.aget_runs(), lambda one: one.adelete_session(),
            lambda one: one.aget_run_output("r"), lambda one: one.aget_last_run_output(), lambda one: one.acancel_run("r"),
            lambda one: one.afork_session(),
        ):  # fmt: skip
            with pytest.raises(SessionOwnedByAnotherUser):
                await call(make(db, "b", user_id=user))
    for other, make_other in KINDS.items():
        if other is kind:
            continue
        for call in (
            lambda one: one.arun("2"), lambda one: one.aget_session(), lambda one: one.aget_session_state(),
            lambda one: one.afork_session(),
        ):  # fmt: skip
            with pytest.raises(SessionTypeMismatch):
                await call(make_other(db, "b", user_id="john"))


async def test_a_fork_of_it_goes_on_by_itself(db: MongoDb, make: Make) -> None:
    one = make(db, "a", "b", "c", user_id="john")
    first = await one.arun("1")
    await one.arun("2")
    assert await one.afork_session(at_run=first.run_id, new_session_id="other") == "other"
    await one.arun("3", session_id="other")
    assert texts(await one.aget_session_messages("other")) == ["1", "a", "3", "c"]
    assert texts(await one.aget_session_messages()) == ["1", "a", "2", "b"]
    assert (await one.aget_session("other")).user_id == "john"
    whole = await one.afork_session(source_session_id="s")
    assert texts(await one.aget_session_messages(whole)) == ["1", "a", "2", "b"]
    with pytest.raises(RunNotFound, match="nothing"):
        await one.afork_session(at_run="nothing")
    with pytest.raises(SessionNotFound, match="'nowhere'"):
        await one.afork_session("nowhere")
    with pytest.raises(ConfigurationError, match="not both"):
        await one.afork_session("s", source_session_id="s")


async def test_is_listed_with_those_of_its_kind(db: MongoDb, kind: SessionType) -> None:
    for number, make in enumerate(KINDS.values()):
        await make(db, "a", session_id=f"s{number}").arun("1")
    assert len(await db.get_sessions()) == len(KINDS)
    [session] = await db.get_sessions(session_type=kind)
    assert session.session_type == kind.value
    [session] = await db.get_sessions(session_type=kind, component_id="one", runs_limit=5)
    assert session.runs[-1].content == "a"


async def test_a_run_that_is_not_there_cannot_be_cancelled_or_gone_on_with(make: Make) -> None:
    one = make(InMemoryDb(), "a")
    run = await one.arun("1")
    assert await one.acancel_run(run.run_id) is False
    with pytest.raises(RunNotFound):
        await one.acancel_run("nothing")
    with pytest.raises(RunNotFound):
        await one.acontinue_run(run_id="nothing")


async def test_needs_a_database_and_a_session_to_be_asked_about(kind: SessionType, make: Make) -> None:
    with pytest.raises(ConfigurationError, match=rf"this {kind.value} has no db, .* to {kind.value.capitalize()}\(\)"):
        await make(None).aget_session()
    with pytest.raises(ConfigurationError, match="which session"):
        await make(InMemoryDb(), session_id=None).aget_session()


def test_every_accessor_has_a_twin_that_waits(make: Make) -> None:
    one = make(InMemoryDb(), "a")
    run = one.run("1")
    assert one.get_session(session_id="s").runs[-1].run_id == run.run_id
    assert texts(one.get_session_messages()) == texts(one.get_chat_history()) == ["1", "a"]
    assert one.get_session_state() == {}
    assert one.update_session_state({"n": 1}) == {"n": 1}
    assert one.set_session_name(session_name="x").session_name == one.get_session_name() == "x"
    assert one.get_session_summary() is None
    assert one.get_session_metrics().total_tokens > 0
    assert one.get_run_output(run.run_id).content == one.get_last_run_output().content == "a"
    assert one.get_runs()[-1].content == "a"
    with pytest.warns(DeprecationWarning, match="get_session_messages"):
        assert texts(one.get_messages_for_session()) == ["1", "a"]
    assert one.fork_session(new_session_id="fork") == "fork"
    assert one.delete_session() is True
