"""One owner: every public way to a session, tried by those whose session it is not.

``python -m tests.test_owners`` tries it all on a real server and prints what came of it as a table.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import bson
import pytest
from bson import DBRef, ObjectId
from pymongo import AsyncMongoClient

from agno_mongo.agent import Agent
from agno_mongo.db import archive, drivers
from agno_mongo.db.base import SessionType
from agno_mongo.db.checkpoints import Checkpoint
from agno_mongo.db.embedded_server import EmbeddedServer
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import Ahead, Claim
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.store import RunBegin, RunBegun, RunEnd
from agno_mongo.errors import (
    ConfigurationError,
    RunAlreadyFinished,
    RunNotFound,
    SessionNotFound,
    SessionOwnedByAnotherUser,
    SessionTypeMismatch,
    UnstorableValueError,
    UserRequired,
)
from agno_mongo.messages import Message
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.session import AgentSession, TeamSession, WorkflowSession
from agno_mongo.testing import ScriptedModel
from tests.test_commands import Recorder

# Each call of many is tried on sessions that are made anew, on a machine that may have other things to do.
pytestmark = pytest.mark.timeout(300)

VICTIM: Final = "victoria"
OTHER: Final = "otto"
THEIRS: Final = "session-of-hers"
OWN: Final = "session-of-his"
MISSING: Final = "session-of-none"
FINISHED: Final = "run-finished"
OPEN: Final = "run-going-on"
UNUSED: Final = "run-unheard-of"
RUNS: Final = 41
SAID: Final = "quokka"
LARGE: Final = f"{SAID} " * 12_000
SECRETS: Final = (VICTIM, SAID, "kumquat", "Papers", "ocelot", "elderly-run", "Registrar")
"""Of all that is stored of her, a piece. None of them is ever handed in by him."""

CLASSES: Final = {SessionType.AGENT: AgentSession, SessionType.TEAM: TeamSession, SessionType.WORKFLOW: WorkflowSession}


def key_of(session_id: str, user_id: str | None, kind: SessionType = SessionType.AGENT) -> SessionKey:
    return SessionKey(session_id=session_id, session_type=kind, user_id=user_id)


def run_of(number: int, count: int) -> RunOutput:
    run_id = FINISHED if number == count - 1 else f"elderly-run-{number}"
    content = LARGE if number == count - 1 else f"{SAID} {number}"
    return RunOutput(run_id=run_id, agent_id="Registrar", content=content, status=RunStatus.completed, messages=[])


async def make_hers(
    db: MongoDb, session_id: str = THEIRS, *, runs: int = RUNS, kind: SessionType = SessionType.AGENT, user_id: str = VICTIM
) -> None:
    """Her session: an archive, content in GridFS, state, metadata, a name, and a run that a dead process has left."""
    session = CLASSES[kind](
        session_id=session_id,
        user_id=user_id,
        session_data={"session_name": "Papers", "session_state": {"pin": "kumquat"}},
        metadata={"kept": "ocelot"},
        runs=[run_of(number, runs) for number in range(runs)],
    )
    required, db.require_user_id = db.require_user_id, False
    await db.upsert_session(session)
    begin = run_begin(key_of(session_id, user_id, kind), OPEN, input=LARGE, lease=-60)
    await db.begin_run(begin)
    db.require_user_id = required


def run_begin(key: SessionKey, run_id: str, *, input: Any = "hello", lease: float = 60) -> RunBegin:  # noqa: A002
    return RunBegin(
        key=key, run_id=run_id, input=input, state={}, metadata=None, component_id="a", component={},
        runs_wanted=5, lease=lease, reused_id=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Try:
    """Who tries it, and on what."""

    db: MongoDb
    session_id: str
    user_id: str | None
    run_id: str = FINISHED
    open_run: str = OPEN

    @property
    def agent(self) -> Agent:
        return Agent(model=ScriptedModel("ok"), db=self.db, session_id=self.session_id, user_id=self.user_id)

    @property
    def key(self) -> SessionKey:
        return key_of(self.session_id, self.user_id)

    @property
    def claim(self) -> Claim:
        return Claim(key=self.key, run_id=self.open_run)

    @property
    def scope(self) -> dict[str, Any]:
        return {"session_type": "agent", "user_id": self.user_id}


@dataclass(frozen=True)
class Call:
    """A way to a session. ``refused`` is what comes of it for a session of somebody else, ``of_run`` for a run id of somebody else's in
    one's own session: an error or a value. ``mismatch`` is for one's own session of
    another type. ``admin``: without a user it is for anybody's sessions, by design. ``needs_user``: it is for one user, by name.
    """

    name: str
    make: Callable[[Try], Awaitable[Any]]
    refused: Any = SessionOwnedByAnotherUser
    admin: bool = False
    of_run: Any = ...
    mismatch: Any = SessionTypeMismatch
    needs_user: bool = False


async def _read_out(events: Any) -> list[Any]:
    return [event async for event in events]


async def _renamed(t: Try) -> Any:
    return await t.db.rename_session(t.session_id, "agent", "Mine", t.user_id)


async def _finish(t: Try) -> Any:
    run = {"run_id": t.open_run, "agent_id": "a", "content": LARGE.replace(SAID, "otter"), "status": "COMPLETED"}
    return await t.db.finish_run(
        RunEnd(key=t.key, run_id=t.open_run, runs=[run], changes=[], counters={"total_tokens": 1}, state_revision=None)
    )


async def _renewed(t: Try) -> bool:
    return bool(await t.db.renew_lease(t.claim, 60))


async def _checkpoint(t: Try) -> None:
    messages = [{"role": "user", "content": LARGE.replace(SAID, "otter")}]
    await t.db.checkpoint_run(
        Checkpoint(claim=t.claim, lease=60, lists={"messages": messages, "tools": []}, metrics={}, changes=[], whole=True)
    )


async def _upsert(t: Try) -> Any:
    runs = [RunOutput(run_id=FINISHED, agent_id="a", content=LARGE.replace(SAID, "otter"))]
    return await t.db.upsert_session(AgentSession(session_id=t.session_id, user_id=t.user_id, runs=runs))


async def _begin(t: Try) -> str:
    begun = await t.db.begin_run(run_begin(t.key, t.run_id, input=LARGE.replace(SAID, "otter")))
    return f"begun in {begun.session.session_id}"


async def _still_ahead(t: Try) -> int:
    entry = {"lease_until": 0.0, "started_at": 0.0}
    return len(await t.db.still_ahead(t.claim, Ahead({t.open_run: entry})))


async def _take_over(t: Try) -> Any:
    return await t.db.take_over_run(replace(t.claim, continued_by="token"), run_begin(t.key, t.open_run))


async def _ask(t: Try, **options: Any) -> Any:
    run = await t.agent.arun("hello", **options)
    return f"ran in {run.session_id}"


CALLS: Final = (
    Call("agent.arun", lambda t: _ask(t, run_id=t.run_id), of_run=f"ran in {OWN}"),
    Call("agent.arun, long input", lambda t: t.agent.arun("otter " * 20_000)),
    Call("agent.arun(stream=True)", lambda t: _read_out(t.agent.arun("hello", stream=True))),
    Call("agent.acontinue_run", lambda t: t.agent.acontinue_run(t.open_run), of_run=RunNotFound),
    Call("agent.acontinue_run(stream=True)", lambda t: _read_out(t.agent.acontinue_run(t.open_run, stream=True)), of_run=RunNotFound),
    Call("agent.acontinue_run(requirements=)",
         lambda t: t.agent.acontinue_run(run_id=t.open_run, requirements=[{"tool_execution": {"tool_call_id": "c", "confirmed": True}}]),
         of_run=RunNotFound),
    Call("agent.acancel_run", lambda t: t.agent.acancel_run(t.open_run), of_run=RunNotFound),
    Call("agent.aget_session", lambda t: t.agent.aget_session()),
    Call("agent.aget_session_messages", lambda t: t.agent.aget_session_messages()),
    Call("agent.aget_session_messages(last_n_runs=1)", lambda t: t.agent.aget_session_messages(last_n_runs=1)),
    Call("agent.aget_chat_history", lambda t: t.agent.aget_chat_history()),
    Call("agent.aget_chat_history(last_n_runs=1)", lambda t: t.agent.aget_chat_history(last_n_runs=1)),
    Call("agent.aget_session_state", lambda t: t.agent.aget_session_state()),
    Call("agent.aupdate_session_state", lambda t: t.agent.aupdate_session_state({"pin": 1})),
    Call("agent.aget_session_name", lambda t: t.agent.aget_session_name()),
    Call("agent.aset_session_name", lambda t: t.agent.aset_session_name(session_name="Mine")),
    Call("agent.aget_session_summary", lambda t: t.agent.aget_session_summary()),
    Call("agent.aget_session_metrics", lambda t: t.agent.aget_session_metrics()),
    Call("agent.aget_run_output", lambda t: t.agent.aget_run_output(t.run_id), of_run=None),
    Call("agent.aget_run_output, open run", lambda t: t.agent.aget_run_output(t.open_run), of_run=None),
    Call("agent.aget_runs", lambda t: t.agent.aget_runs()),
    Call("agent.aget_runs(before=)", lambda t: t.agent.aget_runs(before=t.run_id), of_run=RunNotFound),
    Call("agent.aget_last_run_output", lambda t: t.agent.aget_last_run_output()),
    Call("agent.adelete_session", lambda t: t.agent.adelete_session()),
    Call("db.get_session", lambda t: t.db.get_session(t.session_id, **t.scope), admin=True),
    Call("db.get_session(runs_limit=1)", lambda t: t.db.get_session(t.session_id, **t.scope, runs_limit=1), admin=True),
    Call("db.get_sessions", lambda t: t.db.get_sessions(**t.scope, include_runs=True), [], admin=True, mismatch=[]),
    Call("db.get_sessions(deserialize=False)", lambda t: t.db.get_sessions(**t.scope, deserialize=False), ([], 0), admin=True,
         mismatch=([], 0)),
    Call("db.count_sessions", lambda t: t.db.count_sessions(**t.scope), 0, admin=True, mismatch=0),
    Call("db.count_sessions(estimated)", lambda t: t.db.count_sessions(**t.scope, total="estimated"), 0, admin=True, mismatch=0),
    Call("db.get_all_session_ids", lambda t: t.db.get_all_session_ids(**t.scope), [], admin=True, mismatch=[]),
    Call("db.get_runs", lambda t: t.db.get_runs(t.session_id, **t.scope), admin=True),
    Call("db.get_runs(before=)", lambda t: t.db.get_runs(t.session_id, before=t.run_id, **t.scope), admin=True, of_run=RunNotFound),
    Call("db.get_run", lambda t: t.db.get_run(t.session_id, t.run_id, **t.scope), admin=True, of_run=None),
    Call("db.get_run, archived", lambda t: t.db.get_run(t.session_id, "elderly-run-0", **t.scope), admin=True, of_run=None),
    Call("db.rename_session", _renamed, admin=True),
    Call("db.update_session_state", lambda t: t.db.update_session_state(t.session_id, {"pin": 1}, t.user_id, "agent"), admin=True),
    Call("db.upsert_session", _upsert),
    Call("db.fork_session", lambda t: t.db.fork_session(t.session_id, **t.scope), admin=True),
    Call("db.fork_session(at_run=)", lambda t: t.db.fork_session(t.session_id, t.run_id, **t.scope), admin=True, of_run=RunNotFound),
    Call("db.rewind_session", lambda t: t.db.rewind_session(t.session_id, t.run_id, **t.scope), admin=True, of_run=RunNotFound),
    Call("db.rewind_session(keep_copy=False)",
         lambda t: t.db.rewind_session(t.session_id, t.run_id, keep_copy=False, **t.scope), admin=True, of_run=RunNotFound),
    Call("db.delete_session", lambda t: t.db.delete_session(t.session_id, t.user_id, "agent"), admin=True),
    Call("db.delete_sessions", lambda t: t.db.delete_sessions([t.session_id, MISSING], t.user_id), 0, admin=True, mismatch=...),
    Call("db.set_retention", lambda t: t.db.set_retention(t.session_id, timedelta(days=1), **t.scope), admin=True),
    Call("db.delete_user", lambda t: t.db.delete_user(t.user_id), 0, needs_user=True, mismatch=...),  # type: ignore[arg-type]
    Call("db.export_user", lambda t: _read_out(t.db.export_user(t.user_id)), [], needs_user=True, mismatch=...),  # type: ignore[arg-type]
    Call("db.begin_run", _begin, of_run=f"begun in {OWN}"),
    Call("db.finish_run", _finish, SessionNotFound, of_run=SessionNotFound, mismatch=SessionNotFound),
    Call("db.renew_lease", _renewed, False, of_run=False, mismatch=False),
    Call("db.checkpoint_run", _checkpoint, SessionNotFound, of_run=SessionNotFound, mismatch=SessionNotFound),
    Call("db.still_ahead", _still_ahead, 0, of_run=0, mismatch=0),
    Call("db.read_run_again", lambda t: t.db.read_run_again(replace(run_begin(t.key, t.open_run), reused_id=False), t.claim), SessionNotFound,
         of_run=SessionNotFound, mismatch=SessionNotFound),
    Call("db.take_over_run", _take_over, of_run=RunNotFound),
    Call("db.cancel_run", lambda t: t.db.cancel_run(t.claim), of_run=RunNotFound),
    Call("db.leave_run", lambda t: t.db.leave_run(t.claim), None, of_run=None, mismatch=None),
)  # fmt: skip


async def _watched(t: Try) -> list[str]:
    """What is told of what happens to her meanwhile, up to something of his own."""
    told = []
    async with t.db.watch(user_id=t.user_id) as events:
        required, t.db.require_user_id = t.db.require_user_id, False
        await t.db.update_session_state(THEIRS, {"seen": 1}, VICTIM)
        await t.db.update_session_state(OWN, {"seen": 1}, OTHER)
        t.db.require_user_id = required
        async for event in events:
            told.append(event.session_id)
            if event.session_id == OWN:
                return told
    return told


async def _watched_one(t: Try) -> str:
    async with t.db.watch(t.session_id, t.user_id) as events:
        return f"opened {events}"


async def _found(t: Try) -> list[str]:
    return [match.session.session_id for match in await t.db.search_sessions(f"{SAID} Papers", t.user_id)]


SERVER_CALLS: Final = (
    Call("db.search_sessions", _found, [], mismatch=...),
    Call("db.watch(session_id)", _watched_one, admin=True, mismatch=...),
    Call("db.watch", _watched, [OWN], admin=True, mismatch=...),
)
"""Those that mongomock does not have."""


async def tried(call: Call, attempt: Try) -> Any:
    """What comes of it: a value, or the error."""
    try:
        return await call.make(attempt)
    except Exception as error:
        return error


async def documents(db: MongoDb) -> dict[str, dict[str, bytes]]:
    """All documents of all collections, byte for byte; collections that are empty do not count."""
    database = (await db._connection()).database
    stored = {}
    for name in await database.list_collection_names():
        found = await database[name].find({}).to_list(None)
        if found:
            stored[name] = {str(document["_id"]): bson.encode(document) for document in found}
    return stored


async def everything(db: MongoDb) -> dict[str, Any]:
    """What tells one state of the database from another to the byte: all documents, or the server's own hash of them."""
    connection = await db._connection()
    if drivers.is_mock(connection.client):
        return await documents(db)
    hashes = (await connection.database.command("dbHash"))["collections"]
    return {name: digest for name, digest in hashes.items() if digest != _OF_NOTHING}


