"""Where the lines of a chat come from: somebody's keys, or a pipe."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Protocol

from rich.console import Console
from rich.emoji import Emoji
from rich.markup import escape


class LineSource(Protocol):
    """The lines that somebody types. None is the end: Ctrl-D, or the end of a file. Each may be waited for in either way."""

    interactive: bool

    def read(self) -> str | None:
        """The next line, with what was typed or pasted into it."""
        ...

    async def aread(self) -> str | None:
        """The same, while the event loop goes on."""
        ...

    def busy(self) -> AbstractContextManager[None]:
        """While something else writes to the terminal."""
        ...


def lines_for(console: Console, *, user: str, commands: Mapping[str, str], toolbar: Callable[[], str]) -> LineSource:
    """Keys if somebody sits at this terminal, else plain lines."""
    name = Emoji.replace(user)
    if sys.stdin.isatty() and sys.stdout.isatty() and console.file is sys.stdout:
        made: LineSource = import_module("agno_mongo.terminal.keys").Keys(name, commands, toolbar)
        return made
    return PlainLines(console, name)


class PlainLines:
    """Lines of the standard input as they are. Where nobody types there is no prompt: it would only stand among the answers."""

    def __init__(self, console: Console, user: str) -> None:
        self.interactive = sys.stdin.isatty()
        self._console = console
        self._prompt = f"[bold]{escape(user)}:[/bold] " if self.interactive else ""

    def read(self) -> str | None:
        """The next line; None at the end of input, and for Ctrl-C."""
        return self._next()

    def busy(self) -> AbstractContextManager[None]:
        """Nothing changes."""
        return nullcontext()

    async def aread(self) -> str | None:
        """The next line, waited for in a thread."""
        return await asyncio.to_thread(self._next)

    def _next(self) -> str | None:
        try:
            return self._console.input(self._prompt)
        except (EOFError, KeyboardInterrupt):
            self._console.print()
            return None
