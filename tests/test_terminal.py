"""What somebody at a terminal sees."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import ModelError
from agno_mongo.testing import ScriptedModel, ToolCall


def console_on(text: io.StringIO, **options: Any) -> Console:
    return Console(file=text, width=60, **options)


def shown(agent: Agent, *inputs: str, terminal: bool = False, **options: Any) -> str:
    text = io.StringIO()
    console = console_on(text, force_terminal=terminal, color_system=None)
    for given in inputs:
        agent.print_response(given, console=console, **options)
    return text.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_question_and_answer_are_printed(terminal: bool, stream: bool) -> None:
    text = shown(Agent(model=ScriptedModel("Hello there.")), "Hi", terminal=terminal, stream=stream)
    assert "Message" in text
    assert "Hi" in text
    assert "Response" in text
    assert "Hello there." in text


def test_an_answer_that_is_not_asked_to_be_markdown_is_printed_as_it_is() -> None:
    assert "**bold** [red]x[/red]" in shown(Agent(model=ScriptedModel("**bold** [red]x[/red]")), "Hi")
    assert "**" not in shown(Agent(model=ScriptedModel("**bold**")), "Hi", markdown=True)
    assert "**" not in shown(Agent(model=ScriptedModel("**bold**"), markdown=True), "Hi")


def test_the_question_is_left_out_if_asked() -> None:
    assert "Hi there" not in shown(Agent(model=ScriptedModel("ok")), "Hi there", show_message=False)


def test_tools_are_shown_with_what_became_of_them() -> None:
    def add(a: int) -> int:
        return a

    calls = (ToolCall("add", {"a": 1}), ToolCall("add", {"a": "x"}))
    text = shown(Agent(model=ScriptedModel(calls, "done"), tools=[add]), "go")
    assert "✓ add(a=1)" in text
    assert "✗ add(a='x')" in text


def test_a_failure_is_shown_as_one() -> None:
    text = shown(Agent(model=ScriptedModel(ModelError("the model is on strike"))), "Hi")
    assert "Error" in text
    assert "the model is on strike" in text


@pytest.mark.parametrize("word", ["bye", "exit", "quit", "BYE", None])
def test_the_chat_goes_on_until_somebody_leaves(word: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["hello", "", "  again  ", *([word] if word else [])]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    agent = Agent(model=ScriptedModel("one", "two"), db=InMemoryDb(), session_id="s")
    text = io.StringIO()
    agent.cli_app(console=console_on(text), user="John")
    assert "John:" not in text.getvalue()  # nobody sits there
    assert [message.content for message in agent.get_session_messages()] == ["hello", "one", "again", "two"]


async def test_the_chat_works_awaited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("again\nbye\nnever\n"))
    model = ScriptedModel("one", "two")
    text = io.StringIO()
    await Agent(model=model).acli_app("first", console=console_on(text), markdown=True)
    assert model.asked == ["first", "again"]
    assert "two" in text.getvalue()
