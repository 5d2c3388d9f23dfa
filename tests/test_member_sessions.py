"""A team's members that keep their runs in sessions of their own, too."""

from __future__ import annotations

from typing import Any

from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from tests.test_commands import Recorder, recorded
from tests.test_teams import member, team_of

__all__ = ["recorded"]


def give(name: str, task: str = "Help.") -> ToolCall:
    return ToolCall("delegate_task_to_member", {"member_id": name, "task": task})


async def test_are_kept_only_if_the_team_is_asked_to(db: MongoDb) -> None:
    own = InMemoryDb()
    ann = member("ann", "a", "b", db=own, session_id="anns")
    await team_of(ann, script=[give("ann"), "Done."], db=db).arun("1")
    assert await own.get_session("anns") is None

    team = team_of(ann, script=[give("ann", "Again."), "Done."], db=db, store_member_sessions=True, user_id="john", session_id="t")
    run = await team.arun("2")
    kept = await own.get_session("anns", "agent", "john")
    [stored] = kept.runs
    [told] = run.member_responses
    assert (stored.run_id, stored.session_id, stored.parent_run_id) == (told.run_id, "anns", None)
    assert (stored.status, stored.input.input_content, stored.content) == (RunStatus.completed, "Again.", "b")
    assert [message.content for message in stored.messages] == [message.content for message in told.messages]
    assert kept.session_data["session_metrics"]["total_tokens"] == told.metrics.total_tokens
    assert (kept.active_runs, kept.component_id) == ({}, "ann")
    # The team has all of it, as without.
    inner, outer = (await db.get_session("t", user_id="john")).runs
    assert (inner.run_id, inner.parent_run_id, inner.session_id) == (told.run_id, outer.run_id, "t")


async def test_go_on_in_a_chat_with_the_member_itself(db: MongoDb) -> None:
    ann = member("ann", "Blue.", "I said blue.", db=db, session_id="anns", add_history_to_context=True)
    await team_of(ann, script=[give("ann", "A colour?"), "Done."], db=db, store_member_sessions=True).arun("1")
    await ann.arun("What did you say?")
    assert [message.content for message in ann.model.requests[1].messages] == ["A colour?", "Blue.", "What did you say?"]  # type: ignore[attr-defined]


async def test_have_the_runs_within_a_member_that_is_a_team(db: MongoDb) -> None:
    inner = Team([member("deep", "d")], name="inner", model=ScriptedModel(give("deep"), "i"), db=db, session_id="inners")
    await team_of(inner, script=[give("inner"), "Done."], db=db, store_member_sessions=True).arun("1")
    kept = await db.get_session("inners", "team")
    deep, own = kept.runs
    assert (deep.content, deep.parent_run_id, own.content, own.parent_run_id) == ("d", own.run_id, "i", None)
    assert {run.session_id for run in kept.runs} == {"inners"}
    assert kept.session_data["session_metrics"]["total_tokens"] == deep.metrics.total_tokens + own.metrics.total_tokens


async def test_have_failed_runs_too_and_none_that_waits(db: MongoDb) -> None:
    @tool(requires_confirmation=True)
    def buy() -> str:
        """Buy."""
        return "Bought."

    def broken(_: Any) -> str:
        raise RuntimeError("no")

    ann = member("ann", ToolCall("buy", id="c"), "bought", tools=[buy], db=db, session_id="anns")
    bob = member("bob", broken, db=db, session_id="bobs")
    team = team_of(ann, bob, script=[[give("ann"), give("bob")], "Done."], db=db, store_member_sessions=True)
    run = await team.arun("1")
    assert run.is_paused
    assert await db.get_session("anns") is None
    assert [one.status for one in (await db.get_session("bobs")).runs] == [RunStatus.error]
    for requirement in run.active_requirements:
        requirement.confirm()
    run = await team.acontinue_run(run_id=run.run_id, requirements=run.requirements)
    assert run.content == "Done."
    assert [one.content for one in (await db.get_session("anns")).runs] == ["bought"]
    assert [one.status for one in (await db.get_session("bobs")).runs] == [RunStatus.error]


async def test_are_of_members_with_a_database_and_a_session_only(db: MongoDb) -> None:
    own = InMemoryDb()
    ann, bob = member("ann", "a", db=own), member("bob", "b", session_id="bobs")
    await team_of(ann, bob, script=[give("ann"), give("bob"), "Done."], db=db, store_member_sessions=True).arun("1")
    assert await own.get_all_session_ids() == []
    assert await db.get_all_session_ids() == ["s"]


async def test_leave_the_state_to_the_team(db: MongoDb) -> None:
    def note(run_context: RunContext) -> str:
        """Note."""
        run_context.session_state["noted"] = True
        return "Noted."

    ann = member("ann", ToolCall("note"), "a", tools=[note], db=db, session_id="anns", session_state={"own": 1})
    team = team_of(ann, script=[give("ann"), "Done."], db=db, store_member_sessions=True)
    await team.arun("1")
    assert (await team.aget_session_state())["noted"] is True
    assert await ann.aget_session_state() == {"own": 1}


async def test_cost_two_commands_more_for_each_member(recorded: tuple[MongoDb, Recorder]) -> None:
    db, recorder = recorded
    ann = member("ann", "a", "b", db=db, session_id="anns")
    team = team_of(ann, script=[give("ann"), "Done.", give("ann"), "Done."], db=db, store_member_sessions=True)
    await team.arun("1")
    recorder.sent.clear()
    await team.arun("2")
    assert len(recorder.names) == 4


async def test_that_are_somebody_elses_are_told_to_the_leader_and_the_run_is_the_teams(db: MongoDb) -> None:
    await member("ann", "x", db=db, session_id="anns", user_id="mary").arun("hers")
    ann = member("ann", "a", db=db, session_id="anns")
    team = team_of(ann, script=[give("ann"), "Done."], db=db, store_member_sessions=True, user_id="john")
    run = await team.arun("1")
    assert run.content == "Done."
    [told] = [message.content for message in run.messages if message.role == "tool"]
    assert "SessionOwnedByAnotherUser" in told
    assert "hers" not in told
    assert len((await db.get_session("anns", user_id="mary")).runs) == 1
    assert [one.content for one in (await db.get_session("s", user_id="john")).runs] == ["a", "Done."]


async def test_are_kept_where_the_team_has_no_database(db: MongoDb) -> None:
    ann = member("ann", "a", db=db, session_id="anns")
    await team_of(ann, script=[give("ann"), "Done."], store_member_sessions=True).arun("1")
    assert [run.content for run in (await db.get_session("anns")).runs] == ["a"]
