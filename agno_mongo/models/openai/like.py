"""Servers that speak OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agno_mongo import renamed
from agno_mongo.models.openai.chat import OpenAIChat


@renamed.model_settings_told
@dataclass
class OpenAILike(OpenAIChat):
    """A model at any server that speaks OpenAI's chat completions: give its ``base_url`` and the ``id`` that it knows the model by.

    The key is ``api_key``, and ``OPENAI_API_KEY`` is never sent. Instructions go out as ``system``.
    """

    id: str = "not-provided"
    name: str = "OpenAILike"
    provider: str = "OpenAILike"
    api_key: str | None = field(default="not-provided", repr=False)
    role_map: Mapping[str, str] | None = field(default_factory=dict)


__all__ = ["OpenAILike"]
