"""The list of tasks that a team in mode ``tasks`` works on. It lives in the session's state, so that later runs find it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from time import time
from typing import Any, Final
from uuid import uuid4

from pydantic import Field, ValidationError
from typing_extensions import Self

from agno_mongo.messages import StoredModel

TASK_LIST_KEY: Final = "_team_tasks"
"""Where the list stands in the session's state."""

_SHOWN: Final = 200
"""Characters of a result, and how many of a task's newest notes, that a list shows."""
_NOTES: Final = 3


class TaskStatus(str, Enum):
    """How a task stands."""

    pending = "pending"
    in_progress = "in_progress"
    completed = "completed"
    failed = "failed"
    blocked = "blocked"


_ENDED: Final = frozenset({TaskStatus.completed, TaskStatus.failed})


class Task(StoredModel):
    """One task. ``assignee`` is a member's id, ``dependencies`` are the ids of tasks that must be completed before."""

    id: str = Field(default_factory=lambda: uuid4().hex[:8])
    title: str = ""
    description: str = ""
    status: TaskStatus = TaskStatus.pending
    assignee: str | None = None
    parent_id: str | None = None
    dependencies: list[str] = Field(default_factory=list)
    result: str | None = None
    notes: list[str] = Field(default_factory=list)
    created_at: float = Field(default_factory=time)

    @property
    def has_ended(self) -> bool:
        """True once it is completed, or has failed."""
        return self.status in _ENDED

    def to_dict(self) -> dict[str, Any]:
        """The task as plain values."""
        return {**self.model_dump(), "status": self.status.value}


class TaskList(StoredModel):
    """The tasks in the order of their making. ``goal_complete`` and ``completion_summary`` say that the leader has ended the work."""

    tasks: list[Task] = Field(default_factory=list)
    goal_complete: bool = False
    completion_summary: str | None = None

    def create_task(
        self,
        title: str,
        description: str = "",
        assignee: str | None = None,
        parent_id: str | None = None,
        dependencies: Iterable[str] | None = None,
    ) -> Task:
        """A new task, which is blocked as long as one that it depends on is not completed."""
        task = Task(
            title=title,
            description=description,
            assignee=assignee,
            parent_id=parent_id,
            dependencies=list(dependencies or ()),
        )
        self.tasks.append(task)
        self._settle()
        return task

    def get_task(self, task_id: str) -> Task | None:
        """The task of this id; None if there is none."""
        return next((task for task in self.tasks if task.id == task_id), None)

    def update_task(self, task_id: str, **updates: Any) -> Task | None:
        """Change fields of a task, and what follows for those that depend on it; None if there is no such task."""
        task = self.get_task(task_id)
        if task is None:
            return None
        for name, value in updates.items():
            setattr(task, name, TaskStatus(value) if name == "status" else value)
        self._settle()
        return task

    def get_available_tasks(self, for_assignee: str | None = None) -> list[Task]:
        """Those that may begin now; with ``for_assignee`` only this member's and nobody's."""
        ready = [task for task in self.tasks if task.status is TaskStatus.pending]
        return [task for task in ready if for_assignee is None or task.assignee in {None, "", for_assignee}]

    def all_terminal(self) -> bool:
        """True once there are tasks and every one has ended."""
        return bool(self.tasks) and all(task.has_ended for task in self.tasks)

    def get_summary_string(self) -> str:
        """The list as text for the leader."""
        if not self.tasks:
            return "There are no tasks yet."
        counts = Counter(task.status.value for task in self.tasks)
        lines = [f"{len(self.tasks)} tasks: {', '.join(f'{number} {status}' for status, number in counts.items())}."]
        for task in self.tasks:
            lines += _lines(task)
        if self.goal_complete:
            lines.append(f"The work was ended: {self.completion_summary or ''}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The list as it stands in the state."""
        tasks = [task.to_dict() for task in self.tasks]
        return {"tasks": tasks, "goal_complete": self.goal_complete, "completion_summary": self.completion_summary}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The list that ``to_dict`` gave."""
        found = cls.model_validate(dict(data))
        found._settle()  # noqa: SLF001 - its own
        return found

    def _settle(self) -> None:
        """Block the tasks whose dependencies are not completed, free the others; who depends on a failed one has failed.

        A dependency on a task that is not there, or on itself in a circle, stays blocked: the leader sees it, and may change it.
        """
        known = {task.id: task for task in self.tasks}
        changed = True
        while changed:
            changed = False
            for task in self.tasks:
                if task.status not in {TaskStatus.pending, TaskStatus.blocked}:
                    continue
                needed = [known.get(needed) for needed in task.dependencies]
                if any(other is not None and other.status is TaskStatus.failed for other in needed):
                    task.status, task.result, changed = TaskStatus.failed, "A task that it depends on has failed.", True
                else:
                    waits = any(other is None or other.status is not TaskStatus.completed for other in needed)
                    task.status = TaskStatus.blocked if waits else TaskStatus.pending


def _lines(task: Task) -> list[str]:
    lines = [f"[{task.id}] {task.title}: {task.status.value}, {'for ' + task.assignee if task.assignee else 'for nobody yet'}"]
    if task.dependencies:
        lines.append(f"    needs {', '.join(task.dependencies)}")
    if task.result:
        shown = task.result if len(task.result) <= _SHOWN else f"{task.result[:_SHOWN]}…"
        lines.append(f"    result: {shown}")
    return lines + [f"    note: {note}" for note in task.notes[-_NOTES:]]


def load_task_list(session_state: Mapping[str, Any] | None) -> TaskList:
    """The list in a session's state; an empty one if there is none, or something else in its place."""
    found = (session_state or {}).get(TASK_LIST_KEY)
    if not isinstance(found, Mapping):
        return TaskList()
    try:
        return TaskList.from_dict(found)
    except ValidationError:
        return TaskList()


def save_task_list(session_state: dict[str, Any] | None, task_list: TaskList) -> None:
    """Put the list into a session's state."""
    if session_state is not None:
        session_state[TASK_LIST_KEY] = task_list.to_dict()
