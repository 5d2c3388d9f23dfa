"""Agno's import path of the exceptions that a user's own code raises. All others are in :mod:`agno_mongo.errors`."""

from agno_mongo.errors import (
    AgentRunException,
    CheckError,
    CheckTrigger,
    InputCheckError,
    OutputCheckError,
    RetryAgentRun,
    StopAgentRun,
)

__all__ = [
    "AgentRunException",
    "CheckError",
    "CheckTrigger",
    "InputCheckError",
    "OutputCheckError",
    "RetryAgentRun",
    "StopAgentRun",
]
