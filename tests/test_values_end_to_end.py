"""Values go through runs and accessors to a server and come back the same, or are refused by name; nothing else is lost."""

# ruff: noqa: DTZ001, DTZ901 - naive datetimes and dates are among the values
from __future__ import annotations

import asyncio
import copy
import json
import math
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from bson import Binary, ObjectId
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test
from mongomock_motor import AsyncMongoMockClient
from pydantic import BaseModel

from agno_mongo.agent import Agent
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, UnstorableValueError
from agno_mongo.messages import Message
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.test_store_contract import begin, finish
from tests.test_values import KEYS, TEXT

T = TypeVar("T")


@dataclass
class Place:
    """A store and the loop that it lives on, for tests that hypothesis calls again and again."""

    db: MongoDb
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)


@pytest.fixture(params=["mongomock", "mongod"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    loop = asyncio.new_event_loop()
    if request.param == "mongomock":
        db = MongoDb(client=AsyncMongoMockClient())
    else:
        db = MongoDb(request.getfixturevalue("mongo_url"), db_name=request.getfixturevalue("db_name"))
    yield Place(db, loop)
    loop.run_until_complete(db.close())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


often = settings(
    phases=[p for p in Phase if p is not Phase.shrink],
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

OFFSETS = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
DATETIMES = (
    st.datetimes()
    | st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=OFFSETS)
    | st.sampled_from([datetime.min, datetime.max, datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2026, 1, 1, fold=1)])
)
DECIMALS = st.decimals(places=6, min_value=-(10**20), max_value=10**20) | st.sampled_from(
    [Decimal(text) for text in ("NaN", "Infinity", "-Infinity", "-0", "1E+6144", "1E-6176", "9" * 34, "0E-100", "1.10")]
)
NUMBERS = (
    st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63)])
    | st.floats()
    | st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf, 5e-324])
)
PLAIN = st.none() | st.booleans() | NUMBERS | TEXT
LEAVES = (
    PLAIN
    | DATETIMES
    | DECIMALS
    | st.uuids()
    | st.binary(max_size=12)
    | st.builds(Binary, st.binary(max_size=12), st.sampled_from([1, 5, 128, 255]))
    | st.builds(Binary, st.binary(min_size=16, max_size=16), st.just(3))
    | st.builds(ObjectId, st.binary(min_size=12, max_size=12))
)


def dicts_of(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    nested = st.recursive(
        leaves, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3), max_leaves=12
    )
    return st.dictionaries(KEYS, nested, max_size=4)


STATES = dicts_of(LEAVES)
JSON_OBJECTS = dicts_of(PLAIN)


