"""One of a thing for every event loop.

Network clients belong to the loop of their first use, and a process has several: one for each ``asyncio.run``, one for every test, one
behind the blocking calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes a thing at a loop's first request and closes it when that loop shuts down, or when this object goes.

    ``close`` must not hold on to the owner of this object, which would then never go.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Future[T]] = WeakKeyDictionary()
        self._closers: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = WeakKeyDictionary()
        self._lock = threading.Lock()
        # At exit the loops themselves see to it.
        weakref.finalize(self, _close_soon, self._closers).atexit = False

    async def get(self) -> T:
        """The running loop's own. Requests that come while it is being made wait for the same one; a failure is
        everybody's who waited, and the next request tries again.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            made = self._made.get(loop)
            if made is None:
                mine = self._made[loop] = loop.create_future()
        if made is not None:
            return made.result() if made.done() else await asyncio.shield(made)
        try:
            thing = await self._make()
            closer = _close_with_loop(thing, self._close)
            await anext(closer)
        except BaseException as error:
            self._fail(loop, mine, error)
            raise
        with self._lock:
            self._closers[loop] = closer
        mine.set_result(thing)
        return thing

    def _fail(self, loop: asyncio.AbstractEventLoop, mine: asyncio.Future[T], error: BaseException) -> None:
        with self._lock:
            self._made.pop(loop, None)
        if isinstance(error, Exception):
            mine.set_exception(error)
            # It is raised to the caller too; nobody else may have waited for it.
            mine.exception()
        else:
            mine.cancel()

    async def close(self) -> None:
        """Close what was made, on whatever loop each lives. May be repeated; the next ``get`` makes a new one."""
        with self._lock:
            closers = list(self._closers.items())
            self._closers.clear()
            self._made.clear()
        here = asyncio.get_running_loop()
        for loop, closer in closers:
            if loop is here:
                await closer.aclose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_aclose(closer), loop))


async def _aclose(closer: AsyncGenerator[None, None]) -> None:
    await closer.aclose()


async def _close_with_loop(thing: T, close: Callable[[T], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """A generator whose end closes the thing.

    ``asyncio.run`` and its like end every asynchronous generator before they close their loop: the last moment at
    which a client can be closed, and the only notice that there is.
    """
    try:
        yield
    finally:
        await close(thing)


def _close_soon(closers: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None, None]]) -> None:
    for loop, closer in list(closers.items()):
        # A loop that is closed has closed what was on it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_start_closing, loop, closer)


def _start_closing(loop: asyncio.AbstractEventLoop, closer: AsyncGenerator[None, None]) -> None:
    task = loop.create_task(_aclose(closer))
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)


_CLOSING: set[asyncio.Task[None]] = set()
"""A loop keeps only weak references to its tasks."""
