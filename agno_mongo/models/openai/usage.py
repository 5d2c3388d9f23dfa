"""What a provider says that an answer has used, as Metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import Metrics

PRICED = 3


def of_completion(usage: Any, prices: Sequence[float] | None = None) -> Metrics | None:
    """The usage of a chat completion."""
    if usage is None:
        return None
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    heard, spoken = _number(prompt, "audio_tokens"), _number(completion, "audio_tokens")
    return _priced(
        Metrics(
            input_tokens=usage.prompt_tokens or 0,
            output_tokens=usage.completion_tokens or 0,
            total_tokens=usage.total_tokens or 0,
            cache_read_tokens=_number(prompt, "cached_tokens"),
            cache_write_tokens=_number(prompt, "cache_write_tokens"),
            audio_input_tokens=heard,
            audio_output_tokens=spoken,
            audio_total_tokens=heard + spoken,
            reasoning_tokens=_number(completion, "reasoning_tokens"),
        ),
        usage,
        prices,
    )


def of_response(usage: Any, prices: Sequence[float] | None = None) -> Metrics | None:
    """The usage of a response of the Responses API."""
    if usage is None:
        return None
    return _priced(
        Metrics(
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            total_tokens=usage.total_tokens or 0,
            cache_read_tokens=_number(usage.input_tokens_details, "cached_tokens"),
            cache_write_tokens=_number(usage.input_tokens_details, "cache_write_tokens"),
            reasoning_tokens=_number(usage.output_tokens_details, "reasoning_tokens"),
        ),
        usage,
        prices,
    )


def _priced(metrics: Metrics, usage: Any, prices: Sequence[float] | None) -> Metrics:
    told = getattr(usage, "cost", None)
    if isinstance(told, (int, float)) and not isinstance(told, bool):
        metrics.cost = float(told)
    elif prices is not None:
        fresh = metrics.input_tokens - metrics.cache_read_tokens
        counts = (fresh, metrics.cache_read_tokens, metrics.output_tokens)
        metrics.cost = sum(count * price for count, price in zip(counts, prices, strict=True)) / 1_000_000
    return metrics


def checked_prices(prices: Any) -> tuple[float, ...] | None:
    """The prices as they are kept. Raises ConfigurationError unless they are three numbers from 0."""
    if prices is None:
        return None
    given = tuple(prices) if isinstance(prices, (tuple, list)) else ()
    numbers = [price for price in given if isinstance(price, (int, float)) and not isinstance(price, bool) and price >= 0]
    if len(given) != PRICED or len(numbers) != PRICED:
        raise ConfigurationError(f"cost_per_million is (input, cached input, output), three numbers from 0, not {prices!r}")
    return given


def _number(details: Any, name: str) -> int:
    return getattr(details, name, None) or 0