def as_kept(value: Any) -> Any:
    """What the documentation promises to give back for a value."""
    if isinstance(value, datetime):
        utc = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        return utc.replace(microsecond=utc.microsecond // 1000 * 1000, fold=0)
    if isinstance(value, dict):
        return {key: as_kept(part) for key, part in value.items()}
    return [as_kept(part) for part in value] if isinstance(value, list) else value


def assert_alike(back: Any, value: Any) -> None:
    """Equal, and of one type all the way down; a NaN is a NaN, the two zeros are not one."""
    assert type(back) is type(value)
    if isinstance(value, dict):
        assert back.keys() == value.keys()
        for key in value:
            assert_alike(back[key], value[key])
    elif isinstance(value, list):
        assert len(back) == len(value)
        for left, right in zip(back, value, strict=True):
            assert_alike(left, right)
    elif isinstance(value, (float, Decimal)) and math.isnan(value):
        assert math.isnan(back)
    else:
        assert back == value
        assert not isinstance(value, float) or math.copysign(1, back) == math.copysign(1, value)
        assert not isinstance(value, datetime) or back.tzinfo is not None


def agent_on(db: MongoDb, *script: Any, **options: Any) -> Agent:
    options.setdefault("session_id", str(uuid4()))
    return Agent(model=ScriptedModel(*script), db=db, **options)


def putting(state: Any) -> Callable[[RunContext], None]:
    def put(run_context: RunContext) -> None:
        run_context.session_state.clear()
        run_context.session_state.update(state)

    return put


class TestComeBackEqualAndOfTheirType:
    @often
    @given(default=STATES, left=STATES, updates=STATES)
    def test_as_state_of_a_new_session_of_a_run_and_of_an_update(
        self, place: Place, default: dict[str, Any], left: dict[str, Any], updates: dict[str, Any]
    ) -> None:
        agent = agent_on(place.db, "first", ToolCall("put"), "second", session_state=default, tools=[putting(left)])
        place.run(agent.arun("1"))
        assert_alike(place.run(agent.aget_session_state()), as_kept(default))
        run = place.run(agent.arun("2"))
        assert_alike(run.session_state, as_kept(left))
        assert_alike(place.run(agent.aget_session_state()), as_kept(left))
        assert_alike(place.run(agent.aupdate_session_state(updates)), as_kept({**left, **updates}))
        assert_alike(place.run(agent.aget_session_state()), as_kept({**left, **updates}))

    @often
    @given(
        content=TEXT | st.lists(JSON_OBJECTS, min_size=1, max_size=2), answer=TEXT, metadata=STATES, provider=STATES, odd=STATES
    )
    def test_as_messages_and_metadata(
        self, place: Place, content: Any, answer: str, metadata: dict[str, Any], provider: dict[str, Any], odd: dict[str, Any]
    ) -> None:
        agent = agent_on(place.db, answer, "next", metadata=metadata, add_history_to_context=True)
        asked = Message(role="user", content=content, provider_data=provider, odd=odd)  # type: ignore[call-arg]
        place.run(agent.arun(asked))
        session = place.run(agent.aget_session())
        assert session is not None
        assert session.runs is not None
        run = session.runs[0]
        user, assistant = run.messages
        assert_alike(user.content, content)
        assert_alike(user.provider_data, as_kept(provider))
        assert_alike(user.odd, as_kept(odd))
        assert_alike(run.input.input_content["content"], content)
        assert assistant.content == (answer or None)
        assert_alike(session.metadata or {}, as_kept(metadata))
        assert_alike(run.metadata or {}, as_kept(metadata))
        place.run(agent.arun("again"))
        assert_alike(agent.model.requests[1].messages[0].content, content)  # type: ignore[attr-defined]

    @often
    @given(given=TEXT | STATES | st.lists(LEAVES | STATES, max_size=3), sent=JSON_OBJECTS)
    def test_as_input_and_as_arguments_that_a_model_sends(self, place: Place, given: Any, sent: dict[str, Any]) -> None:
        received: list[dict[str, Any]] = []

        def take(what: dict[str, Any]) -> str:
            received.append(copy.deepcopy(what))
            what.clear()
            return json.dumps(what)

        agent = agent_on(place.db, ToolCall("take", {"what": sent}), "done", tools=[take])
        place.run(agent.arun(given))
        run = place.run(agent.aget_last_run_output())
        assert run is not None
        assert run.input is not None
        assert_alike(run.input.input_content, as_kept(given))
        assert_alike(received, [sent])
        assert run.tools is not None
        assert_alike(run.tools[0].tool_args, {"what": sent})
        call, result = (run.messages or [])[1:3]
        assert_alike(json.loads((call.tool_calls or [])[0]["function"]["arguments"]), {"what": sent})
        assert_alike(result.tool_args, {"what": sent})
        assert run.tools[0].result == result.content == "{}"

    @often
    @given(name=TEXT.filter(bool), user=TEXT.filter(bool), session=TEXT.filter(bool), run_id=KEYS.filter(bool))
    def test_as_names_and_ids(self, place: Place, name: str, user: str, session: str, run_id: str) -> None:
        # Examples share the store, so each id is made the example's own.
        session, run_id = session + str(uuid4()), run_id + str(uuid4())
        agent = agent_on(place.db, "hi", session_id=session, user_id=user)
        place.run(agent.arun("1", run_id=run_id))
        place.run(agent.aset_session_name(session_name=name))
        assert place.run(agent.aget_session_name()) == name
        found = place.run(agent.aget_run_output(run_id))
        assert found is not None
        assert (found.run_id, found.session_id, found.user_id) == (run_id, session, user)
        assert session in place.run(place.db.get_all_session_ids(user_id=user))
        assert place.run(agent.adelete_session())


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: int
    tags: list[str] = []


async def test_a_tool_may_take_what_bson_does_not_have_and_change_it(db: MongoDb) -> None:
    def take(day: date, at: datetime, price: Decimal, colour: Colour, point: Point, path: Path, names: dict[int, str]) -> str:
        point.tags.append("changed")
        names[2] = names  # type: ignore[assignment]
        return f"{day:%d.%m.} {at:%H} {price + 1} {colour.name} {point.x + 1} {path.name} {names[1]}"

    sent = {
        "day": "2026-11-21",
        "at": "2026-11-21T08:00:00.123456+02:00",
        "price": "1." + "1" * 40,
        "colour": "red",
        "point": {"x": 1},
        "path": "/a/b",
        "names": {"1": "one"},
    }
    agent = agent_on(db, ToolCall("take", sent), "done", tools=[take])
    await agent.arun("go")
    run = await agent.aget_last_run_output()
    assert run is not None
    assert run.tools is not None
    assert run.tools[0].result is not None
    assert run.tools[0].result.startswith("21.11. 08 2.1")
    assert run.tools[0].tool_args == (run.messages or [])[2].tool_args == sent


def nested(levels: int) -> Any:
    value: Any = "the bottom"
    for _ in range(levels):
        value = [value]
    return value


def looped() -> list[Any]:
    loop: list[Any] = []
    loop += [loop, loop]
    return loop


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no text for this")


UNSTORABLE: dict[str, Callable[[], Any]] = {
    "an int over 64 bits": lambda: 2**63,
    "an int of 5000 digits": lambda: 10**5000,
    "a lone surrogate": lambda: "a\udfff",
    "a key with NUL": lambda: {"a\x00": 1},
    "a key with a lone surrogate": lambda: {"\ud800": 1},
    "a key that is no text": lambda: {1: 1},
    "a function": lambda: print,
    "a cycle": looped,
    "nested too deep": lambda: nested(95),
    "nested far too deep": lambda: nested(5000),
    "a Decimal of 35 digits": lambda: Decimal("1" * 35),
    "a date out of range": lambda: datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    "a date without time": date.today,
    "a generator": lambda: (number for number in range(3)),
    "a complex number": lambda: 1j,
    "an object that cannot be shown": Unshowable,
    "a set with one of them": lambda: {1j, "a"},
}


class TestWhatCannotBeStored:
    """One database for all of them: making and dropping one takes longer than the test."""

    async def test_in_the_state_is_named_the_run_is_stored_and_the_next_one_works(self, mongo_db: MongoDb) -> None:
        for what, make in UNSTORABLE.items():
            before = {"kept": 1, "spoilt": "before"}
            left = {"kept": 2, "spoilt": {"deep": [0, make()]}, "new": 3}
            tools = [putting(left)]
            agent = agent_on(mongo_db, ToolCall("put"), "one", "two", session_state=before, tools=tools)
            with pytest.raises(UnstorableValueError) as caught:
                await agent.arun("1")
            assert caught.value.path.startswith("session_state.spoilt.deep[1]"), what
            assert await agent.aget_session_state() == {"kept": 2, "spoilt": "before", "new": 3}, what
            assert (await agent.arun("2", add_history_to_context=True)).content == "two", what
            session = await agent.aget_session()
            assert session is not None
            ended = [(run.status, run.content) for run in session.runs or ()]
            assert ended == [(RunStatus.completed, "one"), (RunStatus.completed, "two")], what
            assert session.active_runs == {}, what

    async def test_in_what_a_run_is_given_is_refused_before_anything_is_stored(self, mongo_db: MongoDb) -> None:
        for what, make in UNSTORABLE.items():
            agent = agent_on(mongo_db)
            for attempt in (
                agent.arun({"x": [make()]}),
                agent.arun([make()]),
                agent.arun(Message(role="user", content="x", odd=[make()])),  # type: ignore[call-arg]
                agent.arun("go", session_state={"x": make()}),
                agent.arun("go", metadata={"x": make()}),
            ):
                with pytest.raises(UnstorableValueError):
                    await attempt
            assert agent.model.requests == [], what  # type: ignore[attr-defined]
        assert await mongo_db.count_sessions() == 0

    async def test_in_an_update_leaves_the_state_as_it_was(self, mongo_db: MongoDb) -> None:
        agent = agent_on(mongo_db, "hi", session_state={"n": 1})
        await agent.arun("1")
        for make in UNSTORABLE.values():
            with pytest.raises(UnstorableValueError, match=r"session_state\.n"):
                await agent.aupdate_session_state({"m": 2, "n": {"x": make()}})
        assert await agent.aget_session_state() == {"n": 1}


@pytest.mark.parametrize(
    ("sent", "path", "kept"),
    [
        ('{"what": {"n": 1180591620717411303424, "m": 1}}', "run.tools[0].tool_args.what.n", {"what": {"n": None, "m": 1}}),
        ('{"what": {"a\\u0000": 1, "m": 1}}', "run.tools[0].tool_args.what.a\x00", {"what": {"m": 1}}),
        ('{"what": {"d": ' + "[" * 300 + "]" * 300 + ', "m": 1}}', "run.tools[0].tool_args.what.d[0][0]", None),
    ],
)
async def test_arguments_that_cannot_be_stored_are_named_and_the_next_turn_works(
    db: MongoDb, sent: str, path: str, kept: dict[str, Any] | None
) -> None:
    def take(what: dict[str, Any]) -> str:
        return str(what["m"])

    agent = agent_on(db, ToolCall("take", sent), "one", "two", tools=[take], add_history_to_context=True)
    with pytest.raises(UnstorableValueError) as caught:
        await agent.arun("1")
    assert caught.value.path.startswith(path)
    run = await agent.aget_last_run_output()
    assert run is not None
    assert (run.status, run.content) == (RunStatus.completed, "one")
    assert run.tools is not None
    assert run.tools[0].result == "1"
    assert kept is None or run.tools[0].tool_args == kept
    assert (run.messages or [])[1].tool_calls[0]["function"]["arguments"] == sent  # type: ignore[index]
    assert (await agent.arun("2")).content == "two"


async def test_arguments_nested_too_deep_to_be_read_are_told_to_the_model(db: MongoDb) -> None:
    def take(what: list[Any]) -> str:
        return str(len(what))

    agent = agent_on(db, ToolCall("take", '{"what": ' + "[" * 100_000 + "]" * 100_000 + "}"), "I see.", tools=[take])
    run = await agent.arun("1")
    assert run.content == "I see."
    assert run.tools is not None
    assert "are no JSON" in (run.tools[0].result or "")


async def test_a_result_without_json_is_told_as_text(db: MongoDb) -> None:
    def give() -> Any:
        class Strange(BaseModel):
            x: Any = object

        return Strange()

    agent = agent_on(db, ToolCall("give"), "I see.", tools=[give])
    run = await agent.arun("1")
    assert run.tools is not None
    assert "<class 'object'>" in (run.tools[0].result or "")
    assert run.tools[0].tool_call_error is False


@pytest.mark.parametrize("run_id", ["\x00", "a\x00b"])
async def test_a_run_id_with_nul_is_refused_before_anything_is_stored(db: MongoDb, run_id: str) -> None:
    agent = agent_on(db)
    with pytest.raises(ConfigurationError, match="NUL"):
        await agent.arun("1", run_id=run_id)
    assert await agent.aget_session() is None


async def test_metadata_reaches_the_tools_as_it_is_stored(db: MongoDb) -> None:
    seen: list[Any] = []

    def look(run_context: RunContext) -> None:
        seen.append(run_context.metadata)

    agent = agent_on(db, ToolCall("look"), "hi", tools=[look], metadata={"view": memoryview(b"x"), "pair": (1, 2)})
    await agent.arun("1")
    session = await agent.aget_session()
    assert session is not None
    assert seen == [session.metadata] == [{"view": b"x", "pair": [1, 2]}]


async def test_a_large_number_that_a_run_left_alone_keeps_what_others_made_of_it(db: MongoDb) -> None:
    async def meanwhile() -> None:
        await agent.aupdate_session_state({"at": 2, "list": [2]})

    agent = agent_on(db, "hi", ToolCall("meanwhile"), "done", tools=[meanwhile], session_state={"at": 2**40, "list": [2**40]})
    await agent.arun("1")
    run = await agent.arun("2")
    assert run.state_conflicts is None
    assert await agent.aget_session_state() == {"at": 2, "list": [2]}


FEW_KEYS = st.sampled_from(["a", "b", "0", "$x.y"])
FEW_VALUES = st.sampled_from([0, 1, 1.0, True, None, "", "t", 2**40, "x" * 5000, [], [1], [{"0": 1}], math.nan])
SMALL_STATES = st.dictionaries(
    FEW_KEYS,
    st.recursive(FEW_VALUES, lambda part: st.dictionaries(FEW_KEYS, part, max_size=3), max_leaves=5),
    max_size=3,
)
GONE = object()


def equal(left: Any, right: Any) -> bool:
    try:
        assert_alike(left, right)
    except AssertionError:
        return False
    return True


def merged(base: Any, theirs: Any, ours: Any) -> Any:
    """What is to be stored once ``ours`` is laid on ``theirs``, both having begun from ``base``; GONE is no key.

    The later run wins where both touched one key.
    """
    if equal(ours, base):
        return theirs
    both_added = base is GONE and isinstance(ours, dict) and isinstance(theirs, dict)
    if not both_added and not (isinstance(ours, dict) and isinstance(base, dict)):
        return ours
    old = {} if base is GONE else base
    below = theirs if isinstance(theirs, dict) else {}
    together = {key: None for part in (below, ours, old) for key in part}
    if not isinstance(theirs, dict):
        # Its parent is gone: what this run changed stands alone in the parent's place.
        together = {key: None for key in together if not equal(ours.get(key, GONE), old.get(key, GONE))}
    laid = {key: merged(old.get(key, GONE), below.get(key, GONE), ours.get(key, GONE)) for key in together}
    laid = {key: value for key, value in laid.items() if value is not GONE}
    return laid if laid or isinstance(theirs, dict) else theirs


class Runs(RuleBasedStateMachine):
    """Any number of runs begun from one state and another, finished in any order and two at once, and updates in between."""

    place: Place
    open_runs = Bundle("open_runs")

    def __init__(self) -> None:
        super().__init__()
        self.session_id = str(uuid4())
        self.stored: dict[str, Any] = {}
        self.finished = 0
        self.place.run(self._first())

    async def _first(self) -> None:
        await self._finish(await self._begin(), {})

    async def _begin(self) -> Any:
        run_id, begun = await begin(self.place.db, self.session_id)
        return run_id, begun, copy.deepcopy(self.stored)

    async def _finish(self, run: Any, left: dict[str, Any]) -> None:
        await finish(self.place.db, run[0], run[1], state=left)
        self.finished += 1

    @rule(target=open_runs)
    def begin(self) -> Any:
        return self.place.run(self._begin())

    @rule(run=consumes(open_runs), left=SMALL_STATES)
    def finish(self, run: Any, left: dict[str, Any]) -> None:
        self.place.run(self._finish(run, left))
        self.stored = merged(run[2], self.stored, left)

    @rule(first=consumes(open_runs), second=consumes(open_runs), left=SMALL_STATES, right=SMALL_STATES)
    def finish_two_at_once(self, first: Any, second: Any, left: dict[str, Any], right: dict[str, Any]) -> None:
        async def both() -> Any:
            await asyncio.gather(self._finish(first, left), self._finish(second, right))
            return await self.place.db.get_session(self.session_id, runs_limit=2)

        lefts = {first[0]: (first[2], left), second[0]: (second[2], right)}
        # Runs stand in the order in which they finished.
        for run in self.place.run(both()).runs:
            base, ours = lefts[run.run_id]
            self.stored = merged(base, self.stored, ours)

    @rule(key=FEW_KEYS, value=FEW_VALUES | SMALL_STATES)
    def update(self, key: str, value: Any) -> None:
        self.place.run(self.place.db.update_session_state(self.session_id, {key: value}))
        self.stored[key] = value

    @invariant()
    def nothing_is_lost(self) -> None:
        session = self.place.run(self.place.db.get_session(self.session_id))
        assert_alike(session.session_state, self.stored)
        assert len(session.runs) == session.run_count == self.finished


# mongomock lets a $set pass through a number or a list that somebody put in the place of a dict; mongod refuses, and is asked again.
@pytest.mark.parametrize("place", ["mongod"], indirect=True)
def test_no_change_of_a_run_is_lost_save_where_a_later_one_touched_the_same_key(place: Place) -> None:
    class Here(Runs):
        pass

    Here.place = place
    run_state_machine_as_test(Here, settings=settings(often, max_examples=15, stateful_step_count=12))
