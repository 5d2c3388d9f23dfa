"""Tools in a run: what the model is sent, what the tools are given, what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, TooManyToolRounds
from agno_mongo.exceptions import AgentRunException, RetryAgentRun, StopAgentRun
from agno_mongo.media import Audio, File, Image
from agno_mongo.messages import Message
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.run import RunContext, RunOutput, RunStatus
from agno_mongo.run.agent import CustomEvent, RunContentEvent, ToolCallCompletedEvent, ToolCallErrorEvent
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import Function, FunctionCall, Toolkit, ToolResult, tool

PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")


def agent_with(*tools: Any, script: tuple[Any, ...], **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(*script)
    return Agent(model=model, tools=list(tools), **settings), model


def told(model: ScriptedModel, request: int = 1) -> list[Any]:
    """What the model was told of the calls before a request."""
    return [message.content for message in model.requests[request].messages if message.role == "tool"]


async def stored_run(agent: Agent, session_id: str = "s") -> RunOutput:
    session = await agent.aget_session(session_id)
    assert session is not None
    run = (session.runs or [])[-1]
    assert isinstance(run, RunOutput)
    return run


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class TestEveryKindOfFunction:
    async def test_is_called_and_its_result_is_told(self) -> None:  # noqa: C901 - ten small functions
        class Shop:
            def method(self) -> str:
                return f"method of {type(self).__name__}"

            @tool
            def decorated(self, item: str) -> str:
                """Buy it."""
                return f"{type(self).__name__} sells {item}"

            @tool
            async def decorated_async(self) -> str:
                return type(self).__name__

            @staticmethod
            @tool
            def static() -> str:
                return "static"

            async def __call__(self) -> str:
                return "called"

        async def coroutine() -> str:
            await asyncio.sleep(0)
            return "coroutine"

        def generator() -> Iterator[Any]:
            yield "gene"
            yield {"rat": "or"}

        async def async_generator() -> AsyncIterator[Any]:
            yield 1
            yield "2"

        def hands_out_a_coroutine() -> Any:
            return coroutine()

        def hands_out_a_generator() -> Any:
            return (letter for letter in "abc")

        shop = Shop()
        tools = [
            shop.method, shop.decorated, shop.decorated_async, Shop.static, shop, coroutine, generator, async_generator,
            hands_out_a_coroutine, hands_out_a_generator,
        ]  # fmt: skip
        names = [
            "method", "decorated", "decorated_async", "static", "Shop", "coroutine", "generator", "async_generator",
            "hands_out_a_coroutine", "hands_out_a_generator",
        ]  # fmt: skip
        calls = tuple(ToolCall(name, {"item": "milk"} if name == "decorated" else {}) for name in names)
        agent, model = agent_with(*tools, script=(calls, "ok"))
        await agent.arun("go")
        assert told(model) == [
            "method of Shop", "Shop sells milk", "Shop", "static", "called", "coroutine", 'gene{"rat": "or"}', "12", "coroutine", "abc",
        ]  # fmt: skip

    async def test_that_is_plain_runs_in_a_thread_with_the_callers_context(self) -> None:
        request_id: ContextVar[str] = ContextVar("request_id")
        here = threading.get_ident()

        def where() -> str:
            return f"{threading.get_ident() == here} {request_id.get()}"

        request_id.set("r1")
        agent, model = agent_with(where, script=(ToolCall("where"), "ok"))
        await agent.arun("go")
        assert told(model) == ["False r1"]

    async def test_of_a_generator_runs_in_one_thread_and_is_closed_in_it(self) -> None:
        threads = []

        def generator() -> Iterator[str]:
            try:
                for letter in "abc":
                    threads.append(threading.get_ident())
                    yield letter
            finally:
                threads.append(threading.get_ident())

        agent, model = agent_with(generator, script=(ToolCall("generator"), "ok"))
        await agent.arun("go")
        assert told(model) == ["abc"]
        assert len(threads) == 4
        assert len(set(threads)) == 1

    async def test_is_given_what_the_runtime_has(self) -> None:
        given: dict[str, Any] = {}

        def look(ctx: RunContext, agent: Agent, session_state: dict[str, Any], fc: FunctionCall, team: Any = "none") -> None:
            given.update(user=ctx.user_id, agent=agent, state=session_state, call=fc, team=team)
            session_state["seen"] = True

        agent, model = agent_with(look, script=(ToolCall("look", id="c1"), "ok"), db=InMemoryDb(), session_id="s")
        run = await agent.arun("go", user_id="ann", session_state={"a": 1})
        assert (given["user"], given["agent"], given["team"]) == ("ann", agent, None)
        assert (given["call"].call_id, given["call"].function.name) == ("c1", "look")
        assert run.session_state == {"a": 1, "seen": True}
        assert model.requests[0].tools[0]["function"]["parameters"]["properties"] == {}


class TestSettingsOfATool:
    async def test_stop_after_tool_call_ends_the_run_with_its_result(self) -> None:
        @tool(stop_after_tool_call=True)
        def total() -> dict[str, int]:
            return {"total": 7}

        agent, model = agent_with(
            total, add, script=((ToolCall("total"), ToolCall("add", {"a": 1, "b": 2})), "again"), db=InMemoryDb(), session_id="s"
        )
        run = await agent.arun("go")
        assert run.status == RunStatus.completed
        assert run.content == '{"total": 7}'
        assert len(model.requests) == 1
        stored = await stored_run(agent)
        assert stored.content == '{"total": 7}'
        assert [tool.stop_after_tool_call for tool in stored.tools or ()] == [True, False]
        # The next turn is shown a conversation that providers accept.
        await agent.arun("and now?", add_history_to_context=True)
        assert [message.role for message in model.requests[1].messages] == ["user", "assistant", "tool", "tool", "user"]

    async def test_stop_after_tool_call_does_not_hide_a_failure(self) -> None:
        @tool(stop_after_tool_call=True)
        def total() -> int:
            raise ValueError("not today")

        agent, model = agent_with(total, script=(ToolCall("total"), "Sorry."))
        assert (await agent.arun("go")).content == "Sorry."
        assert told(model) == ["ValueError: not today"]

    async def test_stop_after_tool_call_may_keep_the_result_to_itself(self) -> None:
        @tool(stop_after_tool_call=True, show_result=False)
        def total() -> int:
            return 7

        agent, _ = agent_with(total, script=(ToolCall("total"),))
        run = await agent.arun("go")
        assert (run.content, run.status) == (None, RunStatus.completed)

    async def test_show_result_makes_it_part_of_the_answer(self) -> None:
        shown = Function(name="add", entrypoint=add.entrypoint, show_result=True)
        script = ((ToolCall("add", {"a": 1, "b": 2}), ToolCall("add", {"a": 3, "b": 4})), "That is all.")
        agent, model = agent_with(shown, script=script, db=InMemoryDb(), session_id="s")
        run = None
        pieces = []
        async for event in agent.arun("go", stream=True, yield_run_output=True):
            if isinstance(event, RunContentEvent):
                pieces.append(event.content)
            else:
                run = event
        assert isinstance(run, RunOutput)
        assert run.content == "".join(pieces) == "3\n\n7\n\nThat is all."
        assert told(model) == ["3", "7"]
        stored = await stored_run(agent)
        assert stored.content == run.content
        assert (stored.messages or [])[-1].content == "That is all."

    async def test_show_result_of_a_generator_comes_in_pieces(self) -> None:
        @tool(show_result=True)
        async def count() -> AsyncIterator[str]:
            for number in "123":
                yield number

        agent, _ = agent_with(count, script=(ToolCall("count"), "Done."))
        events = [event.content async for event in agent.arun("go", stream=True) if isinstance(event, RunContentEvent)]
        assert events == ["1", "2", "3", "\n\n", "Done."]

    async def test_instructions_are_in_the_system_message_once(self) -> None:
        @tool(instructions="Mind the tax.")
        def price() -> int:
            return 1

        @tool(instructions="Not this.", add_instructions=False)
        def other() -> int:
            return 1

        kit = Toolkit(tools=[add], instructions="Add with care.", add_instructions=True)
        agent, model = agent_with(price, other, kit, script=("ok",), instructions="Be kind.")
        await agent.arun("go")
        assert model.requests[0].messages[0].content == "Be kind.\n\nMind the tax.\n\nAdd with care."

    async def test_timeout_is_told_to_the_model_and_the_run_goes_on(self) -> None:
        let_go = threading.Event()

        @tool(timeout=0.05)
        def hang() -> None:
            let_go.wait(30)

        @tool(timeout=0.05)
        async def hang_async() -> None:
            await asyncio.sleep(30)

        started = time.monotonic()
        agent, model = agent_with(
            hang, hang_async, add, script=((ToolCall("hang"), ToolCall("hang_async"), ToolCall("add", {"a": 1, "b": 2})), "ok")
        )
        run = await agent.arun("go")
        assert time.monotonic() - started < 5
        let_go.set()
        assert told(model) == [
            "hang had not finished after 0.05 seconds. It may still be going on, without a result.",
            "hang_async had not finished after 0.05 seconds. It may still be going on, without a result.",
            "3",
        ]
        assert [tool.tool_call_error for tool in run.tools or ()] == [True, True, False]

    async def test_timeout_holds_for_a_function_that_does_not_let_itself_be_cancelled(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("agno_mongo.tools.calling._GRACE", 0.05)
        let_go = asyncio.Event()

        async def stubborn() -> None:
            while not let_go.is_set():
                try:
                    await asyncio.wait_for(let_go.wait(), 30)
                except asyncio.CancelledError:
                    continue

        agent, model = agent_with(stubborn, script=(ToolCall("stubborn"), "ok"), tool_timeout=0.05)
        assert (await agent.arun("go")).content == "ok"
        assert "had not finished" in told(model)[0]
        let_go.set()
        await asyncio.sleep(0.01)

    @pytest.mark.parametrize("kind", ["plain", "async", "async and shut to cancelling"])
    async def test_a_generator_ends_with_its_time(self, kind: str) -> None:
        made: list[int] = []
        ended = threading.Event()

        def plain() -> Iterator[str]:
            try:
                while True:
                    made.append(1)
                    time.sleep(0.001)
                    yield "x"
            finally:
                ended.set()

        async def waits_for_nothing() -> AsyncIterator[str]:
            try:
                while True:
                    made.append(1)
                    yield "x"
            finally:
                ended.set()

        async def stubborn() -> AsyncIterator[str]:
            try:
                while True:
                    made.append(1)
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0.01)
                    yield "x"
            finally:
                ended.set()

        if kind.endswith("cancelling") and not hasattr(asyncio.Task, "cancelling"):
            pytest.skip("Python 3.10 does not tell a task that it was cancelled")
        generator = {"plain": plain, "async": waits_for_nothing}.get(kind, stubborn)
        agent, model = agent_with(
            Function.from_callable(generator, name="endless"), script=(ToolCall("endless"), "ok"), tool_timeout=0.05
        )
        assert (await agent.arun("go")).content == "ok"
        assert "endless had not finished" in told(model)[0]
        assert await asyncio.to_thread(ended.wait, 5)
        so_far = len(made)
        await asyncio.sleep(0.05)
        assert len(made) == so_far

    async def test_a_time_out_of_the_tools_own_is_an_error_like_others(self) -> None:
        @tool(timeout=30)
        def ask() -> None:
            raise TimeoutError("the other side")

        agent, model = agent_with(ask, script=(ToolCall("ask"), "ok"))
        await agent.arun("go")
        assert told(model) == ["TimeoutError: the other side"]


class TestThreads:
    async def test_that_hang_neither_stop_other_tools_nor_the_loops_own_threads(self) -> None:
        let_go = threading.Event()

        @tool(timeout=0.05)
        def hang() -> None:
            let_go.wait(30)

        agent, _ = agent_with(hang, script=(tuple(ToolCall("hang") for _ in range(70)), "ok"))
        assert (await agent.arun("go")).content == "ok"
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 5) == "free"
        other, model = agent_with(add, script=(ToolCall("add", {"a": 1, "b": 2}), "ok"))
        await asyncio.wait_for(other.arun("go"), 5)
        assert told(model) == ["3"]
        let_go.set()

    async def test_are_used_again(self) -> None:
        def where() -> int:
            return threading.get_ident()

        agent, model = agent_with(where, script=(*[ToolCall("where")] * 5, "ok"))
        await agent.arun("go")
        assert len(set(told(model, 5))) < 5

    @pytest.mark.parametrize("hooked", [False, True])
    async def test_that_would_end_more_than_themselves_only_fail(self, hooked: bool) -> None:
        def stop() -> None:
            raise StopIteration(3)

        def interrupt() -> None:
            raise KeyboardInterrupt

        @tool(timeout=5)
        def leave() -> None:
            raise SystemExit(3)

        @tool(timeout=5)
        async def aleave() -> None:
            raise SystemExit(4)

        def hook(function_call: Any, arguments: dict[str, Any]) -> Any:
            return function_call(**arguments)

        calls = tuple(ToolCall(name) for name in ("stop", "interrupt", "leave", "aleave"))
        agent, model = agent_with(stop, interrupt, leave, aleave, script=(calls, "ok"), tool_hooks=[hook] * hooked)
        assert (await agent.arun("go")).content == "ok"
        assert told(model) == ["StopIteration: 3", "KeyboardInterrupt: ", "SystemExit: 3", "SystemExit: 4"]

    def test_that_never_end_keep_no_loop_from_ending(self) -> None:
        let_go = threading.Event()

        @tool(timeout=0.05)
        def hang() -> None:
            let_go.wait(30)

        agent, _ = agent_with(hang, script=(ToolCall("hang"), "ok"))
        started = time.monotonic()
        assert asyncio.run(agent.arun("go")).content == "ok"
        assert time.monotonic() - started < 10
        let_go.set()


class TestEventsOfTools:
    @dataclass
    class Found(CustomEvent):
        customer: str = ""

    async def test_come_as_they_happen_with_the_runs_ids(self) -> None:
        async def find() -> AsyncIterator[Any]:
            yield TestEventsOfTools.Found(customer="Ann")
            yield "Found her."

        def find_plainly() -> Iterator[Any]:
            yield TestEventsOfTools.Found(customer="Ben")

        script = ((ToolCall("find", id="c1"), ToolCall("find_plainly", id="c2")), "ok")
        agent, model = agent_with(find, find_plainly, script=script, session_id="s")
        events = [event async for event in agent.arun("go", stream=True, stream_events=True, run_id="r")]
        found = [event for event in events if isinstance(event, TestEventsOfTools.Found)]
        assert {(event.customer, event.run_id, event.session_id, event.tool_call_id) for event in found} == {
            ("Ann", "r", "s", "c1"), ("Ben", "r", "s", "c2"),
        }  # fmt: skip
        # A generator that only yields events tells the model what they say.
        assert told(model) == ["Found her.", '{"customer": "Ben"}']

    async def test_are_not_made_ahead_of_the_reader(self) -> None:
        made = []

        @tool(show_result=True)
        def count() -> Iterator[str]:
            for number in range(1000):
                made.append(number)
                yield str(number)

        agent, _ = agent_with(count, script=(ToolCall("count"),))
        events = agent.arun("go", stream=True)
        async for _ in events:
            await asyncio.sleep(0.05)
            break
        assert len(made) < 10
        await events.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        assert len(made) < 10

    async def test_of_another_agent_count_by_its_answer(self) -> None:
        expert = Agent(model=ScriptedModel("It is blue."), name="Expert")

        async def ask(question: str) -> AsyncIterator[Any]:
            async for event in expert.arun(question, stream=True, stream_events=True):
                yield event

        async def ask_whole(question: str) -> RunOutput:
            return await Agent(model=ScriptedModel("It is red.")).arun(question)

        script = ((ToolCall("ask", {"question": "?"}), ToolCall("ask_whole", {"question": "?"})), "ok")
        agent, model = agent_with(ask, ask_whole, script=script)
        events = [event async for event in agent.arun("go", stream=True, stream_events=True)]
        assert told(model) == ["It is blue.", "It is red."]
        assert {event.agent_name for event in events} == {""}


class TestHooks:
    async def test_of_the_agent_are_around_those_of_the_tool(self) -> None:
        order: list[str] = []

        def outer(function_name: str, function_call: Any, arguments: dict[str, Any], run_context: RunContext) -> Any:
            order.append(f"outer {function_name} {arguments} {run_context.user_id}")
            result = function_call(**{**arguments, "b": 10})
            order.append(f"outer got {result!r}")
            return result * 2

        async def inner(name: str, func: Any, args: dict[str, Any], agent: Agent) -> Any:
            order.append(f"inner {name} {args} {agent.name}")
            return await func(**args) + 1

        @tool(tool_hooks=[inner])
        def plus(a: int, b: int) -> int:
            order.append("tool")
            return a + b

        @tool(tool_hooks=[inner])
        async def aplus(a: int, b: int) -> int:
            return a + b

        script = (ToolCall("plus", {"a": 1, "b": 2}), ToolCall("aplus", {"a": 1, "b": 2}), "ok")
        agent, model = agent_with(plus, aplus, script=script, tool_hooks=[outer], name="A")
        run = await agent.arun("go", user_id="ann")
        assert order[:4] == [
            "outer plus {'a': 1, 'b': 2} ann", "inner plus {'a': 1, 'b': 10} A", "tool", "outer got 12",
        ]  # fmt: skip
        assert told(model, 2) == ["24", "24"]
        # What the run keeps is what the model said.
        assert (run.tools or [])[0].tool_args == {"a": 1, "b": 2}

    async def test_may_answer_in_the_place_of_the_tool_or_refuse(self) -> None:
        def guard(function_name: str, function_call: Any, arguments: dict[str, Any]) -> Any:
            if arguments["a"] > 10:
                raise PermissionError("too much")
            return "none of your business" if arguments["a"] == 0 else function_call(**arguments)

        script = (tuple(ToolCall("add", {"a": a, "b": 1}) for a in (0, 1, 11)), "ok")
        agent, model = agent_with(add, script=script, tool_hooks=[guard])
        await agent.arun("go")
        assert told(model) == ["none of your business", "2", "PermissionError: too much"]

    async def test_that_are_plain_do_not_lock_each_other_out(self) -> None:
        def hook(function_call: Any, arguments: dict[str, Any]) -> Any:
            return function_call(**arguments)

        async def async_hook(function_call: Any, arguments: dict[str, Any]) -> Any:
            return await function_call(**arguments)

        script = (tuple(ToolCall("add", {"a": a, "b": 1}) for a in range(100)), "ok")
        agent, model = agent_with(add, script=script, tool_hooks=[hook, async_hook, hook])
        await asyncio.wait_for(agent.arun("go"), 20)
        assert told(model) == [str(a + 1) for a in range(100)]

    async def test_before_and_after_a_tool_see_the_call(self) -> None:
        seen: list[Any] = []

        def before(fc: FunctionCall, run_context: RunContext) -> None:
            seen.append(("before", dict(fc.arguments), run_context.user_id))
            fc.arguments["b"] = 5

        async def after(fc: FunctionCall, agent: Agent) -> None:
            seen.append(("after", fc.result, fc.error))
            fc.result = None if fc.result is None else f"{fc.result}!"

        @tool(pre_hook=before, post_hook=after)
        def divide(a: int, b: int) -> float:
            return a / b if a else a / 0

        script = (ToolCall("divide", {"a": 10, "b": 2}), ToolCall("divide", {"a": 0, "b": 2}), "ok")
        agent, model = agent_with(divide, script=script)
        await agent.arun("go")
        assert seen == [
            ("before", {"a": 10, "b": 2}, None), ("after", 2.0, None),
            ("before", {"a": 0, "b": 2}, None), ("after", None, "division by zero"),
        ]  # fmt: skip
        assert told(model, 2) == ["2.0!", "ZeroDivisionError: division by zero"]

    async def test_before_a_tool_that_fail_keep_it_from_being_called(self) -> None:
        called = []

        def refuse() -> None:
            raise PermissionError("closed")

        def fail() -> None:
            raise OSError("the disk is full")

        @tool(pre_hook=refuse)
        def first() -> None:
            called.append("first")

        @tool(post_hook=fail)
        def second() -> str:
            called.append("second")
            return "done"

        agent, model = agent_with(first, second, script=((ToolCall("first"), ToolCall("second")), "ok"))
        await agent.arun("go")
        # What was done is not done again because a hook after it failed.
        assert (called, told(model)) == (["second"], ["PermissionError: closed", "done"])

    async def test_are_cancelled_with_the_run(self) -> None:
        started, ended = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        def hook(function_call: Any, arguments: dict[str, Any]) -> Any:
            return function_call(**arguments)

        agent, _ = agent_with(wait, script=(ToolCall("wait"),), tool_hooks=[hook])
        task = asyncio.create_task(agent.arun("go"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), 5)


class TestWhatToolsRaise:
    async def test_to_have_the_model_try_again(self) -> None:
        def book(nights: int) -> str:
            if nights < 2:
                raise RetryAgentRun(
                    "at least two nights",
                    user_message="Two are fine with me.",
                    messages=[{"role": "user", "content": "Or three."}],
                )
            return "booked"

        script = (ToolCall("book", {"nights": 1}), ToolCall("book", {"nights": 2}), "Booked.")
        agent, model = agent_with(book, script=script, db=InMemoryDb(), session_id="s")
        assert (await agent.arun("go")).content == "Booked."
        assert [(message.role, message.content) for message in model.requests[1].messages[-3:]] == [
            ("tool", "at least two nights"), ("user", "Two are fine with me."), ("user", "Or three."),
        ]  # fmt: skip
        assert len((await stored_run(agent)).messages or []) == 8

    @pytest.mark.parametrize(
        ("error", "answer"),
        [
            (StopAgentRun("The shop is closed."), "The shop is closed."),
            (StopAgentRun("closed", agent_message="Come back tomorrow."), "Come back tomorrow."),
            (StopAgentRun("closed", agent_message=Message(role="assistant", content="Come back.")), "Come back."),
            (AgentRunException("enough", stop_execution=True), "enough"),
        ],
        ids=range(4),
    )
    async def test_to_end_the_run(self, error: Exception, answer: str) -> None:
        def book() -> str:
            raise error

        agent, model = agent_with(book, script=(ToolCall("book"),), db=InMemoryDb(), session_id="s")
        run = await agent.arun("go")
        assert (run.status, run.content) == (RunStatus.completed, answer)
        model.assert_finished()
        assert (await stored_run(agent)).content == answer

    async def test_by_being_cancelled_themselves_is_an_error_and_not_the_end_of_the_run(self) -> None:
        async def wait() -> None:
            other = asyncio.ensure_future(asyncio.sleep(60))
            asyncio.get_running_loop().call_soon(other.cancel)
            await other

        agent, model = agent_with(wait, script=(ToolCall("wait"), "ok"))
        assert (await agent.arun("go")).content == "ok"
        assert told(model) == ["wait was cancelled."]


class TestLimits:
    async def test_calls_beyond_the_limit_are_refused_in_words(self) -> None:
        pair = (ToolCall("add", {"a": 1, "b": 1}), ToolCall("add", {"a": 2, "b": 2}))
        agent, model = agent_with(add, script=(pair, pair, "ok"), tool_call_limit=3)
        run = await agent.arun("go")
        refused = "This run may call tools 3 times, and has. add was not called; answer without it."
        assert told(model, 2) == ["2", "4", "2", refused]
        assert [tool.tool_call_error for tool in run.tools or ()] == [False, False, False, True]
        agent, model = agent_with(add, script=(pair, "ok"), tool_call_limit=0)
        await agent.arun("go")
        assert "was not called" in told(model)[0]

    async def test_a_model_that_calls_the_same_tool_for_ever_has_to_answer(self) -> None:
        async def call_for_ever(request: ModelRequest) -> Any:
            return "I give up." if request.tool_choice == "none" else ToolCall("add", {"a": 1, "b": 1})

        agent, model = agent_with(add, script=(call_for_ever,) * 51)
        run = await agent.arun("go")
        assert (run.content, len(model.requests), len(run.tools or ())) == ("I give up.", 51, 50)

    @pytest.mark.parametrize("rounds", [1, 4])
    async def test_one_that_does_not_even_then_fails(self, rounds: int) -> None:
        agent, model = agent_with(
            add, script=(ToolCall("add", {"a": 1, "b": 1}),) * 9, max_tool_rounds=rounds, db=InMemoryDb(), session_id="s"
        )
        run = await agent.arun("go")
        assert run.status == RunStatus.error
        assert f"called tools in {rounds} rounds, and again" in run.content
        assert len(model.requests) == rounds + 1
        assert (await stored_run(agent)).status == RunStatus.error
        with pytest.raises(TooManyToolRounds) as caught:
            await Agent(model=model, tools=[add], max_tool_rounds=1, raise_model_errors=True).arun("go")
        assert caught.value.rounds == 1

    async def test_there_may_be_none(self) -> None:
        agent, model = agent_with(add, script=(*[ToolCall("add", {"a": 1, "b": 1})] * 60, "ok"), max_tool_rounds=None)
        assert (await agent.arun("go")).content == "ok"
        assert {request.tool_choice for request in model.requests} == {None}


class TestToolChoice:
    @pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
    async def test_that_forces_a_call_does_so_once(self, choice: Any) -> None:
        agent, model = agent_with(add, script=(ToolCall("add", {"a": 1, "b": 1}), "2"), tool_choice=choice)
        await agent.arun("go")
        assert [request.tool_choice for request in model.requests] == [choice, None]

    @pytest.mark.parametrize("choice", ["auto", "none"])
    async def test_that_forces_none_is_always_sent(self, choice: Any) -> None:
        agent, model = agent_with(add, script=(ToolCall("add", {"a": 1, "b": 1}), "2"), tool_choice=choice)
        await agent.arun("go")
        assert [request.tool_choice for request in model.requests] == [choice, choice]

    async def test_is_not_sent_without_tools(self) -> None:
        agent, model = agent_with(script=("ok",), tool_choice="auto")
        await agent.arun("go")
        assert model.requests[0].tool_choice is None


class TestWhatToolsMayBe:
    async def test_dicts_are_the_providers_and_passed_on(self) -> None:
        search = {"type": "web_search", "search_context_size": "low"}
        agent, model = agent_with(add, search, script=("ok",))
        await agent.arun("go")
        assert model.requests[0].tools[1] == search

    @pytest.mark.parametrize("is_async", [True, False])
    async def test_a_function_may_make_them_for_each_run(self, is_async: bool) -> None:
        def make(run_context: RunContext, agent: Agent, session_state: dict[str, Any]) -> list[Any]:
            assert agent.name == "A"
            return [add] if run_context.user_id == "ann" and session_state["n"] else []

        async def make_async(run_context: RunContext, agent: Agent, session_state: dict[str, Any]) -> list[Any]:
            return make(run_context, agent, session_state)

        model = ScriptedModel("ok", "ok")
        agent = Agent(model=model, tools=make_async if is_async else make, name="A", session_state={"n": 1})
        await agent.arun("go", user_id="ann")
        await agent.arun("go", user_id="ben")
        assert [len(request.tools) for request in model.requests] == [1, 0]
        with pytest.raises(ConfigurationError, match="set_tools"):
            agent.add_tool(add)

    async def test_a_function_that_makes_none_is_a_mistake_of_the_programs_own(self) -> None:
        agent = Agent(model=ScriptedModel("ok"), tools=lambda: "add", db=InMemoryDb(), session_id="s")
        with pytest.raises(ConfigurationError, match="makes a list of tools, not str"):
            await agent.arun("go")
        assert (await stored_run(agent)).status == RunStatus.error
        assert (await Agent(model=ScriptedModel("ok"), tools=lambda: None).arun("go")).content == "ok"

    async def test_they_can_be_added_and_exchanged(self) -> None:
        agent, model = agent_with(script=("ok", "ok", "ok"))
        agent.add_tool(add)
        await agent.arun("go")
        agent.tools.append({"type": "web_search"})  # type: ignore[union-attr]
        await agent.arun("go")
        with pytest.raises(ConfigurationError, match="two tools are named 'add'"):
            agent.add_tool(add)
        agent.set_tools([])
        await agent.arun("go")
        assert [len(request.tools) for request in model.requests] == [1, 2, 0]

    @pytest.mark.parametrize(
        ("tools", "words"),
        [
            ([Toolkit], "pass Toolkit()"),
            ([{"name": "x"}], "a tool that the provider runs is a dict like"),
            ("add", "tools= takes a list of functions, toolkits"),
            ([add, Toolkit(tools=[add])], "two tools are named 'add'"),
            ({"type": "web_search"}, "tools= takes a list"),
        ],
        ids=range(5),
    )
    def test_anything_else_is_refused(self, tools: Any, words: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Agent(model=ScriptedModel(), tools=tools)
        assert words in str(caught.value)

    def test_a_method_needs_its_object(self) -> None:
        class Shop:
            @tool
            def buy(self) -> None: ...

        with pytest.raises(ConfigurationError, match="'buy' is a method without its object"):
            Agent(model=ScriptedModel(), tools=[Shop.buy])

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"tool_choice": "add"}, "tool_choice is one of 'none', 'auto', 'required'"),
            ({"tool_choice": {"name": "add"}}, "tool_choice= takes a word or"),
            ({"tool_call_limit": -1}, "tool_call_limit is a whole number from 0"),
            ({"tool_hooks": add}, "tool_hooks= takes a list of functions"),
            ({"tool_hooks": [7]}, "tool_hooks is a function, not int"),
            ({"tool_timeout": 0}, "tool_timeout is a number of seconds above zero"),
            ({"max_tool_rounds": 0}, "max_tool_rounds is a whole number from 1"),
        ],
        ids=str,
    )
    def test_settings_that_cannot_work_are_refused(self, settings: Any, words: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Agent(model=ScriptedModel(), **settings)
        assert words in str(caught.value)


class TestTextThatUtf8HasNoCodeFor:
    async def test_is_told_of_a_result_and_of_an_error_with_a_replacement(self) -> None:
        def names() -> list[str]:
            return ["caf\udce9.txt"]

        def one() -> str:
            return "caf\udce9.txt"

        def missing() -> None:
            raise OSError("no such file: caf\udce9.txt")

        calls = [ToolCall("names"), ToolCall("one"), ToolCall("missing")]
        agent, model = agent_with(names, one, missing, script=(calls, "ok"), db=InMemoryDb(), session_id="s")
        run = await agent.arun("go")
        assert run.content == "ok"
        assert told(model) == ['["caf\ufffd.txt"]', "caf\ufffd.txt", "OSError: no such file: caf\ufffd.txt"]
        assert [tool.result for tool in (await stored_run(agent)).tools or ()] == told(model)

    async def test_of_a_models_answer_and_arguments_is_replaced_and_halves_that_come_apart_are_joined(self) -> None:
        @tool
        def say(text: str) -> str:
            return text

        class Halves(ScriptedModel):
            async def respond(self, request: ModelRequest) -> Any:
                self.requests.append(request)
                if len(self.requests) == 1:
                    said = {"name": "say", "arguments": '{"text": "\\ud83d and \\ud83d\\ude00"}'}
                    call = {"id": "c", "type": "function", "function": said}
                    yield ModelDelta(tool_calls=[call], reasoning_content="hm\udce9", finish_reason="tool_calls")
                    return
                for piece in ("so \ud83d", "\ude00 it \udce9 is", "\ud83d"):
                    yield ModelDelta(content=piece)
                yield ModelDelta(finish_reason="stop")

        agent = Agent(model=Halves(), tools=[say], db=InMemoryDb(), session_id="s")
        events = [event async for event in agent.arun("go", stream=True)]
        assert [event.content for event in events if isinstance(event, RunContentEvent) and event.content] == [
            "so ", "\U0001f600 it \ufffd is",
        ]  # fmt: skip
        run = await stored_run(agent)
        assert (run.content, run.reasoning_content) == ("so \U0001f600 it \ufffd is\ufffd", "hm\ufffd")
        assert (run.tools or [])[0].tool_args == {"text": "\ufffd and \U0001f600"}


class TestWhatModelsDoWrong:
    async def test_thoughts_beside_tool_calls_are_the_runs_too(self) -> None:
        class Thinking(ScriptedModel):
            async def respond(self, request: ModelRequest) -> Any:
                self.requests.append(request)
                if len(self.requests) == 1:
                    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
                    yield ModelDelta(tool_calls=[call], reasoning_content="I must add.", finish_reason="tool_calls")
                    return
                yield ModelDelta(
                    content="3", reasoning_content="Now I know." if len(self.requests) == 3 else None, finish_reason="stop"
                )

        run = await Agent(model=Thinking(), tools=[add]).arun("go")
        assert (run.content, run.reasoning_content) == ("3", "I must add.")

    async def test_a_call_that_is_none_is_answered_too(self) -> None:
        class Odd(ScriptedModel):
            async def respond(self, request: ModelRequest) -> Any:
                self.requests.append(request)
                if len(self.requests) > 1:
                    yield ModelDelta(content="ok", finish_reason="stop")
                    return
                calls = [
                    {"id": "c1", "type": "custom", "custom": {"name": "x"}},
                    {"id": "c2", "type": "function", "function": {}},
                ]
                yield ModelDelta(tool_calls=calls, finish_reason="tool_calls")

        model = Odd()
        run = await Agent(model=model, tools=[add]).arun("go")
        assert run.content == "ok"
        assert told(model) == ["There is no tool named 'custom'. Tools: add.", "There is no tool named 'function'. Tools: add."]

    async def test_an_answer_without_anything_is_an_answer(self) -> None:
        agent, model = agent_with(add, script=("", "ok"), db=InMemoryDb(), session_id="s", add_history_to_context=True)
        run = await agent.arun("go")
        assert (run.status, run.content) == (RunStatus.completed, None)
        await agent.arun("go on")
        assert [message.role for message in model.requests[1].messages] == ["user", "assistant", "user"]


class TestMetrics:
    async def test_say_how_long_each_call_took(self) -> None:
        async def nap() -> str:
            await asyncio.sleep(0.02)
            return "rested"

        agent, _ = agent_with(nap, script=(ToolCall("nap"), "ok"), db=InMemoryDb(), session_id="s")
        events = [event async for event in agent.arun("go", stream=True, stream_events=True)]
        completed = next(event for event in events if isinstance(event, ToolCallCompletedEvent))
        assert completed.tool is not None
        stored = (await stored_run(agent)).tools or []
        for execution in (completed.tool, stored[0]):
            assert execution.metrics is not None
            assert 0.02 <= (execution.metrics.duration or 0) < 5
        assert not [event for event in events if isinstance(event, ToolCallErrorEvent)]


async def test_50_megabytes_and_what_has_no_json_are_told_and_stored_whole(mongo_db: MongoDb) -> None:
    def big() -> str:
        return "x" * 50_000_000

    def odd() -> Any:
        return {"connection": threading.Lock}

    model = ScriptedModel((ToolCall("big"), ToolCall("odd")), "Big.")
    agent = Agent(model=model, db=mongo_db, session_id="s", tools=[big, odd])
    await agent.arun("go")
    assert len(told(model)[0]) == 50_000_000
    stored = await stored_run(agent)
    assert [len(tool.result or "") for tool in stored.tools or ()] == [50_000_000, len(told(model)[1])]


class TestMedia:
    async def test_that_a_tool_makes_are_shown_to_the_model_and_part_of_the_run(self, mongo_db: MongoDb) -> None:
        def draw() -> ToolResult:
            return ToolResult(content="drawn", metadata={"rows": 3}, images=[Image(content=PIXEL)])

        def export() -> list[File]:
            return [File(content=b"a,b", filename="t.csv", mime_type="text/csv")]

        model = ScriptedModel((ToolCall("draw"), ToolCall("export")), "There.")
        agent = Agent(model=model, db=mongo_db, session_id="s", tools=[draw, export])
        run = await agent.arun("go")
        assert told(model) == ["drawn", "[a file]"]
        for messages in (model.requests[1].messages, (await stored_run(agent)).messages or ()):
            assert [[part.content for part in message.media] for message in messages if message.role == "tool"] == [
                [PIXEL],
                [b"a,b"],
            ]
        for one in (run, await stored_run(agent)):
            assert [(image.content, image.mime_type) for image in one.images or ()] == [(PIXEL, "image/png")]
            assert [file.filename for file in one.files or ()] == ["t.csv"]

    async def test_that_are_none_are_an_error_of_the_tool(self) -> None:
        def draw() -> Image:
            return Image(content=b"this is text")

        agent, model = agent_with(draw, script=(ToolCall("draw"), "ok"))
        run = await agent.arun("go")
        assert "is not an image" in told(model)[0]
        assert (run.images, run.content) == (None, "ok")

    async def test_that_the_user_gave_are_for_tools_that_ask(self) -> None:
        given: list[Any] = []

        @tool(cache_results=True)
        def look(images: list[Image] | None, files, audios: list[Audio] | None = None) -> str:
            given.append((images, files, audios))
            return "seen"

        def read(files: list[str]) -> str:
            return ",".join(files)

        calls = (ToolCall("look"), ToolCall("read", {"files": ["a"]}))
        agent, model = agent_with(look, read, script=(calls, "ok", calls, "ok"))
        for _ in range(2):
            await agent.arun("go", images=[Image(content=PIXEL)])
        assert [[image.content for image in images] for images, _, _ in given] == [[PIXEL], [PIXEL]]
        assert [(files, audios) for _, files, audios in given] == [(None, None)] * 2
        assert told(model) == ["seen", "a"]

    async def test_are_not_kept_in_a_cache(self, tmp_path: Any) -> None:
        calls: list[int] = []

        def draw() -> ToolResult:
            calls.append(1)
            return ToolResult(content="drawn", images=[Image(content=PIXEL)])

        for options in ({}, {"cache_dir": str(tmp_path)}):
            function = Function(name="draw", entrypoint=draw, cache_results=True, **options)
            agent, _ = agent_with(function, script=(ToolCall("draw"), ToolCall("draw"), "ok"))
            run = await agent.arun("go")
            assert len(run.images or ()) == 2
        assert len(calls) == 4


class TestEqualCallsAtOnce:
    """Of a tool whose results are kept."""

    @pytest.mark.parametrize("in_files", [False, True])
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_are_made_once(self, tmp_path: Any, in_files: bool, is_async: bool) -> None:
        calls: list[str] = []

        def slow(word: str) -> str:
            calls.append(word)
            time.sleep(0.1)
            return word.upper()

        async def aslow(word: str) -> str:
            calls.append(word)
            await asyncio.sleep(0.1)
            return word.upper()

        options = {"cache_dir": str(tmp_path)} if in_files else {}
        function = Function(name="slow", entrypoint=aslow if is_async else slow, cache_results=True, **options)
        asked = [ToolCall("slow", {"word": word}) for word in ("a", "a", "b", "a")]
        agent, model = agent_with(function, script=(asked, "ok"))
        await agent.arun("go")
        assert sorted(calls) == ["a", "b"]
        assert told(model) == ["A", "A", "B", "A"]

    async def test_are_made_by_the_next_where_the_first_fails_or_is_cancelled(self) -> None:
        calls: list[int] = []

        @tool(cache_results=True)
        async def shaky() -> str:
            calls.append(1)
            await asyncio.sleep(0.05)
            if len(calls) == 1:
                raise ValueError("not yet")
            return "there"

        agent, model = agent_with(shaky, script=((ToolCall("shaky"), ToolCall("shaky")), "ok"))
        await agent.arun("go")
        assert "not yet" in told(model)[0]
        assert told(model)[1] == "there"

        begun = asyncio.Event()

        @tool(cache_results=True)
        async def hanging() -> str:
            if not begun.is_set():
                begun.set()
                await asyncio.sleep(60)
            return "there"

        first, _ = agent_with(hanging, script=(ToolCall("hanging"), "ok"))
        second, model = agent_with(hanging, script=(ToolCall("hanging"), "ok"))
        run = asyncio.create_task(first.arun("go", session_id="one", run_id="first"))
        await begun.wait()
        other = asyncio.create_task(second.arun("go", session_id="one"))
        await asyncio.sleep(0.05)
        await first.acancel_run("first", session_id="one")
        assert (await run).is_cancelled
        assert (await asyncio.wait_for(other, 10)).content == "ok"
        assert told(model) == ["there"]

    async def test_within_each_other_do_not_wait_for_themselves(self) -> None:
        depth: list[int] = []

        @tool(cache_results=True)
        def ask() -> str:
            depth.append(1)
            if len(depth) == 1:
                inner, _ = agent_with(ask, script=(ToolCall("ask"), "inner"))
                return str(inner.run("go").content)
            return "deep"

        agent, model = agent_with(ask, script=(ToolCall("ask"), "ok"))
        assert (await asyncio.wait_for(agent.arun("go"), 10)).content == "ok"
        assert told(model) == ["inner"]
