"""The events of a run: typed, plain data, as they happen, never ahead of their reader."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import ConfigurationError, ModelError
from agno_mongo.messages import Metrics, ToolExecution
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.run.agent import (
    RUN_EVENT_TYPE_REGISTRY,
    BaseAgentRunEvent,
    CustomEvent,
    RunCancelledEvent,
    RunCompletedEvent,
    RunContentEvent,
    RunErrorEvent,
    RunEvent,
    RunInput,
    RunPausedEvent,
    RunStartedEvent,
    ToolCallCompletedEvent,
    ToolCallStartedEvent,
    run_output_event_from_dict,
)
from agno_mongo.run.team import TeamRunEvent
from agno_mongo.run.workflow import WorkflowRunEvent
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool


class Weather(BaseModel):
    city: str
    degrees: float | None = None


class Colour(Enum):
    RED = "red"


@dataclass
class CustomerFound(CustomEvent):
    customer: str = ""


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (TeamRunEvent, "task_iteration_started followups_completed compression_started parser_model_response_started output_model_response_started"),
        (WorkflowRunEvent, "step_output_review step_progress condition_paused"),
    ],
)
def test_names_of_agnos_events_that_no_run_has_can_be_asked_for(kinds: Any, names: str) -> None:
    assert {kinds[name].value.lower().removeprefix("team") for name in names.split()} == {
        name.replace("_", "") for name in names.split()
    }


class TestAnEvent:
    @pytest.mark.parametrize("name", [event.value for event in RunEvent])
    def test_of_every_name_has_a_class_of_its_own(self, name: str) -> None:
        event = run_output_event_from_dict({"event": name, "run_id": "r"})
        assert type(event) is RUN_EVENT_TYPE_REGISTRY[name]
        assert (event.event, event.run_id) == (name, "r")
        assert (event.content, event.tools) == (None, None)
        # What a usual loop over Agno's events looks at.
        assert (event.citations, event.references, event.reasoning_steps, event.response_audio) == (None,) * 4
        assert not event.reasoning_content
        assert (
            event.tools_requiring_confirmation
            == event.tools_requiring_user_input
            == event.tools_awaiting_external_execution
            == []
        )
        assert event.is_paused is (name == "RunPaused")
        assert event.is_cancelled is (name == "RunCancelled")

    @pytest.mark.parametrize(
        ("content", "data"),
        [
            (Weather(city="Rome"), {"city": "Rome"}),
            ([Weather(city="Rome", degrees=3.5)], [{"city": "Rome", "degrees": 3.5}]),
            ({"colour": Colour.RED, "cities": ("Rome",)}, {"colour": "red", "cities": ["Rome"]}),
            (CustomerFound(customer="John", created_at=1), {"event": "CustomEvent", "customer": "John", "created_at": 1}),
        ],
    )
    def test_is_plain_data_whatever_it_carries(self, content: Any, data: Any) -> None:
        shown = RunCompletedEvent(content=content).to_dict()["content"]
        assert shown == data or shown.items() >= data.items()
        assert json.loads(RunCompletedEvent(content=content).to_json())["content"] == shown

    def test_is_json_whatever_it_carries(self) -> None:
        moment = datetime(2026, 1, 2, tzinfo=timezone.utc)
        event = RunCompletedEvent(content={"at": moment, "bytes": b"\xff", "odd": object, "text": "für"})
        text = event.to_json(indent=None, separators=(",", ":"))
        assert "\n" not in text
        assert "für" in text
        assert json.loads(text)["content"]["at"].startswith("2026-01-02T00:00:00")

    @pytest.mark.parametrize(
        "event",
        [
            RunStartedEvent(run_id="r", session_id="s", agent_id="a", model="m"),
            RunCompletedEvent(content="hi", metrics=Metrics(input_tokens=3), session_state={"a": [1]}),
            ToolCallCompletedEvent(tool=ToolExecution(tool_call_id="1", tool_name="t", result="x"), content="x"),
            RunPausedEvent(tools=[ToolExecution(tool_name="t")]),
            RunCancelledEvent(reason="enough"),
            run_output_event_from_dict({"event": "PreHookStarted", "run_input": {"input_content": "hi"}}),
            run_output_event_from_dict({"event": "StateConflict", "paths": ["a"]}),
            CustomEvent(anything={"at": "all"}, event="Mine"),
        ],
        ids=lambda event: event.event,
    )
    def test_comes_back_from_its_dict_and_from_its_json(self, event: BaseAgentRunEvent) -> None:
        given = event.to_dict()
        for data in (given, json.loads(event.to_json())):
            assert run_output_event_from_dict(data) == event
        assert given == event.to_dict()

    def test_of_a_newer_version_keeps_what_it_says(self) -> None:
        event = run_output_event_from_dict({"event": "RunDreamed", "dream": "sheep"})
        assert isinstance(event, CustomEvent)
        assert event.to_dict().items() >= {"event": "RunDreamed", "dream": "sheep"}.items()
        assert run_output_event_from_dict({"event": "RunStarted", "mood": "good", "created_at": 1}) == RunStartedEvent(created_at=1)

    def test_of_ones_own_is_a_plain_dataclass(self) -> None:
        event = CustomerFound(customer="John")
        assert event.to_dict()["customer"] == "John"
        assert "customer='John'" in repr(event)
        assert CustomerFound.from_dict(event.to_dict()) == event
        assert CustomEvent(size=3).size == 3  # type: ignore[attr-defined]


class Counting(ScriptedModel):
    """Counts the pieces that were pulled out of it."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.pulled = 0

    async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
        for number in range(self.pieces):
            self.pulled += 1
            yield ModelDelta(content=f"{number} ")
        yield ModelDelta(finish_reason="stop")


