"""OpenAI's chat completions, over the ``openai`` client."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, ClassVar

from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice

from agno_mongo import renamed
from agno_mongo.errors import IncompleteResponse, ModelError
from agno_mongo.messages import Message
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.models.openai import parts
from agno_mongo.models.openai.client import SENT_BY_ALL, OpenAIClient
from agno_mongo.models.openai.translation import translated
from agno_mongo.models.openai.usage import of_completion


@renamed.model_settings_told
@dataclass
class OpenAIChat(OpenAIClient):
    """A chat model of OpenAI, or of a server that speaks the same API (``base_url``).

    Settings that are None are not sent; what they mean is told by the provider. Those that all models of OpenAI share are explained at
    :class:`~agno_mongo.models.openai.client.OpenAIClient`.

    With ``modalities=["text", "audio"]`` and ``audio={"voice": …, "format": …}`` the model speaks: the transcript is the answer's text, the sound is
    ``run.response_audio``, kept in the message's ``provider_data["audio"]``, where are ``logprobs`` too if they are asked for.
    """

    name: str = "OpenAIChat"

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Mapping[str, int] | None = None
    logprobs: bool | None = None
    modalities: Sequence[str] | None = None
    audio: Mapping[str, Any] | None = None
    prediction: Mapping[str, Any] | None = None
    web_search_options: Mapping[str, Any] | None = None
    seed: int | None = None
    stop: str | Sequence[str] | None = None

    sent_as_they_are: ClassVar[tuple[str, ...]] = (
        *SENT_BY_ALL,
        "reasoning_effort", "verbosity", "max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "logit_bias",
        "logprobs", "modalities", "audio", "prediction", "web_search_options", "seed", "stop",
    )  # fmt: skip

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        """The answer, in one piece or as it comes. Raises ModelError and its kinds for whatever the provider does wrong."""
        with translated(self.id):
            client = await self._client()
            answer = self._streamed(client, request) if request.stream else self._whole(client, request)
            async with aclosing(answer) as deltas:
                async for delta in deltas:
                    yield delta

    async def _whole(self, client: AsyncOpenAI, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        completion: ChatCompletion | str = await client.chat.completions.create(**await self._body(client, request))
        if isinstance(completion, str):
            # What is not declared as JSON comes as text: the front page of whatever is at a wrong address.
            raise ModelError(f"{self.id} answered with no chat completion; is base_url right? {completion[:80]!r}", model=self.id)
        if not completion.choices:
            told = (completion.model_extra or {}).get("error")
            raise IncompleteResponse(f"{self.id} answered without any choice{f': {told}' if told else ''}", model=self.id)
        choice = completion.choices[0]
        said = choice.message
        rest = _Beside(self.audio)
        rest.add(getattr(said, "audio", None), choice.logprobs)
        yield ModelDelta(
            content=said.content or said.refusal or rest.transcript,
            reasoning_content=_thoughts(said),
            tool_calls=[call.model_dump(exclude_none=True) for call in said.tool_calls or ()],
            metrics=of_completion(completion.usage, self.cost_per_million),
            provider_data=rest.whole(),
            finish_reason=_finish_reason(choice.finish_reason, refused=bool(said.refusal and not said.content)),
        )

    async def _streamed(self, client: AsyncOpenAI, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        body = {"stream": True, "stream_options": {"include_usage": True}, **await self._body(client, request)}
        stream: AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(**body)
        calls, rest = _ToolCallPieces(), _Beside(self.audio)
        finish_reason: str | None = None
        refused = False
        usage: Any = None
        with translated(self.id, within_answer=True):
            async with stream:
                async for chunk in stream:
                    # Some servers tell with every piece what has been used so far: the last one counts.
                    usage = chunk.usage or usage
                    for choice in chunk.choices[:1]:
                        finish_reason = choice.finish_reason or finish_reason
                        refused = refused or bool(choice.delta.refusal)
                        calls.add(choice.delta.tool_calls or ())
                        spoken = rest.add(getattr(choice.delta, "audio", None), choice.logprobs)
                        if (delta := _delta(choice, spoken)) is not None:
                            yield delta
        yield ModelDelta(
            tool_calls=calls.whole(),
            metrics=of_completion(usage, self.cost_per_million),
            provider_data=rest.whole(),
            finish_reason=_finish_reason(finish_reason, refused=refused),
        )

    async def _body(self, client: AsyncOpenAI, request: ModelRequest) -> dict[str, Any]:
        roles = self._roles(client)
        large = parts.is_large(request.messages)
        messages = await asyncio.to_thread(_messages, request.messages, roles) if large else _messages(request.messages, roles)
        body: dict[str, Any] = {"model": self.id, "messages": messages}
        body |= self._settings_sent()
        if request.tools:
            body["tools"] = list(request.tools)
            if request.tool_choice is not None:
                body["tool_choice"] = request.tool_choice
        if (form := self._format_of(request)) is not None:
            body["response_format"] = form
        return body | dict(self.request_params or {})


def _messages(messages: Sequence[Message], roles: Mapping[str, str]) -> list[dict[str, Any]]:
    sent = []
    for message, returned in parts.after_tools(messages):
        sent.append(_message(message, roles))
        if returned:
            sent.append(parts.of_tools(returned))
    return sent


def _message(message: Message, roles: Mapping[str, str]) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": roles.get(message.role, message.role), "content": parts.chat_content(message)}
    if message.name and message.role != "tool":
        sent["name"] = message.name
    if message.tool_calls:
        sent["tool_calls"] = message.tool_calls
    if message.tool_call_id:
        sent["tool_call_id"] = message.tool_call_id
    if sent["content"] is None and not message.tool_calls:
        sent["content"] = ""
    return sent


def _finish_reason(told: str | None, *, refused: bool) -> str | None:
    return "refusal" if refused and told == "stop" else told


def _thoughts(said: Any) -> str | None:
    """What a model thought, under either of the two names that servers have for it."""
    thoughts = getattr(said, "reasoning_content", None) or getattr(said, "reasoning", None)
    return thoughts if isinstance(thoughts, str) else None


class _Beside:
    """What an answer has beside its text: the sound of it, put together from its pieces, and the probabilities of its tokens."""

    def __init__(self, wanted: Mapping[str, Any] | None) -> None:
        self._format = (wanted or {}).get("format")
        self._sound: list[bytes] = []
        self._about: dict[str, Any] = {}
        self._transcript: list[str] = []
        self._logprobs: list[Any] = []

    @property
    def transcript(self) -> str | None:
        return "".join(self._transcript) or None

    def add(self, audio: Any, logprobs: Any) -> str | None:
        """Take a piece; the text that is spoken in it."""
        if logprobs is not None:
            self._logprobs += [token.model_dump(exclude_none=True) for token in logprobs.content or ()]
        if audio is None:
            return None
        fields = audio if isinstance(audio, Mapping) else audio.model_dump(exclude_none=True)
        self._about |= {name: fields[name] for name in ("id", "expires_at") if fields.get(name) is not None}
        try:
            self._sound.append(b64decode(fields.get("data") or ""))
        except ValueError as error:
            raise IncompleteResponse(f"a piece of the answer's sound is no base64: {error}") from error
        spoken = fields.get("transcript") or ""
        self._transcript.append(spoken)
        return spoken or None

    def whole(self) -> dict[str, Any] | None:
        """What the message keeps of it."""
        kept: dict[str, Any] = {}
        if self._logprobs:
            kept["logprobs"] = self._logprobs
        if self._about or any(self._sound):
            data = b64encode(b"".join(self._sound)).decode()
            kept["audio"] = {"type": "audio", **self._about, "format": self._format, "data": data}
        return kept or None


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


def _delta(choice: Choice, spoken: str | None) -> ModelDelta | None:
    content = choice.delta.content or choice.delta.refusal or spoken
    reasoning = _thoughts(choice.delta)
    return ModelDelta(content=content, reasoning_content=reasoning) if content or reasoning else None


__all__ = ["OpenAIChat"]
