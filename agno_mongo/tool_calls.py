"""One round of tools: all that an answer of the model calls, at once, and what becomes of each call."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final
from uuid import uuid4

from agno_mongo.errors import AgentRunException
from agno_mongo.media import Media
from agno_mongo.messages import Message, Metrics, ToolExecution, readable
from agno_mongo.run.agent import (
    CustomEvent,
    RunContentEvent,
    RunOutputEvent,
    ToolCallCompletedEvent,
    ToolCallErrorEvent,
    ToolCallStartedEvent,
)
from agno_mongo.run.base import RunContext
from agno_mongo.threads import LeftError
from agno_mongo.tools import pausing
from agno_mongo.tools.calling import Calling, PassedOn, ToolTimeoutError, ended
from agno_mongo.tools.function import BadToolArgumentsError, Function, FunctionCall, ToldToModelError
from agno_mongo.tools.result import media_of, result_text

_log = logging.getLogger("agno_mongo")

MakeEvent = Callable[..., Any]
"""Makes an event of the given class with the run's ids filled in."""

DEFAULT_TOOL_ROUNDS: Final = 50

BETWEEN_PARTS: Final = "\n\n"
"""Stands between the parts of an answer: results that are shown, and what the model says."""


@dataclass(frozen=True, kw_only=True)
class ToolSettings:
    """What an agent says of its tools. ``limit``: how many calls a run may make. ``choice``: OpenAI's ``tool_choice``. ``hooks`` are called
    around every call. ``timeout``: seconds for a call of a tool that says nothing itself. ``max_rounds``: after how many rounds the model has to
    answer without tools. None is no limit.
    """

    limit: int | None = None
    choice: str | dict[str, Any] | None = None
    hooks: Sequence[Callable[..., Any]] = ()
    timeout: float | None = None
    max_rounds: int | None = DEFAULT_TOOL_ROUNDS


@dataclass(kw_only=True, eq=False)
class _Call:
    """What the model called, and what becomes of it. ``shown`` is what was made part of the run's answer, ``unshown`` what will be, once its turn has
    come; ``is_over`` is True of a call that adds no more to it. ``raised`` is what the tool has to say of how the run goes on; ``failure`` what is no error of
    the tool's, and is for whoever reads the run.
    """

    name: str
    arguments: str | None
    execution: ToolExecution
    function: Function | None
    refused: bool = False
    waits_within: bool = False
    shown: list[str] = field(default_factory=list)
    unshown: list[str] = field(default_factory=list)
    is_over: bool = False
    media: dict[str, list[Media]] = field(default_factory=dict)
    raised: AgentRunException | None = None
    failure: BaseException | None = None

    @property
    def stops(self) -> bool:
        """True if the run ends with this round. A call that failed is for the model to hear."""
        if self.raised is not None:
            return self.raised.stop_execution
        if self.execution.stop_after_tool_call:
            # Before the run paused.
            return True
        return bool(self.function and self.function.stop_after_tool_call and self.execution.tool_call_error is False)

    @property
    def waits(self) -> bool:
        """True if the call is not made now: it waits for a person, or was made or answered before the round went on."""
        if self.execution.result is not None:
            return True
        function = self.function
        if self.refused or function is None or not function.asks_somebody:
            return False
        return pausing.asks(function, self.arguments, self.execution)

    @property
    def shows(self) -> bool:
        """True if its result is part of the run's answer."""
        return self.function is not None and self.function.shows_result

    @property
    def final_arguments(self) -> Any:
        """The arguments as the model sent them, or with what a person has filled in."""
        return self.execution.tool_args if self.execution.answered else self.arguments


