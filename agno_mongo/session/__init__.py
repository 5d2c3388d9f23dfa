"""The session classes, under Agno's import path."""

from agno_mongo.db.documents import AgentSession, Session, SessionSummary, TeamSession, WorkflowSession

__all__ = ["AgentSession", "Session", "SessionSummary", "TeamSession", "WorkflowSession"]
