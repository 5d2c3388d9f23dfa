"""A run on the terminal: its parts in the order in which they come.

What will not change any more is printed for good and scrolls away like other output. Only what may still change is drawn again and again: the last
block of the answer, the tools that run, the time. So an answer may be longer than the window, and a window may change its size.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import monotonic
from typing import Any, Final, TypeVar

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.errors import LiveError
from rich.live import Live
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from agno_mongo.messages import Metrics, ToolExecution
from agno_mongo.run import events, team_events
from agno_mongo.run.base import RunStatus
from agno_mongo.run.message_run import MessageRunOutput
from agno_mongo.terminal.look import Look
from agno_mongo.terminal.markdown import Body, Lines, MarkdownBlocks, Reasoning
from agno_mongo.terminal.parts import Boxed, Edge, Tools, Whole, new_console, printable
from agno_mongo.terminal.questions import questions_of

REDRAWN: Final = 12
"""Times a second."""

_CONTENT: Final = (events.RunContentEvent, team_events.RunContentEvent)
_TOOL_STARTED: Final = (events.ToolCallStartedEvent, team_events.ToolCallStartedEvent)
_TOOL_ENDED: Final = (
    events.ToolCallCompletedEvent,
    events.ToolCallErrorEvent,
    team_events.ToolCallCompletedEvent,
    team_events.ToolCallErrorEvent,
)
_FAILED: Final = (events.RunErrorEvent, team_events.RunErrorEvent)
_COMPLETED: Final = (events.RunCompletedEvent, team_events.RunCompletedEvent)

BodyT = TypeVar("BodyT", bound=Body)


class _Section:
    """A part of the screen: what it is called, its colour, and what stands in it."""

    def __init__(self, title: str, style: str, body: Body) -> None:
        self.title, self.style, self.body = title, style, body
        self.begun = False


class _Sections:
    """The parts that are not printed yet, or not all of them; the last of them grows."""

    def __init__(self, look: Look, *, ascii_only: bool) -> None:
        self._look = look
        self._ascii_only = ascii_only
        self.open: list[_Section] = []
        self.titles: set[str] = set()
        self.said = ""
        self.metrics: Metrics | None = None
        if look.question is not None:
            self._lines("Message", "cyan").add(printable(look.question))

    def take(self, event: Any) -> None:
        """Let an event of the run, or its RunOutput, change what is to be shown."""
        if isinstance(event, MessageRunOutput):
            self._end(event)
        elif getattr(event, "parent_run_id", None) is not None:
            if isinstance(event, _COMPLETED):
                self._member(event)
        elif isinstance(event, _CONTENT):
            self._reason(event.reasoning_content)
            if self._look.live and not self._look.whole and isinstance(event.content, str):
                self._say(event.content)
        elif isinstance(event, _TOOL_STARTED) and event.tool is not None:
            self.said = ""
            self._tool(event.tool, ended=False)
        elif isinstance(event, _TOOL_ENDED) and event.tool is not None:
            self._tool(event.tool, ended=True)
        elif isinstance(event, _FAILED):
            self._fail(event.content or event.error_type)

    def _member(self, answered: Any) -> None:
        """The answer of a team's member: the end of its run, or the run itself."""
        name = getattr(answered, "agent_name", None) or getattr(answered, "team_name", None)
        if self._look.members and answered.content is not None:
            title = f"Response of {printable(name or 'a member')}"
            if isinstance(answered.content, str):
                self._section(title, "green", self._new_answer()).add(printable(answered.content))
            else:
                self._section(title, "green", Whole(answered.content))

    def _end(self, run: Any) -> None:
        """What of the run has not been shown on the way."""
        self.metrics = run.metrics
        if "Reasoning" not in self.titles:
            self._reason(run.reasoning_content)
        for tool in () if self._look.live else run.tools or ():
            if tool.result is not None:
                self._tool(tool, ended=True)
        for member in () if self._look.live else getattr(run, "member_responses", ()):
            self._member(member)
        if run.status == RunStatus.paused:
            self._wait(run)
        elif run.status != RunStatus.error:
            self._come_to(run.content)
            if run.status == RunStatus.completed and "Response" not in self.titles:
                self._lines("Response", "blue", "dim").add("The answer is empty.")
        elif "Error" not in self.titles:
            self._fail(run.content)

    def _come_to(self, content: Any) -> None:
        """The answer, if it was not streamed, or if a hook has changed it since."""
        if not isinstance(content, (str, type(None))):
            self._section("Response", "blue", Whole(content))
        elif content and content.strip() != self.said.strip():
            self._section("Response", "blue", self._new_answer()).add(printable(content))

    def _wait(self, run: Any) -> None:
        """What a paused run waits for. A chat asks it."""
        if self._look.boxes:
            waits = [question.waits for question in questions_of(run)]
            self._lines("Paused", "yellow").add("\n".join([*waits, "continue_run() takes the answers, and goes on."]))

    def _say(self, text: str) -> None:
        if text:
            self.said += text
            self._last_or_new("Response", "blue", Lines, self._new_answer).add(printable(text))

    def _reason(self, text: str | None) -> None:
        if text and self._look.reasoning != "none":
            self._last_or_new("Reasoning", "magenta", Lines, self._new_reasoning).add(printable(text))

    def _fail(self, error: Any) -> None:
        self._lines("Error", "red", "" if self._look.boxes else "red").add(printable(str(error or "")))

    def _tool(self, tool: ToolExecution, *, ended: bool) -> None:
        if self._look.tools:
            tools = self._last_or_new("Tools", "yellow", Tools, lambda: Tools(ascii_only=self._ascii_only))
            tools.end(tool) if ended else tools.begin(tool)

    def _lines(self, title: str, style: str, text_style: str = "") -> Lines:
        return self._last_or_new(title, style, Lines, lambda: Lines(text_style))

    def _last_or_new(self, title: str, style: str, kind: type[BodyT], make: Callable[[], BodyT]) -> BodyT:
        last = self.open[-1] if self.open else None
        if last is not None and last.title == title and isinstance(last.body, kind):
            return last.body
        return self._section(title, style, make())

    def _section(self, title: str, style: str, body: BodyT) -> BodyT:
        self.open.append(_Section(title, style, body))
        self.titles.add(title)
        return body

    def _new_answer(self) -> Lines:
        return MarkdownBlocks(self._look.tags) if self._look.markdown else Lines()

    def _new_reasoning(self) -> Lines:
        return Lines("dim") if self._look.reasoning == "full" else Reasoning()


