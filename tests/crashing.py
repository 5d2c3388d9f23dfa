"""Processes that kill themselves at every command boundary, and what they leave behind.

A scenario is an asynchronous function of a :class:`Stage`. A child process plays it and kills itself with SIGKILL just before its n-th command is
sent, or just after the reply to it came. What it had acknowledged until then, and which commands it had sent, it tells through a pipe.
The parent then looks at the database, goes on with the session, and repeats the run that was killed. ``python -m tests.crashing``
prints what became of each case.

Children are forked from processes that have imported everything and opened nothing (:class:`Nursery`), so that one costs a tenth of a second;
two at a time, each in a session of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from itertools import cycle, product
from typing import Any

from pymongo import AsyncMongoClient, monitoring
from pymongo.monitoring import CommandListener
from typing_extensions import Self

from agno_mongo.agent import Agent
from agno_mongo.db.embedded_server import EmbeddedServer
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import RunAlreadyFinished
from agno_mongo.execution import Settings
from agno_mongo.messages import Message
from agno_mongo.run import RunContext, RunInput, RunOutput, RunStatus
from agno_mongo.session import AgentSession
from agno_mongo.testing import ScriptedModel, ToolCall

LEASE = 0.3
"""Seconds after which a child's unfinished run counts as interrupted."""

CLOCKS = 0.05
"""Seconds by which the client's idea of the server's clock may move."""

USER = "john"
TOKENS_OF_A_TURN = 30
ANSWER = "It is noted."
LARGE = 200_000
"""Bytes of input and of tool result in a run whose id begins with ``large``."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One child: it plays ``scenario`` and dies at command ``at`` (from 1) of the one that played to its end, or not at all.

    That is the ``nth`` command that is described as ``command``: a renewal more or less, on a busy machine, is not to make it another.
    """

    url: str
    db_name: str
    table: str
    scenario: str
    session_id: str
    at: int = 0
    command: str = ""
    nth: int = 0
    moment: str = "before"

    @property
    def name(self) -> str:
        return f"{self.scenario}: {self.moment} command {self.at}" if self.at else f"{self.scenario}: not killed"


@dataclass(kw_only=True)
class Report:
    """What a child told: ids of the runs the session had from the beginning, of those it began to ask for, the runs it acknowledged, the
    commands that left it and those whose reply came.

    Commands are ``begin_run ID``, ``finish_run ID``, ``pause_run ID``, ``take_over_run ID``, with ``in vain`` if they matched nothing,
    ``checkpoint``, ``renewal``, or what MongoDB calls them, and the collection where it is not that of the sessions.
    """

    case: Case
    seeded: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    died_at: str = ""
    killed: bool = False
    errors: list[str] = field(default_factory=list)

    @property
    def acknowledged_ids(self) -> list[str]:
        return [run["run_id"] for run in self.acknowledged]

    @property
    def unacknowledged(self) -> list[str]:
        return [run_id for run_id in self.asked if run_id not in self.acknowledged_ids]

    def fates(self, run_id: str) -> set[str]:
        """What may have become of a run, by the commands that were sent and answered. One thing only, if nothing went on beside it."""
        begin, finish = f"begin_run {run_id}", f"finish_run {run_id}"
        fates = {"stored"} if finish in self.sent else set()
        if finish not in self.answered and begin in self.sent:
            fates.add("interrupted")
        if begin not in self.answered:
            fates.add("absent")
        return fates


