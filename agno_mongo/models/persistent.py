"""A model that does not give up at once: it is asked again where that can help, and then other models are.

One wrapper, itself a model, made for each run whose settings ask for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from agno_mongo.errors import IncompleteResponse, ModelError
from agno_mongo.messages import Metrics
from agno_mongo.models.base import FailedRequest, Model, ModelDelta, ModelRequest
from agno_mongo.models.fallback import FallbackConfig, is_own_mistake

LONGEST_WAIT = 60.0
"""Seconds. A provider that asks for more is not waited for, and delays are not doubled beyond it."""

_log = logging.getLogger("agno_mongo")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a failed request is repeated, and after how many seconds; ``exponential_backoff`` doubles them each time."""

    retries: int = 0
    delay_between_retries: float = 1.0
    exponential_backoff: bool = False

    def delay(self, error: ModelError, *, retried: int) -> float | None:
        """Seconds to wait before the next try, at least what the provider asks for; None if there is to be none."""
        asked = error.retry_after or 0.0
        if retried >= self.retries or not error.temporary or asked > LONGEST_WAIT:
            return None
        own = self.delay_between_retries
        if self.exponential_backoff:
            own = min(own * 2 ** min(retried, 30), max(own, LONGEST_WAIT))
        return max(own, asked)


Fitted = Callable[[ModelRequest, Model], ModelRequest]
"""Makes of a request what a certain model is to be asked."""


def persistent(
    model: Model, *, policy: RetryPolicy | None = None, fallbacks: FallbackConfig | None = None, fitted: Fitted | None = None
) -> Model:
    """``model`` for one run: itself where nothing is to be done about its failures, else with retries and other models to ask, which may be
    asked in another way: as ``fitted`` says.

    A model's own ``retries``, with its ``delay_between_retries`` and ``exponential_backoff``, count before those of ``policy``.
    """
    wanted = (policy is not None and policy.retries) or getattr(model, "retries", 0)
    if not wanted and (fallbacks is None or not fallbacks.has_fallbacks):
        return model
    return PersistentModel(model, policy=policy or RetryPolicy(), fallbacks=fallbacks or FallbackConfig(), fitted=fitted)


class PersistentModel:
    """Asks ``model`` again after a failure that may pass, then the ``fallbacks``.

    A request is only repeated while nothing of its answer has been handed on as it came: an answer that breaks off before the reader's eyes is an
    error. The model that answered is asked first from then on, so that one run does not go through the same failures in each of its
    rounds; should it fail later, the others are asked again, the run's own model before all. When all have failed, the error of the one that was asked first is raised. ``id`` and ``provider`` are those of the model that is asked first.
    """

    def __init__(self, model: Model, *, policy: RetryPolicy, fallbacks: FallbackConfig, fitted: Fitted | None = None) -> None:
        self.id, self.provider = model.id, model.provider
        self._first = model
        self._model = model
        self._policy = policy
        self._fallbacks = fallbacks
        self._fitted = fitted or (lambda request, _: request)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the model that is asked first can tell of itself."""
        return getattr(self._model, name)

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        """The first whole answer that a model gives. Raises ModelError."""
        failures: list[ModelError] = []
        asked: list[Model] = [self._model]
        retried = 0
        while True:
            model = asked[-1]
            attempt = _Attempt(model)
            async with aclosing(attempt.deltas(self._fitted(request, model))) as deltas:
                async for delta in deltas:
                    yield self._signed(delta, model)
            if attempt.failure is None:
                self._model, self.id, self.provider = model, model.id, model.provider
                return
            failures.append(attempt.failure)
            delay = self._policy_of(model).delay(attempt.failure, retried=retried)
            retried += 1
            if delay is None:
                following = self._next(attempt.failure, asked)
                if following is None:
                    raise failures[0]
                asked.append(following)
                retried = 0
            yield _told(attempt, asked[-1], delay or 0.0)
            if delay:
                await asyncio.sleep(delay)

    def _policy_of(self, model: Model) -> RetryPolicy:
        own = getattr(model, "retries", 0)
        if not own:
            return self._policy
        return RetryPolicy(
            retries=own,
            delay_between_retries=getattr(model, "delay_between_retries", 1.0),
            exponential_backoff=getattr(model, "exponential_backoff", False),
        )

    def _next(self, error: ModelError, asked: list[Model]) -> Model | None:
        others = [] if is_own_mistake(error) else [self._first, *self._fallbacks.models_for(error)]
        following = next((model for model in others if not any(model is known for known in asked)), None)
        if following is not None and self._fallbacks.callback is not None:
            try:
                self._fallbacks.callback(asked[-1].id, following.id, error)
            except Exception:  # noqa: BLE001 - the user's own code
                _log.exception("the callback of fallback_config failed")
        return following

    def _signed(self, delta: ModelDelta, model: Model) -> ModelDelta:
        """The piece, with the name of who answers where it is not the model that the run began with, or has come back to."""
        if model is self._model is self._first or delta.model is not None:
            return delta
        return replace(delta, model=model.id, provider=model.provider)


def _told(attempt: _Attempt, following: Model, delay: float) -> ModelDelta:
    """What has become of a request, and what it has used all the same."""
    assert attempt.failure is not None
    failed = FailedRequest(
        model=attempt.model.id,
        provider=attempt.model.provider,
        error=attempt.failure,
        next_model=following.id,
        delay=delay,
    )
    return ModelDelta(failed=failed, metrics=attempt.used())


@dataclass
class _Attempt:
    """One request to one model. ``failure`` is why there is no answer, if another try may be made."""

    model: Model
    failure: ModelError | None = None
    _held: list[ModelDelta] = field(default_factory=list)
    _shown: bool = False
    _finished: bool = False

    async def deltas(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        """The answer: from its first text on as it comes if it is streamed, else once it is whole. Raises what fails after that."""
        try:
            async with aclosing(self.model.respond(request)) as deltas:
                async for delta in deltas:
                    self._held.append(delta)
                    self._finished = self._finished or delta.finish_reason is not None
                    self._shown = self._shown or (request.stream and bool(delta.content or delta.reasoning_content))
                    while self._shown and self._held:
                        yield self._held.pop(0)
            if not self._finished:
                raise IncompleteResponse(
                    f"{self.model.id} stopped in mid-answer: it ended without a finish reason", model=self.model.id
                )
        except ModelError as error:
            if self._shown:
                raise
            self.failure = error
            return
        for delta in self._held:
            yield delta

    def used(self) -> Metrics | None:
        """The tokens that the provider counted before it failed."""
        counted = [delta.metrics for delta in self._held if delta.metrics is not None]
        if not counted:
            return None
        total = Metrics()
        for metrics in counted:
            total.add(metrics)
        return total
