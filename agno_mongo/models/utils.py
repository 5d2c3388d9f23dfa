"""Models by name: ``"openai:gpt-5-mini"``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.models.base import Model


@dataclass(frozen=True, kw_only=True)
class _Provider:
    """A class of ``module``, what it is made with, and the environment variable that has its key, if it must have one."""

    module: str = "agno_mongo.models.openai"
    model_class: str
    key_variable: str | None = None


def _server(model_class: str, key_variable: str | None = None) -> _Provider:
    return _Provider(module="agno_mongo.models.openai.servers", model_class=model_class, key_variable=key_variable)


PROVIDERS: Mapping[str, _Provider] = {
    "openai": _Provider(model_class="OpenAIResponses"),
    "openai-responses": _Provider(model_class="OpenAIResponses"),
    "openai-chat": _Provider(model_class="OpenAIChat"),
    "open-responses": _Provider(model_class="OpenResponses"),
    "openai-like": _Provider(model_class="OpenAILike"),
    "openrouter": _server("OpenRouter", "OPENROUTER_API_KEY"),
    "llama-cpp": _server("LlamaCpp"),
    "lmstudio": _server("LMStudio"),
    "ollama": _server("Ollama"),
    "vllm": _server("VLLM"),
    "demo": _Provider(module="agno_mongo.models.demo", model_class="DemoModel"),
}
"""What may stand before the colon. ``openai`` is the Responses API, as in Agno."""


def get_model(model: Any, *, setting: str = "model") -> Model:
    """The model itself, or the one that a text ``"provider:id"`` names.

    Raises ConfigurationError, with the name of the ``setting``, for what is neither: an unknown provider, a text without an id, a class.
    """
    if isinstance(model, str):
        return _named(model, setting)
    if isinstance(model, type) or not callable(getattr(model, "respond", None)):
        raise ConfigurationError(
            f"{setting}= takes a model such as OpenAIChat(id=…) or a text such as 'openai:gpt-5-mini', not {checks.typed(model)}"
        )
    return cast("Model", model)


def _named(name: str, setting: str) -> Model:
    key, colon, id_ = (part.strip() for part in name.partition(":"))
    if not (key and colon and id_):
        raise ConfigurationError(
            f"{setting}= takes a model such as OpenAIChat(id=…) or a text such as 'openai:gpt-5-mini': provider, colon, id; not {checks.shown(name)}"
        )
    provider = PROVIDERS.get(key.lower())
    if provider is None:
        raise ConfigurationError(f"{setting}={name!r}: there is no provider {key!r}; known are {', '.join(PROVIDERS)}")
    settings = {"id": id_}
    if provider.key_variable is not None:
        settings["api_key"] = os.environ.get(provider.key_variable, "")
        if not settings["api_key"]:
            raise ConfigurationError(f"{setting}={name!r}: set the environment variable {provider.key_variable} to your key")
    model_class = getattr(import_module(provider.module), provider.model_class)
    return cast("Model", model_class(**settings))