class TestAReader:
    async def test_that_is_slow_has_nothing_produced_ahead(self) -> None:
        model = Counting(1000)
        read = 0
        async for event in Agent(model=model).arun("go", stream=True):
            assert isinstance(event, RunContentEvent)
            read += 1
            await asyncio.sleep(0)
            assert model.pulled == read
        assert read == 1000

    def test_in_a_plain_loop_has_nothing_produced_ahead_either(self) -> None:
        model = Counting(20)
        for read, _ in enumerate(Agent(model=model).run("go", stream=True), start=1):
            assert model.pulled == read

    async def test_that_leaves_is_why_the_run_ended_whatever_goes_wrong_on_the_way_out(self) -> None:
        class Sulking(ScriptedModel):
            async def respond(self, request: ModelRequest) -> AsyncGenerator[ModelDelta, None]:
                try:
                    yield ModelDelta(content="Well")
                    yield ModelDelta(finish_reason="stop")
                finally:
                    raise ConnectionError("hung up")

        agent = Agent(model=Sulking(), db=InMemoryDb(), session_id="s")
        stream = agent.arun("go", stream=True)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        run = await agent.aget_last_run_output()
        assert run is not None
        assert (run.status, run.content) == (RunStatus.cancelled, "Well")

    def test_that_leaves_a_plain_loop_leaves_a_run(self) -> None:
        model, db = Counting(1000), InMemoryDb()
        agent = Agent(model=model, db=db, session_id="s", store_events=True)
        for _ in agent.run("go", stream=True):
            break
        run = agent.get_last_run_output()
        assert run is not None
        assert (run.status, run.content, model.pulled) == (RunStatus.cancelled, "0 ", 1)
        assert [event.event for event in run.events or ()][-1] == "RunCancelled"

    async def test_whose_connection_breaks_leaves_a_run(self) -> None:
        """What a service does whose client has gone: it stops reading, without a word to the stream."""
        model, db = Counting(1000), InMemoryDb()
        agent = Agent(model=model, db=db, session_id="s")

        async def serve() -> None:
            async for _ in agent.arun("go", stream=True):
                raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await serve()
        for _ in range(100):
            await asyncio.sleep(0.005)
            if run := await agent.aget_last_run_output():
                break
        assert run is not None
        assert run.status == RunStatus.cancelled

    async def test_that_is_cancelled_again_and_again_leaves_a_run(self) -> None:
        db = InMemoryDb()
        agent = Agent(model=ScriptedModel(lambda _: asyncio.sleep(60)), db=db, session_id="s")

        async def read() -> None:
            async for _ in agent.arun("go", stream=True):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        while not task.done():
            # As anyio's cancel scopes do, and with them Starlette's responses.
            task.cancel()
            await asyncio.sleep(0)
        run = await agent.aget_last_run_output()
        assert run is not None
        assert run.status == RunStatus.cancelled

    # The loop closes the connection at the same time; another is made to store the run.
    @pytest.mark.filterwarnings("ignore:asynchronous generator .* was scheduled after:ResourceWarning")
    def test_that_is_left_when_its_event_loop_ends_leaves_a_run(self) -> None:
        db = InMemoryDb()
        agent = Agent(model=Counting(1000), db=db, session_id="s")
        streams = []

        async def read_one() -> None:
            streams.append(stream := agent.arun("go", stream=True))
            await anext(stream)

        asyncio.run(read_one())
        run = agent.get_last_run_output()
        assert run is not None
        assert run.status == RunStatus.cancelled

    async def test_that_never_begins_begins_no_run(self) -> None:
        db = InMemoryDb()
        events = Agent(model=ScriptedModel(), db=db, session_id="s").arun("go", stream=True)
        await events.aclose()  # type: ignore[attr-defined]
        assert await db.count_sessions() == 0


