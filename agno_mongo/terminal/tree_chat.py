"""A chat with a workflow: each line is a run, shown as the tree of its steps; what a run waits for is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.terminal.chat import Chat
from agno_mongo.terminal.lines import LineSource
from agno_mongo.terminal.look import Look

ShowRun: TypeAlias = Callable[[Any, Mapping[str, Any], WorkflowRunOutput | None], Awaitable[WorkflowRunOutput]]
"""Runs a workflow on an input, with these options, or goes on with a run that was answered; and shows it."""


class TreeChat(Chat):
    """A chat with a workflow. ``show`` carries out a run and shows it."""

    def __init__(self, workflow: Any, options: Mapping[str, Any], show: ShowRun, lines: LineSource | None = None) -> None:
        super().__init__(workflow, options, Look(boxes=False), lines)
        self._show_run = show

    async def _print(self, given: str | None, paused: Any = None) -> None:
        own = {} if paused is not None else self._options
        run = await self._show_run(given, {**own, "session_id": self._session_id, "user_id": self._user_id}, paused)
        self._note(run)
