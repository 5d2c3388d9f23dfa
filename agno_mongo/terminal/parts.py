"""The parts of the screen: the tools of a round, a whole value, and the boxes around them."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Mapping
from time import monotonic
from typing import Any

from pydantic import BaseModel
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.json import JSON
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from agno_mongo.messages import ToolExecution, text_of

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def new_console() -> Console:
    """A console on the standard output: as wide as the terminal also where that can do nothing else, and without an error for a character that
    it does not know.
    """
    console = Console()
    if isinstance(sys.stdout, io.TextIOWrapper) and not console.encoding.startswith("utf"):
        sys.stdout.reconfigure(errors="replace")
    if console.is_dumb_terminal:
        # rich takes it for one of 80 columns.
        console.width = shutil.get_terminal_size().columns
    return console


def printable(text: str) -> str:
    """The text without what would steer the terminal: a model and its tools may write there, and no more."""
    return _CONTROL.sub("", text)


class Whole:
    """A value that comes in one piece: a result of its own schema, as JSON."""

    def __init__(self, value: Any) -> None:
        self._left: list[RenderableType] = [_json(value)]

    def settled(self) -> list[RenderableType]:
        """The value, once."""
        left, self._left = self._left, []
        return left

    def rest(self) -> RenderableType | None:
        """Nothing more."""
        return None

    def last(self) -> list[RenderableType]:
        """The value, if it was not shown."""
        return self.settled()


def _json(value: Any) -> RenderableType:
    text = value.model_dump_json() if isinstance(value, BaseModel) else text_of(value)
    try:
        return JSON(json.dumps(json.loads(text), ensure_ascii=False), indent=2)
    except ValueError:
        return Text(printable(text))


class Tools:
    """The tools of one part, each in a line with its time. Those that have ended are settled, in the order of their calls."""

    def __init__(self, *, ascii_only: bool) -> None:
        self._marks = ("...", "v", "x", "-") if ascii_only else ("…", "✓", "✗", "–")
        self._begun: dict[str, tuple[ToolExecution, float]] = {}
        self._ended: dict[str, tuple[ToolExecution, float]] = {}

    def begin(self, tool: ToolExecution) -> None:
        """A tool is called."""
        self._begun[_name(tool)] = (tool, monotonic())

    def end(self, tool: ToolExecution) -> None:
        """A tool has its result."""
        begun = self._begun.setdefault(_name(tool), (tool, monotonic()))[1]
        known = tool.metrics.duration if tool.metrics is not None else None
        self._ended[_name(tool)] = (tool, monotonic() - begun if known is None else known)

    def settled(self) -> list[RenderableType]:
        """The calls that have ended, up to the first that has not."""
        lines: list[RenderableType] = []
        while self._begun and (name := next(iter(self._begun))) in self._ended:
            del self._begun[name]
            lines.append(self._line(*self._ended.pop(name), ended=True))
        return lines

    def rest(self) -> RenderableType | None:
        """The others, each with the time that it has taken so far."""
        lines: list[RenderableType] = []
        for name, (tool, begun) in list(self._begun.items()):
            ended = self._ended.get(name)
            lines.append(self._line(tool, monotonic() - begun) if ended is None else self._line(*ended, ended=True))
        return Group(*lines) if lines else None

    def last(self) -> list[RenderableType]:
        """What is left when nothing follows: calls that were given up."""
        lines = self.settled()
        lines += [self._line(tool, monotonic() - begun, given_up=True) for tool, begun in self._begun.values()]
        self._begun.clear()
        return lines

    def _line(self, tool: ToolExecution, took: float, *, ended: bool = False, given_up: bool = False) -> Text:
        running, done, failed, left = self._marks
        error = ended and tool.tool_call_error
        mark = failed if error else done if ended else left if given_up else running
        color = "red" if error else "green" if ended else "yellow"
        call = call_text(tool.tool_name, tool.tool_args)
        # The time in front, where a long line cannot push it out.
        line = Text.assemble((f"{took:.1f}s ", "dim"), (f"{mark} ", color), call, no_wrap=True, overflow="ellipsis")
        if error and tool.result:
            line.append("  " + printable(tool.result).replace("\n", " "), style="red")
        return line


def call_text(name: str | None, arguments: Mapping[str, Any] | None) -> str:
    """A call of a tool in one line, as Python has it."""
    given = ", ".join(f"{argument}={value!r}" for argument, value in (arguments or {}).items())
    return printable(f"{name}({given})").replace("\n", " ")


def _name(tool: ToolExecution) -> str:
    return tool.tool_call_id or str(id(tool))


class Boxed:
    """Something between the sides of a box; without a ``style`` bare."""

    def __init__(self, content: RenderableType, style: str | None) -> None:
        self.content, self.style = content, style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.style is None:
            yield self.content
            return
        shape = box.ROUNDED.substitute(options, safe=console.safe_box)
        style = console.get_style(self.style)
        inner = options.update(width=max(options.max_width - 4, 1), height=None)
        for line in console.render_lines(self.content, inner):
            yield Segment(f"{shape.mid_left} ", style)
            yield from line
            yield Segment(f" {shape.mid_right}", style)
            yield Segment.line()


class Edge:
    """The top of a box with its title, or its bottom with a note."""

    def __init__(self, text: str, style: str, *, top: bool) -> None:
        self.text, self.style, self.top = text, style, top

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shape = box.ROUNDED.substitute(options, safe=console.safe_box)
        left, line, right = (
            (shape.top_left, shape.top, shape.top_right) if self.top else (shape.bottom_left, shape.bottom, shape.bottom_right)
        )
        room = max(options.max_width - 3, 0)
        text = f" {self.text} " if self.text else ""
        if cell_len(text) > room:
            text = set_cell_size(text, room)
        yield Text(f"{left}{line}{text}{line * (room - cell_len(text))}{right}", style=self.style, no_wrap=True, overflow="crop")


def table(*columns: str) -> Table:
    """A table without lines, as lists in a chat have it."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=any(columns))
    for column in columns:
        made.add_column(column, overflow="ellipsis", no_wrap=True)
    return made
