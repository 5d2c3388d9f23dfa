"""The bars of the design, and what was measured beside each."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from agno_mongo.db.base import SessionType
from contestants import Contestant
from contestants.bare import Bare
from contestants.base import TOKENS, USER
from measuring import ratio
from turns import Result

AT_ONCE = 50
NONE_SET = "none set"


@dataclass(frozen=True)
class Bar:
    """``met`` is None where nothing was measured, or no bar is set."""

    what: str
    bar: str
    measured: str
    met: bool | None

    @property
    def cells(self) -> list[str]:
        unjudged = "-" if self.bar == NONE_SET else "not measured"
        return [self.what, self.bar, self.measured, {True: "met", False: "missed", None: unjudged}[self.met]]


async def runs_at_once(ours: Any) -> tuple[int, int, int]:
    """Fifty runs of one session begun together: how many runs, state keys and tokens (in runs' worth) there are afterwards."""
    session_id = str(uuid4())
    turns = [ours.agent.arun(ours.size.input(at), session_id=session_id, session_state={f"key{at}": at}) for at in range(AT_ONCE)]
    await asyncio.gather(*turns)
    session = await ours.db.get_session(session_id, SessionType.AGENT, USER)
    tokens = session.session_data["session_metrics"]["total_tokens"]
    return session.run_count, len(session.session_state), tokens // sum(TOKENS)


def of_turns(results: Sequence[Result]) -> Iterator[Bar]:
    """One row for each size and bar."""
    for size in dict.fromkeys(result.size.name for result in results):
        found = [result for result in results if result.size.name == size and not result.stopped]
        if found:
            yield from _of_size(size, found)


def _of_size(size: str, results: Sequence[Result]) -> Iterator[Bar]:
    name = results[0].contestant.name
    ours = {result.runs: result for result in results if result.contestant.name == name}
    bare = {result.runs: result for result in results if type(result.contestant) is Bare}
    yield _commands(size, ours)
    for what, of in (("latency", lambda result: result.rounds.medians), ("client CPU", lambda result: result.rounds.cpu)):
        times = {runs: ratio(of(ours[runs]), of(bare[runs])) for runs in ours if runs in bare}
        if what == "latency":
            yield Bar(f"a turn beside bare PyMongo, {what}, {size}", "≤ 1.3 x", _by_length(times), max(times.values()) <= 1.3)
        else:
            yield Bar(f"a turn beside bare PyMongo, {what}, {size}", NONE_SET, _by_length(times), None)
    yield _flat(size, ours)
    peers = [result for result in results if result.runs in ours and not isinstance(result.contestant, Bare)]
    for peer in dict.fromkeys(result.contestant.name for result in peers if result.contestant.name != name):
        yield _ahead(size, ours, [result for result in peers if result.contestant.name == peer])


def _by_length(times: dict[int, float]) -> str:
    return ", ".join(f"{value:.2f} at {runs:,}" for runs, value in times.items())


def _commands(size: str, ours: dict[int, Result]) -> Bar:
    usual = {runs: result.counted.usual for runs, result in ours.items() if result.counted}
    average = max(result.counted.commands for result in ours.values() if result.counted)
    measured = f"{max(usual.values()):g} at {', '.join(f'{runs:,}' for runs in usual)}; at most {average:.3g} on average, archive moves included"
    return Bar(
        f"commands of a turn, {size}", "2 at every length, plus a move every 24 turns", measured, set(usual.values()) == {2}
    )


def _flat(size: str, ours: dict[int, Result]) -> Bar:
    what, bar = f"a turn at 10,000 runs beside one at 10, {size}", "≤ 1.2 x"
    if 10 not in ours or 10_000 not in ours:
        return Bar(what, bar, "-", None)
    times = ours[10_000].rounds.latency / ours[10].rounds.latency
    return Bar(what, bar, f"{times:.2f} x", times <= 1.2)


def _ahead(size: str, ours: dict[int, Result], theirs: Sequence[Result]) -> Bar:
    """Ahead in latency, bytes and commands wherever both were measured."""
    behind, latency = [], {}
    for their in theirs:
        mine = ours[their.runs]
        latency[their.runs] = ratio(their.rounds.medians, mine.rounds.medians)
        of: dict[str, Callable[[Result], float]] = {
            "latency": lambda result: statistics.median(result.rounds.medians),
            "bytes": lambda result: result.counted.sent + result.counted.received if result.counted else 0,
            "commands": lambda result: result.counted.commands if result.counted else 0,
        }
        behind += [f"{what} at {their.runs:,}" for what, figure in of.items() if figure(mine) >= figure(their)]
    measured = f"it takes {_by_length(latency)} x as long" + (f"; ahead of us in {', '.join(behind)}" if behind else "")
    what = f"ahead of {theirs[0].contestant.name}, {size}"
    return Bar(what, "in latency, bytes and commands, at every length", measured, not behind)


def of_disk(results: Sequence[Any], contestant: Contestant) -> Iterator[Bar]:
    for result in results:
        if result.contestant.name == contestant.name:
            times = (result.data + result.indexes) / result.payload
            what = f"a chat of {result.turns:,} turns on disk, {result.contestant.size.name}"
            yield Bar(what, "≤ 2 x its text", f"{times:.2f} x, indexes included", times <= 2)


def of_rest(at_once: tuple[int, int, int] | None, imports: dict[str, tuple[float, float] | None]) -> Iterator[Bar]:
    if at_once is not None:
        measured = f"{at_once[0]} runs, {at_once[1]} state keys, tokens of {at_once[2]} runs"
        yield Bar(f"{AT_ONCE} runs at once in one session", f"{AT_ONCE} of each", measured, set(at_once) == {AT_ONCE})
    took = imports.get("agno_mongo.agent")
    if took is not None:
        yield Bar("import of agno_mongo.agent", "≤ 0.5 s", f"{took[0]:.2f} s", took[0] <= 0.5)
