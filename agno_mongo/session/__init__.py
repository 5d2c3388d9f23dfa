"""The session classes, under Agno's import path."""

from agno_mongo.db.documents import AgentSession, Session, SessionSummary, TeamSession, WorkflowSession
from agno_mongo.summaries import SessionSummaryManager

__all__ = ["AgentSession", "Session", "SessionSummary", "SessionSummaryManager", "TeamSession", "WorkflowSession"]
