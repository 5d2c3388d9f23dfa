"""Agno's import path for models of llama.cpp."""

from agno_mongo.models.openai.servers import LlamaCpp

__all__ = ["LlamaCpp"]
