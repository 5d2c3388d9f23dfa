"""Structured output and input: what the provider is asked for, what becomes of the answer, and what is stored of it."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_serializer, field_validator
from typing_extensions import NotRequired, TypedDict

from agno_mongo.agent import Agent
from agno_mongo.agent.output_schema import output_schema
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, InputSchemaError, ModelError, OutputSchemaError
from agno_mongo.json_schema import faults, strict
from agno_mongo.media import Image
from agno_mongo.messages import Message
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.models.demo import DemoModel
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run import RunInput, RunOutput, RunStatus
from agno_mongo.run.agent import RunCompletedEvent, RunContentEvent, RunErrorEvent
from agno_mongo.session import SessionSummaryManager
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool
from tests.llm_servers import AIMock, Answer
from tests.llm_servers import ToolCall as SentToolCall
from tests.test_media import png


class City(BaseModel):
    """A city."""

    name: str
    population: int = Field(ge=0, description="How many live there")


CITY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "City",
    "properties": {"name": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["name", "population"],
    "additionalProperties": False,
}
ROME = '{"name": "Rome", "population": 2750000}'


def agent_with(*script: Any, **settings: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(*script)
    return Agent(**{"model": model, "db": InMemoryDb(), "session_id": "s", "output_schema": City, **settings}), model


async def stored_run(agent: Agent) -> RunOutput:
    session = await agent.aget_session()
    assert session is not None
    assert session.runs is not None
    assert session.active_runs == {}
    run = session.runs[-1]
    assert isinstance(run, RunOutput)
    return run


class TestAnAnswer:
    async def test_is_an_instance_and_stored_as_plain_data(self, db: MongoDb) -> None:
        agent, model = agent_with(ROME, db=db)
        run = await agent.arun("Rome?")
        assert run.content == City(name="Rome", population=2750000)
        assert run.content_type == "City"
        assert run.status == RunStatus.completed
        stored = await stored_run(agent)
        assert (stored.content, stored.content_type) == ({"name": "Rome", "population": 2750000}, "City")
        assert [message.content for message in stored.messages or ()] == ["Rome?", ROME]
        assert City.model_validate(stored.content) == run.content
        assert model.requests[0].response_format == {
            "type": "json_schema",
            "json_schema": {
                "name": "City",
                "strict": True,
                "schema": {
                    "type": "object",
                    "description": "A city.",
                    "properties": {
                        "name": {"type": "string"},
                        "population": {"type": "integer", "minimum": 0, "description": "How many live there"},
                    },
                    "required": ["name", "population"],
                    "additionalProperties": False,
                },
            },
        }

    async def test_is_a_dict_where_the_schema_is_one(self) -> None:
        agent, model = agent_with(ROME, output_schema=CITY_SCHEMA)
        run = await agent.arun("Rome?")
        assert (run.content, run.content_type) == ({"name": "Rome", "population": 2750000}, "dict")
        assert (await stored_run(agent)).content == run.content
        sent = model.requests[0].response_format
        assert sent == {"type": "json_schema", "json_schema": {"name": "City", "strict": True, "schema": CITY_SCHEMA}}

    async def test_to_a_schema_with_choices_of_its_own_is_not_held_to_it_strictly(self) -> None:
        optional = {**CITY_SCHEMA, "required": ["name"]}
        backwards = {**CITY_SCHEMA, "required": ["population", "name"]}
        sent = [output_schema(schema).native["json_schema"] for schema in (optional, backwards)]
        assert [(entry["strict"], entry["schema"]) for entry in sent] == [(False, optional), (True, backwards)]

    async def test_may_be_asked_for_in_the_providers_own_words(self) -> None:
        own = {"type": "json_schema", "json_schema": {"name": "town", "strict": False, "schema": CITY_SCHEMA}}
        agent, model = agent_with('{"name": "Rome"}', ROME, output_schema=own)
        assert (await agent.arun("Rome?")).content["name"] == "Rome"
        assert [request.response_format for request in model.requests] == [own, own]

    async def test_of_one_run_may_have_a_schema_of_its_own(self) -> None:
        agent, model = agent_with("Rome is old.", ROME, output_schema=None)
        assert (await agent.arun("Rome?")).content == "Rome is old."
        assert (await agent.arun("Rome?", output_schema=City)).content == City(name="Rome", population=2750000)
        assert model.requests[0].response_format is None

    async def test_stays_text_without_parse_response(self) -> None:
        agent, model = agent_with("anything", parse_response=False)
        run = await agent.arun("Rome?")
        assert (run.content, run.content_type) == ("anything", "str")
        assert model.requests[0].response_format is not None

    async def test_comes_after_tools_which_are_offered_beside_the_schema(self) -> None:
        def population(city: str) -> int:
            return 2750000

        agent, model = agent_with(ToolCall("population", {"city": "Rome"}), ROME, tools=[population])
        assert (await agent.arun("Rome?")).content == City(name="Rome", population=2750000)
        assert [(len(request.tools), bool(request.response_format)) for request in model.requests] == [(1, True), (1, True)]

    async def test_streams_as_text_and_ends_as_the_object(self) -> None:
        agent, _ = agent_with(ROME)
        events = [event async for event in agent.arun("Rome?", stream=True, stream_events=True)]
        assert "".join(event.content or "" for event in events if isinstance(event, RunContentEvent)) == ROME
        assert isinstance(events[-1], RunCompletedEvent)
        assert events[-1].content == City(name="Rome", population=2750000)

    async def test_is_history_as_the_text_that_the_model_said(self) -> None:
        agent, model = agent_with(ROME, ROME, add_history_to_context=True)
        await agent.arun("Rome?")
        await agent.arun("Again.")
        assert [message.content for message in model.requests[1].messages] == ["Rome?", ROME, "Again."]

    async def test_keeps_every_type_that_pydantic_can_read_back(self, db: MongoDb) -> None:
        class Kind(Enum):
            TRIP = "trip"

        class Trip(BaseModel):
            model_config = ConfigDict(populate_by_name=False)

            day: date
            at: datetime
            price: Decimal
            id: UUID
            kind: Kind
            note: str | None
            where: str = Field(alias="Where")
            tags: set[str] = set()

        answer = {
            "day": "2026-03-01", "at": "2026-03-01T10:00:00Z", "price": "12.50", "kind": "trip", "note": None, "Where": "Rome",
            "id": "6f1c2f4e-0000-4000-8000-000000000000", "tags": ["a"],
        }  # fmt: skip
        agent, _ = agent_with(json.dumps(answer), db=db, output_schema=Trip)
        run = await agent.arun("go")
        assert run.content.day == date(2026, 3, 1)
        assert run.content.at == datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
        stored = await stored_run(agent)
        assert stored.content == answer
        assert Trip.model_validate(stored.content) == run.content

    async def test_whose_class_cannot_be_dumped_is_stored_as_text(self) -> None:
        class Odd(BaseModel):
            name: str

            @field_serializer("name")
            def refuse(self, value: str) -> str:
                raise RuntimeError("not today")

        agent, _ = agent_with('{"name": "Rome"}', output_schema=Odd)
        run = await agent.arun("go")
        assert run.content.name == "Rome"
        assert "Rome" in (await stored_run(agent)).content

    async def test_is_in_the_stored_events_as_plain_data(self, db: MongoDb) -> None:
        class Day(BaseModel):
            on: date

        agent, _ = agent_with(
            Day(on=date(2026, 3, 1)), db=db, output_schema=Day, input_schema=Day, pre_hooks=[lambda: None], store_events=True
        )
        await agent.arun({"on": "2026-03-01"})
        stored = await stored_run(agent)
        assert stored.content == {"on": "2026-03-01"}
        completed = (stored.events or [])[-1]
        assert isinstance(completed, RunCompletedEvent)
        assert (completed.content, completed.content_type) == ({"on": "2026-03-01"}, "Day")

    @pytest.mark.parametrize(
        "text",
        [
            f"```json\n{ROME}\n```",
            f"Here you are:\n```\n{ROME}\n```\nAnything else?",
            f"Sure! {ROME} That is it.",
            f"<think>It is {{old}}.</think>{ROME}",
            f"\n  {ROME}\n",
        ],
    )
    async def test_is_found_in_a_fence_and_among_words(self, text: str) -> None:
        agent, _ = agent_with(text, use_json_mode=True)
        assert (await agent.arun("Rome?")).content == City(name="Rome", population=2750000)


class TestJsonMode:
    @pytest.mark.parametrize("settings", [{"use_json_mode": True}, {"structured_outputs": False}])
    async def test_puts_the_schema_into_the_system_message(self, settings: dict[str, Any]) -> None:
        agent, model = agent_with(
            ROME, instructions="Be {mood}.", session_state={"mood": "brief", "name": "x"}, markdown=True, **settings
        )
        assert (await agent.arun("Rome?")).content.name == "Rome"
        (request,) = model.requests
        assert request.response_format == {"type": "json_object"}
        system = request.messages[0]
        assert system.role == "system"
        said = system.get_content_string()
        assert said.startswith("Be brief.\n\nAnswer with one JSON object")
        assert "markdown" not in said
        schema = json.loads(said.split("<json_schema>")[1].split("</json_schema>")[0])
        assert schema["properties"]["population"]["minimum"] == 0

    async def test_makes_a_system_message_where_there_is_none(self) -> None:
        agent, model = agent_with(ROME, use_json_mode=True)
        await agent.arun("Rome?")
        assert [message.role for message in model.requests[0].messages] == ["system", "user"]

    async def test_yields_to_structured_outputs(self) -> None:
        agent, model = agent_with(ROME, use_json_mode=True, structured_outputs=True)
        await agent.arun("Rome?")
        assert (model.requests[0].response_format or {})["type"] == "json_schema"

    async def test_is_what_a_model_gets_that_does_not_take_schemas(self) -> None:
        class Simple(ScriptedModel):
            supports_native_structured_outputs = False

        model = Simple(ROME)
        run = await Agent(model=model, output_schema=City).arun("Rome?")
        assert run.content.name == "Rome"
        assert model.requests[0].response_format == {"type": "json_object"}
        assert "<json_schema>" in model.requests[0].messages[0].get_content_string()


class TestAnAnswerThatDoesNotFit:
    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            ('{"name": "Rome", "population": "many"}', "population: Input should be a valid integer"),
            ('{"name": "Rome"}', "population: Field required"),
            ('{"name": "Rome", "population": -1}', "population: Input should be greater than or equal to 0"),
            ("Rome is old.", "the answer is no JSON object"),
            ('{"name": "Rome", "popu', "the answer is no JSON object"),
            ("[1, 2]", "the answer is no JSON object"),
            ("[" * 5000, "the answer is no JSON object"),
            ("", "the answer is empty"),
        ],
    )
    async def test_is_asked_for_once_more_with_what_is_wrong(self, answer: str, told: str) -> None:
        agent, model = agent_with(answer, ROME)
        run = await agent.arun("Rome?")
        assert run.content == City(name="Rome", population=2750000)
        last = model.requests[1].messages[-1]
        assert last.role == "user"
        assert told in last.get_content_string()
        stored = await stored_run(agent)
        assert [message.role for message in stored.messages or ()] == ["user", "assistant", "user", "assistant"]
        assert (stored.messages or [])[1].content == (answer or None)
        assert stored.metrics is not None
        assert stored.metrics.total_tokens == 30
        model.assert_finished()

    async def test_twice_makes_the_run_an_error_that_keeps_the_text(self, db: MongoDb) -> None:
        agent, model = agent_with("no", '{"name": 1}', ROME, db=db, add_history_to_context=True)
        run = await agent.arun("Rome?")
        assert (run.status, run.content, run.content_type) == (RunStatus.error, '{"name": 1}', "str")
        stored = await stored_run(agent)
        assert (stored.status, stored.content) == (RunStatus.error, '{"name": 1}')
        assert (await agent.arun("Paris?")).status == RunStatus.completed
        assert [message.content for message in model.requests[2].messages] == ["Paris?"]

    async def test_is_raised_if_model_errors_are(self) -> None:
        agent, _ = agent_with("no", '{"name": 1}', raise_model_errors=True)
        with pytest.raises(OutputSchemaError, match="gave no answer that fits City") as caught:
            await agent.arun("Rome?")
        assert caught.value.answer == '{"name": 1}'
        assert caught.value.errors == ["name: Input should be a valid string", "population: Field required"]
        assert (await stored_run(agent)).status == RunStatus.error

    async def test_tells_the_reader_of_its_stream(self) -> None:
        agent, _ = agent_with("no", "never")
        events = [event async for event in agent.arun("Rome?", stream=True)]
        assert isinstance(events[-1], RunErrorEvent)
        assert events[-1].error_type == "OutputSchemaError"
        assert "the answer is no JSON object" in (events[-1].content or "")

    async def test_against_a_json_schema_is_asked_for_again(self) -> None:
        agent, model = agent_with('{"name": 3, "size": 1}', ROME, output_schema=CITY_SCHEMA)
        assert (await agent.arun("Rome?")).content == json.loads(ROME)
        told = model.requests[1].messages[-1].get_content_string()
        assert "- population: is missing" in told
        assert "- name: must be of type string, not integer" in told
        assert "- size: is none of the fields that were asked for" in told

    async def test_through_a_validator_that_has_a_mistake_is_stored_and_raised(self) -> None:
        class Broken(BaseModel):
            name: str

            @field_validator("name")
            @classmethod
            def look(cls, _value: str) -> str:
                raise KeyError("nobody thought of this")

        agent, _ = agent_with('{"name": "Rome"}', output_schema=Broken)
        with pytest.raises(KeyError):
            await agent.arun("Rome?")
        assert (await stored_run(agent)).status == RunStatus.error


class Plain(BaseModel):
    name: str


class WithDefault(BaseModel):
    name: str
    size: int = 3
    note: str | None = None
    tags: list[str] = Field(default_factory=list, max_length=5)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(min_length=1, pattern="^[A-Z]")


class Home(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Field(description="Who lives there")
    other: Cat | Dog | None = None


class Tree(BaseModel):
    label: str
    children: list[Tree] = []
    parent: Tree | None = Field(default=None, description="Where it hangs")


class FreeForm(BaseModel):
    values: dict[str, Any]


class Pair(BaseModel):
    both: tuple[int, str]


class Anything(BaseModel):
    value: Any


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


class Money(BaseModel):
    amount: Decimal
    level: Literal[1, 2, "high"]
    currency: Literal["EUR", "USD"]


STRICT: list[type[BaseModel]] = [Plain, WithDefault, Home, Tree, Money]
NOT_STRICT: list[type[BaseModel]] = [FreeForm, Pair, Anything, Loose]
ANSWERS: dict[type[BaseModel], dict[str, Any]] = {
    Plain: {"name": "a"},
    WithDefault: {"name": "a", "size": 1, "note": None, "tags": []},
    Home: {"pet": {"kind": "cat", "lives": 9}, "other": {"kind": "dog", "name": "Rex"}},
    Tree: {"label": "a", "children": [{"label": "b", "children": [], "parent": None}], "parent": None},
    Money: {"amount": 1.5, "level": "high", "currency": "EUR"},
    FreeForm: {"values": {"a": 1, "b": None}},
    Pair: {"both": [1, "a"]},
    Anything: {"value": {"a": [1]}},
    Loose: {"name": "a", "more": 1},
}


def assert_openai_takes(schema: Any, root: dict[str, Any]) -> None:
    """The rules of OpenAI's strict mode, as its guide to structured outputs has them."""
    assert not {"oneOf", "allOf", "not", "default", "prefixItems", "discriminator", "minLength"} & schema.keys(), schema
    assert {"type", "anyOf", "$ref"} & schema.keys(), schema
    if "$ref" in schema:
        assert set(schema) == {"$ref"}
        assert schema["$ref"].split("/")[-1] in root["$defs"]
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert schema["required"] == list(schema["properties"])
    for part in [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]:
        assert_openai_takes(part, root)
    if "items" in schema:
        assert_openai_takes(schema["items"], root)


