"""OpenAI's chat completions, over the ``openai`` client."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from agno_mongo.errors import IncompleteResponse
from agno_mongo.event_loops import PerLoop
from agno_mongo.messages import Message, Metrics
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.models.openai.translation import translated

_SENT_AS_THEY_ARE = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "reasoning_effort",
    "user",
    "service_tier",
    "extra_headers",
    "extra_query",
    "extra_body",
)


@dataclass
class OpenAIChat:
    """A chat model of OpenAI, or of a server that speaks the same API (``base_url``).

    The key is ``api_key`` or the environment variable ``OPENAI_API_KEY``; a server at ``base_url`` may need none. Settings that are None
    are not sent. ``timeout`` is in seconds; it and ``max_retries`` are the ``openai`` client's (600 s and 2 by default), which also heeds
    ``Retry-After``. ``role_map`` renames roles: instructions go out as ``developer`` to OpenAI, as ``system`` to others.
    ``client_params`` go to ``AsyncOpenAI(...)``, ``request_params`` to every request, over all else. ``async_client`` is a client of
    one's own, used as it is.
    """

    id: str = "gpt-5-mini"
    name: str = "OpenAIChat"
    provider: str = "OpenAI"

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    service_tier: str | None = None
    extra_headers: Mapping[str, str] | None = None
    extra_query: Mapping[str, Any] | None = None
    extra_body: Mapping[str, Any] | None = None
    request_params: Mapping[str, Any] | None = None
    role_map: Mapping[str, str] | None = None

    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    base_url: str | None = None
    timeout: float | None = None
    max_retries: int | None = None
    default_headers: Mapping[str, str] | None = field(default=None, repr=False)
    client_params: Mapping[str, Any] | None = field(default=None, repr=False)
    async_client: AsyncOpenAI | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._clients = PerLoop(self._new_client, AsyncOpenAI.close)

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        """The answer, in one piece or as it comes. Raises ModelError and its kinds for whatever the provider does wrong."""
        with translated(self.id):
            client = self.async_client or await self._clients.get()
            answer = self._streamed(client, request) if request.stream else self._whole(client, request)
            async with aclosing(answer) as deltas:
                async for delta in deltas:
                    yield delta

    async def _whole(self, client: AsyncOpenAI, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        completion: ChatCompletion = await client.chat.completions.create(**self._body(request))
        if not completion.choices:
            raise IncompleteResponse(f"{self.id} answered without any choice", model=self.id)
        choice = completion.choices[0]
        yield ModelDelta(
            content=choice.message.content or choice.message.refusal,
            reasoning_content=getattr(choice.message, "reasoning_content", None),
            tool_calls=[call.model_dump(exclude_none=True) for call in choice.message.tool_calls or ()],
            metrics=_metrics(completion.usage),
            finish_reason=choice.finish_reason,
        )

    async def _streamed(self, client: AsyncOpenAI, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        body = {"stream": True, "stream_options": {"include_usage": True}, **self._body(request)}
        stream: AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(**body)
        calls = _ToolCallPieces()
        finish_reason: str | None = None
        async with stream:
            async for chunk in stream:
                choice = chunk.choices[0] if chunk.choices else None
                if choice is not None:
                    finish_reason = choice.finish_reason or finish_reason
                    calls.add(choice.delta.tool_calls or ())
                if (delta := _delta(chunk)) is not None:
                    yield delta
        yield ModelDelta(tool_calls=calls.whole(), finish_reason=finish_reason)

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.id, "messages": [self._message(message) for message in request.messages]}
        body |= {name: value for name in _SENT_AS_THEY_ARE if (value := getattr(self, name)) is not None}
        if request.tools:
            body["tools"] = list(request.tools)
            if request.tool_choice is not None:
                body["tool_choice"] = request.tool_choice
        return body | dict(self.request_params or {})

    def _message(self, message: Message) -> dict[str, Any]:
        sent: dict[str, Any] = {"role": self._role(message.role), "content": message.content}
        if message.name and message.role != "tool":
            sent["name"] = message.name
        if message.tool_calls:
            sent["tool_calls"] = message.tool_calls
        if message.tool_call_id:
            sent["tool_call_id"] = message.tool_call_id
        if message.content is None and not message.tool_calls:
            sent["content"] = ""
        return sent

    def _role(self, role: str) -> str:
        if self.role_map is not None:
            return self.role_map.get(role, role)
        return "developer" if role == "system" and self._base_url is None else role

    @property
    def _base_url(self) -> str | None:
        return self.base_url or os.environ.get("OPENAI_BASE_URL")

    async def _new_client(self) -> AsyncOpenAI:
        options: dict[str, Any] = {
            "api_key": self.api_key,
            "organization": self.organization,
            "base_url": self.base_url,
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "default_headers": self.default_headers,
            **(self.client_params or {}),
        }
        given = {name: value for name, value in options.items() if value is not None}
        if "api_key" not in given and not os.environ.get("OPENAI_API_KEY") and self._base_url is not None:
            # The client insists on a key; a local server does not.
            given["api_key"] = "none"
        return AsyncOpenAI(**given)


class _ToolCallPieces:
    """Tool calls as a stream brings them: several at once, each in pieces, told apart by index."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, pieces: Any) -> None:
        for piece in pieces:
            # Some servers send whole calls and leave the index out, or at 0 for all of them.
            index = piece.index if piece.index is not None else len(self._calls)
            known = self._calls.get(index)
            if known is not None and piece.id and known["id"] and piece.id != known["id"]:
                index = max(self._calls) + 1
                known = None
            if known is None:
                known = self._calls[index] = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            known["id"] = piece.id or known["id"]
            if piece.function is not None:
                known["function"]["name"] += piece.function.name or ""
                known["function"]["arguments"] += piece.function.arguments or ""

    def whole(self) -> list[dict[str, Any]]:
        return [self._calls[index] for index in sorted(self._calls)]


def _delta(chunk: ChatCompletionChunk) -> ModelDelta | None:
    choice = chunk.choices[0] if chunk.choices else None
    content = (choice.delta.content or choice.delta.refusal) if choice else None
    reasoning = getattr(choice.delta, "reasoning_content", None) if choice else None
    metrics = _metrics(chunk.usage)
    if content or reasoning or metrics:
        return ModelDelta(content=content, reasoning_content=reasoning, metrics=metrics)
    return None


def _metrics(usage: Any) -> Metrics | None:
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return Metrics(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        total_tokens=usage.total_tokens or 0,
        cache_read_tokens=getattr(prompt, "cached_tokens", None) or 0,
        audio_input_tokens=getattr(prompt, "audio_tokens", None) or 0,
        audio_output_tokens=getattr(completion, "audio_tokens", None) or 0,
        reasoning_tokens=getattr(completion, "reasoning_tokens", None) or 0,
    )


__all__ = ["OpenAIChat"]
