"""Stopping a run from outside."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from agno_mongo.blocking import blocking
from agno_mongo.component.sessions import RunT, SessionAccessors, SessionT
from agno_mongo.db.arguments import check_run_id
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.leases import Claim
from agno_mongo.stopping import stop_run

P = ParamSpec("P")
T = TypeVar("T")


def _of_a_component(method: Callable[P, T]) -> Callable[P, T]:
    """The method, which says what is missing where the class is asked, as Agno's may be."""

    @functools.wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if not args or not isinstance(args[0], Cancelling):
            raise TypeError(
                "which agent's, team's or workflow's run? Call cancel_run() of the object that runs it, or of another with its db= and session_id=: "
                "the run is found in its session"
            )
        return method(*args, **kwargs)

    return checked


class Cancelling(SessionAccessors[SessionT, RunT]):
    """``acancel_run`` and ``cancel_run``."""

    @_of_a_component
    async def acancel_run(self, run_id: str, session_id: str | None = None, *, user_id: str | None = None) -> bool:
        """Stop a run at its next step, from any process; it is stored with status CANCELLED and with what it has come to.

        A run of this process stops at once, and needs no ``session_id``. One of another process, in this session or the component's own, hears of
        it when it renews its lease, every 5 s, or stores a checkpoint. A paused run, or an interrupted one, is stored as cancelled here. Whoever reads the run gets a RunCancelledEvent, or the
        RunOutput. A tool's thread runs on to its end, and its result is not used.

        True if the run is stopped or will be; False if it has finished. A run that finishes before it hears of it stays finished. Raises
        RunNotFound, SessionNotFound and SessionOwnedByAnotherUser. No command for a run of this process, one for another process's, three for one that nobody has; up to four more to say why
        it was refused.
        """
        user = self._user(user_id)
        if stop_run(self.db, check_run_id(run_id), session_id=session_id, user_id=user, whose=self):
            return True
        db, wanted, _ = self._asked_for(session_id, user_id)
        key = SessionKey(session_id=wanted, session_type=self.SESSION_TYPE, user_id=user)
        return await db.cancel_run(Claim(key=key, run_id=run_id))

    cancel_run = blocking(acancel_run)
