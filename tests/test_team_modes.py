"""The ways in which a leader works with its members, and what members are shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, ModelError
from agno_mongo.media import Image
from agno_mongo.models.base import ModelRequest
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.team import Team, TeamMode
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.test_teams import give, member, sent, team_of, tree

TO_ALL = ToolCall("delegate_task_to_members", {"task": "Say."})


class Poem(BaseModel):
    title: str


class TestRoute:
    async def test_gives_the_members_answer_as_the_teams_and_asks_the_leader_once(self, db: MongoDb) -> None:
        team = team_of(member("poet", "Roses."), member("cook"), script=[give("poet", "A poem.")], db=db, mode="route")
        run = await team.arun("A poem, please.")
        assert (run.content, run.status, len(team.model.requests)) == ("Roses.", RunStatus.completed, 1)  # type: ignore[union-attr]
        assert await tree(db) == [("poet", "crew", "COMPLETED"), ("crew", None, "COMPLETED")]
        assert (await db.get_session("s")).runs[-1].content == "Roses."

    async def test_streams_the_members_words_as_the_teams(self) -> None:
        team = team_of(member("poet", "Roses are red."), script=[give("poet")], mode="route", stream_member_events=False)
        events: list[Any] = [event async for event in team.arun("Go.", stream=True, yield_run_output=True)]
        assert [event.content for event in events[:-1]] == ["Roses ", "are ", "red."]
        assert {event.event for event in events[:-1]} == {"TeamRunContent"}
        assert events[-1].content == "Roses are red."

    async def test_hands_the_schema_on_and_the_object_back(self, db: MongoDb) -> None:
        poet = member("poet", Poem(title="Roses"))
        team = team_of(poet, script=[give("poet")], db=db, mode=TeamMode.route, output_schema=Poem)
        run = await team.arun("Go.")
        assert (run.content, run.content_type) == (Poem(title="Roses"), "Poem")
        assert poet.model.requests[0].response_format is not None  # type: ignore[union-attr]
        assert (await db.get_session("s")).runs[-1].content == {"title": "Roses"}

    async def test_lets_the_leader_choose_again_when_a_member_fails(self) -> None:
        broken = member("broken", ModelError("overloaded", model="m"))
        team = team_of(broken, member("poet", "Roses."), script=[give("broken"), give("poet")], respond_directly=True)
        assert (await team.arun("Go.")).content == "Roses."

    async def test_may_be_answered_by_the_leader_alone(self) -> None:
        assert (await team_of(member("poet"), script=["Hello."], mode="route").arun("Hi.")).content == "Hello."


class TestBroadcast:
    async def test_has_all_members_work_at_once_on_one_state(self, db: MongoDb) -> None:
        here, together = 0, asyncio.Event()

        async def meet(_request: ModelRequest) -> ToolCall:
            nonlocal here
            here += 1
            if here == 4:
                together.set()
            await asyncio.wait_for(together.wait(), 5)
            return ToolCall("add")

        def add(run_context: RunContext) -> str:
            run_context.state.increment("n")
            run_context.state.append("who", run_context.run_id)
            run_context.session_state[f"key {run_context.session_state['n']}"] = 1
            run_context.session_state.pop("gone", None)
            return "added"

        members = [member(f"m{n}", meet, f"I am {n}.", tools=[add]) for n in range(4)]
        state = {"n": 0, "who": [], "gone": 1}
        team = team_of(*members, script=[TO_ALL, "All four."], db=db, delegate_to_all_members=True, session_state=state)
        assert (await team.arun("Go.")).content == "All four."
        stored = await team.aget_session_state()
        assert (stored["n"], len(stored["who"]), "gone" in stored) == (4, 4, False)
        assert sent(team, 1)[-1] == "\n\n".join(f"m{n}:\nI am {n}." for n in range(4))
        assert {who for who, _, _ in (await tree(db))[:4]} == {"m0", "m1", "m2", "m3"}

    async def test_tells_who_failed_and_who_was_late_beside_the_others(self, db: MongoDb) -> None:
        async def hang(_request: ModelRequest) -> str:
            await asyncio.sleep(60)
            return "late"

        members = [member("good", "Here."), member("slow", hang), member("broken", ModelError("overloaded", model="m"))]
        team = team_of(*members, script=[TO_ALL, "So."], db=db, mode="broadcast", tool_timeout=2)
        await team.arun("Go.")
        assert sent(team, 1)[-1] == (
            "good:\nHere.\n\nslow:\nslow had not finished after 2 seconds.\n\nbroken:\nbroken failed: overloaded"
        )
        assert sorted(await tree(db)) == [
            ("broken", "crew", "ERROR"), ("crew", None, "COMPLETED"), ("good", "crew", "COMPLETED"), ("slow", "crew", "CANCELLED"),
        ]  # fmt: skip

    async def test_fails_as_a_call_only_if_nobody_answered(self) -> None:
        broken = [member(f"m{n}", ModelError("no", model="m")) for n in range(2)]
        run = await team_of(*broken, script=[TO_ALL, "Sorry."], mode="broadcast").arun("Go.")
        assert [call.tool_call_error for call in run.tools or ()] == [True]

    async def test_raises_what_is_no_error_of_a_members_where_the_run_is_read(self) -> None:
        class Broken(BaseException):
            pass

        async def fails() -> str:
            raise Broken

        members = [member("a", ToolCall("fails"), tools=[fails]), member("b", "ok")]
        with pytest.raises(Broken):
            await asyncio.wait_for(team_of(*members, script=[TO_ALL], mode="broadcast").arun("Go."), 5)

    async def test_streams_all_members_and_stops_all_when_the_reader_leaves(self) -> None:
        db, ended = InMemoryDb(), []

        async def hang(_request: ModelRequest) -> str:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(1)
            return "late"

        team = team_of(member("a", hang), member("b", hang), member("c", "One."), script=[TO_ALL], db=db, mode="broadcast")
        events = team.arun("Go.", stream=True)
        async for event in events:
            if event.event == "RunCompleted":  # type: ignore[union-attr]
                break
        await events.aclose()  # type: ignore[attr-defined]
        assert ended == [1, 1]
        assert sorted(status for _, _, status in await tree(db)) == ["CANCELLED"] * 3 + ["COMPLETED"]


class TestWhatMembersAreShown:
    async def test_is_what_others_were_asked_and_answered_in_this_run(self) -> None:
        first, second = member("first", "Blue."), member("second", "Yes.")
        script = [give("first", "Which?"), give("second", "Sure?"), "Done."]
        await team_of(first, second, script=script, share_member_interactions=True).arun("Go.")
        assert sent(first) == ["Which?"]
        assert sent(second) == [
            "<member_interaction_context>\nMember: first\nTask: Which?\nAnswer: Blue.\n</member_interaction_context>\n\nSure?"
        ]

    async def test_is_the_teams_earlier_runs(self, db: MongoDb) -> None:
        worker = member("worker", *["ok"] * 4)
        script = [text for n in range(4) for text in (give("worker", f"Task {n}."), f"Answer {n}.")]
        team = team_of(worker, script=script, db=db, add_team_history_to_members=True, num_team_history_runs=2)
        for n in range(4):
            await team.arun(f"Question {n}?")
        assert sent(worker) == ["Task 0."]
        assert sent(worker, 3) == [
            "<team_history_context>\nUser: Question 1?\nTeam: Answer 1.\n\nUser: Question 2?\nTeam: Answer 2.\n</team_history_context>\n\nTask 3."
        ]
        assert len(sent(team, 6)) == 2  # the leader itself is shown no history

    async def test_is_the_users_own_input_if_the_leader_is_not_to_phrase_it(self) -> None:
        worker = member("worker", "ok")
        team = team_of(worker, script=[give("worker", "short"), "Done."], determine_input_for_members=False)
        await team.arun("All of my words.")
        assert sent(worker) == ["All of my words."]
        assert "the user's own words in place of your text" in sent(team)[0]

    async def test_has_the_images_the_dependencies_and_the_metadata_of_the_run(self, db: MongoDb) -> None:
        seen: dict[str, Any] = {}

        def look(run_context: RunContext, images: list[Image]) -> str:
            seen.update(dependencies=run_context.dependencies, metadata=run_context.metadata, images=len(images))
            return "seen"

        worker = member("worker", ToolCall("look"), "ok", tools=[look])
        team = team_of(worker, script=[give("worker"), "Done."], db=db, dependencies={"shop": lambda: "open"}, metadata={"a": 1})
        image = Image(content=b"\x89PNG\r\n\x1a\n" + b"0" * 40)
        await team.arun("Go.", images=[image], metadata={"b": 2})
        assert seen == {"dependencies": {"shop": "open"}, "metadata": {"a": 1, "b": 2}, "images": 1}

    async def test_may_be_looked_up_by_the_leader(self) -> None:
        def cook() -> str:
            return "soup"

        script = [ToolCall("get_member_information"), "Done."]
        settings: dict[str, Any] = {"get_member_information_tool": True, "add_member_tools_to_context": True}
        team = team_of(member("chef", tools=[cook]), script=script, **settings)
        await team.arun("Go.")
        assert sent(team, 1)[-1] == '<member id="chef" name="chef">\n  Tools: cook\n</member>'
        assert "get_member_information shows" in sent(team)[0]


class TestWhatIsStored:
    async def test_has_the_members_runs_a_second_time_only_if_asked(self, db: MongoDb) -> None:
        inner = Team([member("deep", "d")], name="inner", model=ScriptedModel(give("deep"), "i"), store_member_responses=True)
        team = team_of(inner, script=[give("inner"), "Done."], db=db, store_member_responses=True)
        await team.arun("Go.", run_id="r")
        found = await team.aget_run_output("r")
        assert found is not None
        [of_inner] = found.member_responses
        assert (of_inner.content, of_inner.member_responses[0].content) == ("i", "d")
        assert of_inner.parent_run_id == "r"


class TestTheMode:
    @pytest.mark.parametrize(
        ("settings", "mode"),
        [
            ({}, "coordinate"),
            ({"respond_directly": True}, "route"),
            ({"delegate_to_all_members": True}, "broadcast"),
            ({"respond_directly": True, "delegate_to_all_members": True}, "broadcast"),
            ({"mode": "tasks"}, "tasks"),
            ({"mode": TeamMode.coordinate, "respond_directly": True}, "coordinate"),
        ],
    )
    def test_is_what_the_settings_mean(self, settings: dict[str, Any], mode: str) -> None:
        team = team_of(member("m"), script=[], **settings)
        assert team.mode is TeamMode(mode)
        assert (team.respond_directly, team.delegate_to_all_members) == (mode == "route", mode == "broadcast")

    def test_has_an_older_name(self) -> None:
        with pytest.warns(DeprecationWarning, match=r"Team\(mode='collaborate'\) is an older name of Team\(mode='broadcast'\)"):
            assert team_of(member("m"), script=[], mode="collaborate").mode is TeamMode.broadcast

    def test_is_refused_if_it_is_none(self) -> None:
        with pytest.raises(ConfigurationError, match="mode is one of 'coordinate', 'route', 'broadcast', 'tasks', not 'anarchy'"):
            team_of(member("m"), script=[], mode="anarchy")
