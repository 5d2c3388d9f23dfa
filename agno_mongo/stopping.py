"""Stopping a run that goes on in this process, at once, wherever it waits.

A run is carried by the task that reads its events, and by another one for every step if its reader likes. That task is cancelled while it
is inside the run, and never while it is with its reader.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from typing_extensions import Self

from agno_mongo.db.keys import SessionKey

_RUNS: defaultdict[str, set[Stopping]] = defaultdict(set)
"""The runs of this process, by their id; of one id there may be several."""


class StopRequestedError(Exception):
    """The run was told to stop while its reader had it."""


class Stopping:
    """The way to stop one run. ``requested`` says that somebody wants that; entered for as long as the run goes on."""

    def __init__(self, db: Any, key: SessionKey, run_id: str, whose: Any = None) -> None:
        self._db = db
        self.whose = whose
        self._key = key
        self._run_id = run_id
        self._task: asyncio.Task[Any] | None = None
        self._interrupted: asyncio.Task[Any] | None = None
        self._open = True
        self.requested = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        _RUNS[self._run_id].add(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
        runs = _RUNS[self._run_id]
        runs.discard(self)
        if not runs:
            _RUNS.pop(self._run_id, None)

    def listen(self) -> None:
        """From here on the run may be interrupted. Raises StopRequestedError if it was told to stop before."""
        if self.requested:
            raise StopRequestedError
        self._task = asyncio.current_task()

    def let_go(self) -> None:
        """The reader has the run: it hears only when it goes on."""
        self._task = None

    def close(self) -> None:
        """It is too late to stop the run: it is being stored."""
        self._open, self._task = False, None

    def request(self) -> bool:
        """Stop the run, from any thread; False if it is too late. May be repeated."""
        if not self._open:
            return False
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - documented for those who look for a loop
            self._stop()
            return True
        try:
            self._loop.call_soon_threadsafe(self._stop)
        except RuntimeError:
            # Its loop has been closed, and the run with it.
            return False
        return True

    def _stop(self) -> None:
        if self.requested or not self._open:
            return
        self.requested = True
        # What the run does by itself it sees at its next step; it need not wait anywhere before.
        if self._task is not None and self._task is not asyncio.current_task():
            self._interrupted = self._task
            self._task.cancel()

    def is_cause_of(self, failure: BaseException | None) -> bool:
        """True if the run ended because it was told to, and nobody else wants its reader to end. To be asked once."""
        if not self.requested:
            return False
        # Python 3.10 does not count who has cancelled a task.
        uncancel = getattr(self._interrupted, "uncancel", None)
        others = uncancel() if uncancel is not None else 0
        if isinstance(failure, asyncio.CancelledError):
            return self._interrupted is not None and not others
        return failure is None or isinstance(failure, Exception)

    def is_meant(self, db: Any, session_id: str | None, user_id: str | None, whose: Any) -> bool:
        """True if it is the run that somebody means. Without a database nothing but the component's id tells whose it is."""
        if self._db is not db or self._key.user_id != user_id or session_id not in {None, self._key.session_id}:
            return False
        return db is not None or self.whose is whose or getattr(self.whose, "id", None) == whose.id


def stop_run(db: Any, run_id: str, *, session_id: str | None, user_id: str | None, whose: Any) -> bool:
    """Stop the runs of this id that go on in this process, in this session if it is named, and are this user's; False if there are none.

    Without a database they are those of the component ``whose``, or, if it has none, of one of the same id: a service may make it anew for each request.
    """
    found = [run for run in list(_RUNS.get(run_id, ())) if run.is_meant(db, session_id, user_id, whose)]
    own = [run for run in found if db is None and run.whose is whose]
    # All of them.
    return sum(run.request() for run in own or found) > 0
