"""Runs for which their caller does not wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.execution import Execution

_log = logging.getLogger("agno_mongo")


def streamed(stream: bool | None, default: bool | None, *, background: bool) -> bool:
    """True if the caller gets events. ``stream`` is what the call says, ``default`` what the component does."""
    if checks.flag("background", background):
        if stream:
            raise ConfigurationError(
                "a run with background=True gives back its run_id and no stream; db.watch() tells what becomes of it"
            )
        return False
    return bool(default if stream is None else stream)


async def carried_out(execution: Execution, events: AsyncGenerator[Any, None], *, background: bool) -> Any:
    """Carry out a run by reading its ``events``, and return it. In the background it is returned as it is once it has begun."""
    if background:
        return await _begun(execution, events)
    async with aclosing(events) as happening:
        async for _ in happening:
            pass
    return execution.run


async def _begun(execution: Execution, events: AsyncGenerator[Any, None]) -> Any:
    """The run as it is once it has begun, and its input is stored. It goes on in a task, for which ``db.close()`` waits.

    What keeps it from beginning is raised; what goes wrong later the run tells, and the log.
    """
    db, run = execution.root_db, execution.run
    if db is None:
        raise ConfigurationError("background=True needs a db, where the run can be found later; pass db=MongoDb(…)")
    begun: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def carry_out() -> None:
        async with aclosing(events) as happening:
            async for _ in happening:
                if not begun.done():
                    begun.set_result(run.model_copy())

    task = await db.keep_in_background(f"run {run.run_id!r} of session {run.session_id!r}", carry_out)
    try:
        await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not begun.done():
        # It raises what kept the run from beginning.
        await task
    task.add_done_callback(_tell)
    return begun.result()


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("%s, in the background: %s", task.get_name(), error, exc_info=error)
