"""What the benchmark measures with: a listener that counts, documents copied and put back, clocks, tables. No contestant is named here."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

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


def copied(documents: Sequence[dict[str, Any]], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """The documents under other names, with ObjectIds of their own that refer to each other as the originals do."""
    ids: dict[ObjectId, ObjectId] = {}

    def renewed(value: Any) -> Any:
        return ids.setdefault(value, ObjectId()) if isinstance(value, ObjectId) else value

    return [substituted(document, texts, renewed) for document in documents]


class Snapshot:
    """All documents of a database, to put back before every round. Indexes and collections stay as they are."""

    def __init__(self, database: Any, documents: dict[str, list[RawBSONDocument]]) -> None:
        self._database = database
        self._documents = documents

    @classmethod
    async def of(cls, database: Any) -> Snapshot:
        names = [name for name in await database.list_collection_names() if not name.startswith("system.")]
        raw = {name: await database.get_collection(name, codec_options=_RAW).find().to_list() for name in names}
        return cls(database, raw)

    @property
    def size(self) -> int:
        """Bytes of BSON, all collections together."""
        return sum(len(document.raw) for documents in self._documents.values() for document in documents)

    async def restore(self) -> None:
        for name, documents in self._documents.items():
            collection = self._database.get_collection(name, codec_options=_RAW)
            await collection.delete_many({})
            if documents:
                await collection.insert_many(documents, ordered=False)


def server_cpu(pid: int | None) -> float:
    """CPU seconds that a process has used so far, to 10 ms; NaN where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Rounds:
    """What one contestant took, at one length of session. Times in seconds; one entry a round, save ``server_cpu``."""

    turns: int
    medians: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    server_cpu: float = 0.0

    def add(self, times: Sequence[float], cpu: float, server: float) -> None:
        self.medians.append(statistics.median(times))
        self.slow.append(sorted(times)[math.ceil(0.95 * len(times)) - 1])
        self.cpu.append(cpu / self.turns)
        self.server_cpu += server

    @property
    def latency(self) -> float:
        return statistics.median(self.medians)

    @property
    def latency_95(self) -> float:
        return statistics.median(self.slow)

    @property
    def cpu_per_turn(self) -> float:
        return statistics.median(self.cpu)

    @property
    def server_cpu_per_turn(self) -> float:
        return self.server_cpu / (self.turns * len(self.medians))

    def times(self, other: Rounds) -> float:
        """How many times as long as ``other``: round by round, then the median, so that a slow minute hits both."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.medians, other.medians, strict=True))

    def cpu_times(self, other: Rounds) -> float:
        """The same for the client's CPU."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.cpu, other.cpu, strict=True))


def import_times(modules: Sequence[str], repeats: int) -> dict[str, tuple[float, float] | None]:
    """Seconds and CPU seconds of each import in a fresh interpreter, medians; None for what is not installed.

    The modules take turns, and a first time is not counted. CPU is what to read on a busy machine.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
    for repeat in range(repeats + 1):
        for name in modules:
            code = (
                f"from time import perf_counter as t, process_time as c; s, d = t(), c(); import {name}; print(t() - s, c() - d)"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            if done.returncode == 0 and repeat:
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
        return "not installed"


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