class TestWhatOpenAIIsSent:
    @pytest.mark.parametrize("model", STRICT)
    async def test_is_strict_where_strict_mode_can_say_it(self, model: type[BaseModel], aimock: AIMock) -> None:
        sent, run = await self.sent(model, aimock)
        assert sent["strict"] is True
        assert sent["schema"]["type"] == "object"
        assert_openai_takes(sent["schema"], sent["schema"])
        assert isinstance(run.content, model)

    @pytest.mark.parametrize("model", NOT_STRICT)
    async def test_is_the_schema_as_it_is_where_strict_mode_cannot(self, model: type[BaseModel], aimock: AIMock) -> None:
        sent, run = await self.sent(model, aimock)
        assert sent["strict"] is False
        assert sent["schema"] == model.model_json_schema()
        assert isinstance(run.content, model)

    async def test_is_not_strict_with_strict_output_off(self, aimock: AIMock) -> None:
        sent, _ = await self.sent(Plain, aimock, strict_output=False)
        assert sent["strict"] is False

    async def test_in_json_mode_is_a_json_object_and_the_schema_in_words(self, aimock: AIMock) -> None:
        aimock.script(Answer(text=f"```json\n{ROME}\n```"))
        agent = Agent(model=self.chat(aimock), output_schema=City, use_json_mode=True)
        assert (await agent.arun("Rome?")).content.name == "Rome"
        (body,) = aimock.journal()
        assert body["response_format"] == {"type": "json_object"}
        assert "JSON schema" in body["messages"][0]["content"]

    async def test_with_tools_and_in_a_stream_is_the_same(self, aimock: AIMock) -> None:
        def population(city: str) -> int:
            return 2750000

        aimock.script(Answer(tool_calls=(SentToolCall("population", {"city": "Rome"}),)), Answer(text=ROME, chunk_size=7))
        agent = Agent(model=self.chat(aimock), output_schema=City, tools=[population], db=InMemoryDb(), session_id="s")
        events = [event async for event in agent.arun("Rome?", stream=True, stream_events=True)]
        assert isinstance(events[-1], RunCompletedEvent)
        assert events[-1].content == City(name="Rome", population=2750000)
        assert [body["response_format"]["type"] for body in aimock.journal()] == ["json_schema", "json_schema"]
        aimock.assert_finished()

    async def sent(self, model: type[BaseModel], aimock: AIMock, **settings: Any) -> tuple[dict[str, Any], RunOutput]:
        aimock.script(Answer(text=json.dumps(ANSWERS[model])))
        run = await Agent(model=self.chat(aimock, **settings), output_schema=model).arun("go")
        assert run.status == RunStatus.completed, run.content
        (body,) = aimock.journal()
        assert body["response_format"]["type"] == "json_schema"
        assert body["response_format"]["json_schema"]["name"] == model.__name__
        return body["response_format"]["json_schema"], run

    @staticmethod
    def chat(aimock: AIMock, **settings: Any) -> OpenAIChat:
        return OpenAIChat(id="gpt-test", base_url=aimock.base_url, api_key="test", max_retries=0, timeout=10, **settings)


