"""Which of a session's messages are shown: to the user who asks for them, and to the model as history. Pure functions.

History is made of whole top-level runs that came to an answer. Member runs of a team, failed, cancelled and interrupted
runs are never part of it, nor are system messages of earlier runs, nor tool calls without their results.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from agno_mongo.messages import Message
from agno_mongo.run.base import HISTORY_SKIP_STATUSES, BaseRunOutput, RunStatus
from agno_mongo.run.message_run import MessageRunOutput
from agno_mongo.run.workflow import WorkflowRunOutput

SYSTEM_ROLES: Final = ("system", "developer")
"""Who speaks in a system message. OpenAI calls it developer by now."""

_FIRST_PAGE: Final = 32
"""Runs that a token budget reads at first, at most: as many as a session's document holds."""

_SMALL_RUN: Final = 128
"""Tokens of a small run, by which a budget reckons how many runs to read at first."""

_UNKNOWN: Final = 128
"""Runs that it reads further where all of the first ones failed."""

_AT_MOST: Final = 512
"""Runs that it ever reads."""


def runs_that_count(
    runs: Iterable[BaseRunOutput], skip_statuses: Collection[RunStatus | str] = HISTORY_SKIP_STATUSES
) -> list[MessageRunOutput | WorkflowRunOutput]:
    """Top-level runs in which something was said, and not of a status to be skipped."""
    return [
        run
        for run in runs
        if isinstance(run, (MessageRunOutput, WorkflowRunOutput))
        and run.parent_run_id is None
        and run.status not in skip_statuses
        and run.messages is not None
    ]


def told_runs(
    runs: Iterable[BaseRunOutput], skip_statuses: Collection[RunStatus | str] = HISTORY_SKIP_STATUSES
) -> list[MessageRunOutput]:
    """Those of them that models talked in."""
    return [run for run in runs_that_count(runs, skip_statuses) if isinstance(run, MessageRunOutput)]


def runs_of(runs: Iterable[BaseRunOutput], component_id: str | None) -> list[BaseRunOutput]:
    """The runs of a component within those of others, as if each had been a conversation with it."""
    return by_themselves(
        run
        for one in runs
        for run in (*(getattr(one, "step_executor_runs", None) or ()), one)
        if component_id in {getattr(run, name, None) for name in ("agent_id", "team_id", "workflow_id")}
    )


def by_themselves(runs: Iterable[BaseRunOutput]) -> list[BaseRunOutput]:
    """Copies of the runs that belong to no other."""
    return [run.model_copy(update={"parent_run_id": None}) for run in runs]


def turns_of(runs: Iterable[BaseRunOutput], num_runs: int | None = None) -> list[tuple[str, str]]:
    """Input and answer, as text, of the top-level runs that came to one, oldest first; of the newest ``num_runs``."""
    told = [run for run in runs if run.parent_run_id is None and run.status not in HISTORY_SKIP_STATUSES]
    kept = told if num_runs is None else told[-num_runs:] if num_runs > 0 else []
    return [("" if run.input is None else run.input.input_content_string(), run.get_content_as_string()) for run in kept]


def workflow_context(turns: Sequence[tuple[str, str]]) -> str | None:
    """A workflow's earlier runs as text for a prompt; None if there are none."""
    if not turns:
        return None
    told = [
        f"[Workflow Run-{number}]\nUser input: {asked}\nWorkflow output: {answered}\n"
        for number, (asked, answered) in enumerate(turns, 1)
    ]
    return "\n".join(("<workflow_history_context>", *told, "</workflow_history_context>")) + "\n\n"


def team_context(turns: Sequence[tuple[str, str]]) -> str | None:
    """A team's earlier runs as text for a prompt; None if there are none."""
    if not turns:
        return None
    told = "\n\n".join(f"User: {asked}\nTeam: {answered}" for asked, answered in turns)
    return f"<team_history_context>\n{told}\n</team_history_context>"


def conversation(
    runs: Iterable[BaseRunOutput],
    *,
    last_n_runs: int | None = None,
    limit: int | None = None,
    skip_roles: Collection[str] = (),
    skip_statuses: Collection[RunStatus | str] | None = None,
    skip_history_messages: bool = True,
) -> list[Message]:
    """The messages of ``runs`` in order, the first system message once and in front, without answers that did not fit and what was said of these.

    ``last_n_runs`` counts runs and ``limit`` messages from the newest, the system message included; None is all of
    them, zero or less is none. A cut never begins with a tool result whose call it left out.
    """
    chosen = runs_that_count(runs, HISTORY_SKIP_STATUSES if skip_statuses is None else skip_statuses)
    if last_n_runs is not None:
        chosen = chosen[-last_n_runs:] if last_n_runs > 0 else []
    messages = [
        message
        for run in chosen
        for message in run.messages or ()
        if message.role not in skip_roles and not message.misfit and not (skip_history_messages and message.from_history)
    ]
    system = next((message for message in messages if message.role in SYSTEM_ROLES), None)
    spoken = [message for message in messages if message.role not in SYSTEM_ROLES]
    if limit is not None:
        spoken = _newest(spoken, max(limit - (system is not None), 0))
    return spoken if system is None or (limit is not None and limit <= 0) else [system, *spoken]


