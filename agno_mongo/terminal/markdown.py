"""Text that arrives in pieces, cut where what came so far will not change any more."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Markdown
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text

if TYPE_CHECKING:
    from markdown_it.token import Token

LINES_OF_CODE: Final = 24
"""A code block that is longer than this and goes on is shown in parts: it would be highlighted anew for every piece otherwise."""

SHORT_REASONING: Final = 6
"""Lines of reasoning that are shown of a longer one."""

_TAG = re.compile(r"</?([A-Za-z][\w-]*)[^<>]*>")
_PARSER = MarkdownIt("commonmark", {"html": False}).enable("strikethrough").enable("table")


class Body(Protocol):
    """What stands in one part of the screen, while it grows."""

    def settled(self) -> list[RenderableType]:
        """What will not change any more, each part once."""
        ...

    def rest(self) -> RenderableType | None:
        """What may still change; None if there is nothing."""
        ...

    def last(self) -> list[RenderableType]:
        """All that was not settled, now that nothing follows."""
        ...


class Lines:
    """Text as it is. A line is settled with its end."""

    def __init__(self, style: str = "") -> None:
        self.style = style
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        """Take a further piece."""
        self._pieces.append(text)

    @property
    def pending(self) -> str:
        """What is not settled yet. Read while pieces come, from the thread that draws."""
        return "".join(self._pieces)

    def settled(self) -> list[RenderableType]:
        """Whole lines."""
        done, newline, rest = self.pending.rpartition("\n")
        self._pieces = [rest]
        return [Text(done, style=self.style)] if newline else []

    def rest(self) -> RenderableType | None:
        """The line that goes on."""
        pending = self.pending
        return Text(pending, style=self.style) if pending else None

    def last(self) -> list[RenderableType]:
        """The line that did not end."""
        text, self._pieces = self.pending.rstrip("\n"), []
        return [Text(text, style=self.style)] if text else []


class Reasoning(Lines):
    """What a model says to itself, in short: while it comes its newest lines, and in the end its first ones."""

    def __init__(self) -> None:
        super().__init__(style="dim")

    def settled(self) -> list[RenderableType]:
        """Nothing, before the end."""
        return []

    def rest(self) -> RenderableType | None:
        """The newest lines."""
        lines = self.pending.rstrip().splitlines()[-SHORT_REASONING:]
        return Text("\n".join(lines), style=self.style) if lines else None

    def last(self) -> list[RenderableType]:
        """The first lines, and how many there were."""
        lines, self._pieces = self.pending.strip().splitlines(), []
        more = len(lines) - SHORT_REASONING
        if more > 1:
            lines = [*lines[:SHORT_REASONING], f"… and {more} lines more"]
        return [Text("\n".join(lines), style=self.style)] if lines else []


class MarkdownBlocks(Lines):
    """Markdown. A block is settled once the next one begins, a long code block line by line."""

    def __init__(self, tags: frozenset[str] | None = None) -> None:
        super().__init__()
        self._tags = tags
        self._references: dict[str, Any] = {}
        self._begun = False
        self._in_code = False

    def settled(self) -> list[RenderableType]:
        """The blocks before the last one, and the head of a long code block."""
        whole, newline, unfinished = self.pending.rpartition("\n")
        lines, blocks = self._blocks(whole + newline)
        if not blocks:
            return []
        starts = [start for start, _ in blocks]
        done = [self._part(lines[start:end]) for start, end in itertools.pairwise(starts)]
        lines, last = lines[starts[-1] :], blocks[-1][1]
        if last.type == "fence" and not _closed(last, lines) and len(lines) > LINES_OF_CODE:
            done.append(self._part(lines))
            self._in_code = True
            lines = [lines[0], ""]
        self._pieces = ["\n".join(lines) + unfinished]
        return done

    def rest(self) -> RenderableType | None:
        """The last block."""
        pending = self.pending
        return self._drawn(pending) if pending.strip() else None

    def last(self) -> list[RenderableType]:
        """The last block, whole now."""
        self.add("\n")
        done = self.settled()
        block, self._pieces = self.pending, []
        nothing_follows = self._in_code and not "".join(_PARSER.parse(block)[0].content.split())
        return done if nothing_follows or not block.strip() else [*done, self._part([block])]

    def _blocks(self, source: str) -> tuple[list[str], list[tuple[int, Token]]]:
        """The lines of ``source``, and the blocks in them, each with its first line. A line that is not whole could be of any kind yet."""
        tokens = _PARSER.parse(source, self._references)
        self._references.pop("duplicate_refs", None)
        found = [(token.map[0], token) for token in tokens if token.level == 0 and token.nesting >= 0 and token.map]
        return source.split("\n"), found

    def _part(self, lines: Sequence[str]) -> RenderableType:
        part = self._drawn("\n".join(lines))
        self._begun, self._in_code = True, False
        return part

    def _drawn(self, source: str) -> _Markdown:
        tokens = _PARSER.parse(source, dict(self._references))
        if self._tags is not None:
            _leave_out_tags(tokens, self._tags)
        return _Markdown(source, tokens, after=self._begun and not self._in_code)


def _closed(fence: Token, lines: Sequence[str]) -> bool:
    """True if the code block's last line ends it."""
    assert fence.map is not None
    end = lines[fence.map[1] - fence.map[0] - 1].strip()
    return fence.map[1] - fence.map[0] > 1 and end.startswith(fence.markup) and not end.strip(fence.markup[0])


