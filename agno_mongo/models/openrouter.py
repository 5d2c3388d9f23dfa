"""Agno's import path for models of OpenRouter."""

from agno_mongo.models.openai.servers import OpenRouter

__all__ = ["OpenRouter"]
