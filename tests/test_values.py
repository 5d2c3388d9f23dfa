"""Values go in and come back the same, or are refused by name."""

# ruff: noqa: DTZ001, DTZ901 - naive datetimes are among the values
from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, defaultdict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, Regex, Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, field_serializer

from agno_mongo.agent import Agent
from agno_mongo.db import state as states
from agno_mongo.db import values
from agno_mongo.db.base import SessionType
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.state import Change, changes_of, difference, guard_of, merge, rebase, same, update_of
from agno_mongo.errors import UnstorableValueError
from agno_mongo.run import RunStatus
from agno_mongo.testing import ScriptedModel

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8) | st.sampled_from(
    ["", ".", "$", "$ref", "$id", "a.b", "a$", "a$b", "%", "%2E", "%24x", "%252E", "0", "_id", "%00"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary(max_size=12)
    | st.uuids()
    | st.datetimes(timezones=st.timezones(), allow_imaginary=False, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1))
    # In an hour that the clocks go through twice, Python finds no two zones' times equal.
    .filter(lambda moment: moment.replace(fold=0).utcoffset() == moment.replace(fold=1).utcoffset())
    .map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, fold=0))
    | st.decimals(allow_nan=False, places=4, min_value=-(10**20), max_value=10**20)
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20)
STATES = st.dictionaries(KEYS, VALUES, max_size=4)
quickly = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def through_bson(value: Any) -> Any:
    return values.decode(bson.decode(bson.encode({"v": values.encode(value, path="v")}))["v"])


@quickly
@given(VALUES)
def test_what_bson_holds_comes_back_equal_and_of_its_type(value: Any) -> None:
    back = through_bson(value)
    assert back == value
    assert same(values.encode(back, path="v"), values.encode(value, path="v"))


@quickly
@given(STATES)
def test_no_stored_key_is_a_path_or_an_operator(state: dict[str, Any]) -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                assert key
                assert "." not in key
                assert "$" not in key
                check(part)
        elif isinstance(value, list):
            for part in value:
                check(part)

    encoded = values.encode(state, path="state")
    check(encoded)
    assert len(encoded) == len(state)


@quickly
@given(STATES, STATES)
def test_a_difference_leads_from_one_state_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    old, new = values.encode(before, path="s"), values.encode(after, path="s")
    changes = difference(old, new)
    assert same(applied(old, changes), new)
    assert (changes == []) == same(old, new)
    names = [change.name for change in changes]
    assert len(set(names)) == len(names)


@quickly
@given(STATES, STATES, STATES)
def test_changes_laid_on_others_keep_all_that_do_not_conflict(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    base, ours, theirs = (values.encode(state, path="s") for state in (base, ours, theirs))
    changes = difference(base, ours)
    rebased, conflicts = rebase(changes, theirs)
    merged = applied(theirs, rebased)
    for change in changes:
        if change not in conflicts:
            assert same(found(merged, change.path), change.after) or isinstance(change.after, dict)
    touched = {change.path[0] for change in changes}
    for key, value in theirs.items():
        if key not in touched:
            assert same(merged[key], value)
    again, more = rebase(rebased, merged)
    assert more == [] or again == []


def applied(state: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    """What the server makes of the changes."""
    state = merge({}, state)
    update = update_of(changes)
    prefix = "session_data.session_state."
    for name, value in update["$set"].items():
        *parents, last = name.removeprefix(prefix).split(".")
        place = state
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    for name in update["$unset"]:
        *parents, last = name.removeprefix(prefix).split(".")
        place = state
        for parent in parents:
            place = place.get(parent, {})
        place.pop(last, None)
    return state


def found(state: Any, path: tuple[str, ...]) -> Any:
    from agno_mongo.db.state import MISSING

    for key in path:
        if not isinstance(state, dict) or key not in state:
            return MISSING
        state = state[key]
    return state


class Colour(str, Enum):
    RED = "red"


class Number(int, Enum):
    ONE = 1


class Count(int):
    pass


class Name(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another name"


class Moment(datetime):
    pass


class Level(IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: int
    right: int


class Number64:
    """What NumPy's scalars are like that are no floats."""

    def __float__(self) -> float:
        return 1.0


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no text for this")


class Unserializable(BaseModel):
    x: int = 1

    @field_serializer("x")
    def _fail(self, _value: int) -> int:
        raise ValueError("not today")


class Point(BaseModel):
    x: int
    tags: set[str] = set()


@dataclasses.dataclass
class Size:
    width: int
    corner: Point


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (frozenset({3}), [3]),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        ({Colour.RED: 1}, {"red": 1}),
        (Point(x=1, tags={"a"}), {"x": 1, "tags": ["a"]}),
        (Size(1, Point(x=2)), {"width": 1, "corner": {"x": 2, "tags": []}}),
        (Count(5), 5),
        (Int64(5), 5),
        (Level.LOW, 1),
        (Name("name"), "name"),
        ({Name("name"): 1}, {"name": 1}),
        (Pair(1, 2), [1, 2]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Moment(2026, 1, 1, 0, 0, 0, 1999), datetime(2026, 1, 1, 0, 0, 0, 1000, tzinfo=timezone.utc)),
        (datetime.max, datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=timezone.utc)),
        (datetime.min, datetime.min.replace(tzinfo=timezone.utc)),
        (Decimal128("1.50"), Decimal("1.50")),
        (Decimal("0E+9000"), Decimal(0)),
        (Binary(b"abc", 0), b"abc"),
        (Binary(b"abc", 128), Binary(b"abc", 128)),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone.utc)),
    ],
)
def test_other_values_are_stored_as_their_nearest(value: Any, stored: Any) -> None:
    back = through_bson(value)
    assert back == stored
    assert type(back) is type(stored)
    assert not isinstance(back, dict) or {type(key) for key in back} == {str}


