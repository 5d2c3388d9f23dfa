"""Agno's import path for an agent's session."""

from agno_mongo.db.documents import AgentSession

__all__ = ["AgentSession"]
