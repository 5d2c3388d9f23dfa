"""Carrying out one step: by an agent or a team, by another workflow, by a function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from time import monotonic
from typing import Any, Final

from agno_mongo.errors import StepFailed
from agno_mongo.history import turns_of, workflow_context
from agno_mongo.messages import text_of
from agno_mongo.run.base import BaseRunOutput, RunStatus
from agno_mongo.run.events import IN_A_WORKFLOW, BaseRunOutputEvent, RunContentEvent
from agno_mongo.run.step_requirement import StepRequirement
from agno_mongo.run.steps import StepOutput
from agno_mongo.run.team import requirements_within
from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.run.workflow_events import StepExecutorContinuedEvent, StepExecutorPausedEvent, StepOutputEvent
from agno_mongo.tools.calling import ended
from agno_mongo.workflow.asking import TRIES, WAITS, place_of, waits
from agno_mongo.workflow.calling import pieces_of, value_of, yields
from agno_mongo.workflow.journal import Path
from agno_mongo.workflow.types import StepInput
from agno_mongo.workflow.walking import Flow, Walk

_MEDIA: Final = ("images", "videos", "audio", "files")
_TAKEN: Final = (*_MEDIA, "metrics")


def message_for(given: StepInput, walk: Walk, history_runs: int) -> Any:
    """What an executor is given: what the step before has come to, else the workflow's input; with earlier runs, and with what a person has filled in."""
    content = given.previous_step_content
    message = given.input if content is None or content == "" else content
    history = workflow_context(turns_of(walk.scope.session.runs or (), history_runs)) if history_runs else None
    said = list(_said_by_people(given.additional_data or {}))
    if not history and not said:
        return message
    told = [text_of(message)] if message is not None and message != "" else []
    return (history or "") + "\n\n".join([*told, *said])


def _said_by_people(data: Mapping[str, Any]) -> Iterator[str]:
    """What somebody has filled in before the step, and said of what came of it before."""
    if answers := data.get("user_input"):
        told = "\n".join(f"- {name}: {value}" for name, value in answers.items())
        yield f"User preferences:\n{told}"
    if before := data.get("previous_output"):
        yield f"Your previous output:\n{before}"
    if feedback := data.get("rejection_feedback"):
        yield f"Feedback from reviewer:\n{feedback}"


async def executor_events(
    executor: Any, output: StepOutput, given: StepInput, walk: Walk, path: Path, data: Mapping[str, Any], history_runs: int
) -> AsyncGenerator[Any, None]:
    """The events of an agent's, a team's or a workflow's run that is the step. Raises StepFailed if it came to nothing.

    A run that had paused there goes on. Where it waits, the flow is told what for.
    """
    flow = walk.flow
    output.input = message_for(given, walk, history_runs)
    execution, happening = await _begun(executor, output, given, walk, path)
    run: BaseRunOutput = execution.run
    output.step_run_id = run.run_id
    who = _who(executor, output)
    if run.run_id == flow.journal.chosen(path, WAITS):
        yield flow.execution.event(StepExecutorContinuedEvent, **data, **who)
    try:
        async with aclosing(happening) as events:
            async for event in events:
                _place(event, flow, data)
                if flow.stream_executor_events:
                    yield event
    finally:
        flow.runs.append(run)
    if (asked := _take_outcome(output, run, flow, path, who)) is not None:
        yield flow.execution.event(StepExecutorPausedEvent, **data, **who, executor_requirements=asked.executor_requirements)


def _take_outcome(
    output: StepOutput, run: BaseRunOutput, flow: Flow, path: Path, who: Mapping[str, Any]
) -> StepRequirement | None:
    """What the executor's run has come to is the step's outcome. Returns what is asked where it waits. Raises StepFailed if it came to nothing."""
    _take(output, run)
    if isinstance(run, WorkflowRunOutput):
        output.find_within(run.step_results)
    if run.status == RunStatus.paused:
        waits(output)
        return _asked(output, path, run, flow, who)
    refuse_unfinished(run, output.step_name or "", output.executor_name or "")
    return None


def refuse_unfinished(run: BaseRunOutput, step: str, executor: str) -> None:
    """Raise StepFailed if the run that was to carry out the step came to no answer."""
    if run.status == RunStatus.completed:
        return
    raise StepFailed(
        f"step {step!r}: the run of {executor!r} ended as {RunStatus(run.status).value}: "
        f"{run.get_content_as_string() or 'it was stopped'}",
        step=step,
        # Somebody wanted it to stop.
        may_try_again=not run.is_cancelled,
    )


def _place(event: Any, flow: Flow, data: Mapping[str, Any]) -> None:
    """Say of an event in which step of which workflow's run it happens, unless it says so itself."""
    run = flow.execution.run
    around = {**data, "workflow_id": run.workflow_id, "workflow_run_id": run.run_id}
    for name in IN_A_WORKFLOW:
        if getattr(event, name, None) is None:
            setattr(event, name, around[name])


