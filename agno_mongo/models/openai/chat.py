"""OpenAI's chat completions, over the ``openai`` client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice

from agno_mongo.errors import IncompleteResponse, ModelError
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
    ``supports_native_structured_outputs=False`` is for a server that does not take a schema for its answers: it is then told in words, by the
    system message. ``strict_output=False`` asks for an answer near the schema where a server cannot hold itself to it.
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
    supports_native_structured_outputs: bool = True
    strict_output: bool = True

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
        completion: ChatCompletion | str = await client.chat.completions.create(**self._body(client, request))
        if isinstance(completion, str):
            # What is not declared as JSON comes as text: the front page of whatever is at a wrong address.
            raise ModelError(f"{self.id} answered with no chat completion; is base_url right? {completion[:80]!r}", model=self.id)
        if not completion.choices:
            told = (completion.model_extra or {}).get("error")
            raise IncompleteResponse(f"{self.id} answered without any choice{f': {told}' if told else ''}", model=self.id)
        choice = completion.choices[0]
        yield ModelDelta(
            content=choice.message.content or choice.message.refusal,
            reasoning_content=getattr(choice.message, "reasoning_content", None),
            tool_calls=[call.model_dump(exclude_none=True) for call in choice.message.tool_calls or ()],
            metrics=_metrics(completion.usage),
            finish_reason=choice.finish_reason,
        )

    async def _streamed(self, client: AsyncOpenAI, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        body = {"stream": True, "stream_options": {"include_usage": True}, **self._body(client, request)}
        stream: AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(**body)
        calls = _ToolCallPieces()
        finish_reason: str | None = None
        usage: Any = None
        with translated(self.id, within_answer=True):
            async with stream:
                async for chunk in stream:
                    # Some servers tell with every piece what has been used so far: the last one counts.
                    usage = chunk.usage or usage
                    for choice in chunk.choices[:1]:
                        finish_reason = choice.finish_reason or finish_reason
                        calls.add(choice.delta.tool_calls or ())
                        if (delta := _delta(choice)) is not None:
                            yield delta
        yield ModelDelta(tool_calls=calls.whole(), metrics=_metrics(usage), finish_reason=finish_reason)

    def _body(self, client: AsyncOpenAI, request: ModelRequest) -> dict[str, Any]:
        roles = self._roles(client)
        body: dict[str, Any] = {"model": self.id, "messages": [_message(message, roles) for message in request.messages]}
        body |= {name: value for name in _SENT_AS_THEY_ARE if (value := getattr(self, name)) is not None}
        if request.tools:
            body["tools"] = list(request.tools)
            if request.tool_choice is not None:
                body["tool_choice"] = request.tool_choice
        if request.response_format is not None:
            body["response_format"] = self._format(request.response_format)
        return body | dict(self.request_params or {})

    def _format(self, response_format: Mapping[str, Any]) -> Mapping[str, Any]:
        schema = response_format.get("json_schema")
        if self.strict_output or not isinstance(schema, Mapping):
            return response_format
        return {**response_format, "json_schema": {**schema, "strict": False}}

    def _roles(self, client: AsyncOpenAI) -> Mapping[str, str]:
        if self.role_map is not None:
            return self.role_map
        return {"system": "developer"} if _is_openai(str(client.base_url)) else {}

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
        base_url = given.get("base_url") or os.environ.get("OPENAI_BASE_URL")
        if "api_key" not in given and not os.environ.get("OPENAI_API_KEY") and base_url and not _is_openai(str(base_url)):
            # The client insists on a key; a local server does not.
            given["api_key"] = "none"
        return await asyncio.to_thread(_made_ready, given)


def _made_ready(options: Mapping[str, Any]) -> AsyncOpenAI:
    """A client with everything loaded that it loads on first use: certificates and modules, a quarter of a second's blocking."""
    client = AsyncOpenAI(**options)
    _ = client.chat.completions
    return client


def _is_openai(url: str) -> bool:
    return f".{urlsplit(url).hostname}".endswith(".openai.com")


def _message(message: Message, roles: Mapping[str, str]) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": roles.get(message.role, message.role), "content": message.content}
    if message.name and message.role != "tool":
        sent["name"] = message.name
    if message.tool_calls:
        sent["tool_calls"] = message.tool_calls
    if message.tool_call_id:
        sent["tool_call_id"] = message.tool_call_id
    if message.content is None and not message.tool_calls:
        sent["content"] = ""
    return sent


class _ToolCallPieces:
    """Tool calls as a stream brings them: several at once, each in pieces, told apart by index.

    Some servers leave the index out, or at 0 for all of them: there a new id begins a new call, or a name where no index is.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[int, dict[str, Any]]] = []
        self._latest: dict[int | None, dict[str, Any]] = {}

    def add(self, pieces: Any) -> None:
        for piece in pieces:
            call = self._latest.get(piece.index)
            if call is None or self._begins_another(piece, call):
                call = self._latest[piece.index] = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
                self._calls.append((len(self._calls) if piece.index is None else piece.index, call))
            call["id"] = piece.id or call["id"]
            if piece.function is not None:
                call["function"]["name"] += piece.function.name or ""
                call["function"]["arguments"] += piece.function.arguments or ""

    @staticmethod
    def _begins_another(piece: Any, call: Mapping[str, Any]) -> bool:
        if piece.id and call["id"] and piece.id != call["id"]:
            return True
        return piece.index is None and piece.function is not None and bool(piece.function.name)

    def whole(self) -> list[dict[str, Any]]:
        return [call for _, call in sorted(self._calls, key=lambda entry: entry[0])]


def _delta(choice: Choice) -> ModelDelta | None:
    content = choice.delta.content or choice.delta.refusal
    reasoning = getattr(choice.delta, "reasoning_content", None)
    return ModelDelta(content=content, reasoning_content=reasoning) if content or reasoning else None


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
