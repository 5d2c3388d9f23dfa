"""A run that is there already, or that is being streamed, printed as ``print_response`` prints one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import closing
from typing import Any

from agno_mongo.run.base import BaseRunOutput
from agno_mongo.terminal.look import Look
from agno_mongo.terminal.parts import new_console
from agno_mongo.terminal.screen import Screen, print_run


def pprint_run_response(
    run_response: BaseRunOutput | Iterable[Any],
    markdown: bool = False,
    show_time: bool = False,  # noqa: ARG001 - Agno's; the time is shown in any case
    *,
    console: Any = None,
) -> None:
    """Print a RunOutput, or as they come the events of ``run(stream=True)``. ``markdown``: the answer is rendered. ``console``: a rich Console."""
    whole = isinstance(run_response, BaseRunOutput)
    events: Iterable[Any] = [run_response] if isinstance(run_response, BaseRunOutput) else run_response
    screen = Screen(console or new_console(), Look(live=not whole, markdown=markdown))
    with closing(screen):
        screen.open()
        for event in events:
            screen.take(event)
            if screen.due:
                screen.settle()


async def apprint_run_response(
    run_response: BaseRunOutput | AsyncIterable[Any],
    markdown: bool = False,
    show_time: bool = False,  # noqa: ARG001 - Agno's; the time is shown in any case
    *,
    console: Any = None,
) -> None:
    """Print a RunOutput, or as they come the events of ``arun(stream=True)``."""
    look = Look(live=not isinstance(run_response, BaseRunOutput), markdown=markdown)
    await print_run(_events(run_response), look, console or new_console())


async def _events(run_response: BaseRunOutput | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(run_response, BaseRunOutput):
        yield run_response
        return
    async for event in run_response:
        yield event


__all__ = ["apprint_run_response", "pprint_run_response"]
