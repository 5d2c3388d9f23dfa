"""Where the client's time goes in a turn of agno_mongo, function by function, beside the same commands sent by bare PyMongo.

    python benchmarks/profile_turn.py [--runs 30] [--turns 400] [--top 40]

cProfile charges every call, so the figures are too large, for small functions most; the order is what to read. The
line above each table is what the turns take without it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import tempfile
from collections.abc import Sequence
from time import process_time

from contestants import INPUTS, Bare, Contestant, Ours
from pymongo import AsyncMongoClient

from agno_mongo.db.embedded_server import EmbeddedServer


async def turns_of(contestant: Contestant, turns: int, profile: cProfile.Profile | None = None) -> float:
    """CPU microseconds a turn."""
    sessions = contestant.sessions
    await contestant.reset()
    prepared = contestant.prepared([(sessions[at % len(sessions)], INPUTS[at % len(INPUTS)]) for at in range(turns)])
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
            async with AsyncMongoClient(url) as client, AsyncMongoClient(url) as other:
                ours = Ours("ours")
                bare = Bare("bare", ours)
                await ours.open(client)
                await bare.open(other)
                await ours.seed(options.runs, min(options.turns, 50))
                await bare.seed(options.runs, 0)
                await bare.learn(url)
                for contestant in (ours, bare):
                    await turns_of(contestant, options.turns)
                    plain = sorted([await turns_of(contestant, options.turns) for _ in range(3)])[1]
                    print(f"\n{contestant.name}: {plain:.0f} microseconds of CPU a turn without a profiler")
                    profile = cProfile.Profile()
                    await turns_of(contestant, options.turns, profile)
                    for order in ("own", "with callees"):
                        print("\n".join(shown(profile, options.turns, order, options.top)))
        finally:
            await asyncio.to_thread(server.release)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--turns", type=int, default=400)
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--folder", help="where to make mongod's temporary folder, to choose the disk")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
