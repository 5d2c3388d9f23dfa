"""The page that the suite writes."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from pymongo import AsyncMongoClient

import bars
import crowds
import disk
import reading
import turns
from contestants import Contestant, everybody
from contestants.base import SIZES
from measuring import table, version_of

IMPORTS = ("agno_mongo", "agno_mongo.agent", "agno.agent", "agents", "langgraph.graph", "beanie")
QUICK_ROUNDS = 5


@dataclass
class Report:
    surroundings: list[list[str]]
    plans: Any
    missing: Sequence[Contestant] = ()
    turns: list[turns.Result] = field(default_factory=list)
    crowds: list[crowds.Result] = field(default_factory=list)
    reading: list[reading.Result] = field(default_factory=list)
    disk: list[disk.Result] = field(default_factory=list)
    at_once: tuple[int, int, int] | None = None
    imports: dict[str, tuple[float, float] | None] = field(default_factory=dict)


async def surroundings(url: str) -> list[list[str]]:
    """Date, machine and versions. No names of hosts or users."""
    async with AsyncMongoClient(url) as client:
        server = (await client.server_info())["version"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    distributions = dict.fromkeys(name for contestant in everybody(SIZES["2 KB"]) for name in contestant.distributions)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    return [
        ["date", f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"],
        ["machine", f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GB of memory, load {load} at the start"],
        ["system", f"{platform.system()} {platform.release()}"],
        ["Python", f"{platform.python_implementation()} {platform.python_version()}"],
        ["mongod", f"{server}, replica set of one node, journal on, 256 MB cache, over a Unix socket"],
        *([name, version_of(name)] for name in distributions),
    ]


def page(found: Report) -> str:
    parts = [HEAD, table(("", "measured with"), found.surroundings), *_who_is_missing(found), *_bars(found)]
    for size in dict.fromkeys(result.size.name for result in found.turns):
        results = [result for result in found.turns if result.size.name == size]
        parts += [f"## A turn, runs of {size}", _said(size), turns.shown(results), *turns.notes(results)]
    if found.turns:
        parts.append(_command_names(found.turns))
    if found.crowds:
        ours, bare = (contestant.name for contestant in everybody(SIZES["2 KB"])[:2])
        parts += ["## Many sessions at once", CROWDS, crowds.shown(found.crowds, ours, bare)]
    if found.reading:
        parts += ["## Reading", READING, reading.shown(found.reading)]
    if found.disk:
        parts += ["## On disk", DISK, disk.shown(found.disk)]
    if found.imports:
        parts += ["## Import", _imports(found)]
    return "\n\n".join(parts) + "\n"


def _who_is_missing(found: Report) -> list[str]:
    said = [f"- {contestant.name} does not take part: {contestant.missing}." for contestant in found.missing]
    few = found.plans.turns.rounds < QUICK_ROUNDS
    quick = ["**A quick run: too few rounds and turns for its figures to mean much.**"] if few else []
    return quick + (
        ['Left out, as the extra `bench` is not installed (`pip install -e ".[bench]"`):', "\n".join(said)] if said else []
    )


def _bars(found: Report) -> list[str]:
    ours = everybody(SIZES["2 KB"])[0]
    rows = [*bars.of_turns(found.turns), *bars.of_disk(found.disk, ours), *bars.of_rest(found.at_once, found.imports)]
    if not rows:
        return []
    return ["## The bars", table(("what", "bar", "measured", ""), [row.cells for row in rows]), NOT_HERE]


def _said(size: str) -> str:
    said = SIZES[size]
    return (
        f"{said.input_length} characters are said and {said.answer_length} answered in a turn, which agno_mongo stores as a run of about "
        f"{size}. The model answers at once and is shown the last three runs."
    )


def _command_names(results: Sequence[turns.Result]) -> str:
    names = {result.contestant.name: ", ".join(result.counted.names) for result in results if result.counted}
    return "\n".join(["What is sent in a turn:", "", *(f"- {name}: {found}" for name, found in names.items())])


def _imports(found: Report) -> str:
    rows = [
        [name, *(["-", "-"] if took is None else [f"{seconds * 1000:.0f}" for seconds in took])]
        for name, took in found.imports.items()
    ]
    return table((f"import, fresh process, median of {found.plans.imports}", "ms", "CPU ms"), rows)


HEAD = """# Benchmarks

Written by `make bench` (`benchmarks/run.py`), about ten minutes; [how it measures](../benchmarks/README.md). To repeat it:

```
pip install -e ".[bench]"
make bench          # writes this page
make bench-quick    # a minute; prints it
```

All contestants run on one mongod in one run, each with a database and a client of its own, and take turns in every round. Figures are medians
over the rounds; `x` columns are ratios taken round by round, then the median. Ratios can be compared between machines, times hardly."""

NOT_HERE = """That acknowledged turns survive a killed client or server is not measured here; the tests show it."""

CROWDS = """Each contestant plays in a process of its own: so many sessions at once, every session new and five turns long, runs of 2 KB. More turns a
second are better, so `x` above 1 is faster. Memory is what the process held after the last round of this line more than before the first line. The
commands of bare PyMongo are made beforehand and held in memory, which counts there."""

READING = """Runs of 2 KB. Both are asked through their own methods: `get_sessions`, `get_session`, `get_runs`. A list of Agno's comes with the runs of its
sessions, one of agno_mongo's without."""

DISK = """A chat of so many turns in one session, all collections together, after a checkpoint of the server. `BSON` is before compression, `on disk` the
files, without indexes; the oplog, which has a fixed size, is not counted. LangGraph keeps the whole conversation anew in each of three checkpoints a turn,
so its chat is shorter and its factor grows with the length."""
