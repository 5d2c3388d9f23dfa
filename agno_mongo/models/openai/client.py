"""What all models behind the ``openai`` client share: whom they reach, with which key, and who they say speaks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from openai import AsyncOpenAI

from agno_mongo import checks
from agno_mongo.event_loops import PerLoop
from agno_mongo.models.base import ModelRequest
from agno_mongo.models.openai.usage import checked_prices

SENT_BY_ALL: Final = (
    "temperature", "top_p", "top_logprobs", "parallel_tool_calls", "store", "metadata", "user", "safety_identifier",
    "prompt_cache_key", "prompt_cache_retention", "service_tier", "extra_headers", "extra_query", "extra_body",
)  # fmt: skip


@dataclass
class OpenAIClient:
    """The settings that OpenAIChat and OpenAIResponses have in common.

    The key is ``api_key`` or the environment variable ``OPENAI_API_KEY``; a server at ``base_url`` may need none. Settings that are None
    are not sent. ``timeout`` is in seconds; it and ``max_retries`` are the ``openai`` client's (600 s and 2 by default), which also heeds
    ``Retry-After``. ``retries`` come on top of these, under an agent: see :mod:`agno_mongo.models.persistent`.
    ``role_map`` renames roles: instructions go out as ``developer`` to OpenAI, as ``system`` to others.
    ``supports_native_structured_outputs=False`` is for a server that does not take a schema for its answers: it is then told in words, by the
    system message. ``strict_output=False`` asks for an answer near the schema where a server cannot hold itself to it.
    ``client_params`` go to ``AsyncOpenAI(...)``, ``request_params`` to every request, over all else. ``http_client`` is an ``httpx2.AsyncClient``,
    ``async_client`` an ``AsyncOpenAI`` of one's own; both are used as they are, and closed by whoever made them.

    ``cost_per_million`` are the prices of a million tokens, ``(input, cached input, output)``: ``metrics.cost`` is then in that currency. Without
    it the cost is what the provider tells, if it does.
    """

    id: str = "gpt-5-mini"
    name: str = "OpenAI"
    provider: str = "OpenAI"

    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    store: bool | None = None
    metadata: Mapping[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    service_tier: str | None = None
    extra_headers: Mapping[str, str] | None = None
    extra_query: Mapping[str, Any] | None = None
    extra_body: Mapping[str, Any] | None = None
    request_params: Mapping[str, Any] | None = None
    role_map: Mapping[str, str] | None = None
    supports_native_structured_outputs: bool = True
    strict_output: bool = True

    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    base_url: str | None = None
    timeout: float | None = None
    max_retries: int | None = None
    default_headers: Mapping[str, str] | None = field(default=None, repr=False)
    default_query: Mapping[str, Any] | None = field(default=None, repr=False)
    http_client: Any = field(default=None, repr=False)
    client_params: Mapping[str, Any] | None = field(default=None, repr=False)
    async_client: AsyncOpenAI | None = field(default=None, repr=False)

    retries: int = 0
    delay_between_retries: float = 1.0
    exponential_backoff: bool = False
    cost_per_million: tuple[float, ...] | None = None

    sent_as_they_are: ClassVar[tuple[str, ...]] = SENT_BY_ALL

    def __post_init__(self) -> None:
        checks.count("retries", self.retries, least=0)
        checks.seconds("delay_between_retries", self.delay_between_retries)
        self.cost_per_million = checked_prices(self.cost_per_million)
        self._clients = PerLoop(self._new_client, _left_open if self.http_client is not None else AsyncOpenAI.close)

    async def _client(self) -> AsyncOpenAI:
        return self.async_client or await self._clients.get()

    def _settings_sent(self) -> dict[str, Any]:
        return {name: value for name in self.sent_as_they_are if (value := getattr(self, name)) is not None}

    def _format_of(self, request: ModelRequest) -> Mapping[str, Any] | None:
        """The form of the answer, in OpenAI's shape for chat completions."""
        wanted = request.response_format
        schema = None if wanted is None else wanted.get("json_schema")
        if wanted is None or self.strict_output or not isinstance(schema, Mapping):
            return wanted
        return {**wanted, "json_schema": {**schema, "strict": False}}

    def _roles(self, client: AsyncOpenAI) -> Mapping[str, str]:
        if self.role_map is not None:
            return self.role_map
        return {"system": "developer"} if is_openai(str(client.base_url)) else {}

    async def _new_client(self) -> AsyncOpenAI:
        options: dict[str, Any] = {
            "api_key": self.api_key,
            "organization": self.organization,
            "base_url": self.base_url,
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "default_headers": self.default_headers,
            "default_query": self.default_query,
            "http_client": self.http_client,
            **(self.client_params or {}),
        }
        given = {name: value for name, value in options.items() if value is not None}
        base_url = given.get("base_url") or os.environ.get("OPENAI_BASE_URL")
        if "api_key" not in given and not os.environ.get("OPENAI_API_KEY") and base_url and not is_openai(str(base_url)):
            # The client insists on a key; a local server does not.
            given["api_key"] = "none"
        return await asyncio.to_thread(self._made_ready, given)

    @staticmethod
    def _made_ready(options: Mapping[str, Any]) -> AsyncOpenAI:
        """A client with everything loaded that it loads on first use: certificates and modules, a quarter of a second's blocking."""
        client = AsyncOpenAI(**options)
        _ = client.chat.completions
        return client


async def _left_open(_client: AsyncOpenAI) -> None:
    """What somebody else made is for him to close."""


def is_openai(url: str) -> bool:
    """True if ``url`` is OpenAI's own."""
    return f".{urlsplit(url).hostname}".endswith(".openai.com")
