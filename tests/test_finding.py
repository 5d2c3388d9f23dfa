"""Finding sessions: lists at a hundred thousand sessions, counts, and search over what was said."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, MongoClient

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.sessions import ESTIMATE_LIMIT
from agno_mongo.errors import ConfigurationError, UserRequired
from agno_mongo.testing import ScriptedModel
from tests.test_commands import Recorder

SESSIONS = 100_000
USERS = 1_000
FIRST_SECOND = 1_700_000_000


NUMBER = "$number"
KIND = {"$arrayElemAt": [["team", "workflow", "agent", "agent", "agent"], {"$mod": [NUMBER, 5]}]}
TURN = {"$floor": {"$divide": [NUMBER, 5]}}
UPDATED_AT = {"$toInt": {"$add": [FIRST_SECOND, {"$floor": {"$divide": [NUMBER, 3]}}]}}


def text_of(*parts: Any) -> dict[str, Any]:
    return {"$concat": [part if isinstance(part, str) and part != NUMBER else {"$toString": {"$toInt": part}} for part in parts]}


def component_of(kind: str) -> dict[str, Any]:
    return {"$cond": [{"$eq": ["$session_type", kind]}, text_of(f"{kind}-", {"$mod": [TURN, 7]}), None]}


SMALL_SESSIONS: list[dict[str, Any]] = [
    {"$project": {"_id": 0, "number": {"$range": [0, SESSIONS]}}},
    {"$unwind": NUMBER},
    {"$set": {"session_type": KIND, "updated_at": UPDATED_AT}},
    {
        "$project": {
            "session_id": text_of("s", NUMBER),
            "session_type": 1,
            "user_id": text_of("user", {"$mod": [TURN, USERS]}),
            **{f"{kind}_id": component_of(kind) for kind in ("agent", "team", "workflow")},
            "session_data": {"$literal": {"session_state": {}}},
            "runs": {"$literal": []},
            "created_at": "$updated_at",
            "updated_at": 1,
            "touched_at": {"$toDate": {"$add": [{"$multiply": [{"$toLong": "$updated_at"}, 1000]}, {"$mod": [NUMBER, 3]}]}},
            "revision": {"$literal": 1},
            "schema_version": {"$literal": 1},
        }
    },
    {"$out": "agno_sessions"},
]
"""The server makes them itself: an aggregate is quicker than so many inserts."""


@pytest.fixture(scope="module")
def hundred_thousand(mongo_url: str) -> Iterator[str]:
    """The name of a database with that many sessions of a thousand users; the indexes are those that the first write makes."""
    name = f"many_{uuid4().hex[:12]}"
    with MongoClient(mongo_url) as client:
        client[name]["one"].insert_one({})
        client[name]["one"].aggregate(SMALL_SESSIONS)
        # Indexes of so many take their time.
        db = MongoDb(f"{mongo_url}&timeoutMS=600000", db_name=name)
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
        assert explained({**delete, "query": {**which, "session_id": session_id}}) == examined


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


@pytest_asyncio.fixture(params=["pymongo", "motor"])
async def searched(request: pytest.FixtureRequest, mongo_url: str, db_name: str) -> AsyncIterator[MongoDb]:
    """A store with search switched on, over both clients that have a server."""
    if request.param == "pymongo":
        async with MongoDb(mongo_url, db_name=db_name, search=True) as db:
            yield db
        return
    client = AsyncIOMotorClient(mongo_url)
    yield MongoDb(client=client, db_name=db_name, search=True)
    client.close()


async def say(db: MongoDb, text: Any, answer: str = "Fine.", **options: Any) -> None:
    await Agent(model=ScriptedModel(answer), db=db).arun(text, **options)


async def found(db: MongoDb, query: str, user_id: str | None = "john", **options: Any) -> list[str]:
    return [match.session.session_id for match in await db.search_sessions(query, user_id, **options)]


async def test_what_was_said_is_found_best_first(searched: MongoDb) -> None:
    db = searched
    await say(db, "The café is open.", "So is the harbour.", session_id="café", user_id="john")
    await say(db, "The harbour, the harbour!", "Harbour?", session_id="harbour", user_id="john")
    await say(db, "Nothing of the kind.", session_id="nothing", user_id="john")
    assert await found(db, "harbour") == ["harbour", "café"]
    assert await found(db, "CAFE harbour", limit=1) == ["harbour"]
    assert set(await found(db, "kind open")) == {"nothing", "café"}
    assert await found(db, '"café is"') == ["café"]
    assert await found(db, "harbour -open") == ["harbour"]
    assert await found(db, "-open") == await found(db, "harb") == await found(db, "!") == []
    assert await found(db, "harbour", session_type="team") == await found(db, "harbour", component_id="other") == []
    assert len(await found(db, "harbour", session_type="agent", component_id="agent")) == 2


async def test_a_match_shows_where_the_words_stand(searched: MongoDb) -> None:
    db = searched
    agent = Agent(model=ScriptedModel(f"{'before ' * 50}The Café, say. {'after ' * 50}", "It is a cafe.", "ok"), db=db)
    first = await agent.arun("Where do we meet?", session_id="s", user_id="john")
    second = await agent.arun("What is it?", session_id="s", user_id="john")
    await agent.arun([{"type": "text", "text": "a part with cafés"}], session_id="parts", user_id="john")
    (match,) = await db.search_sessions("cafe", "john")
    assert match.session.session_id == "s"
    assert match.session.runs is None
    assert match.score > 0
    assert [(excerpt.run_id, excerpt.role) for excerpt in match.excerpts] == [
        (first.run_id, "assistant"),
        (second.run_id, "assistant"),
    ]
    assert re.fullmatch(r"…(before )+The Café, say\.( after)+…", match.excerpts[0].text)
    assert match.excerpts[1].text == "It is a cafe."
    assert await found(db, "cafés") == ["parts"]
    await db.rename_session("s", session_name="Quayside")
    (match,) = await db.search_sessions("quayside", "john")
    assert (match.session.session_name, match.excerpts) == ("Quayside", ())


async def test_a_search_neither_finds_nor_examines_nor_weighs_what_is_others(mongo_url: str, db_name: str) -> None:
    recorder = Recorder()
    async with AsyncMongoClient(mongo_url, event_listeners=[recorder]) as client:
        db = MongoDb(client=client, db_name=db_name, search=True)
        for number in range(20):
            await say(db, "harbour", session_id=f"jane{number}", user_id="jane")
        await say(db, "harbour", session_id="nobody's")
        await say(db, "the harbour", session_id="john's", user_id="john")
        (alone,) = await db.search_sessions("harbour", "john")
        await db.delete_sessions([f"jane{number}" for number in range(10)])
        assert (await db.search_sessions("harbour", "john"))[0].score == alone.score
        assert await found(db, "harbour", None) == ["nobody's"]
        assert await found(db, "harbour", "jim") == []
        recorder.sent.clear()
        assert await found(db, "harbour") == ["john's"]
        assert recorder.names == ["aggregate", "aggregate"]
        for command in list(recorder.sent):
            explained = {name: command[name] for name in ("aggregate", "pipeline")} | {"cursor": {}}
            plan = await client[db_name].command("explain", explained, verbosity="executionStats")
            stats = plan.get("executionStats") or plan["stages"][0]["$cursor"]["executionStats"]
            assert stats["totalDocsExamined"] == (1 if command["aggregate"] == "agno_sessions" else 0)


async def long_session(db: MongoDb, session_id: str, *lines: str, user_id: str = "john") -> list[str]:
    """A session of 33 runs, of which the oldest 25 stand in the archive; the answers begin with ``lines``. Returns the run ids."""
    agent = Agent(model=ScriptedModel(*lines, *["ok"] * (33 - len(lines))), db=db)
    ids = [(await agent.arun("go", session_id=session_id, user_id=user_id)).run_id for _ in range(33)]
    await (await db._connection()).background.finished()
    assert (await db.get_session(session_id)).archived_runs == 25
    return ids


async def test_archived_runs_are_found_as_their_session(searched: MongoDb) -> None:
    db = searched
    ids = await long_session(db, "long", "The harbour.", "The café.", "Fine.")
    await long_session(db, "jane's", "The harbour.", user_id="jane")
    await say(db, "A word of the harbour among others", session_id="short", user_id="john")
    await say(db, "To the harbour again", session_id="long", user_id="john")
    matches = {match.session.session_id: match for match in await db.search_sessions("harbour", "john")}
    assert matches.keys() == {"long", "short"}
    assert [excerpt.text for excerpt in matches["long"].excerpts] == ["The harbour.", "To the harbour again"]
    assert matches["long"].excerpts[0].run_id == ids[0]
    assert matches["long"].session.runs is None
    assert matches["long"].session.run_count == 34
    assert await found(db, "café") == await found(db, "café", session_type="agent", component_id="agent") == ["long"]
    assert await found(db, "café", session_type="team") == await found(db, "café", "jane") == await found(db, "café", None) == []


async def test_what_a_move_or_a_deletion_left_behind_is_not_found(mongo_url: str, db_name: str) -> None:
    async with MongoDb(mongo_url, db_name=db_name, search=True) as db:
        await long_session(db, "s", "The harbour.")
        await say(db, "hello", session_id="other", user_id="john")
        connection = await db._connection()
        # A crash within a move leaves a bucket that begins where the archive ends, one within a deletion all buckets.
        left = await connection.archive.find_one({"session_id": "s"})
        duplicate = {**left, "_id": {"archive": left["archive_id"], "first": 25}, "first": 25, "end": 30}
        duplicate["runs"] = [{"run_id": "r", "messages": [{"role": "user", "content": "quay"}]}]
        await connection.archive.insert_one(duplicate)
        assert await found(db, "quay") == []
        assert await found(db, "harbour") == ["s"]
        await connection.collection.delete_one({"session_id": "s"})
        assert await found(db, "harbour") == []
        await say(db, "anew", session_id="s", user_id="john")
        assert await found(db, "harbour") == []
        assert await found(db, "anew") == ["s"]


async def test_a_fork_is_found_by_the_runs_that_it_shares_and_by_no_others(searched: MongoDb) -> None:
    db = searched
    ids = await long_session(db, "s", "The harbour.", "Fine.", "The quay.")
    await db.fork_session("s", at_run=ids[1], new_session_id="fork")
    assert set(await found(db, "harbour")) == {"s", "fork"}
    assert await found(db, "quay") == ["s"]
    await db.delete_session("s")
    assert await found(db, "harbour") == ["fork"]
    assert await found(db, "quay") == []


async def test_a_field_named_language_is_only_a_field(searched: MongoDb) -> None:
    db = searched
    for number, language in enumerate(("klingon", 7, None, ["x"], {"language": "nowhere"})):
        state = {"language": language, "language%24": language}
        await say(db, {"language": language, "text": "harbour"}, session_id=f"s{number}", user_id="john", session_state=state)
        await say(db, [{"language": language, "text": "quay"}], session_id=f"s{number}", user_id="john")
        await db.update_session_state(f"s{number}", {"language": language})
    assert len(await found(db, "harbour")) == 5


async def test_search_is_switched_on_for_what_is_there_and_off_without_a_loss(mongo_url: str, db_name: str) -> None:
    async with MongoDb(mongo_url, db_name=db_name) as db:
        await say(db, "harbour", session_id="before", user_id="john")
        with pytest.raises(ConfigurationError, match=r"MongoDb\(…, search=True\)"):
            await db.search_sessions("harbour", "john")
    recorder = Recorder()
    async with AsyncMongoClient(mongo_url, event_listeners=[recorder]) as client:
        db = MongoDb(client=client, db_name=db_name, search=True)
        assert await found(db, "harbour") == ["before"]
        await say(db, "harbour", session_id="after", user_id="john")
        assert len(await found(db, "harbour")) == 2
        assert recorder.names.count("createIndexes") == 2
        assert "search" in await client[db_name].agno_sessions.index_information()
        assert "search" in await client[db_name].agno_sessions_archive.index_information()
    async with MongoDb(mongo_url, db_name=db_name) as db:
        await say(db, "harbour", session_id="still", user_id="john")


async def test_a_search_over_mongomock_says_that_it_needs_a_server() -> None:
    db = InMemoryDb(search=True)
    await say(db, "harbour", session_id="s", user_id="john")
    with pytest.raises(ConfigurationError, match="needs a server"):
        await db.search_sessions("harbour", "john")


@pytest.mark.parametrize("query", ["", "  ", None, 7, b"harbour", "a\x00b", "\ud800"])
async def test_a_query_that_is_none_is_refused(query: Any) -> None:
    with pytest.raises(ConfigurationError, match="query"):
        await InMemoryDb(search=True).search_sessions(query)
    with pytest.raises(ConfigurationError, match="limit"):
        await InMemoryDb(search=True).search_sessions("x", limit=0)
    with pytest.raises(UserRequired):
        await InMemoryDb(search=True, require_user_id=True).search_sessions("x")
