"""The whole suite: what agno_mongo costs beside bare PyMongo and its peers, written as tables to docs/benchmarks.md.

    python benchmarks/run.py [--quick] [--only turns crowds reading disk] [--output FILE]

See README.md beside this.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import bars
import crowds
import disk
import reading
import report
import turns
from agno_mongo.db.embedded_server import EmbeddedServer
from contestants import Contestant, everybody
from contestants.base import SIZES
from measuring import import_times

PARTS = ("turns", "crowds", "reading", "disk", "bars")
OUTPUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "benchmarks.md")


@dataclass(frozen=True)
class Plans:
    sizes: Sequence[str]
    turns: turns.Plan
    crowds: crowds.Plan
    reading: reading.Plan
    disk: disk.Plan
    imports: int


FULL = Plans(
    sizes=("2 KB", "8 KB"),
    turns=turns.Plan(lengths=(1, 10, 100, 1_000, 10_000), turns=50, rounds=5, seconds=1),
    crowds=crowds.Plan(sessions=(1, 10, 100), turns=5, least=100, rounds=5),
    reading=reading.Plan(sessions=2_000, opened=1_000, paged=10_000, repeats=20, rounds=5),
    disk=disk.Plan(turns=1_000, most={"LangGraph, MongoDBSaver": 200}),
    imports=5,
)
QUICK = Plans(
    sizes=("2 KB",),
    turns=turns.Plan(lengths=(1, 40), turns=10, rounds=1, seconds=0.5),
    crowds=crowds.Plan(sessions=(1, 10), turns=2, least=10, rounds=1),
    reading=reading.Plan(sessions=40, opened=60, paged=120, repeats=2, rounds=1),
    disk=disk.Plan(turns=60, most={"LangGraph, MongoDBSaver": 20}),
    imports=1,
)


@dataclass(frozen=True)
class Progress:
    """``say`` gets what begins, ``keep`` the report so far: whoever stops the suite has what was measured."""

    say: Callable[[str], Any]
    keep: Callable[[report.Report], Any]


async def run(plans: Plans, parts: Sequence[str], folder: str | None, progress: Progress) -> report.Report:
    """Everything on one mongod, which is made for it and thrown away."""
    with tempfile.TemporaryDirectory(prefix="agno_mongo-bench-", dir=folder) as path:
        server = EmbeddedServer(path)
        url = await asyncio.to_thread(server.acquire)
        try:
            async with AsyncExitStack() as opened:
                found = report.Report(surroundings=await report.surroundings(url), plans=plans)
                for size in plans.sizes:
                    contestants, missing = await _opened(size, url, opened)
                    found.missing = missing
                    await _measure(found, contestants, plans, parts, server, progress)
        finally:
            await asyncio.to_thread(server.release)
    return found


async def _opened(size: str, url: str, opened: AsyncExitStack) -> tuple[list[Contestant], list[Contestant]]:
    everyone = everybody(SIZES[size])
    playing = [contestant for contestant in everyone if contestant.missing is None]
    for contestant in playing:
        await contestant.open(url)
        opened.push_async_callback(contestant.close)
    return playing, [contestant for contestant in everyone if contestant.missing is not None]


async def _measure(
    found: report.Report,
    contestants: Sequence[Contestant],
    plans: Plans,
    parts: Sequence[str],
    server: EmbeddedServer,
    progress: Progress,
) -> None:
    def say(text: str) -> None:
        progress.keep(found)
        progress.say(text)

    size, first = contestants[0].size.name, not found.turns
    if "turns" in parts:
        for runs in plans.turns.lengths:
            say(f"turns of {size}, sessions of {runs:,} runs")
            found.turns += await turns.measure(contestants, runs, plans.turns, server)
    if "disk" in parts:
        say(f"a chat on disk, {size}")
        found.disk += await disk.measure(contestants, plans.disk)
    if not first:
        return
    if "reading" in parts:
        say("reading")
        found.reading = await reading.measure(contestants, plans.reading)
    if "crowds" in parts:
        say("many sessions at once")
        found.crowds = await crowds.measure(contestants, server.url, plans.crowds)
    if "bars" in parts:
        say("fifty runs at once in one session; imports")
        found.at_once = await bars.runs_at_once(contestants[0])
        found.imports = import_times(report.IMPORTS, plans.imports)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute, to see that all works; the figures say little")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--folder", help="where to make mongod's temporary folder, to choose the disk")
    parser.add_argument("--output", metavar="FILE", help="where to write (default: docs/benchmarks.md; with --quick nowhere)")
    options = parser.parse_args()
    plans = QUICK if options.quick else FULL
    output = options.output or (None if options.quick else OUTPUT)

    def keep(found: report.Report) -> None:
        if output is not None:
            with open(output, "w", encoding="utf-8") as file:
                file.write(report.page(found))

    started = perf_counter()
    progress = Progress(lambda text: print(f"{perf_counter() - started:5.0f} s  {text}", file=sys.stderr, flush=True), keep)
    found = asyncio.run(run(plans, options.only, options.folder, progress))
    keep(found)
    if output is None:
        print(report.page(found))


if __name__ == "__main__":
    main()
