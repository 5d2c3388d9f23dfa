"""A member that waits for a person: its team pauses with it, and goes on in any process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import RunIsPaused
from agno_mongo.run import RunContext, RunStatus, TeamRunOutput
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from tests.test_teams import give, member, sent, team_of, tree


class Till:
    """A tool that asks first, and remembers who has paid."""

    def __init__(self, **flags: Any) -> None:
        self.paid: list[Any] = []

        @tool(**(flags or {"requires_confirmation": True}))  # type: ignore[call-overload]
        def pay(run_context: RunContext, amount: int) -> str:
            """Pay.

            Args:
                amount: In euros.
            """
            self.paid.append(amount)
            run_context.state.increment("paid", amount)
            return f"paid {amount}"

        self.pay = pay

    def buyer(self, name: str, *script: Any, amount: int = 5, asks: bool = True) -> Agent:
        call = ToolCall("pay", {"amount": amount}, id="pay")
        return member(name, *([call] if asks else []), *script, tools=[self.pay])


async def test_a_member_that_asks_pauses_its_team_and_both_go_on_with_the_answer(db: MongoDb) -> None:
    till = Till()
    paused = await team_of(till.buyer("buyer"), script=[give("buyer")], db=db).arun("Buy it.", run_id="r")
    assert (paused.is_paused, till.paid) == (True, [])
    [asked] = paused.active_requirements
    assert (asked.member_agent_id, asked.member_agent_name) == ("buyer", "buyer")
    assert asked.member_run_id == (paused.tools or [])[0].child_run_id

    # Another process has the same team, and nothing else.
    buyer = till.buyer("buyer", "Bought.", asks=False)
    team = team_of(buyer, script=["It is yours."], db=db)
    session = await team.aget_session()
    assert session is not None
    assert session.runs == []
    [found] = session.paused_runs
    assert isinstance(found, TeamRunOutput)
    [requirement] = found.active_requirements
    assert requirement.tool_execution is not None
    assert (requirement.tool_execution.tool_args, requirement.member_run_id) == ({"amount": 5}, asked.member_run_id)
    requirement.confirm()
    done = await team.acontinue_run(run_id="r", requirements=found.requirements)
    assert (done.content, done.status, till.paid) == ("It is yours.", RunStatus.completed, [5])
    assert sent(buyer)[-2:] == [None, "paid 5"]
    assert sent(team)[-1] == "Bought."
    assert await tree(db) == [("buyer", "crew", "COMPLETED"), ("crew", None, "COMPLETED")]
    session = await team.aget_session()
    assert session is not None
    assert session.active_runs == {}
    assert session.session_state == {"paid": 5}
    assert (session.runs or [])[0].run_id == asked.member_run_id
    assert (await team.aget_session_metrics()).total_tokens == 4 * 15


async def test_the_answer_may_come_as_json_and_may_be_no(db: MongoDb) -> None:
    till = Till()
    paused = await team_of(till.buyer("buyer"), script=[give("buyer")], db=db).arun("Buy it.", run_id="r")
    told = json.loads(paused.to_json())["requirements"]
    told[0]["confirmation"], told[0]["confirmation_note"] = False, "too dear"
    buyer = till.buyer("buyer", "Not bought.", asks=False)
    done = await team_of(buyer, script=["No."], db=db).acontinue_run(run_id="r", requirements=told)
    assert (done.content, till.paid) == ("No.", [])
    assert sent(buyer)[-1] == "The user has rejected this call: too dear"


async def test_of_all_members_at_once_only_those_that_waited_are_asked_again(db: MongoDb) -> None:
    till = Till()

    def crew(*scripts: Any, script: Any) -> Team:
        first, second, third = scripts
        members = [
            till.buyer("first", *first, amount=1, asks=not first),
            till.buyer("second", *second, amount=2, asks=not second),
            member("third", *third),
        ]
        return team_of(*members, script=script, db=db, mode="broadcast")

    call = ToolCall("delegate_task_to_members", {"task": "Go."}, id="all")
    paused = await crew((), (), ("three",), script=[call]).arun("Go.", run_id="r")
    assert [one.member_agent_id for one in paused.active_requirements] == ["first", "second"]
    for one in paused.active_requirements:
        one.confirm()
    team = crew(("one",), ("two",), (), script=["All."])
    done = await team.acontinue_run(run_id="r", requirements=paused.requirements)
    assert (done.content, sorted(till.paid)) == ("All.", [1, 2])
    assert sent(team)[-1] == "first:\none\n\nsecond:\ntwo\n\nthird:\nthree"
    assert sorted(await tree(db)) == [
        ("crew", None, "COMPLETED"), ("first", "crew", "COMPLETED"), ("second", "crew", "COMPLETED"), ("third", "crew", "COMPLETED"),
    ]  # fmt: skip
    assert (await team.aget_session_state()) == {"paid": 3}
    assert (await team.aget_session_metrics()).total_tokens == 15 * 7


async def test_a_pause_goes_up_through_teams_within_teams(db: MongoDb) -> None:
    till = Till()

    def nested(buyer: Agent, inner: Any, outer: Any) -> Team:
        middle = Team([member("other", "hm"), buyer], name="middle", model=ScriptedModel(*inner))
        return team_of(middle, script=outer, db=db)

    calls = [give("other", call_id="x"), give("buyer", call_id="y")]
    paused = await nested(till.buyer("buyer"), [calls], [give("middle", call_id="x")]).arun("Buy it.", run_id="r")
    assert [one.member_agent_id for one in paused.active_requirements] == ["buyer"]
    found = await team_of(member("any"), script=[], db=db).aget_run_output("r")
    assert found is not None
    found.active_requirements[0].confirm()
    team = nested(till.buyer("buyer", "Bought.", asks=False), ["From the middle."], ["Done."])
    done = await team.acontinue_run(run_id="r", requirements=found.requirements)
    assert (done.content, till.paid) == ("Done.", [5])
    assert await tree(db) == [
        ("other", "middle", "COMPLETED"),
        ("buyer", "middle", "COMPLETED"),
        ("middle", "crew", "COMPLETED"),
        ("crew", None, "COMPLETED"),
    ]
    assert (await team.aget_session_metrics()).total_tokens == 15 * 7


async def test_a_member_and_a_tool_of_the_leader_may_wait_together_and_again(db: MongoDb) -> None:
    till = Till()

    def crew(buyer: Agent, *script: Any) -> Team:
        return team_of(buyer, script=script, db=db, tools=[till.pay])

    calls = [ToolCall("pay", {"amount": 7}, id="pay"), give("buyer")]
    paused = await crew(till.buyer("buyer"), calls).arun("Buy it.", run_id="r")
    assert [one.member_run_id is None for one in paused.active_requirements] == [True, False]
    paused.active_requirements[0].confirm()
    with pytest.raises(RunIsPaused) as caught:
        await crew(till.buyer("buyer")).acontinue_run(paused)
    assert caught.value.missing == (f"{(paused.requirements or [])[1].member_run_id}/pay",)
    paused.active_requirements[0].confirm()
    again = ToolCall("pay", {"amount": 9}, id="again")
    paused = await crew(till.buyer("buyer", again, asks=False)).acontinue_run(paused)
    assert (paused.is_paused, sorted(till.paid)) == (True, [5, 7])
    assert [one.id for one in paused.active_requirements] == ["again"]
    paused.active_requirements[0].confirm()
    done = await crew(till.buyer("buyer", "Bought.", asks=False), "Done.").acontinue_run(paused)
    assert (done.content, sorted(till.paid)) == ("Done.", [5, 7, 9])
    assert await tree(db) == [("buyer", "crew", "COMPLETED"), ("crew", None, "COMPLETED")]
    assert (await db.get_session("s")).session_state == {"paid": 21}


async def test_without_a_database_whoever_has_the_run_goes_on_with_it() -> None:
    till = Till()
    paused = await team_of(till.buyer("buyer"), script=[give("buyer")]).arun("Buy it.")
    paused.active_requirements[0].confirm()
    done = await team_of(till.buyer("buyer", "Bought.", asks=False), script=["Done."]).acontinue_run(paused)
    assert (done.content, till.paid, done.session_state) == ("Done.", [5], {"paid": 5})


async def test_input_that_does_not_fit_the_members_function_changes_nothing(db: MongoDb) -> None:
    till = Till(requires_user_input=True, user_input_fields=["amount"])
    paused = await team_of(till.buyer("buyer"), script=[give("buyer")], db=db).arun("Buy it.", run_id="r")
    paused.active_requirements[0].provide_user_input({"amount": "many"})
    team = team_of(till.buyer("buyer", "Bought.", asks=False), script=["Done."], db=db)
    with pytest.raises(RunIsPaused, match="cannot go on: The arguments of pay do not fit"):
        await team.acontinue_run(paused)
    found = await team.aget_run_output("r")
    assert found is not None
    found.active_requirements[0].provide_user_input({"amount": 3})
    assert (await team.acontinue_run(found)).content == "Done."
    assert till.paid == [3]


async def test_a_paused_team_that_is_cancelled_is_stored_with_its_member() -> None:
    db, till = InMemoryDb(), Till()
    team = team_of(till.buyer("buyer"), script=[give("buyer")], db=db)
    await team.arun("Buy it.", run_id="r")
    assert await team.acancel_run("r") is True
    assert await tree(db) == [("buyer", "crew", "CANCELLED"), ("crew", None, "CANCELLED")]


async def test_a_stream_ends_with_what_is_waited_for_and_goes_on_as_a_stream() -> None:
    db, till = InMemoryDb(), Till()
    team = team_of(till.buyer("buyer"), script=[give("buyer")], db=db)
    events: list[Any] = [event async for event in team.arun("Buy it.", stream=True)]
    assert [(event.event, event.is_paused) for event in events if event.is_paused] == [
        ("RunPaused", True),
        ("TeamRunPaused", True),
    ]
    for one in events[-1].active_requirements:
        one.confirm()
    team = team_of(till.buyer("buyer", "Bought.", asks=False), script=["Done."], db=db)
    stream = team.acontinue_run(run_id=events[-1].run_id, requirements=events[-1].requirements, stream=True, stream_events=True)
    names = [event.event async for event in stream]  # type: ignore[union-attr]
    assert names[:3] == ["TeamRunContinued", "TeamToolCallStarted", "RunContinued"]
    assert names[-1] == "TeamRunCompleted"


async def test_a_member_that_is_no_longer_there_is_told_to_the_leader() -> None:
    db, till = InMemoryDb(), Till()
    paused = await team_of(till.buyer("buyer"), script=[give("buyer")], db=db).arun("Buy it.", run_id="r")
    paused.active_requirements[0].confirm()
    team = team_of(member("another"), script=["Sorry."], db=db)
    assert (await team.acontinue_run(paused)).content == "Sorry."
    assert "There is no member with the id 'buyer'" in sent(team)[-1]
    assert await tree(db) == [("buyer", "crew", "CANCELLED"), ("crew", None, "COMPLETED")]
