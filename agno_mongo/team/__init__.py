"""Teams."""

from agno_mongo.db.documents import TeamSession
from agno_mongo.run.team import (
    RunCancelledEvent,
    RunCompletedEvent,
    RunContentEvent,
    RunContinuedEvent,
    RunErrorEvent,
    RunPausedEvent,
    RunStartedEvent,
    TeamRunEvent,
    TeamRunOutput,
    TeamRunOutputEvent,
    ToolCallCompletedEvent,
    ToolCallStartedEvent,
)
from agno_mongo.team.mode import TeamMode
from agno_mongo.team.task import Task, TaskList, TaskStatus
from agno_mongo.team.team import Team

__all__ = [
    "RunCancelledEvent",
    "RunCompletedEvent",
    "RunContentEvent",
    "RunContinuedEvent",
    "RunErrorEvent",
    "RunPausedEvent",
    "RunStartedEvent",
    "Task",
    "TaskList",
    "TaskStatus",
    "Team",
    "TeamMode",
    "TeamRunEvent",
    "TeamRunOutput",
    "TeamRunOutputEvent",
    "TeamSession",
    "ToolCallCompletedEvent",
    "ToolCallStartedEvent",
]
