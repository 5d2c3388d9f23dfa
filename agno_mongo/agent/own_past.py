"""Tools by which a model looks up its own past, and changes its session's state.

They are made once for all agents: what they need of the run is injected, and they read through the agent's db when they are called. Whose
past it is, is said by the run, never by the model: a session of another user, or of another agent, is to it as if it were not there.
"""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from typing import Any, ClassVar, Final

from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import Session
from agno_mongo.db.keys import SessionKey, owner_of
from agno_mongo.db.looking_back import session_with_runs
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, SessionOwnedByAnotherUser, SessionTypeMismatch
from agno_mongo.history import told_runs
from agno_mongo.messages import Message, text_of
from agno_mongo.run.base import BaseRunOutput, RunContext
from agno_mongo.run.message_run import MessageRunOutput
from agno_mongo.tools.function import Function
from agno_mongo.tools.signature import FILLED_IN_TYPES

MOST_CHATS: Final = 100
"""Runs that one call reads at most: a model has room for no more."""

MOST_CALLS: Final = 100
_RUNS_OF_CALLS: Final = 256
"""Runs among which tool calls are looked for: four pages."""

_PAGE: Final = 64
_SAID: Final = 4_000
"""Characters of a message, and of a tool's result, that are shown."""

_PREVIEW: Final = 200
"""The same where sessions are only listed."""

_LOOKED_AT: Final = 100_000
"""Characters of a run in which words are looked for."""

_SESSIONS: Final = 20
_RUNS_IN_SEARCH: Final = 3


class Whose:
    """What the tools need to know of the agent or the team whose past it is. Annotates the parameter that takes it."""

    SESSION_TYPE: ClassVar[SessionType]
    id: str | None
    db: MongoDb | None
    read_chat_history: bool
    read_tool_call_history: bool
    search_past_sessions: bool
    num_past_sessions_to_search: int | None
    num_past_session_runs_in_search: int | None
    enable_agentic_state: bool


FILLED_IN_TYPES[Whose] = "actor"


def tools_for(agent: Any) -> list[Function]:
    """The tools that the agent's settings ask for."""
    wanted: list[Callable[..., Any]] = []
    if agent.read_chat_history:
        wanted.append(get_chat_history)
    if agent.read_tool_call_history:
        wanted.append(get_tool_call_history)
    if agent.search_past_sessions:
        wanted += [search_past_sessions, read_past_session]
    if agent.enable_agentic_state:
        wanted.append(update_session_state)
    return [_function(tool) for tool in wanted]


@cache
def _function(tool: Callable[..., Any]) -> Function:
    return Function.from_callable(tool)


async def get_chat_history(agent: Whose, run_context: RunContext, num_chats: int | None = None) -> str:
    """Read what user and assistant said earlier in this conversation, as a JSON list, oldest first. A chat is one question with its answer.

    Args:
        num_chats: How many chats to read, the newest ones. Without it as many as can be shown at once, 100 at most.
    """
    return _as_json([_chat_of(run, _SAID) for run in await _told(agent, _own_session(run_context), num_chats)])


