"""Models beside the agent's own, which say anew what it has come to: in other words (``output_model``), as data (``parser_model``)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from agno_mongo.agent.output_schema import StructuredAnswer
from agno_mongo.messages import Message, text_of
from agno_mongo.model_loop import ModelLoop
from agno_mongo.models.base import Model
from agno_mongo.models.persistent import persistent
from agno_mongo.run.agent import (
    IntermediateRunContentEvent,
    OutputModelResponseCompletedEvent,
    OutputModelResponseStartedEvent,
    ParserModelResponseCompletedEvent,
    ParserModelResponseStartedEvent,
    RunContentCompletedEvent,
    RunContentEvent,
)
from agno_mongo.run.base import RunStatus
from agno_mongo.run.message_run import MessageRunOutput
from agno_mongo.tool_calls import MakeEvent

PARSER_PROMPT: Final = "You are tasked with creating a structured output from the provided user message."


@dataclass(frozen=True, kw_only=True)
class SecondModels:
    """Who speaks after a run's own model, and what becomes of the answer.

    ``output`` is shown what the own model was, with ``output_prompt`` as system message, and answers in its place. ``parser`` is shown that answer alone,
    below ``parser_prompt``, and makes of it what fits ``schema``. The last who speaks is held to the schema. What is said costs the run, and is part of it:
    the parser's answer behind the other, the output model's in the place of the own model's.

    ``loop`` makes the conversation with a model, of the run's own kind. ``messages`` are the run's own list.
    """

    output: Model | None
    output_prompt: str | None
    parser: Model | None
    parser_prompt: str | None
    schema: StructuredAnswer | None
    loop: Callable[..., ModelLoop]
    event: MakeEvent
    run: MessageRunOutput
    messages: list[Message]

    async def events(self, own: ModelLoop) -> AsyncGenerator[Any, None]:
        """Those of the run's own model, then those of the others. What is not the answer yet is intermediate content."""
        async with aclosing(own.events()) as events:
            async for event in events:
                if self.output is None or not isinstance(
                    event, (self._kind(RunContentEvent), self._kind(RunContentCompletedEvent))
                ):
                    yield event
                elif getattr(event, "content", None):
                    yield self.event(IntermediateRunContentEvent, content=event.content)
        if self.run.status is RunStatus.paused:
            return
        if self.output is not None and self.messages[-1].role == "assistant":
            async with aclosing(self._worded(self.output, stream=own.stream)) as events:
                async for event in events:
                    yield event
        if self.schema is not None:
            self.schema.take_result(self.run)
        if self.parser is not None and isinstance(self.run.content, str):
            async with aclosing(self._parsed(self.parser)) as events:
                async for event in events:
                    yield event

    async def _worded(self, model: Model, *, stream: bool) -> AsyncGenerator[Any, None]:
        yield self.event(OutputModelResponseStartedEvent)
        messages = self.messages[:-1]
        if self.output_prompt is not None:
            rest = messages[1:] if messages and messages[0].role in {"system", "developer"} else messages
            messages = [Message(role="system", content=self.output_prompt), *rest]
        form = self.schema if self.parser is None else None
        if form is not None:
            form.instruct(messages)
        before = len(messages)
        async with aclosing(self._asked(model, messages, form, stream=stream)) as events:
            async for event in events:
                yield event
        self.messages[-1:] = messages[before:]
        yield self.event(OutputModelResponseCompletedEvent)

    async def _parsed(self, model: Model) -> AsyncGenerator[Any, None]:
        yield self.event(ParserModelResponseStartedEvent)
        messages = [Message(role="system", content=self.parser_prompt or PARSER_PROMPT)]
        messages.append(Message(role="user", content=text_of(self.run.content)))
        if self.schema is not None:
            self.schema.instruct(messages)
        async with aclosing(self._asked(model, messages, self.schema, stream=False)) as events:
            async for event in events:
                if not isinstance(event, (self._kind(RunContentEvent), self._kind(RunContentCompletedEvent))):
                    yield event
        self.messages.extend(messages[2:])
        yield self.event(ParserModelResponseCompletedEvent)

    async def _asked(
        self, model: Model, messages: list[Message], form: StructuredAnswer | None, *, stream: bool
    ) -> AsyncGenerator[Any, None]:
        """The conversation with another model, which is not the one that the run is said to be of."""
        run, who = self.run, (self.run.model, self.run.model_provider)
        loop = self.loop(
            model=persistent(model, fitted=None if form is None else form.fitted),
            messages=messages,
            functions={},
            stream=stream,
            answer_form=form,
        )
        try:
            async with aclosing(loop.events()) as events:
                async for event in events:
                    yield event
        finally:
            run.model, run.model_provider = who

    def _kind(self, kind: type) -> type:
        """The class of this run's events that says the same."""
        return self.run.EVENT_KINDS.get(kind, kind)
