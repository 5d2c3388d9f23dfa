"""Session summaries: the model is asked what a session was about, and a name for it.

A summary is made of the one before it and of what was said since, so that it costs the same at any length of the session.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from agno_mongo import checks
from agno_mongo.blocking import blocking
from agno_mongo.db.documents import Session, SessionSummary
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, IncompleteResponse
from agno_mongo.history import conversation
from agno_mongo.messages import Message, Metrics
from agno_mongo.models.answer import Answer
from agno_mongo.models.base import Model, ModelRequest
from agno_mongo.models.persistent import persistent
from agno_mongo.models.utils import get_model
from agno_mongo.run.agent import RunOutputEvent, SessionSummaryCompletedEvent, SessionSummaryStartedEvent

_log = logging.getLogger("agno_mongo")

NEW_RUNS: Final = 32
"""How many runs one summary takes in at most: where more were never summarised, the newest."""

_READ_AT_MOST: Final = 8
"""How often so many runs are read at most, where runs within others are among them."""

_SHOWN: Final = 8_000
"""Characters of one message that a summary is made of: its beginning and its end."""

_PROMPT: Final = """\
Below is a conversation between a user and an assistant. Write down what is worth knowing the next time they talk:
- summary: what it was about and what came of it, names, facts and wishes included. Short, and nothing that was not said.
- topics: the subjects that came up, a few words each."""

_UPDATE: Final = "What was said earlier is summed up between <earlier> and </earlier>: bring that summary up to date."
_AS_JSON: Final = 'Answer with JSON and nothing else: {"summary": "…", "topics": ["…", "…"]}'
_NAME: Final = "Give the conversation below a name of at most five words. Answer with the name alone."
_NAME_WORDS: Final = 5
_NAME_MESSAGES: Final = 6
_NAME_TRIES: Final = 3
_NAMELESS: Final = "New Session"


@dataclass(kw_only=True)
class SessionSummaryManager:
    """How sessions are summed up. Every field has a default.

    ``model``, or the one that a text names, is asked; the agent's own without one. ``session_summary_prompt`` says what a summary is to hold, in the place of the
    usual prompt; the conversation follows it. ``summary_request_message`` is the user's message after it. ``last_n_runs`` and
    ``conversation_limit`` are how many runs and messages one summary takes in at most, the newest; 32 runs without them.
    """

    id: str | None = None
    name: str | None = None
    model: Model | str | None = None
    session_summary_prompt: str | None = None
    summary_request_message: str = "Provide the summary of the conversation."
    last_n_runs: int | None = None
    conversation_limit: int | None = None

    def __post_init__(self) -> None:
        self.model = None if self.model is None else get_model(self.model)
        checks.count("last_n_runs", self.last_n_runs)
        checks.count("conversation_limit", self.conversation_limit)

    @property
    def runs_at_once(self) -> int:
        """How many runs one summary takes in at most."""
        return NEW_RUNS if self.last_n_runs is None else min(self.last_n_runs, NEW_RUNS)

    async def acreate_session_summary(self, session: Session, run_metrics: Metrics | None = None) -> SessionSummary | None:
        """Sum up the runs that ``session`` has loaded, and put the summary there; None where nothing was said. Nothing is stored.

        ``run_metrics`` gets the tokens added. Raises ModelError, and ConfigurationError without a ``model``.
        """
        if self.model is None:
            raise ConfigurationError("SessionSummaryManager(model=…) needs a model to sum up a session by itself")
        summary, used = await self.summed_up(persistent(get_model(self.model)), session.runs or ())
        if run_metrics is not None:
            run_metrics.add(used)
        if summary is not None:
            session.summary = summary
        return summary

    create_session_summary = blocking(acreate_session_summary)

    async def summed_up(
        self, model: Model, runs: Sequence[Any], earlier: SessionSummary | None = None
    ) -> tuple[SessionSummary | None, Metrics]:
        """A summary of ``runs`` and of what was summed up before, and the tokens it took; None where there is nothing new.

        Raises ModelError, also for an answer that is cut off, a refusal or empty.
        """
        said = conversation(
            runs, last_n_runs=self.last_n_runs, limit=self.conversation_limit, skip_roles=("system", "developer", "tool")
        )
        spoken = [line for message in said if (line := _line(message))]
        if not spoken:
            return None, Metrics()
        parts = [self.session_summary_prompt or _PROMPT]
        if earlier is not None:
            parts += [_UPDATE, f"<earlier>\n{earlier.summary}\n</earlier>"]
        parts += ["<conversation>\n" + "\n".join(spoken) + "\n</conversation>", _AS_JSON]
        system = Message(role="system", content="\n\n".join(parts))
        answer = await _answer(model, [system, Message(role="user", content=self.summary_request_message)])
        # The next ones build on it: better none than half of one.
        answer.check_whole(model.id)
        summary = parsed(_spoken(answer))
        if summary is None:
            raise IncompleteResponse(f"{model.id} gave an empty summary", model=model.id)
        return summary, answer.message().metrics or Metrics()


@dataclass(frozen=True, kw_only=True)
class Summaries:
    """When an agent's sessions are summed up: after every ``every`` runs, in the background or before the run is over."""

    manager: SessionSummaryManager
    model: Model
    every: int = 1
    in_background: bool = True

    async def after_run(
        self, db: MongoDb, key: SessionKey, session: Session, run_count: int, event: Callable[..., Any]
    ) -> AsyncGenerator[RunOutputEvent, None]:
        """Sum up the session, if enough of its runs are new: as ``session`` it was read, and it has ``run_count`` runs by now, those within others
        included, which cost a look.

        In the background it has only begun when this ends, and there are no events. A failure is logged. It costs the run nothing, and the next one tries again.
        """
        new = run_count - _summed_up(session)
        if new < self.every:
            return
        if self.in_background:
            await db.in_background(f"summing up session {key.session_id!r}", lambda: self._logged(db, key, new))
            return
        yield event(SessionSummaryStartedEvent)
        yield event(SessionSummaryCompletedEvent, session_summary=await self._logged(db, key, new))

    async def _logged(self, db: MongoDb, key: SessionKey, new: int) -> SessionSummary | None:
        try:
            return await self.bring_up_to_date(db, key, new, every=self.every)
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the run is stored and stays so
            _log.warning("session %r is not summed up: %s: %s", key.session_id, type(error).__name__, error)
            return None

    async def bring_up_to_date(self, db: MongoDb, key: SessionKey, new: int = 1, *, every: int = 1) -> SessionSummary | None:
        """Sum up what is new, if it is ``every`` runs at least, and store it; return what is stored then, None where nothing was ever said or the
        session is gone. Runs within others are no turns of the conversation, and do not count.

        One find, of about the ``new`` runs, and one findAndModify. A summary that takes in fewer runs than the stored one is dropped.
        """
        most = self.manager.runs_at_once
        limit = min(max(new, 1), most)
        while True:
            session: Session | None = await db.get_session(key.session_id, key.session_type, key.owner, runs_limit=limit)
            if session is None:
                return None
            new = session.run_count - _summed_up(session)
            turns = [run for run in (session.runs or [])[-new:] if run.parent_run_id is None] if new > 0 else []
            if new <= limit or len(turns) >= most or limit >= _READ_AT_MOST * most:
                break
            limit = min(new, 2 * limit if limit >= most else most)
        if len(turns) < every:
            return session.summary
        summary, used = await self.manager.summed_up(self.model, turns[-most:], session.summary)
        if summary is None:
            return session.summary
        summary.run_count = session.run_count
        return await db.store_summary(key, summary, used)


