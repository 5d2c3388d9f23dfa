"""Agno's import path for summaries of sessions."""

from agno_mongo.db.documents import SessionSummary
from agno_mongo.summaries import SessionSummaryManager

__all__ = ["SessionSummary", "SessionSummaryManager"]