async def _begun(executor: Any, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> tuple[Any, Any]:
    """The run that is the step and what happens in it: a new one, or the one that had paused."""
    flow, scope = walk.flow, walk.scope
    options = {**flow.options, **{name: media for name in _MEDIA if (media := getattr(given, name))}}
    is_workflow = output.executor_type == "workflow"
    more = executor.in_a_step(flow, path, given, again=(output.tries or 0) > 1) if is_workflow else {}
    waited = flow.journal.chosen(path, WAITS)
    if scope.waits_within(waited):
        begun = executor.goes_on_within(scope, waited, options, stream=flow.stream)
    else:
        begun = executor.begun_within(scope, output.input, options, stream=flow.stream, **more)
    execution, happening = await begun
    return execution, happening


def _who(executor: Any, output: StepOutput) -> dict[str, Any]:
    return {
        "executor_id": executor.id,
        "executor_name": output.executor_name,
        "executor_run_id": output.step_run_id,
        "executor_type": output.executor_type,
    }


def _asked(output: StepOutput, path: Path, run: Any, flow: Flow, who: Mapping[str, Any]) -> StepRequirement | None:
    """Have the flow wait for what the step waits for. Returns what is asked within an agent or a team; None for a workflow, which has said it."""
    if output.executor_type == "workflow":
        flow.requirements += run.all_requirements
        return None
    asked = StepRequirement(
        id=f"{place_of(path)}/executor",
        step_id=output.step_id or "",
        step_name=output.step_name,
        step_index=path[-1],
        step_type=output.step_type,
        requires_executor_input=True,
        executor_requirements=[one for one in requirements_within(run) if not one.is_resolved()],
        **who,
    )
    flow.requirements.append(asked)
    flow.journal.choose(path, **{WAITS: run.run_id, TRIES: output.tries})
    return asked


def _take(output: StepOutput, run: BaseRunOutput) -> None:
    output.content = run.content
    for name in _TAKEN:
        if (value := getattr(run, name, None)) is not None:
            setattr(output, name, value)


async def function_events(
    function: Any, output: StepOutput, given: StepInput, walk: Walk, data: Mapping[str, Any]
) -> AsyncGenerator[Any, None]:
    """What a step's function yields on the way; what it returns, or all that it yields together, is the output.

    Where the step stands by itself, what it returned is told as a whole too: nothing else says it to a reader who does not see every step.
    """
    context, event = walk.scope.context, walk.flow.execution.event
    content = given.previous_step_content
    output.input = given.input if content is None else content
    offered = {"run_context": context, "session_state": context.session_state}
    outcome = await value_of(function, given, offered)
    if not yields(outcome):
        if isinstance(outcome, StepOutput):
            _fill(output, outcome)
        else:
            output.content = _content_of(outcome)
        if walk.is_outermost:
            yield event(StepOutputEvent, **data, content=output.content, step_output=output)
        return
    said: list[Any] = []
    async with aclosing(pieces_of(outcome)) as pieces:
        async for is_yielded, piece in pieces:
            if isinstance(piece, BaseRunOutputEvent):
                if isinstance(piece, RunContentEvent) and piece.content is not None:
                    said.append(piece.content)
                _place(piece, walk.flow, data)
                yield piece
            elif isinstance(piece, StepOutput):
                _fill(output, piece)
                if walk.is_outermost:
                    yield event(StepOutputEvent, **data, content=output.content, step_output=output)
                return
            else:
                said.append(piece)
                if is_yielded:
                    yield event(StepOutputEvent, **data, content=_content_of(piece))
    output.content = _content_of(said[0]) if len(said) == 1 else "".join(text_of(_content_of(part)) for part in said) or None


def _content_of(piece: Any) -> Any:
    return piece.content if isinstance(piece, BaseRunOutput) else piece


def _fill(output: StepOutput, own: StepOutput) -> None:
    """What a function says of its step; whose step it is, the runtime knows."""
    for name in ("content", "success", "error", "stop", *_TAKEN):
        setattr(output, name, getattr(own, name))
    if own.steps is not None:
        output.steps = own.steps


async def within_time(events: AsyncGenerator[Any, None], limit: float, step: str) -> AsyncGenerator[Any, None]:
    """The events, as long as ``limit`` seconds are not over. Raises StepFailed then. What does not let itself be cancelled is left alone."""
    until = monotonic() + limit
    try:
        while True:
            waiting = asyncio.ensure_future(anext(events))
            try:
                await asyncio.wait((waiting,), timeout=max(0.0, until - monotonic()))
                if not waiting.done():
                    raise StepFailed(f"step {step!r} had not finished after {limit:g} seconds", step=step)
            finally:
                await ended(waiting)
            try:
                event = waiting.result()
            except StopAsyncIteration:
                return
            yield event
    finally:
        if not getattr(events, "ag_running", False):
            await events.aclose()