def test_a_nan_comes_back_and_is_no_change() -> None:
    assert math.isnan(through_bson(math.nan))
    assert difference({"n": math.nan}, {"n": math.nan}) == []


def test_a_large_integer_that_the_server_gave_back_is_no_change() -> None:
    read = bson.decode(bson.encode({"n": 2**40, "deep": [2**40]}))
    assert difference(read, values.encode(values.decode(read), path="s")) == []
    assert difference(read, {"n": float(2**40), "deep": [2**40]}) != []


def test_a_parent_that_became_what_the_key_was_is_a_conflict() -> None:
    changes = [Change(("k", "n"), [1], [1, 2])]
    assert rebase(changes, {"k": [1]}) == ([Change(("k",), [1], {"n": [1, 2]})], changes)


def test_additions_account_for_a_key_or_are_no_more_than_a_change() -> None:
    before = {"n": 1, "l": ["a"], "o": 1}
    assert changes_of(before, {**before, "n": 4}, [(("n",), 1), (("n",), 2)]) == [Change(("n",), 1, 4, 3)]
    assert changes_of(before, {**before, "l": ["a", "b", "c"]}, [(("l",), ["b"]), (("l",), ["c"])]) == [
        Change(("l",), ["a"], ["a", "b", "c"], ["b", "c"])
    ]
    assert changes_of(before, {**before, "d": {"n": 1, "x": 2}}, [(("d", "n"), 1)]) == [
        Change(("d", "n"), states.MISSING, 1, 1),
        Change(("d", "x"), states.MISSING, 2),
    ]
    for after, additions in (
        ({**before, "n": 5}, [(("n",), 1)]),
        ({**before, "l": ["b", "a"]}, [(("l",), ["b"])]),
        ({**before, "d": 5}, [(("d", "n"), 5)]),
        ({"n": 1, "l": ["a"]}, [(("o",), 1)]),
        ({**before, "n": ["a"]}, [(("n",), 1), (("n",), ["a"])]),
    ):
        assert changes_of(before, after, additions) == difference(before, after)
    wide = 2 * [(("n",), 2**63 - 1)]
    assert changes_of({"n": -(2**63)}, {"n": 2**63 - 2}, wide) == [Change(("n",), -(2**63), 2**63 - 2)]
    assert changes_of(before, before, [(("n",), 1), (("n",), -1), (("l",), [])]) == []


def test_one_true_and_one_point_zero_are_different_values() -> None:
    assert len(difference({"a": 1, "b": 1, "c": 0.0}, {"a": True, "b": 1.0, "c": -0.0})) == 3


def test_a_number_over_32_bits_as_the_server_returns_it_is_no_change() -> None:
    from_server = bson.decode(bson.encode({"n": 2**40, "deep": {"list": [2**40]}}))
    assert type(from_server["n"]) is Int64
    assert difference(from_server, values.encode(values.decode(from_server), path="s")) == []


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ({"a": {"b": [1, 2**63]}}, "state.a.b[1]", "more than 64 bits"),
        ({"a": -(2**63) - 1}, "state.a", "more than 64 bits"),
        ({"a": "\ud800"}, "state.a", "lone surrogate"),
        ({"\ud800": 1}, "state.\ud800", "lone surrogate"),
        ({"a": {"x\x00": 1}}, "state.a.x\x00", "NUL"),
        ({"a": {1: 2}}, "state.a", "keys are text"),
        ({"a": object()}, "state.a", "type object"),
        ({"a": date(2026, 1, 1)}, "state.a", "type date"),
        ({"a": timedelta(1)}, "state.a", "type timedelta"),
        ({"a": 1j}, "state.a", "type complex"),
        ({"a": Decimal("1." + "1" * 40)}, "state.a", "34 digits"),
        ({"a": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))}, "state.a", "years 1 to 9999"),
        ({"a": Size}, "state.a", "type type"),
        ({"a": Count(2**63)}, "state.a", "more than 64 bits"),
        ({"a": 10**5000}, "state.a", "more than 64 bits: <int>"),
        ({"a": Decimal("1E+7000")}, "state.a", "too large"),
        ({"a": Number64()}, "state.a", "type Number64"),
        ({"a": Unshowable()}, "state.a", "type Unshowable, which BSON does not have: <Unshowable>"),
        ({"a": Unserializable()}, "state.a", "cannot be dumped"),
        ({"a": (number for number in range(3))}, "state.a", "type generator"),
        ({"a": len}, "state.a", "builtin_function_or_method"),
        ({"a": {("x", 1): 2}}, "state.a", "a key of type tuple; keys are text"),
        ({Colour.RED: 2**64}, "state.red", "more than 64 bits"),
        ({"a": Binary(b"abc", 3)}, "state.a", "a UUID, that has 3 bytes, not 16"),
        ({"a": Binary(b"abc", 4)}, "state.a", "a UUID, that has 3 bytes, not 16"),
    ],
)
def test_what_bson_has_no_place_for_is_named(value: Any, path: str, reason: str) -> None:
    with pytest.raises(UnstorableValueError) as caught:
        values.encode(value, path="state")
    assert caught.value.path == path
    assert reason in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(UnstorableValueError, match="containing itself") as caught:
        values.encode(loop, path="state")
    assert len(str(caught.value)) < 500


