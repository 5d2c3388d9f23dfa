"""Agno's import path for metrics. What it has a class for each of, a message, a run, a session, is one here."""

from agno_mongo.messages import Metrics

MessageMetrics = ModelMetrics = RunMetrics = SessionMetrics = Metrics

__all__ = ["MessageMetrics", "Metrics", "ModelMetrics", "RunMetrics", "SessionMetrics"]
