"""One of a thing for every event loop.

Network clients belong to the loop of their first use, and a process has several: one for each ``asyncio.run``, one for every test, one
behind the blocking calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from copy import deepcopy
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes a thing at a loop's first request and closes it when that loop shuts down, or when this object goes.

    ``close`` must not hold on to the owner of this object, which would then never go.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        # Not weak: what is made for a loop holds on to the loop. Entries go when their loop does.
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        self._making: dict[asyncio.AbstractEventLoop, asyncio.Task[T]] = {}
        self._closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}
        self._lock = threading.Lock()
        # At exit the loops themselves see to it.
        weakref.finalize(self, _close_soon, self._closers).atexit = False

    def __deepcopy__(self, memo: dict[int, Any]) -> PerLoop[T]:
        """One for a copy of the owner, that makes its own."""
        return PerLoop(deepcopy(self._make, memo), self._close)

    async def get(self) -> T:
        """The running loop's own.

        Requests that come while it is being made wait for the same one, and go on waiting if one of them is cancelled. A
        failure is everybody's who waited; the next request tries again.
        """
        loop = asyncio.get_running_loop()
        with contextlib.suppress(KeyError):
            return self._made[loop]
        with self._lock:
            self._forget_closed_loops()
            making = self._making.get(loop)
            if making is None:
                making = self._making[loop] = loop.create_task(self._make_for(loop))
        return await asyncio.shield(making)

    async def _make_for(self, loop: asyncio.AbstractEventLoop) -> T:
        try:
            thing = await self._make()
            closer = _close_with_loop(thing, self._close, weakref.ref(self), loop)
            await anext(closer)
            with self._lock:
                self._made[loop], self._closers[loop] = thing, closer
            return thing
        finally:
            with self._lock:
                self._making.pop(loop, None)

    def _forget_closed_loops(self) -> None:
        for things in (self._made, self._making, self._closers):
            for loop in [loop for loop in things if loop.is_closed()]:
                things.pop(loop, None)

    def made(self) -> list[T]:
        """What there is by now, on whatever loop each lives."""
        with self._lock:
            return list(self._made.values())

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of what was made for ``loop``."""
        with self._lock:
            self._made.pop(loop, None)
            self._closers.pop(loop, None)

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


async def _close_with_loop(
    thing: T,
    close: Callable[[T], Awaitable[None]],
    owner: weakref.ref[PerLoop[T]],
    loop: asyncio.AbstractEventLoop,
) -> AsyncGenerator[None, None]:
    """A generator whose end closes the thing.

    ``asyncio.run`` and its like end every asynchronous generator before they close their loop: the last moment at
    which a client can be closed, and the only notice that there is.
    """
    try:
        yield
    finally:
        per_loop = owner()
        if per_loop is not None:
            per_loop.forget(loop)
        await close(thing)


def _close_soon(closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]]) -> None:
    for loop, closer in list(closers.items()):
        # A loop that is closed has closed what was on it.
        with contextlib.suppress(RuntimeError):
            # Whose turn it is when an object goes is chance: a deadline that he has set is none of ours.
            loop.call_soon_threadsafe(_start_closing, loop, closer, context=contextvars.Context())


def _start_closing(loop: asyncio.AbstractEventLoop, closer: AsyncGenerator[None, None]) -> None:
    task = loop.create_task(_aclose(closer))
    _CLOSING.add(task)
    task.add_done_callback(_CLOSING.discard)


_CLOSING: set[asyncio.Task[None]] = set()
"""A loop keeps only weak references to its tasks."""
