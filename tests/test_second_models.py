"""Models that speak after the agent's own, or after a team's leader: who is asked what, what of it is shown, stored and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import ConfigurationError, ModelError, OutputSchemaError
from agno_mongo.models.demo import DemoModel
from agno_mongo.run import RunStatus
from agno_mongo.team import Team
from agno_mongo.testing import ScriptedModel, ToolCall
from agno_mongo.tools import tool

Make = Callable[..., Any]


class City(BaseModel):
    """A city."""

    name: str
    population: int


ROME = '{"name": "Rome", "population": 2750000}'


def an_agent(*script: Any, **settings: Any) -> Agent:
    return Agent(**{"model": ScriptedModel(*script), "db": InMemoryDb(), "session_id": "s", **settings})


def a_team(*script: Any, **settings: Any) -> Team:
    helper = Agent(name="helper", model=ScriptedModel())
    return Team([helper], **{"model": ScriptedModel(*script), "db": InMemoryDb(), "session_id": "s", **settings})


@pytest.fixture(params=[an_agent, a_team])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param  # type: ignore[no-any-return]


def said(run: Any) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in run.messages if message.role != "system"]


async def streamed(component: Any, **options: Any) -> list[str]:
    return [event.event.removeprefix("Team") async for event in component.arun("go", stream=True, **options)]


class TestTheParserModel:
    async def test_makes_the_object_of_what_the_own_model_has_said(self, make: Make) -> None:
        parser = ScriptedModel(ROME)
        component = make("Rome has 2.75 million.", parser_model=parser, output_schema=City, instructions="Be brief.")
        run = await component.arun("Which city?")
        assert run.content == City(name="Rome", population=2750000)
        assert run.content_type == "City"
        own, second = component.model.requests[0], parser.requests[0]
        assert own.response_format is None
        assert "json" not in str(own.messages).lower()
        assert [message.content for message in second.messages] == [
            "You are tasked with creating a structured output from the provided user message.",
            "Rome has 2.75 million.",
        ]
        assert second.response_format["type"] == "json_schema"
        assert second.tools == []

    async def test_is_part_of_the_run_and_counted(self, make: Make) -> None:
        component = make("Rome.", parser_model=ScriptedModel(ROME), output_schema=City)
        run = await component.arun("Which city?")
        stored = await component.aget_run_output(run.run_id)
        assert said(stored) == [("user", "Which city?"), ("assistant", "Rome."), ("assistant", ROME)]
        assert stored.metrics.total_tokens == 30
        assert stored.model == component.model.id

    async def test_has_a_prompt_and_words_for_the_schema(self) -> None:
        parser = ScriptedModel(ROME)
        settings = {"parser_model_prompt": "Read this.", "use_json_mode": True, "output_schema": City}
        agent = an_agent("Rome.", parser_model=parser, **settings)
        await agent.arun("Which city?")
        assert parser.requests[0].messages[0].content.startswith("Read this.\n\nAnswer with one JSON object")
        assert agent.model.requests[0].messages[0].role == "user"

    async def test_is_asked_once_more_for_an_answer_that_does_not_fit(self, make: Make) -> None:
        parser = ScriptedModel("Rome?", ROME)
        component = make("Rome.", parser_model=parser, output_schema=City)
        run = await component.arun("Which city?")
        assert run.content.name == "Rome"
        assert [message.misfit for message in run.messages if message.role != "system"] == [False, False, True, True, False]
        component = make("Rome.", parser_model=ScriptedModel("Rome?", "Rome!"), output_schema=City, raise_model_errors=True)
        with pytest.raises(OutputSchemaError):
            await component.arun("Which city?")

    async def test_is_not_asked_without_a_schema_nor_for_a_result_that_fits(self) -> None:
        agent = an_agent("Rome.", parser_model=ScriptedModel())
        assert (await agent.arun("Which city?")).content == "Rome."

        @tool(stop_after_tool_call=True)
        def look() -> str:
            """Look it up."""
            return ROME

        agent = an_agent(ToolCall("look"), tools=[look], parser_model=ScriptedModel(), output_schema=City)
        assert (await agent.arun("Which city?")).content.name == "Rome"

    async def test_streams_the_own_models_words_and_no_json(self, make: Make) -> None:
        component = make("Rome.", parser_model=ScriptedModel(ROME), output_schema=City)
        events = [event async for event in component.arun("go", stream=True, stream_events=True)]
        assert "".join(event.content for event in events if event.event.endswith("RunContent")) == "Rome."
        names = [event.event.removeprefix("Team") for event in events]
        assert names.index("ParserModelResponseStarted") < names.index("ParserModelResponseCompleted")
        assert events[-1].content.name == "Rome"


class TestTheOutputModel:
    async def test_writes_the_answer_in_the_place_of_the_own_model(self, make: Make) -> None:
        writer = ScriptedModel("O Rome!")
        component = make("Rome.", output_model=writer, output_model_prompt="Write verses.", instructions="Be brief.")
        run = await component.arun("Which city?")
        stored = await component.aget_run_output(run.run_id)
        assert run.content == stored.content == "O Rome!"
        assert said(stored) == [("user", "Which city?"), ("assistant", "O Rome!")]
        asked = writer.requests[0].messages
        assert [(message.role, message.content) for message in asked] == [("system", "Write verses."), ("user", "Which city?")]
        assert stored.messages[0].content != "Write verses."
        assert stored.metrics.total_tokens == 30

    async def test_sees_what_tools_have_found(self) -> None:
        def look() -> str:
            """Look it up."""
            return "the Pantheon"

        writer = ScriptedModel("O Pantheon!")
        run = await an_agent(ToolCall("look"), "It is there.", tools=[look], output_model=writer).arun("What is there?")
        assert [message.role for message in writer.requests[0].messages] == ["user", "assistant", "tool"]
        assert [role for role, _ in said(run)] == ["user", "assistant", "tool", "assistant"]

    async def test_is_held_to_the_schema_unless_a_parser_follows(self, make: Make) -> None:
        component = make("Rome.", output_model=ScriptedModel(ROME), output_schema=City)
        assert (await component.arun("Which city?")).content.name == "Rome"
        assert component.model.requests[0].response_format is None
        writer, parser = ScriptedModel("O Rome!"), ScriptedModel(ROME)
        component = make("Rome.", output_model=writer, parser_model=parser, output_schema=City)
        assert (await component.arun("Which city?")).content.name == "Rome"
        assert writer.requests[0].response_format is None
        assert parser.asked == ["O Rome!"]

    async def test_streams_the_answer_and_what_is_none_yet_as_such(self, make: Make) -> None:
        events = [event async for event in make("Rome.", output_model=ScriptedModel("O Rome!")).arun("go", stream=True)]
        parts: dict[str, str] = {}
        for event in events:
            name = event.event.removeprefix("Team")
            parts[name] = parts.get(name, "") + event.content
        assert parts == {"RunIntermediateContent": "Rome.", "RunContent": "O Rome!"}

    async def test_that_fails_leaves_what_the_own_model_has_said(self, make: Make) -> None:
        component = make("Rome.", output_model=ScriptedModel(ModelError("on strike")))
        run = await component.arun("Which city?")
        assert run.status is RunStatus.error
        assert said(await component.aget_run_output(run.run_id)) == [("user", "Which city?"), ("assistant", "Rome.")]

    async def test_is_asked_only_when_a_paused_run_has_come_to_its_answer(self) -> None:
        @tool(requires_confirmation=True)
        def send() -> str:
            """Send."""
            return "sent"

        writer = ScriptedModel("It is on its way!")
        agent = an_agent(ToolCall("send"), "Sent.", tools=[send], output_model=writer)
        run = await agent.arun("Send it.")
        assert run.is_paused
        run.active_requirements[0].confirm()
        assert (await agent.acontinue_run(run)).content == "It is on its way!"


def test_they_are_models_or_the_names_of_some() -> None:
    assert isinstance(an_agent(output_model="demo:demo", parser_model=DemoModel()).output_model, DemoModel)
    with pytest.raises(ConfigurationError, match="parser_model="):
        an_agent(parser_model=7)
    with pytest.raises(ConfigurationError, match="output_model_prompt"):
        an_agent(output_model_prompt=7)
