"""Blocking calls: in a script, within a running loop, in a thread, and where they would wait for themselves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from agno_mongo.agent import Agent
from agno_mongo.db.in_memory import InMemoryDb
from agno_mongo.errors import EventLoopError
from agno_mongo.run import RunOutput, RunStatus
from agno_mongo.run.agent import RunContentEvent
from agno_mongo.testing import ScriptedModel, ToolCall


def test_work_in_a_script() -> None:
    agent = Agent(model=ScriptedModel("one", "two"), db=InMemoryDb(), session_id="s")
    assert agent.run("1").content == "one"
    pieces = [event.content for event in agent.run("2", stream=True) if isinstance(event, RunContentEvent)]
    assert pieces == ["two"]
    assert len(agent.get_session_messages()) == 4
    assert agent.db is not None
    assert agent.db.blocking.get_all_session_ids() == ["s"]


async def test_work_within_a_running_loop() -> None:
    # A notebook's cells run like this.
    agent = Agent(model=ScriptedModel("one", "two"), db=InMemoryDb(), session_id="s")
    assert agent.run("1").content == "one"
    assert (await agent.arun("2")).content == "two"
    session = agent.get_session()
    assert session is not None
    assert len(session.runs or ()) == 2


def test_that_would_wait_for_themselves_say_so() -> None:
    inner = Agent(model=ScriptedModel("never"))

    async def ask_inner() -> str:
        return str(inner.run("?").content)

    model = ScriptedModel(ToolCall("ask_inner"), "done")
    agent = Agent(model=model, tools=[ask_inner])
    assert agent.run("go").content == "done"
    told = model.requests[1].messages[-1].get_content_string()
    assert told.startswith(EventLoopError.__name__)
    assert "arun" in told


def test_from_a_plain_tool_work_because_it_runs_in_a_thread() -> None:
    inner = Agent(model=ScriptedModel("inner"))

    def ask_inner() -> str:
        return str(inner.run("?").content)

    model = ScriptedModel(ToolCall("ask_inner"), "done")
    assert Agent(model=model, tools=[ask_inner]).run("go").content == "done"
    assert model.requests[1].messages[-1].content == "inner"


def test_a_stream_that_is_left_early_is_stored_at_once() -> None:
    agent = Agent(model=ScriptedModel("one two three"), db=InMemoryDb(), session_id="s")
    for _ in agent.run("go", stream=True):
        break
    session = agent.get_session()
    assert session is not None
    assert [run.status for run in session.runs or ()] == [RunStatus.cancelled]


def test_can_be_interrupted_and_the_run_is_stored(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio
        from agno_mongo.agent import Agent
        from agno_mongo.db.in_memory import InMemoryDb
        from agno_mongo.testing import ScriptedModel

        async def hang(request):
            print("asked", flush=True)
            await asyncio.sleep(60)

        agent = Agent(model=ScriptedModel(hang), db=InMemoryDb(), session_id="s")
        try:
            agent.run("go")
        except KeyboardInterrupt:
            print([run.status.value for run in agent.get_session().runs], flush=True)
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "asked"
    started = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output.strip() == "['CANCELLED']"
    assert process.returncode == 0
    assert time.monotonic() - started < 20


def test_a_script_ends_without_warnings_or_delay(tmp_path: Path, mongo_url: str, db_name: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from agno_mongo.agent import Agent
        from agno_mongo.db.mongo import MongoDb
        from agno_mongo.testing import ScriptedModel

        agent = Agent(model=ScriptedModel("ok"), db=MongoDb({mongo_url!r}, db_name={db_name!r}), session_id="s")
        print(agent.run("go").content)
        """)
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "ok\n"
    # asyncio in this mode also tells what took a tenth of a second: on a busy machine anything may.
    assert [line for line in done.stderr.splitlines() if not re.fullmatch(r"Executing .* took [\d.]+ seconds", line)] == []
    assert done.returncode == 0


def test_survive_a_fork() -> None:
    agent = Agent(model=ScriptedModel("parent", "child"))
    assert agent.run("1").content == "parent"
    code = textwrap.dedent("""
        import os, warnings
        warnings.simplefilter("ignore")
        from agno_mongo.agent import Agent
        from agno_mongo.testing import ScriptedModel
        agent = Agent(model=ScriptedModel("parent", "again"))
        assert agent.run("1").content == "parent"
        pid = os.fork()
        if pid == 0:
            ok = agent.run("2").content == "again"
            os._exit(0 if ok else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "0", done.stderr


async def test_two_loops_share_one_agent() -> None:
    agent = Agent(model=ScriptedModel(*["ok"] * 10), db=InMemoryDb(), session_id="s")
    runs = await asyncio.gather(*(asyncio.to_thread(agent.run, "go") for _ in range(5)), *(agent.arun("go") for _ in range(5)))
    assert all(isinstance(run, RunOutput) for run in runs)
    session = await agent.aget_session()
    assert session is not None
    assert len(session.runs or ()) == 10


@pytest.mark.parametrize("name", ["get_session", "get_session_messages", "delete_session", "print_response"])
def test_have_the_name_and_the_promise_of_what_they_wait_for(name: str) -> None:
    twin = getattr(Agent, name)
    assert twin.__name__ == name
    assert f"a{name}" in twin.__doc__