def test_a_lenient_encoding_names_where_a_value_contains_itself() -> None:
    loop: list[Any] = [1]
    loop += [loop, {"again": loop}]
    encoded, errors = values.encode_lenient({"a": loop, "b": 2}, path="run")
    assert encoded == {"a": [1, None, {"again": None}], "b": 2}
    assert [error.path for error in errors] == ["run.a[1]", "run.a[2].again"]


def test_a_lenient_encoding_is_never_deeper_than_a_strict_one() -> None:
    deep: Any = "the bottom"
    for _ in range(300):
        deep = [deep]
    encoded, errors = values.encode_lenient({"deep": deep, "b": 2}, path="run")
    assert len(errors) == 1
    assert "nested deeper" in str(errors[0])
    assert encoded["b"] == 2
    assert values.encode(encoded, path="run") == encoded


def test_a_lenient_encoding_keeps_the_rest_of_a_text() -> None:
    encoded, errors = values.encode_lenient({"t": "a\ud800b \ud83d\ude00", "u": ("x", "\ud800")}, path="run")
    assert encoded == {"t": "a\ufffdb \U0001f600", "u": ["x", "\ufffd"]}
    assert [error.path for error in errors] == ["run.t", "run.u[1]"]


def test_a_file_is_named_and_not_read() -> None:
    with open(__file__) as file, pytest.raises(UnstorableValueError, match="TextIOWrapper"):
        values.encode({"f": file}, path="state")


def test_a_lenient_encoding_keeps_all_but_the_parts_it_names() -> None:
    encoded, errors = values.encode_lenient({"a": [1, {"b": 2**70, "c": 2}], "d\x00": 1, "e": "ok", "f": {1: 2}}, path="run")
    assert encoded == {"a": [1, {"b": None, "c": 2}], "e": "ok", "f": None}
    assert sorted(error.path for error in errors) == ["run.a[1].b", "run.d\x00", "run.f"]


def test_a_uuid_and_bytes_stay_apart() -> None:
    value = {"uuid": UUID(int=1), "bytes": UUID(int=1).bytes}
    assert through_bson(value) == value


def test_a_large_value_or_a_nan_is_guarded_by_the_revision_of_the_state() -> None:
    assert guard_of([Change(("a",), "x" * 5000, 1)], 7) == {"state_revision": 7}
    assert "state_revision" not in guard_of([Change(("a",), ["x"], 1)], 7)
    assert guard_of([Change(("a",), {"b": [math.nan]}, 1)], 7) == {"state_revision": 7}


async def test_types_that_only_other_programs_store_do_not_stand_in_the_way(db: MongoDb) -> None:
    rare = {"regex": Regex("^a", "i"), "timestamp": Timestamp(7, 1), "code": Code("f()"), "least": MinKey(), "most": MaxKey()}
    agent = Agent(model=ScriptedModel("ok", "ok"), db=db, session_id="s")
    await agent.arun("go")
    collection = (await db.documents())[SessionType.AGENT].get_pymongo_collection()
    await collection.update_one({"session_id": "s"}, {"$set": {"session_data.session_state": rare}})
    assert (await agent.arun("go on")).status == RunStatus.completed
    assert await agent.aget_session_state() == rare


def test_to_keep_theirs_leaves_out_what_conflicts_at_any_depth() -> None:
    added = [Change(("k",), states.MISSING, {"a": 1, "b": 1})]
    assert rebase(added, {"k": {"a": 9}}, "theirs") == (
        [Change(("k", "b"), states.MISSING, 1)],
        [Change(("k", "a"), states.MISSING, 1)],
    )
    assert rebase([Change(("k", "n"), 1, 2)], {"k": "text"}, "theirs") == ([], [Change(("k", "n"), 1, 2)])


@quickly
@given(STATES, STATES, STATES)
def test_to_keep_theirs_finds_the_same_conflicts_and_writes_none_of_them(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    base, ours, theirs = (values.encode(state, path="s") for state in (base, ours, theirs))
    changes = difference(base, ours)
    kept, conflicts = rebase(changes, theirs, "theirs")
    assert conflicts == rebase(changes, theirs)[1]
    merged = applied(theirs, kept)
    for change in conflicts:
        assert same(found(merged, change.path), found(theirs, change.path))