_OF_NOTHING: Final = "d41d8cd98f00b204e9800998ecf8427e"


def told_by(outcome: Any) -> str:
    """All that one who tried it could read: values, texts of errors and of what they were caused by, attributes."""
    if not isinstance(outcome, BaseException):
        return repr(outcome)
    printed = "".join(traceback.TracebackException.from_exception(outcome).format())
    # The lines of our own code that a traceback shows are not what is told.
    lines = [line for line in printed.splitlines() if not line.startswith("    ")]
    return "\n".join([*lines, *(f"{vars(error)!r}" for error in _chain_of(outcome))])


def _chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def leaks(outcome: Any, *, supplied: Sequence[str] = ()) -> list[str]:
    """What of hers is told."""
    told = told_by(outcome)
    for text in supplied:
        told = told.replace(text, "…")
    found = [secret for secret in (*SECRETS, FINISHED, OPEN, THEIRS) if secret.lower() in told.lower()]
    numbers = [
        str(number) for number in (RUNS, RUNS - 1, len(LARGE)) if re.search(rf"(?<![\w.:]){number}(?![\w.:])", _texts(outcome))
    ]
    return found + numbers


def _texts(outcome: Any) -> str:
    if isinstance(outcome, BaseException):
        return " ".join(f"{error} {list(vars(error).values())}" for error in _chain_of(outcome))
    return repr(outcome)


