"""``MongoDb``: sessions in MongoDB, for agents, teams and workflows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any

from agno_mongo import checks
from agno_mongo.db import branches, runs, sessions, users, values
from agno_mongo.db import retention as retentions
from agno_mongo.db.arguments import (
    Total,
    check_id,
    document_of,
    filter_of,
    limit_of,
    order_of,
    page_of,
    scope_of,
    session_type_of,
    total_of,
)
from agno_mongo.db.base import SessionType
from agno_mongo.db.database import URL_VARIABLE, Health
from agno_mongo.db.documents import AnyRun, Session
from agno_mongo.db.expiry import seconds_of
from agno_mongo.db.keys import Owner
from agno_mongo.db.run_methods import RunMethods
from agno_mongo.db.search import SessionMatch, check_query, search_sessions
from agno_mongo.db.state import STATE
from agno_mongo.db.watch import SessionWatch, WatchScope
from agno_mongo.errors import ConfigurationError, SessionNotFound, StoreError
from agno_mongo.ids import new_id
from agno_mongo.run.base import BaseRunOutput

__all__ = ["URL_VARIABLE", "AsyncMongoDb", "Health", "MongoDb"]


class MongoDb(RunMethods):
    """Sessions in a MongoDB database.

    Give it an address or a client::

        MongoDb("mongodb://localhost:27017")
        MongoDb(client=AsyncMongoClient(...))      # PyMongo's, Motor's or mongomock-motor's

    ``db_url`` falls back to the environment variable ``AGNO_MONGO_URL``. Nothing is sent before the first call, which may come
    from any event loop: an address serves them all, a client only the loop of its first use. A server that does not answer
    is given up after 5 s unless the address sets ``serverSelectionTimeoutMS``. Every write is acknowledged by a majority and
    the journal.

    ``db_name`` and ``session_table`` are the database and the collection; several ``MongoDb`` side by side do not touch each other.
    A method without ``user_id`` is for anybody's sessions; one with ``user_id`` is for that user's, and with ``NO_USER``, where it takes that,
    for those without an owner. ``require_user_id=True`` refuses every call that names no user. ``search=True`` keeps a text index over what was said, for
    :meth:`search_sessions`; over what is there already it is built before the first write or search. ``id`` is for the user's own bookkeeping.

    ``retention`` is how long a session is kept after it was last used (``timedelta(days=30)``), with its archive and media; None is for ever.
    MongoDB looks for what has expired once a minute. Sessions that have no moment of expiry yet get theirs at the first run, see
    :meth:`apply_retention`; a session may have a retention of its own, see :meth:`set_retention`.

    The methods are coroutines under Agno's names; ``db.blocking.<name>`` waits for them.
    """

    async def get_session(
        self,
        session_id: str,
        session_type: SessionType | str | None = None,
        user_id: Owner = None,
        deserialize: bool = True,
        runs_limit: int | None = None,
    ) -> Any:
        """The session, with all its runs or its newest ``runs_limit``; None if there is none.

        With ``user_id`` a session of anybody else raises SessionOwnedByAnotherUser, with ``session_type`` one of another
        type SessionTypeMismatch. ``deserialize=False`` gives a dict. One command, two if there is none for this user; one more each for archived runs, of a
        fork for each of its segments, and for large content.
        """
        self._check(session_id, user_id)
        wanted = _wanted(session_id, user_id, session_type)
        connection = await self._connection()
        with self._translated(f"reading session {session_id!r}"):
            document = await runs.read_session(connection, wanted, runs_limit=runs_limit)
        if document is None:
            return None
        session = connection.parse(document)
        return session if deserialize else session.to_dict()

    async def get_runs(
        self,
        session_id: str,
        *,
        limit: int = 20,
        before: str | None = None,
        session_type: SessionType | str | None = None,
        user_id: Owner = None,
    ) -> list[AnyRun]:
        """A page of the session's finished runs, oldest first: the newest ``limit``, or those before the run ``before``.

        ::

            page = await db.get_runs("s", limit=50)
            older = await db.get_runs("s", limit=50, before=page[0].run_id)

        An empty list if there are no more, or no such session. Runs within others, of a team's members, are runs too, each before the one that it is
        within; :meth:`Team.get_runs <agno_mongo.team.Team.get_runs>` leaves them out. Reads what it returns, the session's newest runs, and at most one archive
        document more, however long the session is. Raises RunNotFound if the session has no run ``before``.
        """
        self._check(session_id, user_id)
        size = limit_of(limit)
        if before is not None:
            check_id("before", before)
        wanted = _wanted(session_id, user_id, session_type)
        connection = await self._connection()
        with self._translated(f"reading runs of session {session_id!r}"):
            found = await runs.read_page(connection, wanted, limit=size, before=before)
        if found is None:
            return []
        session, page = found
        return connection.parse({**session, "runs": page}).runs or []

    async def get_run(
        self,
        session_id: str,
        run_id: str,
        *,
        session_type: SessionType | str | None = None,
        user_id: Owner = None,
    ) -> BaseRunOutput | None:
        """The run, finished, running, paused or interrupted; None if there is none.

        One command; one more each if it is in the archive, has large content, or stands in a session that Agno wrote and no run has lifted.
        """
        self._check(session_id, user_id)
        check_id("run_id", run_id)
        wanted = _wanted(session_id, user_id, session_type)
        connection = await self._connection()
        with self._translated(f"reading run {run_id!r} of session {session_id!r}"):
            document = await runs.read_run(connection, wanted, run_id)
        return None if document is None else connection.parse(document).get_run(run_id)

    async def get_sessions(
        self,
        session_type: SessionType | str | None = None,
        user_id: Owner = None,
        component_id: str | None = None,
        session_name: str | None = None,
        start_timestamp: int | None = None,
        end_timestamp: int | None = None,
        limit: int | None = None,
        page: int | None = None,
        sort_by: str | None = None,
        sort_order: str | None = None,
        deserialize: bool = True,
        include_runs: bool = False,
        total: Total | None = "exact",
        runs_limit: int | None = None,
    ) -> Any:
        """Sessions, the last used first, without their runs unless asked; with ``runs_limit`` each with its newest few.

        Filters are joined by *and*: ``session_type``; ``user_id``; ``component_id`` (agent, team or workflow); ``session_name``
        (a part of it, upper and lower case alike); ``start_timestamp`` and ``end_timestamp`` (``created_at``, Unix seconds,
        inclusive). ``limit`` is the page's size, ``page`` counts from 1. ``sort_by`` is a field, ``sort_order`` ``"asc"`` or
        ``"desc"``. One command, and one more each for every session whose archived runs or large content are part of it. With
        ``deserialize=False`` it gives ``(list of dicts, total number without the page)``, for one command more.

        ``total="exact"`` counts every match, ``"estimated"`` is cheap at any number (see :meth:`count_sessions`), None leaves the
        count and its command out and gives None for it. A page by user, component or type and by recency reads its own sessions;
        those of the pages before it are passed over in the index.
        """
        self._check_user(user_id, "get_sessions()")
        which = filter_of(session_type, user_id, component_id, session_name, start_timestamp, end_timestamp)
        size, skip = page_of(limit, page)
        total_of(total)
        number_of_runs = limit_of(runs_limit) if runs_limit is not None else None if include_runs else 0
        order = order_of(sort_by, sort_order)
        connection = await self._connection()
        with self._translated("listing sessions"):
            projection = None if number_of_runs is None else runs.wanted_runs(number_of_runs)
            found = await sessions.list_sessions(connection, which, order=order, skip=skip, limit=size, projection=projection)
            completed = [await runs.listed(connection, document, number_of_runs) for document in found]
            parsed = [connection.parse(document) for document in completed if document is not None]
            if deserialize:
                return parsed
            number = None if total is None else await sessions.count_sessions(connection, which, exact=total == "exact")
        return [session.to_dict(include_runs=number_of_runs != 0) for session in parsed], number

    async def count_sessions(
        self,
        session_type: SessionType | str | None = None,
        user_id: str | None = None,
        component_id: str | None = None,
        total: Total = "exact",
    ) -> int:
        """How many sessions there are, by type, user and component. One command.

        ``total="exact"`` walks all entries of an index. ``"estimated"`` takes the same time at any number: without a filter it is the
        server's own figure, which may be off after a crash; with one it stops at 10,000, which then means that many or more.
        """
        self._check_user(user_id, "count_sessions()")
        if total_of(total) is None:
            raise ConfigurationError("count_sessions() counts: total is 'exact' or 'estimated'")
        which = filter_of(session_type, user_id, component_id)
        connection = await self._connection()
        with self._translated("counting sessions"):
            return await sessions.count_sessions(connection, which, exact=total == "exact")

    async def get_all_session_ids(
        self, user_id: str | None = None, entity_id: str | None = None, session_type: SessionType | str | None = None
    ) -> list[str]:
        """The ids of all sessions, of all of a user's, or of all of a component's (``entity_id``); the last used first.

        One find that an index answers alone.
        """
        self._check_user(user_id, "get_all_session_ids()")
        connection = await self._connection()
        with self._translated("listing session ids"):
            found = await sessions.list_sessions(
                connection,
                filter_of(session_type, user_id, entity_id),
                order=sessions.NEWEST_FIRST,
                skip=0,
                limit=0,
                projection={"session_id": 1, "_id": 0},
            )
        return [document["session_id"] for document in found]

    async def search_sessions(
        self,
        query: str,
        user_id: str | None = None,
        *,
        session_type: SessionType | str | None = None,
        component_id: str | None = None,
        limit: int = 20,
    ) -> list[SessionMatch]:
        """The user's sessions in which the words were said, best first; needs ``MongoDb(…, search=True)``.

        ``query`` is MongoDB's: any of the words, every ``"phrase in quotes"``, none of the words with a ``-minus``; case and accents do
        not matter, words are whole. Searched are the content of all messages, archived ones too, and the session's name. Without
        ``user_id`` it searches the sessions that belong to nobody. Two commands, and no documents but the user's own.
        See :func:`agno_mongo.db.search.search_sessions`.
        """
        self._check_user(user_id, "search_sessions()")
        check_query(query)
        size = limit_of(limit)
        # A filter of all types would make the server look at each document twice.
        which = {} if session_type is None and component_id is None else filter_of(session_type, None, component_id)
        if not self.search:
            raise ConfigurationError("search_sessions() needs a text index, which is kept only with MongoDb(…, search=True)")
        connection = await self._connection()
        if not connection.text_indexes:
            raise ConfigurationError("search_sessions() needs a server: mongomock has no text index")
        with self._translated("searching sessions"):
            return await search_sessions(connection, query, user_id, which, size)

    async def upsert_session(self, session: Session, deserialize: bool = True) -> Any:
        """Store a session that was made or changed in memory, as a whole; give it back as stored.

        A new ``session_id`` is inserted. An existing session must belong to the same user and type, and not have changed since
        ``session`` was read (``revision``), else nothing is written and SessionOwnedByAnotherUser, SessionTypeMismatch or
        SessionChanged is raised. Runs in progress are left alone, and all runs if ``session.runs`` is None, as a list of sessions has
        it; a session read with ``runs_limit`` is refused. For single fields there are cheaper methods:
        ``rename_session``, ``update_session_state``.
        """
        if not isinstance(session, Session):
            raise ConfigurationError(f"upsert_session() takes a session, not {type(session).__name__}")
        self._check(session.session_id, session.user_id)
        document = document_of(session)
        connection = await self._connection()
        with self._translated(f"storing session {session.session_id!r}"):
            stored = await sessions.replace_session(connection, document, session.revision, session.id)
        return connection.parse(stored) if deserialize else connection.parse(stored).to_dict()

    async def rename_session(
        self,
        session_id: str,
        session_type: SessionType | str | None = None,
        session_name: str = "",
        user_id: Owner = None,
        deserialize: bool = True,
    ) -> Any:
        """Give the session a name and return it, without its runs. Raises SessionNotFound if there is none.

        One command, and what a retention of its own, large input of a run in progress, or a lift of what Agno wrote adds.
        """
        if not isinstance(session_name, str) or not session_name:
            raise ConfigurationError(f"session_name is text of at least one character, not {checks.shown(session_name)}")
        name = values.encode(session_name, path="session_name")
        fields = {"session_data.session_name": name}
        session = await self._set(session_id, session_type, user_id, fields, f"renaming session {session_id!r}")
        return session if deserialize else session.to_dict(include_runs=False)

    async def update_session_state(
        self,
        session_id: str,
        updates: Mapping[str, Any],
        user_id: Owner = None,
        session_type: SessionType | str | None = None,
    ) -> dict[str, Any]:
        """Set keys of the session's state and return all of it. Other keys keep their value, also those that a run is
        changing. Raises SessionNotFound if there is no such session. Costs what :meth:`rename_session` does.
        """
        if not isinstance(updates, Mapping):
            raise ConfigurationError(f"the updates of a state are a dict, not {type(updates).__name__}")
        encoded = values.encode(updates, path="session_state")
        fields = {f"{STATE}.{key}": value for key, value in encoded.items()}
        what = f"updating the state of session {session_id!r}"
        session = await self._set(session_id, session_type, user_id, fields, what, of_state=True)
        return session.session_state

    async def _set(
        self,
        session_id: str,
        session_type: SessionType | str | None,
        user_id: Owner,
        fields: Mapping[str, Any],
        what: str,
        *,
        of_state: bool = False,
    ) -> Session:
        self._check(session_id, user_id)
        which = {"session_id": session_id, **scope_of(session_type, user_id)}
        connection = await self._connection()
        for _ in range(sessions.ATTEMPTS):
            with self._translated(what):
                document = await sessions.set_fields(connection, which, fields, of_state=of_state)
                if document is not None:
                    return connection.parse(await runs.with_media(connection, document))
            if not await self._is_there_after_all(session_id, session_type, user_id):
                raise SessionNotFound(f"{what}: there is no such session", session_id=session_id)
        raise StoreError(f"{what}: it never held still")

    async def _is_there_after_all(self, session_id: str, session_type: SessionType | str | None, user_id: Owner) -> bool:
        """True if a session that a command did not match would match now: it was made since, or Agno wrote it without a type, and it has one now.

        Raises SessionOwnedByAnotherUser and SessionTypeMismatch.
        """
        if await self.get_session(session_id, session_type, user_id, runs_limit=0) is None:
            return False
        with self._translated(f"reading session {session_id!r}"):
            await sessions.lift(await self._connection(), session_id)
        return True

    async def fork_session(
        self,
        session_id: str,
        at_run: str | None = None,
        *,
        new_session_id: str | None = None,
        session_type: SessionType | str | None = None,
        user_id: Owner = None,
    ) -> Session:
        """Begin a new session that has the runs of another up to and with the run ``at_run``, all of them by default.

        Returns the new session with its newest runs; its ``forked_from`` says where it comes from. State, name, metadata and summary are
        those of the original as they are now; token counts begin at zero. The original is not touched, and from here on neither sees
        what happens in the other. Costs the same however long the session is. Raises SessionNotFound, RunNotFound, and
        ConfigurationError if there is a session ``new_session_id`` already.
        """
        self._check(session_id, user_id)
        chosen = new_id() if new_session_id is None else check_id("new_session_id", new_session_id)
        if at_run is not None:
            check_id("at_run", at_run)
        wanted = _wanted(session_id, user_id, session_type)
        connection = await self._connection()
        with self._translated(f"forking session {session_id!r}"):
            await connection.ensure_indexes()
            forked = await branches.fork(connection, wanted, at_run=at_run, new_session_id=chosen)
            return connection.parse(await runs.with_media(connection, forked))

    async def rewind_session(
        self,
        session_id: str,
        to_run: str,
        *,
        keep_copy: bool = True,
        session_type: SessionType | str | None = None,
        user_id: str | None = None,
    ) -> Session:
        """Take the session back to the run ``to_run``, which becomes its last; return it with its newest runs.

        The session as it was is kept as a fork, whose id is in ``rewound_from`` of what is returned; with ``keep_copy=False`` the
        later runs are deleted instead. State, metadata and token counts stay as they are; runs in progress are appended
        when they finish. Costs the same however long the session is. Raises SessionNotFound and RunNotFound.
        """
        self._check(session_id, user_id)
        check_id("to_run", to_run)
        wanted = _wanted(session_id, user_id, session_type)
        copy_as = new_id() if keep_copy else None
        connection = await self._connection()
        with self._translated(f"rewinding session {session_id!r}"):
            rewound = await branches.rewind(connection, wanted, to_run=to_run, copy_as=copy_as)
            return connection.parse(await runs.with_media(connection, rewound))

    async def delete_session(self, session_id: str, user_id: Owner = None, session_type: SessionType | str | None = None) -> bool:
        """Delete the session; False if there was none. A run that is going on there ends with SessionNotFound.

        With ``user_id``, a session of anybody else raises SessionOwnedByAnotherUser and stays; with ``session_type`` one of another
        type, SessionTypeMismatch. Archive and media go with it; what a deletion that died has left of them goes when it is repeated.
        Three commands, more with archive or media, or if there was no such session.
        """
        self._check(session_id, user_id)
        which = {"session_id": {"$in": [session_id]}, **scope_of(session_type, user_id)}
        what = f"deleting session {session_id!r}"
        connection = await self._connection()
        for _ in range(sessions.ATTEMPTS):
            with self._translated(what):
                if await sessions.delete_sessions(connection, which):
                    return True
            if not await self._is_there_after_all(session_id, session_type, user_id):
                return False
        raise StoreError(f"{what}: it never held still")

    async def delete_sessions(self, session_ids: Iterable[str], user_id: str | None = None) -> int:
        """Delete these sessions, with ``user_id`` only those of that user, and say how many they were.

        Four commands for all of them, more with archive or media, or for ids that are not there.
        """
        self._check_user(user_id, "delete_sessions()")
        if isinstance(session_ids, str):
            raise ConfigurationError("session_ids is a list of ids, not one id; delete_session() takes one")
        ids = [check_id("session_id", session_id) for session_id in session_ids]
        connection = await self._connection()
        with self._translated(f"deleting {len(ids)} sessions"):
            return await sessions.delete_sessions(connection, {"session_id": {"$in": ids}, **scope_of(None, user_id)})

    def watch(
        self, session_id: str | None = None, user_id: str | None = None, *, resume_after: str | None = None
    ) -> SessionWatch:
        """What happens to one session, or to all of a user's, as it happens: an asynchronous iterator of SessionEvent.

        ::

            async with db.watch(user_id="john") as events:
                async for event in events:
                    ...

        Sessions may be made later; with neither argument all are watched. ``resume_after`` is the ``token`` of the last event that was
        seen: the watch goes on behind it. Only deletions can be missed then, of sessions that were gone when it went on. With both
        arguments, a session of anybody else raises SessionOwnedByAnotherUser. Needs a replica set. Opening takes three commands and reads
        the ids of the sessions, of all of them if all are watched. In blocking code, ``with db.blocking.watch(…) as events``.
        """
        if session_id is None:
            self._check_user(user_id, "watch()")
        else:
            self._check(session_id, user_id)
        return SessionWatch(self._connection, self._translated, WatchScope(session_id=session_id, user_id=user_id), resume_after)

    async def delete_user(self, user_id: str) -> int:
        """Delete all that is stored of a user, and say how many sessions it was: sessions of every type, forks, archive, media, runs in progress.

        A run that is going on ends with SessionNotFound and leaves nothing. Other users' sessions are not touched. Repeating it deletes what
        the user has stored since, and what a process has left that died while it stored something. Seven commands, by the indexes on the user.
        """
        connection = await self._connection()
        with self._translated(f"deleting user {user_id!r}"):
            return await users.delete(connection, check_id("user_id", user_id))

    async def export_user(self, user_id: str) -> AsyncGenerator[str, None]:
        """All that is stored of a user, as lines of JSON, one at a time.

        ::

            with open("john.jsonl", "w") as file:
                async for line in db.export_user("john"):
                    print(line, file=file)

        Each line is an object with ``kind`` and ``session_id``:

        * ``"session"``: ``session`` is the stored session without its runs. The lines that follow belong to it.
        * ``"run"``: ``run`` is a finished run, whole, with its messages and large content; ``number`` counts from 0, the oldest.
        * ``"active_run"``: ``run`` is what is stored of a run that goes on or was interrupted, ``run_id`` its id.
        * ``"deleted"``: the session was deleted while it was told, after ``number`` of its runs; the others are gone.

        Field names are those that are stored, which are Agno's (see docs/schema.md). Values that JSON has no words for are in MongoDB's
        Extended JSON: ``{"$date": "2026-01-31T12:00:00Z"}``, ``{"$binary": {"base64": "…", "subType": "00"}}``, ``{"$oid": "…"}``,
        ``{"$numberDecimal": "…"}``, ``{"$uuid": "…"}``. Sessions come in the order of their use, the newest first, each as it was when its
        line was read. No more than one archive document and one run are in memory at once. ``db.blocking.export_user`` is a plain iterator.
        """
        connection = await self._connection()
        with self._translated(f"exporting user {user_id!r}"):
            async with aclosing(users.export(connection, check_id("user_id", user_id))) as lines:
                async for line in lines:
                    yield line

    async def set_retention(
        self,
        session_id: str,
        retention: timedelta | None,
        *,
        session_type: SessionType | str | None = None,
        user_id: str | None = None,
    ) -> Session:
        """Give the session a retention of its own, or the database's again (None); return it, without its runs.

        It is kept for so long after every use, counted anew from now. Forks inherit it. ``timedelta.max`` is for ever. Raises
        SessionNotFound if there is no such session. Two commands, more if the session has an archive or media.
        """
        what = f"setting the retention of session {session_id!r}"
        return await self._set(session_id, session_type, user_id, {"retention": seconds_of(retention)}, what)

    async def apply_retention(self) -> int:
        """Let every session without a retention of its own expire as ``retention`` says, counted from its last use; say how many changed.

        For a collection that is there already, after ``retention`` was set, changed or taken away (None: what was to expire stays). Sessions
        whose time is over go within a minute. May be repeated at any time, and must be if it was interrupted.
        """
        connection = await self._connection()
        with self._translated("applying the retention"):
            return await retentions.apply(connection)


def _wanted(session_id: str, user_id: Owner, session_type: SessionType | str | None) -> runs.Wanted:
    kind = None if session_type is None else session_type_of(session_type)
    return runs.Wanted(session_id=session_id, owner=user_id, session_type=kind)


AsyncMongoDb = MongoDb
"""Agno's name for the asynchronous store."""
