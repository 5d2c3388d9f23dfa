"""Work that nobody waits for until the connection is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

from agno_mongo.errors import AgnoMongoError

_log = logging.getLogger("agno_mongo")


PATIENCE: Final = 30.0
"""Seconds that work has to come to its end once the connection is to be closed."""

_TO_CLEAR_UP: Final = 1.0
"""Seconds for work that is given up."""


class Background:
    """The tasks of one event loop. One at a time for each name: what is already under way is not begun twice."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._kept: set[asyncio.Task[None]] = set()
        self._next: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {}
        self.patience = PATIENCE

    def start(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Begin ``work``, unless work of this name is under way. Its failure is logged: whatever it does is tried again later."""
        if name in self._tasks:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(_logged(name, work), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda task: self._over(name, task))

    def start_or_follow(self, name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Begin ``work``; if work of this name is under way, begin it once more when that is over, however often it is asked for meanwhile."""
        if name in self._tasks:
            self._next[name] = work
        else:
            self.start(name, work())

    def keep(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin ``work`` whatever else is under way, and return its task. Its failure is for whoever began it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)
        return task

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        following = self._next.pop(name, None)
        if following is not None and not task.cancelled():
            self.start(name, following())

    async def finished(self) -> None:
        """Wait for all that is under way, for ``patience`` seconds; what is not over by then is given up, and the log says so."""
        deadline = monotonic() + self.patience
        while (tasks := self._under_way()) and (left := deadline - monotonic()) > 0:
            await asyncio.wait(tasks, timeout=left)
        self._next.clear()
        for task in tasks:
            _log.warning("%s: given up, it was not over after %g s", task.get_name(), self.patience)
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_TO_CLEAR_UP)

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [*self._kept, *self._tasks.values()]


async def _logged(name: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except AgnoMongoError as error:
        _log.warning("%s: %s", name, error)
