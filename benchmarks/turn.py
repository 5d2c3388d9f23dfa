"""What a turn costs: agno_mongo, the same commands sent by bare PyMongo, and Agno, on one mongod in one run.

    python benchmarks/turn.py [--long] [--output FILE]

Ratios within one run are what to read; the times belong to the machine and to what else it was doing. See README.md beside this.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from time import perf_counter, process_time
from typing import Any

from contestants import AGNO_MISSING, HOW_TO_GET_AGNO, INPUTS, Agno, Bare, Contestant, Ours
from measuring import Rounds, Wire, import_times, server_cpu, table, version_of
from pymongo import AsyncMongoClient

from agno_mongo.db.embedded_server import EmbeddedServer

SHORT = (1, 30)
LONG = (1, 30, 100, 300, 1000)
RUNS_SEEDED = 2000
"""Runs over all sessions of one length. A round's turns are spread over the sessions, so that these grow by 3 % at most."""

IMPORTS = ("agno_mongo", "agno_mongo.agent", "agno_mongo.db.mongo", "agno.agent", "agno.db.mongo", "pymongo", "beanie")


@dataclass
class Counted:
    """Commands and bytes of a turn, on average, and which commands they are."""

    commands: float
    sent: float
    received: float
    names: list[str]


@dataclass
class Result:
    contestant: Contestant
    runs: int
    rounds: Rounds
    counted: Counted
    stored: float
    """Runs that every turn added, as read back after each round. Anything but 1 is cheating."""
    messages_shown: int | None
    """How many messages the model was sent: the input, and two of each earlier run."""
    run_size: float
    """Bytes that a stored run takes, uncompressed, the session's own share included."""