class Screen:
    """A run on a console: ``take`` its events, ``settle`` now and then, ``close`` at the end.

    ``settle`` and ``close`` print, and belong into a thread.
    """

    def __init__(self, console: Console, look: Look) -> None:
        self.console, self.look = console, look
        self._sections = _Sections(look, ascii_only=console.options.ascii_only)
        self._began = monotonic()
        self._settled_at = 0.0
        self._printed = False
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")
        self._drawn: tuple[Any, float, list[list[Segment]]] = (None, 0.0, [])
        self._live: Live | None = None
        # In a notebook each print is an output of its own.
        self._held: list[RenderableType] | None = [] if console.is_jupyter else None

    def open(self) -> None:
        """Print the question, and begin to draw where there is a terminal on which something can be drawn again."""
        while self._sections.open:
            self._finish(self._sections.open.pop(0))
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            return
        live = Live(self, console=self.console, refresh_per_second=REDRAWN, transient=True, vertical_overflow="crop")
        try:
            live.start()
        except LiveError:
            # Another run is being shown on this console.
            return
        self._live = live

    def take(self, event: Any) -> None:
        """Let an event of the run, or its RunOutput, change what is to be shown."""
        self._sections.take(event)

    @property
    def due(self) -> bool:
        """True if there may be something to print, and it is not long since the last time."""
        return monotonic() - self._settled_at > 1 / REDRAWN

    def settle(self) -> None:
        """Print what will not change any more."""
        sections = self._sections.open
        while len(sections) > 1:
            self._finish(sections[0])
            sections.pop(0)
        if sections and self.look.live:
            self._print(sections[0], sections[0].body.settled())
        self._settled_at = monotonic()

    def close(self) -> None:
        """Print all that is left, and stop to draw. May be repeated."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        sections, self._sections.open = self._sections.open, []
        for section in sections:
            self._finish(section, self._footer() if section is sections[-1] else "")
        if sections and not self.look.boxes:
            self._out(Text(self._footer(), style="dim"))
        if self._held:
            held, self._held = self._held, []
            self.console.print(Group(*held))

    def _finish(self, section: _Section, note: str = "") -> None:
        self._print(section, [*section.body.settled(), *section.body.last()])
        if section.begun and self.look.boxes:
            self._out(Edge(note, section.style, top=False))

    def _print(self, section: _Section, parts: list[RenderableType]) -> None:
        if not parts:
            return
        printed = [Boxed(part, self._box_style(section)) for part in parts]
        self._out(*self._head(section), *printed)
        section.begun = self._printed = True

    def _out(self, *parts: RenderableType) -> None:
        if self._held is not None:
            self._held += parts
        else:
            self.console.print(Group(*parts))

    def _head(self, section: _Section) -> list[RenderableType]:
        if section.begun:
            return []
        if self.look.boxes:
            return [Edge(section.title, section.style, top=True)]
        return [""] if self._printed else []

    def _box_style(self, section: _Section) -> str | None:
        return section.style if self.look.boxes else None

    def _footer(self) -> str:
        metrics = self._sections.metrics
        parts = [f"{monotonic() - self._began:.1f}s"]
        if metrics is not None and metrics.total_tokens:
            parts.append(f"{metrics.total_tokens:,} tokens")
        if metrics is not None and metrics.cost:
            parts.append(f"${metrics.cost:.4f}")
        return (" - " if self.console.options.ascii_only else " · ").join(parts)

    # What is drawn again and again.

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        section = self._sections.open[-1] if self._sections.open else None
        working = Text.assemble(self._spinner.render(monotonic()), f" {monotonic() - self._began:.1f}s", style="dim")  # type: ignore[arg-type]
        lines = [] if section is None else self._growing(section, console, options)
        yield from (segment for line in lines for segment in (*line, Segment.line()))
        if section is not None and self.look.boxes and (lines or section.begun):
            yield Edge(working.plain, section.style, top=False)
        else:
            yield working

    def _growing(self, section: _Section, console: Console, options: ConsoleOptions) -> list[list[Segment]]:
        """The newest lines of what is not settled. Drawn again only once it is worth what that takes."""
        state, until, lines = self._drawn
        width, height = options.max_width, max(console.height - 3, 1)
        if state == (section, width, height) and monotonic() < until:
            return lines
        began = monotonic()
        rest = section.body.rest()
        content: list[RenderableType] = [] if rest is None else [Boxed(rest, self._box_style(section))]
        lines = (
            console.render_lines(Group(*self._head(section), *content), options.update(height=None), pad=False) if content else []
        )
        took = monotonic() - began
        self._drawn = ((section, width, height), monotonic() + 5 * took, lines[-height:])
        return self._drawn[2]


async def events_of(start: Callable[..., Any], look: Look) -> AsyncGenerator[Any, None]:
    """The events of the run that ``start`` begins, and its RunOutput at the end. If it is not to be shown live only that, and the model is not
    asked to stream.
    """
    if not look.live:
        yield await start(stream=False)
        return
    async with aclosing(start(stream=True, stream_events=True, yield_run_output=True)) as events:
        async for event in events:
            yield event


async def print_run(events: AsyncGenerator[Any, None], look: Look, console: Console | None = None) -> None:
    """Print a run from its events, and its RunOutput at the end if they have it. Whatever ends it, what came is printed."""
    screen = Screen(console or new_console(), look)
    try:
        await asyncio.to_thread(screen.open)
        async with aclosing(events) as source:
            async for event in source:
                screen.take(event)
                if screen.due:
                    await asyncio.to_thread(screen.settle)
    finally:
        await asyncio.to_thread(screen.close)
