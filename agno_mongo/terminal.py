"""Runs on the terminal: a question in a box, the answer as it comes, the tools on the way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from agno_mongo.run.agent import (
    RunContentEvent,
    RunErrorEvent,
    RunOutput,
    ToolCallCompletedEvent,
    ToolCallErrorEvent,
    ToolCallStartedEvent,
)

EXIT_ON: Final = ("exit", "quit", "bye")


@dataclass
class _Screen:
    """What is shown of a run so far."""

    question: str | None
    markdown: bool
    answer: str = ""
    error: str | None = None
    tools: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=perf_counter)

    def take(self, event: Any) -> None:
        """Let an event change what is shown."""
        if isinstance(event, RunContentEvent):
            self.answer += event.content or ""
        elif isinstance(event, RunErrorEvent):
            self.error = event.content
        elif isinstance(event, (ToolCallStartedEvent, ToolCallCompletedEvent, ToolCallErrorEvent)) and event.tool:
            mark = {"ToolCallStarted": "…", "ToolCallCompleted": "✓"}.get(event.event, "✗")
            arguments = ", ".join(f"{name}={value!r}" for name, value in (event.tool.tool_args or {}).items())
            self.tools[event.tool.tool_call_id or str(id(event.tool))] = f"{mark} {event.tool.tool_name}({arguments})"
        elif isinstance(event, RunOutput) and event.content is not None and self.error is None:
            self.answer = str(event.content)

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self.question is not None:
            parts.append(Panel(Text(self.question), title="Message", title_align="left", border_style="cyan"))
        if self.tools:
            parts.append(Panel(Text("\n".join(self.tools.values())), title="Tools", title_align="left", border_style="yellow"))
        if self.error is not None:
            parts.append(Panel(Text(self.error), title="Error", title_align="left", border_style="red"))
        else:
            answer = Markdown(self.answer) if self.markdown else Text(self.answer)
            seconds = perf_counter() - self.started
            parts.append(Panel(answer, title=f"Response ({seconds:.1f}s)", title_align="left", border_style="blue"))
        return Group(*parts)


async def print_run(
    events: AsyncIterator[Any],
    *,
    question: str | None,
    live: bool,
    markdown: bool,
    console: Console | None = None,
) -> None:
    """Print a run from its events: redrawn as they come, or once at the end."""
    console = console or Console()
    screen = _Screen(question=question, markdown=markdown)
    drawing: Any = nullcontext()
    if live and console.is_terminal:
        # Drawn again and again within the window, and once for good at the end: what scrolled away cannot be redrawn.
        drawing = Live(screen, console=console, refresh_per_second=12, vertical_overflow="ellipsis", transient=True)
    try:
        with drawing:
            async with aclosing(events) as source:  # type: ignore[type-var]
                async for event in source:
                    screen.take(event)
    finally:
        console.print(screen)


@contextmanager
def stopped_by_ctrl_c(console: Console | None) -> Iterator[None]:
    """Ctrl-C stops the answer, which is stored as far as it came, and not the chat."""
    try:
        yield
    except KeyboardInterrupt:
        (console or Console()).print("Stopped.", style="yellow")


def read_lines(first: str | None, *, user: str, exit_on: Collection[str], console: Console | None) -> Iterator[str]:
    """The lines that somebody types, until a word of ``exit_on``, Ctrl-C or the end of input. Empty lines are passed over."""
    console = console or Console()
    if first:
        yield first
    # Where nobody types, a prompt would only stand among the answers.
    prompt = f"[bold]{escape(user)}:[/bold] " if sys.stdin.isatty() else ""
    while True:
        try:
            line = console.input(prompt).strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if line.lower() in exit_on:
            return
        if line:
            yield line


async def aread_lines(first: str | None, *, user: str, exit_on: Collection[str], console: Console | None) -> AsyncIterator[str]:
    """Like :func:`read_lines`, waiting in a thread so that the event loop goes on."""
    lines = read_lines(first, user=user, exit_on=exit_on, console=console)
    while (line := await asyncio.to_thread(next, lines, None)) is not None:
        yield line
