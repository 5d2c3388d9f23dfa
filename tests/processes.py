"""Processes of their own for tests of what several do at once, and of what is left when one dies."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


async def child(what: str, url: str, db_name: str, argument: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    """A process that does ``what`` of :mod:`tests.turn_process`."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.turn_process", what, url, db_name, argument, cwd=ROOT, env=environment
    )