def _summed_up(session: Session) -> int:
    """How many of the session's runs its summary takes in."""
    return (session.summary.run_count or 0) if session.summary is not None else 0


def _line(message: Message) -> str:
    text = message.get_content_string().strip()
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN // 2]} […] {text[-_SHOWN // 2 :]}"
    nouns = [medium.noun for medium in message.media]
    shown = f"[{', '.join(nouns)}]" if nouns else ""
    said = " ".join(part for part in (text, shown) if part)
    return f"{'User' if message.role == 'user' else 'Assistant'}: {said}" if said else ""


async def _answer(model: Model, messages: Sequence[Message]) -> Answer:
    """What the model answers, to its end. Raises ModelError."""
    answer = Answer()
    async with aclosing(model.respond(ModelRequest(messages=messages))) as deltas:
        async for delta in deltas:
            answer.add(delta)
    answer.check_complete(model.id)
    return answer


def _spoken(answer: Answer) -> str:
    return _THOUGHTS.sub("", answer.text).strip()


_THOUGHTS: Final = re.compile(r"<think>.*?</think>", re.DOTALL)


def parsed(text: str) -> SessionSummary | None:
    """The summary that a model wrote: JSON, among other words or in a block of code too; else the text itself. None for an empty one."""
    now = datetime.now(timezone.utc)
    start, end = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(summary := found.get("summary"), str):
        if not summary.strip():
            return None
        topics = found.get("topics")
        named = [topic for topic in topics if isinstance(topic, str)] if isinstance(topics, list) else None
        return SessionSummary(summary=summary.strip(), topics=named, updated_at=now)
    return SessionSummary(summary=text, updated_at=now) if text else None


async def name_for(model: Model, messages: Sequence[Message]) -> str:
    """A name of at most five words for a conversation, by its first messages. Raises ModelError.

    A model that answers with more, or nothing, is asked up to three times; then the first five words are the name, or ``New Session``.
    """
    lines = [line for message in messages[:_NAME_MESSAGES] if (line := _line(message))]
    asked = [Message(role="system", content=_NAME), Message(role="user", content="\n".join(lines))]
    words: list[str] = []
    for _ in range(_NAME_TRIES):
        answer = await _answer(model, asked)
        words = [] if answer.is_refused else _spoken(answer).replace('"', "").split()
        if 0 < len(words) <= _NAME_WORDS:
            break
    return " ".join(words[:_NAME_WORDS]) or _NAMELESS
