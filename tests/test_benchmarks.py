"""The benchmarks, as ``make bench-quick`` runs them, with whoever is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("mongo_url")  # where there is no mongod, nothing can be measured
def test_the_quick_benchmark_fills_every_table_and_says_who_was_left_out(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--quick", "--folder", str(tmp_path), "--output", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    for heading in ("The bars", "A turn, runs of 2 KB", "Many sessions at once", "Reading", "On disk", "Import"):
        assert f"\n## {heading}\n" in text
    assert "A quick run" in text
    assert "\n!" not in text  # a contestant that did not store what it was given
    for name in ("agno_mongo", "bare PyMongo, the same two commands", "bare PyMongo, a document for each run"):
        assert f"| 1 run: {name} " in text
    for name in ("Agno, AsyncMongoDb", "OpenAI Agents, MongoDBSession", "LangGraph, MongoDBSaver"):
        assert f"| 1 run: {name} " in text or f"{name} does not take part" in text


@pytest.mark.timeout(300)
def test_the_quick_benchmark_of_the_runtime_has_a_row_for_everybody_and_says_who_was_left_out(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks-runtime.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "runtime.py"), "--quick", "--output", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    for kind in ("no tools", "two tools"):
        assert f"| {kind}: agno_mongo " in text
        for name in ("Agno", "OpenAI Agents", "LangGraph"):
            assert f"| {kind}: {name} " in text or f"- {name} does not take part: " in text
    for kind in ("a team of two", "a workflow of 20 steps"):
        assert f"| {kind}: agno_mongo " in text
