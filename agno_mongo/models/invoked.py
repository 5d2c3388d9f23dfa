"""Asking a model that was written for Agno: by ``ainvoke_stream``, ``ainvoke``, ``invoke_stream`` or ``invoke``, whichever it has."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from agno_mongo.errors import ConfigurationError
from agno_mongo.models.response import ModelResponse, ModelResponseEvent
from agno_mongo.threads import called


async def responses_of(model: Any, given: Mapping[str, Any], *, stream: bool) -> AsyncGenerator[ModelResponse, None]:
    """What the model answers, in pieces if it is to ``stream`` and can. Its blocking methods run in a thread, whose pieces come together.

    Each method is given of ``given`` what it has parameters for.
    """
    method, is_stream = _method(model, stream=stream)
    arguments = _taken(method, given)
    if is_stream and not inspect.isgeneratorfunction(method):
        async with aclosing(method(**arguments)) as pieces:
            async for piece in pieces:
                yield piece
    elif is_stream:
        for piece in await called(lambda: list(method(**arguments))):
            yield piece
    else:
        yield await called(method, **arguments)


def _method(model: Any, *, stream: bool) -> tuple[Callable[..., Any], bool]:
    """The method to ask by, and whether it gives pieces."""
    whole, pieces = ("ainvoke", "invoke"), ("ainvoke_stream", "invoke_stream")
    for name in (*pieces, *whole) if stream else (*whole, *pieces):
        if (method := getattr(model, name, None)) is not None:
            return method, name in pieces
    raise ConfigurationError(f"the model {type(model).__name__} has neither respond() nor Agno's ainvoke()")


def _taken(method: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(method).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return dict(given)
    return {name: value for name, value in given.items() if name in parameters}


def text_of_response(response: ModelResponse) -> str | None:
    """What the assistant says in it; None if it is about something else."""
    if response.event != ModelResponseEvent.assistant_response.value:
        return None
    if response.content is None and response.parsed is not None:
        return str(response.parsed.model_dump_json())
    return None if response.content is None else str(response.content)
