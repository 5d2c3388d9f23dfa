"""What an execution leaves behind: run outputs, their status, the events on the way."""

from agno_mongo.run.agent import RunEvent, RunInput, RunOutput
from agno_mongo.run.base import RunContext, RunStatus
from agno_mongo.run.team import TeamRunOutput
from agno_mongo.run.workflow import WorkflowRunOutput

__all__ = [
    "RunContext",
    "RunEvent",
    "RunInput",
    "RunOutput",
    "RunStatus",
    "TeamRunOutput",
    "WorkflowRunOutput",
]
