"""OpenAI's Responses API, over the ``openai`` client."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from openai import APIStatusError, AsyncOpenAI

from agno_mongo import renamed
from agno_mongo.errors import ConfigurationError, IncompleteResponse, ModelError
from agno_mongo.messages import Message
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.models.openai import parts, response_items
from agno_mongo.models.openai.client import SENT_BY_ALL, OpenAIClient
from agno_mongo.models.openai.translation import told_within, translated
from agno_mongo.models.openai.usage import of_response

_ENCRYPTED = "reasoning.encrypted_content"
_REASONING_MODELS = re.compile(r"(?:^|/)(?:o\d|gpt-(?:[5-9]|\d\d))(?!.*-chat)")


@renamed.model_settings_told
@dataclass
class OpenAIResponses(OpenAIClient):
    """A model of OpenAI by the Responses API, or of a server that speaks it (``base_url``).

    The conversation is ours: every request carries it, thoughts of a reasoning model included, encrypted, while the model calls tools. With
    ``use_previous_response_id`` it is OpenAI's, which then must store responses (``store``): a request carries what is new since the last
    answer and that answer's id, which is kept with the stored message, so that other processes go on from it. For that the agent needs
    ``add_history_to_context=True``; ``num_history_runs=1`` is enough. What OpenAI does not have any more, or never had
    (another run went on at the same time), is sent whole.

    ``reasoning`` is the API's own dict; ``reasoning_effort`` and ``reasoning_summary`` are laid over it. ``include`` asks for more in the answer. Settings
    that are None are not sent; those that all models of OpenAI share are explained at :class:`~agno_mongo.models.openai.client.OpenAIClient`.

    Tools of the provider's own (``{"type": "web_search"}``) stand among an agent's tools. What they did is in the message's ``provider_data["output"]``,
    the sources of the text in ``provider_data["annotations"]``; ``provider_data["logprobs"]`` is there if ``include`` asks for it.
    """

    name: str = "OpenAIResponses"

    use_previous_response_id: bool = False
    include: Sequence[str] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    reasoning: Mapping[str, Any] | None = None
    reasoning_summary: str | None = None
    truncation: str | None = None

    sent_as_they_are: ClassVar[tuple[str, ...]] = (
        *SENT_BY_ALL, "max_output_tokens", "max_tool_calls", "truncation",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_previous_response_id and self.store is False:
            raise ConfigurationError(
                "use_previous_response_id=True goes on from what OpenAI stores; store=False lets it store nothing"
            )

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        """The answer, in one piece or as it comes. Raises ModelError and its kinds for whatever the provider does wrong."""
        with translated(self.id):
            client = await self._client()
            answer = await self._asked(client, request)
            deltas = self._streamed(answer, request) if request.stream else self._whole(answer, request)
            async with aclosing(deltas):
                async for delta in deltas:
                    yield delta

    async def _asked(self, client: AsyncOpenAI, request: ModelRequest) -> Any:
        previous = _last_response(request.messages) if self.use_previous_response_id else None
        try:
            return await client.responses.create(**await self._encoded(client, request, previous))
        except APIStatusError as error:
            if previous is None or not _is_forgotten(error):
                raise
        return await client.responses.create(**await self._encoded(client, request, None))

    async def _whole(self, response: Any, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        if isinstance(response, str):
            raise ModelError(f"{self.id} answered with no response; is base_url right? {response[:80]!r}", model=self.id)
        output = response.output or ()
        yield response_items.texts_of(output)
        yield self._end(response, output, request)

    async def _streamed(self, stream: Any, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        pieces = _Pieces()
        response: Any = None
        with translated(self.id, within_answer=True):
            async with stream:
                async for event in stream:
                    if event.type == "error":
                        raise told_within(event.model_dump(warnings=False), self.id, str(event.message))
                    if event.type in _LAST_EVENTS:
                        # Read on to the end of the stream: only then can the connection be used again.
                        response = event.response
                    elif (delta := pieces.add(event)) is not None:
                        yield delta
        if response is not None:
            output = response.output or pieces.items
            if not pieces.any:
                yield response_items.texts_of(output)
            yield self._end(response, output, request)

    def _end(self, response: Any, output: Sequence[Any], request: ModelRequest) -> ModelDelta:
        """The last piece: tool calls, tokens, what the message keeps. Raises what the response says went wrong."""
        if response.status in {"failed", "cancelled", "queued", "in_progress"} or (response.output is None and not output):
            raise self._failed(response)
        calls = [response_items.tool_call_of(item) for item in output if item.type == "function_call"]
        return ModelDelta(
            tool_calls=calls,
            metrics=of_response(response.usage, self.cost_per_million),
            provider_data=self._kept(response, output, request),
            finish_reason=_finish_reason(response, output, called=bool(calls)),
        )

    def _failed(self, response: Any) -> ModelError:
        if response.error is not None:
            told = response.error if isinstance(response.error, Mapping) else response.error.model_dump(warnings=False)
            return told_within(told, self.id, str(told.get("message")))
        if response.output is None:
            return IncompleteResponse(f"{self.id} answered without any output", model=self.id)
        return ModelError(f"{self.id} did not answer: its response is {response.status!r}", model=self.id)

    def _kept(self, response: Any, output: Sequence[Any], request: ModelRequest) -> dict[str, Any] | None:
        kept: dict[str, Any] = {}
        if self.store is not False and response.id:
            kept["response_id"] = response.id
            before = next((message.id for message in reversed(request.messages) if message.role == "assistant"), None)
            kept |= {"follows": before} if before else {}
        if (items := response_items.kept_output(output)) is not None:
            kept |= {"model": self.id, "output": items}
        for name in ("annotations", "logprobs"):
            if found := response_items.beside_text(output, name):
                kept[name] = found
        return kept or None

    # What is sent.

    async def _encoded(self, client: AsyncOpenAI, request: ModelRequest, previous: int | None) -> dict[str, Any]:
        """The request's body; large images are encoded in a thread."""
        if parts.is_large(request.messages):
            return await asyncio.to_thread(self._body, client, request, previous)
        return self._body(client, request, previous)

    def _body(self, client: AsyncOpenAI, request: ModelRequest, previous: int | None) -> dict[str, Any]:
        """The request. ``previous`` is the index of the message whose response it goes on from, if any."""
        messages, body = list(request.messages), {"model": self.id, **self._settings_sent()}
        if self.use_previous_response_id:
            # OpenAI does not carry these over to the next response; what is in the input it does.
            system = [message for message in messages if message.role == "system"]
            body |= {"instructions": "\n\n".join(map(Message.get_content_string, system))} if system else {}
        if previous is not None:
            body["previous_response_id"] = (messages[previous].provider_data or {})["response_id"]
            messages = messages[previous + 1 :]
        if self.use_previous_response_id:
            messages = [message for message in messages if message.role != "system"]
        body["input"] = response_items.input_items(messages, roles=self._roles(client), model=self.id)
        if request.stream:
            body["stream"] = True
        return body | self._about_thinking() | self._about_text(request) | _about_tools(request) | dict(self.request_params or {})

    def _about_thinking(self) -> dict[str, Any]:
        chosen = {"effort": self.reasoning_effort, "summary": self.reasoning_summary}
        reasoning = {**(self.reasoning or {}), **{name: value for name, value in chosen.items() if value is not None}}
        include = list(self.include or ())
        if self._thinks() and not self.use_previous_response_id and _ENCRYPTED not in include:
            include.append(_ENCRYPTED)
        return ({"reasoning": reasoning} if reasoning else {}) | ({"include": include} if include else {})

    def _thinks(self) -> bool:
        """True for a reasoning model: others refuse to be asked for their thoughts."""
        return bool(_REASONING_MODELS.search(self.id) or self.reasoning or self.reasoning_effort or self.reasoning_summary)

    def _about_text(self, request: ModelRequest) -> dict[str, Any]:
        text: dict[str, Any] = {} if self.verbosity is None else {"verbosity": self.verbosity}
        form = self._format_of(request)
        if form is not None:
            schema = form.get("json_schema")
            # Flat here, nested in chat completions.
            text["format"] = {"type": "json_schema", **schema} if isinstance(schema, Mapping) else dict(form)
        return {"text": text} if text else {}


