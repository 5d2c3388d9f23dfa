"""One round of tools: all that an answer of the model calls, at once, and what becomes of each call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from agno_mongo.messages import Message, Metrics, ToolExecution
from agno_mongo.run.agent import (
    RunOutputEvent,
    ToolCallCompletedEvent,
    ToolCallErrorEvent,
    ToolCallStartedEvent,
)
from agno_mongo.run.base import RunContext
from agno_mongo.tools.function import BadToolArgumentsError, Function

MakeEvent = Callable[..., Any]
"""Makes an event of the given class with the run's ids filled in."""


@dataclass(kw_only=True)
class ToolRound:
    """``calls`` are the model's, in OpenAI's shape; ``executions`` what becomes of them, in the same order."""

    calls: Sequence[Mapping[str, Any]]
    functions: Mapping[str, Function]
    context: RunContext
    agent: Any
    event: MakeEvent

    def __post_init__(self) -> None:
        self.executions = [
            ToolExecution(
                tool_call_id=call.get("id"),
                tool_name=call["function"]["name"],
                tool_args=_as_sent(call["function"].get("arguments")),
            )
            for call in self.calls
        ]

    async def events(self) -> AsyncGenerator[RunOutputEvent, None]:
        """Call all tools at once. What a tool raises is its result, for the model to hear; closing the generator cancels what still runs."""
        tasks = [
            asyncio.ensure_future(self._call(call["function"], execution))
            for call, execution in zip(self.calls, self.executions, strict=True)
        ]
        try:
            for execution in self.executions:
                yield self.event(ToolCallStartedEvent, tool=execution)
            for finished in asyncio.as_completed(tasks):
                yield self._outcome(await finished)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def messages(self) -> list[Message]:
        """What the model is told of the calls that have a result, in the order of the calls."""
        return [_tool_message(execution) for execution in self.executions if execution.result is not None]

    async def _call(self, call: Mapping[str, Any], execution: ToolExecution) -> ToolExecution:
        started = perf_counter()
        function = self.functions.get(call["name"])
        try:
            if function is None:
                known = ", ".join(self.functions) or "none"
                raise BadToolArgumentsError(f"There is no tool named {call['name']!r}. Tools: {known}.")
            arguments = function.validated(call.get("arguments"))
            execution.result = await function.call(arguments, self.context, self.agent)
            execution.tool_call_error = False
        except BadToolArgumentsError as error:
            execution.result, execution.tool_call_error = str(error), True
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a tool raises is for the model to hear
            execution.result, execution.tool_call_error = f"{type(error).__name__}: {error}", True
        execution.metrics = Metrics(duration=perf_counter() - started)
        return execution

    def _outcome(self, execution: ToolExecution) -> RunOutputEvent:
        if execution.tool_call_error:
            failed: RunOutputEvent = self.event(ToolCallErrorEvent, tool=execution, error=execution.result)
            return failed
        completed: RunOutputEvent = self.event(ToolCallCompletedEvent, tool=execution, content=execution.result)
        return completed


def _as_sent(arguments: str | None) -> dict[str, Any] | None:
    """The arguments as the model wrote them; None if they are no JSON object. The call itself will say what is wrong.

    They are what the run keeps: the function is given objects of its own, which it may change, and which BSON need not have.
    """
    try:
        sent = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return sent if isinstance(sent, dict) else None


def _tool_message(execution: ToolExecution) -> Message:
    return Message(
        role="tool",
        content=execution.result,
        tool_call_id=execution.tool_call_id,
        tool_name=execution.tool_name,
        tool_args=execution.tool_args,
        tool_call_error=execution.tool_call_error,
        metrics=execution.metrics,
    )