class TestAService:
    """A server-sent stream whose client goes, as Starlette sees it: with and without a server that tells of it by a failing send."""

    @pytest.mark.imports_in_the_loop
    @pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
    async def test_whose_client_goes_leaves_a_run(self, spec_version: str) -> None:
        from fastapi.responses import StreamingResponse

        model, db = Counting(1000), InMemoryDb()
        agent = Agent(model=model, db=db, session_id="s")
        gone = asyncio.Event()

        async def pieces() -> AsyncIterator[str]:
            async for event in agent.arun("go", stream=True):
                yield f"data: {event.to_json(indent=None)}\n\n"

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if model.pulled < 3:
                return
            gone.set()
            if spec_version == "2.4" and message["type"] == "http.response.body":
                raise OSError("the client has gone")
            await asyncio.sleep(0.05)

        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": spec_version}, "method": "GET", "headers": []}
        with contextlib.suppress(Exception):
            await StreamingResponse(pieces(), media_type="text/event-stream")(scope, receive, send)
        gc.collect()
        run = None
        while run is None:
            await asyncio.sleep(0.005)
            run = await agent.aget_last_run_output()
        assert run.status == RunStatus.cancelled
        assert run.content == "".join(f"{number} " for number in range(model.pulled))
        assert model.pulled < 10


class TestStreaming:
    async def test_gives_pieces_and_no_steps_unless_asked(self) -> None:
        agent = Agent(model=ScriptedModel(ToolCall("look"), "one two", "three"), tools=[look])
        assert await names(agent.arun("go", stream=True)) == ["RunContent", "RunContent"]
        assert await names(agent.arun("go", stream=True, stream_events=True)) == [
            "RunStarted", "ModelRequestStarted", "RunContent", "ModelRequestCompleted", "RunContentCompleted", "RunCompleted",
        ]  # fmt: skip

    async def test_is_a_setting_of_the_agent_that_a_call_overrides(self) -> None:
        agent = Agent(model=ScriptedModel("one", "two", "three"), stream=True, stream_events=True)
        assert (await names(agent.arun("go", stream=None)))[0] == "RunStarted"  # type: ignore[arg-type]
        assert await names(agent.arun("go", stream=True, stream_events=False)) == ["RunContent"]
        assert (await agent.arun("go", stream=False)).content == "three"

    async def test_is_off_when_nothing_is_said(self) -> None:
        agent = Agent(model=ScriptedModel("one"), stream=None, stream_events=None)
        assert isinstance(await agent.arun("go", stream=None), RunOutput)

    async def test_ends_with_the_run_if_asked_even_after_a_failure(self) -> None:
        agent = Agent(model=ScriptedModel("ok", ModelError("on strike")))
        *_, run = [event async for event in agent.arun("go", stream=True, yield_run_output=True)]
        assert isinstance(run, RunOutput)
        assert run.content == "ok"
        error, run = [event async for event in agent.arun("go", stream=True, yield_run_output=True)]
        assert isinstance(error, RunErrorEvent)
        assert isinstance(run, RunOutput)
        assert run.status == RunStatus.error

    async def test_tells_of_tools_as_they_end_and_not_as_they_were_called(self) -> None:
        first_may_end = asyncio.Event()

        async def slow() -> str:
            await first_may_end.wait()
            return "slow"

        async def quick() -> str:
            return "quick"

        agent = Agent(model=ScriptedModel([ToolCall("slow"), ToolCall("quick")], "done"), tools=[slow, quick])
        seen = []
        async for event in agent.arun("go", stream=True, stream_events=True):
            if isinstance(event, (ToolCallStartedEvent, ToolCallCompletedEvent)):
                assert event.tool is not None
                seen.append((event.event, event.tool.tool_name))
                if seen[-1] == ("ToolCallCompleted", "quick"):
                    first_may_end.set()
        assert seen == [
            ("ToolCallStarted", "slow"),
            ("ToolCallStarted", "quick"),
            ("ToolCallCompleted", "quick"),
            ("ToolCallCompleted", "slow"),
        ]


