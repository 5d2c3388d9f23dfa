"""What somebody at a terminal sees."""

from __future__ import annotations

import asyncio
import io
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pexpect
import pytest
from rich.cells import cell_len
from rich.console import Console

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, ModelError, SessionOwnedByAnotherUser
from agno_mongo.models.base import ModelDelta, ModelRequest
from agno_mongo.run import RunContext, RunStatus
from agno_mongo.run.agent import RunContentEvent, RunOutput
from agno_mongo.terminal.chat import Chat
from agno_mongo.terminal.look import Look
from agno_mongo.terminal.markdown import LINES_OF_CODE, MarkdownBlocks
from agno_mongo.terminal.screen import print_run
from agno_mongo.terminal.typed import LONGEST, Typed
from agno_mongo.testing import ScriptedModel, ToolCall

ROOT = Path(__file__).parent.parent


def console_on(text: io.StringIO, **options: Any) -> Console:
    return Console(file=text, **{"width": 60, "color_system": None, **options})


def shown(agent: Agent, *inputs: str, terminal: bool = False, **options: Any) -> str:
    text = io.StringIO()
    console = console_on(text, force_terminal=terminal)
    for given in inputs:
        agent.print_response(given, console=console, **options)
    return text.getvalue()


async def printed(*events: Any, width: int = 60, **look: Any) -> str:
    text = io.StringIO()

    async def source() -> Any:
        for event in events:
            yield event

    await print_run(source(), Look(**look), console_on(text, width=width))
    return text.getvalue()


# A question and its answer.


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_question_and_answer_are_printed(terminal: bool, stream: bool) -> None:
    text = shown(Agent(model=ScriptedModel("Hello there.")), "Hi", terminal=terminal, stream=stream)
    assert "Message" in text
    assert "Hi" in text
    assert "Response" in text
    assert "Hello there." in text
    assert "15 tokens" in text


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_is_asked_to_stream_only_if_the_answer_is_shown_as_it_comes(stream: bool) -> None:
    model = ScriptedModel("Hello there.")
    shown(Agent(model=model), "Hi", stream=stream)
    assert model.requests[0].stream is stream


def test_an_answer_that_is_not_asked_to_be_markdown_is_printed_as_it_is() -> None:
    assert "**bold** [red]x[/red]" in shown(Agent(model=ScriptedModel("**bold** [red]x[/red]")), "Hi")
    assert "**" not in shown(Agent(model=ScriptedModel("**bold**")), "Hi", markdown=True)
    assert "**" not in shown(Agent(model=ScriptedModel("**bold**"), markdown=True), "Hi")


def test_the_question_is_left_out_if_asked() -> None:
    assert "Hi there" not in shown(Agent(model=ScriptedModel("ok")), "Hi there", show_message=False)


def add(a: int) -> int:
    """Add."""
    return a


CALLS = (ToolCall("add", {"a": 1}), ToolCall("add", {"a": "x"}))


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_shown_with_what_became_of_them_and_how_long_they_took(stream: bool) -> None:
    text = shown(Agent(model=ScriptedModel(CALLS, "done"), tools=[add]), "go", stream=stream)
    assert re.search(r"\d\.\ds ✓ add\(a=1\)", text)
    assert re.search(r"\d\.\ds ✗ add\(a='x'\)  ", text)
    assert text.index("add(a=1)") < text.index("add(a='x')") < text.index("done")


def test_tools_are_left_out_if_the_agent_says_so() -> None:
    assert "add" not in shown(Agent(model=ScriptedModel(CALLS, "done"), tools=[add], show_tool_calls=False), "go")


def test_parts_stand_in_the_order_in_which_they_came() -> None:
    class Talkative:
        id = "talkative"
        provider = "test"

        async def respond(self, request: ModelRequest) -> Any:
            if request.messages[-1].role == "tool":
                yield ModelDelta(content="It is one.", finish_reason="stop")
            else:
                yield ModelDelta(content="Let me see.", tool_calls=[CALLS[0].to_openai()], finish_reason="tool_calls")

    text = shown(Agent(model=Talkative(), tools=[add]), "go")
    assert text.index("Let me see.") < text.index("add(a=1)") < text.index("It is one.")
    assert text.count("It is one.") == 1


