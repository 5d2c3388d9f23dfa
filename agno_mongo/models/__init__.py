"""Models: OpenAI's, and the offline demonstration model, behind one protocol."""

from agno_mongo.models.base import Model, ModelDelta, ModelRequest, openai_or_demo

__all__ = ["Model", "ModelDelta", "ModelRequest", "openai_or_demo"]
