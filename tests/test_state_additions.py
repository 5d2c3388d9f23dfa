"""Counters and lists in the session's state: whoever adds at the same time, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agno_mongo.agent import Agent
from agno_mongo.db import state as states
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, StateConflictError, StateTypeError, UnstorableValueError
from agno_mongo.run import RunContext, RunOutput
from agno_mongo.session import AgentSession
from agno_mongo.testing import ScriptedModel, ToolCall

Act = Any
"""A function of the run's context that changes the state."""


def agent_that(db: MongoDb, act: Act, **options: Any) -> Agent:
    def change(run_context: RunContext) -> Any:
        return act(run_context)

    return Agent(model=ScriptedModel(ToolCall("change"), "ok"), db=db, session_id="s", tools=[change], **options)


async def run_that(db: MongoDb, act: Act, **options: Any) -> RunOutput:
    return await agent_that(db, act, **options).arun("go")


async def state_of(db: MongoDb) -> Any:
    return (await db.get_session("s")).session_state


async def two_runs(db: MongoDb, base: dict[str, Any], theirs: Act, ours: Act, **options: Any) -> RunOutput:
    """Both load ``base``; theirs is stored first, then ours."""
    await run_that(db, lambda context: context.session_state.update(deepcopy(base)))
    began, stored = asyncio.Event(), asyncio.Event()

    async def waits(run_context: RunContext) -> None:
        began.set()
        await stored.wait()
        ours(run_context)

    agent = Agent(model=ScriptedModel(ToolCall("waits"), "ok"), db=db, session_id="s", tools=[waits], **options)
    run = asyncio.create_task(agent.arun("go"))
    await began.wait()
    await run_that(db, theirs)
    stored.set()
    return await run


def visit(context: RunContext) -> None:
    context.state.increment("n")
    context.state.append("list", "ours")


