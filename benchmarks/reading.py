"""What reading costs beside Agno: a page of a list of sessions, a session opened, all of a long session paged back through."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

from contestants import Contestant
from contestants.agno_db import Agno
from contestants.ours import Ours
from measuring import Rounds, Wire, order_of, ratio, table

LISTED = 20
OPENED = 50
PAGE = 50


@dataclass(frozen=True)
class Plan:
    """``sessions`` of five runs for the list, one of ``opened`` and one of ``paged`` runs; ``repeats`` of the short ones in a round."""

    sessions: int
    opened: int
    paged: int
    repeats: int
    rounds: int


@dataclass
class Result:
    """``answers`` is how many sessions, or runs, one reading gave."""

    what: str
    contestant: Contestant
    rounds: Rounds = field(default_factory=Rounds)
    answers: int = 0
    commands: float = 0
    received: float = 0


Reading = Callable[[Contestant], Awaitable[int]]


async def measure(contestants: Sequence[Contestant], plan: Plan) -> list[Result]:
    """agno_mongo and Agno, if they are among the contestants."""
    both = [contestant for contestant in contestants if isinstance(contestant, (Ours, Agno))]
    found: list[Result] = []
    for contestant in both:
        await contestant.seed(5, plan.sessions)
    found += await _compared(both, f"a page of {LISTED} of {plan.sessions:,} sessions", list_page, plan.repeats, plan.rounds)
    for contestant in both:
        await contestant.seed(plan.opened, 1)
    name = f"a session of {plan.opened:,} runs opened, with its newest {OPENED}"
    found += await _compared(both, name, open_newest, plan.repeats, plan.rounds)
    found += await _compared(both, f"the same with all its {plan.opened:,} runs", open_all, 1, plan.rounds)
    for contestant in both:
        await contestant.seed(plan.paged, 1)
    found += await _compared(both, f"back through {plan.paged:,} runs, {PAGE} at a time", page_back, 1, plan.rounds)
    return found


async def _compared(both: Sequence[Contestant], what: str, reading: Reading, repeats: int, rounds: int) -> list[Result]:
    results = [Result(what, contestant) for contestant in both]
    for result in results:
        await reading(result.contestant)
    for number in range(rounds):
        for result in order_of(results, number):
            gc.collect()
            times, cpu = [], process_time()
            for _ in range(repeats):
                started = perf_counter()
                result.answers = await reading(result.contestant)
                times.append(perf_counter() - started)
            result.rounds.add(times, process_time() - cpu, 0)
    for result in results:
        await _count(result, reading)
    return results


async def _count(result: Result, reading: Reading) -> None:
    contestant, wire = result.contestant, Wire()
    await contestant.close()
    await contestant.open(contestant.url, wire)
    await open_newest(contestant)
    wire.reset()
    await reading(contestant)
    result.commands, result.received = len(wire.commands), wire.received
    await contestant.close()
    await contestant.open(contestant.url)


async def list_page(contestant: Any) -> int:
    """The page that a user sees first: the last used."""
    return await contestant.list_page(LISTED)


async def open_newest(contestant: Any) -> int:
    return await contestant.open_session(OPENED)


async def open_all(contestant: Any) -> int:
    return await contestant.open_session(None)


async def page_back(contestant: Any) -> int:
    return await contestant.page_back(PAGE)


HEADER = ("reading", "ms", "x agno_mongo", "client CPU ms", "commands", "KB received", "given")


def shown(results: Sequence[Result]) -> str:
    rows = []
    for result in results:
        ours = next(other for other in results if other.what == result.what)
        rows.append(
            [
                f"{result.what}: {result.contestant.name}",
                f"{result.rounds.latency * 1000:,.2f}",
                f"{ratio(result.rounds.medians, ours.rounds.medians):.2f}",
                f"{result.rounds.cpu_per_turn * 1000:,.2f}",
                f"{result.commands:g}",
                f"{result.received / 1024:,.1f}",
                f"{result.answers:,}",
            ]
        )
    return table(HEADER, rows)
