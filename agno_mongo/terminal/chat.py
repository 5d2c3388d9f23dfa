"""A chat with an agent on the terminal: what is said goes to the agent, what begins with ``/`` is for the chat itself."""

from __future__ import annotations

import asyncio
import difflib
import re
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from time import time
from typing import Any, ClassVar, Final, Protocol

from rich.console import Console
from rich.json import JSON
from rich.text import Text
from rich.traceback import Traceback

from agno_mongo.blocking import portal
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import Session
from agno_mongo.db.keys import owner_of
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import AgnoMongoError, ConfigurationError, SessionNotFound, StoreUnavailable
from agno_mongo.ids import new_id
from agno_mongo.messages import Message, text_of
from agno_mongo.run.message_run import MessageRunOutput
from agno_mongo.terminal.lines import LineSource, lines_for
from agno_mongo.terminal.look import EXIT_ON, Look, run_options
from agno_mongo.terminal.parts import call_text, new_console, printable, table
from agno_mongo.terminal.questions import NotNowError, Question, questions_of
from agno_mongo.terminal.screen import events_of, print_run
from agno_mongo.tool_calls import as_sent

LISTED: Final = 20
"""Sessions in the list of ``/sessions``: the last used."""

SHOWN: Final = 5
"""Runs that ``/history`` shows unless it is told how many."""

CALL_SHOWN: Final = 80
"""Characters of a tool's call that ``/history`` shows."""

HELP: Final[Mapping[str, str]] = {
    "sessions": "list your sessions; /sessions 2 goes on with the second",
    "new": "begin a new session",
    "name": "name this session; without a name, tell the one it has",
    "state": "show the session's state",
    "history": "show the last runs; /history 20 shows twenty",
    "help": "list the commands",
    "exit": "leave; Ctrl-D, exit, quit and bye do so too",
}

_COMMAND = re.compile(r"/(\w+)(?:\s+(.*))?$", re.DOTALL)


class Talker(Protocol):
    """What a chat needs of an agent, or a team."""

    SESSION_TYPE: ClassVar[SessionType]
    db: MongoDb | None
    id: str | None

    def arun(self, input: Any, **options: Any) -> Any:  # noqa: A002 - Agno's name
        """Run, as Agent.arun."""
        ...

    def acontinue_run(self, *, run_id: Any, **options: Any) -> Any:
        """Go on with a run, as Agent.acontinue_run."""
        ...

    def aget_run_output(self, run_id: str, session_id: str | None = None, user_id: str | None = None) -> Awaitable[Any]:
        """The run, from its session."""
        ...

    def aget_session_name(self, session_id: str | None = None, *, user_id: str | None = None) -> Awaitable[str | None]:
        """The session's name."""
        ...

    def aset_session_name(
        self,
        session_id: str | None = None,
        autogenerate: bool = False,
        session_name: str | None = None,
        *,
        user_id: str | None = None,
    ) -> Awaitable[Any]:
        """Name the session."""
        ...

    def aget_session_state(self, session_id: str | None = None, *, user_id: str | None = None) -> Awaitable[dict[str, Any]]:
        """The session's state."""
        ...

    def aget_chat_history(
        self, session_id: str | None = None, last_n_runs: int | None = None, *, user_id: str | None = None
    ) -> Awaitable[list[Message]]:
        """What was said."""
        ...


