"""OpenAI's models, and whatever speaks their API."""

from agno_mongo.models.openai.chat import OpenAIChat

__all__ = ["OpenAIChat"]