class TestARunThatAdds:
    async def test_reads_its_own_writes(self, db: MongoDb) -> None:
        seen: list[Any] = []

        def act(context: RunContext) -> None:
            seen.append(context.state.increment("n"))
            seen.append(context.state.increment("n", by=2))
            seen.append(context.state.increment(["cart", "total"], 9.5))
            context.state.append(("cart", "items"), "milk", {"a.b": 1})
            context.state.append(("cart", "items"), "bread")
            seen.append(deepcopy(context.session_state))

        run = await run_that(db, act)
        expected = {"n": 3, "cart": {"total": 9.5, "items": ["milk", {"a.b": 1}, "bread"]}}
        assert seen == [1, 3, 9.5, expected]
        assert run.session_state == await state_of(db) == expected

    async def test_goes_on_from_what_is_stored(self, db: MongoDb) -> None:
        for _ in range(3):
            await run_that(db, visit, session_state={"n": 2**40, "list": [], "kept": 1})
        assert await state_of(db) == {"n": 2**40 + 3, "list": ["ours"] * 3, "kept": 1}

    @pytest.mark.parametrize("key", ["a.b", "$x", "", "%2E", "0", "ü 💬", ("a.b", "$x"), ("d", "0"), ("d", "0", "1"), ("", "")])
    async def test_may_use_any_text_as_a_key(self, db: MongoDb, key: Any) -> None:
        for _ in range(2):
            await run_that(db, lambda context: context.state.increment(key))
        value = await state_of(db)
        for name in (key,) if isinstance(key, str) else key:
            value = value[name]
        assert value == 2

    async def test_keeps_plain_changes_beside_what_it_adds(self, db: MongoDb) -> None:
        def act(context: RunContext) -> None:
            context.session_state["plain"] = 1
            context.state.increment(("d", "n"))
            context.session_state["d"]["plain"] = 2
            context.state.append("nothing")
            context.state.increment("zero", 0)
            del context.session_state["gone"]

        await run_that(db, act, session_state={"gone": 1})
        assert await state_of(db) == {"plain": 1, "d": {"n": 1, "plain": 2}, "nothing": [], "zero": 0}

    async def test_saves_a_key_that_it_also_assigned_like_any_other(self, db: MongoDb) -> None:
        def act(context: RunContext) -> None:
            context.state.increment("n", 5)
            context.session_state["n"] = 100
            context.state.increment("n")
            context.state.append("list", "a")
            context.session_state["list"].insert(0, "first")
            context.state.increment(("d", "n"))
            context.session_state["d"] = "replaced"
            context.state.increment("gone")
            del context.session_state["gone"]

        run = await run_that(db, act, session_state={"n": 1, "list": ["b"], "gone": 1})
        assert run.session_state == await state_of(db) == {"n": 101, "list": ["first", "b", "a"], "d": "replaced"}

    async def test_adds_floats_in_its_own_order(self, db: MongoDb) -> None:
        def act(context: RunContext) -> None:
            for amount in (0.1, 0.2, 0.3, 1):
                context.state.increment("sum", amount)

        run = await run_that(db, act, session_state={"sum": 0.7})
        assert (await state_of(db))["sum"] == pytest.approx(2.3)
        assert run.session_state is not None
        assert run.session_state["sum"] == 0.7 + 0.1 + 0.2 + 0.3 + 1

    async def test_may_do_so_from_many_threads(self, db: MongoDb) -> None:
        def act(context: RunContext) -> None:
            def many(thread: int) -> None:
                for _ in range(50):
                    context.state.increment("n")
                    context.state.append("list", thread)

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(many, range(4)))

        run = await run_that(db, act)
        state = await state_of(db)
        assert run.session_state == state
        assert state["n"] == 200
        assert sorted(state["list"]) == sorted([0, 1, 2, 3] * 50)

    async def test_may_do_so_in_its_instructions(self, db: MongoDb) -> None:
        def instructions(run_context: RunContext) -> str:
            return f"This is visit {run_context.state.increment('visits')}."

        model = ScriptedModel("ok", "ok")
        agent = Agent(model=model, db=db, session_id="s", instructions=instructions)
        await agent.arun("go")
        await agent.arun("go")
        assert [request.messages[0].content for request in model.requests] == ["This is visit 1.", "This is visit 2."]

    async def test_counts_once_although_its_end_is_sent_twice(self, db: MongoDb) -> None:
        agent = agent_that(db, visit)
        ends: list[Any] = []

        class Twice(MongoDb):
            async def finish_run(self, end: Any) -> Any:
                ends.append(end)
                await db.finish_run(end)
                return await db.finish_run(end)

            async def begin_run(self, begin: Any) -> Any:
                return await db.begin_run(begin)

        agent.db = Twice("mongodb://localhost")
        await agent.arun("go")
        assert len(ends) == 1
        assert await state_of(db) == {"n": 1, "list": ["ours"]}