async def measure(
    contestants: Sequence[Contestant], runs: int, options: argparse.Namespace, server: EmbeddedServer
) -> list[Result]:
    sessions = max(1, min(options.turns, RUNS_SEEDED // runs))
    for contestant in contestants:
        await contestant.seed(runs, sessions)
        if isinstance(contestant, Bare):
            await contestant.learn(server.url)
    for contestant in contestants:
        await one_round(contestant, runs, options.turns, None, server)
    results = {contestant: Rounds(options.turns) for contestant in contestants}
    stored: dict[Contestant, list[float]] = {contestant: [] for contestant in contestants}
    for number in range(options.rounds):
        for contestant in order_of(contestants, number):
            added = await one_round(contestant, runs, options.turns, results[contestant], server)
            stored[contestant].append(added / options.turns)
    return [
        Result(
            contestant,
            runs,
            results[contestant],
            await counted(contestant, server.url),
            min(stored[contestant], key=lambda added: -abs(added - 1)),
            contestant.messages_shown,
            contestant.snapshot.size / (runs * sessions),
        )
        for contestant in contestants
    ]


def order_of(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    """Everybody first, in the middle, and last in turn; every other round backwards."""
    shift = number % len(contestants)
    rotated = [*contestants[shift:], *contestants[:shift]]
    return rotated[::-1] if number % 2 else rotated


async def one_round(contestant: Contestant, runs: int, turns: int, result: Rounds | None, server: EmbeddedServer) -> int:
    """Time the turns of one round and say how many runs they left behind."""
    await contestant.reset()
    plan = [(contestant.sessions[at % len(contestant.sessions)], INPUTS[at % len(INPUTS)]) for at in range(turns)]
    prepared = contestant.prepared(plan)
    times = []
    gc.collect()
    server_before, before = server_cpu(server.pid), process_time()
    for turn in prepared:
        started = perf_counter()
        await turn()
        times.append(perf_counter() - started)
    cpu, on_server = process_time() - before, server_cpu(server.pid) - server_before
    if result is not None:
        result.add(times, cpu, on_server)
    used = contestant.sessions[: min(turns, len(contestant.sessions))]
    return sum([await contestant.runs_of(session_id) for session_id in used]) - runs * len(used)


async def counted(contestant: Contestant, url: str, turns: int = 10) -> Counted:
    """The same turns once more, watched and not timed."""
    await contestant.reset()
    wire = Wire()
    unwatched = contestant.client
    async with AsyncMongoClient(url, event_listeners=[wire]) as client:
        await contestant.open(client)
        sessions = contestant.sessions
        first, *rest = contestant.prepared([(sessions[at % len(sessions)], INPUTS[0]) for at in range(turns + 1)])
        await first()
        wire.reset()
        for turn in rest:
            await turn()
        found = Counted(len(wire.commands) / turns, wire.sent / turns, wire.received / turns, wire.names)
    await contestant.open(unwatched)
    found.names = found.names[: round(found.commands)]
    return found


def rows_of(results: Sequence[Result]) -> list[list[str]]:
    ours, bare = results[0].rounds, results[1].rounds
    return [
        [
            f"{result.runs:,} {'run' if result.runs == 1 else 'runs'}: {result.contestant.name}",
            f"{result.rounds.latency * 1000:.2f}",
            f"{result.rounds.latency_95 * 1000:.2f}",
            f"{result.rounds.times(bare):.2f}",
            f"{result.rounds.times(ours):.2f}",
            f"{result.rounds.cpu_per_turn * 1000:.2f}",
            f"{result.rounds.cpu_times(bare):.2f}",
            f"{result.rounds.server_cpu_per_turn * 1000:.2f}",
            f"{result.counted.commands:g}",
            f"{result.counted.sent / 1024:.1f}",
            f"{result.counted.received / 1024:.1f}",
            f"{result.stored:g}",
            f"{result.run_size / 1024:.1f}",
            "-" if result.messages_shown is None else str(result.messages_shown),
        ]
        for result in results
    ]


HEADER = (
    "session holds",
    "ms/turn",
    "p95 ms",
    "x bare",
    "x ours",
    "client CPU ms",
    "CPU x bare",
    "mongod CPU ms",
    "commands",
    "KB sent",
    "KB received",
    "runs stored",
    "KB/run",
    "messages shown",
)


async def surroundings(client: Any, options: argparse.Namespace) -> list[str]:
    server_version = (await client.admin.command("buildInfo"))["version"]
    concern = await client.admin.command("getDefaultRWConcern")
    packages = ", ".join(f"{name} {version_of(name)}" for name in ("agno_mongo", "pymongo", "beanie", "pydantic", "agno"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        (
            f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC; {platform.python_implementation()} {platform.python_version()}, "
            f"{packages}; mongod {server_version}"
        ),
        (
            f"{os.cpu_count()} CPUs ({platform.machine()}, {platform.system()}), load {load} at the start; "
            f"{options.rounds} rounds of {options.turns} turns"
        ),
        (
            "write concern: agno_mongo and bare PyMongo w=majority, j=true; Agno sets none, which this server takes as "
            f"{concern.get('defaultWriteConcern') or 'its own default'}"
        ),
    ]


def imports_table(repeats: int) -> str:
    found = import_times(IMPORTS, repeats)
    rows = [
        [name, *(["-", "-"] if took is None else [f"{seconds * 1000:.0f}" for seconds in took])] for name, took in found.items()
    ]
    return table((f"import, fresh process, median of {repeats}", "ms", "CPU ms"), rows)


async def run(options: argparse.Namespace, say: Any) -> None:
    lengths = options.runs or (LONG if options.long else SHORT)
    with tempfile.TemporaryDirectory(prefix="agno_mongo-bench-", dir=options.folder) as folder:
        server = EmbeddedServer(folder)
        url = await asyncio.to_thread(server.acquire)
        try:
            async with contextlib.AsyncExitStack() as clients:
                ours = Ours("ours")
                contestants: list[Contestant] = [ours, Bare("bare", ours)]
                if AGNO_MISSING is None and not options.without_agno:
                    contestants.append(Agno("agno"))
                for contestant in contestants:
                    await contestant.open(await clients.enter_async_context(AsyncMongoClient(url)))
                say("\n".join(await surroundings(ours.client, options)))
                if AGNO_MISSING is not None:
                    say(f"Agno does not take part ({AGNO_MISSING}). To have it: {HOW_TO_GET_AGNO}")
                everything = [await measure(contestants, runs, options, server) for runs in lengths]
                say(table(HEADER, [row for results in everything for row in rows_of(results)]))
                say("\n".join(f"{result.contestant.name}: {', '.join(result.counted.names)}" for result in everything[-1]))
                cheats = [result for results in everything for result in results if result.stored != 1]
                for result in cheats:
                    say(f"! {result.contestant.name} stored {result.stored:g} runs a turn at {result.runs} runs")
        finally:
            await asyncio.to_thread(server.release)
    if options.imports:
        say(imports_table(options.imports))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="sessions of 100, 300 and 1,000 runs too")
    parser.add_argument("--runs", type=int, nargs="+", metavar="N", help="sessions of so many runs instead")
    parser.add_argument("--rounds", type=int, default=11, help="at least 5 (default: 11)")
    parser.add_argument("--turns", type=int, default=40, help="turns in a round (default: 40)")
    parser.add_argument(
        "--imports", type=int, default=5, metavar="N", help="how often to time imports; 0 leaves them out (default: 5)"
    )
    parser.add_argument("--without-agno", action="store_true", help="leave Agno out though it is installed")
    parser.add_argument("--folder", help="where to make mongod's temporary folder, to choose the disk")
    parser.add_argument("--output", metavar="FILE", help="write what is printed to this file too")
    options = parser.parse_args()
    if options.rounds < 5:
        parser.error("--rounds: medians of fewer than 5 rounds say nothing")
    if options.turns < 1 or any(runs < 1 for runs in options.runs or ()):
        parser.error("--turns and --runs count from 1")
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        print(text, end="\n\n", flush=True)

    asyncio.run(run(options, say))
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write("\n\n".join(said) + "\n")


if __name__ == "__main__":
    main()
