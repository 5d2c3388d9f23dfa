"""Work that nobody waits for until the connection is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from agno_mongo.errors import AgnoMongoError

_log = logging.getLogger("agno_mongo")


class Background:
    """The tasks of one event loop. One at a time for each name: what is already under way is not begun twice."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._next: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {}

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
        """Wait for all that is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def _logged(name: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except AgnoMongoError as error:
        _log.warning("%s: %s", name, error)
