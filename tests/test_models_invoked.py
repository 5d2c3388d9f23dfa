"""Models that were written for Agno: classes that derive from Model and have ``invoke``, ``ainvoke`` and their streams."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from agno_mongo.agent import Agent
from agno_mongo.errors import ConfigurationError
from agno_mongo.exceptions import InputCheckError, ModelProviderError, ModelRateLimitError, RunCancelledException
from agno_mongo.models.base import Model
from agno_mongo.models.message import Message, MessageMetrics
from agno_mongo.models.response import ModelResponse, ModelResponseEvent
from agno_mongo.run import RunStatus
from agno_mongo.run.agent import RunContentEvent

CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


class Canned(Model):
    """All four, as Agno asks for them; ``seen`` are the keywords of each call."""

    def __init__(self, *responses: Any) -> None:
        super().__init__(id="canned", name="Canned", provider="tests")
        self.responses = list(responses)
        self.seen: list[dict[str, Any]] = []

    def invoke(self, **given: Any) -> ModelResponse:
        self.seen.append(given)
        response = self.responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    async def ainvoke(self, **given: Any) -> ModelResponse:
        return self.invoke(**given)

    def invoke_stream(self, **given: Any) -> Iterator[ModelResponse]:
        yield self.invoke(**given)

    async def ainvoke_stream(self, **given: Any) -> AsyncIterator[ModelResponse]:
        response = self.invoke(**given)
        for word in (response.content or "").split():
            yield ModelResponse(content=f"{word} ")
        yield ModelResponse(tool_calls=response.tool_calls, response_usage=response.response_usage)

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response


def add(a: int) -> str:
    return f"{a} and one"


def said(text: str, **fields: Any) -> ModelResponse:
    return ModelResponse(
        role="assistant", content=text, response_usage=MessageMetrics(input_tokens=3, output_tokens=2, total_tokens=5), **fields
    )


async def test_answers_and_calls_tools() -> None:
    model = Canned(ModelResponse(tool_calls=[CALL]), said("two"))
    run = await Agent(model=model, tools=[add], instructions="Count.").arun("1 + 1?")
    assert (run.content, run.model, run.model_provider) == ("two", "canned", "tests")
    assert run.metrics is not None
    assert run.metrics.total_tokens == 5
    asked = model.seen[1]["messages"]
    assert [(message.role, message.content) for message in asked if message.role in {"system", "tool"}] == [
        ("system", "Count."),
        ("tool", "1 and one"),
    ]
    assert isinstance(model.seen[0]["assistant_message"], Message)
    assert [one["function"]["name"] for one in model.seen[0]["tools"]] == ["add"]


async def test_is_streamed_piece_by_piece() -> None:
    model = Canned(ModelResponse(tool_calls=[CALL]), said("two words"))
    events = [event async for event in Agent(model=model, tools=[add]).arun("1 + 1?", stream=True)]
    assert [event.content for event in events if isinstance(event, RunContentEvent)] == ["two ", "words "]


def test_is_asked_without_async_too() -> None:
    assert Agent(model=Canned(said("two"))).run("1 + 1?").content == "two"


class OnlyBlocking(Model):
    thread: Any = None

    def invoke(self, messages: list[Message]) -> ModelResponse:
        self.thread = threading.current_thread()
        return ModelResponse(content=f"{messages[-1].content}!")

    def invoke_stream(self, messages: list[Message]) -> Iterator[ModelResponse]:
        yield ModelResponse(content=f"{messages[-1].content} ")
        yield ModelResponse(content="streamed")


async def test_that_blocks_only_has_a_thread_and_is_given_what_it_takes() -> None:
    model = OnlyBlocking(id="x")
    assert (await Agent(model=model).arun("go")).content == "go!"
    assert model.thread is not threading.current_thread()
    events = [event async for event in Agent(model=model).arun("go", stream=True)]
    assert [event.content for event in events] == ["go ", "streamed"]
    assert (model.id, model.name, model.provider) == ("x", "OnlyBlocking", "OnlyBlocking")


@dataclass
class AsDataclass(Model):
    id: str = "d"
    name: str = "D"
    provider: str = "P"
    greeting: str = "hello"

    async def ainvoke(self, *_: Any, **__: Any) -> ModelResponse:
        return ModelResponse(content=self.greeting)


async def test_may_be_a_dataclass_without_streams() -> None:
    events = [event async for event in Agent(model=AsDataclass(greeting="hi")).arun("go", stream=True)]
    assert [event.content for event in events] == ["hi"]


class City(BaseModel):
    name: str


async def test_may_give_an_object_in_the_place_of_its_text() -> None:
    run = await Agent(model=Canned(ModelResponse(parsed=City(name="Oslo"))), output_schema=City).arun("Which?")
    assert run.content == City(name="Oslo")


async def test_that_fails_fails_the_run() -> None:
    run = await Agent(model=Canned(ModelProviderError("down"))).arun("go")
    assert (run.status, run.content) == (RunStatus.error, "down")


async def test_may_have_respond_in_the_place_of_all_four_and_needs_one_of_them() -> None:
    class Neither(Model): ...

    with pytest.raises(ConfigurationError, match=r"Neither has neither respond\(\) nor Agno's ainvoke\(\)"):
        await Agent(model=Neither(id="n")).arun("go")


async def test_tells_only_what_the_assistant_says() -> None:
    class Telling(Model):
        async def ainvoke_stream(self, **_: Any) -> AsyncIterator[ModelResponse]:
            yield ModelResponse(event=ModelResponseEvent.tool_call_started.value, content="not said")
            yield ModelResponse(content="said", reasoning_content="thought", provider_data={"id": "1"})

    run = await Agent(model=Telling(id="t")).arun("go")
    assert run.messages is not None
    answer = run.messages[-1]
    assert (answer.content, answer.reasoning_content, answer.provider_data) == ("said", "thought", {"id": "1"})


def test_errors_take_and_tell_what_agnos_do() -> None:
    error = ModelProviderError("down", 503, "Name", "id")
    assert (error.message, error.status_code, error.model_name, error.model_id, error.model) == ("down", 503, "Name", "id", "id")
    assert error.temporary
    limited = ModelRateLimitError(message="slow", model_name="Name")
    assert (limited.status_code, limited.model, limited.temporary) == (429, "Name", True)
    assert InputCheckError("no").message == RunCancelledException("no").message == "no"
