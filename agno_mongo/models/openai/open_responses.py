"""Agno's import path for OpenResponses."""

from agno_mongo.models.openai.responses import OpenResponses

__all__ = ["OpenResponses"]
