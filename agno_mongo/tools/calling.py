"""One call of a tool: its hooks, its cache, its time-out, its function on the loop or in a thread."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from agno_mongo.errors import AgentRunException
from agno_mongo.media import Media
from agno_mongo.run.agent import BaseAgentRunEvent, CustomEvent, RunContentEvent
from agno_mongo.run.base import RunContext
from agno_mongo.threads import Bridge, LeftError, in_thread
from agno_mongo.tools.cache import NOTHING, FileCache, alone, key_of
from agno_mongo.tools.function import FunctionCall
from agno_mongo.tools.result import media_in, result_text
from agno_mongo.tools.signature import MEDIA, accepted

_log = logging.getLogger("agno_mongo")

_IN_MESSAGES: Final = {"audios": "audio"}

_GRACE: Final = 1.0
"""Seconds that an async function has to end once it was cancelled. After that nobody waits for it."""

_OF_EVERY_EVENT: Final = {part.name for part in fields(BaseAgentRunEvent)} | {"tool_call_id"}

Emit = Callable[[Any], Coroutine[Any, Any, None]]
"""Takes what a generator yields on the way: an event, or a piece of text that is shown."""


class ToolTimeoutError(Exception):
    """A tool took longer than it may; the text is for the model."""


@dataclass(frozen=True)
class PassedOn:
    """An event of a run within this one, which a tool of the runtime's own yields: whoever reads this run is shown it as it is."""

    event: Any