def is_as_expected(outcome: Any, expected: Any) -> bool:
    if isinstance(expected, type):
        return type(outcome) is expected
    return not isinstance(outcome, BaseException) and bool(outcome == expected)


def cell(outcome: Any) -> str:
    if isinstance(outcome, BaseException):
        return f"`{type(outcome).__name__}`"
    return f"`{outcome!r}`" if len(repr(outcome)) < 40 else "done"


async def refusals(db: MongoDb, calls: Sequence[Call], user_id: str | None, expected: Callable[[Call], Any]) -> dict[str, str]:
    """Try each call on her session. Asserts that each is refused as expected, that nothing of hers is told, and that nothing is changed."""
    cells, wrong = {}, []
    before = await everything(db)
    for call in calls:
        outcome = await tried(call, Try(db, THEIRS, user_id))
        cells[call.name] = cell(outcome)
        if not is_as_expected(outcome, expected(call)):
            wrong.append(f"{call.name}: {outcome!r:.200}, not {expected(call)}")
        supplied = [THEIRS, FINISHED, OPEN, "elderly-run-0"] if isinstance(outcome, BaseException) else []
        if found := leaks(outcome, supplied=supplied):
            wrong.append(f"{call.name} tells {found}: {told_by(outcome):.500}")
        after = await everything(db)
        if call.name != "db.watch" and after != before:
            wrong.append(f"{call.name} changed {[name for name in {**before, **after} if after.get(name) != before.get(name)]}")
        before = after
    assert wrong == []
    return cells


