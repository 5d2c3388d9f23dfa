"""What a model is told of a function, and what the function is given of a model's arguments."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from agno_mongo.agent import Agent
from agno_mongo.errors import ConfigurationError
from agno_mongo.run import RunContext
from agno_mongo.tools import Function, FunctionCall, tool
from agno_mongo.tools.function import BadToolArgumentsError
from agno_mongo.tools.result import ToolResult, result_text

if TYPE_CHECKING:
    from agno_mongo.nowhere import Unknown  # type: ignore[import-not-found]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Guest(BaseModel):
    name: str
    age: int = 0


@dataclass
class Point:
    x: int
    y: int


class Options(TypedDict, total=False):
    loud: bool


UserId = NewType("UserId", str)
Context = RunContext | None


def parameters_of(function: Any) -> dict[str, Any]:
    parameters = Function.from_callable(function).parameters
    assert parameters is not None
    return parameters


class TestDocstrings:
    def google(self, city: str, days: int = 1) -> str:
        """Tell the weather.

        For a few days at most.

        Args:
            city: where
            days: how many

        Returns:
            A sentence.
        """

    def sphinx(self, city: str, days: int = 1) -> str:
        """Tell the weather.

        For a few days at most.

        :param city: where
        :param days: how many
        :return: A sentence.
        """

    def numpy(self, city: str, days: int = 1) -> str:
        """Tell the weather.

        For a few days at most.

        Parameters
        ----------
        city : str
            where
        days : int
            how many

        Returns
        -------
        str
            A sentence.
        """

    @pytest.mark.parametrize("style", ["google", "sphinx", "numpy"])
    def test_of_each_style_describe_the_tool_and_its_parameters(self, style: str) -> None:
        function = Function.from_callable(getattr(self, style), name="weather")
        assert function.to_openai() == {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Tell the weather.\n\nFor a few days at most.",
                "parameters": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "city": {"type": "string", "description": "where"},
                        "days": {"type": "integer", "default": 1, "description": "how many"},
                    },
                    "required": ["city"],
                },
            },
        }

    def test_may_be_missing(self) -> None:
        def bare(x: int) -> None: ...

        assert Function.from_callable(bare).description is None
        assert "description" not in Function.from_callable(bare).to_openai()["function"]

    def test_yield_to_what_the_tool_says_itself(self) -> None:
        @tool(name="forecast", description="Something else.")
        def weather() -> None:
            """Tell the weather."""

        assert weather.to_openai()["function"]["name"] == "forecast"
        assert weather.to_openai()["function"]["description"] == "Something else."


class TestArguments:
    @pytest.mark.parametrize(
        ("kind", "given", "expected", "schema"),
        [
            (int, 3, 3, {"type": "integer"}),
            (float, 3, 3.0, {"type": "number"}),
            (Literal["a", "b"], "a", "a", {"enum": ["a", "b"], "type": "string"}),
            (Color, "red", Color.RED, {"enum": ["red", "blue"], "type": "string"}),
            (Guest, {"name": "Ann"}, Guest(name="Ann"), None),
            (list[Guest], [{"name": "Ann"}], [Guest(name="Ann")], None),
            (Point, {"x": 1, "y": 2}, Point(1, 2), None),
            (Options, {"loud": True}, {"loud": True}, None),
            (
                datetime,
                "2026-01-02T03:04:05Z",
                datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
                {"type": "string", "format": "date-time"},
            ),
            (
                UUID,
                "12345678123456781234567812345678",
                UUID(int=0x12345678123456781234567812345678),
                {"type": "string", "format": "uuid"},
            ),
            (Decimal, "1.50", Decimal("1.50"), None),
            (tuple[int, str], [1, "a"], (1, "a"), None),
            (set[int], [1, 1], {1}, None),
            (int | None, None, None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
            (
                Annotated[int, Field(ge=1, description="from one")],
                1,
                1,
                {"type": "integer", "minimum": 1, "description": "from one"},
            ),
            (Annotated[int, "from one"], 1, 1, {"type": "integer", "description": "from one"}),
            (UserId, "u", "u", {"type": "string"}),
            (dict[str, Any], {"a": [1]}, {"a": [1]}, {"type": "object", "additionalProperties": True}),
        ],
        ids=str,
    )
    def test_come_as_the_type_that_the_function_wants(self, kind: Any, given: Any, expected: Any, schema: Any) -> None:
        def take(value: Any) -> None: ...

        take.__annotations__["value"] = kind
        function = Function.from_callable(take)
        assert function.validated({"value": given}) == {"value": expected}
        if schema is not None:
            shown = {key: part for key, part in (function.parameters or {})["properties"]["value"].items() if key != "$ref"}
            reference = (function.parameters or {}).get("$defs", {}).get("Color", {})
            assert shown | reference == schema

    def test_that_have_a_default_are_left_to_the_function(self) -> None:
        def take(a: int, b: int = 2, c: int = Field(3, le=5)) -> None: ...

        function = Function.from_callable(take)
        assert function.validated({"a": 1}) == {"a": 1, "c": 3}
        assert (function.parameters or {})["required"] == ["a"]
        with pytest.raises(BadToolArgumentsError, match="c: Input should be less than"):
            function.validated({"a": 1, "c": 9})

    @pytest.mark.parametrize("arguments", ["", "null", "{}", None, {}])
    def test_may_be_none_at_all(self, arguments: Any) -> None:
        def take() -> None: ...

        assert Function.from_callable(take).validated(arguments) == {}

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ('{"a": 1', "are no JSON"),
            ("[1]", "no JSON object"),
            ('"a"', "no JSON object"),
            ('{"a": "x"}', "a: Input should be a valid integer"),
            ('{"a": 1, "z": 2}', "z: Extra inputs are not permitted"),
            ("{}", "a: Field required"),
            ("[" * 100_000, "are no JSON"),
        ],
        ids=range(7),
    )
    def test_that_do_not_fit_are_named(self, arguments: str, words: str) -> None:
        def take(a: int) -> None: ...

        with pytest.raises(BadToolArgumentsError, match=words):
            Function.from_callable(take).validated(arguments)

    def test_by_any_name_are_for_a_function_that_takes_them(self) -> None:
        def take(a: int, **others: Any) -> None: ...

        function = Function.from_callable(take)
        assert function.validated({"a": 1, "z": 2}) == {"a": 1, "z": 2}
        assert (function.parameters or {})["additionalProperties"] is True

    def test_may_be_named_like_what_pydantic_has(self) -> None:
        def take(model_config: str, _private: int, schema: str, json: str) -> None: ...

        given = {"model_config": "a", "_private": 1, "schema": "b", "json": "c"}
        assert Function.from_callable(take).validated(given) == given


class TestStrictTools:
    def test_want_every_argument_and_null_for_those_that_are_the_functions(self) -> None:
        @tool(strict=True)
        def take(a: int, guest: Guest, b: int = 2, c: int | None = None) -> None: ...

        sent = take.to_openai()["function"]
        assert sent["strict"] is True
        assert sent["parameters"]["required"] == ["a", "guest", "b", "c"]
        assert sent["parameters"]["properties"]["b"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
        assert sent["parameters"]["properties"]["c"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
        assert sent["parameters"]["$defs"]["Guest"]["additionalProperties"] is False
        assert "default" not in str(sent)
        given = {"a": 1, "guest": {"name": "Ann", "age": 3}, "b": None, "c": None}
        assert take.validated(given) == {"a": 1, "guest": Guest(name="Ann", age=3), "c": None}

    def test_may_have_no_arguments(self) -> None:
        @tool(strict=True)
        def take() -> None: ...

        assert take.to_openai()["function"]["parameters"] == {
            "type": "object", "properties": {}, "required": [], "additionalProperties": False,
        }  # fmt: skip


class TestWhatTheRuntimeFillsIn:
    def test_is_not_shown_whatever_it_is_called(self) -> None:
        def take(
            city: str, run_context, agent, team, session_state: dict[str, Any], dependencies: dict[str, Any] | None,
            ctx: RunContext, maybe: Context, noted: Annotated[RunContext, "x"], who: Agent | None, fc: FunctionCall, call: FunctionCall,
        ) -> None: ...  # fmt: skip

        function = Function.from_callable(take)
        assert list(parameters_of(take)["properties"]) == ["city"]
        assert function.filled_in == {
            "run_context": "run_context", "agent": "agent", "team": "team", "session_state": "session_state",
            "dependencies": "dependencies", "ctx": "run_context", "maybe": "run_context", "noted": "run_context", "who": "agent",
            "fc": "fc", "call": "fc",
        }  # fmt: skip

    def test_is_no_text_that_only_has_such_a_name(self) -> None:
        def call(agent: str, dependencies: list[str]) -> None: ...

        assert list(parameters_of(call)["properties"]) == ["agent", "dependencies"]

    def test_cannot_be_chosen_by_the_model(self) -> None:
        def take(city: str, run_context: RunContext) -> None: ...

        with pytest.raises(BadToolArgumentsError, match="run_context is not the model's to give"):
            Function.from_callable(take).validated({"city": "Rome", "run_context": {"user_id": "root"}})

        def take_all(run_context: RunContext, **others: Any) -> None: ...

        with pytest.raises(BadToolArgumentsError, match="run_context is not the model's to give"):
            Function.from_callable(take_all).validated({"run_context": {"user_id": "root"}})

    def test_may_have_an_annotation_that_only_type_checkers_can_read(self) -> None:
        def take(city: str, agent: Unknown) -> None: ...

        assert list(parameters_of(take)["properties"]) == ["city"]

        def take_it(city: Unknown) -> None: ...

        with pytest.raises(ConfigurationError, match="its annotations cannot be read: name 'Unknown'"):
            Function.from_callable(take_it)


class TestKindsOfFunctions:
    def method(self, a: int) -> int:
        """Add one."""
        return a + 1

    def test_methods_show_no_self(self) -> None:
        assert list(parameters_of(self.method)["properties"]) == ["a"]

    def test_partials_keep_what_they_have_bound(self) -> None:
        def fetch(key: str, city: str) -> str:
            """Fetch it."""
            return key + city

        function = Function.from_callable(functools.partial(fetch, key="secret"))
        assert (function.name, function.description) == ("fetch", "Fetch it.")
        assert list((function.parameters or {})["properties"]) == ["city"]
        assert "secret" not in str(function.to_openai())
        with pytest.raises(BadToolArgumentsError):
            function.validated({"city": "Rome", "key": "another"})
        assert list(parameters_of(functools.partial(fetch, "secret"))["properties"]) == ["city"]

    def test_decorated_functions_are_what_they_wrap(self) -> None:
        def logged(function: Any) -> Any:
            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return function(*args, **kwargs)

            return wrapper

        @logged
        def add(a: int, b: int = 1) -> int:
            """Add."""
            return a + b

        assert list(parameters_of(add)["properties"]) == ["a", "b"]
        assert Function.from_callable(functools.lru_cache(add)).name == "add"

    def test_objects_that_can_be_called_have_the_name_of_their_class(self) -> None:
        class Adder:
            """Adds."""

            step: int

            def __call__(self, a: int) -> int:
                return a + 1

        function = Function.from_callable(Adder())
        assert (function.name, function.description) == ("Adder", "Adds.")
        assert list((function.parameters or {})["properties"]) == ["a"]

    def test_a_tool_can_be_called_like_its_function(self) -> None:
        @tool
        def add(a: int, b: int) -> int:
            return a + b

        assert add(1, b=2) == 3

    def test_a_tool_with_a_schema_of_its_own_shows_that(self) -> None:
        schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}

        def run(**arguments: Any) -> Any:
            return arguments

        function = Function(name="search", description="Search.", parameters=schema, entrypoint=run)
        assert function.to_openai()["function"]["parameters"] == schema
        assert function.validated('{"q": "x"}') == {"q": "x"}
        assert function.to_dict() == {"name": "search", "description": "Search.", "parameters": schema}


class TestWhatCannotBeATool:
    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: tool(lambda x: x), "a def with a name of its own"),
            (lambda: tool(name="two words")(parameters_of), "1 to 64 letters"),
            (lambda: Function(name="x"), "it has no function to call"),
            (lambda: Function.from_callable(print_at), "a model passes arguments by name, 'x' takes none"),
            (lambda: Function.from_callable(connect), "tool 'connect': no schema can be made"),
            (
                lambda: tool(requires_confirmation=True, external_execution=True)(parameters_of),
                "for one reason, not for requires_conf",
            ),
            (lambda: tool(timeout=0)(parameters_of), "timeout is a number of seconds above zero"),
            (lambda: tool(timeout="1")(parameters_of), "timeout is a number of seconds"),
            (lambda: tool(cache_ttl=-1)(parameters_of), "cache_ttl is a number of seconds"),
            (lambda: tool(pre_hook=7)(parameters_of), "pre_hook is a function, not int"),
            (lambda: tool(tool_hooks=print)(parameters_of), "tool_hooks= takes a list of functions"),
            (lambda: tool(7), "@tool takes a function, not 7"),
            (lambda: tool(tool(parameters_of)), "@tool takes a function"),
        ],
        ids=range(13),
    )
    def test_is_refused_with_its_name(self, make: Any, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words):
            make()

    def test_nor_is_an_option_that_there_is_not(self) -> None:
        with pytest.raises(TypeError, match=r"tool\(\) has no setting 'stop_after_call'"):
            tool(stop_after_call=True)  # type: ignore[call-overload]


def print_at(x: int, /) -> None: ...


class Connection: ...


def connect(to: Connection) -> None: ...


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("text", "text"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'),
        (Guest(name="Ann"), '{"name": "Ann", "age": 0}'),
        ([Guest(name="Ann"), Point(1, 2)], '[{"name": "Ann", "age": 0}, {"x": 1, "y": 2}]'),
        (Point(1, 2), '{"x": 1, "y": 2}'),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), "2026-01-02T00:00:00Z"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Color.RED, "red"),
        ({3}, "[3]"),
        (Decimal("1.50"), "1.50"),
        (b"text", "text"),
        (b"\xff\xfe", "[2 bytes that are no text]"),
        ({(1, 2): 3}, '{"1,2": 3}'),
        (ToolResult(content="told"), "told"),
        (Unshowable(), "<Unshowable>"),
        (float("nan"), "NaN"),
    ],
    ids=range(19),
)
def test_any_result_is_text_for_the_model(result: Any, text: str) -> None:
    assert result_text(result) == text


def test_results_that_go_round_in_circles_or_have_no_json_are_text_too() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert result_text(circle) == "[[...]]"
    assert "object object" in result_text(object())
    assert "object object" in result_text({"a": object()})


class TestAStrictTool:
    def test_sends_only_what_strict_mode_has_words_for(self) -> None:
        @tool(strict=True)
        def rename(
            name: Annotated[str, Field(min_length=1, max_length=5, description="The new one.")], tags: list[str] | None = None
        ) -> str:
            return name

        sent = rename.to_openai()["function"]["parameters"]
        assert sent["properties"]["name"] == {"type": "string", "description": "The new one."}
        assert sent["required"] == ["name", "tags"]
        with pytest.raises(BadToolArgumentsError, match="name"):
            rename.validated({"name": "too long", "tags": None})

    @pytest.mark.parametrize("kind", [dict[str, int], tuple[int, str], Any])
    def test_is_refused_when_it_is_made_if_there_are_none(self, kind: Any) -> None:
        def count(tags: Any) -> str: ...

        count.__annotations__["tags"] = kind
        with pytest.raises(ConfigurationError, match="tool 'count': OpenAI's strict mode"):
            tool(strict=True)(count)
        assert tool(count).to_openai()
