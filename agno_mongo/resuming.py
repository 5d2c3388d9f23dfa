"""Going on with a run that paused, or whose process died: what its entry in the session has of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from agno_mongo import media
from agno_mongo.db import values
from agno_mongo.db.checkpoints import with_changes
from agno_mongo.db.documents import ActiveRun
from agno_mongo.errors import CorruptSession, RunIsPaused
from agno_mongo.history import SYSTEM_ROLES, finished_rounds
from agno_mongo.messages import Message, Metrics, ToolExecution, is_message
from agno_mongo.run.base import BaseRunOutput, RunStatus
from agno_mongo.run.requirement import Answer, key_of_call, requirements_of, take_answer
from agno_mongo.run.stored import OF_THE_ENTRY
from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.tools.result import KINDS

FaultOf = Callable[[ToolExecution, "str | None"], "str | None"]
"""Says what is wrong with a call that was answered; None if nothing is. Of a run within the run the id of its agent or team is given, too."""


@dataclass(kw_only=True)
class Past:
    """What a run brings with it that goes on; nothing, if it begins.

    ``finished_rounds`` are the messages from which it goes on, the user's and all that followed; ``paused_round`` are the calls of the last of
    them if it had paused there. ``state_changes`` and ``metadata`` are those that it had come to, ``counted`` what the session's metrics have of it already,
    after ``duration`` seconds. ``inner`` are the records of runs within it that had finished, with their metrics, ``steps`` a workflow's finished
    steps, both encoded; among the former runs that wait, for which some of ``answers`` are. ``is_cancelled``: somebody wanted it to stop. ``outline``
    are the steps of the workflow that began it, which had ``waited``.
    """

    finished_rounds: list[Message] = field(default_factory=list)
    paused_round: list[ToolExecution] = field(default_factory=list)
    state_changes: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] | None = None
    counted: Mapping[str, float] = field(default_factory=dict)
    duration: float = 0.0
    inner: list[dict[str, Any]] = field(default_factory=list)
    inner_metrics: list[Metrics] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    answers: Sequence[dict[str, Any]] = ()
    is_cancelled: bool = False
    outline: list[dict[str, Any]] | None = None
    waited: bool = False


def take_up(run: Any, session_id: str, entry: Mapping[str, Any], fault_of: FaultOf) -> Past:
    """Put into ``run`` what its ``entry`` has stored, its input and what it has come to, and return what it goes on from.

    Raises CorruptSession if that is not what a run stores, RunIsPaused if the answers are not what its calls need.
    """
    if not entry:
        return Past()
    try:
        return _taken_up(run, session_id, entry, fault_of)
    except (ValidationError, TypeError, KeyError, AttributeError) as error:
        raise CorruptSession(
            f"what session {session_id!r} has of its interrupted run {run.run_id!r} is not what a run stores: {error}",
            session_id=session_id,
        ) from error


def _taken_up(run: Any, session_id: str, entry: Mapping[str, Any], fault_of: FaultOf) -> Past:
    active = ActiveRun.model_validate(values.decode(dict(entry)))
    run.input, run.created_at, run.metrics = active.run_input, int(active.started_at), active.metrics
    answering = _Answering(active.answers or (), run, session_id, fault_of)
    past = _steps(run, session_id, active) if isinstance(run, WorkflowRunOutput) else _rounds(run, active, answering)
    if active.counted is not None:
        past.counted, past.duration = active.counted.counters(), active.counted.duration or 0.0
    past.state_changes = entry.get("state_changes") or []
    with_changes({}, past.state_changes)
    past.inner, past.steps = list(entry.get("inner") or ()), list(entry.get("steps") or ())
    past.inner_metrics = [Metrics.model_validate(record.get("metrics") or {}) for record in past.inner]
    past.answers = entry.get("answers") or ()
    if past.paused_round or past.waited:
        answering.check_inner(past.inner)
    for name, value in run.inner_fields(run.run_id, settled(active.inner or ())).items():
        setattr(run, name, value)
    run.take_media_of_inner()
    past.is_cancelled = active.cancelled is not None
    return past


def _steps(run: WorkflowRunOutput, session_id: str, active: ActiveRun) -> Past:
    """What a workflow goes on from, with the answers to the steps that waited."""
    stored = WorkflowRunOutput.model_validate({**(active.run or {}), "input": run.input})
    answers = {answer["tool_call_id"]: Answer(**answer) for answer in active.answers or ()}
    steps = (requirement for requirement in stored.all_requirements if not requirement.requires_executor_input)
    for requirement in steps if active.pending is not None else ():
        fault = requirement.take(answers.get(requirement.id, Answer(tool_call_id=requirement.id)))
        if fault:
            raise RunIsPaused(
                f"run {run.run_id!r} of session {session_id!r} stays paused: step {requirement.step_name!r} cannot go on: {fault}",
                session_id=session_id,
                run_id=run.run_id or "",
                missing=(requirement.id,),
            )
    for name in ("step_requirements", "error_requirements", "events", "workflow_agent_run_id"):
        setattr(run, name, getattr(stored, name))
    outline = (active.run or {}).get("outline")
    return Past(metadata=stored.metadata, outline=outline, waited=active.pending is not None)


def _rounds(run: Any, active: ActiveRun, answering: _Answering) -> Past:
    said = _without_own_system(active)
    rounds = finished_rounds(said)
    waits = active.pending is not None and len(rounds) < len(said)
    past = Past(finished_rounds=said if waits else rounds)
    answered = {message.tool_call_id for message in past.finished_rounds if message.role == "tool"}
    own = {"input": run.input, "messages": past.finished_rounds, "tools": active.tools}
    if active.events is not None:
        own["events"] = active.events
    stored = type(run).model_validate({**(active.run or {}), **own})
    tools = stored.tools or []
    if waits:
        past.paused_round = tools[-len(said[len(rounds)].tool_calls or ()) :]
        answering.take(past.paused_round)
    run.tools = [tool for tool in tools if waits or tool.tool_call_id in answered] or None
    run.requirements = requirements_of(run.tools)
    past.metadata = stored.metadata
    told = [message for message in past.finished_rounds if message.role == "tool"]
    for name in KINDS:
        setattr(run, name, [part for message in told for part in getattr(message, name) or ()] or None)
    for name in stored.model_fields_set - {"status", "content", "session_state", *KINDS}:
        if getattr(run, name, None) is None:
            setattr(run, name, getattr(stored, name))
    return past


def _without_own_system(active: ActiveRun) -> list[Message]:
    """What was said, without the component's system message, which is made anew. Those of the input stay: they came behind it."""
    given = active.input if isinstance(active.input, list) else [active.input]
    kept = sum(is_message(part) and part["role"] in SYSTEM_ROLES for part in given)
    systems = [message for message in active.messages or () if message.role in SYSTEM_ROLES]
    left_out = {id(message) for message in systems[: max(len(systems) - kept, 0)]}
    return [message for message in active.messages or () if id(message) not in left_out]