class TestTwoRuns:
    @pytest.mark.parametrize(
        ("base", "theirs", "merged"),
        [
            ({}, visit, {"n": 2, "list": ["ours", "ours"]}),
            ({"n": 5, "list": ["x"]}, visit, {"n": 7, "list": ["x", "ours", "ours"]}),
            (
                {"n": 1},
                lambda context: context.session_state.update(n=10, list=["theirs"]),
                {"n": 11, "list": ["theirs", "ours"]},
            ),
            ({"n": 1}, lambda context: context.session_state.update(n=1.5), {"n": 2.5, "list": ["ours"]}),
            ({"n": 5, "list": ["x"]}, lambda context: context.session_state.clear(), {"n": 1, "list": ["ours"]}),
            ({"n": 2**62}, lambda context: context.state.increment("n", -(2**62)), {"n": 1, "list": ["ours"]}),
        ],
    )
    async def test_both_add(self, db: MongoDb, base: Any, theirs: Act, merged: Any) -> None:
        run = await two_runs(db, base, theirs, visit)
        assert not run.state_conflicts
        assert await state_of(db) == merged

    @pytest.mark.parametrize("policy", ["ours", "raise"])
    @pytest.mark.parametrize(
        ("base", "theirs", "ours", "path"),
        [
            ({"k": 1}, "text", lambda context: context.state.increment("k"), "k"),
            ({"k": 1}, None, lambda context: context.state.increment("k"), "k"),
            ({"k": 1}, True, lambda context: context.state.increment("k"), "k"),
            ({"k": 1}, [1], lambda context: context.state.increment("k"), "k"),
            ({"k": 1}, {"x": 1}, lambda context: context.state.increment("k"), "k"),
            ({"k": 1}, 2**63 - 1, lambda context: context.state.increment("k"), "k"),
            ({"k": [1]}, "text", lambda context: context.state.append("k", 2), "k"),
            ({"k": [1]}, 7, lambda context: context.state.append("k", 2), "k"),
            ({"k": [1]}, None, lambda context: context.state.append("k", 2), "k"),
            ({"k": [1]}, {"0": 1}, lambda context: context.state.append("k", 2), "k"),
            ({"k": {"n": 1}}, "text", lambda context: context.state.increment(("k", "n")), "k.n"),
            ({"k": {"n": 1}}, 7, lambda context: context.state.increment(("k", "n")), "k.n"),
            ({"k": {"n": [1]}}, [1], lambda context: context.state.append(("k", "n"), 2), "k.n"),
            ({"k": {"0": 1}}, [1], lambda context: context.state.increment(("k", "0")), "k.0"),
            ({"k": {"0": {"1": [1]}}}, [[[], []]], lambda context: context.state.append(("k", "0", "1"), 2), "k.0.1"),
        ],
    )
    async def test_conflict_where_there_is_nothing_to_add_to(
        self, db: MongoDb, base: Any, theirs: Any, ours: Act, path: str, policy: Any
    ) -> None:
        alone = RunContext(run_id="r", session_id="s", session_state=deepcopy(base))
        ours(alone)

        def both(context: RunContext) -> None:
            ours(context)
            context.session_state["other"] = 1
            context.state.increment("count")

        def assign(context: RunContext) -> None:
            context.session_state["k"] = theirs

        path = f"session_data.session_state.{path}"
        if policy == "raise":
            with pytest.raises(StateConflictError) as caught:
                await two_runs(db, base, assign, both, on_state_conflict="raise")
            assert caught.value.paths == [path]
            assert await state_of(db) == {"k": theirs, "other": 1, "count": 1}
        else:
            run = await two_runs(db, base, assign, both)
            assert run.state_conflicts == [path]
            assert await state_of(db) == {**alone.session_state, "other": 1, "count": 1}
        assert len((await db.get_session("s")).runs) == 3

    async def test_one_that_assigns_meets_one_that_adds_as_a_conflict(self, db: MongoDb) -> None:
        run = await two_runs(db, {"n": 1}, visit, lambda context: context.session_state.update(n=10))
        assert run.state_conflicts == ["session_data.session_state.n"]
        assert (await state_of(db))["n"] == 10

    async def test_a_list_changed_in_another_way_is_replaced_whole(self, db: MongoDb) -> None:
        run = await two_runs(db, {"list": ["x"]}, visit, lambda context: context.session_state["list"].append("mine"))
        assert run.state_conflicts == ["session_data.session_state.list"]
        assert (await state_of(db))["list"] == ["x", "mine"]


