"""OpenAIChat under an Agent, over real HTTP: what is sent, what is counted, and what becomes of a provider's faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import IncompleteResponse, ModelAuthenticationError, ModelError, ModelRateLimited, ModelTimeout
from agno_mongo.messages import Message
from agno_mongo.models.base import ModelRequest
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.run.agent import RunCompletedEvent, RunContentEvent, RunErrorEvent
from tests.llm_servers import AIMock, Answer, ToolCall

KEY = "sk-never-to-be-told"


def chat(base_url: str, **settings: Any) -> OpenAIChat:
    return OpenAIChat(**{"id": "gpt-test", "base_url": base_url, "max_retries": 0, "timeout": 10, **settings})


def agent_on(model: OpenAIChat, **settings: Any) -> Agent:
    return Agent(**{"model": model, "db": InMemoryDb(), "session_id": "s", **settings})


async def stored_run(agent: Agent) -> RunOutput:
    stored = await agent.aget_last_run_output()
    assert stored is not None
    return stored


async def streamed(agent: Agent, text: str) -> list[Any]:
    return [event async for event in agent.arun(text, stream=True, stream_events=True)]


def text_of(events: list[Any]) -> str:
    return "".join(event.content or "" for event in events if isinstance(event, RunContentEvent))


def sent_roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


# For what neither mock server would say.


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any] | None = None, *, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-test", "choices": choices, **more}


def completion(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-test", "choices": choices, **more}


@asynccontextmanager
async def server_saying(*bodies: bytes | dict[str, Any], content_type: str = "application/json") -> AsyncIterator[str]:
    """The base URL of a server that answers each request with status 200 and the next of ``bodies``."""
    said = iter([body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line.split(":")[1] for line in headers.splitlines() if line.startswith("content-length:"))
        await reader.readexactly(int(length))
        body = next(said)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await server.wait_closed()


def events_saying(*chunks: Any) -> Any:
    return server_saying(sse(*chunks), content_type="text/event-stream")


# Answers.


async def test_an_answer_in_one_piece_is_stored_as_it_came(llmock: Any) -> None:
    llmock.reply("Good morning.")
    agent = agent_on(chat(llmock.base_url()))
    run = await agent.arun("Hello")

    stored = await stored_run(agent)
    assert run.content == stored.content == "Good morning."
    assert run.status == stored.status == RunStatus.completed
    assert [(message.role, message.content) for message in stored.messages or ()] == [
        ("user", "Hello"),
        ("assistant", "Good morning."),
    ]
    assert "stream" not in llmock.last_request.body


async def test_a_streamed_answer_comes_in_pieces_and_is_stored_whole(llmock: Any) -> None:
    llmock.reply("one two three")
    agent = agent_on(chat(llmock.base_url()))
    events = await streamed(agent, "Count")

    assert [event.content for event in events if isinstance(event, RunContentEvent)] == ["one ", "two ", "three"]
    assert isinstance(events[-1], RunCompletedEvent)
    assert (await stored_run(agent)).content == "one two three"
    llmock.assert_resilient(strict=True)


async def test_a_streamed_run_counts_the_tokens_that_the_server_tells_at_its_end(aimock: AIMock) -> None:
    aimock.script(Answer(text="one two three four", chunk_size=4, usage={"prompt_tokens": 7, "completion_tokens": 5}))
    agent = agent_on(chat(aimock.base_url, api_key="test"))
    await streamed(agent, "Count")

    assert aimock.journal()[0]["stream_options"] == {"include_usage": True}
    metrics = (await stored_run(agent)).metrics
    assert metrics is not None
    assert (metrics.input_tokens, metrics.output_tokens, metrics.total_tokens) == (7, 5, 12)
    assert metrics.time_to_first_token is not None
    assert metrics.duration is not None
    assert 0 < metrics.time_to_first_token <= metrics.duration


async def test_the_session_sums_the_tokens_of_all_requests_of_all_runs(aimock: AIMock) -> None:
    aimock.script(
        Answer(tool_calls=(ToolCall("now", {}),), usage={"prompt_tokens": 10, "completion_tokens": 1}),
        Answer(text="Noon.", usage={"prompt_tokens": 20, "completion_tokens": 2}),
        Answer(text="Bye.", usage={"prompt_tokens": 40, "completion_tokens": 4}),
    )

    def now() -> str:
        return "12:00"

    agent = agent_on(chat(aimock.base_url, api_key="test"), tools=[now])
    first = await agent.arun("What time is it?")
    await streamed(agent, "Thanks")

    session = await agent.aget_session_metrics()
    assert first.metrics is not None
    assert (first.metrics.input_tokens, first.metrics.output_tokens, first.metrics.total_tokens) == (30, 3, 33)
    assert (session.input_tokens, session.output_tokens, session.total_tokens) == (70, 7, 77)
    assert [
        message.metrics and message.metrics.total_tokens for message in first.messages or () if message.role == "assistant"
    ] == [
        11,
        22,
    ]
    aimock.assert_finished()


async def test_cached_and_reasoning_tokens_are_counted() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 80, "audio_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 2},
    }
    async with server_saying(completion({"content": "Hi"}, usage=usage)) as url:
        metrics = (await agent_on(chat(url)).arun("Hello")).metrics
    assert metrics is not None
    assert (metrics.cache_read_tokens, metrics.reasoning_tokens) == (80, 40)
    assert (metrics.audio_input_tokens, metrics.audio_output_tokens) == (3, 2)


async def test_a_usage_told_with_every_piece_is_counted_once() -> None:
    usages = [{"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count} for count in (1, 2, 3)]
    pieces = [chunk({"content": "x"}, usage=usages[0]), chunk({"content": "y"}, usage=usages[1])]
    async with events_saying(*pieces, chunk({}, finish_reason="stop", usage=usages[2])) as url:
        agent = agent_on(chat(url))
        await streamed(agent, "Hello")
    metrics = (await stored_run(agent)).metrics
    assert metrics is not None
    assert (metrics.input_tokens, metrics.output_tokens, metrics.total_tokens) == (10, 3, 13)


async def test_thoughts_and_answer_are_kept_apart() -> None:
    pieces = [chunk({"reasoning_content": "Hm. "}), chunk({"reasoning_content": "Yes."}), chunk({"content": "Indeed."})]
    async with events_saying(*pieces, chunk({}, finish_reason="stop")) as url:
        agent = agent_on(chat(url))
        await streamed(agent, "Is it so?")
    stored = await stored_run(agent)
    assert (stored.reasoning_content, stored.content) == ("Hm. Yes.", "Indeed.")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_the_answer(stream: bool) -> None:
    whole = server_saying(completion({"content": None, "refusal": "I will not."}))
    pieces = events_saying(chunk({"refusal": "I will "}), chunk({"refusal": "not."}), chunk({}, finish_reason="stop"))
    async with pieces if stream else whole as url:
        agent = agent_on(chat(url))
        await (streamed(agent, "Do it") if stream else agent.arun("Do it"))
    assert (await stored_run(agent)).content == "I will not."


# What is sent.


async def test_settings_are_sent_and_those_left_out_are_not(llmock: Any) -> None:
    model = chat(llmock.base_url(), temperature=0.0, max_tokens=50, seed=7, stop=["END"], extra_body={"top_k": 3})
    await agent_on(model).arun("Hello")

    assert llmock.last_request.body == {
        "model": "gpt-test",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.0,
        "max_tokens": 50,
        "seed": 7,
        "stop": ["END"],
        "top_k": 3,
    }


async def test_request_params_are_sent_over_all_else(llmock: Any) -> None:
    model = chat(llmock.base_url(), temperature=0.0, request_params={"temperature": 1.0, "max_completion_tokens": 9})
    await agent_on(model).arun("Hello")
    body = llmock.last_request.body
    assert (body["temperature"], body["max_completion_tokens"]) == (1.0, 9)


async def test_key_and_headers_are_sent(aimock: AIMock) -> None:
    aimock.script(Answer(text="Hi"))
    model = chat(aimock.base_url, api_key=KEY, default_headers={"x-always": "1"}, extra_headers={"x-this-time": "2"})
    await agent_on(model).arun("Hello")
    headers = aimock.entries()[0]["headers"]
    # aimock blanks out the key itself.
    assert "authorization" in headers
    assert (headers["x-always"], headers["x-this-time"]) == ("1", "2")


async def test_instructions_go_to_other_servers_as_system(llmock: Any) -> None:
    base_url = llmock.base_url()
    models = [
        chat(base_url),
        OpenAIChat(id="gpt-test"),  # by OPENAI_BASE_URL, which llmock sets
    ]
    for model in models:
        await agent_on(model, instructions="Be brief.").arun("Hello")
    assert [sent_roles(request.body) for request in llmock.requests] == [["system", "user"]] * 2


async def test_a_server_named_to_the_client_is_another_server_too(llmock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    base_url = llmock.base_url()
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    async with openai.AsyncOpenAI(base_url=base_url, api_key="test") as client:
        models = [
            OpenAIChat(id="gpt-test", client_params={"base_url": base_url}),
            OpenAIChat(id="gpt-test", async_client=client),
        ]
        runs = [await agent_on(model, instructions="Be brief.").arun("Hello") for model in models]

    assert [run.status for run in runs] == [RunStatus.completed] * 2, [run.content for run in runs]
    assert [sent_roles(request.body) for request in llmock.requests] == [["system", "user"]] * 2


async def test_instructions_go_to_openai_itself_as_developer(llmock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class ToLLMock(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            asked.append(request.url.host)
            here = httpx2.URL(llmock.url)
            request.url = request.url.copy_with(scheme="http", host=here.host, port=here.port)
            return await super().handle_async_request(request)

    asked: list[str] = []
    monkeypatch.delenv("OPENAI_BASE_URL")
    for base_url in (None, "https://api.openai.com/v1"):
        async with httpx2.AsyncClient(transport=ToLLMock()) as client:
            model = OpenAIChat(id="gpt-test", base_url=base_url, api_key="test", client_params={"http_client": client})
            await agent_on(model, instructions="Be brief.").arun("Hello")

    assert asked == ["api.openai.com"] * 2
    assert [sent_roles(request.body) for request in llmock.requests] == [["developer", "user"]] * 2


async def test_role_map_has_the_last_word(llmock: Any) -> None:
    model = chat(llmock.base_url(), role_map={"system": "developer", "user": "human"})
    await agent_on(model, instructions="Be brief.").arun("Hello")
    assert sent_roles(llmock.last_request.body) == ["developer", "human"]


# Keys.


async def test_a_wrong_key_is_told_in_the_providers_words(llmock: Any) -> None:
    llmock.fail(401, message="Incorrect API key provided", times=None)
    agent = agent_on(chat(llmock.base_url(), api_key=KEY, max_retries=2), raise_model_errors=True)
    with pytest.raises(ModelAuthenticationError, match=r"401.*Incorrect API key provided") as caught:
        await agent.arun("Hello")

    assert caught.value.status_code == 401
    assert len(llmock.requests) == 1
    assert KEY not in f"{caught.value!r} {agent!r} {(await stored_run(agent)).to_json()}"


async def test_without_a_key_the_error_says_where_to_put_one() -> None:
    agent = agent_on(OpenAIChat(id="gpt-test"))
    run = await agent.arun("Hello")
    assert run.status == RunStatus.error
    assert "OPENAI_API_KEY" in run.content
    assert "api_key=" in run.content
    assert (await stored_run(agent)).content == run.content


async def test_a_server_of_ones_own_needs_no_key(llmock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    llmock.reply("Hi")
    assert (await agent_on(chat(llmock.base_url())).arun("Hello")).content == "Hi"


# Faults before the answer.


async def test_a_rate_limit_is_waited_out_and_the_run_completes(llmock: Any) -> None:
    llmock.rate_limit(retry_after=0.3).reply("At last.")
    run = await agent_on(chat(llmock.base_url(), max_retries=2)).arun("Hello")

    assert (run.status, run.content) == (RunStatus.completed, "At last.")
    limited, answered = llmock.requests
    assert answered.started_at - limited.ended_at >= 0.3
    llmock.assert_resilient(strict=True)


async def test_a_rate_limit_beyond_the_retries_tells_how_long_to_wait(llmock: Any) -> None:
    llmock.rate_limit(retry_after=7, times=None)
    agent = agent_on(chat(llmock.base_url()), raise_model_errors=True)
    with pytest.raises(ModelRateLimited) as caught:
        await agent.arun("Hello")
    assert (caught.value.status_code, caught.value.retry_after) == (429, 7.0)
    assert (await stored_run(agent)).status == RunStatus.error


async def test_a_server_error_is_retried_by_the_client(llmock: Any) -> None:
    llmock.fail(500).reply("Again.")
    run = await agent_on(chat(llmock.base_url(), max_retries=1)).arun("Hello")
    assert run.content == "Again."
    assert [request.status for request in llmock.requests] == [500, 200]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_server_error_ends_the_run_with_status_error_and_its_text(llmock: Any, stream: bool) -> None:
    llmock.fail(500, message="Out of order")
    agent = agent_on(chat(llmock.base_url()))
    if stream:
        last = (await streamed(agent, "Hello"))[-1]
        assert isinstance(last, RunErrorEvent)
        assert last.error_type == "ModelError"
    else:
        await agent.arun("Hello")

    stored = await stored_run(agent)
    assert stored.status == RunStatus.error
    assert "500" in stored.content
    assert "Out of order" in stored.content
    assert stored.input is not None
    assert stored.input.input_content == "Hello"


async def test_an_error_is_raised_once_the_run_is_stored(llmock: Any) -> None:
    llmock.fail(400, message="Too long", code="context_length_exceeded")
    agent = agent_on(chat(llmock.base_url()), raise_model_errors=True)
    with pytest.raises(ModelError, match="Too long") as caught:
        await agent.arun("Hello")

    assert (caught.value.model, caught.value.status_code) == ("gpt-test", 400)
    assert isinstance(caught.value.__cause__, openai.BadRequestError)
    stored = await stored_run(agent)
    assert (stored.status, stored.content) == (RunStatus.error, str(caught.value))


async def test_a_model_that_does_not_answer_in_time_is_a_time_out(llmock: Any) -> None:
    llmock.delay(0.6)
    agent = agent_on(chat(llmock.base_url(), timeout=0.2), raise_model_errors=True)
    with pytest.raises(ModelTimeout, match="gpt-test"):
        await agent.arun("Hello")
    assert (await stored_run(agent)).status == RunStatus.error


async def test_a_server_that_is_not_there_is_named_as_unreachable() -> None:
    async with server_saying(b"") as url:
        pass
    run = await agent_on(chat(url)).arun("Hello")
    assert run.status == RunStatus.error
    assert "cannot be reached" in run.content


# Faults within the answer.


@pytest.mark.parametrize("fault", ["truncate", "corrupt", "disconnect"])
async def test_a_broken_stream_is_an_error_and_never_an_answer(llmock: Any, fault: str) -> None:
    getattr(llmock.reply("one two three"), fault)(after_chunks=2)
    agent = agent_on(chat(llmock.base_url(), max_retries=2))
    events = await streamed(agent, "Count")

    assert text_of(events) == "one "
    assert isinstance(events[-1], RunErrorEvent)
    assert events[-1].error_type == "IncompleteResponse"
    assert not any(isinstance(event, RunCompletedEvent) for event in events)
    stored = await stored_run(agent)
    assert (stored.status, stored.content) == (RunStatus.error, events[-1].content)
    assert stored.input is not None
    assert stored.input.input_content == "Count"
    assert [(message.role, message.content) for message in stored.messages or ()] == [("user", "Count"), ("assistant", "one ")]
    assert len(llmock.requests) == 1


async def test_a_stream_that_stalls_is_a_time_out(llmock: Any) -> None:
    llmock.reply("one two three").stall(after_chunks=2, seconds=60)
    agent = agent_on(chat(llmock.base_url(), timeout=2))
    events = await streamed(agent, "Count")
    assert text_of(events) == "one "
    assert events[-1].error_type == "ModelTimeout"
    assert (await stored_run(agent)).status == RunStatus.error


async def test_a_tool_call_cut_off_is_not_carried_out(llmock: Any) -> None:
    def erase(path: str) -> None:
        erased.append(path)

    erased: list[str] = []
    llmock.call_tool("erase", {"path": "/home/someone/old"}).truncate(after_chunks=3)
    agent = agent_on(chat(llmock.base_url()), tools=[erase])
    events = await streamed(agent, "Clean up")
    assert events[-1].error_type == "IncompleteResponse"
    assert erased == []


async def test_a_failed_turn_is_no_part_of_the_history(llmock: Any) -> None:
    llmock.reply("Hello, Ann.").reply("one two three").truncate(after_chunks=2).reply("Still Ann.")
    agent = agent_on(chat(llmock.base_url()), add_history_to_context=True)
    await agent.arun("I am Ann.")
    await streamed(agent, "Count")
    await agent.arun("Who am I?")

    assert [message["content"] for message in llmock.last_request.body["messages"]] == ["I am Ann.", "Hello, Ann.", "Who am I?"]


async def test_a_reader_who_leaves_the_stream_closes_the_connection_and_the_run_is_stored_as_cancelled(llmock: Any) -> None:
    llmock.reply("one " * 200).pace(5)
    agent = agent_on(chat(llmock.base_url()))
    events: Any = agent.arun("Count", stream=True)
    async with aclosing(events):
        async for _ in events:
            break

    stored = await stored_run(agent)
    assert (stored.status, stored.content) == (RunStatus.cancelled, "one ")
    assert not llmock.last_request.completed


@pytest.mark.parametrize("choices", [[], None])
async def test_an_answer_without_choices_is_no_answer(choices: Any) -> None:
    async with server_saying({**completion({}), "choices": choices}) as url:
        agent = agent_on(chat(url), raise_model_errors=True)
        with pytest.raises(IncompleteResponse, match="without any choice"):
            await agent.arun("Hello")
    assert (await stored_run(agent)).status == RunStatus.error


async def test_an_error_told_with_status_200_is_told_on() -> None:
    async with server_saying({"error": {"message": "no worker is free", "code": 502}}) as url:
        run = await agent_on(chat(url)).arun("Hello")
    assert run.status == RunStatus.error
    assert "no worker is free" in run.content


async def test_a_stream_without_choices_is_no_answer() -> None:
    async with events_saying(chunk(usage={"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5})) as url:
        events = await streamed(agent_on(chat(url)), "Hello")
    assert events[-1].error_type == "IncompleteResponse"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_web_page_is_no_answer(stream: bool) -> None:
    async with server_saying(b"<html>Welcome</html>", content_type="text/html") as url:
        agent = agent_on(chat(url))
        await (streamed(agent, "Hello") if stream else agent.arun("Hello"))
    stored = await stored_run(agent)
    assert stored.status == RunStatus.error
    assert "gpt-test" in stored.content


async def test_an_answer_cut_off_within_its_json_is_no_answer() -> None:
    async with server_saying(json.dumps(completion({"content": "Hi"})).encode()[:-20]) as url:
        agent = agent_on(chat(url), raise_model_errors=True)
        with pytest.raises(IncompleteResponse):
            await agent.arun("Hello")


async def test_an_error_told_within_the_stream_is_told_on() -> None:
    error = {"error": {"message": "the worker lost its credentials", "type": "server_error"}}
    async with events_saying(chunk({"content": "one "}), error) as url:
        events = await streamed(agent_on(chat(url)), "Count")
    assert text_of(events) == "one "
    assert events[-1].error_type == "ModelError"
    assert "the worker lost its credentials" in events[-1].content


# Tool calls as other servers stream them.


async def test_a_tool_call_without_an_id_is_given_one_that_its_result_answers() -> None:
    def visit() -> str:
        return "Nice."

    calls = [{"id": "", "type": "function", "function": {"name": "visit", "arguments": "{}"}}] * 2
    async with server_saying(completion({"content": None, "tool_calls": calls}), completion({"content": "Back."})) as url:
        run = await agent_on(chat(url), tools=[visit]).arun("Travel")

    assert run.content == "Back."
    _, called, *results, _ = run.messages or ()
    ids = [call["id"] for call in called.tool_calls or ()]
    assert len({*ids, ""}) == 3
    assert [result.tool_call_id for result in results] == ids


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "visit", "arguments": '{"city": "Oslo"}'}},
                {"index": 0, "id": "b", "function": {"name": "visit", "arguments": '{"city": "Rome"}'}},
            ],
            id="whole, index 0 for all",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "visit", "arguments": '{"city":'}},
                {"index": 0, "function": {"arguments": ' "Oslo"}'}},
                {"index": 0, "id": "b", "function": {"name": "visit", "arguments": '{"city":'}},
                {"index": 0, "function": {"arguments": ' "Rome"}'}},
            ],
            id="in pieces, index 0 for all",
        ),
        pytest.param(
            [
                {"id": "a", "function": {"name": "visit", "arguments": '{"city": "Oslo"}'}},
                {"id": "b", "function": {"name": "visit", "arguments": '{"city": "Rome"}'}},
            ],
            id="whole, no index",
        ),
        pytest.param(
            [
                {"index": 0, "id": "a", "function": {"name": "visit", "arguments": '{"city":'}},
                {"index": 1, "id": "b", "function": {"name": "visit", "arguments": '{"city":'}},
                {"index": 0, "function": {"arguments": ' "Oslo"}'}},
                {"index": 1, "function": {"arguments": ' "Rome"}'}},
            ],
            id="in turns",
        ),
    ],
)
async def test_streamed_tool_calls_are_told_apart(pieces: list[dict[str, Any]]) -> None:
    chunks = [chunk({"tool_calls": [piece]}) for piece in pieces]
    request = ModelRequest(messages=[Message(role="user", content="Travel")], stream=True)
    async with events_saying(*chunks, chunk({}, finish_reason="tool_calls")) as url:
        calls = [call async for delta in chat(url).respond(request) for call in delta.tool_calls]
    assert calls == [
        {"id": name, "type": "function", "function": {"name": "visit", "arguments": json.dumps({"city": city})}}
        for name, city in (("a", "Oslo"), ("b", "Rome"))
    ]
