"""What the store promises, the same over mongomock-motor, mongod through PyMongo, and mongod through Motor."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db import sessions, values
from agno_mongo.db import state as states
from agno_mongo.db.base import SessionType
from agno_mongo.db.keys import NO_USER, SessionKey
from agno_mongo.db.leases import Claim
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.store import RunBegin, RunBegun, RunEnd
from agno_mongo.errors import (
    ConfigurationError,
    CorruptSession,
    RunAlreadyFinished,
    SessionChanged,
    SessionNotFound,
    SessionOwnedByAnotherUser,
    SessionTypeMismatch,
    UserRequired,
)
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.session import AgentSession, TeamSession, WorkflowSession
from agno_mongo.testing import ScriptedModel


def key_of(session_id: str = "s", user_id: str | None = None, kind: SessionType = SessionType.AGENT) -> SessionKey:
    return SessionKey(session_id=session_id, session_type=kind, user_id=user_id)


async def begin(
    db: MongoDb,
    session_id: str = "s",
    run_id: str | None = None,
    *,
    user_id: str | None = None,
    kind: SessionType = SessionType.AGENT,
    state: dict[str, Any] | None = None,
    runs_wanted: int = 5,
    lease: float = 60,
) -> tuple[str, RunBegun]:
    chosen = run_id or str(uuid4())
    begun = await db.begin_run(
        RunBegin(
            key=key_of(session_id, user_id, kind),
            run_id=chosen,
            input="hello",
            state=values.encode(state or {}, path="state"),
            metadata=None,
            component_id="a",
            component={"agent_id": "a"},
            runs_wanted=runs_wanted,
            lease=lease,
            reused_id=run_id is not None,
        )
    )
    return chosen, begun


async def finish(
    db: MongoDb,
    run_id: str,
    begun: RunBegun,
    *,
    state: dict[str, Any] | None = None,
    tokens: int = 0,
    policy: Any = "ours",
) -> Any:
    session = begun.session
    record = RunOutput(
        run_id=run_id,
        agent_id="a",
        session_id=session.session_id,
        input="hello",
        content="hi",
        status=RunStatus.completed,
        messages=[],
    )
    after = begun.state if state is None else values.encode(state, path="state")
    return await db.finish_run(
        RunEnd(
            key=key_of(session.session_id, session.user_id, session.TYPE),
            run_id=run_id,
            runs=[values.encode(record.to_dict(), path="run")],
            changes=states.difference(begun.state, after),
            counters={"input_tokens": tokens, "total_tokens": tokens},
            state_revision=begun.state_revision,
            on_state_conflict=policy,
        )
    )


async def turn(db: MongoDb, session_id: str = "s", **options: Any) -> str:
    at_end = {name: options.pop(name) for name in ("tokens", "policy") if name in options}
    changes = options.pop("change", None)
    run_id, begun = await begin(db, session_id, **options)
    state = None if changes is None else {**values.decode(begun.state), **changes}
    await finish(db, run_id, begun, state=state, **at_end)
    return run_id


class TestARun:
    async def test_makes_its_session_and_stores_the_input_before_it_finishes(self, db: MongoDb) -> None:
        run_id, begun = await begin(db, user_id="john", state={"n": 1})
        assert begun.state == {"n": 1}
        stored = await db.get_session("s")
        assert stored.user_id == "john"
        assert stored.session_type == "agent"
        assert stored.runs == []
        assert stored.active_runs[run_id].input == "hello"
        assert stored.get_run(run_id).status == RunStatus.running

    async def test_is_in_the_session_once_it_has_finished(self, db: MongoDb) -> None:
        run_id, begun = await begin(db)
        await finish(db, run_id, begun, tokens=7)
        stored = await db.get_session("s")
        assert [run.run_id for run in stored.runs] == [run_id]
        assert stored.active_runs == {}
        assert stored.run_count == 1
        assert stored.session_data["session_metrics"] == {"input_tokens": 7, "total_tokens": 7}

    async def test_is_shown_the_newest_runs_only(self, db: MongoDb) -> None:
        ids = [await turn(db) for _ in range(5)]
        _, begun = await begin(db, runs_wanted=2)
        assert [run.run_id for run in begun.session.runs or []] == ids[-2:]
        _, begun = await begin(db, runs_wanted=0)
        assert not begun.session.runs

    async def test_that_finishes_twice_is_stored_and_counted_once(self, db: MongoDb) -> None:
        run_id, begun = await begin(db)
        for _ in range(3):
            await finish(db, run_id, begun, state={"n": 1}, tokens=7)
        stored = await db.get_session("s")
        assert len(stored.runs) == 1
        assert stored.session_data["session_metrics"]["total_tokens"] == 7

    async def test_that_begins_twice_has_begun_once(self, db: MongoDb) -> None:
        await begin(db, run_id="r")
        run_id, begun = await begin(db, run_id="r")
        await finish(db, run_id, begun)
        stored = await db.get_session("s")
        assert [run.run_id for run in stored.runs] == ["r"]
        assert stored.active_runs == {}

    async def test_cannot_begin_again_once_it_has_finished(self, db: MongoDb) -> None:
        await turn(db, run_id="r")
        with pytest.raises(RunAlreadyFinished, match="already has a finished run 'r'") as caught:
            await begin(db, run_id="r")
        assert caught.value.run_id == "r"
        assert (await db.get_session("s")).active_runs == {}

    async def test_of_a_dead_process_is_shown_as_interrupted(self, db: MongoDb) -> None:
        run_id, _ = await begin(db, lease=-60)
        stored = await db.get_session("s")
        assert [run.run_id for run in stored.interrupted_runs] == [run_id]
        assert stored.interrupted_runs[0].status == RunStatus.interrupted
        assert stored.interrupted_runs[0].input.input_content == "hello"

    async def test_keeps_its_lease_as_long_as_it_is_renewed(self, db: MongoDb) -> None:
        run_id, _ = await begin(db, lease=-60)
        assert await db.renew_lease(Claim(key=key_of(), run_id=run_id), 60)
        assert (await db.get_session("s")).interrupted_runs == []
        assert not await db.renew_lease(Claim(key=key_of(), run_id="another"), 60)

    @pytest.mark.parametrize("run_id", ["a.b", "$x", "%2E", "ü 💬", "a" * 300])
    async def test_may_have_any_text_as_its_id(self, db: MongoDb, run_id: str) -> None:
        await turn(db, run_id=run_id)
        assert [run.run_id for run in (await db.get_session("s")).runs] == [run_id]

    async def test_that_outlives_its_session_does_not_bring_it_back(self, db: MongoDb) -> None:
        run_id, begun = await begin(db)
        await db.delete_session("s")
        with pytest.raises(SessionNotFound, match="was deleted while run"):
            await finish(db, run_id, begun, state={"n": 1})
        assert await db.get_session("s") is None

    async def test_that_outlives_its_session_does_not_enter_a_new_one_of_the_same_id(self, db: MongoDb) -> None:
        run_id, begun = await begin(db)
        await db.delete_session("s")
        await turn(db, run_id="new")
        with pytest.raises(SessionNotFound):
            await finish(db, run_id, begun)
        assert [run.run_id for run in (await db.get_session("s")).runs] == ["new"]

    async def test_keeps_a_rename_and_a_state_update_that_came_meanwhile(self, db: MongoDb) -> None:
        run_id, begun = await begin(db, state={"mine": 0, "theirs": 0})
        await db.rename_session("s", SessionType.AGENT, "A name")
        await db.update_session_state("s", {"theirs": 1})
        await finish(db, run_id, begun, state={"mine": 1, "theirs": 0})
        stored = await db.get_session("s")
        assert stored.session_name == "A name"
        assert stored.session_state == {"mine": 1, "theirs": 1}


class TestRunsAtOnce:
    async def test_all_keep_their_run_their_keys_and_their_tokens(self, db: MongoDb) -> None:
        await asyncio.gather(*(turn(db, change={f"k{n}": n}, tokens=n) for n in range(20)))
        stored = await db.get_session("s")
        assert len(stored.runs) == 20
        assert len({run.run_id for run in stored.runs}) == 20
        assert stored.session_state == {f"k{n}": n for n in range(20)}
        assert stored.session_data["session_metrics"]["total_tokens"] == sum(range(20))
        assert stored.active_runs == {}

    async def test_that_change_one_key_keep_the_later_value_and_say_so(self, db: MongoDb) -> None:
        first, begun_first = await begin(db, state={"n": 0, "other": 0})
        second, begun_second = await begin(db)
        await finish(db, first, begun_first, state={"n": 1, "other": 1})
        ended = await finish(db, second, begun_second, state={"n": 2, "other": 0})
        assert ended.conflicts == ("session_data.session_state.n",)
        stored = await db.get_session("s")
        assert stored.session_state == {"n": 2, "other": 1}
        assert len(stored.runs) == 2

    async def test_that_change_one_key_keep_the_earlier_value_if_told_to(self, db: MongoDb) -> None:
        first, begun_first = await begin(db, state={"n": 0, "other": 0})
        second, begun_second = await begin(db)
        await finish(db, first, begun_first, state={"n": 1, "other": 0})
        ended = await finish(db, second, begun_second, state={"n": 2, "other": 2}, policy="raise")
        assert ended.conflicts == ("session_data.session_state.n",)
        stored = await db.get_session("s")
        assert stored.session_state == {"n": 1, "other": 2}
        assert len(stored.runs) == 2

    async def test_that_add_one_dict_keep_the_earlier_values_in_it_if_told_to(self, db: MongoDb) -> None:
        first, begun_first = await begin(db)
        second, begun_second = await begin(db)
        await finish(db, first, begun_first, state={"cfg": {"a": 9, "theirs": 9}})
        ended = await finish(db, second, begun_second, state={"cfg": {"a": 1, "ours": 1}}, policy="raise")
        assert ended.conflicts == ("session_data.session_state.cfg.a",)
        assert (await db.get_session("s")).session_state == {"cfg": {"a": 9, "theirs": 9, "ours": 1}}

    async def test_that_set_one_key_to_the_same_value_do_not_conflict(self, db: MongoDb) -> None:
        first, begun_first = await begin(db, state={"n": 0})
        second, begun_second = await begin(db)
        await finish(db, first, begun_first, state={"n": 5})
        assert (await finish(db, second, begun_second, state={"n": 5})).conflicts == ()

    @pytest.mark.parametrize(
        ("before", "theirs", "ours", "merged"),
        [
            ({"a": {"x": 1}}, {"a": 5}, {"a": {"x": 2}}, {"a": {"x": 2}}),
            ({"a": {"x": 1}}, {}, {"a": {"x": 1, "y": 2}}, {"a": {"y": 2}}),
            ({"a": {"x": 1}}, {"a": {"x": 1, "z": 3}}, {"a": {}}, {"a": {"z": 3}}),
            ({"a": 1}, {"a": [1, 2]}, {"a": 2}, {"a": 2}),
            ({"a": None}, {"a": 1}, {}, {}),
            ({}, {"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
            ({"a": [1]}, {"a": [1], "b": 1}, {"a": [1, 2]}, {"a": [1, 2], "b": 1}),
            ({"a": "x" * 500}, {"a": "y" * 500}, {"a": "z"}, {"a": "z"}),
            ({"a": {"b": {"c": 1}}}, {"a": {"b": 7}}, {"a": {"b": {"c": 2}}}, {"a": {"b": {"c": 2}}}),
            ({}, {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
            ({}, {"a": {"x": 1, "z": {"p": 1}}}, {"a": {"z": {"q": 1}}}, {"a": {"x": 1, "z": {"p": 1, "q": 1}}}),
            ({"a": {}}, {"a": []}, {"a": {"0": "x"}}, {"a": {"0": "x"}}),
            ({"a": ["x" * 5000]}, {"a": ["x" * 5000], "b": 1}, {"a": []}, {"a": [], "b": 1}),
            ({"a.b": 1, "$c": 1}, {"a.b": 1, "$c": 2}, {"a.b": 2, "$c": 1}, {"a.b": 2, "$c": 2}),
        ],
    )
    async def test_meet_key_by_key(
        self, db: MongoDb, before: dict[str, Any], theirs: dict[str, Any], ours: dict[str, Any], merged: dict[str, Any]
    ) -> None:
        first, begun_first = await begin(db, state=before)
        second, begun_second = await begin(db)
        await finish(db, first, begun_first, state=theirs)
        await finish(db, second, begun_second, state=ours)
        assert (await db.get_session("s")).session_state == merged

    async def test_all_are_stored_however_hard_they_fight_for_one_key(self, db: MongoDb) -> None:
        await turn(db, state={"items": []})
        count = 60
        begun = [await begin(db) for _ in range(count)]
        ended = await asyncio.gather(
            *(finish(db, run_id, entry, state={"items": [number]}) for number, (run_id, entry) in enumerate(begun))
        )
        stored = await db.get_session("s")
        assert len(stored.runs) == count + 1
        assert sum(bool(end.conflicts) for end in ended) == count - 1

    async def test_of_one_id_are_stored_once_and_the_other_is_told(self, db: MongoDb) -> None:
        agents = [
            Agent(model=ScriptedModel("one"), db=db, session_id="s"),
            Agent(model=ScriptedModel("two"), db=db, session_id="s"),
        ]
        both = asyncio.gather(*(agent.arun("go", run_id="r") for agent in agents), return_exceptions=True)
        outcomes = await both
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["RunAlreadyFinished", "RunOutput"]
        told = next(outcome for outcome in outcomes if isinstance(outcome, RunOutput))
        assert [run.content for run in (await db.get_session("s")).runs] == [told.content]

    async def test_that_make_the_session_together_share_it(self, db: MongoDb) -> None:
        begun = await asyncio.gather(*(begin(db, "new", user_id="john") for _ in range(10)))
        assert len({entry[1].session.id for entry in begun}) == 1
        assert len((await db.get_session("new")).active_runs) == 10


class TestAnOwner:
    async def test_alone_may_run_in_a_session(self, db: MongoDb) -> None:
        await turn(db, user_id="john")
        before = await db.get_session("s")
        for other in ("mary", None):
            with pytest.raises(SessionOwnedByAnotherUser) as caught:
                await begin(db, user_id=other)
            assert caught.value.session_id == "s"
            assert "john" not in str(caught.value)
        assert (await db.get_session("s")).to_dict() == before.to_dict()

    async def test_is_not_acquired_later(self, db: MongoDb) -> None:
        await turn(db)
        with pytest.raises(SessionOwnedByAnotherUser):
            await begin(db, user_id="john")

    async def test_alone_may_read_rename_change_and_delete(self, db: MongoDb) -> None:
        await turn(db, user_id="john")
        for attempt in (
            db.get_session("s", user_id="mary"),
            db.rename_session("s", SessionType.AGENT, "Mine", user_id="mary"),
            db.update_session_state("s", {"n": 1}, user_id="mary"),
            db.delete_session("s", user_id="mary"),
        ):
            with pytest.raises(SessionOwnedByAnotherUser):
                await attempt
        assert await db.delete_sessions(["s"], user_id="mary") == 0
        assert (await db.get_session("s", user_id="john")).session_name is None

    async def test_must_be_named_where_the_database_requires_it(self, db: MongoDb) -> None:
        db.require_user_id = True
        await turn(db, user_id="john")
        for attempt in (
            begin(db),
            db.get_session("s"),
            db.get_sessions(),
            db.get_all_session_ids(),
            db.count_sessions(),
            db.rename_session("s", None, "x"),
            db.update_session_state("s", {}),
            db.delete_session("s"),
            db.delete_sessions(["s"]),
        ):
            with pytest.raises(UserRequired, match="pass user_id="):
                await attempt
        assert await db.get_session("s", user_id="john") is not None

    async def test_that_is_no_text_is_an_error_and_no_query(self, db: MongoDb) -> None:
        await turn(db, user_id="john")
        for user_id in ({"$ne": None}, 7, "", ["john"], b"john"):
            for attempt in (
                begin(db, user_id=user_id),  # type: ignore[arg-type]
                db.get_session("s", user_id=user_id),  # type: ignore[arg-type]
                db.get_sessions(user_id=user_id),  # type: ignore[arg-type]
                db.get_all_session_ids(user_id),  # type: ignore[arg-type]
                db.delete_sessions(["s"], user_id=user_id),  # type: ignore[arg-type]
            ):
                with pytest.raises(ConfigurationError, match="user_id must be text"):
                    await attempt
        assert await db.get_session("s") is not None


class TestASession:
    @pytest.mark.parametrize("session_id", ["", None, 7, {"$ne": ""}, ["s"], "\ud800"])
    async def test_is_named_by_text(self, db: MongoDb, session_id: Any) -> None:
        for attempt in (begin(db, session_id), db.get_session(session_id), db.delete_session(session_id)):
            with pytest.raises(ConfigurationError, match="session_id"):
                await attempt
        assert await db.count_sessions() == 0

    @pytest.mark.parametrize("session_id", ["$where", "a.b", "ü 💬", "x" * 2000, "null\x00byte", " "])
    async def test_may_have_any_text_as_its_id(self, db: MongoDb, session_id: str) -> None:
        await turn(db, session_id)
        assert (await db.get_session(session_id)).session_id == session_id
        assert await db.delete_session(session_id)

    async def test_is_of_one_type(self, db: MongoDb) -> None:
        await turn(db, kind=SessionType.TEAM)
        with pytest.raises(SessionTypeMismatch, match="is of type 'team', not 'agent'") as caught:
            await begin(db)
        assert (caught.value.expected, caught.value.actual) == ("agent", "team")
        with pytest.raises(SessionTypeMismatch):
            await db.get_session("s", SessionType.WORKFLOW)
        with pytest.raises(SessionTypeMismatch):
            await db.rename_session("s", "agent", "x")
        assert isinstance(await db.get_session("s", SessionType.TEAM), TeamSession)

    async def test_that_is_not_there_is_none(self, db: MongoDb) -> None:
        assert await db.get_session("nobody") is None
        assert await db.delete_session("nobody") is False
        for attempt in (db.rename_session("nobody", None, "x"), db.update_session_state("nobody", {"n": 1})):
            with pytest.raises(SessionNotFound, match="there is no such session"):
                await attempt

    async def test_is_its_own_class_by_type(self, db: MongoDb) -> None:
        for kind in SessionType:
            await turn(db, kind.value, kind=kind)
        found = {session.session_id: type(session) for session in await db.get_sessions()}
        assert issubclass(found["agent"], AgentSession)
        assert issubclass(found["team"], TeamSession)
        assert issubclass(found["workflow"], WorkflowSession)

    async def test_keeps_all_that_bson_holds(self, db: MongoDb) -> None:
        state = {
            "text": "ü 💬 \u0000",
            "int": 2**63 - 1,
            "float": 1.5,
            "bool": True,
            "none": None,
            "bytes": b"\x00\xff",
            "moment": datetime(2026, 11, 21, 1, 2, 3, 4000, timezone(timedelta(hours=2))),
            "decimal": Decimal("12.3400"),
            "uuid": UUID(int=5),
            "nested": {"list": [1, {"a.b": {"$x": ""}}], "": "empty key"},
        }
        await turn(db, change=state)
        stored = (await db.get_session("s")).session_state
        assert stored == state
        assert stored["moment"].tzinfo is not None
        assert {name: type(value) for name, value in stored.items()} == {name: type(value) for name, value in state.items()}

    async def test_can_be_stored_whole_read_and_stored_again(self, db: MongoDb) -> None:
        session = AgentSession(session_id="s", agent_id="a", user_id="john", session_data={"session_state": {"n": 1}})
        session.upsert_run(RunOutput(run_id="r", agent_id="a", content="hi", status=RunStatus.completed))
        stored = await db.upsert_session(session)
        assert stored.revision == 1
        assert [run.run_id for run in stored.runs] == ["r"]
        stored.metadata = {"tag": "x"}
        again = await db.upsert_session(stored)
        assert again.metadata == {"tag": "x"}
        assert again.run_count == 1
        with pytest.raises(SessionChanged, match="has changed since it was read"):
            await db.upsert_session(stored)
        again.user_id = "mary"
        with pytest.raises(SessionOwnedByAnotherUser):
            await db.upsert_session(again)

    async def test_stored_again_from_a_list_keeps_its_runs(self, db: MongoDb) -> None:
        for _ in range(3):
            await turn(db)
        listed = (await db.get_sessions())[0]
        listed.metadata = {"tag": "x"}
        assert (await db.upsert_session(listed)).run_count == 3
        assert len((await db.get_session("s")).runs) == 3
        with pytest.raises(ConfigurationError, match="some of its 3 runs only"):
            await db.upsert_session(await db.get_session("s", runs_limit=1))
        with pytest.raises(ConfigurationError, match="takes a session, not dict"):
            await db.upsert_session({})  # type: ignore[arg-type]

    async def test_of_null_containers_is_mended(self, db: MongoDb) -> None:
        data = {"session_state": None, "session_metrics": None}
        await db.upsert_session(AgentSession(session_id="s", session_data=data))
        await turn(db, change={"n": 1}, tokens=1)
        assert (await db.get_session("s")).session_state == {"n": 1}

    async def test_that_cannot_be_read_is_named(self, db: MongoDb) -> None:
        await (await db._connection()).collection.insert_one(
            {"session_id": "s", "session_type": "agent", "runs": 7, "schema_version": 1}
        )
        with pytest.raises(CorruptSession, match="session 's' cannot be read") as caught:
            await db.get_session("s")
        assert caught.value.session_id == "s"

    async def test_of_a_team_is_not_an_agents_to_change(self, db: MongoDb) -> None:
        await turn(db, kind=SessionType.TEAM)
        agent = Agent(model=ScriptedModel(), db=db, session_id="s")
        for attempt in (agent.adelete_session(), agent.aupdate_session_state({"n": 1}), agent.aget_session_state()):
            with pytest.raises(SessionTypeMismatch):
                await attempt
        assert await db.get_session("s") is not None

    async def test_that_was_deleted_is_not_brought_back_by_storing_it(self, db: MongoDb) -> None:
        stored = await db.upsert_session(AgentSession(session_id="s"))
        await db.delete_session("s")
        with pytest.raises(SessionNotFound, match="was deleted since it was read"):
            await db.upsert_session(stored)
        assert await db.count_sessions() == 0

    async def test_that_is_gone_by_the_time_that_is_asked_why_it_was_in_the_way_is_made(
        self, db: MongoDb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reason = sessions._explain_conflict

        async def later(*args: Any) -> None:
            monkeypatch.undo()
            await db.delete_session("s")
            await reason(*args)

        monkeypatch.setattr(sessions, "_explain_conflict", later)
        await db.upsert_session(AgentSession(session_id="s"))
        assert (await db.upsert_session(AgentSession(session_id="s", metadata={"n": 1}))).revision == 1
        assert (await db.get_session("s")).metadata == {"n": 1}

    async def test_that_is_made_by_the_time_that_is_asked_why_there_was_none_is_changed(
        self, db: MongoDb, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look = db.get_session

        async def later(*args: Any, **options: Any) -> Any:
            await turn(db, "s")
            return await look(*args, **options)

        monkeypatch.setattr(db, "get_session", later)
        assert (await db.rename_session("s", session_name="made")).session_name == "made"


class TestAList:
    async def test_has_the_last_used_first(self, db: MongoDb) -> None:
        for session_id in ("a", "b", "c", "a"):
            await turn(db, session_id, user_id="john")
            await asyncio.sleep(0.002)
        assert await db.get_all_session_ids("john") == ["a", "c", "b"]
        assert [session.session_id for session in await db.get_sessions(user_id="john")] == ["a", "c", "b"]

    async def test_is_filtered_by_type_user_and_component(self, db: MongoDb) -> None:
        await turn(db, "1", user_id="john")
        await turn(db, "2", user_id="mary")
        await turn(db, "3", user_id="john", kind=SessionType.TEAM)
        await db.rename_session("2", None, "Trip to (Rome)")

        async def ids(**filters: Any) -> set[str]:
            found, total = await db.get_sessions(deserialize=False, **filters)
            assert total == len(found)
            return {session["session_id"] for session in found}

        assert await ids(user_id="john") == {"1", "3"}
        assert await ids(session_type="agent") == {"1", "2"}
        assert await ids(session_type=SessionType.TEAM, user_id="john") == {"3"}
        assert await ids(component_id="a") == {"1", "2", "3"}
        assert await ids(component_id="b") == set()
        assert await ids(session_name="trip to (rome") == {"2"}
        assert await ids(start_timestamp=2**40) == set()
        assert await ids(start_timestamp=0, end_timestamp=2**40) == {"1", "2", "3"}
        assert await db.count_sessions(user_id="john") == 2
        assert await db.get_all_session_ids(session_type="team") == ["3"]

    async def test_comes_in_pages_with_the_total(self, db: MongoDb) -> None:
        for number in range(5):
            await turn(db, f"{number}")
        pages = [
            await db.get_sessions(limit=2, page=page, sort_by="session_id", sort_order="asc", deserialize=False)
            for page in (1, 2, 3, 4)
        ]
        assert [[session["session_id"] for session in found] for found, _ in pages] == [["0", "1"], ["2", "3"], ["4"], []]
        assert {total for _, total in pages} == {5}

    async def test_has_no_runs_unless_asked(self, db: MongoDb) -> None:
        await turn(db)
        assert (await db.get_sessions())[0].runs is None
        assert len((await db.get_sessions(include_runs=True))[0].runs) == 1
        found, _ = await db.get_sessions(deserialize=False)
        assert "runs" not in found[0]

    async def test_has_the_newest_runs_of_each_session_if_asked(self, db: MongoDb) -> None:
        ids = [await turn(db) for _ in range(3)]
        [listed] = await db.get_sessions(runs_limit=2)
        assert [run.run_id for run in listed.runs] == ids[1:]
        [listed], _ = await db.get_sessions(runs_limit=1, deserialize=False)
        assert [run["run_id"] for run in listed["runs"]] == ids[2:]
        with pytest.raises(ConfigurationError, match="limit is a whole number from 1"):
            await db.get_sessions(runs_limit=0)

    async def test_is_of_nobodys_sessions_if_asked(self, db: MongoDb) -> None:
        await turn(db, "1", user_id="john")
        await turn(db, "2")
        assert [session.session_id for session in await db.get_sessions(user_id=NO_USER)] == ["2"]

    @pytest.mark.parametrize(
        ("filters", "words"),
        [
            ({"start_timestamp": "2024"}, "start_timestamp is in Unix seconds"),
            ({"limit": 2**70}, "limit is a whole number"),
            ({"session_name": "\ud800"}, "lone surrogate"),
            ({"session_type": "robot"}, "'agent', 'team' or 'workflow'"),
            ({"limit": 0}, "limit is a whole number"),
            ({"page": 2}, "page= needs limit="),
            ({"limit": 1, "page": -1}, "page is a whole number"),
            ({"sort_by": "$where"}, "sorted by"),
            ({"sort_order": "up"}, "'asc' or 'desc'"),
            ({"component_id": {"$ne": 1}}, "component_id must be text"),
            ({"session_name": {"$ne": 1}}, "session_name is text"),
        ],
    )
    async def test_refuses_what_is_no_filter(self, db: MongoDb, filters: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            await db.get_sessions(**filters)
        assert words in str(caught.value)

    async def test_can_be_deleted_by_ids(self, db: MongoDb) -> None:
        for session_id in ("a", "b", "c"):
            await turn(db, session_id)
        assert await db.delete_sessions(["a", "c", "nobody"]) == 2
        assert await db.get_all_session_ids() == ["b"]
        with pytest.raises(ConfigurationError, match="a list of ids, not one id"):
            await db.delete_sessions("b")


async def test_the_server_tells_its_health(db: MongoDb) -> None:
    health = await db.health()
    assert health.writable
    assert health.latency < 5
    assert health.server_version
    assert health.address


async def test_beanie_queries_the_same_documents(db: MongoDb) -> None:
    await turn(db, "1", user_id="john")
    await turn(db, "2", user_id="mary")
    await turn(db, "3", user_id="john", kind=SessionType.TEAM)
    agents = (await db.documents())[SessionType.AGENT]
    found = await agents.find(agents.user_id == "john").to_list()
    assert [session.session_id for session in found] == ["1"]
    assert isinstance(found[0], AgentSession)
    assert await agents.find_all().count() == 2
    assert (await agents.find_one(agents.session_id == "2")).user_id == "mary"