class TestWhatCannotBeAdded:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("text", "wants an int or a float at session_state.k, which is of type str"),
            (None, "which is None"),
            (True, "which is of type bool"),
            ([1], "which is of type list"),
            ({}, "which is of type dict"),
            (Decimal(1), "which is of type Decimal"),
        ],
    )
    def test_a_key_that_is_no_counter(self, value: Any, words: str) -> None:
        context = RunContext(run_id="r", session_id="s", session_state={"k": value})
        with pytest.raises(StateTypeError, match=words) as caught, unchanged(context):
            context.state.increment("k")
        assert isinstance(caught.value, TypeError)
        assert (caught.value.path, caught.value.value) == ("session_state.k", value)

    @pytest.mark.parametrize("value", ["text", None, 1, {}, (1, 2), {1}])
    def test_a_key_that_is_no_list(self, value: Any) -> None:
        context = RunContext(run_id="r", session_id="s", session_state={"k": value})
        with pytest.raises(StateTypeError, match=r"append\(\) wants a list at session_state\.k"), unchanged(context):
            context.state.append("k", 1)

    @pytest.mark.parametrize("by", [True, None, "1", Decimal(1), math.nan, math.inf, 1j, [1]])
    def test_an_amount_that_is_no_number(self, by: Any) -> None:
        context = RunContext(run_id="r", session_id="s")
        with pytest.raises(ConfigurationError, match="adds an int or a finite float, not"), unchanged(context):
            context.state.increment("k", by)

    @pytest.mark.parametrize("key", [None, 1, (), [], ("a", 1), b"a", {"a": 1}, {"a"}, ("a", ("b",))])
    def test_a_key_that_is_no_name(self, key: Any) -> None:
        context = RunContext(run_id="r", session_id="s")
        for add in (lambda: context.state.increment(key), lambda: context.state.append(key, 1)):
            with pytest.raises(ConfigurationError, match="a key of the state is a name"), unchanged(context):
                add()

    @pytest.mark.parametrize(("start", "by"), [(2**63 - 1, 1), (-(2**63), -1), (0, 2**63), (1, 10**400)])
    def test_a_sum_of_more_than_64_bits(self, start: int, by: int) -> None:
        context = RunContext(run_id="r", session_id="s", session_state={"k": start})
        with pytest.raises(UnstorableValueError, match="more than 64 bits"), unchanged(context):
            context.state.increment("k", by)

    def test_a_path_through_something_that_is_no_dict(self) -> None:
        context = RunContext(run_id="r", session_id="s", session_state={"a": {"b": 5}})
        words = r"session_state\.a\.b\.c leads through session_state\.a\.b, which is of type int and not a dict"
        for add in (context.state.increment, context.state.append):
            with pytest.raises(StateTypeError, match=words), unchanged(context):
                add(("a", "b", "c"))
        context.session_state = [1]  # type: ignore[assignment]
        with pytest.raises(StateTypeError, match="leads through session_state, which is of type list"):
            context.state.increment("n")

    async def test_is_for_the_model_to_hear(self, db: MongoDb) -> None:
        run = await run_that(db, lambda context: context.state.increment("k"), session_state={"k": "text"})
        assert run.tools is not None
        assert run.tools[0].tool_call_error
        assert "StateTypeError: increment() wants an int or a float" in str(run.tools[0].result)
        assert await state_of(db) == {"k": "text"}


@contextmanager
def unchanged(context: RunContext) -> Iterator[None]:
    before = deepcopy(context.session_state)
    try:
        yield
    finally:
        assert context.session_state == before
        with context.state.held() as additions:
            assert additions == []


PATHS = [("n",), ("l",), ("d", "n"), ("d", "l")]
PLAIN = st.sampled_from([0, 1, 7, 2.5, "text", [], ["p"], None])
STEPS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(PATHS), PLAIN),
    st.tuples(st.just("delete"), st.sampled_from([*PATHS, ("d",)]), st.none()),
    st.tuples(st.just("increment"), st.sampled_from(PATHS), st.sampled_from([1, -1, 3, 0.5])),
    st.tuples(st.just("append"), st.sampled_from(PATHS), st.sampled_from([[], ["a"], ["b", "c"]])),
)
BASES = st.fixed_dictionaries(
    {"n": st.sampled_from([0, 5, 1.5]), "d": st.fixed_dictionaries({"n": st.sampled_from([0, 3]), "l": st.just(["x"])})},
    optional={"l": st.sampled_from([[], ["y"]])},
)
MISSING = states.MISSING


def leaf(state: dict[str, Any], path: tuple[str, ...]) -> Any:
    for name in path[:-1]:
        state = state.get(name, {})
    return state.get(path[-1], MISSING)


def take(context: RunContext, step: tuple[str, tuple[str, ...], Any]) -> list[Any]:
    """Do one step; what it added."""
    kind, path, value = step
    if kind == "increment":
        context.state.increment(path, value)
        return [value]
    if kind == "append":
        context.state.append(path, *value)
        return value
    place = context.session_state
    for name in path[:-1]:
        place = place.setdefault(name, {})
    if kind == "set":
        place[path[-1]] = deepcopy(value)
    else:
        place.pop(path[-1], None)
    return []


def plus(value: Any, added: Any) -> Any:
    if value is MISSING:
        return added
    if isinstance(value, (list, int, float)) and isinstance(value, list) == isinstance(added, list):
        return value + added
    return None


