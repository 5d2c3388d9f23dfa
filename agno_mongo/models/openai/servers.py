"""Servers that speak OpenAI's chat completions, each with the address at which it usually is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from agno_mongo import renamed
from agno_mongo.models.openai.like import OpenAILike


@renamed.model_settings_told
@dataclass
class Ollama(OpenAILike):
    """A model of Ollama. ``host`` is where it is, if that is not this machine: ``http://gpu:11434``."""

    id: str = "llama3.1"
    name: str = "Ollama"
    provider: str = "Ollama"
    base_url: str | None = "http://127.0.0.1:11434/v1"
    host: str | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            address = self.host if "://" in self.host else f"http://{self.host}"
            self.base_url = f"{address.rstrip('/').removesuffix('/v1')}/v1"
        super().__post_init__()


@renamed.model_settings_told
@dataclass
class LMStudio(OpenAILike):
    """A model of LM Studio."""

    name: str = "LMStudio"
    provider: str = "LMStudio"
    base_url: str | None = "http://127.0.0.1:1234/v1"


@renamed.model_settings_told
@dataclass
class LlamaCpp(OpenAILike):
    """A model of llama.cpp's server, which has one and takes any ``id``."""

    name: str = "LlamaCpp"
    provider: str = "LlamaCpp"
    base_url: str | None = "http://127.0.0.1:8080/v1"


@renamed.model_settings_told
@dataclass
class VLLM(OpenAILike):
    """A model of vLLM. Address and key may come from ``VLLM_BASE_URL`` and ``VLLM_API_KEY``."""

    name: str = "VLLM"
    provider: str = "VLLM"
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None

    def __post_init__(self) -> None:
        self.api_key = self.api_key or os.environ.get("VLLM_API_KEY") or "not-provided"
        self.base_url = self.base_url or os.environ.get("VLLM_BASE_URL") or "http://localhost:8000/v1"
        super().__post_init__()


@renamed.model_settings_told
@dataclass
class OpenRouter(OpenAILike):
    """A model at openrouter.ai. The key is ``api_key`` or ``OPENROUTER_API_KEY``."""

    id: str = "openai/gpt-5-mini"
    name: str = "OpenRouter"
    provider: str = "OpenRouter"
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = "https://openrouter.ai/api/v1"

    def __post_init__(self) -> None:
        # OpenAI's own key is never sent there.
        self.api_key = self.api_key or os.environ.get("OPENROUTER_API_KEY") or "not-provided"
        super().__post_init__()


__all__ = ["VLLM", "LMStudio", "LlamaCpp", "Ollama", "OpenRouter"]
