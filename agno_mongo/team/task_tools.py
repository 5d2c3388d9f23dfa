"""Mode ``tasks``: the tools by which a leader makes a list of tasks and has its members work on them, and when that is done."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from typing import Any, Literal, TypeVar

from agno_mongo.agent.output_schema import StructuredAnswer
from agno_mongo.execution import Execution
from agno_mongo.messages import Message
from agno_mongo.run.base import RunContext
from agno_mongo.run.message_run import MessageRunOutput
from agno_mongo.run.team_events import (
    TaskCreatedEvent,
    TaskIterationCompletedEvent,
    TaskIterationStartedEvent,
    TaskStateUpdatedEvent,
    TaskUpdatedEvent,
)
from agno_mongo.team.delegating import Delegation, Job, Outcome
from agno_mongo.team.task import Task, TaskList, TaskStatus, load_task_list, save_task_list
from agno_mongo.tools.calling import PassedOn
from agno_mongo.tools.function import BadToolArgumentsError, Function, FunctionCall, ToldToModelError
from agno_mongo.tools.pausing import WaitsWithinError

T = TypeVar("T")

_log = logging.getLogger("agno_mongo")

_GO_ON = (
    "Go on with them, change the plan, or call mark_all_complete if the goal is reached or out of reach; then write the answer."
)


class TaskFailedError(ToldToModelError):
    """A task came to no result; the text is for the leader."""


@dataclass(kw_only=True)
class AnswerAfterTasks:
    """An answer of the leader ends the run once no task is open. Before, it is told so, ``max_iterations - 1`` times at most; then its answer
    counts, whatever is open. ``schema``: what form the answer must have, too.
    """

    context: RunContext
    max_iterations: int
    schema: StructuredAnswer | None
    _iteration: int = 1

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """What the model's request says of the answer's form."""
        return None if self.schema is None else self.schema.response_format

    def take(self, run: MessageRunOutput, text: str) -> Message | None:
        """The message with which the leader is asked once more; None if its answer counts."""
        tasks = load_task_list(self.context.session_state)
        if _is_open(tasks):
            if self._iteration < self.max_iterations:
                self._iteration += 1
                return Message(role="user", content=f"Not all tasks have ended.\n{tasks.get_summary_string()}\n{_GO_ON}")
            _log.warning("run %r ends after %d turns of its leader with tasks that are open", run.run_id, self.max_iterations)
        return None if self.schema is None else self.schema.take(run, text)

    async def turns_told(self, happening: AsyncGenerator[Any, None], execution: Execution) -> AsyncGenerator[Any, None]:
        """The events of the conversation with the leader, with the beginning and the end of each of its turns."""
        number = self._iteration
        yield self._turn(TaskIterationStartedEvent, number, execution)
        async with aclosing(happening) as events:
            async for event in events:
                if number != self._iteration:
                    yield self._turn(TaskIterationCompletedEvent, number, execution, task_summary=self._summary())
                    number = self._iteration
                    yield self._turn(TaskIterationStartedEvent, number, execution)
                yield event
        if not execution.run.is_paused:
            yield self._turn(TaskIterationCompletedEvent, number, execution, task_summary=self._summary())

    def _summary(self) -> str:
        return load_task_list(self.context.session_state).get_summary_string()

    def _turn(self, kind: Callable[..., T], number: int, execution: Execution, **data: Any) -> T:
        return execution.event(kind, iteration=number, max_iterations=self.max_iterations, **data)


def begin_tasks(execution: Execution) -> None:
    """Begin a new list where the last one is done. Tasks that an earlier run has left open are this run's."""
    state = execution.context.session_state
    tasks = load_task_list(state)
    if tasks.tasks and not _is_open(tasks) and not execution.past.finished_rounds:
        save_task_list(state, TaskList())


def _is_open(tasks: TaskList) -> bool:
    return bool(tasks.tasks) and not tasks.goal_complete and not tasks.all_terminal()


# The list.


def _tasks(delegation: Delegation) -> TaskList:
    return load_task_list(delegation.execution.context.session_state)


def _task(tasks: TaskList, task_id: str) -> Task:
    task = tasks.get_task(task_id)
    if task is None:
        raise BadToolArgumentsError(f"There is no task {task_id!r}.\n{tasks.get_summary_string()}")
    return task


