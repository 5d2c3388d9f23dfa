"""The code in the README and in docs/ runs as it stands, block after block, in an empty folder."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTING_UP = "-m venv"


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    text = page.read_text()
    found = [(text.count("\n", 0, match.start()) + 2, match[1], match[2]) for match in BLOCK.finditer(text)]
    assert {name for _, name, _ in found} <= {"python", "bash", "text"}, "a block in a language that no test runs"
    return [(line, code) for line, name, code in found if name == language]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.imports_in_the_loop
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_runs_as_it_stands(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}

    async def run_all() -> None:
        for line, code in blocks(page, "python"):
            source = "\n" * (line - 1) + code
            compiled = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            outcome = eval(compiled, names)
            if inspect.isawaitable(outcome):
                await outcome

    asyncio.run(run_all())
    for thing in names.values():
        if hasattr(thing, "blocking"):
            thing.blocking.close()
        elif getattr(thing, "db", None) is not None:
            thing.db.blocking.close()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")], ids=name_of)
def test_commands_run_as_they_stand(page: Path, tmp_path: Path, child_environment: dict[str, str]) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{child_environment['PATH']}"
    for _, code in blocks(page, "bash"):
        if SETTING_UP not in code:
            command = ["bash", "-euo", "pipefail", "-c", code]
            done = subprocess.run(
                command,
                cwd=tmp_path,
                env={**child_environment, "PATH": path},
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
def test_the_first_command_of_the_readme_works_in_a_fresh_copy(tmp_path: Path, child_environment: dict[str, str]) -> None:
    first = next(code for _, code in blocks(ROOT / "README.md", "bash"))
    assert SETTING_UP in first
    assert "agno-mongo demo" in first
    copy = tmp_path / "agno_mongo"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "agno_mongo", copy / "agno_mongo", ignore=shutil.ignore_patterns("__pycache__"))
    here = first.replace("python3.11", sys.executable)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", here],
        cwd=copy,
        # Compiling all that pip installs takes longer than installing it, and nobody runs this copy twice.
        env=child_environment | {"PIP_NO_COMPILE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'Your last question was: "What is the capital of France?"' in done.stdout.split("process 2")[1]


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{name_of(page)} links to {target}, which is not there"
