"""Models: OpenAI's, those of servers that speak its API, and the offline demonstration model, behind one protocol."""

from agno_mongo.models.base import Model, ModelDelta, ModelRequest, openai_or_demo
from agno_mongo.models.fallback import FallbackConfig
from agno_mongo.models.utils import get_model

__all__ = ["FallbackConfig", "Model", "ModelDelta", "ModelRequest", "get_model", "openai_or_demo"]