def refused(call: Call) -> Any:
    return call.refused


def refused_to_nobody(call: Call) -> Any:
    return ConfigurationError if call.needs_user else call.refused


def user_required(call: Call) -> Any:
    return ConfigurationError if call.needs_user else UserRequired


async def his_own(db: MongoDb) -> None:
    runs = [RunOutput(run_id="his-run", agent_id="a", content="otter", status=RunStatus.completed)]
    await db.upsert_session(AgentSession(session_id=OWN, user_id=OTHER, runs=runs))


class TestAnotherUsersSession:
    async def test_is_refused_or_not_there_and_stays_as_it_was(self, db: MongoDb) -> None:
        await make_hers(db)
        await refusals(db, CALLS, OTHER, refused)

    async def test_is_refused_to_one_who_names_no_user(self, db: MongoDb) -> None:
        await make_hers(db)
        await refusals(db, [call for call in CALLS if not call.admin], None, refused_to_nobody)

    async def test_needs_a_user_where_the_database_requires_one(self, db: MongoDb) -> None:
        db.require_user_id = True
        await make_hers(db)
        await refusals(db, CALLS, None, user_required)

    async def test_is_as_if_it_were_not_there_where_it_is_not_refused(self, db: MongoDb) -> None:
        await make_hers(db)
        for call in CALLS:
            if call.refused is not SessionOwnedByAnotherUser:
                outcome, missing = [await tried(call, Try(db, name, OTHER)) for name in (THEIRS, MISSING)]
                assert _texts(outcome).replace(THEIRS, MISSING) == _texts(missing), call.name
                assert type(outcome) is type(missing), call.name

    async def test_stays_in_the_shape_that_agno_wrote(self, db: MongoDb) -> None:
        old = {"session_id": THEIRS, "user_id": VICTIM, "agent_id": "Registrar", "session_data": {"session_name": "Papers"}}
        old["memory"] = {"runs": [{"response": {"run_id": FINISHED, "content": SAID}}]}
        await (await db._connection()).collection.insert_one(old)
        await refusals(db, CALLS, OTHER, refused)
        await refusals(db, [call for call in CALLS if not call.admin], None, refused_to_nobody)

    async def test_is_open_to_a_call_on_the_database_without_a_user(self, db: MongoDb) -> None:
        await admins_view(db, CALLS)

    async def test_is_not_deleted_with_those_that_are_ones_own(self, db: MongoDb) -> None:
        await make_hers(db)
        before = await everything(db)
        await his_own(db)
        assert await db.delete_sessions([THEIRS, OWN, MISSING], OTHER) == 1
        assert await everything(db) == before


