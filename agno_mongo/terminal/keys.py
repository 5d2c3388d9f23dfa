"""The prompt of a chat, on prompt_toolkit: several lines, what was typed before, completion of the commands."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.styles import Style

from agno_mongo.terminal.typed import Typed

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

_STYLE = Style.from_dict({"bottom-toolbar": "noreverse fg:ansibrightblack", "prompt": "bold"})
_LEAVE = "Ctrl-D leaves."


class Keys:
    """What somebody types at a terminal. Enter sends; Alt-Enter, or a backslash before Enter, begins a new line; what is pasted stays in one piece.

    Ctrl-C clears the line, Ctrl-D on an empty one is the end.
    """

    interactive = True

    def __init__(self, user: str, commands: Mapping[str, str], toolbar: Callable[[], str]) -> None:
        self._typed = Typed()
        self._user = user
        self._commands = commands
        self._toolbar = toolbar
        self._note = ""
        self._made: PromptSession[str] | None = None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """What is typed meanwhile is not shown: it would stand in the midst of an answer. It is there at the next prompt."""
        if termios is None or not sys.stdin.isatty():
            yield
            return
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        termios.tcsetattr(terminal, termios.TCSANOW, silent)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSANOW, before)

    def read(self) -> str | None:
        """The next text; None for Ctrl-D."""
        session = self._made or self._make(self._typed.load())
        while True:
            try:
                # A loop that runs in this thread, a debugger's say, is not to be disturbed.
                line = session.prompt(in_thread=_in_a_loop())
            except KeyboardInterrupt:
                self._note = _LEAVE
                continue
            except EOFError:
                return None
            self._typed.add(line) if line.strip() else None
            return self._taken(line)

    async def aread(self) -> str | None:
        """The next text, while the event loop goes on; None for Ctrl-D."""
        session = self._made or self._make(await asyncio.to_thread(self._typed.load))
        while True:
            try:
                line = await session.prompt_async()
            except KeyboardInterrupt:
                self._note = _LEAVE
                continue
            except EOFError:
                return None
            if line.strip():
                await asyncio.to_thread(self._typed.add, line)
            return self._taken(line)

    def _taken(self, line: str) -> str:
        self._note = ""
        return line

    def _make(self, typed: Iterable[str]) -> PromptSession[str]:
        session: PromptSession[str] = PromptSession(
            [("class:prompt", f"{self._user}: ")],
            multiline=True,
            prompt_continuation=lambda width, _line, _wrapped: " " * width,
            history=InMemoryHistory(list(typed)),
            completer=_Commands(self._commands),
            complete_while_typing=Condition(lambda: session.default_buffer.text.startswith("/")),
            reserve_space_for_menu=len(self._commands),
            bottom_toolbar=lambda: self._note or self._toolbar(),
            key_bindings=_bindings(),
            style=_STYLE,
        )
        self._made = session
        return session


class _Commands(Completer):
    def __init__(self, commands: Mapping[str, str]) -> None:
        self._commands = commands

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        typed = document.text
        if typed.startswith("/") and document.is_cursor_at_the_end:
            for name, help_text in self._commands.items():
                if f"/{name}".startswith(typed):
                    yield Completion(f"/{name}", start_position=-len(typed), display_meta=help_text)


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.current_line_before_cursor.endswith("\\") and buffer.document.is_cursor_at_the_end_of_line:
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
