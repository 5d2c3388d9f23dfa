"""Tools that read and change the session's state, instructions that show it, and a stream of typed events.

Tools are plain functions; the model sees their name, docstring and parameters, except ``run_context``, which the runtime
fills in. What they change in ``run_context.session_state`` is stored with the run. Run it twice; the second process finds
the list of the first::

    python examples/tools_and_state.py

The session is in ``tmp/data``. Without ``OPENAI_API_KEY`` a scripted model says what OpenAI's would decide by itself; the
tools, the state and the events are the same.
"""

import asyncio
import os

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models.base import Model, ModelRequest
from agno_mongo.models.openai import OpenAIChat
from agno_mongo.run import RunContext
from agno_mongo.run.agent import (
    RunCompletedEvent,
    RunContentEvent,
    RunErrorEvent,
    ToolCallCompletedEvent,
    ToolCallErrorEvent,
    ToolCallStartedEvent,
)
from agno_mongo.testing import ScriptedModel, ToolCall


def add_item(run_context: RunContext, item: str, amount: int = 1) -> str:
    """Put something on the shopping list.

    :param item: what to buy
    :param amount: how many
    """
    items = run_context.session_state["shopping_list"]
    items[item] = items.get(item, 0) + amount
    return f"{items[item]} × {item} on the list"


def remove_item(run_context: RunContext, item: str) -> str:
    """Take something off the shopping list.

    :param item: what was bought
    """
    if run_context.session_state["shopping_list"].pop(item, None) is None:
        return f"there is no {item} on the list"
    return f"{item} is off the list"


def choose_model() -> Model:
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        return OpenAIChat(id="gpt-5-mini")
    print("No OPENAI_API_KEY: a scripted model plays OpenAI's part.")
    return ScriptedModel(
        what_it_was_told,
        [ToolCall("add_item", {"item": "milk", "amount": 2}), ToolCall("add_item", {"item": "bread"})],
        "Milk and bread are on the list.",
        ToolCall("remove_item", {"item": "bread"}),
        "Bread is off the list.",
    )


def what_it_was_told(request: ModelRequest) -> str:
    return f"I was told: {request.messages[0].content}"


async def ask(agent: Agent, question: str) -> None:
    print(f"\n> {question}")
    async for event in agent.arun(question, stream=True, stream_events=True):
        match event:
            case RunContentEvent(content=str(piece)):
                print(piece, end="", flush=True)
            case ToolCallStartedEvent(tool=tool):
                print(f"  … {tool.tool_name}")
            case ToolCallCompletedEvent(tool=tool):
                print(f"  ✓ {tool.tool_name} {tool.tool_args}: {tool.result}")
            case ToolCallErrorEvent(error=error) | RunErrorEvent(content=error):
                print(f"  ✗ {error}")
            case RunCompletedEvent(session_state=state):
                print(f"\n  stored: {state}")


async def main() -> None:
    async with EmbeddedMongoDb(path="tmp/data") as db:
        agent = Agent(
            model=choose_model(),
            db=db,
            session_id="shopping",
            session_state={"shopping_list": {}},  # what a new session begins with
            instructions="You keep a shopping list. On it now: {shopping_list}",
            tools=[add_item, remove_item],
        )
        await ask(agent, "What is on my list?")
        await ask(agent, "I need two bottles of milk, and bread.")
        await ask(agent, "I have the bread.")


if __name__ == "__main__":
    asyncio.run(main())