@dataclass(kw_only=True)
class ToolRound:
    """``calls`` are the model's, in OpenAI's shape; ``executions`` what becomes of them, in the same order. They are given where the round
    goes on after a pause: those that have a result are left as they are.

    ``called_before`` is how many calls the run has made already, ``shown_before`` whether any results of theirs are part of its answer.
    """

    calls: Sequence[Mapping[str, Any]]
    functions: Mapping[str, Function]
    context: RunContext
    offered: Mapping[str, Any]
    event: MakeEvent
    settings: ToolSettings = field(default_factory=ToolSettings)
    called_before: int = 0
    shown_before: bool = False
    executions: list[ToolExecution] = field(default_factory=list)

    def __post_init__(self) -> None:
        limit = self.settings.limit
        made: Sequence[ToolExecution | None] = self.executions or [None for _ in self.calls]
        self._calls = [
            self._call_of(call, execution, refused=limit is not None and number > limit)
            for number, (call, execution) in enumerate(zip(self.calls, made, strict=True), self.called_before + 1)
        ]
        self.executions = [call.execution for call in self._calls]
        self._closing = False
        self._shown: list[_Call] = []

    def _call_of(self, call: Mapping[str, Any], made: ToolExecution | None, *, refused: bool) -> _Call:
        # A call to something else than a function has none of it; the model will be told.
        called = call.get("function") or {}
        name, arguments = str(called.get("name") or call.get("type") or ""), called.get("arguments")
        execution = made or ToolExecution(tool_call_id=call.get("id"), tool_name=name, tool_args=as_sent(arguments))
        function = self.functions.get(name)
        made_call = _Call(name=name, arguments=arguments, execution=execution, function=function, refused=refused)
        if made_call.shows and execution.result and not execution.tool_call_error and execution.shown is None:
            # Somebody has said what came of it, outside.
            made_call.unshown.append(execution.result)
        return made_call

    @property
    def stops(self) -> bool:
        """True if the run ends with this round."""
        return any(call.stops for call in self._calls)

    @property
    def media(self) -> dict[str, list[Media]]:
        """The images, sounds, videos and files that the tools made, by the fields of a run."""
        made: dict[str, list[Media]] = {}
        for call in self._calls:
            for name, some in call.media.items():
                made.setdefault(name, []).extend(some)
        return made

    @property
    def is_paused(self) -> bool:
        """True if a call waits for a person."""
        return any(call.waits_within or call.execution.is_paused for call in self._calls)

    @property
    def shown(self) -> list[str]:
        """What this round has made part of the run's answer, as it was streamed: one call's after another's."""
        return ["".join(call.shown) for call in self._shown]

    async def events(self) -> AsyncGenerator[RunOutputEvent, None]:
        """Call all tools at once. What a tool raises is its result, for the model to hear; closing the generator cancels what still runs. Raises what is
        no Exception, as of a test that a tool lets fail.

        Nothing is taken from a generator among the tools before its last piece was read, or kept until the calls before it have shown theirs.
        """
        happenings: asyncio.Queue[Any] = asyncio.Queue(1)
        called = [call for call in self._calls if not call.waits]
        for call in self._calls:
            call.is_over = call not in called
        tasks = [asyncio.ensure_future(self._carry_out(call, happenings)) for call in called]
        try:
            for call in called:
                yield self.event(ToolCallStartedEvent, tool=call.execution)
            for event in self._show():
                yield event
            unfinished = len(tasks)
            while unfinished:
                happening = await happenings.get()
                if isinstance(happening, _Call):
                    unfinished -= 1
                    if happening.failure is not None:
                        raise happening.failure
                for event in self._events_of(happening):
                    yield event
            for call in self._shown:
                text = "".join(call.shown)
                call.execution.shown = True if text == call.execution.result else text
        finally:
            self._closing = True
            await ended(*tasks)

    def messages(self) -> list[Message]:
        """What the model is told of the calls that have a result, in the order of the calls; then what tools have added to the conversation."""
        told = [_tool_message(call) for call in self._calls if call.execution.result is not None]
        return told + [message for call in self._calls if call.raised is not None for message in _added(call.raised)]

    async def _carry_out(self, call: _Call, happenings: asyncio.Queue[Any]) -> None:
        execution, started = call.execution, perf_counter()
        try:
            execution.result = await self._result(call, happenings)
            execution.tool_call_error = False
        except (ToldToModelError, ToolTimeoutError, LeftError) as error:
            execution.result, execution.tool_call_error = str(error), True
        except pausing.WaitsWithinError:
            call.waits_within = True
        except AgentRunException as error:
            execution.result, execution.tool_call_error, call.raised = str(error), True, error
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is for the model to hear
            _log.debug("tool %r failed", call.name, exc_info=True)
            execution.result, execution.tool_call_error = f"{type(error).__name__}: {error}", True
        except asyncio.CancelledError:
            if self._closing:
                raise
            # Something that the tool waited for was cancelled, and not this run.
            execution.result, execution.tool_call_error = f"{call.name} was cancelled.", True
        except BaseException as failure:  # noqa: BLE001 - raised again where the run is read, which would wait for ever
            call.failure = failure
        # The name of a file, say, may have what neither provider nor database takes.
        execution.result = None if execution.result is None else readable(execution.result)
        execution.stop_after_tool_call = call.stops
        execution.metrics = Metrics(duration=perf_counter() - started)
        await happenings.put(call)

    async def _result(self, call: _Call, happenings: asyncio.Queue[Any]) -> str:
        function = call.function
        if call.refused:
            raise BadToolArgumentsError(
                f"This run may call tools {self.settings.limit} times, and has. {call.name} was not called; answer without it."
            )
        if function is None:
            known = ", ".join(self.functions) or "none"
            raise BadToolArgumentsError(f"There is no tool named {call.name!r}. Tools: {known}.")

        if (given := pausing.filled_in(function, call.execution)) is not None:
            return given

        async def emit(happening: Any) -> None:
            await happenings.put((call, happening))

        calling = Calling(
            call=FunctionCall(
                function=function, arguments=function.validated(call.final_arguments), call_id=call.execution.tool_call_id
            ),
            context=self.context,
            offered=self.offered,
            emit=emit,
            hooks=self.settings.hooks,
            timeout=self.settings.timeout,
        )
        result = await calling.result()
        call.media = await media_of(result)
        return result_text(result)

    def _events_of(self, happening: Any) -> Iterator[RunOutputEvent]:
        if isinstance(happening, _Call):
            if happening.waits_within:
                happening.is_over = True
            else:
                yield self._outcome(happening)
        elif isinstance(happening[1], PassedOn):
            yield happening[1].event
            return
        elif isinstance(happening[1], CustomEvent):
            yield self._own(happening[1], happening[0])
        else:
            happening[0].unshown.append(happening[1])
        yield from self._show()

    def _outcome(self, call: _Call) -> RunOutputEvent:
        execution = call.execution
        call.is_over = True
        if call.raised is not None and call.raised.stop_execution:
            call.unshown.append(_text(call.raised.agent_message) or execution.result or "")
        event: RunOutputEvent
        if execution.tool_call_error:
            event = self.event(ToolCallErrorEvent, tool=execution, error=execution.result)
        else:
            event = self.event(ToolCallCompletedEvent, tool=execution, content=execution.result)
            if call.shows and execution.result and not (call.shown or call.unshown):
                call.unshown.append(execution.result)
        return event

    def _show(self) -> Iterator[RunOutputEvent]:
        """Make part of the answer whatever may be by now."""
        while (call := self._next_to_show()) is not None:
            text = "".join(call.unshown)
            call.unshown.clear()
            if not text:
                continue
            begins = not (self._shown and self._shown[-1] is call)
            apart = begins and (self.shown_before or bool(self._shown))
            call.shown.append(text)
            if begins:
                self._shown.append(call)
            yield self.event(RunContentEvent, content=BETWEEN_PARTS + text if apart else text)

    def _next_to_show(self) -> _Call | None:
        """The call whose text comes next: all of one call's stands together, and in the order of the calls that show their results."""
        if self._shown and not self._shown[-1].is_over:
            return self._shown[-1] if self._shown[-1].unshown else None
        for call in self._calls:
            if call.unshown:
                return call
            if call.shows and not call.is_over:
                return None
        return None

    def _own(self, event: CustomEvent, call: _Call) -> CustomEvent:
        """The event of a tool as one of this run."""
        ids = self.event(RunContentEvent)
        for name in _IDS:
            if hasattr(ids, name):
                setattr(event, name, getattr(event, name, None) or getattr(ids, name))
        event.tool_call_id = event.tool_call_id or call.execution.tool_call_id
        return event


