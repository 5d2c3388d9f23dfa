"""Agno's import path for messages."""

from agno_mongo.messages import Message

__all__ = ["Message"]