async def admins_view(db: MongoDb, calls: Sequence[Call]) -> dict[str, str]:
    """Asserts that calls on the db that name no user are for every session."""
    cells = {}
    made = None
    for call in calls:
        if call.admin:
            if await everything(db) != made:
                await db.delete_sessions(await db.get_all_session_ids())
                await make_hers(db)
                await his_own(db)
                made = await everything(db)
            outcome = await tried(call, Try(db, THEIRS, None))
            assert not isinstance(outcome, BaseException), (call.name, outcome)
            assert outcome not in (None, [], 0, False), call.name
            cells[call.name] = "admin"
    await db.delete_sessions(await db.get_all_session_ids())
    return cells


async def foreign_runs(db: MongoDb, calls: Sequence[Call]) -> dict[str, str]:
    """Try each call on his session with the id of a run of hers. Asserts that it is as if there were no such run anywhere."""
    cells, wrong = {}, []
    await make_hers(db)
    before = await everything(db)
    for call in calls:
        if call.of_run is ...:
            continue
        await his_own(db)
        outcome = await tried(call, Try(db, OWN, OTHER))
        cells[call.name] = cell(outcome)
        if not is_as_expected(outcome, call.of_run):
            wrong.append(f"{call.name}: {outcome!r:.200}, not {call.of_run}")
        if found := leaks(outcome, supplied=[FINISHED, OPEN]):
            wrong.append(f"{call.name} tells {found}: {told_by(outcome):.500}")
        await db.delete_session(OWN, OTHER)
        if await everything(db) != before:
            wrong.append(f"{call.name} changed what is hers, or left what does not go with his session")
        await his_own(db)
        unused = await tried(call, Try(db, OWN, OTHER, run_id=UNUSED, open_run=UNUSED))
        if _texts(outcome).replace(FINISHED, UNUSED).replace(OPEN, UNUSED) != _texts(unused):
            wrong.append(f"{call.name}: {outcome!r:.200}, but for an id that nobody has: {unused!r:.200}")
        await db.delete_session(OWN, OTHER)
    assert wrong == []
    return cells