class TestStoredEvents:
    async def test_read_back_as_they_were_streamed(self, db: Any) -> None:
        agent = Agent(
            model=ScriptedModel([ToolCall("look"), ToolCall("fail")], "It is there."),
            db=db,
            session_id="s",
            name="Looker",
            tools=[look, fail],
            store_events=True,
            metadata={"tag": 1},
        )
        stream = agent.arun("go", stream=True, stream_events=True, yield_run_output=True)
        *streamed, run = [event async for event in stream]
        assert isinstance(run, RunOutput)
        stored = await agent.aget_last_run_output()
        assert stored is not None
        wanted = [event for event in streamed if not isinstance(event, RunContentEvent)]
        assert run.events == wanted
        wanted[-1].session_state = None  # type: ignore[union-attr]
        assert stored.events == wanted
        assert [type(event) for event in stored.events] == [type(event) for event in wanted]

    async def test_repeat_nothing_that_the_run_has(self, db: Any) -> None:
        agent = Agent(
            model=ScriptedModel(ToolCall("look", {"where": "argument " * 100}), "answer " * 100),
            db=db,
            session_id="s",
            name="Looker",
            tools=[look],
            store_events=True,
        )
        await agent.arun("input " * 100)
        raw = await raw_run(db)
        text = json.dumps(raw["events"])
        assert all(word not in text for word in ("argument", "answer", "input ", "seen", "Looker", raw["run_id"]))
        # By the agent's id Agno tells whose events they are.
        assert {event["agent_id"] for event in raw["events"]} == {"looker"}
        assert max(len(json.dumps(event)) for event in raw["events"]) < 300

    async def test_are_none_unless_asked(self) -> None:
        db = InMemoryDb()
        run = await Agent(model=ScriptedModel("ok"), db=db, session_id="s").arun("go")
        assert run.events is None
        assert "events" not in await raw_run(db)

    @pytest.mark.parametrize(
        ("skipped", "left"),
        [
            (None, {"RunStarted", "ModelRequestStarted", "ModelRequestCompleted", "RunContentCompleted", "RunCompleted"}),
            ([RunEvent.model_request_started, "ModelRequestCompleted"], {"RunStarted", "RunContent", "RunContentCompleted", "RunCompleted"}),
            ({event for event in RunEvent if event is not RunEvent.run_content}, {"RunContent"}),
        ],
    )  # fmt: skip
    async def test_are_those_that_are_not_skipped(self, skipped: Any, left: set[str]) -> None:
        agent = Agent(model=ScriptedModel("ok"), db=InMemoryDb(), session_id="s", store_events=True, events_to_skip=skipped)
        streamed = await names(agent.arun("go", stream=True, stream_events=True))
        assert {"RunContent", "ModelRequestStarted", *left} <= set(streamed)
        stored = await agent.aget_last_run_output()
        assert stored is not None
        assert {event.event for event in stored.events or ()} == left

    @pytest.mark.parametrize(
        ("given", "words"),
        [("RunContent", "takes a list of events"), (7, "takes a list"), (["RunContents"], "did you mean 'RunContent'?"), ([7], "no event")],
    )  # fmt: skip
    def test_to_skip_must_be_events(self, given: Any, words: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Agent(model=ScriptedModel(), events_to_skip=given)
        assert words in str(caught.value)
        assert "events_to_skip" in str(caught.value)

    async def test_of_a_run_that_fails_or_is_left_say_so(self) -> None:
        agent = Agent(model=ScriptedModel(ToolCall("look"), ValueError("odd")), db=InMemoryDb(), session_id="s", tools=[look])
        agent.store_events = True
        with pytest.raises(ValueError, match="odd"):
            await agent.arun("go")
        stored = await agent.aget_last_run_output()
        assert stored is not None
        assert stored.events is not None
        assert (stored.events[-1].event, stored.events[-1].content, stored.events[-1].error_type) == (
            "RunError",
            "odd",
            "ValueError",
        )

    @pytest.mark.parametrize(
        "events", [["text", 7], [{"event": "ToolCallStarted", "tool": 7}], [{"event": "New", "a": 1}], [{"no": "name"}], [{}]]
    )
    async def test_that_are_none_do_not_keep_a_run_from_being_read(self, events: list[Any]) -> None:
        run = RunOutput.from_dict({"run_id": "r", "agent_id": "a", "events": events})
        assert len(run.events) == len(events)
        again = RunOutput.from_dict(run.to_dict())
        assert again.events == run.events

    async def test_of_calls_with_one_id_are_kept_apart(self) -> None:
        """Some servers give every call the same id."""
        calls = [ToolCall("look", {"where": "here"}, id="c"), ToolCall("look", {"where": "there"}, id="c")]
        agent = Agent(model=ScriptedModel(calls, "done"), db=InMemoryDb(), session_id="s", tools=[look], store_events=True)
        await agent.arun("go")
        stored = await agent.aget_last_run_output()
        assert stored is not None
        told = [event.content for event in stored.events or () if isinstance(event, ToolCallCompletedEvent)]
        assert sorted(told) == ["here: seen", "there: seen"]


def look(where: str = "there") -> str:
    """Look."""
    return f"{where}: seen"


def fail() -> str:
    """Fail."""
    raise ValueError("no")


async def names(events: AsyncIterator[Any]) -> list[str]:
    return [event.event async for event in events if not isinstance(event, RunOutput)]


async def raw_run(db: Any) -> dict[str, Any]:
    documents = await db.documents()
    collection = next(iter(documents.values())).get_pymongo_collection()
    session = await collection.find_one({"session_id": "s"})
    run: dict[str, Any] = session["runs"][-1]
    return run


def test_an_input_in_an_event_is_a_run_input() -> None:
    event = run_output_event_from_dict({"event": "PreHookCompleted", "run_input": {"input_content": "hi"}})
    assert event.run_input == RunInput(input_content="hi")  # type: ignore[attr-defined]


class TestWhatAgnoHasAndNoRunHere:
    """A program that was written for Agno looks at it; it reads None."""

    def test_is_none_of_a_run_its_metrics_and_its_last_event(self) -> None:
        run, metrics, event = RunOutput(), Metrics(), RunCompletedEvent()
        names = (
            "citations",
            "references",
            "reasoning_steps",
            "reasoning_messages",
            "response_audio",
            "additional_input",
            "model_provider_data",
        )
        assert [getattr(run, name) for name in (*names, "followups")] == [None] * 8
        assert [getattr(event, name) for name in (*names, "images", "videos", "audio", "files")] == [None] * 11
        assert (metrics.details, metrics.additional_metrics, metrics.provider_metrics) == (None, None, None)
        assert set(run.to_dict()) == {"created_at", "status", "content_type"}
        assert metrics.to_dict() == {}

    def test_is_read_where_agno_has_stored_it(self) -> None:
        stored = {
            "run_id": "r",
            "followups": ["and?"],
            "citations": {"urls": []},
            "response_audio": {"id": "a", "content": "cGluZw=="},
        }
        run = RunOutput.from_dict(stored)
        assert (run.followups, run.citations) == (["and?"], {"urls": []})
        assert run.response_audio is not None
        assert run.response_audio.content == b"ping"
        assert run.to_dict().items() >= stored.items()

    async def test_a_pause_says_what_it_waits_for_by_kind(self) -> None:
        @tool(requires_confirmation=True)
        def pay() -> None:
            """Pay."""

        agent = Agent(model=ScriptedModel(ToolCall("pay")), tools=[pay])
        (paused,) = [event async for event in agent.arun("go", stream=True, stream_events=True) if event.is_paused]
        assert [call.tool_name for call in paused.tools_requiring_confirmation] == ["pay"]
        assert paused.tools_requiring_user_input == paused.tools_awaiting_external_execution == []

    async def test_messages_of_a_session_can_be_asked_for_by_agent(self) -> None:
        db = InMemoryDb()
        for name in ("One", "Two"):
            await Agent(name=name, model=ScriptedModel(name), db=db, session_id="s").arun("go")
        session = await db.get_session("s")
        assert session is not None
        assert [message.content for message in session.get_messages(agent_id="two")] == ["go", "Two"]
        assert session.get_messages(team_id="two") == []
        assert len(session.get_messages()) == 4
