"""OpenAI's models, and whatever speaks their API."""

from agno_mongo.models.openai.chat import OpenAIChat
from agno_mongo.models.openai.like import OpenAILike
from agno_mongo.models.openai.responses import OpenAIResponses, OpenResponses

__all__ = ["OpenAIChat", "OpenAILike", "OpenAIResponses", "OpenResponses"]