def told_apart(calls: list[dict[str, Any]] | None, messages: Sequence[Message]) -> list[dict[str, Any]] | None:
    """A model's calls after ``messages``, each with an id of its own within the run: some servers number them anew in each answer. Neither a result nor
    what somebody answers could be told to belong to its call.
    """
    if not calls:
        return None
    taken = {call.get("id") for message in messages if not message.from_history for call in message.tool_calls or ()}
    apart = []
    for call in calls:
        apart.append({**call, "id": f"call_{uuid4().hex}"} if call["id"] in taken else call)
        taken.add(call["id"])
    return apart


def rounds_of(messages: Sequence[Message], tools: Sequence[ToolExecution]) -> list[list[ToolExecution]]:
    """The calls that a run has made, by the answers that made them."""
    by_id = {tool.tool_call_id: tool for tool in tools}
    own = (message.tool_calls or () for message in messages if not message.from_history)
    rounds = ([by_id[call["id"]] for call in calls if call.get("id") in by_id] for calls in own)
    return [calls for calls in rounds if calls]


def texts_shown(rounds: Sequence[Sequence[ToolExecution]]) -> list[str]:
    """What the calls have made part of the run's answer, as it was streamed: those that waited for a person came after the others."""
    calls = [tool for made in rounds for tool in sorted(made, key=lambda tool: tool.was_asked) if tool.shown]
    return [tool.shown if isinstance(tool.shown, str) else tool.result or "" for tool in calls]