class _Code(CodeBlock):
    """A code block without a margin above and below, so that its parts join."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text)
        yield Syntax(code.removesuffix("\n"), self.lexer_name, theme=self.theme, word_wrap=True, padding=(0, 1))


class _Markdown(Markdown):
    """Markdown whose HTML is text like other text: a terminal has none, and what a model wrote must not vanish.

    ``after``: an empty line parts it from what stands above.
    """

    elements = {**Markdown.elements, "fence": _Code, "code_block": _Code}  # noqa: RUF012 - as rich has it

    def __init__(self, source: str, tokens: list[Token], *, after: bool) -> None:
        super().__init__("")
        self.markup = source
        self.parsed = tokens
        self._after = after

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._after:
            yield Segment.line()
        lines = list(Segment.split_lines(console.render(_Bare(self), options)))
        # Lists and tables bring empty lines of their own.
        while lines and _is_empty(lines[0]):
            lines.pop(0)
        while lines and _is_empty(lines[-1]):
            lines.pop()
        for line in lines:
            yield from _without_end(line)
            yield Segment.line()


class _Bare:
    """Markdown as rich draws it."""

    def __init__(self, drawn: Markdown) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return Markdown.__rich_console__(self._drawn, console, options)


def _is_empty(line: Sequence[Segment]) -> bool:
    return all(_is_blank(segment) for segment in line)


def _is_blank(segment: Segment) -> bool:
    """True if it shows nothing: no text, and no colour behind it."""
    text, style, _ = segment
    return not text.strip() and (style is None or (style.bgcolor is None and not style.underline))


def _without_end(line: list[Segment]) -> list[Segment]:
    """The line without the blanks at its end, which whoever copies the text does not want."""
    while line and _is_blank(line[-1]):
        line.pop()
    if line and (line[-1].style is None or line[-1].style.bgcolor is None):
        line[-1] = Segment(line[-1].text.rstrip(), line[-1].style, line[-1].control)
    return line


def _leave_out_tags(tokens: Sequence[Any], kept: frozenset[str]) -> None:
    """Take the HTML tags out of the text, all but those to be kept."""
    for token in tokens:
        _leave_out_tags(token.children or (), kept)
        if token.type == "text":
            token.content = _TAG.sub(lambda match: match[0] if match[1].lower() in kept else "", token.content)
