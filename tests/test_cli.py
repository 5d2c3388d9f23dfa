"""The command ``agno-mongo``, in processes of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agno_mongo import cli


def run(arguments: list[str], environment: dict[str, str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agno_mongo.cli", *arguments],
        env=environment, capture_output=True, text=True, timeout=90, check=False, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_the_demonstration_remembers_across_two_processes(tmp_path: Path, child_environment: dict[str, str]) -> None:
    done = run(["demo", "--data", str(tmp_path / "data")], child_environment)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("process 2")
    assert "using the offline demonstration model" in first
    assert "The capital of France is Paris." in first
    assert "Your name is John." in second
    assert 'Your last question was: "What is the capital of France?"' in second
    assert "4 runs in session 'demo'" in second
    again = run(["demo", "--data", str(tmp_path / "data")], child_environment)
    assert "4 runs in session 'demo'" in again.stdout


def test_a_chat_goes_on_where_it_stopped(mongo_url: str, db_name: str, child_environment: dict[str, str]) -> None:
    options = ["--db-url", mongo_url, "--db-name", db_name]
    first = run(["chat", "--user", "john", *options], child_environment, input="My name is John.\nbye\n")
    assert "A new session." in first.stdout
    second = run(["chat", "--user", "john", *options], child_environment, input="What is my name?\nbye\n")
    assert "1 run so far" in second.stdout
    assert "Your name is John." in second.stdout
    third = run(["chat", "--user", "john", "--new", *options], child_environment, input="What is my name?\n")
    assert "You have not told me your name" in third.stdout
    mary = run(["chat", "--user", "mary", *options], child_environment, input="What is my name?\n")
    assert "You have not told me your name" in mary.stdout
    listed = run(["sessions", "--user", "john", *options], child_environment)
    assert len(listed.stdout.splitlines()) == 2
    session_id = listed.stdout.splitlines()[-1].split("\t")[0]
    fourth = run(["chat", "--user", "john", "--session", session_id, *options], child_environment, input="What is my name?\n")
    assert "2 runs so far" in fourth.stdout


def test_an_error_is_one_line_and_a_status(child_environment: dict[str, str]) -> None:
    url = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100"
    done = run(["sessions", "--db-url", url], child_environment)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "agno-mongo: listing sessions: no MongoDB server answers at 127.0.0.1:9"
    ) or done.stderr.startswith("agno-mongo: connecting: no MongoDB server answers at 127.0.0.1:9")
    assert "Traceback" not in done.stderr


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("demo", "chat", "sessions"))