class Killer(CommandListener):
    """Counts commands once it is armed, and ends its process at the one it was told.

    PyMongo publishes ``started`` before it writes to the socket. ``kill`` does not return from SIGKILL to oneself.
    """

    def __init__(self, case: Case, tell: Callable[[str, Any], None]) -> None:
        self._case = case
        self._tell = tell
        self._begun: dict[int, tuple[str, int]] = {}
        self._counted: Counter[str] = Counter()
        self.armed = False
        self.answered: Counter[str] = Counter()

    def started(self, event: Any) -> None:
        if not self.armed or event.command_name == "endSessions":
            # With that a client says goodbye; whatever it did is done.
            return
        what = described(event.command)
        self._counted[what] += 1
        self._begun[event.request_id] = what, self._counted[what]
        self._die_at(what, self._counted[what], "before")
        self._tell("sent", what)

    def succeeded(self, event: Any) -> None:
        self.answered[event.command_name] += 1
        if event.request_id in self._begun:
            what, nth = self._begun[event.request_id]
            if what == "renewal":
                self.answered[what] += 1
            in_vain = "value" in event.reply and event.reply["value"] is None
            self._tell("answered", f"{what} in vain" if in_vain else what)
            self._die_at(what, nth, "after")

    def failed(self, event: Any) -> None:
        if event.request_id in self._begun:
            self._die_at(*self._begun[event.request_id], "after")

    def _die_at(self, what: str, nth: int, moment: str) -> None:
        if (what, nth, moment) == (self._case.command, self._case.nth, self._case.moment):
            self._tell("died_at", what)
            os.kill(os.getpid(), signal.SIGKILL)


def described(command: Any) -> str:
    """The command by the name of our own, and the run it is about, or MongoDB's name for it and the collection beside the sessions."""
    name = str(next(iter(command)))
    collection = str(command[name])
    for part in ("archive", "media.files", "media.chunks"):
        if collection.endswith(f"_{part}"):
            return f"{name} {part}"
    if name == "findAndModify" and command.get("remove"):
        return "delete"
    update = command.get("update")
    if name == "findAndModify" and isinstance(update, dict):
        of_entry = {
            path.split(".")[2]: path.split(".")[1]
            for path in update.get("$set") or ()
            if path.startswith("active_runs.") and path.count(".") > 1
        }
        for field, ours in _OF_AN_ENTRY.items():
            if field in of_entry:
                return f"{ours} {of_entry[field]}" if ours.endswith("_run") else ours
        for operator, ours in (("$unset", "finish_run"), ("$set", "begin_run")):
            for path in update.get(operator) or ():
                if path.startswith("active_runs.") and path.count(".") == 1:
                    return f"{ours} {path.partition('.')[2]}"
    return name


_OF_AN_ENTRY = {"state_changes": "checkpoint", "pending": "pause_run", "status": "take_over_run", "lease_until": "renewal"}
"""The first of these fields that a command sets tells what it is."""


class Stage:
    """What a scenario acts on. Commands count from ``arm()`` on; a turn that returned is acknowledged before anything else happens."""

    def __init__(self, case: Case, db: MongoDb, killer: Killer, tell: Callable[[str, Any], None]) -> None:
        self.case = case
        self.db = db
        self.session_id = case.session_id
        self._killer = killer
        self._tell = tell

    def arm(self) -> None:
        self._killer.armed = True

    def done(self, what: str) -> None:
        """Acknowledge what is no turn."""
        self._tell("done", what)

    def answered(self, command: str) -> int:
        """How many commands of this name have been answered."""
        return self._killer.answered[command]

    async def answers_to(self, command: str, count: int) -> None:
        """Wait until so many commands of this name have been answered."""
        while self._killer.answered[command] < count:
            await asyncio.sleep(0.005)

    async def seed(self, count: int, *, large: tuple[int, ...] = ()) -> None:
        """Give the session so many runs in one go; those numbered ``large`` have much to say."""
        runs = [seeded(number, large=number in large) for number in range(count)]
        ids = [str(run.run_id) for run in runs]
        state = {"runs": dict.fromkeys(ids, True), "last": ids[-1]}
        data = {"session_state": state, "session_metrics": {"total_tokens": TOKENS_OF_A_TURN * count}}
        session = AgentSession(session_id=self.session_id, user_id=USER, session_data=data, runs=runs)
        await self.db.upsert_session(session)
        for run_id in ids:
            self._tell("seeded", run_id)

    async def turn(self, run_id: str, *, agent: Agent | None = None) -> None:
        """One turn of the session, acknowledged: the model calls the tool ``note``, then answers."""
        agent = agent or agent_on(self.db, self.session_id)[0]
        self._tell("asked", run_id)
        run = await agent.arun(question(run_id), run_id=run_id)
        self._tell("acknowledged", plain(run.to_dict()))


