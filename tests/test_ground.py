"""The ground that everything stands on: the order of modules, the compose file, what is committed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

ROOT = Path(__file__).parent.parent


def test_the_architecture_page_draws_the_order_that_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    checked = project["tool"]["importlinter"]["contracts"][0]["layers"]
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawing = page.split("```text\n")[1].split("```")[0]
    drawn = [re.match(r"\w+(?: \| \w+)*", line) for line in drawing.splitlines()]
    assert [line[0] for line in drawn if line] == checked


def test_every_module_of_the_package_has_its_place_in_the_order() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = " ".join(project["tool"]["importlinter"]["contracts"][0]["layers"]).replace("|", " ").split()
    modules = {path.stem for path in (ROOT / "agno_mongo").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert modules - {"__init__"} == set(layers)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_the_compose_file_describes_a_guarded_replica_set_on_this_machine_alone() -> None:
    service = compose()["services"]["mongodb"]
    assert service["image"].startswith("mongo:8")
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "MONGO_INITDB_ROOT_PASSWORD" in service["environment"]
    command = service["entrypoint"][-1]
    assert "--replSet rs0" in command
    assert "--keyFile" in command
    assert "rs.initiate" in service["healthcheck"]["test"][-1]
    assert {volume.split(":")[0] for volume in service["volumes"]} == set(compose()["volumes"])


def test_docker_compose_takes_the_compose_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no docker compose client on this machine")
    done = subprocess.run(
        [docker, "compose", "config", "--quiet"],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "MONGO_PASSWORD": "x"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_no_module_has_grown_beyond_reading() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "agno_mongo").rglob("*.py")}
    assert {str(path): length for path, length in lengths.items() if length > 900} == {}
