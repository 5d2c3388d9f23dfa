"""What a turn costs, by length of the session and size of its runs."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time

from agno_mongo.db.embedded_server import EmbeddedServer
from contestants import Contestant
from contestants.base import Size, Stopped, Turn
from measuring import Rounds, Wire, order_of, quiet, ratio, server_cpu, table

LEAST_COUNTED = 50

BLOCK = 5
"""Turns that a contestant plays before the next one does."""


@dataclass(frozen=True)
class Plan:
    """``turns`` make a round, fewer where they would take longer than ``seconds``."""

    lengths: Sequence[int]
    turns: int
    rounds: int
    seconds: float


@dataclass
class Counted:
    """Commands and bytes of a turn. ``commands`` is the average, ``usual`` the median."""

    commands: float
    usual: float
    sent: float
    received: float
    names: list[str]


@dataclass
class Result:
    """One contestant at one length. ``stored`` is the number of runs that every turn added, by the contestant's own
    reading; 1 where it was not asked."""

    contestant: Contestant
    size: Size
    runs: int
    turns: int = 0
    rounds: Rounds = field(default_factory=Rounds)
    counted: Counted | None = None
    stored: float = 1
    messages_shown: int = 0
    stopped: str | None = None


@dataclass
class Played:
    """One contestant's round while it is played."""

    result: Result
    left: list[Turn] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    cpu: float = 0
    on_server: float = 0


async def measure(contestants: Sequence[Contestant], runs: int, plan: Plan, server: EmbeddedServer) -> list[Result]:
    """All contestants at one length. Who stops there is in the list all the same."""
    results = [Result(contestant, contestant.size, runs) for contestant in contestants]
    for result in results:
        try:
            await result.contestant.seed(runs, sessions_of(runs, plan.turns))
        except Stopped as stopped:
            result.stopped = str(stopped)
    playing = [result for result in results if not result.stopped]
    for result in playing:
        result.turns = await _turns_within(result, plan, server)
    for number in range(plan.rounds):
        await _one_round(playing, number, server)
    for result in playing:
        # Whose turns take seconds is believed at this length, if he was honest at shorter ones.
        slow = result.rounds.latency > plan.seconds
        if not slow:
            await _stored(result, server)
        result.counted = await _counted(result, 1 if slow else max(result.turns, min(LEAST_COUNTED, result.turns * 3)))
        result.messages_shown = result.contestant.messages_shown
    return results


