"""What the runtime asks of a model: one method."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

from agno_mongo.errors import ModelError
from agno_mongo.messages import Message, Metrics
from agno_mongo.models.invoked import responses_of, text_of_response


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """What a model is asked: the conversation, the tools it may call (OpenAI's ``tools`` shape), and whether the answer is
    wanted in pieces.

    ``response_format`` says what form the answer must have, in OpenAI's shape: ``{"type": "json_object"}``, or
    ``{"type": "json_schema", "json_schema": {"name": …, "schema": …, "strict": …}}``. A model whose
    ``supports_native_structured_outputs`` is true is given the second; all others the first, with the schema in the system message. The answer
    is checked, whatever the model made of it.
    """

    messages: Sequence[Message]
    tools: Sequence[dict[str, Any]] = ()
    tool_choice: str | dict[str, Any] | None = None
    response_format: Mapping[str, Any] | None = None
    stream: bool = False


@dataclass(frozen=True, kw_only=True)
class FailedRequest:
    """A request to a model that failed and was not the last: it is sent again after ``delay`` seconds, or to ``next_model``."""

    model: str
    provider: str
    error: ModelError
    next_model: str
    delay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ModelDelta:
    """A piece of an answer. ``tool_calls`` are whole ones, in OpenAI's shape. An answer is complete when a piece has a
    ``finish_reason``; one that ends without is an error.

    ``provider_data`` is kept with the message and given back in later requests: what else the provider wants to see again. ``model``
    and ``provider`` say who answers, where it is not the model that was asked; ``failed`` tells of a request that failed and is repeated.
    """

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: Sequence[dict[str, Any]] = ()
    metrics: Metrics | None = None
    finish_reason: str | None = None
    provider_data: dict[str, Any] | None = None
    model: str | None = None
    provider: str | None = None
    failed: FailedRequest | None = None


@runtime_checkable
class Model(Protocol):
    """Anything that answers a conversation. ``id`` is the model's name at its ``provider``.

    A class with a ``respond`` of its own need not derive from this one. One that was written for Agno derives from it and has ``ainvoke``,
    ``ainvoke_stream``, ``invoke`` or ``invoke_stream``, which take the conversation as ``messages`` and give ModelResponses.
    """

    id: str
    provider: str

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        """Yield the answer, in one piece or in many, the last with a finish reason. Raises ModelError."""
        given = {
            "messages": list(request.messages),
            "assistant_message": Message(role="assistant"),
            "response_format": request.response_format,
            "tools": list(request.tools) or None,
            "tool_choice": request.tool_choice,
            "run_response": None,
        }
        calls = False
        async with aclosing(responses_of(self, given, stream=request.stream)) as responses:
            async for response in responses:
                text = text_of_response(response)
                calls = calls or bool(response.tool_calls)
                yield ModelDelta(
                    content=text,
                    reasoning_content=response.reasoning_content,
                    tool_calls=response.tool_calls,
                    metrics=response.response_usage,
                    provider_data=response.provider_data,
                )
        yield ModelDelta(finish_reason="tool_calls" if calls else "stop")


def _init(self: Any, id: str, name: str | None = None, provider: str | None = None) -> None:  # noqa: A002 - Agno's name
    self.id = id
    self.name = name or type(self).__name__
    self.provider = provider or self.name


# Python 3.10 takes from the body of a Protocol what it says of __init__.
Model.__init__ = _init  # type: ignore[method-assign, assignment]


def default_model(id: str | None = None) -> Model:  # noqa: A002 - Agno's name
    """OpenAIChat. Imported only now: the ``openai`` client takes longer to import than all the rest."""
    openai_chat = import_module("agno_mongo.models.openai").OpenAIChat
    return cast("Model", openai_chat() if id is None else openai_chat(id=id))


def openai_or_demo(id: str = "gpt-5-mini") -> Model:  # noqa: A002 - Agno's name
    """OpenAI's model ``id`` if the environment has ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL``.

    Else the offline demonstration model, and a line on the standard output that says so.
    """
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return default_model(id)
    print("No OPENAI_API_KEY: using the offline demonstration model.")  # noqa: T201 - for whoever tries it out
    return cast("Model", import_module("agno_mongo.models.demo").DemoModel())
