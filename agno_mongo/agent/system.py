"""An agent's system message. What is the same in every run comes first: providers keep what requests have in common at their beginning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from agno_mongo import checks
from agno_mongo.agent.called import called
from agno_mongo.agent.settings import AgentSettings
from agno_mongo.db.documents import Session
from agno_mongo.errors import ConfigurationError
from agno_mongo.ids import new_id
from agno_mongo.messages import Message, text_of
from agno_mongo.run.base import RunContext

_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]\w*)\}")
_MARKDOWN: Final = "Use markdown to format your answers."
_CONVERSING: Final = ("user", "assistant")


async def system_message(
    agent: AgentSettings,
    context: RunContext,
    session: Session,
    *,
    add_session_state: bool,
    markdown: bool,
    tools: Sequence[str] = (),
) -> Message | None:
    """The system message; None when there is nothing to say.

    ``{key}`` in what the agent's author wrote stands for a key of the session state, of the dependencies or of the metadata, in this
    order, or for ``user_id``, ``session_id`` and ``run_id``; braces around anything else stay as they are. ``system_message`` replaces all
    that is built otherwise.
    """
    if agent.system_message is not None:
        return await _given(agent, context)
    if not agent.build_context:
        return None
    fixed = [part for part in await _fixed_parts(agent, context, markdown=markdown, tools=tools) if part]
    text = _resolved(agent, "\n\n".join(fixed), context)
    parts = [text, *_changing_parts(agent, context, session, add_session_state=add_session_state)]
    content = "\n\n".join(part for part in parts if part)
    return _said(agent, content) if content else None


def _said(agent: AgentSettings, content: str) -> Message:
    role = agent.system_message_role
    # In a role of the conversation nothing would tell it from the others later: it is sent, and not stored.
    return Message(role=role, content=content, from_history=role in _CONVERSING)


async def _given(agent: AgentSettings, context: RunContext) -> Message | None:
    given = agent.system_message
    if callable(given):
        given = await called(given, {**agent.as_arguments, "run_context": context, "session_state": context.session_state})
    if isinstance(given, Message):
        return given.model_copy(update={"id": new_id(), "from_history": given.role in _CONVERSING})
    if isinstance(given, str):
        return _said(agent, _resolved(agent, given, context)) if given else None
    raise ConfigurationError(f"system_message is text or a Message, or a function that gives one, not {type(given).__name__}")


async def _fixed_parts(agent: AgentSettings, context: RunContext, *, markdown: bool, tools: Sequence[str]) -> list[str | None]:
    instructions = _as_list(await _lines(agent, context))
    if instructions and agent.use_instruction_tags:
        instructions = _tagged("instructions", instructions)
    return [
        agent.description,
        _tagged("your_role", agent.role.strip()) if agent.role else None,
        instructions,
        agent.company(),
        _MARKDOWN if markdown else None,
        *tools,
        f"Your name is {agent.name}." if agent.add_name_to_context and agent.name else None,
        _tagged("expected_output", agent.expected_output.strip()) if agent.expected_output else None,
        agent.additional_context,
    ]


def _changing_parts(agent: AgentSettings, context: RunContext, session: Session, *, add_session_state: bool) -> list[str]:
    parts: list[str] = []
    if session.summary is not None and _wants_summary(agent):
        summary = _tagged("summary_of_previous_interactions", session.summary.summary)
        parts.append(f"{summary}\nWhere the summary and the conversation that follows differ, the conversation is right.")
    if add_session_state:
        parts.append(_tagged("session_state", text_of(context.session_state)))
    if agent.add_datetime_to_context:
        parts.append(f"The current time is {_now(agent.timezone_identifier, agent.datetime_format)}.")
    return parts


def _wants_summary(agent: AgentSettings) -> bool:
    """As the agent says; without a word from it, if it keeps summaries."""
    chosen = agent.add_session_summary_to_context
    return agent.enable_session_summaries or agent.session_summary_manager is not None if chosen is None else chosen


def _now(zone: str | None, form: str | None) -> str:
    now = datetime.now(timezone.utc).astimezone(None if zone is None else checks.zone(zone))
    return now.strftime(form) if form else now.isoformat(sep=" ", timespec="seconds")


def _tagged(tag: str, text: str) -> str:
    return f"<{tag}>\n{text}\n</{tag}>"


def _resolved(agent: AgentSettings, text: str, context: RunContext) -> str:
    if not agent.resolve_in_context or "{" not in text:
        return text
    known: Mapping[str, Any] = {
        "user_id": context.user_id,
        "session_id": context.session_id,
        "run_id": context.run_id,
        **(context.metadata or {}),
        **(context.dependencies or {}),
        **context.session_state,
    }
    return _PLACEHOLDER.sub(lambda match: text_of(known[match[1]]) if match[1] in known else match[0], text)


async def _lines(agent: AgentSettings, context: RunContext) -> list[str]:
    given = agent.instructions
    if callable(given):
        given = await called(given, {**agent.as_arguments, "run_context": context, "session_state": context.session_state})
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    if isinstance(given, Sequence) and all(isinstance(line, str) for line in given):
        return list(given)
    raise ConfigurationError(f"instructions are text or a list of texts, not {type(given).__name__}")


def _as_list(lines: Sequence[str]) -> str:
    """Several instructions as a list; where one has more than one line, they stand one after the other."""
    if len(lines) == 1:
        return lines[0]
    if not any("\n" in line.strip() for line in lines):
        return "\n".join(f"- {line.strip()}" for line in lines)
    return "\n\n".join(line.strip() for line in lines)
