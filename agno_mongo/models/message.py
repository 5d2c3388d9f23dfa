"""Agno's import path for messages."""

from agno_mongo.messages import Message
from agno_mongo.metrics import MessageMetrics

__all__ = ["Message", "MessageMetrics"]
