"""A workflow's run on the terminal: the tree of its steps with their times, drawn again as they go on, and the answer below it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from time import time
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.errors import LiveError
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.text import Text
from rich.tree import Tree

from agno_mongo.messages import text_of
from agno_mongo.run.base import RunStatus
from agno_mongo.run.steps import StepOutput
from agno_mongo.run.workflow import WorkflowRunOutput
from agno_mongo.terminal.parts import new_console, printable
from agno_mongo.terminal.questions import questions_of

REDRAWN: Final = 8
"""Times a second."""

_MARKS: Final = {
    "RUNNING": ("…", "...", "blue"),
    "COMPLETED": ("✓", "ok", "green"),
    "ERROR": ("✗", "failed", "red"),
    "SKIPPED": ("-", "-", "dim"),
    "CANCELLED": ("■", "stopped", "dim"),
    "PAUSED": ("?", "?", "yellow"),
}
_SHOWN: Final = 60


@dataclass(frozen=True, kw_only=True)
class TreeLook:
    """How a workflow's run is shown. ``question``: printed before all else. ``markdown``: the answer is rendered. ``details``: each step with the
    beginning of what it came to; ``times``: with the seconds that it took. ``waits``: what a paused run waits for is
    told.
    """

    question: str | None = None
    markdown: bool = True
    details: bool = True
    times: bool = True
    waits: bool = True


class StepTree:
    """The steps of a run as they stand whenever it is drawn."""

    def __init__(self, run: WorkflowRunOutput, look: TreeLook) -> None:
        self._run, self._look = run, look

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        ascii_only = options.ascii_only
        tree = Tree(Text(printable(self._run.workflow_name or "Workflow"), style="bold"), guide_style="dim")
        self._add(tree, list(self._run.step_results), ascii_only=ascii_only)
        yield tree

    def _add(self, tree: Tree, outputs: Iterable[StepOutput], *, ascii_only: bool) -> None:
        for output in outputs:
            branch = tree.add(self._line(output, ascii_only=ascii_only))
            self._add(branch, list(output.steps or ()), ascii_only=ascii_only)

    def _line(self, output: StepOutput, *, ascii_only: bool) -> Text:
        mark, plain, style = _MARKS.get(output.status or "", ("", "", ""))
        line = Text(f"{plain if ascii_only else mark} ", style=style, no_wrap=True, overflow="ellipsis")
        line.append(printable(output.step_name or ""), style="" if output.status != "SKIPPED" else "dim")
        kind = output.executor_type if output.executor_type != "parallel" else None
        line.append(f"  {kind or (output.step_type or '').lower()}", style="dim")
        if output.iteration is not None:
            line.append(f" round {output.iteration}", style="dim")
        if self._look.times:
            took = output.duration if output.duration is not None else time() - (output.started_at or time())
            line.append(f"  {took:.1f}s", style="cyan")
        if output.tries is not None and output.tries > 1:
            line.append(f"  {output.tries} tries", style="yellow")
        if output.error:
            line.append(f"  {_beginning(output.error)}", style="red" if output.status == "ERROR" else "dim")
        elif self._look.details and not output.steps and output.content is not None and output.status == "COMPLETED":
            line.append(f"  {_beginning(text_of(output.content))}", style="dim")
        return line


def _beginning(text: str) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


async def print_workflow(
    run: WorkflowRunOutput, events: AsyncGenerator[Any, None], look: TreeLook, console: Console | None = None
) -> None:
    """Carry out a run by reading its ``events``, and print it. Whatever ends it, what came is printed."""
    console = console or new_console()
    tree = StepTree(run, look)
    live = await asyncio.to_thread(_opened, console, tree, look)
    try:
        async with aclosing(events) as happening:
            async for _ in happening:
                pass
    finally:
        await asyncio.to_thread(_closed, console, live, tree, run, look)


def _opened(console: Console, tree: StepTree, look: TreeLook) -> Live | None:
    if look.question is not None:
        console.print(Panel(Text(printable(look.question)), title="Message", title_align="left", border_style="cyan"))
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    live = Live(tree, console=console, refresh_per_second=REDRAWN, transient=True)
    try:
        live.start()
    except LiveError:
        # Another run is being shown on this console.
        return None
    return live


def _closed(console: Console, live: Live | None, tree: StepTree, run: WorkflowRunOutput, look: TreeLook) -> None:
    if live is not None:
        live.stop()
    console.print(Group(tree, *_outcome(run, look)))


def _outcome(run: WorkflowRunOutput, look: TreeLook) -> Iterable[RenderableType]:
    seconds = run.metrics.duration if run.metrics is not None and run.metrics.duration is not None else 0.0
    tokens = f" · {run.metrics.total_tokens:,} tokens" if run.metrics is not None and run.metrics.total_tokens else ""
    footer = f"{seconds:.1f}s{tokens}"
    if run.status == RunStatus.paused and not look.waits:
        return
    if run.status == RunStatus.paused:
        waits = [*(question.waits for question in questions_of(run)), "continue_run() takes the answers, and goes on."]
        yield Panel(Text("\n".join(waits)), title="Paused", title_align="left", subtitle=footer, border_style="yellow")
        return
    if run.content is None or run.status == RunStatus.cancelled:
        return
    text = printable(text_of(run.content))
    failed = run.status == RunStatus.error
    body: RenderableType = Markdown(text) if look.markdown and isinstance(run.content, str) and not failed else Text(text)
    title, style = ("Error", "red") if failed else ("Response", "blue")
    yield Panel(body, title=title, title_align="left", subtitle=footer, subtitle_align="right", border_style=style)