class TestTheDemonstrationModel:
    @pytest.mark.parametrize("model", [Plain, WithDefault, Home, Tree, FreeForm])
    async def test_gives_the_least_that_has_the_form(self, model: type[BaseModel]) -> None:
        run = await Agent(model=DemoModel(), output_schema=model).arun("What is the capital of Italy?")
        assert isinstance(run.content, model), run.content

    async def test_says_its_answer_there(self) -> None:
        run = await Agent(model=DemoModel(), output_schema=Plain).arun("What is the capital of Italy?")
        assert run.content.name == "The capital of Italy is Rome."


class TestASchema:
    @pytest.mark.parametrize(
        ("schema", "words"),
        [
            ("City", "takes a pydantic model class or a JSON schema, not 'City'"),
            (str, "not str"),
            (City(name="Rome", population=1), "not City"),
            ({}, "not {}"),
            (RootModel[list[int]], "put a list, a union or a plain value into a field"),
            ({"type": "array", "items": {"type": "string"}}, "put a list"),
            ({"type": "object", "properties": {"a": {"type": "strin"}}}, "the type 'strin'"),
            ({"type": "object", "properties": {"a": {"$ref": "#/$defs/Nowhere"}}}, "refers to '#/$defs/Nowhere'"),
            ({"type": "object", "properties": {"a": {"$ref": "https://example.org/a.json"}}}, "which is not in it"),
            (type("WithCallable", (BaseModel,), {"__annotations__": {"f": Callable[..., Any]}}), "no JSON schema can be made"),
        ],
    )  # fmt: skip
    async def test_that_cannot_be_one_is_refused_before_anything_is_stored(self, schema: Any, words: str) -> None:
        with pytest.raises(ConfigurationError, match=re_escaped(words)):
            Agent(model=ScriptedModel(), output_schema=schema)
        if schema:
            agent, model = agent_with(output_schema=None)
            with pytest.raises(ConfigurationError, match=re_escaped(words)):
                await agent.arun("go", output_schema=schema)
            assert model.requests == []
            assert await agent.aget_session() is None

    async def test_may_have_its_older_name(self) -> None:
        with pytest.warns(DeprecationWarning, match=r"response_model=…\) is an older name of Agent\(output_schema=…\)"):
            agent = Agent(model=ScriptedModel(ROME), response_model=City)  # type: ignore[call-arg]
        assert (await agent.arun("Rome?")).content.name == "Rome"

    async def test_with_a_name_that_openai_does_not_take_is_given_another(self) -> None:
        named = {**CITY_SCHEMA, "title": "A city, " + "x" * 99}
        agent, model = agent_with(ROME, output_schema=named)
        await agent.arun("go")
        name = (model.requests[0].response_format or {})["json_schema"]["name"]
        assert name.startswith("A_city_x")
        assert len(name) == 64

    def test_is_made_once_for_each_class(self) -> None:
        assert output_schema(City) is output_schema(City)

    @pytest.mark.parametrize("model", [*STRICT, *NOT_STRICT])
    def test_of_a_class_as_a_json_schema_takes_the_same_answers(self, model: type[BaseModel]) -> None:
        schema = model.model_json_schema()
        assert faults(ANSWERS[model], schema) == []
        if (narrower := strict(schema)) is not None:
            assert faults(ANSWERS[model], narrower) == []
        assert faults({}, schema) != []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | st.sampled_from(["", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=5,
)
json_schemas = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object", ["string", "null"]]),
            "enum": st.lists(json_values, min_size=1, max_size=3),
            "const": json_values,
            "minimum": st.integers(-1, 1),
            "exclusiveMaximum": st.integers(-1, 2),
            "minLength": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "pattern": st.sampled_from(["a", "^b"]),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            "required": st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True),
            "additionalProperties": st.booleans() | inner,
            "items": inner | st.booleans(),
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=4,
)


