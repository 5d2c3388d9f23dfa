"""Many sessions at once: turns a second, and what the client's memory grows by.

Every contestant plays in a process of its own, which this module is too (``python benchmarks/crowds.py NUMBER URL SIZE``): it reads a
number of sessions per line, plays them, and answers with a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

from contestants import Contestant, everybody
from contestants.base import SIZES, Turn
from measuring import order_of, quiet, ratio, rss, table

THIS = os.path.abspath(__file__)
LINE_LIMIT = 2**20


@dataclass(frozen=True)
class Plan:
    """``sessions`` at once, each ``turns`` long; one after the other until ``least`` turns are played."""

    sessions: Sequence[int]
    turns: int
    least: int
    rounds: int


@dataclass
class Result:
    """One contestant, so many sessions at once; one entry a round. ``growth`` in bytes since before the first round."""

    name: str
    sessions: int
    seconds_a_turn: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    growth: list[int] = field(default_factory=list)


async def measure(contestants: Sequence[Contestant], url: str, plan: Plan) -> list[Result]:
    everyone = everybody(contestants[0].size)
    numbers = [at for at, other in enumerate(everyone) if other.name in {contestant.name for contestant in contestants}]
    results = {(at, sessions): Result(everyone[at].name, sessions) for sessions in plan.sessions for at in numbers}
    async with AsyncExitStack() as processes:
        workers = {
            at: await processes.enter_async_context(_worker(at, url, contestants[0].size.name, plan.turns)) for at in numbers
        }
        for at in numbers:
            await _played(workers[at], 1, plan)
        for sessions in plan.sessions:
            for number in range(plan.rounds):
                for at in order_of(numbers, number):
                    found, result = await _played(workers[at], sessions, plan), results[at, sessions]
                    result.seconds_a_turn.append(found["seconds"] / found["turns"])
                    result.cpu.append(found["cpu"] / found["turns"])
                    result.growth.append(found["growth"])
    return list(results.values())


@asynccontextmanager
async def _worker(at: int, url: str, size: str, turns: int) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = (THIS, str(at), url, size, str(turns))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe, limit=LINE_LIMIT)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def _played(process: Any, sessions: int, plan: Plan) -> dict[str, Any]:
    after_each_other = max(1, -(-plan.least // (sessions * plan.turns)))
    process.stdin.write(f"{sessions} {after_each_other}\n".encode())
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line:
        raise AssertionError("a process that plays many sessions ended; its error is above")
    found: dict[str, Any] = json.loads(line)
    return found


async def _play(contestant: Contestant, sessions: int, after_each_other: int, turns: int) -> dict[str, float]:
    chats = [_chats(contestant, after_each_other, turns) for _ in range(sessions)]
    gc.collect()
    others = asyncio.all_tasks()
    before, cpu = perf_counter(), process_time()
    await asyncio.gather(*map(_one_by_one, chats))
    await quiet(others)
    seconds, cpu = perf_counter() - before, process_time() - cpu
    return {"turns": sessions * after_each_other * turns, "seconds": seconds, "cpu": cpu, "rss": rss()}


def _chats(contestant: Contestant, chats: int, turns: int) -> list[Turn]:
    ids = [str(uuid4()) for _ in range(chats)]
    return [contestant.bound(session_id, contestant.size.input(number)) for session_id in ids for number in range(turns)]


async def _one_by_one(turns: Sequence[Turn]) -> None:
    for turn in turns:
        await turn()


async def serve(number: int, url: str, size: str, turns: int) -> None:
    contestant = everybody(SIZES[size], "crowd")[number]
    await contestant.open(url)
    await contestant.prepare_crowd()
    start: float | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        sessions, after_each_other = map(int, line.split())
        found = await _play(contestant, sessions, after_each_other, turns)
        # What the first session brings with it, connections and code, is no growth.
        start = found["rss"] if start is None else start
        print(json.dumps({**found, "growth": found["rss"] - start}), flush=True)
    await contestant.close()


HEADER = ("sessions at once", "turns a second", "x bare", "x agno_mongo", "client CPU ms a turn", "memory grew by MB")


def shown(results: Sequence[Result], ours: str, bare: str) -> str:
    rows = []
    for result in results:
        beside = {other.name: other for other in results if other.sessions == result.sessions}
        rows.append(
            [
                f"{result.sessions}: {result.name}",
                f"{1 / statistics.median(result.seconds_a_turn):,.0f}",
                f"{1 / ratio(result.seconds_a_turn, beside[bare].seconds_a_turn):.2f}",
                f"{1 / ratio(result.seconds_a_turn, beside[ours].seconds_a_turn):.2f}",
                f"{statistics.median(result.cpu) * 1000:.2f}",
                f"{max(result.growth) / 2**20:.1f}",
            ]
        )
    return table(HEADER, rows)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