def test_a_failure_is_shown_as_one() -> None:
    for stream in (True, False):
        text = shown(Agent(model=ScriptedModel(ModelError("the model is on strike"))), "Hi", stream=stream)
        assert "Error" in text
        assert text.count("the model is on strike") == 1


async def test_reasoning_is_shown_in_short_in_full_or_not_at_all() -> None:
    thoughts = "".join(f"thought {number}\n" for number in range(20))
    events = [RunContentEvent(reasoning_content=thoughts), RunContentEvent(content="42"), RunOutput(content="42")]
    short = await printed(*events)
    assert "thought 0" in short
    assert "thought 19" not in short
    assert "and 14 lines more" in short
    full = await printed(*events, reasoning="full")
    assert full.index("thought 19") < full.index("42")
    assert "thought" not in await printed(*events, reasoning="none")
    assert "thought 0" in await printed(RunOutput(content="42", reasoning_content=thoughts), live=False)


async def test_an_answer_that_was_changed_after_it_was_streamed_is_shown_as_it_is_stored() -> None:
    text = await printed(RunContentEvent(content="secret"), RunOutput(content="censored"))
    assert text.index("secret") < text.index("censored")


async def test_data_is_shown_as_json() -> None:
    assert '"name": "Jürgen"' in await printed(RunOutput(content={"name": "Jürgen"}), live=False, markdown=True)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"stream": "yes"}, ConfigurationError, "stream= takes True or False"),
        ({"markdown": 1}, ConfigurationError, "markdown= takes True or False"),
        ({"show_message": None}, ConfigurationError, "show_message= takes True or False"),
        ({"tags_to_include_in_markdown": "think"}, ConfigurationError, "takes a set of names"),
        ({"console": 7}, ConfigurationError, "takes a rich Console"),
        ({"show_mesage": False}, TypeError, "did you mean 'show_message'"),
    ],
)
async def test_options_that_cannot_work_are_refused_before_anything_is_sent(
    options: Any, error: type[Exception], words: str
) -> None:
    model = ScriptedModel()
    with pytest.raises(error, match=words):
        await Agent(model=model).aprint_response("Hi", **options)
    assert model.requests == []


async def test_a_run_that_is_cancelled_is_printed_as_far_as_it_came_and_stored() -> None:
    async def answer(request: ModelRequest) -> str:
        await asyncio.sleep(30)
        return ""

    db, text = InMemoryDb(), io.StringIO()
    agent = Agent(model=ScriptedModel(ToolCall("add", {"a": 1}), answer), tools=[add], db=db, session_id="s")
    task = asyncio.ensure_future(agent.aprint_response("go", console=console_on(text)))
    while len(agent.model.requests) < 2:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "✓ add(a=1)" in text.getvalue()
    assert [run.status for run in (await db.get_session("s")).runs] == [RunStatus.cancelled]


async def test_two_runs_on_one_terminal_at_once_are_both_printed() -> None:
    text = io.StringIO()
    console = console_on(text, force_terminal=True)
    await asyncio.gather(*(Agent(model=ScriptedModel(word)).aprint_response("?", console=console) for word in ("one", "two")))
    assert "one" in text.getvalue()
    assert "two" in text.getvalue()


def test_importing_an_agent_imports_nothing_that_draws() -> None:
    code = "import sys, agno_mongo.agent; print([n for n in ('rich', 'prompt_toolkit', 'markdown_it', 'pygments') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# What is in an answer.

MARKDOWN = """# Rome

Three *days* are enough.
They are.

1. Forum
2. Pantheon

| day | place |
|---|---|
| one | Forum |
| two | Pantheon |
| three | - |

Heading
-------

* a

  * b
- c

```python
def days():
    return 3
```

> said, [there][1]

[1]: https://example.org

Enough of [it][1].
"""


def lines_of(*blocks: Any) -> str:
    text = io.StringIO()
    for block in blocks:
        console_on(text, width=40).print(block)
    return text.getvalue()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_markdown_that_comes_in_pieces_looks_like_markdown_that_comes_at_once(size: int) -> None:
    pieces, whole, parts = MarkdownBlocks(), MarkdownBlocks(), []
    whole.add(MARKDOWN)
    for start in range(0, len(MARKDOWN), size):
        pieces.add(MARKDOWN[start : start + size])
        pieces.rest()
        parts += pieces.settled()
    assert lines_of(*parts, *pieces.last()) == lines_of(*whole.last())
    assert len(parts) > 0


