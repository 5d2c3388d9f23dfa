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
        self._next: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {}
        self.patience = PATIENCE

    def start(self, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Begin ``work``, unless work of this name is under way. Its failure is logged: whatever it does is tried again later."""
        if name in self._tasks:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(_logged(name, work))
        self._tasks[name] = task
        task.add_done_callback(lambda task: self._over(name, task))

    def start_or_follow(self, name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Begin ``work``; if work of this name is under way, begin it once more when that is over, however often it is asked for meanwhile."""
        if name in self._tasks:
            self._next[name] = work
        else:
            self.start(name, work())

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        following = self._next.pop(name, None)
        if following is not None and not task.cancelled():
            self.start(name, following())

    async def finished(self) -> None:
        """Wait for all that is under way, for ``patience`` seconds; what is not over by then is given up, and the log says so."""
        deadline = monotonic() + self.patience
        while self._tasks and (left := deadline - monotonic()) > 0:
            await asyncio.wait(self._tasks.values(), timeout=left)
        self._next.clear()
        for name, task in self._tasks.items():
            _log.warning("%s: given up, it was not over after %g s", name, self.patience)
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_TO_CLEAR_UP)


async def _logged(name: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except AgnoMongoError as error:
        _log.warning("%s: %s", name, error)
