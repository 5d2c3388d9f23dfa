"""Which of a session's messages are shown: to the user who asks for them, and to the model as history. Pure functions.

History is made of whole top-level runs that came to an answer. Member runs of a team, failed, cancelled and interrupted
runs are never part of it, nor are system messages of earlier runs, nor tool calls without their results.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence

from agno_mongo.messages import Message
from agno_mongo.run.base import HISTORY_SKIP_STATUSES, BaseRunOutput, MessageRunOutput, RunStatus


def told_runs(
    runs: Iterable[BaseRunOutput], skip_statuses: Collection[RunStatus | str] = HISTORY_SKIP_STATUSES
) -> list[MessageRunOutput]:
    """The runs whose messages count: top-level, with messages, and not of a status to be skipped."""
    return [
        run
        for run in runs
        if isinstance(run, MessageRunOutput)
        and run.parent_run_id is None
        and run.messages is not None
        and run.status not in skip_statuses
    ]


def conversation(
    runs: Iterable[BaseRunOutput],
    *,
    last_n_runs: int | None = None,
    limit: int | None = None,
    skip_roles: Collection[str] = (),
    skip_statuses: Collection[RunStatus | str] | None = None,
    skip_history_messages: bool = True,
) -> list[Message]:
    """The messages of ``runs`` in order, the first system message once and in front.

    ``last_n_runs`` counts runs and ``limit`` messages from the newest, the system message included; None is all of
    them, zero or less is none. A cut never begins with a tool result whose call it left out.
    """
    chosen = told_runs(runs, HISTORY_SKIP_STATUSES if skip_statuses is None else skip_statuses)
    if last_n_runs is not None:
        chosen = chosen[-last_n_runs:] if last_n_runs > 0 else []
    messages = [
        message
        for run in chosen
        for message in run.messages or ()
        if message.role not in skip_roles and not (skip_history_messages and message.from_history)
    ]
    system = next((message for message in messages if message.role == "system"), None)
    spoken = [message for message in messages if message.role != "system"]
    if limit is not None:
        room = max(limit - (system is not None), 0)
        spoken = spoken[-room:] if room else []
        while spoken and spoken[0].role == "tool":
            spoken.pop(0)
    return spoken if system is None or (limit is not None and limit <= 0) else [system, *spoken]


def context(
    runs: Iterable[BaseRunOutput], *, num_history_runs: int | None, num_history_messages: int | None = None
) -> list[Message]:
    """The history that a model is sent: copies marked ``from_history``, every tool call with its result."""
    told = conversation(runs, last_n_runs=num_history_runs, limit=num_history_messages, skip_roles=("system", "developer"))
    copies = [message.model_copy(update={"from_history": True}) for message in told]
    return without_loose_tool_messages(copies)


def finished_rounds(messages: Sequence[Message]) -> list[Message]:
    """The messages up to the last round of tools in which every call has its result: what an interrupted run goes on from.

    A round that was not finished is left out whole; its tools will be called again.
    """
    kept: list[Message] = []
    for index, message in enumerate(messages):
        if message.tool_calls:
            answers = itertools.takewhile(lambda following: following.role == "tool", messages[index + 1 :])
            answered = {answer.tool_call_id for answer in answers}
            if not all(call.get("id") in answered for call in message.tool_calls):
                break
        kept.append(message)
    return kept


def without_loose_tool_messages(messages: Sequence[Message]) -> list[Message]:
    """The messages less tool calls that were never answered and answers whose call is not there.

    Providers refuse a prompt with either.
    """
    called = {call.get("id") for message in messages for call in message.tool_calls or ()}
    answered = {message.tool_call_id for message in messages if message.role == "tool"}
    kept: list[Message] = []
    for message in messages:
        if message.role == "tool":
            if message.tool_call_id in called:
                kept.append(message)
            continue
        if message.tool_calls and not all(call.get("id") in answered for call in message.tool_calls):
            message = message.model_copy(
                update={"tool_calls": [call for call in message.tool_calls if call.get("id") in answered] or None}
            )
            if not message.tool_calls and not message.content:
                continue
        kept.append(message)
    return kept