def sessions_of(runs: int, turns: int) -> int:
    """Over how many sessions the turns of a round are spread: short ones must stay short, and in long ones a round must be
    long enough to meet what happens once in 24 turns.
    """
    spread = {1: turns, 10: max(1, turns // 10), 100: 2}
    return spread.get(runs, max(1, turns // 10) if runs < 100 else 1)


async def _turns_within(result: Result, plan: Plan, server: EmbeddedServer) -> int:
    """How many turns a round has time for, after a first one that warms up."""
    warm = Result(result.contestant, result.size, result.runs, turns=1)
    while len(warm.rounds.medians) < 2 and sum(warm.rounds.medians) < plan.seconds:
        await _one_round([warm], 0, server)
    return max(1, min(plan.turns, int(plan.seconds / warm.rounds.medians[-1])))


async def _one_round(results: Sequence[Result], number: int, server: EmbeddedServer) -> None:
    """All play their turns, a few at a time and by turns, so that a slow moment of the machine hits all of them."""
    played = [Played(result) for result in results]
    for one in played:
        contestant = one.result.contestant
        await contestant.reset()
        await contestant.warm()
        one.left = contestant.prepared(_plan(contestant, one.result.turns))
    gc.collect()
    blocks = 0
    while any(one.left for one in played):
        for one in order_of(played, number + blocks):
            await _block(one, server)
        blocks += 1
    for one in played:
        one.result.rounds.add(one.times, one.cpu, one.on_server)


async def _block(one: Played, server: EmbeddedServer) -> None:
    block, one.left = one.left[:BLOCK], one.left[BLOCK:]
    if not block:
        return
    others = asyncio.all_tasks()
    server_before, before = server_cpu(server.pid), process_time()
    for turn in block:
        started = perf_counter()
        await turn()
        one.times.append(perf_counter() - started)
    await quiet(others)
    one.cpu += process_time() - before
    one.on_server += server_cpu(server.pid) - server_before


async def _stored(result: Result, server: EmbeddedServer) -> None:
    """One more round, to look how many runs it left behind."""
    contestant = result.contestant
    await contestant.reset()
    before = sum([await contestant.runs_of(session_id) for session_id in contestant.sessions])
    await _one_round([Result(contestant, result.size, result.runs, turns=result.turns)], 0, server)
    after = sum([await contestant.runs_of(session_id) for session_id in contestant.sessions])
    # A database too large to be put back has grown by the round, one that is put back begins anew.
    result.stored = (after - before) / result.turns


def _plan(contestant: Contestant, turns: int) -> list[tuple[str, str]]:
    sessions, size = contestant.sessions, contestant.size
    return [(sessions[at % len(sessions)], size.input(at)) for at in range(turns)]


async def _counted(result: Result, turns: int) -> Counted:
    """Turns once more, watched and not timed; at least 50 where the round had time for as many."""
    contestant = result.contestant
    await contestant.reset()
    await contestant.close()
    wire = Wire()
    await contestant.open(contestant.url, wire)
    first, *rest = contestant.prepared(_plan(contestant, turns + 1))
    await contestant.warm()
    others = asyncio.all_tasks()
    await first()
    await quiet(others)
    wire.reset()
    each, before = [], 0
    for turn in rest:
        await turn()
        each.append(len(wire.commands) - before)
        before += each[-1]
    await quiet(others)
    found = Counted(
        len(wire.commands) / len(rest),
        statistics.median(each),
        wire.sent / len(rest),
        wire.received / len(rest),
        wire.names[: round(len(wire.commands) / len(rest))],
    )
    await contestant.close()
    await contestant.open(contestant.url)
    return found


HEADER = (
    "session holds",
    "ms a turn",
    "mean",
    "p95",
    "x bare",
    "x agno_mongo",
    "client CPU ms",
    "x bare",
    "mongod CPU ms",
    "commands",
    "usual",
    "KB sent",
    "KB received",
    "messages shown",
    "turns",
)


def shown(results: Sequence[Result]) -> str:
    """The table of one size."""
    rows: list[list[str]] = []
    for runs in dict.fromkeys(result.runs for result in results):
        rows += rows_of([result for result in results if result.runs == runs])
    return table(HEADER, rows)


def rows_of(results: Sequence[Result]) -> list[list[str]]:
    return [_row(result, results[0], results[1]) for result in results]


def _row(result: Result, ours: Result, bare: Result) -> list[str]:
    name = f"{result.runs:,} {'run' if result.runs == 1 else 'runs'}: {result.contestant.name}"
    if result.stopped:
        return [name, "stops", *("-" for _ in HEADER[2:])]
    rounds, counted = result.rounds, result.counted
    assert counted is not None
    return [
        name,
        f"{rounds.latency * 1000:.2f}",
        f"{rounds.mean * 1000:.2f}",
        f"{rounds.latency_95 * 1000:.2f}",
        times(rounds.medians, bare.rounds.medians),
        times(rounds.medians, ours.rounds.medians),
        f"{rounds.cpu_per_turn * 1000:.2f}",
        times(rounds.cpu, bare.rounds.cpu),
        f"{rounds.server_cpu_per_turn * 1000:.2f}",
        f"{counted.commands:.3g}",
        f"{counted.usual:g}",
        f"{counted.sent / 1024:,.1f}",
        f"{counted.received / 1024:,.1f}",
        str(result.messages_shown or "-"),
        str(result.turns),
    ]


def times(mine: Sequence[float], theirs: Sequence[float]) -> str:
    return f"{ratio(mine, theirs):.2f}" if theirs else "-"


def notes(results: Sequence[Result]) -> list[str]:
    """Who stopped, and whoever did not store one run a turn."""
    said = [
        f"{result.contestant.name} stops before {result.runs:,} runs of {result.size.name} ({result.stopped})."
        for result in results
        if result.stopped
    ]
    said += [
        f"! {result.contestant.name} stored {result.stored:g} runs a turn at {result.runs:,} runs of {result.size.name}."
        for result in results
        if not result.stopped and result.stored != 1
    ]
    return said
