"""What becomes of a model's failures: it is asked again, or others are, and both are told."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import (
    ConfigurationError,
    ContextWindowExceeded,
    IncompleteResponse,
    ModelAuthenticationError,
    ModelError,
    ModelRateLimited,
    ModelTimeout,
)
from agno_mongo.messages import Metrics
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.models.fallback import FallbackConfig
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.models.persistent import RetryPolicy
from agno_mongo.run import RunStatus
from agno_mongo.run.agent import ModelRequestFailedEvent, RunContentEvent, RunErrorEvent
from agno_mongo.session import SessionSummaryManager
from agno_mongo.testing import ScriptedModel, ToolCall
from tests.saying import Said, at, chunk, completion, saying

BUSY = ModelError("busy", status_code=503)


def agent_on(*script: Any, db: MongoDb | None = None, **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(*script, id="first")
    return Agent(model=model, db=db or InMemoryDb(), session_id="s", **{"delay_between_retries": 0, **settings}), model


def chat(base_url: str, **settings: Any) -> OpenAIChat:
    return OpenAIChat(**at(base_url, **{"id": "gpt-test", **settings}))


async def streamed(agent: Agent) -> list[Any]:
    return [event async for event in agent.arun("go", stream=True, stream_events=True)]


class Breaking(ScriptedModel):
    """Breaks off after its first word, and after it has counted tokens."""

    async def respond(self, request: ModelRequest) -> Any:
        self.requests.append(request)
        if len(self.requests) > len(self.script):
            yield ModelDelta(content="whole answer", finish_reason="stop")
            return
        yield ModelDelta(metrics=Metrics(input_tokens=7, total_tokens=7))
        yield ModelDelta(content="half ")
        raise IncompleteResponse("broke off")


class TestRetries:
    @pytest.mark.parametrize(
        "failure",
        [
            BUSY,
            ModelTimeout("late"),
            ModelRateLimited("too many"),
            IncompleteResponse("broke off"),
            ModelError("cannot be reached", temporary=True),
        ],
    )
    async def test_come_after_a_failure_that_may_pass(self, db: MongoDb, failure: ModelError) -> None:
        agent, model = agent_on(failure, failure, "At last.", db=db, retries=2)
        run = await agent.arun("go")
        assert (run.status, run.content, run.model) == (RunStatus.completed, "At last.", "first")
        stored = await agent.aget_last_run_output()
        assert stored is not None
        assert [message.content for message in stored.messages or ()] == ["go", "At last."]
        model.assert_finished()

    @pytest.mark.parametrize(
        "failure",
        [
            ModelError("bad request", status_code=400),
            ModelAuthenticationError("no", status_code=401),
            ModelAuthenticationError("no", status_code=403),
            ModelError("no such model", status_code=404),
            ContextWindowExceeded("too long", status_code=400),
            ModelRateLimited("quota spent", temporary=False),
            ModelRateLimited("come back tomorrow", retry_after=3600),
            ModelError("whatever"),
        ],
    )
    async def test_do_not_come_where_they_cannot_help(self, failure: ModelError) -> None:
        agent, model = agent_on(failure, retries=5)
        run = await agent.arun("go")
        assert (run.status, run.content) == (RunStatus.error, str(failure))
        assert len(model.requests) == 1

    async def test_end_and_the_last_failure_is_not_a_surprise(self) -> None:
        agent, model = agent_on(BUSY, BUSY, retries=1, raise_model_errors=True)
        with pytest.raises(ModelError, match="busy"):
            await agent.arun("go")
        assert len(model.requests) == 2

    async def test_are_told_before_the_answer_comes(self) -> None:
        agent, _ = agent_on(BUSY, "At last.", retries=1)
        failed = next(event for event in await streamed(agent) if isinstance(event, ModelRequestFailedEvent))
        assert (failed.model, failed.next_model, failed.error, failed.error_type) == ("first", "first", "busy", "ModelError")
        assert failed.event == "ModelRequestFailed"

    async def test_repeat_a_request_and_not_the_tools_before_it(self) -> None:
        def count() -> str:
            counted.append(1)
            return "1"

        counted: list[int] = []
        agent, model = agent_on(ToolCall("count"), BUSY, "Done.", retries=1, tools=[count])
        assert (await agent.arun("go")).content == "Done."
        assert (counted, len(model.requests)) == ([1], 3)

    async def test_never_show_a_reader_an_answer_twice(self) -> None:
        agent = Agent(model=Breaking("", id="first"), db=InMemoryDb(), session_id="s", retries=3, delay_between_retries=0)
        events = await streamed(agent)
        assert [event.content for event in events if isinstance(event, RunContentEvent)] == ["half "]
        assert isinstance(events[-1], RunErrorEvent)
        assert len(agent.model.requests) == 1  # type: ignore[union-attr]

    async def test_begin_anew_where_nobody_has_read_yet_and_count_what_was_used(self) -> None:
        agent = Agent(model=Breaking("", id="first"), db=InMemoryDb(), session_id="s", retries=3, delay_between_retries=0)
        run = await agent.arun("go")
        assert run.content == "whole answer"
        assert (await agent.aget_session_metrics()).input_tokens == 7

    async def test_of_a_model_of_its_own_count_before_the_agents(self) -> None:
        agent, model = agent_on(BUSY, BUSY, "At last.")
        model.retries, model.delay_between_retries = 2, 0  # type: ignore[attr-defined]
        assert (await agent.arun("go")).content == "At last."

    async def test_can_be_cancelled_while_they_wait(self) -> None:
        agent, _ = agent_on(BUSY, retries=1, delay_between_retries=60)
        task = asyncio.create_task(agent.arun("go"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stored = await agent.aget_last_run_output()
        assert stored is not None
        assert stored.status == RunStatus.cancelled


async def test_summaries_and_names_are_asked_for_as_persistently_as_answers() -> None:
    agent, model = agent_on("Hello.", BUSY, "A greeting.", BUSY, "Small Talk", retries=1, enable_session_summaries=True)
    agent.summary_in_background = False
    await agent.arun("Hi")
    assert (await agent.aget_session_summary()).summary == "A greeting."  # type: ignore[union-attr]
    assert (await agent.aset_session_name(autogenerate=True)).session_name == "Small Talk"
    model.assert_finished()


async def test_a_summary_is_made_by_a_model_of_ones_own_with_its_own_retries() -> None:
    other = ScriptedModel(BUSY, "A greeting.", id="other")
    other.retries, other.delay_between_retries = 1, 0  # type: ignore[attr-defined]
    agent, _ = agent_on("Hello.", enable_session_summaries=True, session_summary_manager=SessionSummaryManager(model=other))
    agent.summary_in_background = False
    await agent.arun("Hi")
    assert (await agent.aget_session_summary()).summary == "A greeting."  # type: ignore[union-attr]


def test_a_summary_may_be_made_by_a_model_that_is_named() -> None:
    manager = SessionSummaryManager(model="demo:demo")
    assert manager.model is not None
    assert manager.model.id == "demo"  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match="known are openai"):
        SessionSummaryManager(model="nobody:knows")


@pytest.mark.parametrize(
    ("policy", "retry_after", "delays"),
    [
        (RetryPolicy(retries=3, delay_between_retries=2), None, [2, 2, 2, None]),
        (RetryPolicy(retries=7, delay_between_retries=1, exponential_backoff=True), None, [1, 2, 4, 8, 16, 32, 60, None]),
        (RetryPolicy(retries=2, delay_between_retries=90, exponential_backoff=True), None, [90, 90, None]),
        (RetryPolicy(retries=2, delay_between_retries=1), 5, [5, 5, None]),
        (RetryPolicy(retries=2, delay_between_retries=9), 5, [9, 9, None]),
        (RetryPolicy(retries=2), 61, [None]),
        (RetryPolicy(), None, [None]),
    ],
)
def test_delays_grow_if_asked_and_heed_the_provider(policy: RetryPolicy, retry_after: float | None, delays: list[Any]) -> None:
    error = ModelRateLimited("wait", retry_after=retry_after)
    assert [policy.delay(error, retried=number) for number in range(len(delays))] == delays


class TestFallbackModels:
    async def test_answer_when_the_first_has_failed_for_good(self, db: MongoDb) -> None:
        second = ScriptedModel("From the second.", id="second")
        agent, first = agent_on(BUSY, BUSY, db=db, retries=1, fallback_models=[second])
        events = await streamed(agent)
        told = [(event.model, event.next_model) for event in events if isinstance(event, ModelRequestFailedEvent)]
        assert told == [("first", "first"), ("first", "second")]
        completed = next(event for event in events if event.event == "ModelRequestCompleted")
        assert (completed.model, completed.model_provider) == ("second", "test")
        stored = await agent.aget_last_run_output()
        assert stored is not None
        assert (stored.status, stored.content, stored.model) == (RunStatus.completed, "From the second.", "second")
        first.assert_finished()

    async def test_are_asked_in_order_and_the_firsts_error_is_told_when_all_fail(self) -> None:
        others = [ScriptedModel(ModelTimeout("late"), id="second"), ScriptedModel(ModelError("odd"), id="third")]
        agent, _ = agent_on(ModelRateLimited("too many"), fallback_models=others, raise_model_errors=True)
        with pytest.raises(ModelRateLimited, match="too many"):
            await agent.arun("go")
        assert [len(model.requests) for model in others] == [1, 1]

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
    async def test_do_not_cover_up_a_mistake_of_the_programs_own(self, status: int) -> None:
        second = ScriptedModel("never", id="second")
        agent, _ = agent_on(ModelError("mistake", status_code=status), fallback_models=[second])
        assert (await agent.arun("go")).content == "mistake"
        assert second.requests == []

    async def test_keep_the_rest_of_the_run_and_the_next_run_begins_with_the_first(self) -> None:
        second = ScriptedModel(ToolCall("look"), "Seen.", id="second")
        agent, first = agent_on(BUSY, "Back.", fallback_models=[second], tools=[look])
        assert ((await agent.arun("go")).content, len(first.requests)) == ("Seen.", 1)
        run = await agent.arun("again")
        assert (run.content, run.model) == ("Back.", "first")

    async def test_that_fail_later_in_the_run_leave_it_to_the_others_until_all_have_failed(self) -> None:
        second = ScriptedModel(ToolCall("look"), BUSY, BUSY, id="second")
        third = ScriptedModel(ModelTimeout("late"), id="third")
        agent, first = agent_on(BUSY, ToolCall("look"), BUSY, fallback_models=[second, third], tools=[look])
        run = await agent.arun("go")
        assert [len(model.requests) for model in (first, second, third)] == [3, 3, 1]
        assert (run.status, run.content) == (RunStatus.error, "busy")

    async def test_that_fail_later_leave_the_answer_to_the_first_which_is_named(self) -> None:
        second = ScriptedModel(ToolCall("look"), BUSY, id="second")
        agent, _ = agent_on(BUSY, "Back.", fallback_models=[second], tools=[look])
        run = await agent.arun("go")
        assert (run.status, run.content, run.model) == (RunStatus.completed, "Back.", "first")

    async def test_do_not_take_over_an_answer_that_a_reader_has_begun(self) -> None:
        second = ScriptedModel("never", id="second")
        agent = Agent(model=Breaking("", id="first"), fallback_models=[second])
        assert isinstance((await streamed(agent))[-1], RunErrorEvent)
        assert second.requests == []

    async def test_may_be_chosen_by_what_went_wrong(self) -> None:
        def told(model_id: str, next_id: str, error: Exception) -> None:
            calls.append((model_id, next_id, str(error)))
            raise RuntimeError("a callback of no use")

        calls: list[Any] = []
        longer, other = ScriptedModel("Long.", id="longer"), ScriptedModel("Other.", "Other.", id="other")
        config = FallbackConfig(on_error=[other], on_context_overflow=[longer], callback=told)
        agent, _ = agent_on(ContextWindowExceeded("too long"), ModelRateLimited("too many"), fallback_config=config)
        assert [(await agent.arun("go")).content for _ in range(2)] == ["Long.", "Other."]
        assert calls == [("first", "longer", "too long"), ("first", "other", "too many")]

    def test_may_be_given_by_name(self) -> None:
        agent, _ = agent_on(fallback_models=["openai:gpt-5-mini", "demo:demo"])
        assert agent.fallback_models is not None
        assert [model.id for model in agent.fallback_models] == ["gpt-5-mini", "demo"]  # type: ignore[union-attr]


def look() -> str:
    return "a thing"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"retries": -1}, "retries is a whole number from 0"),
        ({"retries": 1.5}, "retries is a whole number"),
        ({"delay_between_retries": -1}, "delay_between_retries is a number of seconds"),
        ({"exponential_backoff": 2}, "exponential_backoff= takes True or False"),
        ({"fallback_models": ["gpt-5"]}, r"fallback_models\[0\]= takes a model"),
        ({"fallback_models": [None]}, r"fallback_models\[0\]= takes a model"),
        ({"fallback_models": 7}, r"fallback_models\[0\]= takes a model"),
        ({"fallback_config": ["demo:demo"]}, "fallback_config= takes FallbackConfig"),
        ({"fallback_config": FallbackConfig(), "fallback_models": ["demo:demo"]}, "both given"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Agent(model=ScriptedModel(), **settings)


# Over HTTP.


async def test_what_the_client_gave_up_on_is_tried_again_and_retry_after_is_heeded(llmock: Any) -> None:
    llmock.rate_limit(retry_after=0.3).fail(500).reply("At last.")
    agent = Agent(model=chat(llmock.base_url()), retries=2, delay_between_retries=0.01)
    assert (await agent.arun("go")).content == "At last."
    limited, failed, _ = llmock.requests
    assert failed.started_at - limited.ended_at >= 0.3
    llmock.assert_resilient(strict=True)


async def test_a_stream_that_breaks_before_its_first_word_is_asked_for_again(llmock: Any) -> None:
    llmock.reply("one two").truncate(after_chunks=1).reply("one two")
    agent = Agent(model=chat(llmock.base_url()), retries=1, delay_between_retries=0)
    events = await streamed(agent)
    assert "".join(event.content for event in events if isinstance(event, RunContentEvent)) == "one two"
    assert [event.error_type for event in events if isinstance(event, ModelRequestFailedEvent)] == ["IncompleteResponse"]


async def test_a_key_refused_is_not_asked_for_again(llmock: Any) -> None:
    llmock.fail(401, times=None)
    run = await Agent(model=chat(llmock.base_url()), retries=3, delay_between_retries=0).arun("go")
    assert (run.status, len(llmock.requests)) == (RunStatus.error, 1)


async def test_a_server_that_is_gone_hands_over_to_another(llmock: Any) -> None:
    async with saying() as gone:
        pass
    llmock.reply("Here.")
    agent = Agent(model=chat(gone.url, id="gone"), fallback_models=[chat(llmock.base_url(), id="there")])
    run = await agent.arun("go")
    assert (run.content, run.model) == ("Here.", "there")


def refusal(status: int, **error: Any) -> Said:
    return Said({"error": {"message": "no", **error}}, status=status)


@pytest.mark.parametrize(
    ("said", "kind", "temporary", "retry_after"),
    [
        (refusal(429, code="insufficient_quota"), ModelRateLimited, False, None),
        (Said({"error": {}}, status=429, headers={"retry-after": "7"}), ModelRateLimited, True, 7.0),
        (Said({"error": {}}, status=503, headers={"retry-after-ms": "1500"}), ModelError, True, 1.5),
        (refusal(400, code="context_length_exceeded"), ContextWindowExceeded, False, None),
        (refusal(400, message="This model's maximum context length is 9 tokens."), ContextWindowExceeded, False, None),
        (refusal(400, type="exceed_context_size_error"), ContextWindowExceeded, False, None),
        (refusal(400), ModelError, False, None),
        (refusal(529), ModelError, True, None),
        (Said([{"error": {"message": "no", "code": "rate_limit_exceeded"}}]), ModelRateLimited, True, None),
        (Said([{"error": {"message": "no", "code": 502}}]), ModelError, True, None),
        (Said([{"error": {"message": "no", "type": "invalid_request_error"}}]), ModelError, False, None),
        (Said([chunk({"content": ""})], broken=True), IncompleteResponse, True, None),
    ],
)
async def test_an_error_says_what_kind_it_is_and_whether_it_may_pass(
    said: Said, kind: type[ModelError], temporary: bool, retry_after: float | None
) -> None:
    async with saying(said) as server:
        agent = Agent(model=chat(server.url), raise_model_errors=True)
        with pytest.raises(ModelError) as caught:
            async for _ in agent.arun("go", stream=True):
                pass
    assert (type(caught.value), caught.value.temporary, caught.value.retry_after) == (kind, temporary, retry_after)
    assert caught.value.__cause__ is not None


async def test_retry_after_may_be_a_date() -> None:
    later = formatdate(time.time() + 30, usegmt=True)
    async with saying(Said({"error": {}}, status=429, headers={"retry-after": later})) as server:
        with pytest.raises(ModelRateLimited) as caught:
            await Agent(model=chat(server.url), raise_model_errors=True).arun("go")
    assert caught.value.retry_after == pytest.approx(30, abs=5)


# Answers that are cut off.


@pytest.mark.parametrize("reason", ["length", "content_filter", "some_new_reason"])
async def test_a_cut_off_answer_is_kept_and_says_so(reason: str) -> None:
    async with saying(completion({"content": "Once upon a"}, reason)) as server:
        db = InMemoryDb()
        run = await Agent(model=chat(server.url), db=db, session_id="s").arun("Tell me a story.")
    stored = await Agent(model=ScriptedModel(), db=db, session_id="s").aget_last_run_output()
    assert stored is not None
    assert run.status == stored.status == RunStatus.completed
    assert (run.content, run.finish_reason, stored.finish_reason) == ("Once upon a", reason, reason)


async def test_a_whole_answer_has_no_finish_reason_worth_keeping() -> None:
    agent, _ = agent_on(ToolCall("look"), "Seen.", tools=[look])
    events = await streamed(agent)
    stored = await agent.aget_last_run_output()
    assert stored is not None
    assert stored.finish_reason is None
    assert not any("finish_reason" in message.to_dict() for message in stored.messages or ())
    assert [event.finish_reason for event in events if event.event == "ModelRequestCompleted"] == ["tool_calls", "stop"]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_an_answer_cut_off_before_its_first_word_is_none(reason: str) -> None:
    async with saying(completion({"content": ""}, reason)) as server:
        with pytest.raises(IncompleteResponse, match=f"before it said anything .*{reason}"):
            await Agent(model=chat(server.url), raise_model_errors=True).arun("go")


async def test_a_tool_call_cut_off_by_the_limit_of_tokens_is_not_carried_out() -> None:
    def erase(path: str = "/") -> None:
        erased.append(path)

    erased: list[str] = []
    calls = [{"id": "1", "type": "function", "function": {"name": "erase", "arguments": ""}}]
    async with saying(completion({"tool_calls": calls}, "length")) as server:
        run = await Agent(model=chat(server.url), tools=[erase]).arun("go")
    assert (run.status, erased) == (RunStatus.error, [])
    assert "within its tool calls" in run.content


async def test_an_empty_answer_that_came_to_its_end_is_an_answer() -> None:
    async with saying(completion({"content": ""})) as server:
        run = await Agent(model=chat(server.url)).arun("go")
    assert (run.status, run.content, run.get_content_as_string()) == (RunStatus.completed, None, "")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_told_from_an_answer(stream: bool) -> None:
    pieces = [chunk({"refusal": "I will "}), chunk({"refusal": "not."}), chunk({}, finish_reason="stop")]
    async with saying(pieces if stream else completion({"refusal": "I will not."})) as server:
        agent = Agent(model=chat(server.url), db=InMemoryDb(), session_id="s")
        await (streamed(agent) if stream else agent.arun("go"))
        stored = await agent.aget_last_run_output()
    assert stored is not None
    assert (stored.content, stored.finish_reason) == ("I will not.", "refusal")
