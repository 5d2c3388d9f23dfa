"""One answer of a model, put together from its pieces."""

from __future__ import annotations

from time import perf_counter
from typing import Any
from uuid import uuid4

from agno_mongo.errors import IncompleteResponse
from agno_mongo.messages import Message, Metrics, readable
from agno_mongo.models.base import ModelDelta


class _Pieces:
    """Text that comes in pieces. Some servers cut a character in two, so that its first half comes at the end of a piece."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._half = ""

    @property
    def any(self) -> bool:
        """True once some text came."""
        return bool(self._pieces)

    def add(self, piece: str | None) -> str | None:
        """Take a piece, and give what can be shown of it: half a character waits for the other."""
        if not piece:
            return None
        if self._half or not piece.isascii():
            piece = self._half + piece
            self._half = piece[-1] if "\ud800" <= piece[-1] <= "\udbff" else ""
            piece = readable(piece[:-1] if self._half else piece)
        self._pieces.append(piece)
        return piece

    def whole(self) -> str | None:
        """All of it; None if there is none."""
        return "".join((*self._pieces, readable(self._half))) or None


class Answer:
    """One answer of a model, put together from its pieces."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self._texts = _Pieces()
        self._reasoning = _Pieces()
        self._tool_calls: list[dict[str, Any]] = []
        self._metrics = Metrics()
        self._provider_data: dict[str, Any] = {}
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.provider: str | None = None

    def add(self, delta: ModelDelta) -> tuple[str | None, str | None]:
        """Take in the next piece, and give its text and its thoughts as they can be shown."""
        if (delta.content or delta.reasoning_content) and self._metrics.time_to_first_token is None:
            self._metrics.time_to_first_token = perf_counter() - self._started
        shown = self._texts.add(delta.content), self._reasoning.add(delta.reasoning_content)
        # Some servers give their calls no id. Without one a result cannot be told to belong to its call, now or as history.
        self._tool_calls.extend({**call, "id": call.get("id") or f"call_{uuid4().hex}"} for call in delta.tool_calls)
        if delta.metrics is not None:
            self._metrics.add(delta.metrics)
        if delta.provider_data:
            self._provider_data |= delta.provider_data
        if delta.model is not None:
            self.model, self.provider = delta.model, delta.provider
        self.finish_reason = delta.finish_reason or self.finish_reason
        return shown

    @property
    def text(self) -> str:
        """What was said so far."""
        return self._texts.whole() or ""

    @property
    def begun(self) -> bool:
        """True once a piece came with text."""
        return self._texts.any

    @property
    def complete(self) -> bool:
        """True once a piece came with a finish reason."""
        return self.finish_reason is not None

    @property
    def is_refused(self) -> bool:
        """True if the model, or its provider, did not want to answer; the text is why, if there is any."""
        return self.finish_reason in ("refusal", "content_filter")

    def check_complete(self, model: str) -> None:
        """Raise IncompleteResponse without a finish reason, or if nothing can be done with what came before the answer was cut off."""
        if not self.complete:
            raise IncompleteResponse(f"{model} stopped in mid-answer: the stream ended without a finish reason", model=model)
        if self.finish_reason in _CUT_OFF and (self._tool_calls or not self._texts.any):
            where = "within its tool calls" if self._tool_calls else "before it said anything"
            raise IncompleteResponse(
                f"{model} was cut off {where} ({_CUT_OFF[self.finish_reason]}, finish reason {self.finish_reason!r})", model=model
            )

    def check_whole(self, model: str) -> None:
        """Raise IncompleteResponse unless the model came to the end of what it wanted to say, and did not refuse to say it."""
        self.check_complete(model)
        if self.finish_reason in _NOT_WHOLE:
            raise IncompleteResponse(f"{model} gave no whole answer (finish reason {self.finish_reason!r})", model=model)

    def message(self) -> Message:
        """The answer as far as it came."""
        self._metrics.duration = perf_counter() - self._started
        return Message(
            role="assistant",
            content=self.text or None,
            reasoning_content=self._reasoning.whole(),
            tool_calls=self._tool_calls or None,
            provider_data=self._provider_data or None,
            finish_reason=None if self.finish_reason in _ENDS else self.finish_reason,
            metrics=self._metrics,
        )


_ENDS = frozenset({"stop", "tool_calls"})
_CUT_OFF = {"length": "its limit of tokens", "content_filter": "the provider's filter"}
_NOT_WHOLE = frozenset({*_CUT_OFF, "refusal"})
