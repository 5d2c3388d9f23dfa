"""What an agent's model is sent: the system message, the history, the user's input."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel

from agno_mongo.errors import ConfigurationError
from agno_mongo.messages import Message, plain_data, text_of
from agno_mongo.run.base import RunContext

Instructions: TypeAlias = str | Sequence[str] | Callable[..., Any]

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_MARKDOWN = "Use markdown to format your answers."


async def system_message(
    *,
    description: str | None,
    instructions: Instructions | None,
    markdown: bool,
    tool_instructions: Sequence[str] = (),
    context: RunContext,
    agent: Any,
) -> Message | None:
    """The system message; None when there is nothing to say.

    ``{key}`` in description and instructions stands for a key of the session state, or for ``user_id``, ``session_id``
    and ``run_id``; braces around anything else stay as they are.
    """
    lines = await _lines(instructions, context, agent)
    parts = [part for part in (description, _as_list(lines), _MARKDOWN if markdown else None, *tool_instructions) if part]
    if not parts:
        return None
    return Message(role="system", content=filled_in("\n\n".join(parts), context))


def filled_in(text: str, context: RunContext) -> str:
    """``text`` with ``{key}`` replaced by the values of the session state."""
    known: Mapping[str, Any] = {
        "user_id": context.user_id,
        "session_id": context.session_id,
        "run_id": context.run_id,
        **context.session_state,
    }
    return _PLACEHOLDER.sub(lambda match: text_of(known[match[1]]) if match[1] in known else match[0], text)


async def _lines(instructions: Instructions | None, context: RunContext, agent: Any) -> list[str]:
    if callable(instructions):
        available = {"agent": agent, "run_context": context, "session_state": context.session_state}
        wanted = inspect.signature(instructions).parameters
        instructions = instructions(**{name: value for name, value in available.items() if name in wanted})
        if inspect.isawaitable(instructions):
            instructions = await instructions
    if instructions is None:
        return []
    if isinstance(instructions, str):
        return [instructions]
    if isinstance(instructions, Sequence) and all(isinstance(line, str) for line in instructions):
        return list(instructions)
    raise ConfigurationError(f"instructions are text or a list of texts, not {type(instructions).__name__}")


def _as_list(lines: Sequence[str]) -> str:
    return lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)


def user_messages(given: Any) -> list[Message]:
    """The input of a run as messages: text, a message, a list of either, or plain data as JSON.

    Raises ConfigurationError for None, which is no input.
    """
    if given is None:
        raise ConfigurationError("a run needs an input; None was given")
    if isinstance(given, Message):
        return [given]
    if isinstance(given, Mapping) and "role" in given:
        return [Message.model_validate(dict(given))]
    if isinstance(given, list) and given and all(_is_message(part) for part in given):
        return [message for part in given for message in user_messages(part)]
    return [Message(role="user", content=text_of(given))]


def _is_message(part: Any) -> bool:
    return isinstance(part, Message) or (isinstance(part, Mapping) and "role" in part)


def stored_input(given: Any) -> Any:
    """The input as it is stored: text as it is, models and messages, also in a list, as plain data."""
    if isinstance(given, (list, tuple)):
        return [_as_data(part) for part in given]
    return _as_data(given)


def _as_data(part: Any) -> Any:
    if isinstance(part, Message):
        return part.to_dict()
    return plain_data(part, exclude_none=True) if isinstance(part, BaseModel) else part
