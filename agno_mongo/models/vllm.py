"""Agno's import path for models of vLLM."""

from agno_mongo.models.openai.servers import VLLM

__all__ = ["VLLM"]