def test_a_long_code_block_is_shown_once_and_without_gaps() -> None:
    count = 5 * LINES_OF_CODE
    body, parts = MarkdownBlocks(), []
    for line in ["Code:", "", "```python", *(f"x{number} = 1" for number in range(count)), "```", "", "Done."]:
        body.add(f"{line}\n")
        parts += body.settled()
    text = lines_of(*parts, *body.last())
    code = [line.strip() for line in text.splitlines()]
    assert code == ["Code:", "", *(f"x{number} = 1" for number in range(count)), "", "Done."]
    assert len(parts) > 4


async def test_html_in_markdown_is_shown_since_a_terminal_has_none() -> None:
    answer = "<think>\nhm\n</think>\n\n<details>\nmore\n</details>"
    text = await printed(RunOutput(content=answer), live=False, markdown=True)
    assert "<think>" in text
    assert "<details>" in text
    text = await printed(RunOutput(content=answer), live=False, markdown=True, tags=frozenset({"think"}))
    assert "<think>" in text
    assert "details" not in text
    assert "more" in text


async def test_what_would_steer_the_terminal_is_left_out() -> None:
    nasty = "a\x1b[2Jb\x07\x9bc\r\nd"
    text = await printed(RunContentEvent(content=nasty), RunOutput(content=nasty), question=nasty)
    assert "a[2Jbc" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


async def test_boxes_hold_wide_characters() -> None:
    text = await printed(RunContentEvent(content="漢字かな交じり文 " * 12 + "🎉"), question="漢字" * 40)
    assert {cell_len(line) for line in text.splitlines()} == {60}


@pytest.mark.parametrize("width", [1, 2, 5])
async def test_a_terminal_may_be_very_narrow(width: int) -> None:
    assert await printed(RunContentEvent(content=MARKDOWN), RunOutput(content=MARKDOWN), question="q", width=width, markdown=True)


async def test_a_terminal_that_knows_ascii_alone_gets_ascii() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", errors="replace", write_through=True)
    agent = Agent(model=ScriptedModel(CALLS, "done"), tools=[add])
    await agent.aprint_response("go", console=Console(file=out, width=60))
    assert b"v add(a=1)" in raw.getvalue()
    assert b"+- Response" in raw.getvalue()


# A chat.


class Typing:
    """Somebody who types these lines at a terminal."""

    interactive = True
    busy = staticmethod(nullcontext)

    def __init__(self, *lines: str | Callable[[], Any]) -> None:
        self._lines = iter(lines)

    async def aread(self) -> str | None:
        line = next(self._lines, None)
        if line is not None and not isinstance(line, str):
            await line()
            return ""
        return line

    def read(self) -> str | None:
        return next(self._lines, None)


async def chat(agent: Agent, *lines: Any, user_id: str | None = None, session_id: str = "s") -> str:
    text = io.StringIO()
    options = {"session_id": session_id, "user_id": user_id, "console": console_on(text, width=100)}
    await Chat(agent, options, Look(boxes=False), Typing(*lines)).arun()
    return text.getvalue()


@pytest.mark.parametrize("word", ["bye", "exit", "quit", "BYE", "/exit", "/quit", None])
def test_the_chat_goes_on_until_somebody_leaves(word: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["hello", "", "  again  ", *([word, "never"] if word else [])]
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


def test_words_of_ones_own_leave_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("bye\nAdieu\nnever\n"))
    model = ScriptedModel("one")
    Agent(model=model).cli_app(console=console_on(io.StringIO()), exit_on=["adieu"])
    assert model.asked == ["bye"]


def count(run_context: RunContext) -> str:
    """Count."""
    run_context.session_state["n"] = 7
    return "counted"


async def test_sessions_are_listed_named_and_changed_by_their_number() -> None:
    model = ScriptedModel("one", "two", "three", ToolCall("count"), "four")
    agent = Agent(model=model, db=InMemoryDb(), name="Ann", tools=[count], add_history_to_context=True)
    await agent.arun("of mary", session_id="hers", user_id="mary")
    await Agent(model=ScriptedModel("x"), db=agent.db, name="Bob").arun("of Bob", session_id="bobs", user_id="john")
    text = await chat(
        agent, "first", "/name My trip", "/new", "second", "/sessions", "/sessions 2", "/name", "third", "/state", "/history", "/sessions 9",
        user_id="john",
    )  # fmt: skip
    assert len(await agent.db.get_all_session_ids("john", entity_id="ann")) == 2
    listed = text[text.index("last used") : text.index("so far")]
    assert "My trip" in listed
    assert "hers" not in listed
    assert "bobs" not in listed
    assert "Session My trip, 1 run so far." in text
    told = await agent.aget_session_messages("s", user_id="john", skip_roles=["tool"])
    assert [message.content for message in told if message.content] == ["first", "two", "third", "four"]
    assert '"n": 7' in text
    assert "user: first" in text
    assert "assistant: two" in text
    assert "There is no session 9" in text


