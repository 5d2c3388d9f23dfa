"""What the benchmarks measure with: a listener that counts, documents copied and put back, clocks, tables. No contestant is named
here.
"""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from typing import Any, TypeVar

import bson
from bson.codec_options import CodecOptions
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.monitoring import CommandListener

OP_MSG_HEADER = 21
"""Bytes before the document of an OP_MSG: 16 of message header, 4 of flags, 1 for the kind of section."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class Wire(CommandListener):
    """Counts commands and their bytes, request and reply, as the driver reports them; keeps the commands themselves.

    The monitor's and the handshake's ``hello`` are not reported by the driver, and so not counted.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.commands: list[dict[str, Any]] = []
        self.sent = 0
        self.received = 0

    @property
    def names(self) -> list[str]:
        return [next(iter(command)) for command in self.commands]

    def started(self, event: Any) -> None:
        encoded = bson.encode(event.command)
        self.sent += OP_MSG_HEADER + len(encoded)
        self.commands.append(bson.decode(encoded))

    def succeeded(self, event: Any) -> None:
        self.received += OP_MSG_HEADER + len(bson.encode(event.reply))

    def failed(self, event: Any) -> None:
        self.received += OP_MSG_HEADER + len(bson.encode(event.failure))


def substituted(value: Any, texts: Mapping[str, str], other: Callable[[Any], Any] = lambda value: value) -> Any:
    """A copy of ``value`` with ``texts`` replaced wherever they occur, in keys too; ``other`` maps what is no text."""
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {substituted(key, texts): substituted(part, texts, other) for key, part in value.items()}
    if isinstance(value, list):
        return [substituted(part, texts, other) for part in value]
    return other(value)


def copied(documents: Mapping[str, Sequence[dict[str, Any]]], texts: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The documents, by collection, with ``texts`` replaced where they are a whole value, and with ObjectIds of their own that
    refer to each other as the originals do.
    """
    ids: dict[ObjectId, ObjectId] = {}

    def renewed(value: Any) -> Any:
        if isinstance(value, str):
            return texts.get(value, value)
        if isinstance(value, dict):
            return {key: renewed(part) for key, part in value.items()}
        if isinstance(value, list):
            return [renewed(part) for part in value]
        return ids.setdefault(value, ObjectId()) if isinstance(value, ObjectId) else value

    return {name: [renewed(document) for document in found] for name, found in documents.items()}


PUT_BACK = 12 * 2**20
"""Bytes of a database that is put back before every round. A larger one is left to grow, by little of what it is."""


class Snapshot:
    """All documents of a database, to put back before every round. Indexes and collections stay as they are."""

    def __init__(self, database: Any, documents: dict[str, list[RawBSONDocument]]) -> None:
        self._database = database
        self._documents = documents

    @classmethod
    async def of(cls, database: Any) -> Snapshot | None:
        """None of a database that is too large for it."""
        if (await database.command("dbStats"))["dataSize"] > PUT_BACK:
            return None
        names = [name for name in await database.list_collection_names() if not name.startswith("system.")]
        raw = {name: await database.get_collection(name, codec_options=_RAW).find().to_list() for name in names}
        return cls(database, raw)

    async def restore(self) -> None:
        for name, documents in self._documents.items():
            collection = self._database.get_collection(name, codec_options=_RAW)
            await collection.delete_many({})
            if documents:
                await collection.insert_many(documents, ordered=False)


async def quiet(others: set[Any]) -> None:
    """Wait for what was begun behind the caller's back: all tasks but ``others``, for a second at most."""
    left = asyncio.all_tasks() - others
    if left:
        await asyncio.wait(left, timeout=1)


def server_cpu(pid: int | None) -> float:
    """CPU seconds that a process has used so far, to 10 ms; NaN where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss() -> int:
    """Bytes of memory that this process holds; 0 where there is no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@dataclass
class Rounds:
    """What one contestant took, in seconds; one entry a round."""

    medians: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    server_cpu: list[float] = field(default_factory=list)

    def add(self, times: Sequence[float], cpu: float, server: float) -> None:
        self.medians.append(statistics.median(times))
        self.means.append(statistics.mean(times))
        self.slow.append(sorted(times)[math.ceil(0.95 * len(times)) - 1])
        self.cpu.append(cpu / len(times))
        self.server_cpu.append(server / len(times))

    @property
    def latency(self) -> float:
        return statistics.median(self.medians)

    @property
    def mean(self) -> float:
        return statistics.median(self.means)

    @property
    def latency_95(self) -> float:
        return statistics.median(self.slow)

    @property
    def cpu_per_turn(self) -> float:
        return statistics.median(self.cpu)

    @property
    def server_cpu_per_turn(self) -> float:
        """Of all rounds together: the kernel counts in steps of 10 ms."""
        return statistics.mean(self.server_cpu)


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as much: round by round, then the median, so that a slow minute of the machine hits both."""
    return statistics.median(ours / other for ours, other in zip(mine, theirs, strict=True))


T = TypeVar("T")


def order_of(contestants: Sequence[T], number: int) -> list[T]:
    """Everybody first, in the middle, and last in turn; every other round backwards."""
    shift = number % len(contestants)
    rotated = [*contestants[shift:], *contestants[:shift]]
    return rotated[::-1] if number % 2 else rotated


def import_times(modules: Sequence[str], repeats: int) -> dict[str, tuple[float, float] | None]:
    """Seconds and CPU seconds of each import in a fresh interpreter, medians; None for what is not installed.

    The modules take turns, and of several times the first is not counted. CPU is what to read on a busy machine.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
    for repeat in range(repeats + (repeats > 1)):
        for name in modules:
            code = (
                f"from time import perf_counter as t, process_time as c; s, d = t(), c(); import {name}; print(t() - s, c() - d)"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0 and (repeat or repeats == 1):
                took, cpu = done.stdout.split()[-2:]
                found[name].append((float(took), float(cpu)))
    return {
        name: (statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times)) if times else None
        for name, times in found.items()
    }


def version_of(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        # A package that stands beside the benchmarks, say, and is installed nowhere.
        return "from its source" if find_spec(distribution) else "not installed"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table that is readable as it stands; the first column to the left, numbers to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def drawn(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = "|".join(["", *("-" * (width + 1) + (":" if at else "-") for at, width in enumerate(widths)), ""])
    return "\n".join([drawn(lines[0]), rule, *map(drawn, lines[1:])])