def expected(base: Any, theirs: Any, ours: Any, added: Any) -> Any:
    """What a key should be: the rule of the documentation, in a few lines."""
    if states.same(base, ours):
        return theirs
    if added is not None and states.same(plus(base, added), ours) and plus(theirs, added) is not None:
        return plus(theirs, added)
    return ours


async def interleave(db: MongoDb, base: Any, their_steps: Any, our_steps: Any) -> None:
    await db.delete_session("s")
    added: dict[tuple[str, ...], Any] = {}
    local: dict[str, Any] = {}

    def theirs(context: RunContext) -> None:
        for step in their_steps:
            with suppress(StateTypeError):
                take(context, step)

    def ours(context: RunContext) -> None:
        for step in our_steps:
            with suppress(StateTypeError):
                take(context, step)
                if step[0] in {"increment", "append"}:
                    _, path, value = step
                    added[path] = value if path not in added else plus(added[path], value)
        local.update(deepcopy(context.session_state))

    alone = RunContext(run_id="r", session_id="s", session_state=deepcopy(base))
    theirs(alone)
    await two_runs(db, base, theirs, ours)
    stored = await state_of(db)
    for path in PATHS:
        want = expected(*(leaf(state, path) for state in (base, alone.session_state, local)), added.get(path))
        assert states.same(leaf(stored, path), want), path


few = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("server", ["mongomock", "mongod"])
def test_two_runs_meet_as_the_rule_says_whatever_they_do(server: str, mongo_url: str, db_name: str) -> None:
    db = InMemoryDb() if server == "mongomock" else MongoDb(mongo_url, db_name=db_name)
    loop = asyncio.new_event_loop()

    @few
    @given(BASES, st.lists(STEPS, max_size=4), st.lists(STEPS, max_size=4))
    def check(base: Any, theirs: Any, ours: Any) -> None:
        loop.run_until_complete(interleave(db, base, theirs, ours))

    try:
        check()
    finally:
        loop.run_until_complete(db.close())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def test_fifty_runs_at_once_from_four_processes_lose_nothing_and_pay_nothing(
    mongo_url: str, db_name: str, mongo_db: MongoDb, child_environment: dict[str, str]
) -> None:
    counts = [13, 13, 12, 12]
    await mongo_db.upsert_session(AgentSession(session_id="s"))
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.adding_process",
            mongo_url,
            db_name,
            str(number),
            str(count),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            env=child_environment,
        )
        for number, count in enumerate(counts)
    ]
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write(b"go\n")
    seen: list[list[str]] = []
    ended = asyncio.gather(*(process.communicate() for process in processes))
    while not ended.done():
        seen.append([run.run_id for run in (await mongo_db.get_session("s")).runs])
        await asyncio.sleep(0.05)
    for (output, _), count in zip(await ended, counts, strict=True):
        assert json.loads(output) == {"begins": count, "ends": count}

    session = await mongo_db.get_session("s")
    order = [run.run_id for run in session.runs]
    assert len(set(order)) == 50
    assert order == [run.run_id for run in (await mongo_db.get_session("s")).runs]
    assert all(order[: len(earlier)] == earlier for earlier in seen)
    own = [f"{number}_{run}" for number, count in enumerate(counts) for run in range(count)]
    state = session.session_state
    assert state["counter"] == 50
    assert sorted(state["nested"]["log"]) == sorted(own)
    assert {key for key in state if key not in {"counter", "nested"}} == set(own)
    assert session.session_data["session_metrics"] == {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
    assert session.active_runs == {}


async def test_a_value_that_cannot_be_stored_is_refused_at_once_and_costs_the_others_nothing(db: MongoDb) -> None:
    refused: list[str] = []

    def log(run_context: RunContext) -> str:
        run_context.state.append("log", "good")
        with pytest.raises(UnstorableValueError, match=r"session_state\.log\[0\]") as error:
            run_context.state.append("log", object())
        refused.append(error.value.path)
        return "logged"

    agent = Agent(model=ScriptedModel(ToolCall("log"), "done"), db=db, session_id="s", tools=[log])
    await agent.arun("go")
    assert refused == ["session_state.log[0]"]
    assert await agent.aget_session_state() == {"log": ["good"]}
