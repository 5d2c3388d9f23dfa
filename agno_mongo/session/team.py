"""Agno's import path for a team's session."""

from agno_mongo.db.documents import TeamSession

__all__ = ["TeamSession"]
