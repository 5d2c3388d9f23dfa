"""Toolkits, and results that are kept."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from agno_mongo.agent import Agent
from agno_mongo.errors import ConfigurationError
from agno_mongo.run import RunContext
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import Function, Toolkit, tool
from agno_mongo.tools import cache as caches


class Shop(Toolkit):
    """A toolkit as a user of Agno writes it."""

    def __init__(self, currency: str = "EUR", **options: Any) -> None:
        self.currency = currency
        super().__init__(name="shop", tools=[self.price, self.buy, self.sell], **options)

    def price(self, item: str) -> str:
        """What it costs."""
        return f"{item}: 3 {self.currency}"

    @tool(stop_after_tool_call=True)
    def buy(self, item: str, run_context: RunContext) -> str:
        """Buy it."""
        return f"{run_context.user_id} pays in {self.currency}"

    async def sell(self, item: str) -> str:
        """Sell it."""
        return f"{item} sold"


def told(model: ScriptedModel, request: int = 1) -> list[Any]:
    return [message.content for message in model.requests[request].messages if message.role == "tool"]


async def answers(tools: list[Any], *calls: ToolCall, **settings: Any) -> list[Any]:
    """What the model is told of calls, one after the other."""
    user_id = settings.pop("user_id", None)
    model = ScriptedModel(*calls, "ok")
    await Agent(model=model, tools=tools, **settings).arun("go", user_id=user_id)
    return told(model, len(calls))


class TestToolkits:
    async def test_give_their_methods_to_the_model(self) -> None:
        shop = Shop("CHF")
        calls = (ToolCall("price", {"item": "milk"}), ToolCall("sell", {"item": "milk"}), ToolCall("buy", {"item": "milk"}))
        model = ScriptedModel(calls)
        run = await Agent(model=model, tools=[shop]).arun("go", user_id="ann")
        assert [execution.result for execution in run.tools or ()] == ["milk: 3 CHF", "milk sold", "ann pays in CHF"]
        assert run.content == "ann pays in CHF"
        names = {
            shown["function"]["name"]: list(shown["function"]["parameters"]["properties"]) for shown in model.requests[0].tools
        }
        assert names == {"price": ["item"], "buy": ["item"], "sell": ["item"]}
        assert list(shop.functions) == ["price", "buy"]
        assert list(shop.async_functions) == ["sell"]

    def test_offer_a_choice_of_themselves(self) -> None:
        assert list(Shop(include_tools=["price"]).get_async_functions()) == ["price"]
        assert list(Shop(exclude_tools=["price"]).get_async_functions()) == ["buy", "sell"]
        assert list(Shop(include_tools=["price", "sell"], exclude_tools=["sell"]).get_async_functions()) == ["price"]

    def test_say_of_single_tools_what_a_tool_would(self) -> None:
        shop = Shop(
            requires_confirmation_tools=["price"],
            external_execution_required_tools=["sell"],
            stop_after_tool_call_tools=["sell"],
            show_result_tools=["price"],
            cache_results=True,
            cache_ttl=5,
            tool_timeout=7,
        ).get_async_functions()
        assert (shop["price"].requires_confirmation, shop["price"].shows_result, shop["price"].stop_after_tool_call) == (
            True,
            True,
            None,
        )
        assert (shop["sell"].external_execution, shop["sell"].shows_result, shop["sell"].stop_after_tool_call) == (
            True,
            True,
            True,
        )
        assert (shop["buy"].requires_confirmation, shop["buy"].stop_after_tool_call) == (None, True)
        assert {(function.cache_results, function.cache_ttl, function.timeout) for function in shop.values()} == {(True, 5, 7)}

    @pytest.mark.parametrize(
        "setting",
        [
            "include_tools",
            "exclude_tools",
            "requires_confirmation_tools",
            "external_execution_required_tools",
            "stop_after_tool_call_tools",
            "show_result_tools",
        ],
    )
    def test_that_name_a_tool_which_there_is_not_are_refused(self, setting: str) -> None:
        with pytest.raises(
            ConfigurationError, match=rf"toolkit 'shop': {setting}= names byu, which is none of its tools \(buy, price, sell\)"
        ):
            Agent(model=ScriptedModel(), tools=[Shop(**{setting: ["byu"]})])
        with pytest.raises(ConfigurationError, match="takes a list of names"):
            Shop(**{setting: "buy"})

    async def test_may_register_their_tools_later(self) -> None:
        kit = Toolkit(name="late", requires_confirmation_tools=["late_one"], auto_register=False)

        def now() -> str:
            return "now"

        def late_one() -> None: ...

        kit.register(late_one)
        kit.register(now, name="clock")
        model = ScriptedModel("ok", "ok")
        agent = Agent(model=model, tools=[kit])
        await agent.arun("go")
        kit.register(Function(name="later", entrypoint=now))
        await agent.arun("go")
        assert [[shown["function"]["name"] for shown in request.tools] for request in model.requests] == [
            ["late_one", "clock"], ["late_one", "clock", "later"],
        ]  # fmt: skip
        with pytest.raises(ConfigurationError, match="toolkit 'late': 7 is no function"):
            kit.register(7)  # type: ignore[arg-type]

    async def test_prefer_the_async_function_of_a_name(self) -> None:
        def fetch() -> str:
            return "plain"

        async def afetch() -> str:
            return "async"

        kit = Toolkit(tools=[fetch], async_tools=[(afetch, "fetch")])
        assert await answers([kit], ToolCall("fetch")) == ["async"]
        assert kit.get_functions()["fetch"]() == "plain"

    async def test_bind_decorated_methods_that_were_taken_from_the_class(self) -> None:
        class Kit(Toolkit):
            def __init__(self) -> None:
                super().__init__(name="kit", tools=[Kit.who])

            @tool
            def who(self) -> str:
                return self.name

        assert await answers([Kit()], ToolCall("who")) == ["kit"]

    def test_show_what_they_are(self) -> None:
        assert repr(Shop()) == "Shop(name='shop', tools=['price', 'buy', 'sell'])"
        assert (Shop().id, Toolkit(name="My Tools").id) == ("shop", "my-tools")
        with pytest.raises(ConfigurationError, match="instructions= takes str"):
            Toolkit(instructions=["a"])  # type: ignore[arg-type]


@pytest.fixture
def counted() -> tuple[Function, list[Any]]:
    calls: list[Any] = []

    @tool(cache_results=True)
    def fetch(item: str, deep: list[int] | None = None) -> Any:
        calls.append((item, deep))
        return {"item": item, "call": len(calls)}

    return fetch, calls


class TestResultsThatAreKept:
    async def test_are_given_again_for_the_same_arguments(self, counted: Any) -> None:
        fetch, calls = counted
        asked = [
            ToolCall("fetch", {"item": "a"}),
            ToolCall("fetch", {"item": "a"}),
            ToolCall("fetch", {"item": "a", "deep": [1]}),
        ]
        first = await answers([fetch], *asked)
        assert first[0] == first[1] == '{"item": "a", "call": 1}'
        assert first[2] == '{"item": "a", "call": 2}'
        assert (await answers([fetch], *asked)) == first
        assert len(calls) == 2

    async def test_are_each_users_own(self, counted: Any) -> None:
        fetch, calls = counted
        for user_id in ("ann", "ben", "ann", None):
            await answers([fetch], ToolCall("fetch", {"item": "a"}), user_id=user_id)
        assert len(calls) == 3

    async def test_are_each_sessions_own_if_the_tool_can_see_the_session(self) -> None:
        calls: list[Any] = []

        @tool(cache_results=True)
        def look(run_context: RunContext) -> None:
            calls.append(run_context.session_id)

        for session_id in ("s1", "s2", "s1"):
            assert await answers([look], ToolCall("look"), session_id=session_id) == ["null"]
        assert calls == ["s1", "s2"]

    async def test_are_forgotten_when_their_time_is_over(self, counted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        fetch, calls = counted
        now = 0.0
        monkeypatch.setattr(caches, "monotonic", lambda: now)
        await answers([fetch], ToolCall("fetch", {"item": "a"}))
        now = 3599.0
        await answers([fetch], ToolCall("fetch", {"item": "a"}))
        assert len(calls) == 1
        now = 3601.0
        await answers([fetch], ToolCall("fetch", {"item": "a"}))
        assert len(calls) == 2

    async def test_are_not_errors(self) -> None:
        calls: list[int] = []

        @tool(cache_results=True)
        async def fail() -> str:
            calls.append(1)
            if len(calls) == 1:
                raise OSError("the network is down")
            return "up again"

        assert await answers([fail], ToolCall("fail"), ToolCall("fail"), ToolCall("fail")) == [
            "OSError: the network is down", "up again", "up again",
        ]  # fmt: skip

    def test_take_so_much_memory_and_no_more(self) -> None:
        cache = caches.MemoryCache(60)
        for number in range(caches.MOST_KEPT + 2):
            cache.put(str(number), number)
            assert cache.get("0") == (0 if number < 500 else caches.NOTHING)
        assert cache.get("1") is caches.NOTHING
        cache.put("large", "x" * (caches.LARGEST_KEPT + 1))
        assert cache.get("large") is caches.NOTHING

    async def test_are_copies_which_hooks_may_change(self, counted: Any) -> None:
        fetch, calls = counted

        def spoil(function_call: Any, arguments: dict[str, Any]) -> Any:
            result = function_call(**arguments)
            result["spoilt"] = result.get("spoilt", 0) + 1
            return result

        for _ in range(2):
            assert await answers([fetch], ToolCall("fetch", {"item": "a"}), tool_hooks=[spoil]) == [
                '{"item": "a", "call": 1, "spoilt": 1}',
            ]  # fmt: skip
        assert len(calls) == 1

    async def test_belong_to_the_arguments_that_reach_the_tool(self, counted: Any) -> None:
        fetch, calls = counted

        async def other_item(function_call: Any) -> Any:
            return await function_call(item="b")

        await answers([fetch], ToolCall("fetch", {"item": "a"}))
        assert "b" in (await answers([fetch], ToolCall("fetch", {"item": "a"}), tool_hooks=[other_item]))[0]
        assert [item for item, _ in calls] == ["a", "b"]


class TestResultsInFiles:
    def kept_in(self, folder: Path, calls: list[Any]) -> Function:
        @tool(cache_results=True, cache_dir=str(folder))
        def fetch(item: str) -> Any:
            calls.append(item)
            return {"a": {1, 2}} if item == "set" else {"item": item}

        return fetch

    async def test_outlive_the_process_and_nobody_else_reads_them(self, tmp_path: Path) -> None:
        # Each process begins with the same enclosed values.
        calls_of_each: list[list[Any]] = [[], []]
        for calls in calls_of_each:
            fetch = self.kept_in(tmp_path / "kept", calls)
            assert await answers([fetch], ToolCall("fetch", {"item": "a"}), user_id="ann") == ['{"item": "a"}']
        assert calls_of_each == [["a"], []]
        (file,) = (tmp_path / "kept" / "fetch").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        await answers([self.kept_in(tmp_path / "kept", calls := [])], ToolCall("fetch", {"item": "a"}), user_id="ben")
        assert calls == ["a"]

    @pytest.mark.parametrize(
        "left", ["", "{", "[]", '{"written": "yesterday", "result": 1}', '{"written": 0, "result": 1}', "\udcff"]
    )
    async def test_that_cannot_be_read_or_are_old_are_made_anew(self, tmp_path: Path, left: str) -> None:
        calls: list[Any] = []
        fetch = self.kept_in(tmp_path, calls)
        await answers([fetch], ToolCall("fetch", {"item": "a"}))
        (file,) = (tmp_path / "fetch").iterdir()
        file.write_bytes(left.encode(errors="surrogateescape"))
        assert await answers([fetch], ToolCall("fetch", {"item": "a"})) == ['{"item": "a"}']
        assert calls == ["a", "a"]
        assert json.loads(file.read_text())["result"] == '{"item": "a"}'

    async def test_are_what_hooks_were_given_or_are_not_kept(self, tmp_path: Path) -> None:
        calls: list[Any] = []
        fetch = self.kept_in(tmp_path, calls)
        kinds: list[Any] = []

        def look(function_call: Any, arguments: dict[str, Any]) -> Any:
            result = function_call(**arguments)
            kinds.append(result)
            return result

        await answers([fetch], ToolCall("fetch", {"item": "a"}))
        calls.clear()
        for item in ("a", "a", "set", "set"):
            await answers([fetch], ToolCall("fetch", {"item": item}), tool_hooks=[look])
        assert kinds == [{"item": "a"}, {"item": "a"}, {"a": {1, 2}}, {"a": {1, 2}}]
        assert calls == ["a", "set", "set"]

    async def test_cost_no_call_when_they_cannot_be_written(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "file").write_text("no folder")
        fetch = self.kept_in(tmp_path / "file", [])
        assert await answers([fetch], ToolCall("fetch", {"item": "a"})) == ['{"item": "a"}']
        assert "cannot be kept in" in caplog.text

    async def test_are_whole_however_many_write_them(self, tmp_path: Path) -> None:
        cache = caches.FileCache(tmp_path, 60)
        stop = asyncio.Event()

        def write() -> None:
            for _ in range(100):
                cache.put("k", "x" * 10_000)

        def read() -> list[Any]:
            return [cache.get("k") for _ in range(100)]

        found = await asyncio.gather(*(asyncio.to_thread(work) for work in (write, write, read, read)))
        stop.set()
        assert {len(one) for read_ones in found[2:] for one in read_ones or () if one is not caches.NOTHING} <= {10_000}
        assert os.listdir(tmp_path) == ["k.json"]


class Hotel(Toolkit):
    def __init__(self, city: Any, folder: Any, count: list[str]) -> None:
        super().__init__(name="hotel", tools=[self.rooms], cache_results=True, cache_dir=folder)
        self.city = city
        type(self).count = count

    def rooms(self) -> str:
        type(self).count.append(str(self.city))
        return f"rooms in {self.city}"


class TestResultsInFilesOfToolsOfTheSameCode:
    @staticmethod
    async def result(tool: Any) -> str | None:
        run = await Agent(model=ScriptedModel(ToolCall("rooms"), "ok"), tools=[tool], user_id="u").arun("go")
        return (run.tools or ())[0].result

    async def test_are_those_of_an_object_like_it(self, tmp_path: Path) -> None:
        count: list[str] = []
        told = [await self.result(Hotel(city, tmp_path, count)) for city in ("Rome", "Paris", "Rome")]
        assert told == ["rooms in Rome", "rooms in Paris", "rooms in Rome"]
        assert count == ["Rome", "Paris"]

    async def test_are_those_of_a_function_that_encloses_the_same(self, tmp_path: Path) -> None:
        count: list[str] = []

        def rooms_of(city: str, count: list[str]) -> Function:
            def rooms() -> str:
                count.append(city)
                return city

            return Function(entrypoint=rooms, cache_results=True, cache_dir=tmp_path)

        assert [await self.result(rooms_of(city, [])) for city in ("Rome", "Paris")] == ["Rome", "Paris"]
        assert await self.result(rooms_of("Rome", count)) == "Rome"
        assert count == []

    async def test_are_in_memory_where_an_object_does_not_say_what_it_is(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        count: list[str] = []
        for city in (object(), object()):
            assert await self.result(Hotel(city, tmp_path, count)) == f"rooms in {city}"
        assert (len(count), list(tmp_path.iterdir())) == (2, [])
        assert "in memory and not in files" in caplog.text
