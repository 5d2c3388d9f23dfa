"""What of a run is stored: its events without what the run has anyway, its messages with or without those of its tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from pydantic import ValidationError

from agno_mongo.media import NAMES
from agno_mongo.messages import ToolExecution
from agno_mongo.run.events import BaseRunOutputEvent, CustomEvent, RunEvent, plain


class RunWithEvents(Protocol):
    """What the events of a run are shortened by, and restored from."""

    tools: list[ToolExecution] | None

    def event_ids(self) -> dict[str, str]:
        """What every event of this run says of whose it is."""
        ...


def stored_events(run: RunWithEvents, events: Iterable[Any]) -> list[Any]:
    """The events as they are stored with the run: what the run itself has is left to it.

    That is the ids (but the component's, by which Agno tells whose events they are), a tool's arguments and result, the answer, its metrics and
    metadata, the input. The session's state is the session's, and not stored with the event.
    """
    by_id = _by_id(run.tools)
    return [_shortened(event, run, by_id) if isinstance(event, BaseRunOutputEvent) else plain(event) for event in events]


def restored_events(run: RunWithEvents, stored: Sequence[Any], revive: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    """The stored events as typed ones, made by ``revive``, with what was left to the run. What is no event is given back as it is."""
    by_id = _by_id(run.tools)
    return [_restored(event, run, by_id, revive) if isinstance(event, Mapping) else event for event in stored]


def without_tool_messages(record: dict[str, Any]) -> dict[str, Any]:
    """A stored run less what its tools were asked and what they answered, so that what is left is a conversation that providers accept.

    Of a tool call there remain name, time and whether it failed. What the model said beside a call remains too.
    """
    messages = [_without_calls(message) for message in record.get("messages") or () if message.get("role") != "tool"]
    kept = {**record, "messages": [message for message in messages if message is not None]}
    kept["tools"] = [_without(tool, *_SAID) for tool in record.get("tools") or ()]
    kept["events"] = [_event_without_tools(event) for event in record.get("events") or ()]
    return {name: value for name, value in kept.items() if name in record and name != "requirements"}


OF_THE_ENTRY: Final = frozenset(
    {
        "run_id",
        "session_id",
        "user_id",
        "input",
        "messages",
        "tools",
        "metrics",
        "created_at",
        "status",
        "attempt",
        "parent_run_id",
        "step_results",
        "step_executor_runs",
    }
)
"""Fields of a run that its entry in ``active_runs`` has by itself, or as whose entry it is."""

_COMPONENT_IDS: Final = frozenset({"agent_id", "team_id", "workflow_id"})
_OF_THE_RUN: Final[dict[str, Mapping[str, str]]] = {
    RunEvent.run_completed.value: {
        name: name
        for name in (
            "content",
            "content_type",
            "reasoning_content",
            "metrics",
            "metadata",
            "response_audio",
            "member_responses",
            *sorted(NAMES - {"audios"}),
        )
    },
    RunEvent.run_error.value: {"content": "content"},
    RunEvent.run_paused.value: {"requirements": "requirements"},
    RunEvent.pre_hook_started.value: {"run_input": "input"},
    RunEvent.pre_hook_completed.value: {"run_input": "input"},
}
"""Fields of an event that repeat one of its run's, by the event's name, and which one."""

_OF_THE_TOOL: Final = {RunEvent.tool_call_completed.value: "content", RunEvent.tool_call_error.value: "error"}
"""The field of an event that repeats its tool's result."""


def _by_id(tools: Sequence[ToolExecution] | None) -> dict[str, ToolExecution]:
    """The tool calls that their ids tell apart."""
    times = Counter(tool.tool_call_id for tool in tools or ())
    return {tool.tool_call_id: tool for tool in tools or () if tool.tool_call_id is not None and times[tool.tool_call_id] == 1}


def _shortened(event: BaseRunOutputEvent, run: RunWithEvents, by_id: Mapping[str, ToolExecution]) -> dict[str, Any]:
    values = vars(event)
    name, tool = _plain_name(values.get("event")), values.get("tool")
    ids = run.event_ids()
    skipped = {field for field, value in ids.items() if field not in _COMPONENT_IDS and value == values.get(field)}
    skipped |= {own for own, of_run in _OF_THE_RUN.get(name, {}).items() if _same(values.get(own), getattr(run, of_run, None))}
    if name == RunEvent.run_completed.value:
        skipped.add("session_state")
    if name == RunEvent.run_paused.value:
        # They are the tools', which have been answered since.
        skipped.add("requirements")
    if isinstance(tool, ToolExecution) and (repeating := _OF_THE_TOOL.get(name)) and _same(values.get(repeating), tool.result):
        skipped.add(repeating)
    short = {field: value for field, value in values.items() if value is not None and field not in skipped}
    if tool is not None:
        short["tool"] = _named(tool, by_id)
    if isinstance(short.get("tools"), list):
        short["tools"] = [_named(one, by_id) for one in short["tools"]]
    return {field: plain(value) for field, value in short.items()}


def _plain_name(name: Any) -> str:
    """The name of an agent's event that says the same."""
    return str(name or "").removeprefix("Team")


def _same(value: Any, other: Any) -> bool:
    return value is other or bool(value == other)


def _named(tool: Any, by_id: Mapping[str, ToolExecution]) -> Any:
    """The tool call by its id, if the run has it."""
    if isinstance(tool, ToolExecution) and by_id.get(tool.tool_call_id or "") is tool:
        return {"tool_call_id": tool.tool_call_id, "tool_name": tool.tool_name}
    return tool


def _restored(
    stored: Mapping[str, Any],
    run: RunWithEvents,
    by_id: Mapping[str, ToolExecution],
    revive: Callable[[Mapping[str, Any]], Any],
) -> Any:
    event = {**{name: value for name, value in run.event_ids().items() if name not in _COMPONENT_IDS}, **stored}
    name = _plain_name(event.get("event"))
    for own, of_run in _OF_THE_RUN.get(name, {}).items():
        event.setdefault(own, getattr(run, of_run, None))
    if "tool" in event:
        event["tool"] = _found(event["tool"], by_id)
        repeating = _OF_THE_TOOL.get(name)
        if repeating is not None:
            tool = event["tool"]
            event.setdefault(repeating, tool.get("result") if isinstance(tool, Mapping) else getattr(tool, "result", None))
    if isinstance(event.get("tools"), list):
        event["tools"] = [_found(one, by_id) for one in event["tools"]]
    try:
        return revive(event)
    except (ValidationError, TypeError, ValueError):
        # Of another version, or changed by hand: no reason not to read the run.
        return CustomEvent(**event)


def _found(stored: Any, by_id: Mapping[str, ToolExecution]) -> Any:
    """The run's tool call that was stored by its id alone; any other as it was stored."""
    if isinstance(stored, Mapping) and not stored.keys() - {"tool_call_id", "tool_name"}:
        return by_id.get(stored.get("tool_call_id") or "", stored)
    return stored


def _without_calls(message: dict[str, Any]) -> dict[str, Any] | None:
    """An assistant's message without its tool calls; None if it said nothing else.

    What the provider adds for itself goes too: it may refer to the calls.
    """
    if not message.get("tool_calls"):
        return message
    return _without(message, "tool_calls", "provider_data") if message.get("content") else None


def _event_without_tools(event: Any) -> Any:
    if not isinstance(event, dict):
        return event
    kept = _without(event, "requirements", *filter(None, [_OF_THE_TOOL.get(_plain_name(event.get("event")))]))
    if isinstance(kept.get("tool"), dict):
        kept["tool"] = _without(kept["tool"], *_SAID)
    if isinstance(kept.get("tools"), list):
        kept["tools"] = [_without(tool, *_SAID) for tool in kept["tools"]]
    return kept


_SAID: Final = ("tool_args", "result", "shown", "user_input_schema", "confirmation_note")


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}
