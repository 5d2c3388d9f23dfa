"""OpenAIResponses under an Agent, over real HTTP: what is sent, what is kept, and whose history it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, IncompleteResponse, ModelError, ModelRateLimited
from agno_mongo.media import File, Image
from agno_mongo.messages import Message
from agno_mongo.models.base import ModelRequest
from agno_mongo.models.openai import OpenAIChat, OpenAIResponses, OpenResponses
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.run.agent import RunContentEvent, RunErrorEvent
from tests.llm_servers import AIMock, Answer, ToolCall
from tests.saying import Said, at, call_item, completion, response, saying, streamed, text_item, thought_item


def model_at(url: str, **settings: Any) -> OpenAIResponses:
    return OpenAIResponses(**at(url, **{"id": "gpt-5-test", **settings}))


def agent_on(model: Any, **settings: Any) -> Agent:
    return Agent(**{"model": model, "db": InMemoryDb(), "session_id": "s", **settings})


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


async def stored_run(agent: Agent) -> RunOutput:
    stored = await agent.aget_last_run_output()
    assert stored is not None
    return stored


async def events_of(agent: Agent, text: str = "go") -> list[Any]:
    return [event async for event in agent.arun(text, stream=True, stream_events=True)]


def shown(events: list[Any], field: str = "content") -> str:
    return "".join(getattr(event, field) or "" for event in events if isinstance(event, RunContentEvent))


async def sent_for(request: ModelRequest, **settings: Any) -> dict[str, Any]:
    """The body of a request."""
    async with saying(response(text_item("ok"))) as server:
        async for _ in model_at(server.url, **settings).respond(request):
            pass
    return server.asked[0]


def asking(*messages: Message, **more: Any) -> ModelRequest:
    return ModelRequest(messages=messages or [Message(role="user", content="go")], **more)


# A conversation.


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_tools_is_ours_and_sent_whole(aimock: AIMock, stream: bool) -> None:
    aimock.script(
        Answer(tool_calls=(ToolCall("add", {"a": 2, "b": 3}, id="call_1"), ToolCall("add", {"a": 1}, id="call_2"))),
        Answer(text="Five and two.", usage={"prompt_tokens": 7, "completion_tokens": 5}),
        Answer(text="You asked for sums."),
    )
    agent = agent_on(model_at(aimock.base_url, id="gpt-4o"), tools=[add], instructions="Be brief.", add_history_to_context=True)
    events = await events_of(agent, "Add.") if stream else []
    run = await stored_run(agent) if stream else await agent.arun("Add.")
    assert (run.status, run.content) == (RunStatus.completed, "Five and two.")
    assert not stream or shown(events) == "Five and two."
    assert run.metrics is not None
    assert (run.metrics.input_tokens, run.metrics.output_tokens) == (7, 5)
    await agent.arun("What did I ask?")

    spoken = [(message["role"], message.get("content")) for message in aimock.journal("/responses")[-1]["messages"]]
    assert spoken == [
        ("system", "Be brief."),
        ("user", "Add."),
        ("assistant", None),
        ("assistant", None),
        ("tool", "5"),
        ("tool", "2"),
        ("assistant", "Five and two."),
        ("user", "What did I ask?"),
    ]
    assert len(aimock.journal("/responses")) == 3


async def test_tools_are_offered_flat_and_not_strict_unless_they_say_so() -> None:
    tools = [
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "sub", "parameters": {"type": "object"}, "strict": True}},
        {"type": "web_search", "search_context_size": "low"},
    ]
    choice = {"type": "function", "function": {"name": "add"}}
    body = await sent_for(asking(tools=tools, tool_choice=choice))
    assert body["tools"] == [
        {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False},
        {"type": "function", "name": "sub", "parameters": {"type": "object"}, "strict": True},
        {"type": "web_search", "search_context_size": "low"},
    ]
    assert body["tool_choice"] == {"type": "function", "name": "add"}
    assert (await sent_for(asking(tools=tools, tool_choice="required")))["tool_choice"] == "required"


async def test_settings_are_sent_and_those_left_out_are_not() -> None:
    assert await sent_for(asking(), id="gpt-4o") == {"model": "gpt-4o", "input": [{"role": "user", "content": "go"}]}
    settings: dict[str, Any] = {
        "temperature": 0.0, "top_p": 0.5, "max_output_tokens": 9, "max_tool_calls": 3, "parallel_tool_calls": False, "store": False,
        "truncation": "auto", "metadata": {"a": "b"}, "user": "ann", "service_tier": "flex", "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "safety_identifier": "s", "top_logprobs": 2, "extra_body": {"x": 1}, "include": ["file_search_call.results"],
    }  # fmt: skip
    body = await sent_for(asking(), id="gpt-4o", **settings)
    assert {name: body[name] for name in settings if name != "extra_body"} == {
        name: value for name, value in settings.items() if name != "extra_body"
    }
    assert body["x"] == 1
    thinking = {"reasoning": {"effort": "low"}, "reasoning_effort": "high", "reasoning_summary": "auto", "verbosity": "low"}
    body = await sent_for(asking(), id="gpt-4o", **thinking, request_params={"max_output_tokens": 5})
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert (body["text"], body["max_output_tokens"]) == ({"verbosity": "low"}, 5)


@pytest.mark.parametrize(
    ("model", "thinks"),
    [("gpt-5-mini", True), ("o3", True), ("o4-mini", True), ("openai/gpt-5", True), ("gpt-6", True), ("gpt-4o", False),
     ("gpt-4.1", False), ("gpt-5-chat-latest", False), ("gpt-oss-20b", False), ("qwen-o1", False)],
)  # fmt: skip
async def test_thoughts_are_asked_for_where_there_are_any(model: str, thinks: bool) -> None:
    assert ("include" in await sent_for(asking(), id=model)) == thinks


async def test_a_form_for_the_answer_is_sent_as_this_api_wants_it() -> None:
    schema = {"name": "City", "schema": {"type": "object"}, "strict": True}
    form = {"type": "json_schema", "json_schema": schema}
    assert (await sent_for(asking(response_format=form)))["text"] == {"format": {"type": "json_schema", **schema}}
    lenient = await sent_for(asking(response_format=form), strict_output=False)
    assert lenient["text"]["format"]["strict"] is False
    assert (await sent_for(asking(response_format={"type": "json_object"})))["text"] == {"format": {"type": "json_object"}}


async def test_parts_of_a_message_are_sent_in_this_apis_words() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": "data:image/png;base64,AA=="},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        {"type": "input_image", "file_id": "file-1"},
        "and this?",
    ]
    assert (await sent_for(asking(Message(role="user", content=parts))))["input"][0]["content"] == [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_text", "text": "and this?"},
    ]


async def test_media_of_the_user_and_of_tools_are_sent_in_this_apis_words() -> None:
    called = [{"id": "1", "type": "function", "function": {"name": "draw", "arguments": "{}"}}]
    messages = [
        Message(role="user", content="Draw this", images=[Image(url="https://example.com/a.png")], files=[File(id="file-1")]),
        Message(role="assistant", tool_calls=called),
        Message(role="tool", tool_call_id="1", content="done", images=[Image(content=b"a" * 300_000, mime_type="image/png")]),
    ]
    asked, _, result, shown = (await sent_for(asking(*messages)))["input"]
    assert asked["content"] == [
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_text", "text": "Draw this"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
    ]
    assert result == {"type": "function_call_output", "call_id": "1", "output": "done"}
    assert (shown["role"], [part["type"] for part in shown["content"]]) == ("user", ["input_text", "input_image"])
    assert shown["content"][1]["image_url"].startswith("data:image/png;base64,YWFh")


# Thoughts.


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_go_back_with_the_tool_calls_they_led_to_and_not_in_later_turns(stream: bool) -> None:
    first = (thought_item("I must add."), call_item("add", {"a": 2}))
    second = (thought_item("It is three.", id="rs_2"), text_item("Three."))
    make = streamed if stream else response
    async with saying(make(*first), make(*second), make(text_item("Bye."))) as server:
        agent = agent_on(model_at(server.url), tools=[add], add_history_to_context=True)
        if stream:
            assert shown(await events_of(agent), "reasoning_content") == "I must add.It is three."
        else:
            await agent.arun("go")
        await agent.arun("Thanks")

    assert server.asked[0]["include"] == ["reasoning.encrypted_content"]
    assert server.asked[1]["input"] == [
        {"role": "user", "content": "go"},
        thought_item("I must add."),
        {"type": "function_call", "id": "fc_call_1", "call_id": "call_1", "name": "add", "arguments": '{"a": 2}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "3"},
    ]
    assert server.asked[2]["input"] == [
        {"role": "user", "content": "go"},
        {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": '{"a": 2}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "3"},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": "Thanks"},
    ]


async def test_thoughts_are_stored_once_and_read_by_the_process_that_goes_on(db: MongoDb) -> None:
    async with saying(response(thought_item("Hm."), call_item("add", {"a": 2})), response(text_item("Three."))) as server:
        await agent_on(model_at(server.url), tools=[add], db=db).arun("go")
    stored = await stored_run(agent_on(OpenAIChat(), db=db))
    answer = (stored.messages or ())[1]
    assert answer.reasoning_content == "Hm."
    assert answer.provider_data == {
        "response_id": "resp_1",
        "model": "gpt-5-test",
        "output": [thought_item("Hm."), {"type": "function_call", "id": "fc_call_1", "call_id": "call_1"}],
    }
    assert (stored.messages or ())[3].provider_data == {"response_id": "resp_1", "follows": answer.id}


@pytest.mark.parametrize("change", ["another model", "another call", "no seal"])
async def test_thoughts_that_cannot_be_told_again_are_left_out(change: str) -> None:
    seal = None if change == "no seal" else "sealed"
    kept = {"model": "gpt-5-test", "output": [thought_item("Hm.", encrypted=seal), {"type": "function_call", "call_id": "1"}]}
    called = "2" if change == "another call" else "1"
    calls = [{"id": called, "type": "function", "function": {"name": "add", "arguments": ""}}]
    messages = [
        Message(role="user", content="go"),
        Message(role="assistant", content="So:", tool_calls=calls, provider_data=kept),
        Message(role="tool", tool_call_id=called, content="3"),
    ]
    body = await sent_for(asking(*messages), id="o3" if change == "another model" else "gpt-5-test")
    assert body["input"][1:] == [
        {"role": "assistant", "content": "So:"},
        {"type": "function_call", "call_id": called, "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": called, "output": "3"},
    ]


async def test_calls_of_the_providers_own_tools_and_sources_are_kept() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    source = {"type": "url_citation", "url": "https://example.com", "title": "t", "start_index": 0, "end_index": 1}
    found = text_item("Found.")
    token = {"token": "Found", "logprob": -0.1, "bytes": [70], "top_logprobs": []}
    found["content"][0] |= {"annotations": [source], "logprobs": [token]}
    async with saying(response(search, found)) as server:
        run = await agent_on(model_at(server.url, request_params={"tools": [{"type": "web_search"}]})).arun("go")
    answer = (run.messages or ())[-1]
    assert run.content == "Found."
    assert answer.provider_data is not None
    assert (answer.provider_data["annotations"], answer.provider_data["logprobs"]) == ([source], [token])
    assert [item["type"] for item in answer.provider_data["output"]] == ["web_search_call", "message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_several_texts_are_one_answer_with_lines_between_them(stream: bool) -> None:
    output = (text_item("Let me see.", phase="commentary"), text_item("It is so.", id="msg_2", phase="final_answer"))
    make = streamed if stream else response
    async with saying(make(*output), make(text_item("Bye."))) as server:
        agent = agent_on(model_at(server.url), add_history_to_context=True)
        assert not stream or shown(await events_of(agent)) == "Let me see.\n\nIt is so."
        if not stream:
            await agent.arun("go")
        assert (await stored_run(agent)).content == "Let me see.\n\nIt is so."
        await agent.arun("Thanks")
    assert server.asked[1]["input"][1:3] == [
        {"role": "assistant", "content": "Let me see.", "phase": "commentary"},
        {"role": "assistant", "content": "It is so.", "phase": "final_answer"},
    ]


async def test_a_stream_that_tells_all_at_its_end_is_an_answer() -> None:
    events = streamed(thought_item("Hm."), text_item("Yes."))
    async with saying([events[0], events[-1]]) as server:
        agent = agent_on(model_at(server.url))
        assert shown(await events_of(agent)) == "Yes."
    assert (await stored_run(agent)).reasoning_content == "Hm."


async def test_a_session_that_chat_completions_began_goes_on_here_and_back() -> None:
    calls = [{"id": "call_9", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]
    chat_answers = (completion({"tool_calls": calls}, "tool_calls"), completion({"content": "Two."}))
    async with saying(*chat_answers, response(thought_item("Hm."), text_item("Yes.")), completion({"content": "Bye."})) as server:
        db = InMemoryDb()
        chat = OpenAIChat(id="gpt-4o", base_url=server.url)
        for model in (chat, model_at(server.url), chat):
            await agent_on(model, db=db, tools=[add], add_history_to_context=True).arun("go")
    assert server.asked[2]["input"][1] == {"type": "function_call", "call_id": "call_9", "name": "add", "arguments": '{"a": 1}'}
    assert server.asked[3]["messages"][-2] == {"role": "assistant", "content": "Yes."}


# History at the provider.


async def test_its_own_history_is_gone_on_with_from_another_process(db: MongoDb) -> None:
    answers = [response(text_item(f"answer {number}"), id=f"resp_{number}") for number in (1, 2, 3)]
    async with saying(*answers) as server:
        for number in (1, 2, 3):
            model = model_at(server.url, use_previous_response_id=True)
            agent = agent_on(model, db=db, add_history_to_context=True, num_history_runs=1, instructions=f"Rule {number}.")
            await agent.arun(f"question {number}")
    assert [asked.get("previous_response_id") for asked in server.asked] == [None, "resp_1", "resp_2"]
    assert [asked["input"] for asked in server.asked] == [
        [{"role": "user", "content": f"question {number}"}] for number in (1, 2, 3)
    ]
    assert [asked["instructions"] for asked in server.asked] == ["Rule 1.", "Rule 2.", "Rule 3."]


async def test_its_own_history_is_gone_on_with_between_rounds_of_tools() -> None:
    first, second = response(thought_item("Hm."), call_item("add", {"a": 1})), response(text_item("Two."), id="resp_2")
    async with saying(first, second) as server:
        await agent_on(model_at(server.url, use_previous_response_id=True), tools=[add]).arun("go")
    assert server.asked[1]["previous_response_id"] == "resp_1"
    assert server.asked[1]["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": "2"}]
    assert "include" not in server.asked[0]


async def test_a_response_that_the_provider_has_forgotten_is_made_up_for_with_the_whole_conversation() -> None:
    gone = Said({"error": {"message": "Previous response with id 'resp_1' not found."}}, status=400)
    async with saying(response(text_item("one")), gone, response(text_item("two"), id="resp_2")) as server:
        agent = agent_on(model_at(server.url, use_previous_response_id=True), add_history_to_context=True)
        await agent.arun("first")
        assert (await agent.arun("second")).content == "two"
    assert "previous_response_id" not in server.asked[2]
    assert [item["content"] for item in server.asked[2]["input"]] == ["first", "one", "second"]


async def test_what_a_run_at_the_same_time_said_is_not_left_out_of_a_history_at_the_provider() -> None:
    answers = [response(text_item(text), id=f"resp_{text}") for text in ("zero", "one", "two", "three", "four")]
    async with saying(*answers) as server:
        agent = agent_on(model_at(server.url, use_previous_response_id=True), add_history_to_context=True)
        await agent.arun("go")
        await asyncio.gather(agent.arun("this"), agent.arun("that"))
        await agent.arun("and now?")
        await agent.arun("and then?")
    assert [asked.get("previous_response_id") for asked in server.asked[1:3]] == ["resp_zero"] * 2
    assert "previous_response_id" not in server.asked[3]
    assert len(server.asked[3]["input"]) == 7
    assert server.asked[4]["previous_response_id"] == "resp_three"


def test_a_history_at_the_provider_needs_one_that_stores() -> None:
    with pytest.raises(ConfigurationError, match="store=False lets it store nothing"):
        OpenAIResponses(use_previous_response_id=True, store=False)


async def test_where_nothing_is_stored_no_id_is_kept() -> None:
    async with saying(response(text_item("ok"))) as server:
        run = await agent_on(model_at(server.url, store=False)).arun("go")
    assert server.asked[0]["store"] is False
    assert (run.messages or ())[-1].provider_data is None


# Tokens, and what goes wrong.


async def test_tokens_are_counted_cached_and_reasoning_ones_too() -> None:
    usage = {
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 80}, "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 150,
    }  # fmt: skip
    async with saying(streamed(text_item("ok"), usage=usage), response(text_item("ok"), usage=usage)) as server:
        agent = agent_on(model_at(server.url, cost_per_million=(1.0, 0.25, 8.0)))
        asked = next(event for event in await events_of(agent) if event.event == "ModelRequestCompleted")
        await agent.arun("go")
    assert (asked.input_tokens, asked.cache_read_tokens, asked.reasoning_tokens, asked.cache_write_tokens) == (100, 80, 40, None)
    total = await agent.aget_session_metrics()
    assert (total.input_tokens, total.output_tokens, total.total_tokens) == (200, 100, 300)
    assert (total.cache_read_tokens, total.reasoning_tokens) == (160, 80)
    assert total.cost == pytest.approx(2 * (20 * 1.0 + 80 * 0.25 + 50 * 8.0) / 1_000_000)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (response(status="failed", error={"code": "server_error", "message": "the worker fell over"}), ModelError, "fell over"),
        (response(status="failed", error={"code": "rate_limit_exceeded", "message": "slow down"}), ModelRateLimited, "slow down"),
        (streamed(status="failed", error={"code": "server_error", "message": "the worker fell over"}), ModelError, "fell over"),
        ([{"type": "error", "code": "server_error", "message": "no luck", "sequence_number": 0}], ModelError, "no luck"),
        (response(status="queued"), ModelError, "its response is 'queued'"),
        ({"error": {"message": "no worker is free"}}, ModelError, "no worker is free"),
        ({}, IncompleteResponse, "without any output"),
        (streamed(text_item("half an answer"))[:-3], IncompleteResponse, "without a finish reason"),
        (response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}), IncompleteResponse, "before it said"),
        (Said({"error": {"message": "bad"}}, status=400), ModelError, "status 400: bad"),
        (Said("<html>", headers={"content-type": "text/html"}), ModelError, "is base_url right"),
    ],
)
async def test_what_goes_wrong_is_told_and_never_an_answer(said: Any, kind: type[ModelError], words: str) -> None:
    body = said.body if isinstance(said, Said) else said
    async with saying(said) as server:
        agent = agent_on(model_at(server.url), raise_model_errors=True)
        with pytest.raises(ModelError, match=words) as caught:
            await (events_of(agent) if isinstance(body, list) else agent.arun("go"))
    assert type(caught.value) is kind
    assert (await stored_run(agent)).status == RunStatus.error


async def test_a_cut_off_answer_and_a_refusal_say_so() -> None:
    cut = streamed(text_item("Once upon"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    refusal = text_item("")
    refusal["content"] = [{"type": "refusal", "refusal": "I will not."}]
    async with saying(cut, response(refusal)) as server:
        agent = agent_on(model_at(server.url))
        await events_of(agent)
        stored = await stored_run(agent)
        assert (stored.status, stored.content, stored.finish_reason) == (RunStatus.completed, "Once upon", "length")
        run = await agent.arun("go")
    assert (run.content, run.finish_reason) == ("I will not.", "refusal")


@pytest.mark.parametrize("fault", ["truncate", "corrupt", "disconnect"])
async def test_a_broken_stream_is_an_error_and_never_an_answer(llmock: Any, fault: str) -> None:
    getattr(llmock.reply("one two three"), fault)(after_chunks=6)
    events = await events_of(agent_on(model_at(llmock.base_url(), id="gpt-4o")))
    assert isinstance(events[-1], RunErrorEvent)
    assert events[-1].error_type == "IncompleteResponse"


async def test_a_server_like_openais_is_asked_to_store_nothing_and_is_not_sent_openais_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with saying(response(text_item("ok"))) as server:
        model = OpenResponses(id="gpt-5-like", base_url=server.url)
        await agent_on(model, instructions="Be brief.").arun("go")
    assert server.asked[0]["store"] is False
    assert "include" not in server.asked[0]
    assert server.asked[0]["input"][0] == {"role": "system", "content": "Be brief."}
    assert "authorization: bearer not-provided" in server.heads[0].lower()
