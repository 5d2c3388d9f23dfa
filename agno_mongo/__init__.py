"""Session storage for AI agents in MongoDB, and the async runtime that uses it.

Import from the modules, whose paths mirror Agno's (``agno_mongo.agent``, ``agno_mongo.db.mongo``, …), or from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from agno_mongo.agent import Agent
    from agno_mongo.db.embedded import EmbeddedMongoDb
    from agno_mongo.db.in_memory import InMemoryDb
    from agno_mongo.db.mongo import AsyncMongoDb, MongoDb
    from agno_mongo.models.openai import OpenAIChat
    from agno_mongo.run import RunOutput, RunStatus
    from agno_mongo.session import AgentSession, TeamSession, WorkflowSession
    from agno_mongo.team import Team
    from agno_mongo.workflow import Workflow

_HOMES = {
    "Agent": "agno_mongo.agent",
    "AgentSession": "agno_mongo.session",
    "AsyncMongoDb": "agno_mongo.db.mongo",
    "EmbeddedMongoDb": "agno_mongo.db.embedded",
    "InMemoryDb": "agno_mongo.db.in_memory",
    "MongoDb": "agno_mongo.db.mongo",
    "OpenAIChat": "agno_mongo.models.openai",
    "RunOutput": "agno_mongo.run",
    "RunStatus": "agno_mongo.run",
    "Team": "agno_mongo.team",
    "TeamSession": "agno_mongo.session",
    "Workflow": "agno_mongo.workflow",
    "WorkflowSession": "agno_mongo.session",
}

__all__ = [
    "Agent",
    "AgentSession",
    "AsyncMongoDb",
    "EmbeddedMongoDb",
    "InMemoryDb",
    "MongoDb",
    "OpenAIChat",
    "RunOutput",
    "RunStatus",
    "Team",
    "TeamSession",
    "Workflow",
    "WorkflowSession",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Lazily: whoever needs the store alone does not pay for the openai client.
    if name not in _HOMES:
        raise AttributeError(f"module 'agno_mongo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
