"""Whose session a call means, and the accessors that read and change it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from agno_mongo import checks, renamed
from agno_mongo.blocking import blocking
from agno_mongo.db.arguments import check_id
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import Session, SessionSummary
from agno_mongo.db.keys import Owner, SessionKey, owner_of
from agno_mongo.db.looking_back import session_with_runs
from agno_mongo.db.mongo import MongoDb
from agno_mongo.errors import ConfigurationError, SessionNotFound
from agno_mongo.ids import new_id
from agno_mongo.messages import Message, Metrics
from agno_mongo.run.base import HISTORY_SKIP_STATUSES, BaseRunOutput, RunStatus
from agno_mongo.summaries import NEW_RUNS, name_for

SessionT = TypeVar("SessionT", bound=Session)
RunT = TypeVar("RunT", bound=BaseRunOutput)


class SessionAccessors(Generic[SessionT, RunT]):
    """What every component can be asked about its sessions. Each takes ``session_id=`` and ``user_id=``, the component's own by default."""

    SESSION_TYPE: ClassVar[SessionType]
    RUN_TYPE: ClassVar[type[BaseRunOutput]]
    """Of which kind the component's own runs are; a session of it has its members' and executors' runs, too."""

    db: MongoDb | None
    session_id: str | None
    user_id: str | None
    _model_of_a_run: Callable[[], Any]
    _summaries: Any
    _made_up: tuple[str | None, str] | None = None

    # Whose session.

    def _whose(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with the session and the user that they mean."""
        user_id = self._user(options.get("user_id"))
        return {**options, "user_id": user_id, "session_id": self._session_for(options.get("session_id"), user_id)}

    def _user(self, user_id: str | None) -> str | None:
        chosen = self.user_id if user_id is None else user_id
        return None if chosen is None else check_id("user_id", chosen)

    def _session_for(self, session_id: str | None, user_id: str | None) -> str:
        """The session that a run belongs to: the call's, the component's, or one made up for this user."""
        chosen = self.session_id if session_id is None else session_id
        if chosen is not None:
            return check_id("session_id", chosen)
        if self._made_up is None or self._made_up[0] != user_id:
            # Kept for the same user only: the next one must not read on in it.
            self._made_up = (user_id, new_id())
        return self._made_up[1]

    def _asked_for(self, session_id: str | None, user_id: str | None) -> tuple[MongoDb, str, Owner]:
        """Database, session and owner that an accessor means. Raises ConfigurationError when there is none to mean.

        Without a user it means the sessions of nobody, as a run does, and not those of anybody.
        """
        if self.db is None:
            raise ConfigurationError(
                f"this {self.SESSION_TYPE.value} has no db, so it keeps no sessions; pass db=MongoDb(…) to {type(self).__name__}()"
            )
        user = self._user(user_id)
        chosen = self.session_id if session_id is None else session_id
        if chosen is None and self._made_up is not None and self._made_up[0] == user:
            chosen = self._made_up[1]
        if chosen is None:
            raise ConfigurationError(f"which session? Pass session_id=, here or to {type(self).__name__}()")
        return self.db, check_id("session_id", chosen), owner_of(user)

    async def aget_session(self, session_id: str | None = None, user_id: str | None = None) -> SessionT | None:
        """The session with all its runs; None if there is none yet.

        Raises SessionOwnedByAnotherUser and SessionTypeMismatch. One command.
        """
        db, wanted, owner = self._asked_for(session_id, user_id)
        session: SessionT | None = await db.get_session(wanted, self.SESSION_TYPE, owner)
        return session

    async def _settings_of(self, session_id: str | None, user_id: str | None) -> SessionT:
        """The session without its runs, however many they are."""
        db, wanted, owner = self._asked_for(session_id, user_id)
        session: SessionT | None = await db.get_session(wanted, self.SESSION_TYPE, owner, runs_limit=0)
        if session is None:
            raise SessionNotFound(f"there is no session {wanted!r}", session_id=wanted)
        return session

    @renamed.older_options_accepted
    async def aget_session_messages(
        self,
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        last_n_runs: int | None = None,
        limit: int | None = None,
        skip_roles: Collection[str] | None = None,
        skip_statuses: Collection[RunStatus | str] | None = None,
        skip_history_messages: bool = True,
    ) -> list[Message]:
        """The session's messages, oldest first; an empty list if there is no session yet. See Session.get_messages.

        With ``last_n_runs`` only so many runs are read, without it all of them.
        """
        session = await self._session_with(session_id, user_id, last_n_runs, skip_statuses)
        if session is None:
            return []
        return session.get_messages(
            last_n_runs=last_n_runs,
            limit=limit,
            skip_roles=skip_roles,
            skip_statuses=skip_statuses,
            skip_history_messages=skip_history_messages,
        )

    async def aget_chat_history(
        self, session_id: str | None = None, last_n_runs: int | None = None, *, user_id: str | None = None
    ) -> list[Message]:
        """What user and assistant said, oldest first; an empty list if there is no session yet."""
        session = await self._session_with(session_id, user_id, last_n_runs, ())
        return [] if session is None else session.get_chat_history(last_n_runs)

    async def _session_with(
        self,
        session_id: str | None,
        user_id: str | None,
        last_n_runs: int | None,
        skip_statuses: Collection[RunStatus | str] | None,
    ) -> Session | None:
        if last_n_runs is None or last_n_runs < 1:
            return await self.aget_session(session_id, user_id)
        db, wanted, _ = self._asked_for(session_id, user_id)
        key = SessionKey(session_id=wanted, session_type=self.SESSION_TYPE, user_id=self._user(user_id))
        skipped = HISTORY_SKIP_STATUSES if skip_statuses is None else skip_statuses
        return await session_with_runs(db, key, told=last_n_runs, skip_statuses=skipped)

    async def aget_session_state(self, session_id: str | None = None, *, user_id: str | None = None) -> dict[str, Any]:
        """The stored state. Raises SessionNotFound if there is no session."""
        return (await self._settings_of(session_id, user_id)).session_state

    async def aupdate_session_state(
        self, session_state_updates: Mapping[str, Any], session_id: str | None = None, *, user_id: str | None = None
    ) -> dict[str, Any]:
        """Set keys of the stored state and return all of it; other keys keep their value. One command."""
        db, wanted, owner = self._asked_for(session_id, user_id)
        return await db.update_session_state(wanted, session_state_updates, owner, self.SESSION_TYPE)

    async def aget_session_name(self, session_id: str | None = None, *, user_id: str | None = None) -> str | None:
        """The session's name; None if it has none. Raises SessionNotFound if there is no session."""
        return (await self._settings_of(session_id, user_id)).session_name

    async def aset_session_name(
        self,
        session_id: str | None = None,
        autogenerate: bool = False,
        session_name: str | None = None,
        *,
        user_id: str | None = None,
    ) -> SessionT:
        """Name the session and return it, without its runs. Raises SessionNotFound if there is none. One command.

        ``autogenerate``: the model names it, in five words at most, by the first messages of its newest 32 runs; one command more.
        Raises ModelError then, and ConfigurationError if nothing was said yet.
        """
        db, wanted, owner = self._asked_for(session_id, user_id)
        if checks.flag("autogenerate", autogenerate):
            if session_name is not None:
                raise ConfigurationError("set_session_name() takes session_name= or autogenerate=True, not both")
            begun: SessionT | None = await db.get_session(wanted, self.SESSION_TYPE, owner, runs_limit=NEW_RUNS)
            if begun is None:
                raise SessionNotFound(f"there is no session {wanted!r}", session_id=wanted)
            session_name = await self.agenerate_session_name(begun)
        session: SessionT = await db.rename_session(wanted, self.SESSION_TYPE, session_name or "", owner)
        return session

    async def agenerate_session_name(self, session: SessionT) -> str:
        """A name of at most five words for a session, by the first of its loaded messages; it is not stored. Raises ModelError."""
        said = session.get_chat_history()
        if not said:
            raise ConfigurationError(f"nothing was said yet in session {session.session_id!r} that could name it")
        return await name_for(self._model_of_a_run(), said)

    async def agenerate_session_summary(
        self, session_id: str | None = None, *, user_id: str | None = None
    ) -> SessionSummary | None:
        """Sum up now what was said since the last summary, store that, and return what is stored; None if nothing was ever said.

        Two commands, none but a read where nothing is new. Raises SessionNotFound and ModelError.
        """
        db, wanted, _ = self._asked_for(session_id, user_id)
        before = await self._settings_of(session_id, user_id)
        key = SessionKey(session_id=wanted, session_type=self.SESSION_TYPE, user_id=self._user(user_id))
        summary: SessionSummary | None = await self._summaries.bring_up_to_date(db, key, before.run_count)
        return summary

    async def aget_session_summary(self, session_id: str | None = None, *, user_id: str | None = None) -> SessionSummary | None:
        """The stored summary; None if there is none. Raises SessionNotFound if there is no session."""
        return (await self._settings_of(session_id, user_id)).summary

    async def aget_session_metrics(self, session_id: str | None = None, *, user_id: str | None = None) -> Metrics:
        """The tokens of all the session's runs. Raises SessionNotFound if there is no session."""
        data = (await self._settings_of(session_id, user_id)).session_data or {}
        return Metrics.model_validate(data.get("session_metrics") or {})

    async def aget_run_output(self, run_id: str, session_id: str | None = None, user_id: str | None = None) -> RunT | None:
        """The run, finished, running or interrupted; None if the session has no such run. One command, two if it is long ago."""
        db, wanted, owner = self._asked_for(session_id, user_id)
        return self._own(await db.get_run(wanted, run_id, session_type=self.SESSION_TYPE, user_id=owner))

    def _own(self, run: Any) -> RunT | None:
        """The run, if it is one of this kind of component."""
        return run if isinstance(run, self.RUN_TYPE) else None  # type: ignore[return-value] # RUN_TYPE is RunT

    async def aget_runs(
        self, session_id: str | None = None, *, limit: int = 20, before: str | None = None, user_id: str | None = None
    ) -> list[RunT]:
        """A page of finished runs, oldest first: the newest ``limit``, or those before the run ``before``. See MongoDb.get_runs.

        Runs within others, those of a team's members, are left out; where there are many of them it takes more than one command.
        """
        db, wanted, owner = self._asked_for(session_id, user_id)
        size = limit if self.SESSION_TYPE is SessionType.AGENT else 4 * limit
        found: list[RunT] = []
        while True:
            page = await db.get_runs(wanted, limit=size, before=before, session_type=self.SESSION_TYPE, user_id=owner)
            own = (self._own(run) for run in page if run.parent_run_id is None)
            found = [*(run for run in own if run is not None), *found]
            # Agno's oldest runs may have no id, and then there is no asking for those before.
            if len(page) < size or len(found) >= limit or page[0].run_id is None:
                return found[-limit:]
            before = page[0].run_id

    async def aget_last_run_output(self, session_id: str | None = None, *, user_id: str | None = None) -> RunT | None:
        """The newest of its runs that has finished or paused; None if there is none. One command, as a rule.

        Of a paused run and a finished one it is the one that began later.
        """
        db, wanted, owner = self._asked_for(session_id, user_id)
        session = await db.get_session(wanted, self.SESSION_TYPE, owner, runs_limit=20)
        if session is None:
            return None
        paused = session.paused_runs[-1:]
        last = await self._last_finished_run(session.runs or [], session_id, user_id)
        waiting = self._own(paused[0]) if paused else None
        return waiting if waiting is not None and (last is None or waiting.created_at >= last.created_at) else last

    async def _last_finished_run(self, runs: Sequence[Any], session_id: str | None, user_id: str | None) -> RunT | None:
        while runs:
            for run in reversed(runs):
                own = self._own(run)
                if own is not None and own.parent_run_id is None and own.status != RunStatus.interrupted:
                    return own
            first = runs[0].run_id
            # Agno's oldest runs may have no id, and then there is no asking for those before.
            runs = await self.aget_runs(session_id, before=first, user_id=user_id) if first else []
        return None

    @renamed.older_options_accepted
    async def adelete_session(self, session_id: str | None = None, user_id: str | None = None) -> bool:
        """Delete the session; False if there was none."""
        db, wanted, owner = self._asked_for(session_id, user_id)
        return await db.delete_session(wanted, owner, self.SESSION_TYPE)

    async def afork_session(
        self,
        session_id: str | None = None,
        at_run: str | None = None,
        *,
        new_session_id: str | None = None,
        user_id: str | None = None,
        source_session_id: str | None = None,
    ) -> str:
        """Begin a new session of the same user with the runs up to and with ``at_run``, all of them by default; returns its id.

        ``source_session_id`` is Agno's name of ``session_id``. What is forked and what it costs: :meth:`MongoDb.fork_session`, which also says
        what it raises.
        """
        if session_id is not None and source_session_id is not None:
            raise ConfigurationError("fork_session() takes session_id or source_session_id, not both")
        db, wanted, owner = self._asked_for(session_id or source_session_id, user_id)
        forked = await db.fork_session(
            wanted, at_run, new_session_id=new_session_id, session_type=self.SESSION_TYPE, user_id=owner
        )
        return forked.session_id

    get_session = blocking(aget_session)
    get_session_messages = blocking(aget_session_messages)
    get_chat_history = blocking(aget_chat_history)
    get_session_state = blocking(aget_session_state)
    update_session_state = blocking(aupdate_session_state)
    get_session_name = blocking(aget_session_name)
    set_session_name = blocking(aset_session_name)
    get_session_summary = blocking(aget_session_summary)
    generate_session_name = blocking(agenerate_session_name)
    generate_session_summary = blocking(agenerate_session_summary)
    get_session_metrics = blocking(aget_session_metrics)
    get_runs = blocking(aget_runs)
    get_run_output = blocking(aget_run_output)
    get_last_run_output = blocking(aget_last_run_output)
    delete_session = blocking(adelete_session)
    fork_session = blocking(afork_session)
    get_messages_for_session = renamed.older_method("get_messages_for_session", get_session_messages)
    aget_messages_for_session = renamed.older_method("aget_messages_for_session", aget_session_messages)
    rename_session = renamed.older_method("rename_session", set_session_name, arguments=("session_name", "session_id"))
    auto_rename_session = renamed.older_method("auto_rename_session", set_session_name, arguments=(), autogenerate=True)
