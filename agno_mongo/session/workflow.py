"""Agno's import path for a workflow's session."""

from agno_mongo.db.documents import WorkflowSession

__all__ = ["WorkflowSession"]
