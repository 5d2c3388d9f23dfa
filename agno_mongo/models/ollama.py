"""Agno's import path for models of Ollama."""

from agno_mongo.models.openai.servers import Ollama

__all__ = ["Ollama"]
