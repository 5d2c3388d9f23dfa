"""Whole conversations of an Agent with OpenAIChat over real HTTP: what history, tools and state the model was really sent."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

from agno_mongo.agent import Agent
from agno_mongo.blocking import portal
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.team import Team
from agno_mongo.tools import tool
from tests.llm_servers import AIMock, Answer, ToolCall


def chat(base_url: str, **settings: Any) -> OpenAIChat:
    return OpenAIChat(**{"id": "gpt-test", "base_url": base_url, "api_key": "test", "max_retries": 0, "timeout": 10, **settings})


def agent_on(server: AIMock, **settings: Any) -> Agent:
    return Agent(**{"model": chat(server.base_url), "db": InMemoryDb(), "session_id": "s", **settings})


def spoken(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in body["messages"]]


def results(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(message["tool_call_id"], message["content"]) for message in body["messages"] if message["role"] == "tool"]


async def four_turns(agent: Agent, aimock: AIMock) -> list[tuple[str, str]]:
    """What was sent at the fourth turn."""
    aimock.script(*(Answer(text=f"answer {turn}") for turn in (1, 2, 3, 4)))
    for turn in (1, 2, 3, 4):
        await agent.arun(f"question {turn}")
    aimock.assert_finished()
    return spoken(aimock.journal()[-1])


# History.


async def test_num_history_runs_shows_the_model_that_many_turns_and_the_instructions_once(aimock: AIMock) -> None:
    agent = agent_on(aimock, instructions="Be brief.", add_history_to_context=True, num_history_runs=2)
    assert await four_turns(agent, aimock) == [
        ("system", "Be brief."),
        ("user", "question 2"),
        ("assistant", "answer 2"),
        ("user", "question 3"),
        ("assistant", "answer 3"),
        ("user", "question 4"),
    ]


async def test_num_history_messages_shows_the_model_that_many_messages(aimock: AIMock) -> None:
    agent = agent_on(aimock, instructions="Be brief.", add_history_to_context=True, num_history_messages=3)
    assert await four_turns(agent, aimock) == [
        ("system", "Be brief."),
        ("assistant", "answer 2"),
        ("user", "question 3"),
        ("assistant", "answer 3"),
        ("user", "question 4"),
    ]


async def test_without_history_the_model_is_shown_this_turn_only(aimock: AIMock) -> None:
    agent = agent_on(aimock, instructions="Be brief.", add_history_to_context=False)
    assert await four_turns(agent, aimock) == [("system", "Be brief."), ("user", "question 4")]
    assert [message.content for message in await agent.aget_chat_history()][:2] == ["question 1", "answer 1"]


async def test_a_streamed_turn_is_history_like_any_other(aimock: AIMock) -> None:
    aimock.script(Answer(text="Hello, Ann.", chunk_size=3), Answer(text="Ann."))
    agent = agent_on(aimock, add_history_to_context=True)
    async for _ in agent.arun("I am Ann.", stream=True):
        pass
    await agent.arun("Who am I?")
    assert spoken(aimock.journal()[-1]) == [("user", "I am Ann."), ("assistant", "Hello, Ann."), ("user", "Who am I?")]


async def test_the_session_goes_on_in_another_agent_on_the_same_db(aimock: AIMock) -> None:
    aimock.script(Answer(text="Hello, Ann."), Answer(text="Ann."))
    db = InMemoryDb()
    await agent_on(aimock, db=db).arun("I am Ann.")
    await agent_on(aimock, db=db, instructions="Be brief.", add_history_to_context=True).arun("Who am I?")

    assert spoken(aimock.journal()[-1]) == [
        ("system", "Be brief."),
        ("user", "I am Ann."),
        ("assistant", "Hello, Ann."),
        ("user", "Who am I?"),
    ]


async def test_two_users_at_once_are_never_shown_each_others_words(aimock: AIMock) -> None:
    aimock.when(Answer(text="Noted."), user_message="My secret")
    aimock.when(Answer(text="You told me."), user_message="What was it?")
    agent = agent_on(aimock, session_id=None, add_history_to_context=True)

    async def talk(name: str) -> None:
        ids: Any = {"session_id": f"session of {name}", "user_id": name}
        await agent.arun(f"My secret is {name}", **ids)
        await agent.arun("What was it?", **ids)

    names = ("ann", "bob", "cleo")
    await asyncio.gather(*map(talk, names))
    second_turns = [spoken(body) for body in aimock.journal() if len(body["messages"]) > 1]
    assert sorted(second_turns) == [
        [("user", f"My secret is {name}"), ("assistant", "Noted."), ("user", "What was it?")] for name in names
    ]


# Tools.


async def test_a_tool_is_offered_with_its_schema_and_its_result_goes_back(aimock: AIMock) -> None:
    def weather(city: str, days: int = 1) -> str:
        """The weather to come.

        Args:
            city: Where.
            days: How far ahead.
        """
        return f"{days} days of rain in {city}"

    aimock.script(Answer(tool_calls=(ToolCall("weather", {"city": "Oslo", "days": 2}, id="call_1"),)), Answer(text="Rain."))
    run = await agent_on(aimock, tools=[weather]).arun("Weather?")

    asked, told = aimock.journal()
    assert asked["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "The weather to come.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "description": "Where."},
                        "days": {"type": "integer", "description": "How far ahead.", "default": 1},
                    },
                    "required": ["city"],
                    "additionalProperties": False,
                },
            },
        }
    ]
    assert told["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": json.dumps({"city": "Oslo", "days": 2})},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "2 days of rain in Oslo"},
    ]
    assert run.content == "Rain."


async def test_results_go_back_in_the_order_of_the_calls_whoever_finishes_first(aimock: AIMock) -> None:
    async def visit(city: str) -> str:
        if city == "Oslo":
            await rome_is_done.wait()
        else:
            rome_is_done.set()
        finished.append(city)
        return f"seen {city}"

    rome_is_done = asyncio.Event()
    finished: list[str] = []
    calls = (ToolCall("visit", {"city": "Oslo"}, id="call_a"), ToolCall("visit", {"city": "Rome"}, id="call_b"))
    aimock.script(Answer(tool_calls=calls), Answer(text="Done."))
    run = await agent_on(aimock, tools=[visit]).arun("Travel")

    assert finished == ["Rome", "Oslo"]
    assert results(aimock.journal()[1]) == [("call_a", "seen Oslo"), ("call_b", "seen Rome")]
    assert [tool.tool_call_id for tool in run.tools or ()] == ["call_a", "call_b"]


async def test_several_calls_streamed_in_pieces_are_put_together(aimock: AIMock) -> None:
    def visit(city: str) -> str:
        return f"seen {city}"

    calls = tuple(ToolCall("visit", {"city": city}, id=f"call_{city}") for city in ("Oslo", "Rome", "Ulm"))
    aimock.script(Answer(text="On my way.", tool_calls=calls, chunk_size=4), Answer(text="Done."))
    agent = agent_on(aimock, tools=[visit])
    output = [event async for event in agent.arun("Travel", stream=True, yield_run_output=True)][-1]

    called = aimock.journal()[1]["messages"][1]
    assert called["content"] == "On my way."
    assert [json.loads(call["function"]["arguments"]) for call in called["tool_calls"]] == [
        {"city": "Oslo"},
        {"city": "Rome"},
        {"city": "Ulm"},
    ]
    assert results(aimock.journal()[1]) == [(f"call_{city}", f"seen {city}") for city in ("Oslo", "Rome", "Ulm")]
    assert output.content == "Done."


async def test_the_model_may_call_tools_again_and_again_before_it_answers(aimock: AIMock) -> None:
    def double(number: int) -> int:
        return 2 * number

    calls = [Answer(tool_calls=(ToolCall("double", {"number": number}, id=f"call_{number}"),)) for number in (1, 2, 4)]
    aimock.script(*calls, Answer(text="8"))
    run = await agent_on(aimock, tools=[double]).arun("Double 1 three times")
    assert run.content == "8"
    assert results(aimock.journal()[-1]) == [("call_1", "2"), ("call_2", "4"), ("call_4", "8")]


async def test_a_failing_tool_tells_the_model_why_and_the_run_goes_on(aimock: AIMock) -> None:
    def read(path: str) -> str:
        raise FileNotFoundError(f"no file {path}")

    aimock.script(Answer(tool_calls=(ToolCall("read", {"path": "x.txt"}, id="call_1"),)), Answer(text="It is not there."))
    run = await agent_on(aimock, tools=[read]).arun("Read x.txt")

    assert results(aimock.journal()[1]) == [("call_1", "FileNotFoundError: no file x.txt")]
    assert (run.status, run.content) == (RunStatus.completed, "It is not there.")
    assert [tool.tool_call_error for tool in run.tools or ()] == [True]


async def test_a_call_of_a_tool_that_there_is_not_tells_the_model_which_there_are(aimock: AIMock) -> None:
    def read(path: str) -> str:
        return path

    aimock.script(Answer(tool_calls=(ToolCall("write", {}, id="call_1"),)), Answer(text="I cannot."))
    run = await agent_on(aimock, tools=[read]).arun("Write")
    ((_, told),) = results(aimock.journal()[1])
    assert "'write'" in told
    assert "read" in told
    assert run.status == RunStatus.completed


async def test_arguments_that_do_not_fit_are_told_to_the_model_and_the_tool_is_not_called(aimock: AIMock) -> None:
    def wait(days: int) -> None:
        waited.append(days)

    waited: list[int] = []
    wrong = (
        ToolCall("wait", {"days": "many"}, id="call_1"),
        ToolCall("wait", {}, id="call_2"),
        ToolCall("wait", {"days": 1, "hours": 2}, id="call_3"),
    )
    aimock.script(Answer(tool_calls=wrong), Answer(tool_calls=(ToolCall("wait", {"days": 3}),)), Answer(text="Done."))
    await agent_on(aimock, tools=[wait]).arun("Wait")

    told = dict(results(aimock.journal()[1]))
    assert "days" in told["call_1"]
    assert "days" in told["call_2"]
    assert "hours" in told["call_3"]
    assert waited == [3]


async def test_arguments_that_are_no_json_are_told_to_the_model_and_the_tool_is_not_called(llmock: Any) -> None:
    def visit(city: str) -> None:
        visited.append(city)

    visited: list[str] = []
    agent = Agent(model=chat(llmock.base_url()), db=InMemoryDb(), tools=[visit])
    llmock.call_tool("visit", {"city": "Oslo"}).break_tool_call().reply("Never mind.")
    run = await agent.arun("Travel")

    ((_, told),) = results(llmock.last_request.body)
    assert "no JSON" in told
    assert visited == []
    assert run.content == "Never mind."


async def test_history_replays_tool_calls_with_their_results(aimock: AIMock) -> None:
    def now() -> str:
        return "12:00"

    call = ToolCall("now", {}, id="call_1")
    aimock.script(Answer(tool_calls=(call,)), Answer(text="Noon."), Answer(text="You are welcome."))
    agent = agent_on(aimock, tools=[now], instructions="Be brief.", add_history_to_context=True)
    await agent.arun("What time is it?")
    await agent.arun("Thanks")

    first, second = aimock.journal()[1:]
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert second["messages"][2]["tool_calls"][0]["id"] == second["messages"][3]["tool_call_id"] == "call_1"
    stored = await agent.aget_session()
    assert stored is not None
    assert [len(run.messages) for run in stored.runs or ()] == [5, 3]  # type: ignore[union-attr]


# State.


async def test_instructions_are_filled_in_from_the_stored_state(aimock: AIMock) -> None:
    aimock.script(Answer(text="Hi"), Answer(text="Hi"), Answer(text="Hi"))
    agent = agent_on(aimock, instructions="Talk {tone} to {user_id}; keep {this} as it is.", session_state={"tone": "kindly"})
    await agent.arun("Hello", user_id="ann")
    await agent.arun("Hello", user_id="ann", session_state={"tone": "curtly"})
    await agent.arun("Hello", user_id="ann")
    assert [body["messages"][0]["content"] for body in aimock.journal()] == [
        "Talk kindly to ann; keep {this} as it is.",
        "Talk curtly to ann; keep {this} as it is.",
        "Talk curtly to ann; keep {this} as it is.",
    ]


async def test_what_a_tool_puts_into_the_state_is_in_the_next_turns_instructions(aimock: AIMock) -> None:
    def buy(run_context: RunContext, item: str) -> str:
        run_context.session_state["basket"].append(item)
        return f"bought {item}"

    aimock.script(
        Answer(tool_calls=(ToolCall("buy", {"item": "milk"}), ToolCall("buy", {"item": "bread"}))),
        Answer(text="Bought."),
        Answer(text="Milk and bread."),
    )
    db = InMemoryDb()
    settings: dict[str, Any] = {"db": db, "instructions": "In the basket: {basket}", "session_state": {"basket": []}}
    await agent_on(aimock, tools=[buy], **settings).arun("Buy milk and bread")
    second = agent_on(aimock, **settings)
    await second.arun("What did I buy?")

    assert "run_context" not in json.dumps(aimock.journal()[0]["tools"])
    before, _, after = (body["messages"][0]["content"] for body in aimock.journal())
    assert before == "In the basket: []"
    assert sorted(json.loads(after.removeprefix("In the basket: "))) == ["bread", "milk"]
    assert sorted((await second.aget_session_state())["basket"]) == ["bread", "milk"]


# Event loops.


def test_one_model_works_on_several_event_loops_one_after_another(aimock: AIMock) -> None:
    aimock.script(*(Answer(text=f"answer {turn}") for turn in (1, 2, 3, 4)))
    agent = agent_on(aimock, add_history_to_context=True)

    asyncio.run(agent.arun("question 1"))  # type: ignore[arg-type]
    agent.run("question 2")
    asyncio.run(agent.arun("question 3"))  # type: ignore[arg-type]
    pieces = [event.content for event in agent.run("question 4", stream=True)]

    assert "".join(pieces) == "answer 4"
    assert [content for _, content in spoken(aimock.journal()[-1])] == [
        *(f"{word} {turn}" for turn in (1, 2, 3) for word in ("question", "answer")),
        "question 4",
    ]
    # A connection that its loop did not close at its end would warn now, and a warning fails the test.
    portal.close()
    del agent
    gc.collect()


async def test_one_model_serves_many_runs_at_once(aimock: AIMock) -> None:
    aimock.when(Answer(text="Hi"))
    agent = agent_on(aimock)
    runs = await asyncio.gather(*(agent.arun(f"Hello {number}", session_id=f"s{number}") for number in range(20)))
    assert [run.content for run in runs] == ["Hi"] * 20
    assert len(aimock.journal()) == 20


# Tools.


async def test_what_an_agent_says_of_its_tools_crosses_the_wire(aimock: AIMock) -> None:
    @tool(strict=True)
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    provided = {"type": "web_search", "search_context_size": "low"}
    forced = {"type": "function", "function": {"name": "add"}}
    aimock.script(Answer(tool_calls=(ToolCall("add", {"a": 1, "b": None}, id="c1"),)), Answer(text="2"))
    agent = agent_on(aimock, tools=[add, provided], tool_choice=forced, max_tool_rounds=1)
    assert (await agent.arun("1 + 1?")).content == "2"
    first, second = aimock.journal()
    sent = {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
        "strict": True,
    }
    assert first["tools"] == [{"type": "function", "function": sent}, provided]
    assert (first["tool_choice"], second["tool_choice"]) == (forced, "none")
    assert results(second) == [("c1", "2")]


# Teams.


async def test_a_team_is_sent_its_members_and_each_member_its_task_alone(aimock: AIMock) -> None:
    call = ToolCall("delegate_task_to_member", {"member_id": "finder", "task": "Find the sea."}, id="call_1")
    aimock.script(Answer(tool_calls=(call,)), Answer(text="It is there.", chunk_size=4), Answer(text="There it is."))
    finder = Agent(name="finder", role="Finds things", model=chat(aimock.base_url))
    team = Team([finder], model=chat(aimock.base_url), db=InMemoryDb(), session_id="s")
    names = [event.event async for event in team.arun("Where is the sea?", stream=True)]  # type: ignore[union-attr]
    assert {"RunContent", "TeamRunContent"} <= set(names)
    leader, member, again = aimock.journal()
    assert '<member id="finder" name="finder">\n  Role: Finds things\n</member>' in leader["messages"][0]["content"]
    [tool_sent] = leader["tools"]
    assert tool_sent["function"]["name"] == "delegate_task_to_member"
    assert list(tool_sent["function"]["parameters"]["properties"]) == ["member_id", "task"]
    assert spoken(member) == [("system", "<your_role>\nFinds things\n</your_role>"), ("user", "Find the sea.")]
    assert results(again) == [("call_1", "It is there.")]
    assert (await team.aget_last_run_output()).content == "There it is."  # type: ignore[union-attr]
