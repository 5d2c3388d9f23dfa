"""A team: a leader whose tools are its members, and one session for all of them."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from pydantic import BaseModel
from rich.console import Console

from agno_mongo import stopping
from agno_mongo.agent import Agent
from agno_mongo.db.base import SessionType
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, ModelError, SessionTypeMismatch
from agno_mongo.models.base import ModelRequest
from agno_mongo.run import RunContext, RunOutput, RunStatus, TeamRunOutput
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from tests.test_commands import Recorder, recorded
from tests.test_continuing import set_in_entry

__all__ = ["recorded"]


def give(member_id: str, task: str = "Do it.", call_id: str | None = None) -> ToolCall:
    more = {} if call_id is None else {"id": call_id}
    return ToolCall("delegate_task_to_member", {"member_id": member_id, "task": task}, **more)


def member(name: str, *script: Any, **settings: Any) -> Agent:
    return Agent(name=name, model=ScriptedModel(*script), **settings)


def team_of(*members: Any, script: Any, db: MongoDb | None = None, **settings: Any) -> Team:
    return Team(list(members), name="crew", model=ScriptedModel(*script), db=db, **{"session_id": "s", **settings})


def sent(actor: Any, request: int = 0) -> list[Any]:
    return [message.content for message in actor.model.requests[request].messages]


async def tree(db: MongoDb) -> list[tuple[str, str | None, str]]:
    """Who ran, within whose run, and how it ended, in the order in which they are stored."""
    session = await db.get_session("s")
    names = {run.run_id: getattr(run, "agent_name", None) or getattr(run, "team_name", None) for run in session.runs}
    return [(names[run.run_id], names.get(run.parent_run_id), str(run.status.value)) for run in session.runs]


class TestALeaderAndItsMembers:
    async def test_give_one_answer_and_every_run_is_stored_whole_before_the_one_that_it_is_within(self, db: MongoDb) -> None:
        writer, finder = member("writer", "A poem."), member("finder", "A fact.", role="Finds facts")
        team = team_of(writer, finder, script=[[give("finder", "Find."), give("writer", "Write.")], "Both."], db=db)
        run = await team.arun("Go.", user_id="john")
        assert (type(run), run.content, run.status, run.team_name) == (TeamRunOutput, "Both.", RunStatus.completed, "crew")
        assert await tree(db) == [
            ("finder", "crew", "COMPLETED"),
            ("writer", "crew", "COMPLETED"),
            ("crew", None, "COMPLETED"),
        ]
        session = await team.aget_session(user_id="john")
        assert session is not None
        assert (session.session_type, session.team_id, session.user_id) == ("team", "crew", "john")
        assert session.team_data is not None
        assert session.team_data["members"] == [
            {"agent_id": "writer", "name": "writer"},
            {"agent_id": "finder", "name": "finder"},
        ]
        found, written, _ = session.runs or []
        assert isinstance(found, RunOutput)
        assert (found.input and found.input.input_content, found.content, found.user_id) == ("Find.", "A fact.", "john")
        assert [message.role for message in found.messages or ()] == ["system", "user", "assistant"]
        assert sent(team, 1)[-2:] == ["A fact.", "A poem."]
        assert [(call.child_run_id, call.tool_call_error) for call in run.tools or ()] == [
            (found.run_id, False),
            (written.run_id, False),
        ]
        assert [one.content for one in run.member_responses] == ["A fact.", "A poem."]
        assert "member_responses" not in (await team.aget_run_output(run.run_id or "", user_id="john")).to_dict()  # type: ignore[union-attr]

    async def test_the_leader_is_told_who_they_are_and_the_members_only_their_task(self) -> None:
        finder = member("Fact Finder", "Found.", role="Finds facts", description="Careful.")
        team = team_of(finder, script=[give("fact-finder", "Find it."), "Done."], instructions="Be brief.", description="A crew.")
        await team.arun("Secret.")
        system = sent(team)[0]
        assert system.startswith("A crew.\n\nBe brief.\n\n<team>\n")
        assert '<member id="fact-finder" name="Fact Finder">\n  Role: Finds facts\n  Description: Careful.\n</member>' in system
        assert sent(finder) == ["Careful.\n\n<your_role>\nFinds facts\n</your_role>", "Find it."]
        tools = [tool["function"]["name"] for tool in team.model.requests[0].tools]  # type: ignore[union-attr]
        assert tools == ["delegate_task_to_member"]

    async def test_five_members_are_two_commands(self, recorded: tuple[MongoDb, Recorder]) -> None:
        db, recorder = recorded

        def count(run_context: RunContext) -> str:
            run_context.state.increment("n")
            return "counted"

        members = [member(f"m{n}", *[ToolCall("count"), "ok"] * 4, tools=[count]) for n in range(5)]
        script = [[give(f"m{n}") for n in range(5)], "All."] * 4
        team = team_of(*members, script=script, db=db, add_history_to_context=True)
        await team.arun("connects", session_id="another")
        recorder.sent.clear()
        for _ in range(3):
            await team.arun("Go.")
        assert recorder.names == ["findAndModify"] * 6
        assert await team.aget_session_state() == {"n": 15}
        assert [message for message in sent(team, -1) if message == "Go."] == ["Go."] * 3

    async def test_share_one_state_and_one_count_of_tokens(self, db: MongoDb) -> None:
        def note(run_context: RunContext, word: str) -> str:
            run_context.session_state[word] = run_context.session_state.get("topic")
            run_context.session_state.pop("old", None)
            return "noted"

        first = member("first", ToolCall("note", {"word": "a"}), "ok", tools=[note])
        second = member("second", ToolCall("note", {"word": "b"}), "ok", tools=[note], session_state={"own": 1})
        script = [give("first"), give("second"), ToolCall("note", {"word": "c"}), "Done."]
        team = team_of(first, second, script=script, db=db, tools=[note], session_state={"topic": "sea", "old": 1})
        run = await team.arun("Go.")
        assert run.session_state == {"topic": "sea", "own": 1, "a": "sea", "b": "sea", "c": "sea"}
        assert await team.aget_session_state() == run.session_state
        assert (await team.aget_session_metrics()).total_tokens == 8 * 15

    async def test_what_one_removes_stays_removed_whatever_the_other_removes_of_it(self, db: MongoDb) -> None:
        def whole(run_context: RunContext) -> None:
            """Remove all."""
            del run_context.session_state["a"]

        def part(run_context: RunContext) -> None:
            """Remove a part."""
            del run_context.session_state["a"]["x"]

        crew = [member(tool.__name__, ToolCall(tool.__name__), "ok", tools=[tool]) for tool in (whole, part)]
        script = [ToolCall("delegate_task_to_members", {"task": "Go."}), "done"]
        team = team_of(*crew, script=script, db=db, mode="broadcast", session_state={"a": {"x": 1}, "b": 2})
        await team.arun("Go.")
        assert await team.aget_session_state() == {"b": 2}

    async def test_may_be_teams_at_any_depth(self, db: MongoDb) -> None:
        deepest = member("deepest", "Deep.")
        middle = Team([deepest], name="middle", model=ScriptedModel(give("deepest"), "From the middle."), role="Digs")
        inner = Team([middle], name="inner", model=ScriptedModel(give("middle"), "From inside."))
        team = team_of(inner, script=[give("inner"), "All."], db=db)
        run = await team.arun("Go.")
        assert await tree(db) == [
            ("deepest", "middle", "COMPLETED"),
            ("middle", "inner", "COMPLETED"),
            ("inner", "crew", "COMPLETED"),
            ("crew", None, "COMPLETED"),
        ]
        assert run.member_responses[0].member_responses[0].member_responses[0].content == "Deep."
        listed = sent(team)[0]
        assert '<member id="inner" name="inner" type="team">\n  <member name="middle" type="team">\n    Role: Digs' in listed

    async def test_only_the_teams_own_runs_are_its_history(self, db: MongoDb) -> None:
        worker = member("worker", "w1", "w2", "w3")
        script = [give("worker"), "one", give("worker"), "two", give("worker"), "three"]
        team = team_of(worker, script=script, db=db, add_history_to_context=True, num_history_runs=2)
        for text in ("a", "b", "c"):
            await team.arun(text)
        assert [text for text in sent(team, 4) if text and not text.startswith("<team>")] == [
            "a",
            "w1",
            "one",
            "b",
            "w2",
            "two",
            "c",
        ]
        said = [message.content for message in await team.aget_chat_history() if message.content]
        assert said == ["a", "one", "b", "two", "c", "three"]
        assert len(sent(worker, 2)) == 1

    async def test_a_member_that_wants_its_history_is_shown_its_own_runs_in_this_session(self, db: MongoDb) -> None:
        worker = member("worker", "w1", "w2", add_history_to_context=True)
        other = member("other", "o1", "o2")
        script = [[give("worker", "t1"), give("other")], "one", [give("worker", "t2"), give("other")], "two"]
        team = team_of(worker, other, script=script, db=db)
        await team.arun("a")
        await team.arun("b")
        assert sent(worker, 1) == ["t1", "w1", "t2"]

    async def test_work_without_a_database(self) -> None:
        team = team_of(member("worker", "ok"), script=[give("worker"), "Done."])
        run = await team.arun("Go.")
        assert (run.content, [one.content for one in run.member_responses]) == ("Done.", ["ok"])

    def test_run_in_a_script(self) -> None:
        db = InMemoryDb()
        team = team_of(member("worker", "ok"), script=[give("worker"), "Done."], db=db)
        assert team.run("Go.").content == "Done."
        session = team.get_session()
        assert session is not None
        assert len(session.runs or ()) == 2


class TestAStream:
    async def test_has_the_leaders_events_and_the_members_each_with_whose_it_is(self) -> None:
        db = InMemoryDb()
        team = team_of(member("worker", "My answer."), script=[give("worker"), "All done."], db=db)
        events = [event async for event in team.arun("Go.", stream=True, stream_events=True, yield_run_output=True)]
        run = events.pop()
        names = [event.event for event in events]  # type: ignore[union-attr]
        inner = [
            "RunStarted", "ModelRequestStarted", "RunContent", "RunContent", "ModelRequestCompleted", "RunContentCompleted", "RunCompleted",
        ]  # fmt: skip
        assert names == [
            "TeamRunStarted", "TeamModelRequestStarted", "TeamModelRequestCompleted", "TeamToolCallStarted", *inner, "TeamToolCallCompleted",
            "TeamModelRequestStarted", "TeamRunContent", "TeamRunContent", "TeamModelRequestCompleted", "TeamRunContentCompleted",
            "TeamRunCompleted",
        ]  # fmt: skip
        assert isinstance(run, TeamRunOutput)
        for event in events:
            of_member = not event.event.startswith("Team")  # type: ignore[union-attr]
            assert (event.parent_run_id == run.run_id) is of_member  # type: ignore[union-attr]
            assert (getattr(event, "agent_name", None) or event.team_name) == ("worker" if of_member else "crew")  # type: ignore[union-attr]
        assert events[-1].member_responses == run.member_responses  # type: ignore[union-attr]

    async def test_has_what_is_said_without_every_step_and_only_the_leaders_words_if_asked(self) -> None:
        def fresh(**settings: Any) -> Team:
            return team_of(member("worker", "One."), script=[give("worker"), "Two."], **settings)

        names = [event.event async for event in fresh().arun("Go.", stream=True)]  # type: ignore[union-attr]
        assert [name for name in names if "RunContent" in name] == ["RunContent", "RunContentCompleted", "TeamRunContent"]
        quiet = fresh(stream_member_events=False)
        assert [event.event async for event in quiet.arun("Go.", stream=True)] == ["TeamRunContent"]  # type: ignore[union-attr]

    async def test_that_is_left_leaves_the_whole_tree_as_cancelled(self, db: MongoDb) -> None:
        team = team_of(member("worker", "One two three."), script=[give("worker"), "Two."], db=db)
        events = team.arun("Go.", stream=True)
        async for event in events:
            if event.event == "RunContent":  # type: ignore[union-attr]
                break
        await events.aclose()  # type: ignore[attr-defined]
        assert await tree(db) == [("worker", "crew", "CANCELLED"), ("crew", None, "CANCELLED")]

    async def test_keeps_each_runs_events_with_the_run(self) -> None:
        db = InMemoryDb()
        worker = member("worker", "One.", store_events=True)
        team = team_of(worker, script=[give("worker"), "Two."], db=db, store_events=True)
        async for _ in team.arun("Go.", stream=True):
            pass
        inner, outer = (await db.get_session("s")).runs
        assert {event.event.startswith("Team") for event in outer.events} == {True}
        assert {event.event.startswith("Team") for event in inner.events} == {False}
        assert outer.events[-1].content == "Two."
        assert type(outer.events[-1]).__name__ == "RunCompletedEvent"
        assert outer.events[-1].team_id == "crew"


class TestAMemberThatComesToNoAnswer:
    async def test_has_failed_and_the_leader_is_told(self, db: MongoDb) -> None:
        broken = member("broken", ModelError("overloaded", model="m"))
        team = team_of(broken, script=[give("broken"), "Sorry."], db=db)
        run = await team.arun("Go.")
        assert run.content == "Sorry."
        assert sent(team, 1)[-1] == "broken failed: overloaded"
        assert (run.tools or [])[0].tool_call_error is True
        assert await tree(db) == [("broken", "crew", "ERROR"), ("crew", None, "COMPLETED")]

    async def test_hangs_and_is_stored_as_cancelled_when_its_time_is_over(self, db: MongoDb) -> None:
        async def hang(_request: ModelRequest) -> str:
            await asyncio.sleep(60)
            return "late"

        team = team_of(member("slow", hang), script=[give("slow"), "Without it."], db=db, tool_timeout=0.05)
        assert (await team.arun("Go.")).content == "Without it."
        assert "had not finished after 0.05 seconds" in sent(team, 1)[-1]
        assert await tree(db) == [("slow", "crew", "CANCELLED"), ("crew", None, "COMPLETED")]

    async def test_was_cancelled_and_the_leader_goes_on(self, db: MongoDb) -> None:
        works = asyncio.Event()

        async def wait(_request: ModelRequest) -> str:
            works.set()
            await asyncio.sleep(60)
            return "late"

        team = team_of(member("slow", wait), script=[give("slow"), "Without it."], db=db)
        task = asyncio.create_task(team.arun("Go.", run_id="r"))
        await works.wait()
        [running] = [run for run in stopping_runs() if run != "r"]
        assert await team.acancel_run(running) is True
        assert (await asyncio.wait_for(task, 5)).content == "Without it."
        assert sent(team, 1)[-1] == "slow was cancelled before it came to an answer."
        assert await tree(db) == [("slow", "crew", "CANCELLED"), ("crew", None, "COMPLETED")]

    async def test_is_stopped_with_its_team(self, db: MongoDb) -> None:
        works = asyncio.Event()

        async def wait(_request: ModelRequest) -> str:
            works.set()
            await asyncio.sleep(60)
            return "late"

        inner = Team([member("slow", wait)], name="inner", model=ScriptedModel(give("slow")))
        team = team_of(inner, script=[give("inner")], db=db)
        task = asyncio.create_task(team.arun("Go.", run_id="r"))
        await works.wait()
        assert await team.acancel_run("r") is True
        assert (await asyncio.wait_for(task, 5)).is_cancelled
        assert await tree(db) == [("slow", "inner", "CANCELLED"), ("inner", "crew", "CANCELLED"), ("crew", None, "CANCELLED")]

    async def test_is_not_there(self) -> None:
        team = team_of(member("worker"), script=[give("wroker"), "Never mind."])
        await team.arun("Go.")
        assert sent(team, 1)[-1].startswith("There is no member with the id 'wroker'. The members are:\n<member id=\"worker\"")


def stopping_runs() -> list[str]:
    return list(stopping._RUNS)


class TestAMemberWithoutAModel:
    def test_has_the_teams_at_any_depth(self) -> None:
        deep, own = Agent(name="deep"), member("own", "by itself")
        inner = Team([deep], name="inner")
        script = [[give("inner"), give("own")], give("deep"), "deep said", "inner said", "All said."]
        team = team_of(inner, own, script=script)
        run = team.run("Go.")
        assert {one.content for one in run.member_responses} == {"inner said", "by itself"}
        assert (inner.model is team.model, deep.model is team.model, own.model is team.model) == (True, True, False)

    def test_has_one_that_was_assigned_to_it_before_and_keeps_it(self) -> None:
        poet = Agent(name="poet")
        poet.model = ScriptedModel("Roses.")
        run = team_of(poet, script=[give("poet"), "Done."]).run("Go.")
        assert run.member_responses[0].content == "Roses."

    def test_has_the_first_teams_if_it_is_in_two(self) -> None:
        poet = Agent(name="poet")
        first = team_of(poet, script=[give("poet"), "Roses.", "Done."])
        second = team_of(poet, script=[give("poet"), "Done, too."])
        first.run("Go.")
        first.model.script.append("Violets.")  # type: ignore[union-attr]
        run = second.run("Go.")
        assert run.member_responses[0].content == "Violets."


class TestATeamThatCannotBe:
    def test_has_no_members_or_what_is_none(self) -> None:
        model = ScriptedModel()
        with pytest.raises(ConfigurationError, match=r"team 'crew' has no members; pass members=\[Agent\(…\), …\]"):
            Team(name="crew", model=model)
        with pytest.raises(ConfigurationError, match="members= takes a list of agents and teams, or a function that makes one, not Agent"):
            Team(member("a"), model=model)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"members\[1\] is an Agent or a Team, not str: 'b'"):
            Team([member("a"), "b"], model=model)

    async def test_has_members_named_in_any_script(self) -> None:
        names = {"田中 さん": "田中-さん", "Мария_И": "мария-и", "José": "josé", "A b_C!": "a-b-c", "🎉": "agent"}
        members = [member(name, "done") for name in names]
        assert [one.id for one in members] == list(names.values())
        run = await team_of(*members, script=[[give(given) for given in names.values()], "All done."]).arun("Go.")
        assert [one.content for one in run.member_responses] == ["done"] * 5

    def test_has_two_members_of_one_id(self) -> None:
        model, one = ScriptedModel(), member("one")
        for pair in ([member("a b"), member("A-B")], [Agent(model=model), Agent(model=model)], [one, one]):
            with pytest.raises(
                ConfigurationError, match=f"team 'team' has two members with the id '{pair[0].id}'; .* pass id= or name="
            ):
                Team(pair, model=model)

    async def test_is_among_its_own_members(self) -> None:
        db = InMemoryDb()
        inner = Team([member("a")], name="inner", model=ScriptedModel())
        team = team_of(inner, script=[], db=db)
        inner.members.append(team)  # type: ignore[attr-defined]
        with pytest.raises(ConfigurationError, match="team 'crew' is among its own members: 'crew' → 'inner' → 'crew'"):
            await team.arun("Go.")
        assert await db.count_sessions() == 0

    async def test_has_lost_its_members(self) -> None:
        db = InMemoryDb()
        team = team_of(member("a"), script=[], db=db)
        team.members.clear()  # type: ignore[attr-defined]
        with pytest.raises(ConfigurationError, match="team 'crew' has no members"):
            await team.arun("Go.")
        assert await db.count_sessions() == 0

    @pytest.mark.parametrize(
        ("settings", "error", "words"),
        [
            ({"membrs": []}, TypeError, "Team has no setting 'membrs'; did you mean 'members'?"),
            ({"knowledge": 1}, TypeError, "knowledge bases are not there"),
            ({"max_iterations": 0}, ConfigurationError, "max_iterations is a whole number from 1"),
            ({"num_team_history_runs": "3"}, ConfigurationError, "num_team_history_runs is a whole number"),
            ({"share_member_interactions": 1}, ConfigurationError, "share_member_interactions= takes True or False"),
            ({"events_to_skip": ["Tea"]}, ConfigurationError, "events_to_skip= names 'Tea', which is no event"),
            ({"tools": [7]}, ConfigurationError, "tools= takes functions"),
        ],
    )
    def test_has_settings_that_cannot_work(self, settings: dict[str, Any], error: type[Exception], words: str) -> None:
        with pytest.raises(error) as caught:
            team_of(member("a"), script=[], **settings)
        assert words in str(caught.value)

    def test_has_a_tool_of_the_name_of_its_own(self) -> None:
        def delegate_task_to_member() -> str:
            return ""

        with pytest.raises(ConfigurationError, match="two tools are named 'delegate_task_to_member'"):
            team_of(member("a"), script=[], tools=[delegate_task_to_member])

    async def test_a_members_tool_that_runs_its_own_team_is_a_run_of_its_own(self, db: MongoDb) -> None:
        async def again() -> str:
            return str((await team.arun("Inner.", session_id="s")).content)

        worker = member("worker", ToolCall("again"), "ok", tools=[again])
        team = team_of(worker, script=[give("worker"), "From inside.", "From outside."], db=db)
        assert (await team.arun("Go.")).content == "From outside."
        assert await tree(db) == [("crew", None, "COMPLETED"), ("worker", "crew", "COMPLETED"), ("crew", None, "COMPLETED")]


class TestASessionOfATeam:
    async def test_is_no_agents(self, db: MongoDb) -> None:
        team = team_of(member("worker", "ok"), script=["Done."], db=db)
        await team.arun("Go.")
        with pytest.raises(SessionTypeMismatch):
            await Agent(model=ScriptedModel(), db=db, session_id="s").arun("Hi.")
        assert [session.session_id for session in await db.get_sessions(session_type=SessionType.TEAM)] == ["s"]

    async def test_remembers_through_the_archive(self) -> None:
        db = InMemoryDb()
        worker = member("worker", *["ok"] * 30)
        script = [text for n in range(30) for text in (give("worker"), f"Answer {n}.")]
        team = team_of(worker, script=script, db=db, add_history_to_context=True, num_history_runs=4)
        for n in range(30):
            await team.arun(f"Question {n}?")
        asked = [text for text in sent(team, -2) if text and str(text).startswith("Question")]
        assert asked == [f"Question {n}?" for n in range(25, 30)]
        assert len([run for run in await db.get_runs("s", limit=100) if run.parent_run_id is None]) == 30

    async def test_is_forked_and_taken_back_with_the_members_runs(self, db: MongoDb) -> None:
        team = team_of(member("worker", "ok", "ok"), script=[give("worker"), "one", give("worker"), "two"], db=db)
        first = await team.arun("1")
        await team.arun("2")
        fork = await db.fork_session("s", first.run_id, new_session_id="f")
        assert [run.parent_run_id is None for run in fork.runs or ()] == [False, True]
        assert (await team_of(member("a"), script=["three"], db=db, session_id="f").arun("3")).content == "three"
        back = await db.rewind_session("s", first.run_id)  # type: ignore[arg-type]
        assert [getattr(run, "content", None) for run in back.runs or ()] == ["ok", "one"]

    async def test_finds_its_last_run_behind_those_of_many_members(self) -> None:
        db = InMemoryDb()
        worker = member("worker", *["ok"] * 90)
        calls = [give("worker")] * 45
        team = team_of(worker, script=["first", calls, "second", calls, ModelError("no", model="m")], db=db)
        await team.arun("1")
        await team.arun("2")
        await team.arun("3")
        assert [run.content for run in await team.aget_runs(limit=2)][:1] == ["second"]
        assert [run.status.value for run in await team.aget_runs()] == ["COMPLETED", "COMPLETED", "ERROR"]
        last = await team.aget_last_run_output()
        assert last is not None
        assert last.status == RunStatus.error


class TestWhatALeaderHasLikeAnAgent:
    async def test_its_tools_hooks_and_functions_are_given_the_team(self) -> None:
        seen: list[Any] = []

        def look(team: Team, agent: Any) -> str:
            seen.append((team.name, agent))
            return "seen"

        def hook(team: Any, agent: Any = None) -> None:
            seen.append((team.name, agent))

        def instructions(team: Team) -> str:
            return f"You are {team.name}."

        team = team_of(
            member("a"),
            script=[ToolCall("look"), "Done."],
            tools=[look],
            pre_hooks=[hook],
            post_hooks=[hook],
            instructions=instructions,
        )
        await team.arun("Go.")
        assert seen == [("crew", None)] * 3
        assert sent(team)[0].startswith("You are crew.")

    async def test_a_schema_for_its_answer(self) -> None:
        class Answer(BaseModel):
            n: int

        team = team_of(member("a", "1"), script=[give("a"), "none", '{"n": 1}'], output_schema=Answer)
        assert (await team.arun("Go.")).content == Answer(n=1)

    async def test_a_limit_of_calls_and_its_own_past(self, db: MongoDb) -> None:
        script = ["one", [give("a"), give("a")], ToolCall("get_chat_history"), "two"]
        team = team_of(member("a", "ok"), script=script, db=db, tool_call_limit=1, read_chat_history=True)
        await team.arun("first")
        await team.arun("second")
        assert "This run may call tools 1 times" in sent(team, 2)[-1]
        team = team_of(member("a"), script=[ToolCall("get_chat_history"), "three"], db=db, read_chat_history=True)
        await team.arun("third")
        assert '"user": "first", "assistant": "one"' in sent(team, 1)[-1]

    async def test_as_many_turns_of_past_sessions_as_an_agent(self, db: MongoDb) -> None:
        members = [member(name, *["ok"] * 4) for name in "abc"]
        calls = [give(name, call_id=name) for name in "abc"]
        script = [said for turn in range(4) for said in (calls, f"turn {turn}")]
        past = team_of(*members, script=script, db=db)
        for turn in range(4):
            await past.arun(f"question {turn}", session_id="past")
        team = team_of(*members, script=[ToolCall("search_past_sessions"), "done"], db=db, search_past_sessions=True)
        run = await team.arun("What was it?")
        [found] = json.loads(run.tools[0].result)
        assert [chat["assistant"] for chat in found["runs"]] == ["turn 1", "turn 2", "turn 3"]

    async def test_checkpoints_with_the_runs_of_its_members(self, db: MongoDb) -> None:
        stored: list[Any] = []

        async def look(_request: ModelRequest) -> str:
            session = await db.get_session("s")
            stored.extend(session.unfinished_runs)
            return "Done."

        team = team_of(member("a", "ok"), script=[give("a"), look], db=db, checkpoint="tool-batch")
        await team.arun("Go.")
        [unfinished] = stored
        assert (unfinished.tools[0].result, [run.content for run in unfinished.member_responses]) == ("ok", ["ok"])

    async def test_its_run_goes_on_after_a_crash_with_what_members_had_come_to(self, db: MongoDb) -> None:
        async def crash(_request: ModelRequest) -> str:
            reached.set()
            await asyncio.sleep(60)
            return "never"

        reached = asyncio.Event()
        team = team_of(member("a", "from a"), script=[give("a"), crash], db=db, checkpoint="tool-batch")
        task = asyncio.create_task(team.arun("Go.", run_id="r"))
        await reached.wait()
        other = team_of(member("a"), script=["Done."], db=db, checkpoint="tool-batch")
        await set_in_entry(db, "r", lease_until=1.0)
        done = await other.acontinue_run(run_id="r")
        assert (done.content, sent(other)[-1]) == ("Done.", "from a")
        assert [run.content for run in done.member_responses] == ["from a"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await tree(db) == [("a", "crew", "COMPLETED"), ("crew", None, "COMPLETED")]


class TestOnTheTerminal:
    @pytest.mark.parametrize("stream", [True, False])
    def test_the_members_answers_are_shown_if_asked(self, stream: bool) -> None:
        def shown(asked: bool | None = None, **settings: Any) -> str:
            text = io.StringIO()
            team = team_of(member("poet", "Roses."), script=[give("poet", "A poem."), "Here it is."], **settings)
            console = Console(file=text, width=90, color_system=None)
            team.print_response("Go.", console=console, stream=stream, show_member_responses=asked)
            return text.getvalue()

        plain, full = shown(), shown(show_members_responses=True)
        for text in (plain, full):
            assert "delegate_task_to_member(member_id='poet', task='A poem.')" in text
            assert "Here it is." in text
        assert "Roses." not in plain
        assert full.index("Response of poet") < full.index("Roses.") < full.index("Here it is.")
        assert "Roses." in shown(asked=True)
        assert "Roses." not in shown(asked=False, show_members_responses=True)


class TestMembersMadeForARun:
    """By a function in the place of the list."""

    async def test_are_those_of_that_run(self) -> None:
        seen: list[Any] = []

        async def desk(team: Team, run_context: RunContext, session_state: dict[str, Any]) -> list[Agent]:
            seen.append((team.name, run_context.session_id, run_context.user_id, session_state))
            return [Agent(name=f"{run_context.user_id} desk", model=ScriptedModel("helped"))]

        ask = [ToolCall("delegate_task_to_member", {"member_id": f"{user}-desk", "task": "Help."}) for user in ("ann", "bob")]
        model = ScriptedModel(ask[0], "For Ann.", ask[1], "For Bob.")
        team = Team(members=desk, name="office", model=model, db=InMemoryDb())
        for user in ("ann", "bob"):
            run = await team.arun("go", user_id=user, session_id=user, session_state={"for": user})
            assert [member.agent_name for member in run.member_responses] == [f"{user} desk"]
        assert seen == [("office", user, user, {"for": user}) for user in ("ann", "bob")]
        assert callable(team.members)
        session = await team.aget_session("ann", user_id="ann")
        assert [member["name"] for member in session.team_data["members"]] == ["ann desk"]

    async def test_keep_the_session_that_the_team_has_made_up(self) -> None:
        team = Team(members=lambda: [Agent(name="a", model=ScriptedModel())], model=ScriptedModel("one", "two"), db=InMemoryDb())
        first, second = await team.arun("go"), await team.arun("on")
        assert first.session_id == second.session_id
        assert len(await team.aget_runs()) == 2

    async def test_go_on_with_a_run_that_waits(self) -> None:
        @tool(requires_confirmation=True)
        def send() -> str:
            """Send."""
            return "sent"

        scripts = [[ToolCall("send")], ["It is sent."]]

        def desk() -> list[Agent]:
            return [Agent(name="helper", model=ScriptedModel(*scripts.pop(0)), tools=[send])]

        ask = ToolCall("delegate_task_to_member", {"member_id": "helper", "task": "Send it."})
        team = Team(members=desk, model=ScriptedModel(ask, "Done."), db=InMemoryDb(), session_id="s")
        run = await team.arun("go")
        run.active_requirements[0].confirm()
        assert (await team.acontinue_run(run)).content == "Done."

    async def test_may_be_those_of_a_team_within_a_team(self) -> None:
        inner_ask = ToolCall("delegate_task_to_member", {"member_id": "helper", "task": "Help."})
        helpers = [Agent(name="helper", model=ScriptedModel("helped"))]
        inner = Team(members=lambda: helpers, name="inner", model=ScriptedModel(inner_ask, "inner done"))
        ask = ToolCall("delegate_task_to_member", {"member_id": "inner", "task": "Go."})
        run = await Team([inner], model=ScriptedModel(ask, "Done."), db=InMemoryDb(), session_id="s").arun("go")
        assert run.member_responses[0].member_responses[0].content == "helped"

    @pytest.mark.parametrize(
        ("made", "words"), [([], "has no members"), ("helper", "takes a list"), ([7], "is an Agent or a Team")]
    )
    async def test_that_are_none_are_refused_before_anything_is_stored(self, made: Any, words: str) -> None:
        team = Team(members=lambda: made, model=ScriptedModel(), db=InMemoryDb(), session_id="s")
        with pytest.raises(ConfigurationError, match=words):
            await team.arun("go")
        assert await team.aget_session() is None