class TestARunIdOfAnotherUser:
    async def test_is_like_one_that_nobody_has(self, db: MongoDb) -> None:
        await foreign_runs(db, CALLS)

    async def test_that_names_nobody_is_like_one_too(self, db: MongoDb) -> None:
        await make_hers(db)
        await db.upsert_session(AgentSession(session_id="of-nobody", runs=[]))
        for call in CALLS:
            if isinstance(call.of_run, type):
                assert is_as_expected(await tried(call, Try(db, "of-nobody", None)), call.of_run), call.name


async def test_on_a_server_search_and_watch_are_for_ones_own_alone(mongo_url: str, db_name: str) -> None:
    async with MongoDb(mongo_url, db_name=db_name, search=True) as db:
        await make_hers(db)
        await his_own(db)
        await refusals(db, SERVER_CALLS, OTHER, refused)
        assert await _found(Try(db, THEIRS, None)) == []
        assert await _found(Try(db, THEIRS, VICTIM)) == [THEIRS]
        db.require_user_id = True
        await refusals(db, SERVER_CALLS, None, user_required)


@pytest.mark.parametrize("kind", [SessionType.TEAM, SessionType.WORKFLOW])
async def test_an_agent_is_refused_a_session_of_another_type(db: MongoDb, kind: SessionType) -> None:
    await make_hers(db, kind=kind, user_id=OTHER)
    before = await everything(db)
    for call in CALLS:
        if call.mismatch is not ...:
            outcome = await tried(call, Try(db, THEIRS, OTHER))
            assert is_as_expected(outcome, call.mismatch), (call.name, outcome)
            if isinstance(outcome, SessionTypeMismatch):
                assert (outcome.expected, outcome.actual) == ("agent", kind.value)
            assert not leaks(outcome, supplied=[THEIRS, FINISHED, OPEN, "elderly-run-0"]), call.name
            assert await everything(db) == before, call.name


