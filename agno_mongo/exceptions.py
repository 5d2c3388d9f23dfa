"""Agno's import path of the exceptions that a user's own code raises. All others are in :mod:`agno_mongo.errors`."""

from agno_mongo.errors import CheckError, CheckTrigger, InputCheckError, OutputCheckError

__all__ = ["CheckError", "CheckTrigger", "InputCheckError", "OutputCheckError"]