def _updated(delegation: Delegation, task_id: str, **updates: Any) -> Iterator[PassedOn]:
    """Change a task and keep the list; yields the events that tell of it. No other call comes between."""
    execution, tasks = delegation.execution, _tasks(delegation)
    before = {task.id: task.status for task in tasks.tasks}
    tasks.update_task(task_id, **updates)
    save_task_list(execution.context.session_state, tasks)
    for task in tasks.tasks:
        if task.status is not before[task.id]:
            yield PassedOn(
                execution.event(
                    TaskUpdatedEvent,
                    task_id=task.id,
                    title=task.title,
                    status=task.status.value,
                    previous_status=before[task.id].value,
                    result=task.result if task.has_ended else None,
                    assignee=task.assignee,
                )
            )
    yield _state_of(execution, tasks)


def _state_of(execution: Execution, tasks: TaskList) -> PassedOn:
    return PassedOn(
        execution.event(
            TaskStateUpdatedEvent,
            task_summary=tasks.get_summary_string(),
            goal_complete=tasks.goal_complete,
            tasks=[task.to_dict() for task in tasks.tasks],
            completion_summary=tasks.completion_summary,
        )
    )


async def create_task(
    delegation: Delegation, title: str, description: str = "", assignee: str = "", depends_on: list[str] | None = None
) -> AsyncIterator[Any]:
    """Put a task on the list.

    Args:
        title: What is to be done, in a few words. No two tasks have one title.
        description: What the member needs to know for it, and what a good result looks like.
        assignee: The id of the member that is to carry it out.
        depends_on: The ids of the tasks whose results it needs.
    """
    tasks, context = _tasks(delegation), delegation.execution.context
    if assignee:
        delegation.member(assignee)
    for needed in depends_on or ():
        _task(tasks, needed)
    same = next((task for task in tasks.tasks if task.title.strip().lower() == title.strip().lower()), None)
    if same is not None:
        yield f"There is a task of this title already: [{same.id}] {same.title}, {same.status.value}."
        return
    task = tasks.create_task(title, description, assignee or None, dependencies=depends_on)
    save_task_list(context.session_state, tasks)
    told = {name: getattr(task, name) for name in ("title", "description", "assignee", "dependencies")}
    yield PassedOn(delegation.execution.event(TaskCreatedEvent, task_id=task.id, status=task.status.value, **told))
    yield f"Task [{task.id}] {task.title} is {task.status.value}."


async def update_task_status(
    delegation: Delegation,
    task_id: str,
    status: Literal["pending", "in_progress", "completed", "failed"],
    result: str | None = None,
) -> AsyncIterator[Any]:
    """Say how a task stands that you have worked on yourself.

    Args:
        task_id: Which one.
        status: How it stands now.
        result: What has come of it.
    """
    _task(_tasks(delegation), task_id)
    for event in _updated(delegation, task_id, status=status, **({} if result is None else {"result": result})):
        yield event
    yield f"Task [{task_id}] is {status}."


async def list_tasks(delegation: Delegation) -> str:
    """List all tasks, how they stand, and what has come of them."""
    return _tasks(delegation).get_summary_string()


async def add_task_note(delegation: Delegation, task_id: str, note: str) -> str:
    """Note something with a task, for who works on it later.

    Args:
        task_id: Which one.
        note: What is to be remembered.
    """
    tasks = _tasks(delegation)
    _task(tasks, task_id).notes.append(note)
    save_task_list(delegation.execution.context.session_state, tasks)
    return f"Noted with task [{task_id}]."


async def mark_all_complete(delegation: Delegation, summary: str) -> AsyncIterator[Any]:
    """End the work on the tasks: the goal is reached, or out of reach. Write the answer for the user after it.

    Args:
        summary: What was done, and what has come of it.
    """
    tasks = _tasks(delegation)
    tasks.goal_complete, tasks.completion_summary = True, summary
    save_task_list(delegation.execution.context.session_state, tasks)
    yield _state_of(delegation.execution, tasks)
    yield "The work on the tasks has ended. Write the answer for the user now."


# Working on it.


