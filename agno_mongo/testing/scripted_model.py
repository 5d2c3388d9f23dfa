"""``ScriptedModel``: answers what its script says and remembers what it was asked."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import uuid4

from pydantic import BaseModel
from typing_extensions import Self

from agno_mongo.messages import Message, Metrics
from agno_mongo.models.base import ModelDelta, ModelRequest


class ScriptError(AssertionError):
    """The model was asked more often than its script has lines, or less often."""


@dataclass(frozen=True)
class ToolCall:
    """A call that the model makes. ``arguments`` as text are sent as they stand, broken JSON too."""

    name: str
    arguments: dict[str, Any] | str = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"call_{uuid4().hex[:8]}")

    def to_openai(self) -> dict[str, Any]:
        """The call in OpenAI's shape."""
        arguments = self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": arguments}}


Line: TypeAlias = "str | BaseModel | ToolCall | Sequence[ToolCall] | BaseException | Callable[[ModelRequest], Any]"
"""A line of a script: a text to answer, a pydantic model whose JSON is the answer, tool calls to make, an exception to raise, or a function of
the request that gives one of these (it may be a coroutine function, and wait)."""


class ScriptedModel:
    """A model that speaks its lines in order.

    ::

        model = ScriptedModel(ToolCall("add", {"a": 1, "b": 2}), "It is 3.")
        run = await Agent(model=model, tools=[add]).arun("1 + 2?")
        assert model.requests[1].messages[-1].content == "3"
        model.assert_finished()

    ``requests`` are the ModelRequests received, ``asked`` the text of each one's last user message. Each answer counts
    ``tokens`` (input, output). Texts are streamed word by word. A request beyond the last line raises ScriptError into the run and is remembered:
    ``assert_finished`` raises for it, and for lines left unsaid. Used as a context manager it checks at the end.
    """

    supports_native_structured_outputs = True

    def __init__(self, *script: Line, id: str = "scripted", tokens: tuple[int, int] = (10, 5)) -> None:  # noqa: A002
        self.id = id
        self.provider = "test"
        self.script: list[Line] = list(script)
        self.requests: list[ModelRequest] = []
        self.tokens = tokens
        self._said = 0
        self._too_many = 0

    @property
    def asked(self) -> list[str]:
        """The last user message of every request, as text."""
        return [_last_user_text(request.messages) for request in self.requests]

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        """The next line of the script."""
        self.requests.append(request)
        line = self._next_line()
        if callable(line):
            line = line(request)
            if hasattr(line, "__await__"):
                line = await line
        if isinstance(line, BaseException):
            raise line
        if isinstance(line, BaseModel):
            line = line.model_dump_json(by_alias=True)
        if isinstance(line, str):
            for piece in re.findall(r"\S+\s*|\s+", line) if request.stream else [line]:
                yield ModelDelta(content=piece)
            calls: Sequence[ToolCall] = ()
        else:
            calls = [line] if isinstance(line, ToolCall) else list(line)
        asked, answered = self.tokens
        yield ModelDelta(
            tool_calls=[call.to_openai() for call in calls],
            metrics=Metrics(input_tokens=asked, output_tokens=answered, total_tokens=asked + answered),
            finish_reason="tool_calls" if calls else "stop",
        )

    def _next_line(self) -> Any:
        if self._said == len(self.script):
            self._too_many += 1
            raise ScriptError(
                f"the script has {len(self.script)} lines, and the model was asked once more: {reprlib.repr(self.asked[-1])}"
            )
        self._said += 1
        return self.script[self._said - 1]

    def assert_finished(self) -> None:
        """Raise ScriptError if lines are left, or if the model was asked too often."""
        if self._too_many:
            raise ScriptError(f"the script has {len(self.script)} lines, and the model was asked {len(self.requests)} times")
        if left := self.script[self._said :]:
            raise ScriptError(f"{len(left)} of {len(self.script)} lines were never asked for; the next is {left[0]!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_exception: object) -> None:
        if kind is None:
            self.assert_finished()


def _last_user_text(messages: Sequence[Message]) -> str:
    return next((message.get_content_string() for message in reversed(messages) if message.role == "user"), "")