class Weighed(Recorder):
    """Also how many bytes came back for every command."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: list[int] = []

    def succeeded(self, event: Any) -> None:
        self.bytes.append(len(bson.encode(event.reply)))


async def test_a_refusal_takes_the_same_commands_bytes_and_words_at_any_length(mongo_url: str, db_name: str) -> None:
    weighed = Weighed()
    async with AsyncMongoClient(mongo_url, event_listeners=[weighed]) as client:
        db = MongoDb(client=client, db_name=db_name)
        await make_hers(db, "hers-with-1", runs=1)
        await make_hers(db, "hers-with-2", runs=200)
        for call, user_id in [(call, user_id) for call in CALLS for user_id in (OTHER, None) if user_id or not call.admin]:
            seen = []
            for session_id in ("hers-with-1", "hers-with-2"):
                weighed.sent.clear()
                weighed.bytes.clear()
                outcome = await tried(call, Try(db, session_id, user_id))
                seen.append((weighed.names, list(weighed.bytes), _texts(outcome).replace(session_id, "…")))
            assert seen[0] == seen[1], call.name


class TestForgedReferences:
    async def test_to_content_of_another_are_values_that_cannot_be_stored(self, db: MongoDb) -> None:
        await make_hers(db)
        await his_own(db)
        files = (await db._connection()).media_files
        file = await files.find_one({})
        reference = DBRef(files.name, file["_id"], None, {"type": "text", "length": file["length"]})
        agent = Agent(model=ScriptedModel("ok"), db=db, session_id=OWN, user_id=OTHER)
        before = await everything(db)
        for attempt in (
            agent.arun({"x": reference}),
            agent.arun("hello", metadata={"x": reference}),
            agent.aupdate_session_state({"x": reference}),
            db.upsert_session(AgentSession(session_id="forged", user_id=OTHER, metadata={"x": reference})),
        ):
            with pytest.raises(UnstorableValueError):
                await attempt
        assert await everything(db) == before

    async def test_written_out_are_read_as_they_were_written(self, db: MongoDb) -> None:
        await make_hers(db)
        files = (await db._connection()).media_files
        file = await files.find_one({})
        written = {"$ref": files.name, "$id": file["_id"], "type": "text", "length": file["length"]}
        agent = Agent(model=ScriptedModel("ok"), db=db, session_id=OWN, user_id=OTHER, session_state={"x": written})
        await agent.arun({"x": written})
        session = await agent.aget_session()
        assert session is not None
        assert session.session_state == {"x": written}
        assert session.runs[0].input.input_content == {"x": written}  # type: ignore[index, union-attr]

    async def test_to_an_archive_of_another_are_not_taken(self, db: MongoDb) -> None:
        await make_hers(db)
        hers = await (await db._connection()).collection.find_one({"session_id": THEIRS})
        segment = archive.own_segment(hers)
        lineage = [{"id": segment, "end": RUNS - 8}]
        forged = AgentSession(session_id=OWN, user_id=OTHER, runs=[], archived_runs=RUNS - 8, archive_id=segment)
        forged.archive_lineage, forged.has_media = lineage, True
        await db.upsert_session(forged)
        assert (await db.get_session(OWN, user_id=OTHER)).runs == []
        assert await db.get_run(OWN, "elderly-run-0", user_id=OTHER) is None
        assert await db.delete_session(OWN, OTHER)
        assert len((await db.get_session(THEIRS, user_id=VICTIM)).runs) == RUNS

    async def test_to_a_user_by_an_operator_are_errors_and_no_queries(self, db: MongoDb) -> None:
        await make_hers(db)
        before = await everything(db)
        for user_id in ({"$ne": None}, {"$exists": True}, [VICTIM], 7, "", ObjectId()):
            for call in CALLS:
                if call.name != "db.upsert_session":
                    attempt = Try(db, THEIRS, user_id)  # type: ignore[arg-type]
                    assert type(await tried(call, attempt)) is ConfigurationError, call.name
        assert await everything(db) == before


class Replaced(InMemoryDb):
    """Right after a run has begun in a session, the session is deleted, and she makes one of the same id."""

    async def begin_run(self, begin: RunBegin) -> RunBegun:
        begun = await super().begin_run(begin)
        await self.delete_session(begin.key.session_id)
        said = [Message(role="user", content=SAID), Message(role="assistant", content=SAID)]
        hers = RunOutput(run_id=FINISHED, agent_id="a", status=RunStatus.completed, messages=said)
        await self.upsert_session(AgentSession(session_id=begin.key.session_id, user_id=VICTIM, runs=[hers]))
        return begun


@pytest.mark.parametrize("user_id", [OTHER, None])
async def test_history_is_never_that_of_a_session_which_another_made_meanwhile(user_id: str | None) -> None:
    failed = [RunOutput(run_id=f"his-{number}", agent_id="a", status=RunStatus.error, messages=[]) for number in range(9)]
    async with Replaced() as db:
        await db.upsert_session(AgentSession(session_id="s", user_id=user_id, runs=failed))
        with ScriptedModel() as model:
            agent = Agent(model=model, db=db, session_id="s", user_id=user_id, add_history_to_context=True)
            with pytest.raises(SessionNotFound) as caught:
                await agent.arun("hello")
        assert model.requests == []
        assert not leaks(caught.value)


class TestAFork:
    async def test_into_another_users_session_leaves_both_as_they_were(self, db: MongoDb) -> None:
        await make_hers(db, OWN, user_id=OTHER)
        await make_hers(db)
        before = await everything(db)
        with pytest.raises(ConfigurationError, match="already") as caught:
            await db.fork_session(OWN, new_session_id=THEIRS, user_id=OTHER)
        assert VICTIM not in told_by(caught.value)
        assert await everything(db) == before


class TestARunThatIsBegunAgain:
    async def test_does_not_cost_the_finished_one_its_content(self, db: MongoDb) -> None:
        await make_hers(db)
        agent = Agent(model=ScriptedModel(), db=db, session_id=THEIRS, user_id=VICTIM)
        for run_id in (FINISHED, "elderly-run-0"):
            for text in (LARGE, LARGE.upper()):
                with pytest.raises(RunAlreadyFinished):
                    await agent.arun(text, run_id=run_id)
        run = await agent.aget_run_output(FINISHED)
        assert run is not None
        assert run.content == LARGE


COLUMNS: Final = ("another user", "no user", "no user, require_user_id", "run id of another's")


async def table(url: str) -> str:
    """The matrix, as it comes out on a real server."""
    async with MongoDb(url, db_name="owners", search=True) as db:
        every_call = [*CALLS, *SERVER_CALLS]
        no_user = await admins_view(db, every_call)
        await make_hers(db)
        await his_own(db)
        no_user |= await refusals(db, [call for call in every_call if not call.admin], None, refused_to_nobody)
        db.require_user_id = True
        required = await refusals(db, every_call, None, user_required)
        db.require_user_id = False
        another = await refusals(db, SERVER_CALLS, OTHER, refused)
        await db.delete_session(OWN, OTHER)
        another |= await refusals(db, CALLS, OTHER, refused)
        await db.delete_session(THEIRS)
        of_run = await foreign_runs(db, CALLS)
    rows = [f"| call | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for call in (*CALLS, *SERVER_CALLS):
        of_call = [column.get(call.name, "–") for column in (another, no_user, required, of_run)]
        rows.append(f"| {call.name} | {' | '.join(of_call)} |")
    return "\n".join(rows)


def main() -> None:
    folder = tempfile.mkdtemp(prefix="agno_mongo_owners_")
    server = EmbeddedServer(folder)
    try:
        print(asyncio.run(table(server.acquire())))
    finally:
        server.release()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