_IDS: Final = ("run_id", "session_id", "agent_id", "agent_name", "team_id", "team_name")
"""What every event says of whose it is, in an agent's run or a team's."""


def as_sent(arguments: str | None) -> dict[str, Any] | None:
    """The arguments as the model wrote them; None if they are no JSON object. The call itself will say what is wrong.

    They are what the run keeps: the function is given objects of its own, which it may change, and which BSON need not have.
    """
    try:
        sent = json.loads(arguments or "{}")
    except (TypeError, ValueError, RecursionError):
        return None
    if sent is None:
        # Null is what the tool takes for no arguments.
        return {}
    if not isinstance(sent, dict):
        return None
    # Half a character may hide in an escape.
    mended: dict[str, Any] = json.loads(readable(json.dumps(sent, ensure_ascii=False))) if "\\u" in (arguments or "") else sent
    return mended


def _tool_message(call: _Call) -> Message:
    execution = call.execution
    return Message(
        role="tool",
        content=execution.result,
        tool_call_id=execution.tool_call_id,
        tool_name=execution.tool_name,
        tool_args=execution.tool_args,
        tool_call_error=execution.tool_call_error,
        stop_after_tool_call=execution.stop_after_tool_call,
        metrics=execution.metrics,
        **call.media,
    )


def _added(raised: AgentRunException) -> Iterator[Message]:
    """The messages that a tool adds to the conversation."""
    for role, given in (("user", raised.user_message), ("assistant", raised.agent_message)):
        if given is not None:
            yield given if isinstance(given, Message) else Message(role=role, content=result_text(given))
    for message in raised.messages or ():
        yield message if isinstance(message, Message) else Message.model_validate(message)


def _text(message: Any) -> str:
    return message.get_content_string() if isinstance(message, Message) else "" if message is None else result_text(message)
