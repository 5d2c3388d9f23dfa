"""Every example does what its docstring says: in processes of its own, one after the other, on one folder, without a key."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest
from pymongo import MongoClient

from agno_mongo.db.embedded_server import EmbeddedServer
from tests.embedded_helpers import ROOT, servers_below
from tests.llm_servers import AIMock, Answer, ToolCall

EXAMPLES = ROOT / "examples"
OFFLINE = "No OPENAI_API_KEY: using the offline demonstration model."

# As the documentation has it, imports included.
DOCUMENTED = """
from rich.pretty import pprint

from agno_mongo.agent import Agent
from agno_mongo.db.embedded import EmbeddedMongoDb
from agno_mongo.models.openai import OpenAIChat

agent = Agent(
    model=OpenAIChat(id="gpt-5-mini"),
    session_id="fixed_id_for_demo",
    db=EmbeddedMongoDb(path="tmp/data"),
    add_history_to_context=True,
    num_history_runs=3,
)
agent.print_response("What was my last question?")
agent.print_response("What is the capital of France?")
agent.print_response("What was my last question?")
pprint(agent.get_session_messages())
"""


@dataclass(frozen=True)
class Place:
    """A folder to run examples in. Every process must end well, without a warning, and leave no server."""

    folder: Path
    environment: dict[str, str]

    def run(self, example: str, *arguments: str, typed: str = "", **environment: str) -> str:
        """Run it to its end; what it printed."""
        done = self.start([str(EXAMPLES / example), *arguments], typed=typed, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert servers_below(self.folder) == []
        return done.stdout

    def start(self, arguments: list[str], *, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            input=typed,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
            timeout=60,
            check=False,
        )

    def collections(self) -> list[str]:
        """The names of the collections that the examples left."""
        server = EmbeddedServer(self.folder / "tmp" / "data")
        try:
            with MongoClient(server.acquire()) as client:
                return client["agno"].list_collection_names()
        finally:
            server.release()


@pytest.fixture
def place(tmp_path: Path, child_environment: dict[str, str], bytecode: dict[str, str]) -> Place:
    return Place(tmp_path, {**child_environment, **bytecode})


def answers(printed: str) -> list[str]:
    """The texts in the boxes headed Response."""
    boxes = re.findall(r"╭─ Response ─+╮\n(.*?)^╰", printed, re.MULTILINE | re.DOTALL)
    return [" ".join(line.strip("│ ") for line in box.splitlines()) for box in boxes]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_says_what_it_shows_and_how_to_run_it(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""

    assert f"python examples/{path.name}" in docstring
    assert "OPENAI_API_KEY" in docstring


# storage.py


def test_storage_remembers_the_last_question_of_the_process_before(place: Place) -> None:
    first = place.run("storage.py")

    assert first.startswith(OFFLINE)
    assert answers(first) == [
        "I do not know: this is the first thing you ask me.",
        "The capital of France is Paris.",
        'Your last question was: "What is the capital of France?"',
    ]
    assert first.count("Message(") == 6

    second = place.run("storage.py")

    assert answers(second)[0] == 'Your last question was: "What was my last question?"'
    assert second.count("Message(") == 12


def test_storage_is_the_documented_script_but_for_the_model() -> None:
    documented = [line for line in DOCUMENTED.splitlines() if line and not line.startswith("from") and "model=" not in line]
    written = (EXAMPLES / "storage.py").read_text().splitlines()

    assert [line for line in documented if line not in written] == []


def test_the_documented_script_sends_openai_what_the_process_before_said(place: Place, aimock: AIMock) -> None:
    key = {"OPENAI_BASE_URL": aimock.base_url, "OPENAI_API_KEY": "test"}
    aimock.script(*(Answer(text=f"Answer {number}.") for number in range(1, 7)))

    first = place.start(["-c", DOCUMENTED], **key)
    second = place.start(["-c", DOCUMENTED], **key)

    assert (first.returncode, first.stderr) == (second.returncode, second.stderr) == (0, "")
    assert answers(first.stdout) == ["Answer 1.", "Answer 2.", "Answer 3."]
    assert answers(second.stdout) == ["Answer 4.", "Answer 5.", "Answer 6."]
    sent = [[message["content"] for message in request["messages"]] for request in aimock.journal()]
    assert sent[0] == ["What was my last question?"]
    assert sent[3] == [
        "What was my last question?",
        "Answer 1.",
        "What is the capital of France?",
        "Answer 2.",
        "What was my last question?",
        "Answer 3.",
        "What was my last question?",
    ]
    assert len(sent[5]) == 7  # the last three runs and the question, however long the session
    assert servers_below(place.folder) == []
    aimock.assert_finished()


def test_the_older_name_of_the_last_call_works_with_a_warning_that_names_todays(place: Place, llmock: Any) -> None:
    llmock.reply("One.").reply("Two.").reply("Three.")
    key = {name: os.environ[name] for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")}
    older = DOCUMENTED.replace("get_session_messages", "get_messages_for_session")

    done = place.start(["-W", "default::DeprecationWarning", "-c", older], **key)

    assert done.returncode == 0, done.stderr
    assert answers(done.stdout) == ["One.", "Two.", "Three."]
    assert done.stdout.count("Message(") == 6
    assert "DeprecationWarning: get_messages_for_session() is an older name of get_session_messages()" in done.stderr
    assert servers_below(place.folder) == []
    llmock.assert_resilient()


# continue_session.py


def test_continue_session_goes_on_with_the_users_newest_session_unless_told_to_begin_anew(place: Place) -> None:
    first = place.run("continue_session.py", "My name is Ada.")
    second = place.run("continue_session.py", "--new", "My name is Grace.")
    third = place.run("continue_session.py", "What is my name?")
    somebody_else = place.run("continue_session.py", "--user", "bob", "What is my name?")

    assert first.startswith("Beginning session ")
    assert second.startswith("Beginning session ")
    newest = second.split()[2].rstrip(".")
    assert third.startswith(f"Going on with session {newest}, the newest of 2.")
    assert answers(third) == ["Your name is Grace."]
    assert somebody_else.startswith("Beginning session ")
    assert answers(somebody_else) == ["You have not told me your name in this conversation."]


# two_users.py


def test_two_users_of_one_agent_are_told_apart_in_this_process_and_the_next(place: Place) -> None:
    first = place.run("two_users.py")
    second = place.run("two_users.py")

    assert answers(first) == ["Nice to meet you, John.", "Nice to meet you, Jane.", "Your name is John.", "Your name is Jane."]
    assert answers(second) == ["Your name is John.", "Your name is Jane."]
    for printed in (first, second):
        assert "Refused: session 'john_1' does not belong to user 'jane'" in printed


# get_session.py


def test_get_session_finds_the_runs_of_the_process_before(place: Place) -> None:
    first = place.run("get_session.py")
    second = place.run("get_session.py")

    assert "There is no session 123 yet." in first
    assert "Found session 123 with 1 run(s)." in second
    assert re.findall(r"^Run (\d), COMPLETED, 12 tokens$", second, re.MULTILINE) == ["1", "2"]
    assert second.count("    asked:    What is the capital of Japan?\n    answered: The capital of Japan is Tokyo.\n") == 2


# research_team.py


def test_a_research_team_keeps_its_members_runs_and_its_notes(place: Place) -> None:
    first = place.run("research_team.py")
    second = place.run("research_team.py")

    for title in ("Message", "Tools", "Response of Searcher", "Response of Checker", "Response"):
        assert f"╭─ {title} ─" in first
    assert "The notes bear it out." in first
    assert "From the library: The Challenger Deep is the deepest known point" in answers(first)[0]
    assert "has 2 notes and 3 runs:" in first
    assert re.findall(r"^( +)(\w+): COMPLETED", first, re.MULTILINE) == [
        ("        ", "Searcher"), ("        ", "Checker"), ("    ", "Research"),
    ]  # fmt: skip
    assert "has 4 notes and 6 runs:" in second


# long_session.py


def test_long_session_is_paged_searched_forked_exported_and_deleted(place: Place) -> None:
    printed = place.run("long_session.py")

    assert "Pages of runs, the newest first: 10 10 10 10 10 1\n" in printed
    assert "'journal' speaks of a storm: Note 2: I saw a storm.\n" in printed
    assert "'what_if' begins with 21 runs of 'journal'\n" in printed
    assert "Exported: 73 of kind 'run', 2 of kind 'session'\n" in printed
    assert "Deleted 2 sessions; John has 0\n" in printed


# session_table.py


def test_session_table_keeps_its_sessions_apart_from_the_default_one(place: Place) -> None:
    place.run("session_table.py")
    second = place.run("session_table.py")

    assert answers(second)[0] == 'Your last question was: "What is the capital of Kenya?"'
    assert second.endswith("my_session_table: ['session_in_my_table']\nagno_sessions: []\n")
    assert "my_session_table" in place.collections()


# cli_app.py


# Python 3.12 and later warn of a fork in a process with threads; the child becomes another program at once.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_cli_app_goes_on_at_the_terminal_where_a_pipe_was_left_with_bye(place: Place) -> None:
    piped = place.run("cli_app.py", typed="My name is Ada.\n\nWhat is the capital of Brazil?\nbye\nWho am I?\n")

    said = [line for line in piped.splitlines() if line and "tokens" not in line]
    assert said[-2:] == ["Nice to meet you, Ada.", "The capital of Brazil is Brasília."]

    command = ["-W", "error", str(EXAMPLES / "cli_app.py")]
    with pexpect.spawn(
        sys.executable, command, cwd=place.folder, env=place.environment, encoding="utf-8", timeout=60, dimensions=(40, 100)
    ) as terminal:
        terminal.expect("User:")
        terminal.sendline("What was my last question?")
        terminal.expect('Your last question was: "What is the capital of Brazil[?]"')
        terminal.expect("User:")
        terminal.sendline("bye")
        terminal.expect(pexpect.EOF)
        terminal.wait()

    assert terminal.exitstatus == 0
    assert "Traceback" not in terminal.before
    assert servers_below(place.folder) == []


# async_service.py


@dataclass(frozen=True)
class Service:
    """A running service, and its client."""

    process: subprocess.Popen[str]
    url: str

    def ask(self, text: str, *, user: str) -> str:
        status, body = self.send("POST", "/sessions/1/runs", user, {"text": text})
        assert status == 200, body
        return str(body["text"])

    def send(self, method: str, path: str, user: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", "x-user": user}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        # Proxies from the environment are not for loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def stop(self) -> str:
        """Ask the process to end, as a supervisor does; what it logged since."""
        self.process.send_signal(signal.SIGTERM)
        log = self.process.communicate(timeout=60)[0]
        # uvicorn ends by the signal it was sent, once it has closed down.
        assert self.process.returncode in (0, -signal.SIGTERM), log
        return log


@pytest.fixture
def serve(place: Place) -> Iterator[Callable[[], Service]]:
    """Starts the service on a port of its own."""
    started: list[subprocess.Popen[str]] = []

    def start() -> Service:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(EXAMPLES / "async_service.py"), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=place.folder,
            env={**place.environment, "PYTHONUNBUFFERED": "1"},
        )
        started.append(process)
        log = ""
        assert process.stdout is not None
        for line in process.stdout:
            log += line
            if found := re.search(r"running on (http://\S+)", line):
                return Service(process, found[1])
        pytest.fail(f"the service did not start:\n{log}")

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_async_service_goes_on_with_a_session_from_request_to_request_and_process_to_process(
    serve: Callable[[], Service], tmp_path: Path
) -> None:
    one = serve()
    assert one.ask("My name is Ada.", user="ada") == "Nice to meet you, Ada."
    assert one.ask("What is my name?", user="ada") == "Your name is Ada."
    assert one.send("POST", "/sessions/1/runs", "bob", {"text": "Who am I?"}) == (404, {"detail": "there is no such session"})

    # A second process on the same folder, at the same time, and after the first one has gone.
    other = serve()
    assert other.ask("What was my last question?", user="ada") == 'Your last question was: "What is my name?"'
    assert "Application shutdown complete" in one.stop()
    assert other.ask("Who am I?", user="ada") == "Your name is Ada."
    status, messages = other.send("GET", "/sessions/1/messages", "ada")
    assert (status, len(messages)) == (200, 8)
    assert messages[0] == {"role": "user", "text": "My name is Ada."}

    other.stop()
    assert servers_below(tmp_path) == []


# tools_and_state.py


def test_tools_change_a_state_that_the_next_process_shows_its_model(place: Place) -> None:
    first = place.run("tools_and_state.py")

    assert first.startswith("No OPENAI_API_KEY: a scripted model plays OpenAI's part.")
    assert "I was told: You keep a shopping list. On it now: {}" in first
    assert "  … add_item\n" in first
    assert re.search(r"  ✓ add_item {'\w+': .*}: 2 × milk on the list\n", first)
    assert first.endswith("Bread is off the list.\n  stored: {'shopping_list': {'milk': 2}}\n")

    second = place.run("tools_and_state.py")

    assert 'I was told: You keep a shopping list. On it now: {"milk": 2}' in second
    assert second.endswith("  stored: {'shopping_list': {'milk': 4}}\n")


def test_tools_are_called_by_openai_and_the_instructions_show_what_they_changed(place: Place, aimock: AIMock) -> None:
    aimock.script(
        Answer(text="Nothing yet."),
        Answer(tool_calls=(ToolCall("add_item", {"item": "milk", "amount": 2}),)),
        Answer(text="Noted."),
        Answer(tool_calls=(ToolCall("remove_item", {"item": "bread"}),)),
        Answer(text="It was not there."),
    )

    printed = place.run("tools_and_state.py", OPENAI_BASE_URL=aimock.base_url, OPENAI_API_KEY="test")

    assert "No OPENAI_API_KEY" not in printed
    assert "  ✓ remove_item {'item': 'bread'}: there is no bread on the list\nIt was not there." in printed
    instructions = [request["messages"][0]["content"] for request in aimock.journal()]
    assert instructions[0].endswith("On it now: {}")
    assert instructions[3].endswith('On it now: {"milk": 2}')
    offered = aimock.journal()[0]["tools"][0]["function"]
    assert offered["description"] == "Put something on the shopping list."
    assert list(offered["parameters"]["properties"]) == ["item", "amount"]
    aimock.assert_finished()


# content_pipeline.py


def test_content_pipeline_waits_for_its_editor_and_another_process_publishes(place: Place) -> None:
    first = place.run("content_pipeline.py", "Why cats sleep")

    assert first.startswith("No OPENAI_API_KEY: scripted models write.")
    assert "├── ✓ drafts  parallel" in first
    assert "│   └── ✓ edit  agent round 2" in first
    assert "publish: Publish this article?" in first

    second = place.run("content_pipeline.py", "--publish")

    assert "COMPLETED: # The 14-hour day\n\nCats sleep 14 hours: hunting is tiring.\nflowchart TD\n" in second
    assert second.endswith("state: {'headline': 'The 14-hour day', 'published': 1}\n")


def test_content_pipeline_is_written_by_openai_and_not_published_if_it_is_rejected(place: Place, aimock: AIMock) -> None:
    said = {"facts": "Three short", "headline": "One headline", "short": "Make it a fifth"}
    aimock.when(Answer(text="Dogs bark."), system_message=said["facts"])
    aimock.when(Answer(text="Bark!"), system_message=said["headline"])
    aimock.when(Answer(text="Dogs bark, briefly."), system_message=said["short"])
    aimock.when(Answer(text="Dogs bark at length."), user_message="Dogs bark.")
    key = {"OPENAI_BASE_URL": aimock.base_url, "OPENAI_API_KEY": "test"}

    assert "Publish this article?" in place.run("content_pipeline.py", "dogs", **key)

    asked = [request["messages"][-1]["content"] for request in aimock.journal()]
    assert (asked[0], sorted(asked[1:3]), asked[3]) == ("dogs", ["Dogs bark."] * 2, "Dogs bark at length.")
    rejected = place.run("content_pipeline.py", "--reject", "Too short.", **key)
    assert rejected.startswith("CANCELLED: None\n")
    assert rejected.endswith("state: {'headline': 'Bark!'}\n")
