"""The notebooks run from top to bottom in a kernel of their own, without an API key, and stop what they started."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client import AsyncKernelManager
from nbclient import NotebookClient
from pymongo import MongoClient
from traitlets import Float

from agno_mongo.db.embedded_server import EmbeddedServer
from tests.embedded_helpers import ROOT, servers_below

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SESSIONS = ROOT / "notebooks" / "01_sessions.ipynb"
AGENT = ROOT / "notebooks" / "02_agent.ipynb"
TEAMS_AND_WORKFLOWS = ROOT / "notebooks" / "03_teams_and_workflows.ipynb"


@pytest.fixture(autouse=True)
def settings_of_ones_own(tmp_path: Path, bytecode: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"IPYTHONDIR": str(tmp_path / "ipython"), **bytecode}.items():
        monkeypatch.setenv(name, value)


class Patient(AsyncKernelManager):
    """Gives a kernel a minute to end, not 2.5 s, before it is killed: it has a server to stop."""

    shutdown_wait_time = Float(120.0)


def execute(path: Path, folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Run the notebook with ``folder`` as its working directory; what each cell printed, by the cell's id."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.id not in without]
    NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        kernel_manager_class=Patient,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    return {cell.id: "".join(map(shown, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}


def shown(output: Any) -> str:
    text = output.text if output.output_type == "stream" else output.data["text/plain"]
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs_and_counts(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]

    assert cells
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)
    assert [cell["execution_count"] for cell in cells] == [None] * len(cells)


def test_sessions_notebook_converses_and_finds_the_conversation_again_after_the_kernels_end(tmp_path: Path) -> None:
    first = execute(SESSIONS, tmp_path)

    assert "takes writes: True" in first["server"]
    assert "offline demonstration model" in first["agent"]
    assert "Nice to meet you, Ada." in first["await"]
    assert "Your name is Ada." in first["blocking"]
    assert first["stream"] == 'Your last question was: "What is my name?"'
    assert "('assistant', 'Your name is Ada.')" in first["beanie"]
    assert first["raw"].startswith("3 runs, ")
    assert "'status': 'COMPLETED'" in first["raw"]
    assert re.search(r"1\s+notebook\s+agent\s+ada\s+agent\s+3", first["sessions"])
    assert servers_below(tmp_path) == []

    # A kernel that is ended without db.close() stops the server too.
    again = execute(SESSIONS, tmp_path, without=("sessions", "end"))

    assert again["raw"].startswith("6 runs, ")
    assert again["beanie"].count("My name is Ada.") == 2
    assert servers_below(tmp_path) == []
    assert runs_stored(tmp_path) == {"notebook": 6, "another": 1}


def test_agent_notebook_shows_tools_state_and_steps(tmp_path: Path) -> None:
    shown_by = execute(AGENT, tmp_path)

    assert "{'items': ['milk', 'bread'], 'total': 4.7}" in shown_by["state"]
    assert shown_by["stream"] == "Your list has milk and bread."
    assert [line.split()[0] for line in shown_by["events"].splitlines()][-3:] == [
        "ModelRequestCompleted",
        "RunContentCompleted",
        "RunCompleted",
    ]
    assert "CANCELLED 'A '" in shown_by["leave"]
    assert shown_by["shape"].splitlines()[0] == "Bread and milk soup: 10 minutes"
    assert shown_by["stored"].count("COMPLETED |") == 3
    assert "You wanted milk, bread and tea." in shown_by["end"]


def test_notebook_of_workflows_shows_their_steps_and_one_that_waits(tmp_path: Path) -> None:
    shown_by = execute(TEAMS_AND_WORKFLOWS, tmp_path)

    assert shown_by["tree"].splitlines()[:2] == [
        "research COMPLETED Cats sleep 14 hours a day.",
        "draft COMPLETED Why cats sleep so much",
    ]
    assert "{'articles': 1} 30" in shown_by["tree"]
    assert shown_by["events"].splitlines()[-1].strip() == "WorkflowCompleted"
    assert shown_by["picture"].startswith("flowchart TD")
    assert shown_by["pause"] == "PAUSED ['Publish it?']\n"
    assert shown_by["answer"] == "COMPLETED published: NEWS\n"


def runs_stored(folder: Path) -> dict[str, int]:
    server = EmbeddedServer(folder / "tmp" / "data")
    try:
        with MongoClient(server.acquire()) as client:
            return {session["session_id"]: len(session["runs"]) for session in client["agno"]["agno_sessions"].find()}
    finally:
        server.release()
