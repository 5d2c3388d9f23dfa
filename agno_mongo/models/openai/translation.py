"""The one place where the ``openai`` client's errors become ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import openai

from agno_mongo.errors import (
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
    except (openai.OpenAIError, json.JSONDecodeError, httpx2.HTTPError) as error:
        raise _ours(error, model, within_answer=within_answer) from error


def _ours(error: Exception, model: str, *, within_answer: bool) -> ModelError:
    if isinstance(error, (openai.APITimeoutError, httpx2.TimeoutException)):
        return ModelTimeout(f"{model} did not answer in time", model=model)
    if isinstance(error, json.JSONDecodeError):
        return IncompleteResponse(f"{model} sent a piece that is no JSON; the answer is not whole: {error}", model=model)
    if isinstance(error, openai.APIStatusError):
        return _refused(error, model)
    if isinstance(error, (openai.APIConnectionError, httpx2.HTTPError)):
        return _unconnected(error, model, within_answer=within_answer)
    # An APIError is the provider speaking; what is none comes from the client itself.
    if not isinstance(error, openai.APIError) and ("api_key" in str(error) or "redentials" in str(error)):
        return ModelAuthenticationError(
            f"{model}: no API key. Set OPENAI_API_KEY or pass OpenAIChat(api_key=…); for a server of your own pass base_url=",
            model=model,
        )
    return ModelError(f"{model}: {error}", model=model)


def _unconnected(error: Exception, model: str, *, within_answer: bool) -> ModelError:
    reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
    if within_answer:
        return IncompleteResponse(f"the connection to {model} broke within the answer: {reason}", model=model)
    return ModelError(f"{model} cannot be reached: {reason}", model=model)


def _refused(error: openai.APIStatusError, model: str) -> ModelError:
    text = f"{model} answered with status {error.status_code}: {_reason(error)}"
    if isinstance(error, openai.RateLimitError):
        retry_after = error.response.headers.get("retry-after", "")
        seconds = float(retry_after) if retry_after.replace(".", "", 1).isdigit() else None
        return ModelRateLimited(text, model=model, retry_after=seconds)
    if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
        return ModelAuthenticationError(text, model=model, status_code=error.status_code)
    return ModelError(text, model=model, status_code=error.status_code)


def _reason(error: openai.APIStatusError) -> str:
    """What the provider says, in the words of its own, whatever the shape of its body."""
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return str(error.body["message"])
    return error.response.text[:500] or error.message