async def get_tool_call_history(agent: Whose, run_context: RunContext, num_calls: int | None = 3) -> str:
    """Read which tools were called earlier in this conversation, with what and with what result, as a JSON list, the newest call first.

    Args:
        num_calls: How many calls to read, 100 at most.
    """
    wanted = _bounded(num_calls, MOST_CALLS)
    key = _own_session(run_context)
    calls: list[dict[str, Any]] = []
    before: str | None = None
    for _ in range(_RUNS_OF_CALLS // _PAGE):
        page = [] if agent.db is None else await _page_of_runs(agent.db, key, before)
        for run in reversed(page):
            calls += _calls_of(run) if run.parent_run_id is None else []
        before = page[0].run_id if len(page) == _PAGE else None
        if before is None or len(calls) >= wanted:
            break
    return _as_json(calls[:wanted])


async def search_past_sessions(agent: Whose, run_context: RunContext, query: str | None = None) -> str:
    """Find earlier conversations with this user, as a JSON list, the best match first, each with its session_id and a few words from it.

    Args:
        query: Words that were said there. Without them the list is of the newest conversations.
    """
    if agent.db is None:
        return _as_json([])
    limit = agent.num_past_sessions_to_search or _SESSIONS
    words = query if query and query.strip() else None
    found: list[dict[str, Any]] | None = None
    if words is not None and agent.db.search:
        # There is no text index in memory, nor one that takes a query of any length.
        with suppress(ConfigurationError):
            found = await _searched(agent, run_context, words, limit + 1)
    if found is None:
        found = await _looked_through(agent, run_context, words, limit + 1)
    return _as_json([entry for entry in found if entry["session_id"] != run_context.session_id][:limit])


async def read_past_session(agent: Whose, run_context: RunContext, session_id: str, num_runs: int | None = None) -> str:
    """Read an earlier conversation with this user.

    Args:
        session_id: Which one, as search_past_sessions tells it.
        num_runs: How many questions with their answers to read, the newest ones. Without it as many as can be shown at once, 100 at most.
    """
    key = SessionKey(session_id=session_id, session_type=agent.SESSION_TYPE, user_id=run_context.user_id)
    limit = _bounded(num_runs, MOST_CHATS)
    try:
        session = None if agent.db is None else await session_with_runs(agent.db, key, told=limit)
    except (SessionOwnedByAnotherUser, SessionTypeMismatch, ConfigurationError):
        session = None
    if session is None or session.component_id != agent.id:
        return f"There is no earlier conversation {session_id!r} with this user."
    lines = [f"Conversation {session.session_id}{_named(session)}, begun {_moment(session.created_at)}"]
    for run in told_runs(session.runs or ())[-limit:]:
        chat = _chat_of(run, _SAID)
        lines += [f"{who.capitalize()}: {chat[who]}" for who in ("user", "assistant") if who in chat]
    return "\n\n".join(lines)


async def update_session_state(run_context: RunContext, session_state_updates: dict[str, Any]) -> str:
    """Set keys of the state of this conversation, which is kept for later. Other keys stay as they are.

    Args:
        session_state_updates: The keys with their new values, for example {"shopping_list": ["milk", "bread"]}.
    """
    if run_context.state.check is not None:
        run_context.state.check(session_state_updates, "session_state")
    run_context.session_state.update(session_state_updates)
    return f"The state is now {text_of(run_context.session_state)}"


# Reading.


def _own_session(run_context: RunContext) -> SessionKey:
    kind = SessionType(run_context.session_type)
    return SessionKey(session_id=run_context.session_id, session_type=kind, user_id=run_context.user_id)


async def _told(agent: Any, key: SessionKey, number: int | None) -> list[MessageRunOutput]:
    """The newest runs that came to an answer."""
    limit = _bounded(number, MOST_CHATS)
    session = None if agent.db is None else await session_with_runs(agent.db, key, told=limit)
    return [] if session is None else told_runs(session.runs or ())[-limit:]


async def _page_of_runs(db: MongoDb, key: SessionKey, before: str | None) -> Sequence[BaseRunOutput]:
    return await db.get_runs(key.session_id, limit=_PAGE, before=before, session_type=key.session_type, user_id=key.owner)


async def _searched(agent: Any, run_context: RunContext, query: str, limit: int) -> list[dict[str, Any]]:
    """By the text index, in all that was ever said."""
    matches = await agent.db.search_sessions(
        query, run_context.user_id, session_type=agent.SESSION_TYPE, component_id=agent.id, limit=limit
    )
    return [
        _entry(match.session) | {"excerpts": [{excerpt.role or "?": excerpt.text} for excerpt in match.excerpts]}
        for match in matches
    ]


async def _looked_through(agent: Any, run_context: RunContext, query: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest sessions, those first in whose newest runs most words of the query were said. One command, a few more for large sessions."""
    number = agent.num_past_session_runs_in_search or _RUNS_IN_SEARCH
    sessions: list[Session] = await agent.db.get_sessions(
        session_type=agent.SESSION_TYPE,
        user_id=owner_of(run_context.user_id),
        component_id=agent.id,
        limit=limit,
        runs_limit=agent.runs_of_turns(number),
    )
    runs = {session.session_id: told_runs(session.runs or ())[-number:] for session in sessions}
    if query is not None:
        # Large ones take their time.
        sessions = await asyncio.to_thread(_with_words, query, sessions, runs)
    return [
        _entry(session) | {"runs": [_chat_of(run, _PREVIEW) for run in runs[session.session_id]]}
        for session in sessions
        if runs[session.session_id]
    ]


# What is shown of it.


def _chat_of(run: MessageRunOutput, length: int) -> dict[str, str]:
    said = {"user": _said_by("user", run.messages or ()), "assistant": _said_by("assistant", run.messages or ())}
    return {who: _shortened(text, length) for who, text in said.items() if text}


def _said_by(role: str, messages: Iterable[Message]) -> str:
    own = (message for message in messages if message.role == role and not (message.from_history or message.misfit))
    texts = map(Message.get_content_string, own)
    return "\n".join(text for text in texts if text)


def _calls_of(run: BaseRunOutput) -> list[dict[str, Any]]:
    """The run's tool calls, the newest first."""
    calls = [
        {
            "tool": tool.tool_name,
            "arguments": tool.tool_args,
            "result": None if tool.result is None else _shortened(tool.result, _SAID),
            "failed": tool.tool_call_error or None,
        }
        for tool in getattr(run, "tools", None) or ()
    ]
    return [{name: value for name, value in call.items() if value is not None} for call in reversed(calls)]


def _entry(session: Session) -> dict[str, Any]:
    entry = {"session_id": session.session_id, "name": session.session_name, "created_at": _moment(session.created_at)}
    return {name: value for name, value in entry.items() if value}


def _named(session: Session) -> str:
    return f" ({session.session_name})" if session.session_name else ""


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(sep=" ", timespec="minutes")


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length} characters more)"


def _bounded(number: int | None, most: int) -> int:
    return most if number is None else max(1, min(number, most))


def _with_words(query: str, sessions: Sequence[Session], runs: Mapping[str, Sequence[MessageRunOutput]]) -> list[Session]:
    """Those of the sessions in which words of the query were said, the one with most of them first."""
    wanted = set(_words(query))
    hits = {session.session_id: len(wanted & _words_of(session, runs[session.session_id])) for session in sessions}
    return sorted((session for session in sessions if hits[session.session_id]), key=lambda session: -hits[session.session_id])


def _words_of(session: Session, runs: Iterable[MessageRunOutput]) -> set[str]:
    texts = [session.session_name or ""]
    texts += [_said_by(role, run.messages or ()) for run in runs for role in ("user", "assistant")]
    return {word for text in texts for word in _words(text[:_LOOKED_AT])}


def _words(text: str) -> list[str]:
    """The words of a text, whatever their case and accents."""
    plain = text if text.isascii() else re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", text))
    return re.findall(r"\w+", plain.casefold())


def _as_json(entries: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(entries, ensure_ascii=False, default=str)