def is_waiting(record: Mapping[str, Any]) -> bool:
    """True for the record of a run that waits for a person."""
    return record.get("status") == RunStatus.paused.value


def waiting_with_inner(records: Sequence[Mapping[str, Any]]) -> set[Any]:
    """The ids of the runs that wait, and of those within them. Each record stands before that of the run that it belongs to."""
    inside: set[Any] = set()
    for record in reversed(records):
        if is_waiting(record) or record.get("parent_run_id") in inside:
            inside.add(record.get("run_id"))
    return inside


def settled(records: Sequence[Any]) -> list[Any]:
    """The records of runs that have come to their end, and are not part of one that waits."""
    waiting = waiting_with_inner(records)
    return [record for record in records if record.get("run_id") not in waiting]


@dataclass(frozen=True)
class _Answering:
    """The answers to what a run and the runs within it wait for."""

    answers: Sequence[dict[str, Any]]
    run: BaseRunOutput
    session_id: str
    fault_of: FaultOf

    def take(self, waiting: Sequence[ToolExecution], member_run_id: str | None = None, member_id: str | None = None) -> None:
        """Let the calls of the run, or of one within it, go on as they were answered. Raises RunIsPaused if an answer is not what its call needs."""
        given = {answer.tool_call_id: answer for answer in map(_answer, self.answers) if answer.member_run_id == member_run_id}
        for tool in waiting:
            if not tool.is_paused:
                continue
            call_id = tool.tool_call_id or ""
            fault = take_answer(tool, given.get(call_id, Answer(tool_call_id=call_id))) or self.fault_of(tool, member_id)
            if fault:
                run_id = self.run.run_id
                raise RunIsPaused(
                    f"run {run_id!r} of session {self.session_id!r} stays paused: the call {call_id!r} of "
                    f"{tool.tool_name!r} cannot go on: {fault}",
                    session_id=self.session_id,
                    run_id=run_id or "",
                    missing=(key_of_call(call_id, member_run_id),),
                )

    def check_inner(self, inner: Sequence[dict[str, Any]]) -> None:
        """Raise RunIsPaused if a run within the run could not go on as it was answered. Nothing of it is changed."""
        for record in filter(is_waiting, inner):
            tools = [ToolExecution.model_validate(values.decode(tool)) for tool in record.get("tools") or ()]
            self.take(tools, str(record.get("run_id")), record.get("agent_id") or record.get("team_id"))


def _answer(stored: Mapping[str, Any]) -> Answer:
    return Answer(**stored)


def entry_of_inner(records: Sequence[dict[str, Any]], run_id: str, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a run within another goes on from, in the shape of an entry of its own, with those of the outer run's ``records`` that are within it."""
    inside = {run_id}
    for record in reversed(records):
        if record.get("parent_run_id") in inside:
            inside.add(str(record.get("run_id")))
    own = next(record for record in records if record.get("run_id") == run_id)
    below = [record for record in records if record is not own and record.get("run_id") in inside]
    counted = Metrics.model_validate(own.get("metrics") or {})
    for record in below:
        counted.add(Metrics.model_validate(record.get("metrics") or {}))
    given = own.get("input") or {}
    return {
        "input": given.get("input_content"),
        **{name: given[name] for name in media.NAMES.intersection(given)},
        "started_at": own.get("created_at") or 0,
        **{name: own.get(name) for name in ("messages", "tools", "metrics")},
        "run": {name: value for name, value in own.items() if name not in OF_THE_ENTRY},
        "pending": [],
        "counted": counted.to_dict(),
        "inner": below,
        "answers": [
            {name: value for name, value in answer.items() if name != "member_run_id" or value != run_id} for answer in answers
        ],
    }
