"""Threads for the plain functions of users', which may block: tools, hooks, and those in the place of a setting.

They are not those of ``asyncio.to_thread``: a function that never returns would take one of those from everybody for good, and keep
``asyncio.run`` and the interpreter from ending.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future as ThreadFuture
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

MOST_AT_ONCE: Final = 64
"""Functions that run at the same time in this process; further ones wait. Those that nobody waits for any more do not count."""

_IDLE_SECONDS: Final = 10.0


class AbandonedError(RuntimeError):
    """Nobody waits for this thread any more: its run is over, or its time is up."""


class LeftError(RuntimeError):
    """A function wanted to end more than itself: SystemExit, or what no coroutine may raise. The text is for the model."""


class Bridge:
    """What a function in a thread reaches its event loop by."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._awaited: set[ThreadFuture[Any]] = set()
        self._closed = False

    def wait_for(self, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **named: Any) -> T:
        """Run a coroutine function on the loop and give back what comes of it. Raises AbandonedError once nobody waits for this thread."""
        with self._lock:
            self.check_open()
            future = asyncio.run_coroutine_threadsafe(function(*arguments, **named), self._loop)
            self._awaited.add(future)
        try:
            return future.result()
        finally:
            with self._lock:
                self._awaited.discard(future)

    def check_open(self) -> None:
        """Raise AbandonedError once nobody waits for this thread."""
        if self._closed:
            raise AbandonedError("the run that called this function is over")

    def close(self) -> None:
        """Cancel what the thread waits for, and let it wait for nothing more."""
        with self._lock:
            self._closed = True
            awaited = tuple(self._awaited)
        for future in awaited:
            future.cancel()


async def in_thread(function: Callable[[Bridge], T], *, beyond_the_most: bool = False) -> T:
    """Call ``function`` in a thread, with a bridge to this loop, and give back what it returns or raises.

    When the caller is cancelled the thread goes on by itself, and cannot stop the process from ending. ``beyond_the_most`` is for what a
    thread that counts already waits for; what such a thread itself calls, another agent's run with its hooks, is beyond it in any case.
    """
    loop = asyncio.get_running_loop()
    bridge = Bridge(loop)
    call = _Call(lambda: function(bridge), loop)
    _workers.submit(call, beyond_the_most=beyond_the_most or _in_a_worker.get())
    try:
        result: T = await call.future
    except asyncio.CancelledError:
        bridge.close()
        _workers.abandon(call)
        raise
    return result


async def called(function: Callable[..., Any], /, **named: Any) -> Any:
    """What a function of the user's gives: a coroutine function on this loop, any other in a thread, so that it may block. Whatever it raises goes
    through; where that would end more than the function, it is LeftError.
    """
    with contained():
        if inspect.iscoroutinefunction(function):
            return await function(**named)
        outcome = await in_thread(lambda _: function(**named))
        return await outcome if inspect.isawaitable(outcome) else outcome


@contextmanager
def contained() -> Iterator[None]:
    """Let a function of the user's end no more than itself: SystemExit is LeftError here."""
    try:
        yield
    except SystemExit as error:
        # From a task it would end the loop, with everybody's runs.
        raise LeftError(f"SystemExit: {error}") from error


_in_a_worker: ContextVar[bool] = ContextVar("_in_a_worker", default=False)
"""True for all that a thread of these does, on whatever loop."""


class _Call:
    """A call that waits for a thread, or has one."""

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._function = function
        self._loop = loop
        self._context: Context = copy_context()
        self.future: asyncio.Future[Any] = loop.create_future()
        self.counts = True

    def run(self) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            self._context.run(_in_a_worker.set, True)
            result = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
            failure = error
        # Without a loop there is nobody left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, result, failure)

    def _settle(self, result: Any, failure: BaseException | None) -> None:
        if self.future.done():
            return
        if failure is None:
            self.future.set_result(result)
        elif isinstance(failure, (StopIteration, KeyboardInterrupt, SystemExit, GeneratorExit)):
            # Ctrl-C never comes to a thread of its own accord.
            left = LeftError(f"{type(failure).__name__}: {failure}")
            left.__cause__ = failure
            self.future.set_exception(left)
        else:
            self.future.set_exception(failure)


class _Workers:
    """Daemon threads, made when they are needed and kept for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._idle: list[SimpleQueue[_Call]] = []
        self._busy = 0

    def submit(self, call: _Call, *, beyond_the_most: bool) -> None:
        with self._lock:
            if beyond_the_most:
                call.counts = False
            elif self._busy >= MOST_AT_ONCE:
                self._waiting.append(call)
                return
            self._begin(call)

    def abandon(self, call: _Call) -> None:
        """Nobody waits for the call any more: it no longer counts among those that run."""
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
            else:
                self._end(call)

    def _begin(self, call: _Call) -> None:
        self._busy += call.counts
        if self._idle:
            self._idle.pop().put(call)
        else:
            threading.Thread(target=self._work, args=(call,), name="agno_mongo worker", daemon=True).start()

    def _end(self, call: _Call) -> None:
        """The call's place is free, once."""
        self._busy -= call.counts
        call.counts = False
        while self._waiting and self._busy < MOST_AT_ONCE:
            self._begin(self._waiting.popleft())

    def _work(self, first: _Call) -> None:
        inbox: SimpleQueue[_Call] = SimpleQueue()
        inbox.put(first)
        # What a call holds on to is let go of before the thread waits for another.
        del first
        while (call := self._next(inbox)) is not None:
            call.run()
            with self._lock:
                self._idle.append(inbox)
                self._end(call)
            del call

    def _next(self, inbox: SimpleQueue[_Call]) -> _Call | None:
        with suppress(Empty):
            return inbox.get(timeout=_IDLE_SECONDS)
        with self._lock:
            if inbox in self._idle:
                self._idle.remove(inbox)
                return None
        return inbox.get()


_workers = _Workers()


def _begin_anew() -> None:
    global _workers  # noqa: PLW0603 - a forked process has none of its parent's threads
    _workers = _Workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