class Chat:
    """A chat with ``talker``. Of the ``options`` ``session_id`` and ``user_id`` say whose; those that are a run's go with each run.
    ``lines`` are those that somebody types at this terminal, or in a pipe, unless they come from elsewhere.

    ``run`` and ``arun`` read lines until somebody leaves. Where nobody sits at a terminal, an error ends the chat by being raised; at one it is shown, and
    the chat goes on.
    """

    def __init__(self, talker: Talker, options: Mapping[str, Any], look: Look, lines: LineSource | None = None) -> None:
        self._talker = talker
        self._look = look
        words = options.get("exit_on")
        self._exit_on = {word.lower() for word in (EXIT_ON if words is None else words)}
        self._console: Console = options.get("console") or new_console()
        self._options = run_options(options)
        self._session_id: str = options["session_id"]
        self._user_id: str | None = options["user_id"]
        self._name: str | None = None
        self._tokens: dict[str | None, int] = {}
        self._listed: list[Session] = []
        self._paused: Any = None
        self._questions: list[Question] = []
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "sessions": self._sessions,
            "new": self._new,
            "name": self._rename,
            "state": self._state,
            "history": self._history,
            "help": self._help,
        }
        user = f"{options.get('emoji', '')} {options.get('user', 'User')}".strip()
        self._lines = lines or lines_for(self._console, user=user, commands=HELP, toolbar=self._toolbar)

    # The two ways to go on until somebody leaves.

    def run(self, first: str | None = None) -> None:
        """Read and answer, blocking. Ctrl-C stops an answer, which is stored as far as it came, and not the chat."""
        line: str | None = first or ""
        while line is not None:
            try:
                if line.strip() and not portal.call(self.handle(line)):
                    return
            except KeyboardInterrupt:
                self._say("Stopped.", "yellow")
            line = self._lines.read()

    async def arun(self, first: str | None = None) -> None:
        """Read and answer. Ctrl-C stops an answer, if this is the main thread's loop."""
        line: str | None = first or ""
        while line is not None:
            if line.strip() and not await self._handle_until_ctrl_c(line):
                return
            line = await self._lines.aread()

    async def _handle_until_ctrl_c(self, line: str) -> bool:
        task = asyncio.ensure_future(self.handle(line))
        with _ctrl_c_cancels(task) as stopped:
            try:
                return await task
            except asyncio.CancelledError:
                if not stopped:
                    raise
        self._say("Stopped.", "yellow")
        return True

    # What becomes of a line.

    async def handle(self, line: str) -> bool:
        """Answer a line, or do what it commands. False if it says good-bye.

        A line that begins with a space is no command, whatever follows.
        """
        command = None if line.startswith(" ") else _COMMAND.match(line.strip())
        if line.strip().lower() in self._exit_on or (command and command[1].lower() in {"exit", *self._exit_on}):
            return False
        try:
            with self._lines.busy():
                if command is None:
                    await self._answer(line.strip())
                else:
                    await self._command(command[1].lower(), (command[2] or "").strip())
        except AgnoMongoError as error:
            if not self._lines.interactive:
                raise
            self._show_error(error)
        except Exception as error:
            if not self._lines.interactive:
                raise
            # What a tool's hook or the user's own model raises; without where, nobody could mend it.
            await asyncio.to_thread(self._show_traceback, error)
        return True

    async def _answer(self, text: str) -> None:
        if self._questions:
            await self._answer_question(text)
        else:
            await self._show(text)

    async def _show(self, given: str | None, paused: Any = None) -> None:
        self._paused = None
        await self._print(given, paused)
        if self._paused is not None:
            self._questions = questions_of(self._paused)
            self._ask()

    async def _print(self, given: str | None, paused: Any = None) -> None:
        """Carry out a run on what was given, or go on with one whose questions were answered, and show it."""
        start = partial(self._talker.arun, given, **self._options)
        if paused is not None:
            start = partial(self._talker.acontinue_run, run_id=paused.run_id, requirements=paused.requirements)
        whose = {"session_id": self._session_id, "user_id": self._user_id}
        await print_run(self._seen(events_of(partial(start, **whose), self._look)), self._look, self._console)

    def _note(self, run: Any) -> None:
        # A run that goes on has counted its earlier tokens too.
        self._tokens[run.run_id] = run.metrics.total_tokens if run.metrics is not None else 0
        self._paused = run if run.is_paused else None

    async def _seen(self, run: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """The events of the run; what the chat wants to know of it on the way."""
        async with aclosing(run) as events:
            async for event in events:
                if isinstance(event, MessageRunOutput):
                    self._note(event)
                yield event

    # A run that waits for a person.

    def _ask(self) -> None:
        if self._questions:
            self._say(self._questions[0].text, "yellow")

    async def _answer_question(self, text: str) -> None:
        """Take the answer to the question that was asked last; once all are answered, go on with the run."""
        try:
            self._questions[0].answer(text)
        except NotNowError:
            self._leave_paused()
            self._say("The run stays paused.", "yellow")
            return
        except ConfigurationError as error:
            if not self._lines.interactive:
                raise
            self._say(str(error), "red")
            self._ask()
            return
        self._questions = [question for question in self._questions[1:] if question.is_open()]
        if self._questions or self._paused is None:
            self._ask()
            return
        run = self._paused
        try:
            await self._show(None, run)
        except AgnoMongoError as error:
            if not self._lines.interactive:
                raise
            self._show_error(error)
            await self._ask_again(run.run_id)

    async def _ask_again(self, run_id: str) -> None:
        """What was answered did not fit, or was not taken: if the run still waits, ask anew."""
        run = await self._talker.aget_run_output(run_id, self._session_id, user_id=self._user_id)
        if run is not None and run.is_paused:
            self._paused, self._questions = run, questions_of(run)
            self._ask()

    def _leave_paused(self) -> None:
        """Go on to something else. The run stays paused."""
        self._paused, self._questions = None, []

    async def _command(self, name: str, rest: str) -> None:
        command = self._commands.get(name)
        if command is None:
            near = difflib.get_close_matches(name, HELP, n=1)
            hint = f"Did you mean /{near[0]}?" if near else "/help lists them."
            self._say(f"There is no command /{name}. {hint} A message that begins so needs a space in front.", "yellow")
            return
        try:
            await command(rest)
        except SessionNotFound:
            self._say("This session is not stored yet; it will be with your first message.", "dim")

    def _show_error(self, error: AgnoMongoError) -> None:
        self._say(f"{type(error).__name__}: {error}", "red")
        if isinstance(error, StoreUnavailable):
            self._say("The up arrow brings your message back.", "dim")

    def _show_traceback(self, error: Exception) -> None:
        self._console.print(
            Traceback.from_exception(type(error), error, error.__traceback__, suppress=["agno_mongo"], max_frames=8)
        )

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(printable(text), style=style))

    def _toolbar(self) -> str:
        shown = self._name or f"session {self._session_id[:8]}"
        tokens = sum(self._tokens.values())
        counted = f" · {tokens:,} tokens" if tokens else ""
        return f" {printable(shown)[:40]}{counted} · Alt-Enter new line · /help"

    # The commands.

    async def _sessions(self, which: str) -> None:
        if not which or not self._listed:
            self._listed = await self._newest_sessions()
        if which:
            await self._switch(which)
        elif self._listed:
            await asyncio.to_thread(self._console.print, self._table())
        else:
            self._say("There are no sessions yet.", "dim")

    async def _newest_sessions(self) -> list[Session]:
        if self._talker.db is None:
            raise ConfigurationError(
                f"this {self._talker.SESSION_TYPE.value} has no db, so it keeps no sessions; pass db=MongoDb(…)"
            )
        found: list[Session] = await self._talker.db.get_sessions(
            self._talker.SESSION_TYPE, user_id=owner_of(self._user_id), component_id=self._talker.id, limit=LISTED
        )
        return found

    def _table(self) -> Any:
        shown = table("", "", "name", "runs", "last used", "id")
        for number, session in enumerate(self._listed, start=1):
            here = session.session_id == self._session_id
            shown.add_row(
                "*" if here else "",
                str(number),
                Text(printable(session.session_name or "")),
                str(session.run_count),
                _ago(session.updated_at or session.created_at),
                Text(printable(session.session_id), style="dim"),
            )
        return shown

    async def _switch(self, which: str) -> None:
        chosen = next((session for session in self._listed if session.session_id == which), None)
        if which.isdecimal() and 1 <= int(which) <= len(self._listed):
            chosen = self._listed[int(which) - 1]
        if chosen is None:
            self._say(f"There is no session {which} in the list; /sessions shows it.", "yellow")
            return
        self._leave_paused()
        self._session_id, self._name = chosen.session_id, chosen.session_name
        self._say(f"Session {chosen.session_name or chosen.session_id}, {_runs(chosen.run_count)} so far.", "dim")
        await self._show_history(1, lines=4)

    async def _new(self, _rest: str) -> None:
        self._leave_paused()
        self._session_id, self._name = new_id(), None
        self._say("A new session. It is stored with your first message.", "dim")

    async def _rename(self, name: str) -> None:
        if name:
            await self._talker.aset_session_name(self._session_id, session_name=name, user_id=self._user_id)
            self._name = name
            self._say(f"This session is now {name!r}.", "dim")
            return
        self._name = await self._talker.aget_session_name(self._session_id, user_id=self._user_id)
        self._say(self._name or "This session has no name; /name some words gives it one.", "" if self._name else "dim")

    async def _state(self, _rest: str) -> None:
        state = await self._talker.aget_session_state(self._session_id, user_id=self._user_id)
        await asyncio.to_thread(self._console.print, JSON(text_of(state)))

    async def _history(self, number: str) -> None:
        await self._show_history(int(number) if number.isdecimal() and int(number) else SHOWN)

    async def _show_history(self, last_n_runs: int, *, lines: int | None = None) -> None:
        said = await self._talker.aget_chat_history(self._session_id, last_n_runs, user_id=self._user_id)
        for message in said:
            if not (text := _told(message)):
                continue
            shown = text if lines is None or len(text) <= lines else [*text[:lines], "…"]
            color = "cyan" if message.role == "user" else "blue"
            self._console.print(Text.assemble((f"{message.role}: ", color), "\n".join(shown)))
        if not said:
            self._say("Nothing has been said yet.", "dim")

    async def _help(self, _rest: str) -> None:
        shown = table("", "")
        for name, help_text in HELP.items():
            shown.add_row(f"/{name}", Text(help_text, style="dim"))
        shown.add_row("Ctrl-C", Text("stop an answer, or clear the line", style="dim"))
        await asyncio.to_thread(self._console.print, shown)


@contextmanager
def _ctrl_c_cancels(task: asyncio.Future[Any]) -> Iterator[list[bool]]:
    """While this goes on, Ctrl-C cancels the task and nothing else. It is in the list then."""
    stopped: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    loop = asyncio.get_running_loop()

    def cancel(*_signal: object) -> None:
        stopped.append(True)
        loop.call_soon_threadsafe(task.cancel)

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _told(message: Message) -> list[str]:
    """The lines of a message: what it says, and the calls that it makes."""
    functions = [call.get("function") or {} for call in message.tool_calls or ()]
    calls = [call_text(function.get("name"), as_sent(function.get("arguments"))) for function in functions]
    shown = [call if len(call) <= CALL_SHOWN else f"{call[: CALL_SHOWN - 1]}…" for call in calls]
    return [*printable(message.get_content_string()).splitlines(), *shown]


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"


def _ago(moment: float) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(time() - moment, 0)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"