@renamed.model_settings_told
@dataclass
class OpenResponses(OpenAIResponses):
    """A model at any server that speaks the Responses API: give its ``base_url`` and the ``id`` that it knows the model by.

    The key is ``api_key``, and ``OPENAI_API_KEY`` is never sent. Instructions go out as ``system``, and the server is asked to store nothing.
    """

    id: str = "not-provided"
    name: str = "OpenResponses"
    provider: str = "OpenResponses"
    api_key: str | None = field(default="not-provided", repr=False)
    role_map: Mapping[str, str] | None = field(default_factory=dict)
    store: bool | None = False

    def _thinks(self) -> bool:
        return False


def _last_response(messages: Sequence[Message]) -> int | None:
    """The index of the answer to go on from: the last one, if it followed the one before it here.

    It did not if two runs went on at once: then it does not know what the other one said.
    """
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    if not answers:
        return None
    last, before = messages[answers[-1]], messages[answers[-2]] if len(answers) > 1 else None
    kept = last.provider_data or {}
    # What is not shown as history may have been there.
    knows_it = before is None or kept.get("follows") == before.id
    return answers[-1] if kept.get("response_id") and knows_it else None


def _is_forgotten(error: APIStatusError) -> bool:
    """True if the provider does not have the response that the request goes on from."""
    told = str(error.message).lower()
    return error.status_code in {400, 404} and "previous" in told and "response" in told


