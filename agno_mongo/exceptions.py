"""Agno's import path of the exceptions that a user's own code raises, and those that it catches, under Agno's names. All others are in :mod:`agno_mongo.errors`."""

from agno_mongo.errors import (
    AgentRunException,
    AgnoMongoError,
    CheckError,
    CheckTrigger,
    ContextWindowExceeded,
    InputCheckError,
    ModelAuthenticationError,
    ModelError,
    ModelRateLimited,
    OutputCheckError,
    RetryAgentRun,
    RunNotFound,
    SessionBusy,
    StopAgentRun,
)

AgnoError = AgnoMongoError
ContextWindowExceededError = ContextWindowExceeded
ModelProviderError = ModelError
ModelRateLimitError = ModelRateLimited
RunNotFoundError = RunNotFound
SessionBusyError = SessionBusy


class RunCancelledException(AgnoMongoError):
    """Nothing here raises it: a run that was cancelled is returned, with status CANCELLED. It is there for programs that catch it."""


__all__ = [
    "AgentRunException",
    "AgnoError",
    "CheckError",
    "CheckTrigger",
    "ContextWindowExceededError",
    "InputCheckError",
    "ModelAuthenticationError",
    "ModelProviderError",
    "ModelRateLimitError",
    "OutputCheckError",
    "RetryAgentRun",
    "RunCancelledException",
    "RunNotFoundError",
    "SessionBusyError",
    "StopAgentRun",
]
