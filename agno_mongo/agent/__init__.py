"""Agents."""

from agno_mongo.agent.agent import Agent
from agno_mongo.db.documents import AgentSession
from agno_mongo.messages import Message
from agno_mongo.models.fallback import FallbackConfig
from agno_mongo.run.agent import (
    RunCancelledEvent,
    RunCompletedEvent,
    RunContentEvent,
    RunContinuedEvent,
    RunErrorEvent,
    RunEvent,
    RunOutput,
    RunOutputEvent,
    RunPausedEvent,
    RunStartedEvent,
    ToolCallCompletedEvent,
    ToolCallErrorEvent,
    ToolCallStartedEvent,
)
from agno_mongo.tools.function import Function
from agno_mongo.tools.toolkit import Toolkit

__all__ = [
    "Agent",
    "AgentSession",
    "FallbackConfig",
    "Function",
    "Message",
    "RunCancelledEvent",
    "RunCompletedEvent",
    "RunContentEvent",
    "RunContinuedEvent",
    "RunErrorEvent",
    "RunEvent",
    "RunOutput",
    "RunOutputEvent",
    "RunPausedEvent",
    "RunStartedEvent",
    "ToolCallCompletedEvent",
    "ToolCallErrorEvent",
    "ToolCallStartedEvent",
    "Toolkit",
]