def _finish_reason(response: Any, output: Sequence[Any], *, called: bool) -> str | None:
    """The reason in the words of chat completions, which are those of this package."""
    if response.status == "incomplete":
        why = getattr(response.incomplete_details, "reason", None) or "incomplete"
        return "length" if why == "max_output_tokens" else str(why)
    if called:
        return "tool_calls"
    return "refusal" if any(map(response_items.is_refusal, output)) else "stop"


def _about_tools(request: ModelRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    tools = {"tools": [_tool(tool) for tool in request.tools]}
    if request.tool_choice is None:
        return tools
    return {
        **tools,
        "tool_choice": _flat(request.tool_choice) if isinstance(request.tool_choice, Mapping) else request.tool_choice,
    }


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in this API's shape. Left out, ``strict`` would be true here."""
    return {"strict": False, **_flat(tool)} if tool.get("type") == "function" else dict(tool)


def _flat(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    return {"type": "function", **function} if isinstance(function, Mapping) else dict(tool)


class _Pieces:
    """The pieces of a streamed answer. ``items`` are the output items that are whole, ``any`` says whether a text has come in pieces."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._writing: dict[str, Any] = {}

    @property
    def any(self) -> bool:
        return bool(self._writing)

    def add(self, event: Any) -> ModelDelta | None:
        """The text in an event, if there is any."""
        if event.type == "response.output_item.done":
            self.items.append(event.item)
            return None
        if event.type in _TEXT_EVENTS:
            return ModelDelta(content=self._apart("text", event.output_index) + event.delta) if event.delta else None
        if event.type in _THOUGHT_EVENTS:
            part = (event.output_index, getattr(event, "summary_index", None) or getattr(event, "content_index", None))
            return ModelDelta(reasoning_content=self._apart("thought", part) + event.delta) if event.delta else None
        return None

    def _apart(self, kind: str, part: Any) -> str:
        """An empty line between two texts, or two parts of thoughts."""
        before = self._writing.get(kind, part)
        self._writing[kind] = part
        return "" if before == part else "\n\n"


_LAST_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_TEXT_EVENTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_THOUGHT_EVENTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})

__all__ = ["OpenAIResponses", "OpenResponses"]