async def test_history_tells_calls_where_the_assistant_said_nothing_else() -> None:
    long = ToolCall("add", {"a": 1, "note": "x" * 500})
    agent = Agent(model=ScriptedModel((CALLS[0], long), "It is one.", ""), db=InMemoryDb(), tools=[add])
    text = await chat(agent, "go", "again", "/history", "/history 1")
    told = text[text.index("user: go") :]
    assert "assistant: add(a=1)" in told
    assert re.search(r"add\(a=1, note='x+…", told)
    assert "x" * 101 not in told
    assert "assistant: It is one." in told
    assert not re.search(r"^assistant: *$", told, re.MULTILINE)


async def test_whoever_names_no_user_is_shown_nobodys_sessions_alone() -> None:
    agent = Agent(model=ScriptedModel("one", "two"), db=InMemoryDb())
    await agent.arun("of mary", session_id="hers", user_id="mary")
    text = await chat(agent, "mine", "/sessions")
    assert "hers" not in text
    assert re.search(r"\* +1 .* s\b", text)


async def test_a_session_that_is_not_stored_yet_has_nothing_to_show() -> None:
    text = await chat(Agent(model=ScriptedModel(), db=InMemoryDb()), "/state", "/name", "/name x", "/history", "/sessions")
    assert text.count("not stored yet") == 3
    assert "Nothing has been said yet." in text
    assert "There are no sessions yet." in text


async def test_commands_that_are_none_are_not_sent_and_messages_may_begin_like_one() -> None:
    model = ScriptedModel("ok", "ok")
    text = await chat(Agent(model=model), "/stat", "/qqq", "/help", "/etc/passwd is what?", " /state of the art")
    assert "Did you mean /state?" in text
    assert "no command /qqq. /help lists them." in text
    assert all(f"/{name}" in text for name in ("sessions", "new", "name", "state", "history", "help", "exit"))
    assert model.asked == ["/etc/passwd is what?", "/state of the art"]


async def test_an_agent_without_a_db_says_so_and_chats() -> None:
    text = await chat(Agent(model=ScriptedModel("ok")), "/sessions", "/state", "hi")
    assert "keeps no sessions" in text
    assert "ok" in text


async def test_a_session_of_another_user_is_refused_and_the_chat_goes_on() -> None:
    agent = Agent(model=ScriptedModel("one", "two"), db=InMemoryDb())
    await agent.arun("mine", session_id="s", user_id="mary")
    text = await chat(agent, "hello", "/history", "/state", "/new", "hello", user_id="john")
    assert text.count("SessionOwnedByAnotherUser: ") == 3
    assert "mine" not in text
    assert "two" in text


async def test_a_database_that_is_down_is_told_and_the_chat_goes_on(sockets_that_pymongo_leaves: None) -> None:
    async with MongoDb("mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=50") as db:
        text = await chat(Agent(model=ScriptedModel(), db=db), "hello", "/sessions")
    assert text.count("StoreUnavailable: ") == 2
    assert "brings your message back" in text


async def test_an_exception_of_the_users_code_is_shown_with_where_it_came_from() -> None:
    text = await chat(Agent(model=ScriptedModel(ZeroDivisionError("by me"), "ok")), "hello", "again")
    assert "Traceback" in text
    assert "ZeroDivisionError: by me" in text
    assert "ok" in text


