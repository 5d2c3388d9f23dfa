"""One event loop in a thread of its own, behind every blocking call.

Connections stay open between calls because the loop does. A blocking call works wherever there is no loop, in a notebook,
and within a running loop, which stands still meanwhile like for any blocking call. The one place where it cannot work is the thread of
this loop itself: it would wait for itself.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, ParamSpec, TypeVar

from agno_mongo.errors import EventLoopError

T = TypeVar("T")
P = ParamSpec("P")


_CLEAN_UP_TIMEOUT = 10
"""Seconds that an interrupted call has to store what it was about."""


class _Work(Generic[T]):
    """A coroutine on another thread's loop. Unlike asyncio's own future for this, the outcome comes only once the
    coroutine has ended, also when it was cancelled.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: Future[T] = Future()
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[T] | None = None
        loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.outcome.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())

    def cancel(self) -> None:
        """Ask the coroutine to end."""
        self._loop.call_soon_threadsafe(lambda: self._task is not None and self._task.cancel())


class Portal:
    """The background loop. It starts with the first call and ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._registered = False

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the background loop and wait for it.

        Ctrl-C cancels it, waits until it has cleaned up, and goes on as KeyboardInterrupt. Raises EventLoopError on the
        background loop itself.
        """
        loop = self._running_loop()
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise EventLoopError(
                "a blocking call from a coroutine that runs behind another blocking call would wait for itself for ever; "
                "await the method with the a in front of its name instead (arun, aget_session, …)"
            )
        work = _Work(coroutine, loop)
        try:
            return work.outcome.result()
        except KeyboardInterrupt:
            work.cancel()
            # A second Ctrl-C does not wait any longer.
            wait([work.outcome], timeout=_CLEAN_UP_TIMEOUT)
            raise

    def iterate(self, events: AsyncIterator[T]) -> Iterator[T]:
        """The asynchronous iterator as a blocking one. Leaving it early closes the asynchronous one too."""
        try:
            while True:
                try:
                    yield self.call(_next(events))
                except StopAsyncIteration:
                    return
        finally:
            if isinstance(events, AsyncGenerator):
                self.call(_close(events))

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # After a fork the child has the loop's memory but not its thread.
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="agno_mongo-blocking", daemon=True)
                self._thread.start()
                if not self._registered:
                    # Not at import: what is registered later runs earlier, and connections must close before the server
                    # behind them stops.
                    atexit.register(self.close)
                    self._registered = True
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            _wind_up(loop)

    def close(self) -> None:
        """End the background loop: cancel what runs on it and close what it holds. Called at exit; may be repeated."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None and thread.is_alive():
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=10)


def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """What ``asyncio.run`` does at its end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def _next(events: AsyncIterator[T]) -> T:
    return await anext(events)


async def _close(events: Any) -> None:
    await events.aclose()


portal = Portal()
"""The process's background loop."""


def blocking(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The blocking twin of a coroutine method."""

    @functools.wraps(method)
    def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return portal.call(method(*args, **kwargs))

    name = method.__name__.removeprefix("a")
    twin.__name__ = name
    twin.__qualname__ = method.__qualname__.replace(method.__name__, name)
    twin.__doc__ = f"``{method.__name__}``, waited for. {method.__doc__ or ''}"
    return twin


class BlockingIterator(Generic[T]):
    """An asynchronous iterator as a blocking one. ``with`` opens it at once and closes it at the end, if it can be opened and closed."""

    def __init__(self, events: AsyncIterator[T]) -> None:
        self._events = events

    def __iter__(self) -> BlockingIterator[T]:
        return self

    def __next__(self) -> T:
        try:
            return portal.call(_next(self._events))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> BlockingIterator[T]:
        if isinstance(self._events, AbstractAsyncContextManager):
            portal.call(_enter(self._events))
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the iterator. May be repeated."""
        if hasattr(self._events, "aclose"):
            portal.call(_close(self._events))


async def _enter(context: AbstractAsyncContextManager[Any]) -> None:
    await context.__aenter__()


class Blocking:
    """Every coroutine method of ``target`` as a blocking one: ``db.blocking.get_session("123")``. What another method gives
    to iterate over asynchronously can be iterated over: ``for event in db.blocking.watch("123")``.
    """

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        if inspect.iscoroutinefunction(attribute):
            return blocking(attribute)
        return _iterating(attribute) if inspect.ismethod(attribute) else attribute


def _iterating(method: Callable[P, Any]) -> Callable[P, Any]:
    @functools.wraps(method)
    def twin(*args: P.args, **kwargs: P.kwargs) -> Any:
        result = method(*args, **kwargs)
        return BlockingIterator(result) if isinstance(result, AsyncIterator) else result

    return twin
