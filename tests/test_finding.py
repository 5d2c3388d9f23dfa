"""Finding sessions: lists at a hundred thousand sessions, counts, and search over what was said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import bson
import bson.raw_bson
import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient, MongoClient
from pymongo.write_concern import WriteConcern

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.sessions import ESTIMATE_LIMIT
from agno_mongo.errors import ConfigurationError
from agno_mongo.testing import ScriptedModel
from tests.test_commands import Recorder

SESSIONS = 100_000
USERS = 1_000
FIRST_SECOND = 1_700_000_000


def kind_of(number: int) -> str:
    return ("team", "workflow", "agent", "agent", "agent")[number % 5]


def small_session(number: int) -> bson.raw_bson.RawBSONDocument:
    kind = kind_of(number)
    updated_at = FIRST_SECOND + number // 3
    document = {
        "_id": ObjectId(),
        "session_id": f"s{number}",
        "session_type": kind,
        "user_id": f"user{number // 5 % USERS}",
        "agent_id": None,
        "team_id": None,
        "workflow_id": None,
        f"{kind}_id": f"{kind}-{number // 5 % 7}",
        "session_data": {"session_state": {}},
        "runs": [],
        "created_at": updated_at,
        "updated_at": updated_at,
        "touched_at": datetime.fromtimestamp(updated_at + number % 3 / 4, timezone.utc),
        "revision": 1,
        "schema_version": 1,
    }
    return bson.raw_bson.RawBSONDocument(bson.encode(document))


@pytest.fixture(scope="module")
def hundred_thousand(mongo_url: str) -> Iterator[str]:
    """The name of a database with that many sessions of a thousand users; the indexes are those that the first write makes."""
    name = f"many_{uuid4().hex[:12]}"
    with MongoClient(mongo_url) as client:
        collection = client[name].get_collection("agno_sessions", write_concern=WriteConcern(w=1))
        for start in range(0, SESSIONS, 20_000):
            collection.insert_many([small_session(number) for number in range(start, start + 20_000)], ordered=False)
        db = MongoDb(mongo_url, db_name=name)
        Agent(model=ScriptedModel("ok"), db=db).run("makes the indexes", session_id="first")
        db.blocking.delete_session("first")
        db.blocking.close()
        yield name
        client.drop_database(name)


@pytest_asyncio.fixture
async def many(mongo_url: str, hundred_thousand: str) -> AsyncIterator[tuple[MongoDb, Recorder]]:
    recorder = Recorder()
    async with AsyncMongoClient(mongo_url, event_listeners=[recorder]) as client:
        db = MongoDb(client=client, db_name=hundred_thousand)
        await db.health()
        recorder.sent.clear()
        yield db, recorder


@pytest.fixture
def explained(mongo_url: str, hundred_thousand: str) -> Iterator[Any]:
    """A function: what the server did for a command that was recorded, as (entries of an index, documents) examined."""
    with MongoClient[dict[str, Any]](mongo_url) as client:

        def explain(command: dict[str, Any]) -> tuple[int, int]:
            kept = {
                name: part for name, part in command.items() if not name.startswith(("$", "lsid", "txnNumber", "writeConcern"))
            }
            stats = client[hundred_thousand].command("explain", kept, verbosity="executionStats")["executionStats"]
            return stats["totalKeysExamined"], stats["totalDocsExamined"]

        yield explain


FILTERS: dict[str, dict[str, Any]] = {
    "user": {"user_id": "user7"},
    "user and type": {"user_id": "user7", "session_type": "agent"},
    "component": {"component_id": "agent-3"},
    "component and type": {"component_id": "team-3", "session_type": "team"},
    "type": {"session_type": "agent"},
    "nothing": {},
}


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("page", [1, 3, 50])
async def test_a_page_examines_only_its_own_sessions(
    many: tuple[MongoDb, Recorder], explained: Any, filters: dict[str, Any], page: int
) -> None:
    db, recorder = many
    found = await db.get_sessions(limit=20, page=page, **filters)
    there = max(0, min(20, await db.count_sessions(**filters) - 20 * (page - 1)))
    assert len(found) == there
    assert [session.touched_at for session in found] == sorted((session.touched_at for session in found), reverse=True)
    keys, documents = explained(recorder.sent[0])
    assert documents == there
    # Those of earlier pages are passed over in the index. Entries of three types are merged, so each may be one ahead.
    assert keys <= 20 * page + 3


async def test_pages_together_are_the_whole_list(many: tuple[MongoDb, Recorder]) -> None:
    db, _ = many
    pages = [await db.get_sessions(user_id="user7", limit=20, page=page) for page in range(1, 7)]
    listed = [session.session_id for page in pages for session in page]
    assert listed == await db.get_all_session_ids("user7")
    assert len(set(listed)) == SESSIONS // USERS


async def test_a_list_of_ids_reads_no_session(many: tuple[MongoDb, Recorder], explained: Any) -> None:
    db, recorder = many
    assert len(await db.get_all_session_ids("user7")) == 100
    assert len(await db.get_all_session_ids("user7", session_type="team")) == 20
    assert len(await db.get_all_session_ids(entity_id="agent-3", session_type="agent")) == len(range(3, SESSIONS // 5, 7)) * 3
    assert len(await db.get_all_session_ids(entity_id="team-3")) == len(range(3, SESSIONS // 5, 7))
    examined = [explained(command) for command in recorder.sent if "find" in command]
    assert [documents for _, documents in examined] == [0, 0, 0, 0]


async def test_rename_and_delete_examine_one_session(many: tuple[MongoDb, Recorder], explained: Any) -> None:
    db, recorder = many
    await db.rename_session("s500", session_name="a name", user_id="user100", session_type="team")
    await db.rename_session("s501", session_name="another name")
    assert [explained(command) for command in recorder.sent] == [(1, 1)] * 2
    recorder.sent.clear()
    which = {"session_id": "no such session", "user_id": "user100", "session_type": "team"}
    assert await db.delete_session(**which) is False
    delete = recorder.sent[0]
    for session_id, examined in (("s505", (1, 1)), ("no such session", (0, 0))):
        delete["deletes"][0]["q"] = {**which, "session_id": session_id}
        assert explained(delete) == examined


async def test_a_total_is_exact_unless_an_estimate_will_do(many: tuple[MongoDb, Recorder], explained: Any) -> None:
    db, recorder = many
    assert await db.count_sessions() == SESSIONS
    assert await db.count_sessions(total="estimated") == SESSIONS
    assert recorder.names[-1] == "count"
    assert await db.count_sessions(session_type="agent") == SESSIONS * 3 // 5
    assert await db.count_sessions(session_type="agent", total="estimated") == ESTIMATE_LIMIT
    assert await db.count_sessions(user_id="user7", total="estimated") == 100
    recorder.sent.clear()
    rows, total = await db.get_sessions(session_type="agent", limit=5, deserialize=False, total="estimated")
    assert (len(rows), total) == (5, ESTIMATE_LIMIT)
    rows, total = await db.get_sessions(session_type="agent", limit=5, deserialize=False, total=None)
    assert (len(rows), total) == (5, None)
    assert recorder.names == ["find", "aggregate", "find"]


async def test_another_way_of_counting_is_refused() -> None:
    db = InMemoryDb()
    with pytest.raises(ConfigurationError, match="total is 'exact', 'estimated' or None, not 'roughly'"):
        await db.get_sessions(deserialize=False, total="roughly")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="'exact' or 'estimated'"):
        await db.count_sessions(total=None)  # type: ignore[arg-type]
    assert await db.get_sessions(deserialize=False, total="estimated") == ([], 0)