def question(run_id: str) -> str:
    return f"What do you say to {run_id}?" + much(run_id)


def much(run_id: str) -> str:
    """Much of a text of the run's own, if it is a large one."""
    return f" {run_id}".ljust(LARGE, ".") if run_id.startswith("large") else ""


def seeded(number: int, *, large: bool = False) -> RunOutput:
    """A run as it is seeded."""
    run_id = f"seed{number}"
    content = ANSWER + (f" {run_id}".ljust(LARGE // 2, ".") if large else "")
    messages = [Message(role="user", content=question(run_id)), Message(role="assistant", content=content)]
    told = RunInput(input_content=question(run_id))
    return RunOutput(run_id=run_id, input=told, content=content, messages=messages, status=RunStatus.completed)


def note(run_context: RunContext) -> str:
    """Note that the run was here: under a key of its own, and under one that all runs write."""
    run_context.session_state.setdefault("runs", {})[run_context.run_id] = True
    run_context.session_state["last"] = run_context.run_id
    return f"Noted.{much(run_context.run_id)}"


def agent_on(db: MongoDb, session_id: str, *script: Any, **settings: Any) -> tuple[Agent, ScriptedModel]:
    """The agent of every turn, in child and parent alike."""
    model = ScriptedModel(*(script or (ToolCall("note"), ANSWER)))
    settings = {"tools": [note], "add_history_to_context": True, "num_history_runs": 100, **settings}
    return Agent(model=model, db=db, session_id=session_id, user_id=USER, **settings), model


# The scenarios.

Act = Callable[[Stage], Awaitable[None]]
Check = Callable[["Witness", Report], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``at_once`` is checked while the leases of the dead still run, ``later`` when they have run out; both say what became of the case.

    ``in_order``: no two runs went on at once. ``own_table``: each case begins without a collection. Afterwards all sessions are deleted, and
    nothing may be left in any collection; ``in_two_deletions``: what belongs to no session that is there goes when deletion is repeated.
    """

    act: Act
    at_once: Check
    later: Check
    in_order: bool = True
    own_table: bool = False
    in_two_deletions: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(**settings: Any) -> Callable[[Act], Act]:
    """Make a function a scenario under its name."""

    def register(act: Act) -> Act:
        checks = {"at_once": session_is_usable, "later": turns_are_whole}
        SCENARIOS[getattr(act, "__name__")] = Scenario(act=act, **{**checks, **settings})  # noqa: B009
        return act

    return register


class Witness:
    """The parent's view of the database. ``sent`` are the commands that it sent to the sessions, by session."""

    def __init__(self, url: str, db_name: str, table: str) -> None:
        self.sent: defaultdict[str, list[str]] = defaultdict(list)
        self.client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, event_listeners=[_Sent(self.sent)])
        self.db = MongoDb(client=self.client, db_name=db_name, session_table=table)
        self._database = self.client[db_name]
        self._table = table

    async def stored(self, session_id: str) -> dict[str, Any] | None:
        """The session's document, byte for byte what the server has."""
        return await self._database[self._table].find_one({"session_id": session_id})

    async def buckets(self, session_id: str) -> list[dict[str, Any]]:
        """The session's archive documents, oldest first."""
        return await self._database[f"{self._table}_archive"].find({"session_id": session_id}).sort("first").to_list()

    async def paged_ids(self, session_id: str, limit: int = 7) -> list[str]:
        """The ids of all runs, as one finds them who pages back from the newest."""
        ids: list[str] = []
        while page := await self.db.get_runs(session_id, limit=limit, before=ids[0] if ids else None, user_id=USER):
            ids = [*(str(run.run_id) for run in page), *ids]
        return ids

    async def forks_of(self, session_id: str) -> list[str]:
        """The ids of the sessions that were forked from this one."""
        found = self._database[self._table].find({"forked_from.session_id": session_id}, {"session_id": 1})
        return [session["session_id"] for session in await found.to_list()]

    async def left_behind(self) -> dict[str, int]:
        """How many documents there are in each collection, sessions, archive, media, that has any."""
        names = [f"{self._table}{part}" for part in ("", "_archive", "_media.files", "_media.chunks")]
        counted = {name: await self._database[name].count_documents({}) for name in names}
        return {name: count for name, count in counted.items() if count}

    async def leases_over(self, session_id: str) -> None:
        """Wait until the leases of all who died in the session have run out."""
        connection = await self.db._connection()
        while True:
            entries = ((await self.stored(session_id)) or {}).get("active_runs") or {}
            now = connection.now() - CLOCKS
            left = max([(entry.get("lease_until") or 0.0) - now for entry in entries.values()], default=0.0)
            if left <= 0:
                return
            assert left < LEASE + 5, f"a lease of {LEASE} s that runs for {left} s more"
            await asyncio.sleep(left)

    async def delete_all(self, session_ids: Iterable[str], *, twice: bool) -> None:
        """Delete all sessions that are there, then, if ``twice``, those that are not; nothing is left."""
        await self.db.delete_sessions(await self.db.get_all_session_ids())
        if twice:
            await self.db.delete_sessions(session_ids)
        assert await self.left_behind() == {}

    async def close(self) -> None:
        await self.db.close()
        await self.client.close()


class _Sent(CommandListener):
    def __init__(self, sent: defaultdict[str, list[str]]) -> None:
        self._sent = sent

    def started(self, event: Any) -> None:
        which = event.command.get("query") or event.command.get("filter") or {}
        if isinstance(session_id := which.get("session_id"), str):
            self._sent[session_id].append(described(event.command))

    def succeeded(self, event: Any) -> None:
        """Nothing to note."""

    def failed(self, event: Any) -> None:
        """Nothing to note."""


MOMENTS = ("before", "after")

AFTERWARDS = "afterwards"
"""The run id of the turn with which the parent goes on."""


async def session_is_usable(witness: Witness, report: Report) -> str:
    """The next turn works at once, whoever died a moment ago: two commands, the whole history, and no loose tool call."""
    session_id = report.case.session_id
    before = await witness.db.get_session(session_id)
    agent, model = agent_on(witness.db, session_id)
    witness.sent[session_id].clear()
    run = await agent.arun(question(AFTERWARDS), run_id=AFTERWARDS)
    # On a machine that has other things to do a turn may take so long that it renews its lease.
    sent = [command for command in witness.sent[session_id] if command != "renewal"]
    assert sent == [f"begin_run {AFTERWARDS}", f"finish_run {AFTERWARDS}"], sent
    assert run.status == RunStatus.completed
    told = [] if before is None else before.runs
    assert_history(model.requests[0].messages, told)
    return " ".join(run.run_id for run in told)


def assert_history(messages: Iterable[Message], told: Iterable[Any]) -> None:
    """Each of these runs was shown whole, then the question, and every tool call has its result."""
    messages = list(messages)
    shown = [(message.role, message.content) for run in told for message in run.messages]
    assert [(message.role, message.content) for message in messages] == [*shown, ("user", question(AFTERWARDS))]
    assert_nothing_loose(messages)


def assert_nothing_loose(messages: Iterable[Message]) -> None:
    """Every tool call has its result, in this order."""
    messages = list(messages)
    called = [call["id"] for message in messages for call in message.tool_calls or ()]
    assert called == [message.tool_call_id for message in messages if message.role == "tool"], messages


async def turns_are_whole(witness: Witness, report: Report) -> str:
    """All that was acknowledged is there, whole and once; of the rest what the last command says; and repeating it is harmless."""
    session = await witness.db.get_session(report.case.session_id, user_id=USER)
    runs = {run.run_id: run for run in session.runs}
    assert len(runs) == len(session.runs) == session.run_count, list(runs)
    assert_sums(session)
    for told in report.acknowledged:
        stored = plain(runs[told["run_id"]].to_dict())
        # Which of two calls with one run id stored it; the caller is not told.
        stored.pop("attempt")
        assert stored == told, stored
    if SCENARIOS[report.case.scenario].in_order:
        assert [run_id for run_id in runs if run_id in report.acknowledged_ids] == report.acknowledged_ids, list(runs)
    assert set(runs) <= {*report.seeded, *report.asked, AFTERWARDS}, list(runs)
    assert list(runs)[: len(report.seeded)] == report.seeded, list(runs)
    fates = {run_id: fate_of(session, run_id) for run_id in report.unacknowledged}
    for run_id, fate in fates.items():
        assert fate in report.fates(run_id), (run_id, fate, report.fates(run_id))
    await assert_repeatable(witness, report, fates)
    return ", ".join(sorted(fates.values())) or "all acknowledged"


def fate_of(session: Any, run_id: str) -> str:
    """``stored``, ``interrupted`` with its input, or ``absent``."""
    found = session.get_run(run_id)
    if found is None:
        return "absent"
    assert found.input.input_content == question(run_id), found
    interrupted = [run.run_id for run in session.interrupted_runs]
    assert (run_id in interrupted) == (found.status == RunStatus.interrupted), found
    assert found.status in {RunStatus.completed, RunStatus.interrupted}, found
    return "interrupted" if found.status == RunStatus.interrupted else "stored"


def assert_sums(session: Any) -> None:
    """State and metrics count every run once."""
    ids = [run.run_id for run in session.runs]
    expected = {"runs": dict.fromkeys(ids, True), "last": ids[-1]} if ids else {}
    assert session.session_state == expected, (session.session_state, ids)
    counted = (session.session_data.get("session_metrics") or {}).get("total_tokens", 0)
    assert counted == TOKENS_OF_A_TURN * len(ids), session.session_data


async def assert_repeatable(witness: Witness, report: Report, fates: dict[str, str]) -> None:
    """The same run id again completes what was not stored, once, and changes nothing where it was."""
    session_id = report.case.session_id
    finished = [*report.acknowledged_ids[-1:], *[run_id for run_id, fate in fates.items() if fate == "stored"]]
    before = await witness.stored(session_id)
    for run_id in finished:
        agent, model = agent_on(witness.db, session_id)
        with contextlib.suppress(RunAlreadyFinished):
            await agent.arun(question(run_id), run_id=run_id)
            raise AssertionError(f"run {run_id} was run again")
        assert model.requests == []
    assert await witness.stored(session_id) == before
    unfinished = [run_id for run_id in fates if run_id not in finished]
    for run_id in unfinished:
        assert (await agent_on(witness.db, session_id)[0].arun(question(run_id), run_id=run_id)).content == ANSWER
    session = await witness.db.get_session(session_id, user_id=USER)
    ids = [run.run_id for run in session.runs]
    assert sorted(ids) == sorted({*report.seeded, *report.asked, AFTERWARDS}), ids
    assert ids[len(ids) - len(unfinished) :] == unfinished, ids
    assert session.active_runs == {}
    assert_sums(session)


def plain(value: Any) -> Any:
    """As it comes out of a pipe, with a hash in the place of what is large."""
    return _hashed(json.loads(json.dumps(value, default=str, sort_keys=True)))


def _hashed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hashed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_hashed(part) for part in value]
    if isinstance(value, str) and len(value) >= LARGE:
        return f"{len(value)} characters, {hashlib.sha256(value.encode()).hexdigest()}"
    return value


@scenario(own_table=True)
async def turns(stage: Stage) -> None:
    """Two turns of a new session, from the first command of the connection to the last."""
    stage.arm()
    for run_id in ("one", "two"):
        await stage.turn(run_id)


@scenario()
async def long_turn(stage: Stage) -> None:
    """A turn that renews its lease while its tool works."""
    await stage.turn("one")
    stage.arm()

    async def wait(run_context: RunContext) -> str:
        await stage.answers_to("renewal", 1)
        return note(run_context)

    agent, _ = agent_on(stage.db, stage.session_id, ToolCall("wait"), ANSWER, tools=[wait])
    await stage.turn("two", agent=agent)


@scenario(in_order=False)
async def two_turns_at_once(stage: Stage) -> None:
    """Two turns of one session that overlap: the second begins and ends while the first waits for its model."""
    await stage.turn("one")
    stage.arm()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(_request: Any) -> ToolCall:
        begun.set()
        await ended.wait()
        return ToolCall("note")

    slow, _ = agent_on(stage.db, stage.session_id, wait, ANSWER)
    first = asyncio.ensure_future(stage.turn("two", agent=slow))
    await begun.wait()
    await stage.turn("three")
    ended.set()
    await first


async def nothing_or_all_is_left(witness: Witness, report: Report) -> str:
    """A session that was being deleted is whole or gone."""
    session_id = report.case.session_id
    session = await witness.db.get_session(session_id)
    if session is not None:
        assert [run.run_id for run in session.runs] == report.asked
        assert report.done == []
        assert_sums(session)
        return "whole"
    assert "delete" in report.sent
    return "gone"


async def deletion_can_be_repeated(witness: Witness, report: Report) -> str:
    """Deleting again leaves no trace."""
    session_id = report.case.session_id
    was = "gone" if await witness.stored(session_id) is None else "whole"
    assert await witness.db.delete_session(session_id, USER) is (was == "whole")
    return was


@scenario(at_once=nothing_or_all_is_left, later=deletion_can_be_repeated)
async def deletion(stage: Stage) -> None:
    """A session with two turns is deleted."""
    for run_id in ("one", "two"):
        await stage.turn(run_id)
    stage.arm()
    assert await stage.db.delete_session(stage.session_id, USER)
    stage.done("deletion")


# The children.


async def play(case: Case, tell: Callable[[str, Any], None]) -> None:
    """Play the scenario to its end, or to one's own."""
    killer = Killer(case, tell)
    monitoring.register(killer)
    Settings.lease = LEASE
    async with MongoDb(case.url, db_name=case.db_name, session_table=case.table) as db:
        await SCENARIOS[case.scenario].act(Stage(case, db, killer, tell))


def child(case: Case, pipe: int) -> None:
    """The whole life of a forked child. Each thing told is one write, done before the next thing happens."""

    def tell(what: str, value: Any) -> None:
        os.write(pipe, (json.dumps([what, value], default=str) + "\n").encode())

    try:
        asyncio.run(play(case, tell))
    except BaseException as error:
        tell("errors", f"{type(error).__name__}: {error}")
    os._exit(0)


def run_in_child(case: Case) -> Report:
    """Fork a child for the case and wait for its end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(case, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = [json.loads(line) for line in pipe]
    _, status = os.waitpid(pid, 0)
    report = Report(case=case, killed=os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
    for what, value in lines:
        if what == "died_at":
            report.died_at = value
        else:
            getattr(report, what).append(value)
    return report


def nursery() -> None:
    """A case a line comes in, a report a line goes out."""
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        report = run_in_child(Case(**json.loads(line)))
        print(json.dumps(asdict(report)), flush=True)


class Nursery:
    """A process that forks children: everything imported, no client opened, no thread begun. One child at a time."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        command = [sys.executable, "-m", "tests.crashing", "--nursery"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate(timeout=30)

    async def report_on(self, case: Case) -> Report:
        """What the child of this case told until it died."""
        return await asyncio.to_thread(self._report_on, case)

    def _report_on(self, case: Case) -> Report:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            print(json.dumps(asdict(case)), file=self._process.stdin, flush=True)
            told = json.loads(self._process.stdout.readline())
        return Report(**{**told, "case": case})


# The matrix.


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row of the table: what the child died at, and what became of what it had not acknowledged."""

    scenario: str
    moment: str
    command: str
    fate: str


async def crash_everywhere(nurseries: Sequence[Nursery], url: str, db_name: str, name: str) -> list[Outcome]:
    """Play one scenario without a kill, then once for every boundary of every command, and check what each child left."""
    played = SCENARIOS[name]
    counted = await nurseries[0].report_on(Case(url=url, db_name=db_name, table=name, scenario=name, session_id="counted"))
    assert not counted.killed
    assert counted.unacknowledged == []
    witnesses: dict[str, Witness] = {}

    async def outcome(nursery: Nursery, at: int, moment: str) -> Outcome:
        session_id = f"{name}_{at}_{moment}"
        table = session_id if played.own_table else name
        command = counted.sent[at - 1]
        case = replace(
            counted.case,
            table=table,
            session_id=session_id,
            at=at,
            command=command,
            nth=counted.sent[:at].count(command),
            moment=moment,
        )
        return await checked(await nursery.report_on(case))

    async def checked(report: Report) -> Outcome:
        case = report.case
        if case.table not in witnesses:
            witnesses[case.table] = Witness(url, db_name, case.table)
        witness = witnesses[case.table]
        await explained(played.at_once, witness, report)
        await witness.leases_over(case.session_id)
        fate = await explained(played.later, witness, report)
        return Outcome(scenario=name, moment=case.moment if case.at else "not", command=report.died_at, fate=fate)

    cases = zip(cycle(nurseries), product(range(1, len(counted.sent) + 1), MOMENTS), strict=False)
    works = [*(outcome(nursery, at, moment) for nursery, (at, moment) in cases), checked(counted)]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        outcomes = await asyncio.gather(*tasks)
        session_ids = ["counted", *(f"{name}_{at}_{moment}" for at in range(1, len(counted.sent) + 1) for moment in MOMENTS)]
        for witness in witnesses.values():
            await witness.delete_all(session_ids, twice=played.in_two_deletions)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for witness in witnesses.values():
            await witness.close()
    return outcomes


async def explained(check: Check, witness: Witness, report: Report) -> str:
    """What the check says; its complaint names the case."""
    where = f"{report.case.name}, {report.died_at or 'which it never came to'}"
    # A renewal of a lease more or less, on a slow machine, and the last case plays to its end.
    assert report.errors == [], f"{where}: {report.errors}"
    try:
        return await check(witness, report)
    except Exception as error:
        raise AssertionError(f"{where}: {check.__name__}: {type(error).__name__}: {error}") from error


def table(outcomes: Iterable[Outcome]) -> str:
    """Cases and outcomes as a table of text."""
    rows = [
        ("scenario", "killed", "command", "the run in flight"),
        *((o.scenario, o.moment, o.command, o.fate) for o in outcomes),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


async def print_matrix(url: str) -> None:
    """The whole matrix, and the seconds it took."""
    began = time.monotonic()
    outcomes: list[Outcome] = []
    with Nursery() as one, Nursery() as other:
        for name in SCENARIOS:
            outcomes += await crash_everywhere((one, other), url, f"crashing_{os.getpid()}", name)
    print(table(outcomes))
    print(f"{len(outcomes)} cases in {time.monotonic() - began:.1f} s")


def main() -> None:
    if "--nursery" in sys.argv:
        nursery()
        return
    with tempfile.TemporaryDirectory(prefix="agno_mongo_crashing_") as folder:
        server = EmbeddedServer(folder)
        try:
            asyncio.run(print_matrix(server.acquire()))
        finally:
            server.release()


if __name__ == "__main__":
    # Under its own name, since that is where the scenarios of other modules are registered.
    import_module("tests.crashing_of_stores")
    import_module("tests.crashing").main()
