"""Agno 2's import path for metrics."""

from agno_mongo.messages import Metrics

__all__ = ["Metrics"]
