"""Where the client's time goes in a turn of agno_mongo, function by function, beside the same commands sent by bare PyMongo.

    python benchmarks/profile_turn.py [--size "2 KB"] [--runs 20] [--turns 400] [--top 40]

cProfile charges every call, so the figures are too large, for small functions most; the order is what to read. They are CPU, not
time that passes. The line above each table is what the turns take without it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import tempfile
from collections.abc import Sequence
from time import process_time

from agno_mongo.db.embedded_server import EmbeddedServer
from contestants import Contestant, everybody
from contestants.base import SIZES


async def turns_of(contestant: Contestant, turns: int, profile: cProfile.Profile | None = None) -> float:
    """CPU microseconds a turn."""
    sessions, size = contestant.sessions, contestant.size
    await contestant.reset()
    await contestant.warm()
    prepared = contestant.prepared([(sessions[at % len(sessions)], size.input(at)) for at in range(turns)])
    if profile is not None:
        profile.enable()
    started = process_time()
    for turn in prepared:
        await turn()
    took = process_time() - started
    if profile is not None:
        profile.disable()
    return took / turns * 1e6


def shown(profile: cProfile.Profile, turns: int, order: str, top: int) -> list[str]:
    entries = pstats.Stats(profile).stats.items()
    at = {"own": 2, "with callees": 3}[order]
    rows: Sequence = sorted(entries, key=lambda entry: -entry[1][at])[:top]
    lines = [f"by {order} time, microseconds a turn", f"{'own':>8} {'callees':>8} {'calls':>7}  function"]
    for (path, line, name), (_, calls, own, cumulative, _) in rows:
        place = "" if path == "~" else f"{'/'.join(path.split('/')[-3:])}:{line} "
        lines.append(f"{own / turns * 1e6:8.1f} {cumulative / turns * 1e6:8.1f} {calls / turns:7.1f}  {place}{name}")
    return lines


async def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="agno_mongo-bench-", dir=options.folder) as folder:
        server = EmbeddedServer(folder)
        url = await asyncio.to_thread(server.acquire)
        try:
            both = everybody(SIZES[options.size])[:2]
            for contestant in both:
                await contestant.open(url)
            for contestant in both:
                await contestant.seed(options.runs, min(options.turns, 50))
                await turns_of(contestant, options.turns)
                plain = sorted([await turns_of(contestant, options.turns) for _ in range(3)])[1]
                print(f"\n{contestant.name}: {plain:.0f} microseconds of CPU a turn without a profiler")
                profile = cProfile.Profile(process_time)
                await turns_of(contestant, options.turns, profile)
                for order in ("own", "with callees"):
                    print("\n".join(shown(profile, options.turns, order, options.top)))
            for contestant in both:
                await contestant.close()
        finally:
            await asyncio.to_thread(server.release)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="2 KB")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--folder", help="where to make mongod's temporary folder, to choose the disk")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