def _newest(messages: list[Message], limit: int) -> list[Message]:
    """At most ``limit`` messages, the first of which is no tool result."""
    kept = messages[-limit:] if limit else []
    return list(itertools.dropwhile(lambda message: message.role == "tool", kept))


@dataclass(frozen=True, kw_only=True)
class TokenBudget:
    """How many tokens of history the model is shown: the newest whole runs that fit. ``count`` counts those of a message."""

    tokens: int
    count: Callable[[Message], int]

    def fitting(self, turns: Sequence[list[Message]]) -> list[list[Message]]:
        """The newest of ``turns`` that fit together. The first that does not is the end: nothing is left out in between."""
        fitting: list[list[Message]] = []
        left = self.tokens
        for turn in reversed(turns):
            left -= sum(map(self.count, turn))
            if left < 0:
                break
            fitting.append(turn)
        return fitting[::-1]

    def runs_to_read(self, runs: Sequence[BaseRunOutput], **limits: int | None) -> int:
        """How many of a session's newest runs it takes to fill the budget, judging by the newest ``runs``; 0 if these will do."""
        used = sum(self.count(message) for turn in _turns(runs, **limits) for message in turn)
        if used >= self.tokens:
            return 0
        # Half as many again: older ones may be smaller. Where none of them counts, nothing is known of their size.
        further = 1.5 * len(runs) * (self.tokens - used) / used + 4 if used else _UNKNOWN
        return min(len(runs) + int(further), _AT_MOST)


def first_page(tokens: int) -> int:
    """How many of the newest runs to read at first for a budget of so many tokens."""
    return max(4, min(tokens // _SMALL_RUN, _FIRST_PAGE))


def context(
    runs: Iterable[BaseRunOutput],
    *,
    num_history_runs: int | None,
    num_history_messages: int | None = None,
    max_tool_calls: int | None = None,
    budget: TokenBudget | None = None,
) -> list[Message]:
    """The history that a model is sent: copies marked ``from_history``, every tool call with its result.

    Each limit counts from the newest, and all of them hold. ``max_tool_calls`` leaves out older calls together with their results.
    """
    turns = _turns(runs, num_history_runs=num_history_runs, max_tool_calls=max_tool_calls)
    if budget is not None:
        turns = budget.fitting(turns)
    told = [message for turn in turns for message in turn]
    if num_history_messages is not None:
        told = _newest(told, num_history_messages)
    return without_loose_tool_messages([message.model_copy(update={"from_history": True}) for message in told])


def runs_back_to(messages: Sequence[Message], runs: Sequence[BaseRunOutput]) -> int:
    """How many of the newest of ``runs`` it takes to go back to the first of ``messages``, which are a part of what was said in them."""
    first = messages[0].id if messages else None
    for back, run in enumerate(runs):
        if any(message.id == first for message in getattr(run, "messages", None) or ()):
            return len(runs) - back
    return 0


def _turns(
    runs: Iterable[BaseRunOutput], *, num_history_runs: int | None = None, max_tool_calls: int | None = None
) -> list[list[Message]]:
    """What was said in each of the newest runs that count, without system messages, misfits, and what these runs were themselves shown."""
    chosen = told_runs(runs)
    if num_history_runs is not None:
        chosen = chosen[-num_history_runs:]
    turns = [
        [
            message
            for message in run.messages or ()
            if message.role not in SYSTEM_ROLES and not (message.from_history or message.misfit)
        ]
        for run in chosen
    ]
    return turns if max_tool_calls is None else _with_newest_calls(turns, max_tool_calls)


def _with_newest_calls(turns: Sequence[list[Message]], limit: int) -> list[list[Message]]:
    """The turns with the newest ``limit`` tool results and their calls; older ones are left out together."""
    surplus = sum(message.role == "tool" for turn in turns for message in turn) - limit
    thinned: list[list[Message]] = []
    for turn in turns:
        results = sum(message.role == "tool" for message in turn)
        thinned.append(_without_first_results(turn, surplus) if surplus > 0 and results else turn)
        surplus -= results
    return thinned


def _without_first_results(turn: Sequence[Message], surplus: int) -> list[Message]:
    """One turn without its first ``surplus`` tool results, the calls that led to them, and messages in which nothing is left."""
    kept: list[Message] = []
    for index, message in enumerate(turn):
        if message.role == "tool" and surplus > 0:
            surplus -= 1
        elif message.tool_calls and surplus > 0:
            # Some servers number their calls anew in every answer: a call is told by its place, too.
            answers = itertools.takewhile(lambda following: following.role == "tool", turn[index + 1 :])
            left_out = {answer.tool_call_id for answer in itertools.islice(answers, surplus)}
            calls = [call for call in message.tool_calls if call.get("id") not in left_out]
            if calls or message.content:
                kept.append(message.model_copy(update={"tool_calls": calls or None}))
        else:
            kept.append(message)
    return kept


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
