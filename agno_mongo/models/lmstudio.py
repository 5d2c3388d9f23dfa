"""Agno's import path for models of LM Studio."""

from agno_mongo.models.openai.servers import LMStudio

__all__ = ["LMStudio"]