def _job(delegation: Delegation, task_id: str, member_id: str | None) -> Job:
    """The task as a member gets it, with the results that it needs. Raises BadToolArgumentsError if it cannot begin."""
    tasks = _tasks(delegation)
    task = _task(tasks, task_id)
    if task.has_ended:
        raise BadToolArgumentsError(f"Task [{task.id}] has ended: {task.status.value}. {task.result or ''}")
    if task.status is TaskStatus.blocked:
        raise BadToolArgumentsError(f"Task [{task.id}] waits for {', '.join(task.dependencies)}, not all of which are completed.")
    assignee = member_id or task.assignee
    if not assignee:
        raise BadToolArgumentsError(f"Task [{task.id}] is for nobody yet: say which member is to carry it out.")
    parts = [task.title, task.description, *(f"Note: {note}" for note in task.notes)]
    needed = (tasks.get_task(task_id) for task_id in task.dependencies)
    parts += [f"Result of {other.title}:\n{other.result}" for other in needed if other is not None and other.result]
    return Job(member=delegation.member(assignee), task="\n\n".join(part for part in parts if part), part=task.id)


def _ended(delegation: Delegation, job: Job, outcome: Outcome) -> Iterator[PassedOn]:
    status = TaskStatus.failed if outcome.failed else TaskStatus.completed
    return _updated(delegation, str(job.part), status=status, result=outcome.text)


async def execute_task(delegation: Delegation, fc: FunctionCall, task_id: str, member_id: str = "") -> AsyncIterator[Any]:
    """Have a member carry out a task of the list. The result is the member's.

    Args:
        task_id: Which task.
        member_id: The member that is to carry it out, if not the one that it was made for.
    """
    job = _job(delegation, task_id, member_id)
    async with aclosing(_carried_out(delegation, fc.call_id, [job])) as parts:
        async for part in parts:
            if isinstance(part, PassedOn):
                yield part
                continue
            [outcome] = part
            if outcome.failed:
                raise TaskFailedError(f"Task [{task_id}] has failed. {outcome.text}")
            yield outcome.text


async def execute_tasks_parallel(delegation: Delegation, fc: FunctionCall, task_ids: list[str]) -> AsyncIterator[Any]:
    """Have several independent tasks of the list carried out at once, each by the member that it was made for. The result is all their results.

    Args:
        task_ids: Which tasks.
    """
    jobs: list[Job] = []
    texts: dict[str, str] = {}
    for task_id in dict.fromkeys(task_ids):
        try:
            jobs.append(_job(delegation, task_id, None))
        except BadToolArgumentsError as error:
            texts[task_id] = str(error)
    async with aclosing(_carried_out(delegation, fc.call_id, jobs)) as parts:
        async for part in parts:
            if isinstance(part, PassedOn):
                yield part
                continue
            for job, outcome in zip(jobs, part, strict=True):
                texts[str(job.part)] = f"failed: {outcome.text}" if outcome.failed else outcome.text
    yield "\n\n".join(f"[{task_id}] {texts[task_id]}" for task_id in dict.fromkeys(task_ids)) or "No task was named."


async def _carried_out(delegation: Delegation, call_id: str | None, jobs: Sequence[Job]) -> AsyncGenerator[Any, None]:
    """Have the jobs done at once; yields events, then the outcomes, once the list has what came of each."""
    for job in jobs:
        for event in _updated(delegation, str(job.part), status=TaskStatus.in_progress, assignee=job.member.id):
            yield event
    async with aclosing(delegation.at_once(call_id, jobs)) as parts:
        async for part in parts:
            if isinstance(part, PassedOn):
                yield part
                continue
            for job, outcome in zip(jobs, part, strict=True):
                for event in () if outcome.waits else _ended(delegation, job, outcome):
                    yield event
            if any(outcome.waits for outcome in part):
                raise WaitsWithinError
            yield part


@cache
def task_tools() -> tuple[Function, ...]:
    """The tools of a leader in mode tasks."""
    listing = (create_task, update_task_status, list_tasks, add_task_note, mark_all_complete)
    working = (execute_task, execute_tasks_parallel)
    # Each member has its own time; all together have any.
    return (
        *(Function.from_callable(tool) for tool in listing),
        *(replace(Function.from_callable(tool), timeout=inf) for tool in working),
    )