@settings(max_examples=80, deadline=None)
@given(schema=json_schemas, value=json_values)
def test_values_fit_a_schema_where_the_reference_library_says_so(schema: dict[str, Any], value: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert (faults(value, schema) == []) == jsonschema.Draft202012Validator(schema).is_valid(value)


class Question(BaseModel):
    city: str
    days: int = Field(default=1, ge=1)
    on: date | None = None


class Asked(TypedDict):
    city: str


class Refusing:
    """A model that will not, as OpenAI's say it."""

    id, provider, supports_native_structured_outputs = "refusing", "test", True
    asked = 0

    async def respond(self, _: ModelRequest) -> Any:
        self.asked += 1
        yield ModelDelta(content="I cannot help with that.", finish_reason="refusal")


class InWords(ScriptedModel):
    """A model that is given no schemas."""

    supports_native_structured_outputs = False


class TestAnAnswerThatTheModelDoesNotGive:
    async def test_being_a_refusal_is_completed_with_its_text(self) -> None:
        model = Refusing()
        agent, _ = agent_with(model=model)
        run = await agent.arun("How?")
        assert (run.status, run.content, run.content_type) == (RunStatus.completed, "I cannot help with that.", "str")
        assert (run.finish_reason, model.asked) == ("refusal", 1)

    @pytest.mark.parametrize(
        ("result", "content", "kind"),
        [(ROME, City(name="Rome", population=2750000), "City"), ("it is Rome", "it is Rome", "str")],
    )
    async def test_but_a_tool_is_the_object_if_it_fits_else_the_text(self, result: str, content: Any, kind: str) -> None:
        @tool(stop_after_tool_call=True)
        def fetch() -> str:
            return result

        agent, _ = agent_with(ToolCall("fetch"), tools=[fetch])
        run = await agent.arun("Rome?")
        assert (run.status, run.content, run.content_type) == (RunStatus.completed, content, kind)


async def test_a_fallback_model_is_asked_in_the_way_that_it_takes() -> None:
    first = ScriptedModel(ModelError("busy", status_code=503), id="first")
    second = InWords("Rome", ROME, id="second")
    agent, _ = agent_with(model=first, fallback_models=[second], instructions="Be brief.")
    run = await agent.arun("Rome?")
    assert run.content == City(name="Rome", population=2750000)
    assert first.requests[0].response_format is not None
    assert (first.requests[0].response_format["type"], first.requests[0].messages[0].content) == ("json_schema", "Be brief.")
    for request in second.requests:
        assert request.response_format == {"type": "json_object"}
        assert str(request.messages[0].content).count("<json_schema>") == 1
    assert (await stored_run(agent)).messages[0].content == "Be brief."  # type: ignore[index]


class TestAMisfit:
    """What the runtime says of an answer that does not fit is nobody's words, and the answer was none."""

    async def test_is_part_of_the_run_and_of_no_conversation(self, db: MongoDb) -> None:
        told: list[str] = []

        def sums_up(request: ModelRequest) -> str:
            told.append(request.messages[0].get_content_string())
            return '{"summary": "s"}'

        agent, model = agent_with(
            "the Colosseum",
            ROME,
            ROME,
            ToolCall("get_chat_history"),
            ROME,
            db=db,
            add_history_to_context=True,
            read_chat_history=True,
            enable_session_summaries=True,
            summary_in_background=False,
            add_session_summary_to_context=False,
            session_summary_manager=SessionSummaryManager(model=ScriptedModel(sums_up, sums_up, sums_up)),
        )
        run = await agent.arun("Which city?")
        assert run.messages is not None
        assert [message.misfit for message in run.messages] == [False, True, True, False]
        assert [message.content for message in model.requests[1].messages] == [message.content for message in run.messages[:3]]
        said = ["Which city?", ROME]
        assert [message.content for message in await agent.aget_chat_history()] == said
        await agent.arun("And now?")
        assert [message.content for message in model.requests[2].messages] == [*said, "And now?"]
        run = await agent.arun("What did we say?")
        assert run.tools is not None
        shown = [*told, run.tools[0].result or ""]
        assert not any("Colosseum" in text or "does not fit" in text for text in shown)

    async def test_is_in_no_excerpt(self, mongo_url: str, db_name: str) -> None:
        async with MongoDb(mongo_url, db_name=db_name, search=True) as db:
            agent, _ = agent_with("the Colosseum", ROME, db=db)
            await agent.arun("Which city?")
            assert [match.excerpts for match in await db.search_sessions("Colosseum", None)] == [()]


class TestInput:
    async def test_keeps_the_media_of_its_message(self) -> None:
        seen: list[Any] = []

        def look(run_input: RunInput) -> None:
            seen.append(run_input.input_content)

        agent, model = agent_with("ok", output_schema=None, input_schema=Question, pre_hooks=[look])
        message = Message(role="user", content='{"city": "Rome"}', images=[Image(content=png(), id="a")])
        await agent.arun(message, images=[Image(content=png(), id="b")])
        assert seen == [Question(city="Rome")]
        assert [image.id for image in model.requests[0].messages[0].images or ()] == ["a", "b"]
        stored = (await stored_run(agent)).input
        assert stored is not None
        assert [image.id for image in stored.images or ()] == ["a", "b"]

    @pytest.mark.parametrize(
        "given",
        [
            {"city": "Rome", "on": "2026-03-01"},
            Question(city="Rome", on=date(2026, 3, 1)),
            '{"city": "Rome", "on": "2026-03-01"}',
            Message(role="user", content='{"city": "Rome", "on": "2026-03-01"}'),
        ],
    )
    async def test_that_fits_is_sent_and_stored_as_the_schema_has_it(self, given: Any) -> None:
        agent, model = agent_with("ok", output_schema=None, input_schema=Question)
        await agent.arun(given)
        assert json.loads(model.requests[0].messages[0].get_content_string()) == {"city": "Rome", "days": 1, "on": "2026-03-01"}
        stored = await stored_run(agent)
        assert stored.input is not None
        assert stored.input.input_content == {"city": "Rome", "days": 1, "on": "2026-03-01"}

    @pytest.mark.parametrize(
        ("given", "fault"),
        [
            ({"days": 1}, "city: Field required"),
            ({"city": "Rome", "days": 0}, "days: Input should be greater than or equal to 1"),
            ('{"city": 3}', "city: Input should be a valid string"),
            ("Rome, please", "input: Invalid JSON"),
            (Plain(name="x"), "input: Input should be a valid dictionary or instance of Question"),
            (["Rome"], "input: Input should be"),
            (None, "input: Input should be"),
        ],
    )
    async def test_that_does_not_fit_is_refused_before_anything_is_stored(self, given: Any, fault: str) -> None:
        agent, model = agent_with(output_schema=None, input_schema=Question)
        with pytest.raises(InputSchemaError, match="the input does not fit Question") as caught:
            await agent.arun(given)
        assert any(error.startswith(fault) for error in caught.value.errors)
        assert isinstance(caught.value, ValueError)
        with pytest.raises(InputSchemaError):
            [event async for event in agent.arun(given, stream=True)]
        assert model.requests == []
        assert await agent.aget_session() is None

    async def test_may_be_a_typed_dict(self) -> None:
        agent, model = agent_with("ok", output_schema=None, input_schema=Asked)
        await agent.arun({"city": "Rome"})
        assert model.requests[0].messages[0].content == '{"city": "Rome"}'
        with pytest.raises(InputSchemaError, match="city: Field required"):
            await agent.arun({})

    @pytest.mark.parametrize("schema", [str, "Question", {"type": "object"}, Question(city="Rome")])
    def test_of_a_schema_that_is_none_is_refused(self, schema: Any) -> None:
        with pytest.raises(ConfigurationError, match="input_schema= takes a pydantic model class or a TypedDict"):
            Agent(model=ScriptedModel(), input_schema=schema)


def re_escaped(words: str) -> str:
    import re

    return re.escape(words)


class Place(typing.TypedDict, total=False):
    city: str
    zip: int


class Order(typing.TypedDict):
    what: str
    to: list[Place]
    back: Place | None
    note: NotRequired[str]


async def test_a_typed_dict_of_the_standard_library_is_an_input_schema_on_every_python() -> None:
    model = ScriptedModel("ok")
    agent = Agent(model=model, input_schema=Order)
    order = {"what": "tea", "to": [{"city": "Rome"}, {"city": "Bonn", "zip": "53111"}], "back": None}
    await agent.arun(order)
    assert json.loads(model.asked[0]) == {"what": "tea", "to": [{"city": "Rome"}, {"city": "Bonn", "zip": 53111}], "back": None}
    with pytest.raises(InputSchemaError, match=r"to\.0\.zip"):
        await agent.arun({"what": "tea", "to": [{"zip": "x"}], "back": None})
    with pytest.raises(InputSchemaError, match="what"):
        await agent.arun({"to": [], "back": {}})
