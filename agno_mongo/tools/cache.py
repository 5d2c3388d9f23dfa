"""Results of tools that are kept for a while: in memory, or in files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import tempfile
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any, Final
from weakref import WeakValueDictionary

from agno_mongo.tools.result import result_text

_log = logging.getLogger("agno_mongo")

MOST_KEPT: Final = 128
LARGEST_KEPT: Final = 256 * 1024
"""How many results of one tool are kept in memory, and how many characters each may have. The least recently used one goes first."""


class Nothing:
    """There is no such result; None may be one."""


NOTHING: Final = Nothing()


_ALONE: Final[WeakValueDictionary[tuple[int, int, str], asyncio.Lock]] = WeakValueDictionary()
_WITHIN: Final[ContextVar[frozenset[tuple[int, str]]]] = ContextVar("results that are being made", default=frozenset())


@asynccontextmanager
async def alone(cache: MemoryCache | FileCache, key: str) -> AsyncGenerator[None, None]:
    """Nobody else makes this result meanwhile, in this event loop: who comes second waits, and looks whether it is there.

    A call within a call of the same key does not wait for itself.
    """
    place, within = (id(cache), key), _WITHIN.get()
    if place in within:
        yield
        return
    lock = _ALONE.setdefault((id(asyncio.get_running_loop()), *place), asyncio.Lock())
    async with lock:
        token = _WITHIN.set(within | {place})
        try:
            yield
        finally:
            _WITHIN.reset(token)


def key_of(tool: str, arguments: Mapping[str, Any], *owner: str | None) -> str:
    """What a call is remembered by: the tool, its arguments and whose call it is."""
    written = json.dumps([tool, arguments, owner], sort_keys=True, default=_written)
    return hashlib.sha256(written.encode(errors="surrogatepass")).hexdigest()


def _written(value: Any) -> list[str]:
    # 1 and "1" of some class of one's own are two things.
    return [type(value).__qualname__, result_text(value)]


@dataclass(eq=False)
class MemoryCache:
    """The results of one tool, for ``seconds`` each. Hands out copies: who changes one changes only his own."""

    seconds: float
    _kept: OrderedDict[str, tuple[float, Any]] = field(default_factory=OrderedDict)

    def get(self, key: str) -> Any:
        """The result, or NOTHING."""
        until, result = self._kept.get(key, (0.0, NOTHING))
        if result is NOTHING or until < monotonic():
            self._kept.pop(key, None)
            return NOTHING
        self._kept.move_to_end(key)
        return deepcopy(result)

    def put(self, key: str, result: Any) -> None:
        """Keep a result. One that is too large, or that cannot be copied, is not kept."""
        if len(result_text(result)) > LARGEST_KEPT:
            return
        # Somebody's class may raise anything from here.
        with suppress(Exception):
            self._kept[key] = (monotonic() + self.seconds, deepcopy(result))
            self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


@dataclass(frozen=True)
class FileCache:
    """Results as JSON files in ``folder``, readable by nobody else, for ``seconds`` each; ``whose`` tells them from those of another function of the
    same code. Its methods block.

    A file that cannot be read is no result, and one that cannot be written is told in the log: a cache costs no call.
    """

    folder: Path
    seconds: float
    whose: str = ""

    def get(self, key: str) -> Any:
        """The result, or NOTHING. A file whose time is over goes."""
        path = self.folder / self._name(key)
        try:
            entry = json.loads(path.read_text("utf-8"))
            written, result = entry["written"], entry["result"]
            if 0 <= time() - written <= self.seconds:
                return result
            path.unlink()
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return NOTHING

    def put(self, key: str, result: Any) -> None:
        """Keep a result that JSON gives back as it is; others are not kept. Readers see the whole file or none."""
        try:
            text = json.dumps({"written": time(), "result": result})
            if json.loads(text)["result"] != result:
                return
        except (TypeError, ValueError, RecursionError):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._replace(self._name(key), text)
        except OSError as error:
            _log.warning("the result of a tool cannot be kept in %s: %s", self.folder, error)

    def _name(self, key: str) -> str:
        return f"{self.whose}-{key}.json" if self.whose else f"{key}.json"

    def _replace(self, name: str, text: str) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self.folder / name)
        except BaseException:
            os.unlink(temporary)
            raise
