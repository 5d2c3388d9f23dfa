"""Ask the model, run the tools it calls, ask again, until it answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from agno_mongo.errors import TooManyToolRounds
from agno_mongo.messages import Message, Metrics, ToolExecution
from agno_mongo.models.answer import Answer
from agno_mongo.models.base import FailedRequest, Model, ModelRequest
from agno_mongo.run.agent import (
    ModelRequestCompletedEvent,
    ModelRequestFailedEvent,
    ModelRequestStartedEvent,
    RunContentCompletedEvent,
    RunContentEvent,
    RunOutputEvent,
)
from agno_mongo.run.base import RunContext, RunStatus
from agno_mongo.run.message_run import MessageRunOutput
from agno_mongo.tool_calls import BETWEEN_PARTS, MakeEvent, ToolRound, ToolSettings, rounds_of, texts_shown, told_apart
from agno_mongo.tools.function import Function


class AnswerForm(Protocol):
    """What form an answer must have."""

    @property
    def response_format(self) -> Mapping[str, Any] | None:
        """What the model's request says of it."""
        ...

    def take(self, run: MessageRunOutput, text: str) -> Message | None:
        """Make ``run.content`` what the answer stands for, or give the message with which the model is asked once more. Raises ModelError."""
        ...


@dataclass(kw_only=True)
class ModelLoop:
    """One run's conversation with the model.

    ``run`` is written to as things happen, so that whatever interrupts the loop leaves the run as far as it came: its messages
    (``messages`` is the run's own list), tools, metrics, and the text so far as ``content``. ``after_tools`` is
    awaited after each round of tools, when every call has its result. ``provided`` are tools that the provider runs itself. Without
    ``send_media`` the model is not shown the messages' media. ``answer_form`` is what form the answer must
    have, if any.

    A round in which a call waits for a person ends the loop, with status PAUSED; the loop begins with ``paused_round``, the calls of the last
    answer in ``messages``, where it goes on.
    """

    model: Model
    run: MessageRunOutput
    messages: list[Message]
    functions: Mapping[str, Function]
    context: RunContext
    offered: Mapping[str, Any]
    event: MakeEvent
    stream: bool = False
    send_media: bool = True
    after_tools: Callable[[], Awaitable[None]] | None = None
    answer_form: AnswerForm | None = None
    provided: Sequence[dict[str, Any]] = ()
    tool_settings: ToolSettings = field(default_factory=ToolSettings)
    paused_round: list[ToolExecution] = field(default_factory=list)
    _metrics: Metrics = field(init=False)
    _rounds: int = field(default=0, init=False)
    _stopped: bool = field(default=False, init=False)
    _shown: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._metrics = self.run.metrics = self.run.metrics or Metrics()
        if self.run.tools:
            # It goes on: its rounds count, and what they have shown is part of its answer.
            rounds = rounds_of(self.messages, self.run.tools)
            self._rounds = len(rounds) - bool(self.paused_round)
            self._shown = texts_shown(rounds)
            self.run.content = BETWEEN_PARTS.join(self._shown) or None

    async def events(self) -> AsyncGenerator[RunOutputEvent, None]:
        """Run the loop to the model's answer, to the tool that ends the run, or to a call that waits. Raises what the model raises, and
        TooManyToolRounds; a failing tool's message goes to the model.
        """
        paused_round = self.paused_round
        while True:
            if not paused_round:
                async with aclosing(self._ask()) as events:
                    async for event in events:
                        yield event
                if not self.messages[-1].tool_calls:
                    if self._is_answered():
                        break
                    continue
                self._check_rounds()
            async with aclosing(self._call_tools(paused_round)) as events:
                async for event in events:
                    yield event
            if self.run.status is RunStatus.paused:
                return
            paused_round = []
            if self._stopped:
                break
            if self.after_tools is not None:
                await self.after_tools()
        yield self.event(RunContentCompletedEvent)

    def _is_answered(self) -> bool:
        """True if the last message is the run's answer. One that has not the form that it must have is followed by a complaint."""
        complaint = None if self.answer_form is None else self.answer_form.take(self.run, self.messages[-1].get_content_string())
        if complaint is not None:
            self.messages[-1].misfit = complaint.misfit
            self.messages.append(complaint)
        return complaint is None

    async def _ask(self) -> AsyncGenerator[RunOutputEvent, None]:
        who = {"model": self.model.id, "model_provider": self.model.provider}
        yield self.event(ModelRequestStartedEvent, **who)
        answer = Answer()
        tools = [*(function.to_openai() for function in self.functions.values()), *self.provided]
        choice = self._tool_choice() if tools else None
        shown = list(self.messages) if self.send_media else [message.without_media() for message in self.messages]
        wanted = None if self.answer_form is None else self.answer_form.response_format
        request = ModelRequest(messages=shown, tools=tools, tool_choice=choice, response_format=wanted, stream=self.stream)
        try:
            async with aclosing(self.model.respond(request)) as deltas:
                async for delta in deltas:
                    begins = bool(self._shown) and not answer.begun
                    text, thoughts = answer.add(delta)
                    if text and begins:
                        yield self.event(RunContentEvent, content=BETWEEN_PARTS)
                    if delta.failed is not None:
                        yield self._failed(delta.failed)
                    if text or thoughts:
                        yield self.event(RunContentEvent, content=text, reasoning_content=thoughts)
            answer.check_complete(self.model.id)
        finally:
            used = self._take(answer)
        yield self.event(
            ModelRequestCompletedEvent,
            model=answer.model or self.model.id,
            model_provider=answer.provider or self.model.provider,
            finish_reason=answer.finish_reason,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            total_tokens=used.total_tokens,
            time_to_first_token=used.time_to_first_token,
            reasoning_tokens=used.reasoning_tokens or None,
            cache_read_tokens=used.cache_read_tokens or None,
            cache_write_tokens=used.cache_write_tokens or None,
        )

    def _failed(self, failed: FailedRequest) -> RunOutputEvent:
        told: RunOutputEvent = self.event(
            ModelRequestFailedEvent,
            model=failed.model,
            model_provider=failed.provider,
            error=str(failed.error),
            error_type=type(failed.error).__name__,
            next_model=failed.next_model,
            delay=failed.delay,
        )
        return told

    def _take(self, answer: Answer) -> Metrics:
        """What was said becomes part of the run, however it ended: a run that failed is never shown to the model again."""
        message = answer.message()
        message.tool_calls = told_apart(message.tool_calls, self.messages)
        if answer.complete or message.content or message.reasoning_content:
            self.messages.append(message)
        self.run.content = message.content
        if message.reasoning_content:
            thoughts = (self.run.reasoning_content, message.reasoning_content)
            self.run.reasoning_content = BETWEEN_PARTS.join(part for part in thoughts if part)
        if answer.model is not None:
            self.run.model, self.run.model_provider = answer.model, answer.provider
        if self._shown:
            self.run.content = BETWEEN_PARTS.join([*self._shown, *([self.run.content] if self.run.content else ())])
        used = message.metrics or Metrics()
        self._metrics.add(used)
        self._metrics.time_to_first_token = self._metrics.time_to_first_token or used.time_to_first_token
        return used

    async def _call_tools(self, paused_round: list[ToolExecution]) -> AsyncGenerator[RunOutputEvent, None]:
        """All calls of the last answer at once. Results go to the model in the order of the calls."""
        answer = next(index for index in range(len(self.messages) - 1, -1, -1) if self.messages[index].tool_calls)
        before = self.messages[answer + 1 :]
        round_of_tools = ToolRound(
            calls=self.messages[answer].tool_calls or (),
            functions=self.functions,
            context=self.context,
            offered=self.offered,
            event=self.event,
            settings=self.tool_settings,
            called_before=len(self.run.tools or ()) - len(paused_round),
            shown_before=bool(self._shown),
            executions=paused_round,
        )
        if not paused_round:
            self.run.tools = [*(self.run.tools or ()), *round_of_tools.executions]
        try:
            async with aclosing(round_of_tools.events()) as events:
                async for event in events:
                    yield event
        finally:
            self.messages[answer + 1 :] = _in_order(before, round_of_tools.messages())
        self._rounds += 1
        self._stopped = round_of_tools.stops
        for name, made in round_of_tools.media.items():
            setattr(self.run, name, [*(getattr(self.run, name) or ()), *made])
        if round_of_tools.shown:
            self._shown += round_of_tools.shown
            self.run.content = BETWEEN_PARTS.join(self._shown)
        if round_of_tools.is_paused:
            self.run.status = RunStatus.paused

    def _tool_choice(self) -> str | dict[str, Any] | None:
        """What forces a call does so once: the model could never answer else. After the last round that it may have, it has to."""
        choice, most = self.tool_settings.choice, self.tool_settings.max_rounds
        if most is not None and self._rounds >= most:
            return "none"
        return None if self.run.tools and choice not in ("none", "auto") else choice

    def _check_rounds(self) -> None:
        most = self.tool_settings.max_rounds
        if most is not None and self._rounds >= most:
            raise TooManyToolRounds(
                f"{self.model.id} called tools in {most} rounds, and again when it was to answer without (max_tool_rounds)",
                model=self.model.id,
                rounds=most,
            )


def _in_order(before: list[Message], told: list[Message]) -> list[Message]:
    """What a round has come to, by its calls; what the model was told of it ``before`` a pause stays what it was."""
    known = {message.tool_call_id: message for message in before if message.role == "tool"}
    results = [known.get(message.tool_call_id, message) if message.role == "tool" else message for message in told]
    return results + [message for message in before if message.role != "tool"]
