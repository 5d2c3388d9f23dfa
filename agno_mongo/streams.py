"""Generators that are closed and work that is done, whoever cancels or leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")


class Held(AbstractAsyncContextManager[AsyncGenerator[T, None]]):
    """Closes a run's events at the end, and keeps them from becoming garbage before.

    Python finalizes generators that became garbage together in no order, each in a task of its own: of a stream that is left without a word
    the inner ones would be closed under the hands of the outer one. Held, they are closed by it.
    """

    _all: ClassVar[set[AsyncGenerator[Any, None]]] = set()

    def __init__(self, events: AsyncGenerator[T, None]) -> None:
        self._events = events
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> AsyncGenerator[T, None]:
        self._all.add(self._events)
        return self._events

    async def __aexit__(self, *exception: object) -> None:
        try:
            # A loop that ends closes all generators at once, and may be closing this one.
            if not getattr(self._events, "ag_running", False):
                await self._events.aclose()
        finally:
            self._all.discard(self._events)

    def __del__(self) -> None:
        """Nobody will close what belongs to a loop that is closed itself."""
        if self._loop.is_closed():
            self._all.discard(self._events)


async def uninterrupted(work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, asyncio.CancelledError | None]:
    """Do ``work`` to its end, whoever cancels meanwhile, and give back its result beside that cancellation.

    A loop that shuts down cancels the work itself. It is then done once more, so it must be repeatable.
    """
    cancelled: asyncio.CancelledError | None = None
    task = asyncio.ensure_future(work())
    while True:
        try:
            return await asyncio.shield(task), cancelled
        except asyncio.CancelledError as error:
            cancelled = error
            if task.cancelled():
                task = asyncio.ensure_future(work())
