"""Which models are asked when one has failed for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agno_mongo.errors import ContextWindowExceeded, ModelAuthenticationError, ModelError, ModelRateLimited
from agno_mongo.models.base import Model
from agno_mongo.models.utils import get_model


@dataclass
class FallbackConfig:
    """The models to ask next, in order, by what became of the first one.

    ``on_rate_limit`` is for a provider that refused for too many requests or a spent quota, ``on_context_overflow`` for a conversation too long for the
    model, ``on_error`` for every failure but the program's own mistakes: a refused key or request (400, 401, 403, 404 and their like) is not covered up. It stands in for the two
    others where they are empty. Models may be texts such as ``"openai:gpt-5-mini"``. ``callback(model_id, next_model_id, error)`` is called when another
    model is asked; what it raises is logged.
    """

    on_error: Sequence[Model | str] = field(default_factory=list)
    on_rate_limit: Sequence[Model | str] = field(default_factory=list)
    on_context_overflow: Sequence[Model | str] = field(default_factory=list)
    callback: Callable[[str, str, Exception], object] | None = None

    def __post_init__(self) -> None:
        self.on_error = models_of("on_error", self.on_error)
        self.on_rate_limit = models_of("on_rate_limit", self.on_rate_limit)
        self.on_context_overflow = models_of("on_context_overflow", self.on_context_overflow)

    @property
    def has_fallbacks(self) -> bool:
        """True if there is any model to ask."""
        return bool(self.on_error or self.on_rate_limit or self.on_context_overflow)

    def models_for(self, error: ModelError) -> list[Model]:
        """The models to ask after ``error``; none where another would only cover a mistake up."""
        chosen: Sequence[Model | str] = self.on_error
        if isinstance(error, ModelRateLimited):
            chosen = self.on_rate_limit or self.on_error
        elif isinstance(error, ContextWindowExceeded):
            chosen = self.on_context_overflow or self.on_error
        elif is_own_mistake(error):
            chosen = ()
        return [model for model in chosen if not isinstance(model, str)]


def models_of(name: str, given: Sequence[Model | str] | None) -> list[Model | str]:
    """The models that ``given`` names. Raises ConfigurationError, with the setting's ``name``, for what is none."""
    if isinstance(given, str) or not isinstance(given, (Sequence, type(None))):
        given = [given]
    return [get_model(model, setting=f"{name}[{index}]") for index, model in enumerate(given or ())]


def is_own_mistake(error: ModelError) -> bool:
    """True for what another model would only cover up: a refused key or request."""
    refused = error.status_code is not None and 400 <= error.status_code < 500  # noqa: PLR2004 - HTTP's client errors
    return isinstance(error, ModelAuthenticationError) or (refused and not error.temporary)
