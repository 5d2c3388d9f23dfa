"""Models by name, what each setting sends, and what an answer is counted and kept as."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from typing import Any

import httpx2
import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, IncompleteResponse
from agno_mongo.messages import Message
from agno_mongo.models import get_model
from agno_mongo.models.base import Model, ModelDelta, ModelRequest
from agno_mongo.models.demo import DemoModel
from agno_mongo.models.ollama import Ollama
from agno_mongo.models.openai import OpenAIChat, OpenAILike, OpenAIResponses, OpenResponses
from agno_mongo.testing import ScriptedModel
from tests.saying import at, chunk, completion, saying

ASKED = ModelRequest(messages=[Message(role="user", content="go")])


def chat(base_url: str, **settings: Any) -> OpenAIChat:
    return OpenAIChat(**at(base_url, **{"id": "gpt-test", **settings}))


async def answer(model: Model, *, stream: bool = False) -> list[ModelDelta]:
    request = ModelRequest(messages=ASKED.messages, stream=stream)
    return [delta async for delta in model.respond(request)]


# By name.


@pytest.mark.parametrize(
    ("name", "kind", "id_"),
    [
        ("openai:gpt-5-mini", OpenAIResponses, "gpt-5-mini"),
        ("openai-responses:gpt-5-mini", OpenAIResponses, "gpt-5-mini"),
        ("openai-chat:gpt-5-mini", OpenAIChat, "gpt-5-mini"),
        (" OpenAI-Chat : ft:gpt-4o:acme ", OpenAIChat, "ft:gpt-4o:acme"),
        ("openai-like:qwen", OpenAILike, "qwen"),
        ("open-responses:qwen", OpenResponses, "qwen"),
        ("ollama:llama3.2:1b", Ollama, "llama3.2:1b"),
        ("demo:demo", DemoModel, "demo"),
    ],
)
def test_a_text_names_a_model(name: str, kind: type, id_: str) -> None:
    model = Agent(model=name).model
    assert type(model) is kind
    assert isinstance(model, Model)
    assert model.id == id_


async def test_a_named_model_answers_and_is_stored_by_its_name() -> None:
    agent = Agent(model="demo:demo", db=InMemoryDb(), session_id="s")
    await agent.arun("What is the capital of France?")
    stored = await agent.aget_last_run_output()
    assert stored is not None
    assert (stored.model, stored.model_provider, stored.content) == ("demo", "offline", "The capital of France is Paris.")


async def test_a_model_may_be_named_later() -> None:
    agent = Agent(model=ScriptedModel())
    agent.model = "demo:demo"
    assert (await agent.arun("What is the capital of Italy?")).content == "The capital of Italy is Rome."


def test_a_named_server_is_reached_with_the_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="set the environment variable OPENROUTER_API_KEY"):
        get_model("openrouter:qwen/qwen3")
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or")
    model = get_model("openrouter:qwen/qwen3")
    assert isinstance(model, OpenAILike)
    assert (model.id, model.provider, model.base_url, model.api_key) == (
        "qwen/qwen3", "OpenRouter", "https://openrouter.ai/api/v1", "sk-or",
    )  # fmt: skip
    assert "sk-or" not in repr(model)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("gpt-5-mini", "takes a model such as OpenAIChat.*'openai:gpt-5-mini': provider, colon, id; not 'gpt-5-mini'"),
        ("openai:", "provider, colon, id"),
        (":gpt", "provider, colon, id"),
        ("", "provider, colon, id"),
        ("opnai:gpt", "no provider 'opnai'; known are openai, openai-responses, openai-chat"),
        (7, "takes a model such as OpenAIChat"),
        (ScriptedModel, "takes a model such as OpenAIChat"),
    ],
)
def test_what_names_no_model_is_refused_at_once(given: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Agent(model=given)


def test_import_paths_mirror_agnos() -> None:
    from agno_mongo.models.base import Model
    from agno_mongo.models.fallback import FallbackConfig
    from agno_mongo.models.openai.chat import OpenAIChat as Chat
    from agno_mongo.models.openai.like import OpenAILike as Like
    from agno_mongo.models.openai.open_responses import OpenResponses as Open
    from agno_mongo.models.openai.responses import OpenAIResponses as Responses
    from agno_mongo.models.utils import get_model

    assert (Chat, Like, Responses, Open) == (OpenAIChat, OpenAILike, OpenAIResponses, OpenResponses)
    assert all((Model, FallbackConfig, get_model))


# What is sent.


async def test_every_setting_of_a_chat_model_is_sent() -> None:
    settings: dict[str, Any] = {
        "temperature": 0.5, "top_p": 0.9, "top_logprobs": 2, "parallel_tool_calls": False, "reasoning_effort": "low", "verbosity": "low",
        "store": True, "metadata": {"a": "b"}, "user": "ann", "safety_identifier": "s", "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "service_tier": "flex", "max_tokens": 5, "max_completion_tokens": 6, "frequency_penalty": 0.1,
        "presence_penalty": 0.2, "logit_bias": {"50256": -100}, "logprobs": True, "modalities": ["text"], "audio": {"voice": "ash"},
        "prediction": {"type": "content", "content": "x"}, "web_search_options": {}, "seed": 7, "stop": ["END"],
    }  # fmt: skip
    async with saying(completion({"content": "ok"})) as server:
        await answer(chat(server.url, **settings, extra_query={"v": "1"}, extra_headers={"x-a": "1"}, extra_body={"b": 2}))
    assert server.asked == [{"model": "gpt-test", "messages": [{"role": "user", "content": "go"}], **settings, "b": 2}]
    assert server.heads[0].startswith("POST /v1/chat/completions?v=1 ")
    assert "x-a: 1" in server.heads[0]


async def test_a_form_for_the_answer_is_sent() -> None:
    schema = {"name": "City", "schema": {"type": "object"}, "strict": True}
    request = ModelRequest(messages=ASKED.messages, response_format={"type": "json_schema", "json_schema": schema})
    async with saying(*[completion({"content": "{}"})] * 2) as server:
        for strict in (True, False):
            _ = [delta async for delta in chat(server.url, strict_output=strict).respond(request)]
    assert [asked["response_format"]["json_schema"]["strict"] for asked in server.asked] == [True, False]


async def test_a_client_of_ones_own_is_used_and_left_open() -> None:
    async with saying(completion({"content": "ok"})) as server, httpx2.AsyncClient(headers={"x-mine": "1"}) as client:
        model = chat(server.url, http_client=client, default_query={"q": "1"})
        await answer(model)
        await model._clients.close()
        assert not client.is_closed
    assert "?q=1" in server.heads[0]


async def test_a_server_like_openais_is_not_sent_openais_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with saying(completion({"content": "ok"})) as server:
        run = await Agent(model=OpenAILike(id="qwen", base_url=server.url), instructions="Be brief.").arun("go")
    assert "authorization: bearer not-provided" in server.heads[0].lower()
    assert server.asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (run.model, run.model_provider) == ("qwen", "OpenAILike")


# What is counted.

USAGE = {
    "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 80, "audio_tokens": 3, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 2},
}  # fmt: skip


async def test_tokens_and_cost_of_all_requests_add_up_in_run_and_session(db: MongoDb) -> None:
    def now() -> str:
        return "noon"

    calls = [{"id": "1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]
    answers = (completion({"tool_calls": calls}, "tool_calls", usage=USAGE), *[completion({"content": "ok"}, usage=USAGE)] * 2)
    price = (20 * 2.0 + 80 * 0.5 + 50 * 10.0) / 1_000_000
    async with saying(*answers) as server:
        model = chat(server.url, cost_per_million=(2.0, 0.5, 10.0))
        agent = Agent(model=model, db=db, session_id="s", tools=[now])
        runs = [await agent.arun("go") for _ in range(2)]
        total = await agent.aget_session_metrics()
    assert [run.metrics.cost for run in runs if run.metrics] == [pytest.approx(2 * price), pytest.approx(price)]
    assert total.cost == pytest.approx(math.fsum([price] * 3), rel=1e-12)
    assert (total.input_tokens, total.cache_read_tokens, total.cache_write_tokens, total.reasoning_tokens) == (300, 240, 15, 120)
    assert (total.audio_input_tokens, total.audio_output_tokens, total.audio_total_tokens) == (9, 6, 15)


async def test_a_cost_that_the_provider_tells_is_believed() -> None:
    async with saying(completion({"content": "ok"}, usage={**USAGE, "cost": 0.25})) as server:
        run = await Agent(model=chat(server.url, cost_per_million=(1, 1, 1))).arun("go")
    assert run.metrics is not None
    assert run.metrics.cost == 0.25


async def test_without_prices_there_is_no_cost() -> None:
    async with saying(completion({"content": "ok"}, usage=USAGE)) as server:
        run = await Agent(model=chat(server.url)).arun("go")
    assert run.metrics is not None
    assert run.metrics.cost is None


@pytest.mark.parametrize("prices", [(1, 2), (1, 2, -3), "123", (1, 2, True), (1, 2, 3, 4), {"input": 1}])
def test_prices_that_are_none_are_refused(prices: Any) -> None:
    with pytest.raises(ConfigurationError, match="cost_per_million is"):
        OpenAIChat(cost_per_million=prices)


@pytest.mark.parametrize("settings", [{"retries": -1}, {"delay_between_retries": "1"}])
def test_retries_that_are_none_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        OpenAIResponses(**settings)


async def test_the_first_thought_is_the_first_token() -> None:
    pieces = [chunk({"reasoning": "Hm."}), chunk({"content": "Yes."}), chunk({}, finish_reason="stop")]
    async with saying(pieces) as server:
        agent = Agent(model=chat(server.url), db=InMemoryDb(), session_id="s")
        events = [event async for event in agent.arun("go", stream=True, stream_events=True)]
    asked = next(event for event in events if event.event == "ModelRequestCompleted")
    assert asked.time_to_first_token is not None
    assert events[-1].metrics.time_to_first_token == asked.time_to_first_token
    stored = await agent.aget_last_run_output()
    assert stored is not None
    assert (stored.reasoning_content, stored.content) == ("Hm.", "Yes.")


# What is kept.


@pytest.mark.parametrize("stream", [False, True])
async def test_a_spoken_answer_is_its_transcript_and_the_sound_is_kept(stream: bool) -> None:
    halves = [b64encode(sound).decode() for sound in (b"ping", b"pong")]
    whole = {"id": "audio_1", "expires_at": 9, "data": b64encode(b"pingpong").decode(), "transcript": "Hello there"}
    pieces = [
        chunk({"audio": {"id": "audio_1", "transcript": "Hello"}}),
        chunk({"audio": {"data": halves[0]}}),
        chunk({"audio": {"data": halves[1], "transcript": " there"}}),
        chunk({"audio": {"expires_at": 9}}, finish_reason="stop"),
    ]
    async with saying(pieces if stream else completion({"audio": whole})) as server:
        model = chat(server.url, modalities=["text", "audio"], audio={"voice": "ash", "format": "pcm16"})
        agent = Agent(model=model, db=InMemoryDb(), session_id="s")
        if stream:
            done: Any = [event async for event in agent.arun("go", stream=True, stream_events=True)][-1]
        else:
            done = await agent.arun("go")
        stored = await agent.aget_last_run_output()
    assert stored is not None
    assert stored.content == "Hello there"
    for spoken in (stored.response_audio, done.response_audio):
        assert spoken is not None
        assert (spoken.content, spoken.format, spoken.transcript) == (b"pingpong", "pcm16", "Hello there")
        assert (spoken.id, spoken.expires_at) == ("audio_1", 9)
    sound = ((stored.messages or ())[-1].provider_data or {})["audio"]
    assert (sound["type"], sound["id"], sound["expires_at"], sound["format"]) == ("audio", "audio_1", 9, "pcm16")
    assert b64decode(sound["data"]) == b"pingpong"


async def test_a_sound_is_not_stored_where_media_are_not() -> None:
    whole = {"id": "audio_1", "expires_at": 9, "data": b64encode(b"pingpong").decode(), "transcript": "Hello"}
    async with saying(completion({"audio": whole})) as server:
        agent = Agent(model=chat(server.url, audio={"format": "wav"}), db=InMemoryDb(), session_id="s", store_media=False)
        await agent.arun("go")
    stored = await agent.aget_last_run_output()
    assert stored is not None
    kept = ((stored.messages or ())[-1].provider_data or {})["audio"]
    assert kept["text"].startswith("[audio/wav, 8 bytes, sha256 ")
    assert stored.response_audio is not None
    assert (stored.response_audio.content, stored.response_audio.not_stored) == (None, kept["text"])


async def test_a_sound_that_is_none_is_an_error() -> None:
    async with saying([chunk({"audio": {"data": "x"}})]) as server:
        with pytest.raises(IncompleteResponse, match="no base64"):
            await answer(chat(server.url), stream=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_probabilities_are_kept_if_they_are_asked_for(stream: bool) -> None:
    token = {"token": "ok", "logprob": -0.1, "bytes": [111, 107], "top_logprobs": []}
    told = {"logprobs": {"content": [token], "refusal": None}}
    said = completion({"content": "ok"})
    said["choices"][0] |= told
    pieces = [chunk({"content": "ok"}, choice=told), chunk({}, finish_reason="stop")]
    async with saying(pieces if stream else said) as server:
        last = (await answer(chat(server.url, logprobs=True), stream=stream))[-1]
    assert last.provider_data == {"logprobs": [token]}