@dataclass(kw_only=True, eq=False)
class Calling:
    """Carries out one call. ``hooks`` are the agent's, around those of the tool; ``timeout`` is in seconds, None for any time.

    ``offered`` is what functions may ask for by name beside the run's context: the agent or the team. ``emit`` is given what a generator yields that others see at once: events, and the text of a result that is shown.
    """

    call: FunctionCall
    context: RunContext
    offered: Mapping[str, Any]
    emit: Emit
    hooks: Sequence[Callable[..., Any]] = ()
    timeout: float | None = None
    _nested: bool = field(default=False, init=False)

    async def result(self) -> Any:
        """What the call comes to. Raises what the tool and its hooks raise, and ToolTimeoutError."""
        own = self.call.function.timeout
        limit = self.timeout if own is None else own
        await (self._all() if limit is None else self._within(limit))
        return self.call.result

    async def _within(self, limit: float) -> None:
        """Not ``wait_for``: it would wait on for a function that does not let itself be cancelled."""
        task = asyncio.ensure_future(self._all())
        try:
            await asyncio.wait((task,), timeout=limit)
            if not task.done():
                raise ToolTimeoutError(
                    f"{self.call.function.name} had not finished after {limit:g} seconds. It may still be going on, without a result."
                )
        finally:
            if not task.done():
                await ended(task)
        task.result()

    async def _all(self) -> None:
        call, function = self.call, self.call.function
        await self._hook(function.pre_hook)
        self.hooks = (*self.hooks, *(function.tool_hooks or ()))
        try:
            call.result = await self._through(0, call.arguments)
        except Exception as error:
            call.error = str(error)
            raise
        finally:
            if function.post_hook is not None:
                await self._after()

    async def _after(self) -> None:
        """A tool has done what it does, and is not called again because a hook after it failed."""
        try:
            await self._hook(self.call.function.post_hook)
        except AgentRunException:
            raise
        except Exception:  # noqa: BLE001 - whatever the hook raises
            _log.exception("the post_hook of tool %r failed; the tool's result counts", self.call.function.name)

    async def _hook(self, hook: Callable[..., Any] | None) -> None:
        """Call a hook where it belongs: a plain one may block."""
        if hook is None:
            return
        arguments = accepted(hook, self._offered())
        try:
            result = hook(**arguments) if _is_async(hook) else await in_thread(lambda _: hook(**arguments))
            if inspect.isawaitable(result):
                await result
        except SystemExit as error:
            raise LeftError(f"SystemExit: {error}") from error

    def _offered(self) -> dict[str, Any]:
        context = self.context
        return {
            "run_context": context,
            "session_state": context.session_state,
            "dependencies": context.dependencies,
            "agent": None,
            "team": None,
            **self.offered,
            "fc": self.call,
        }

    async def _through(self, position: int, arguments: Mapping[str, Any]) -> Any:
        """The hooks from ``position`` on, and the tool at the innermost."""
        try:
            if position == len(self.hooks):
                return await self._cached(arguments)
            return await self._around(self.hooks[position], position + 1, arguments)
        except SystemExit as error:
            # From a task it would end the process.
            raise LeftError(f"SystemExit: {error}") from error

    async def _around(self, hook: Callable[..., Any], following: int, arguments: Mapping[str, Any]) -> Any:
        async def go_on(**changed: Any) -> Any:
            return await self._through(following, changed)

        if _is_async(hook):
            return await hook(**self._for_hook(hook, go_on, arguments))

        def in_a_thread(bridge: Bridge) -> Any:
            def go_on_and_wait(**changed: Any) -> Any:
                return bridge.wait_for(go_on, **changed)

            return hook(**self._for_hook(hook, go_on_and_wait, arguments))

        nested, self._nested = self._nested, True
        result = await in_thread(in_a_thread, beyond_the_most=nested)
        return await result if inspect.isawaitable(result) else result

    def _for_hook(self, hook: Callable[..., Any], go_on: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
        name, given = self.call.function.name, dict(arguments)
        offered = self._offered() | {"name": name, "function_name": name, "args": given, "arguments": given}
        return accepted(hook, offered | {"function": go_on, "func": go_on, "function_call": go_on})

    async def _cached(self, arguments: Mapping[str, Any]) -> Any:
        cache = self.call.function.cache
        if cache is None or any(self._media_given().values()):
            return await self._entrypoint(arguments)
        if isinstance(cache, FileCache):
            return await self._cached_in_files(cache, arguments)
        key = self._key(arguments)
        kept = cache.get(key)
        if kept is not NOTHING:
            return kept
        async with alone(cache, key):
            kept = cache.get(key)
            if kept is NOTHING:
                kept = await self._entrypoint(arguments)
                if not media_in(kept):
                    cache.put(key, kept)
        return kept

    async def _cached_in_files(self, cache: FileCache, arguments: Mapping[str, Any]) -> Any:
        # Where nobody but the model sees a result, its text is what is kept: anything has one.
        as_text = not self.hooks and self.call.function.post_hook is None
        key = self._key(arguments, "text" if as_text else "value")
        async with alone(cache, key):
            result = await in_thread(lambda _: cache.get(key), beyond_the_most=self._nested)
            if result is NOTHING:
                result = await self._entrypoint(arguments)
                if media_in(result):
                    return result
                result = result_text(result) if as_text else result
                await in_thread(lambda _: cache.put(key, result), beyond_the_most=self._nested)
        return result

    def _key(self, arguments: Mapping[str, Any], *kind: str) -> str:
        function, context = self.call.function, self.context
        entrypoint: Any = inspect.unwrap(function.entrypoint) if function.entrypoint is not None else None
        where = f"{getattr(entrypoint, '__module__', '')}.{getattr(entrypoint, '__qualname__', '')}.{function.name}"
        # What the runtime fills in may come from the session; without any, the user is enough.
        session_id = context.session_id if function.filled_in else None
        return key_of(where, arguments, context.user_id, session_id, *kind)

    def _media_given(self) -> dict[str, list[Media] | None]:
        """What the user gave with the run's input, as far as the function asks for it."""
        wanted = set(MEDIA).intersection(self.call.function.filled_in.values())
        if not wanted:
            return {}
        own = [message for message in self.context.messages if message.role == "user" and not message.from_history]
        given = {
            name: [part for message in own for part in getattr(message, _IN_MESSAGES.get(name, name)) or ()] for name in wanted
        }
        return {name: some or None for name, some in given.items()}

    async def _entrypoint(self, arguments: Mapping[str, Any]) -> Any:
        function = self.call.function
        assert function.entrypoint is not None
        offered = self._offered() | self._media_given() if function.filled_in else {}
        given = {**arguments, **{name: offered[what] for name, what in function.filled_in.items()}}
        if function.is_async:
            result = function.entrypoint(**given)
        else:
            entrypoint = function.entrypoint
            result = await in_thread(lambda bridge: self._gathered(entrypoint(**given), bridge), beyond_the_most=self._nested)
        if inspect.isawaitable(result):
            result = await result
        return await self._agathered(result) if isinstance(result, AsyncIterator) else result

    def _gathered(self, result: Any, bridge: Bridge) -> Any:
        """What a generator yields, as one text. All of it in the thread in which it began."""
        if not isinstance(result, Iterator):
            return result
        pieces = _Pieces()
        try:
            for item in result:
                bridge.check_open()
                if (out := self._sent_out(pieces.add(item), item)) is not None:
                    bridge.wait_for(self.emit, out)
        finally:
            if isinstance(result, Generator):
                result.close()
        return pieces.text()

    async def _agathered(self, result: AsyncIterator[Any]) -> str:
        pieces = _Pieces()
        try:
            async for item in result:
                if (out := self._sent_out(pieces.add(item), item)) is not None:
                    await self.emit(out)
                # A generator that waits for nothing would keep everybody else from the loop, and from stopping it.
                await asyncio.sleep(0)
                _check_not_cancelled()
        finally:
            if isinstance(result, AsyncGenerator):
                await result.aclose()
        return pieces.text()

    def _sent_out(self, text: str, item: Any) -> Any:
        """What is shown of an item as soon as it comes: events of the user's own, and the text of a result that is shown."""
        if isinstance(item, (CustomEvent, PassedOn)):
            return item
        return text if text and self.call.function.shows_result else None


class _Pieces:
    """What a generator yields. The result is its texts; if there are none, what its events say."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._events: list[str] = []

    def add(self, item: Any) -> str:
        """Take an item, and give its text. Of another agent's run only the answer counts."""
        text = ""
        if isinstance(item, CustomEvent):
            self._events.append(result_text({name: part for name, part in item.to_dict().items() if name not in _OF_EVERY_EVENT}))
        elif isinstance(item, RunContentEvent):
            text = result_text(item.content) if item.content is not None else ""
        elif not isinstance(item, (BaseAgentRunEvent, PassedOn)):
            text = result_text(item)
        self._texts.append(text)
        return text

    def text(self) -> str:
        return "".join(self._texts) or "\n".join(self._events)


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended, for a moment: some do not let themselves be cancelled."""
    going_on = [task for task in tasks if not task.done()]
    for task in going_on:
        task.cancel()
        # Should it fail when nobody looks any more, that is no news.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    if going_on:
        await asyncio.wait(going_on, timeout=_GRACE)


def _check_not_cancelled() -> None:
    """Raise CancelledError if this task was cancelled and what it waited for has swallowed that. Python 3.10 does not say so."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    if cancelling is not None and cancelling():
        raise asyncio.CancelledError


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