@pytest.mark.parametrize("error", [ZeroDivisionError("by me"), SessionOwnedByAnotherUser("no", session_id="s", user_id=None)])
def test_where_nobody_types_an_error_ends_the_chat(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n"))
    model = ScriptedModel(error)
    with pytest.raises(type(error)):
        Agent(model=model).cli_app(console=console_on(io.StringIO()))
    assert model.asked == ["one"]


# What was typed.


def test_what_was_typed_is_kept_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "typed"
    typed = Typed(str(path))
    assert typed.load() == []
    for text in ("one", "two\nlines", "漢字", "x" * (LONGEST + 1)):
        typed.add(text)
    assert typed.load() == ["one", "two\nlines", "漢字"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_typed_may_be_damaged_large_or_not_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "typed"
    path.write_bytes(b'"first"\n' * 100_000 + b'\xff\xfe\n{"a": 1}\n"cut of\n"last"\n')
    texts = Typed(str(path)).load()
    assert set(texts) == {"first", "last"}
    assert len(texts) < 40_000
    Typed(str(path / "no folder")).add("lost")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Typed().path == str(tmp_path / ".local" / "state" / "agno_mongo" / "typed")


# At a real terminal.


@pytest.fixture
def state_home(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def spawn(state_home: Path, child_environment: dict[str, str]) -> Iterator[Callable[..., pexpect.spawn]]:
    spawned: list[pexpect.spawn] = []
    outside = {"XDG_STATE_HOME": str(state_home), "TERM": "xterm", "PYTHONPATH": str(ROOT)}

    def start(*arguments: str, **more: str) -> pexpect.spawn:
        command = ["-W", "error", "-m", "tests.chatting_process", *arguments]
        env = {name: value for name, value in child_environment.items() if name != "COLUMNS"} | outside | more
        child = pexpect.spawn(sys.executable, command, cwd=ROOT, env=env, encoding="utf-8", timeout=30, dimensions=(30, 80))
        spawned.append(child)
        return child

    yield start
    for child in spawned:
        child.close(force=True)


# Python 3.12 and later warn of a fork in a process with threads; the child becomes another program at once.
at_a_terminal = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def leave(child: pexpect.spawn, by: str = "\x04") -> None:
    child.expect("User:")
    child.send(by)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert "Traceback" not in child.before


@at_a_terminal
@pytest.mark.parametrize("how", ["blocking", "async"])
async def test_ctrl_c_stops_the_answer_and_not_the_chat_whatever_becomes_of_the_window(
    how: str, mongo_db: MongoDb, mongo_url: str, spawn: Any
) -> None:
    def talk() -> None:
        child = spawn(mongo_url, mongo_db.db_name, how)
        child.expect("User:")
        child.send("slowly\r")
        child.expect("I take my time")
        child.setwinsize(5, 20)
        child.setwinsize(50, 120)
        child.sendintr()
        child.expect("Stopped.")
        child.expect("User:")
        child.send("hello\r")
        child.expect("You said 'hello'")
        child.expect("User:")
        child.send("half a lin\x03")
        leave(child)

    await asyncio.to_thread(talk)
    session = await mongo_db.get_session("chat")
    assert [(run.input.input_content, run.status) for run in session.runs] == [
        ("slowly", RunStatus.cancelled),
        ("hello", RunStatus.completed),
    ]
    assert session.runs[0].content == "I take my time. "


@at_a_terminal
def test_lines_are_joined_pasted_and_remembered_by_the_next_chat(spawn: Any, state_home: Path) -> None:
    first = spawn("-", "-")
    first.expect("User:")
    first.send("one\\\rtwo\x1b\rthree\r")
    first.expect(r"You said 'one\\ntwo\\nthree'")
    first.expect("User:")
    first.send("\x1b[200~pasted\nlines\n\x1b[201~\r")
    first.expect(r"You said 'pasted\\nlines'")
    leave(first)
    assert stat.S_IMODE((state_home / "agno_mongo" / "typed").stat().st_mode) == 0o600

    second = spawn("-", "-", "async")
    second.expect("User:")
    second.send("\x1b[A\r")
    second.expect(r"You said 'pasted\\nlines'")
    second.expect("User:")
    second.send("/sta")
    second.expect("show the session's state")
    second.send("\t")
    second.expect("/?state")
    second.send("\r")
    second.expect(r"\{")
    leave(second)


@at_a_terminal
def test_a_terminal_that_can_do_nothing_gets_plain_text(spawn: Any) -> None:
    child = spawn("-", "-", TERM="dumb", NO_COLOR="1")
    child.expect("User:")
    child.send("hello\r")
    child.expect("You said 'hello'")
    assert "\x1b" not in child.before
    leave(child, by="/exit\r")
