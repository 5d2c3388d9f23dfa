"""How a run is to be shown, and what a caller may say about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import Message, text_of

EXIT_ON: Final = ("exit", "quit", "bye")
"""What somebody types to leave a chat."""


class ShowOptions(TypedDict, total=False):
    """How ``print_response`` and ``cli_app`` show a run.

    ``stream``: as it comes (by default, unless the agent's ``stream`` is False); else at once, and the model is not asked to stream. ``markdown``: the answer is rendered (the agent's ``markdown``
    by default). ``show_reasoning`` (True): the first lines of what the model said to itself; ``show_full_reasoning``: all of it.
    ``tags_to_include_in_markdown``: HTML tags in Markdown that are shown as they are written; all of them by default, since a terminal has no
    HTML. ``console``: a rich Console of one's own. ``show_member_responses``: with the answers of a team's members (its ``show_members_responses`` by default).
    """

    stream: bool | None
    markdown: bool | None
    show_reasoning: bool
    show_full_reasoning: bool
    tags_to_include_in_markdown: Collection[str] | None
    console: Any
    show_member_responses: bool | None


class PromptOptions(TypedDict, total=False):
    """What ``cli_app`` shows at its prompt: ``user`` ("User"), after an ``emoji`` (none), and which words leave (``exit_on``: exit, quit, bye)."""

    user: str
    emoji: str
    exit_on: Collection[str] | None


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a run is to be shown.

    ``question``: printed before all else. ``live``: the run as it comes; else once it is over. ``whole``: the answer only once it is there, since it is
    data. ``markdown``: rendered. ``boxes``: each part in a
    box with a title, as ``print_response`` has it; else bare, as a chat has it. ``tools``: with the tools that are called; ``members``: with the answers of a team's members. ``tags``: the
    HTML tags that are left in Markdown; None leaves all of them.
    """

    question: str | None = None
    live: bool = True
    whole: bool = False
    markdown: bool = False
    boxes: bool = True
    reasoning: Literal["none", "short", "full"] = "short"
    tools: bool = True
    members: bool = False
    tags: frozenset[str] | None = None

    @classmethod
    def of(cls, component: Any, options: Mapping[str, Any], *, question: str | None = None, boxes: bool = True) -> Look:
        """What ShowOptions ask for, and where they do not, the component's own settings. Raises ConfigurationError."""
        asked = (options.get("stream"), component.stream)
        live = checks.flag("stream", next((stream for stream in asked if stream is not None), True))
        shown = checks.flag("show_reasoning", options.get("show_reasoning", True))
        full = checks.flag("show_full_reasoning", options.get("show_full_reasoning", False))
        markdown, tags = options.get("markdown"), options.get("tags_to_include_in_markdown")
        if isinstance(tags, str) or not isinstance(tags, (Collection, type(None))):
            raise ConfigurationError(f"tags_to_include_in_markdown= takes a set of names, not {checks.shown(tags)}")
        console, members = options.get("console"), options.get("show_member_responses")
        if members is None:
            members = getattr(component, "show_members_responses", False)
        if console is not None and not callable(getattr(console, "print", None)):
            raise ConfigurationError(f"console= takes a rich Console, not {checks.shown(console)}")
        return cls(
            question=question,
            live=live,
            whole=(options.get("output_schema") or getattr(component, "output_schema", None)) is not None,
            markdown=component.markdown if markdown is None else checks.flag("markdown", markdown),
            boxes=boxes,
            reasoning="full" if full else "short" if shown else "none",
            tools=component.show_tool_calls,
            members=checks.flag("show_member_responses", members),
            tags=None if tags is None else frozenset(str(tag).strip("<>/").lower() for tag in tags),
        )


def run_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are the run's own."""
    shown = {*ShowOptions.__annotations__, *PromptOptions.__annotations__, "show_message"}
    return {name: value for name, value in options.items() if name not in shown}


def text_of_input(given: Any) -> str:
    """The input of a run as a person would read it: the text of messages, other data as JSON."""
    if isinstance(given, Message):
        return given.get_content_string()
    if isinstance(given, list) and given and all(isinstance(part, Message) for part in given):
        return "\n".join(part.get_content_string() for part in given)
    return text_of(given)
