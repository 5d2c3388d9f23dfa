"""The one place where the ``openai`` client's errors become ours."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import httpx2
import openai

from agno_mongo.errors import (
    ContextWindowExceeded,
    IncompleteResponse,
    ModelAuthenticationError,
    ModelError,
    ModelRateLimited,
    ModelTimeout,
)


@contextmanager
def translated(model: str, *, within_answer: bool = False) -> Iterator[None]:
    """Errors of the ``openai`` client leave the block as ModelError or one of its kinds, the original as their cause.

    ``within_answer``: the answer had begun, so that a lost connection leaves an IncompleteResponse.
    """
    try:
        yield
    except (openai.OpenAIError, json.JSONDecodeError, UnicodeEncodeError, httpx2.HTTPError) as error:
        raise _ours(error, model, within_answer=within_answer) from error


def _ours(error: Exception, model: str, *, within_answer: bool) -> ModelError:
    if isinstance(error, (openai.APITimeoutError, httpx2.TimeoutException)):
        return ModelTimeout(f"{model} did not answer in time", model=model)
    if isinstance(error, json.JSONDecodeError):
        return IncompleteResponse(f"{model} sent a piece that is no JSON; the answer is not whole: {error}", model=model)
    if isinstance(error, UnicodeEncodeError):
        return ModelError(f"{model} cannot be sent text with a lone surrogate, which UTF-8 has no code for: {error}", model=model)
    if isinstance(error, openai.APIStatusError):
        return _refused(error, model)
    if isinstance(error, (openai.APIConnectionError, httpx2.HTTPError)):
        return _unconnected(error, model, within_answer=within_answer)
    return told_within(error.body, model, str(error)) if isinstance(error, openai.APIError) else _unsent(error, model)


def _unsent(error: Exception, model: str) -> ModelError:
    """What is no APIError comes from the client itself."""
    if "api_key" in str(error) or "redentials" in str(error):
        return ModelAuthenticationError(
            f"{model}: no API key. Set OPENAI_API_KEY or pass OpenAIChat(api_key=…); for a server of your own pass base_url=",
            model=model,
        )
    return ModelError(f"{model}: {error}", model=model)


def told_within(body: Any, model: str, text: str) -> ModelError:
    """The error that a provider tells within an answer of status 200: its object, and what it says."""
    fields = body if isinstance(body, Mapping) else {}
    told = {str(fields.get(name)) for name in ("code", "type") if fields.get(name) is not None}
    if told & _TOO_LONG or _speaks_of_length(text):
        return ContextWindowExceeded(f"{model}: {text}", model=model)
    if told & _RATE_LIMITED:
        return ModelRateLimited(f"{model}: {text}", model=model, status_code=None, temporary=not told & _SPENT)
    return ModelError(f"{model}: {text}", model=model, temporary=bool(told & _PASSING))


def _unconnected(error: Exception, model: str, *, within_answer: bool) -> ModelError:
    reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
    if within_answer:
        return IncompleteResponse(f"the connection to {model} broke within the answer: {reason}", model=model)
    return ModelError(f"{model} cannot be reached: {reason}", model=model, temporary=True)


def _refused(error: openai.APIStatusError, model: str) -> ModelError:
    reason = _reason(error)
    text = f"{model} answered with status {error.status_code}: {reason}"
    asked = _retry_after(error.response.headers)
    told = {error.code, error.type}
    if isinstance(error, openai.RateLimitError):
        return ModelRateLimited(text, model=model, retry_after=asked, temporary=not told & _SPENT)
    if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
        return ModelAuthenticationError(text, model=model, status_code=error.status_code)
    if error.status_code < 500 and (told & _TOO_LONG or _speaks_of_length(reason)):  # noqa: PLR2004 - HTTP's server errors
        return ContextWindowExceeded(text, model=model, status_code=error.status_code)
    return ModelError(text, model=model, status_code=error.status_code, retry_after=asked)


def _speaks_of_length(text: str) -> bool:
    lowered = text.lower()
    return any(words in lowered for words in _WORDS_FOR_TOO_LONG)


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds, from milliseconds, seconds or a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        told = headers.get(name, "")
        if told.replace(".", "", 1).isdigit():
            return float(told) / unit
    try:
        then = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(then.timestamp() - time(), 0.0)


def _reason(error: openai.APIStatusError) -> str:
    """What the provider says, in the words of its own, whatever the shape of its body."""
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return str(error.body["message"])
    return error.response.text[:500] or error.message


_TOO_LONG = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_WORDS_FOR_TOO_LONG = ("maximum context length", "context window", "available context size", "prompt is too long")
_RATE_LIMITED = {"rate_limit_exceeded", "rate_limit_error", "insufficient_quota", "429"}
_SPENT = {"insufficient_quota", "billing_hard_limit_reached"}
_PASSING = {"server_error", "overloaded_error", "vector_store_timeout", "500", "502", "503", "504", "529"}
