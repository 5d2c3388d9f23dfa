"""Which run goes on, and in which session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agno_mongo.component.sessions import RunT, SessionAccessors, SessionT
from agno_mongo.db.arguments import check_id
from agno_mongo.errors import ConfigurationError
from agno_mongo.run.base import BaseRunOutput
from agno_mongo.run.requirement import Answer

KindT = TypeVar("KindT", bound=BaseRunOutput)


@dataclass(frozen=True, kw_only=True)
class Continuation(Generic[RunT]):
    """Which run goes on, with which answers to what waits there; None if it is not known to have paused. ``run`` is the run, as far as
    the caller has it.
    """

    run_id: str
    answers: tuple[Answer, ...] | None = None
    run: RunT | None = None


class GoingOn(SessionAccessors[SessionT, RunT], Generic[SessionT, RunT]):
    """What ``acontinue_run`` of every component needs."""

    stream: bool | None
    stream_events: bool | None

    def _session_of(self, continued: Continuation[RunT], session_id: str | None, user_id: str | None) -> str:
        """The session of a run that goes on. Without a database, that of the run that the caller has."""
        if self.db is None and continued.run is not None and continued.run.session_id is not None:
            return check_id("session_id", continued.run.session_id)
        return self._asked_for(session_id, user_id)[1]


def run_meant(run_response: Any, run_id: str | None, kind: type[KindT], name: str) -> tuple[str, KindT | None]:
    """The id of the run that is to go on, and the run if that was given. Raises ConfigurationError where it is neither, or two of them."""
    run = run_response if isinstance(run_response, kind) else None
    if run is None and not isinstance(run_response, (str, type(None))):
        raise ConfigurationError(f"run_response= takes a {name}, not {type(run_response).__name__}: {run_response!r}")
    ids = {given for given in (run_id, run_response if isinstance(run_response, str) else None, run and run.run_id) if given}
    if len(ids) != 1:
        raise ConfigurationError(
            "continue_run() takes a paused run or its run_id=, one of them" if ids else "which run? Pass run_id="
        )
    return ids.pop(), run
