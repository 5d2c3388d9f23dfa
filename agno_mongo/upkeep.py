"""What an open run needs between its two commands: its lease renewed, its turn awaited, its checkpoints stored.

A short run without checkpoints that waits for nobody sends no command from here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

from agno_mongo.db import values
from agno_mongo.db.checkpoints import ENTRY_BYTES, Checkpoint, stored_changes
from agno_mongo.db.leases import Ahead, Claim
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.open_runs import Renewed
from agno_mongo.db.state import Change
from agno_mongo.errors import DocumentTooLarge, StoreError, StoreUnavailable

_log = logging.getLogger("agno_mongo")

_FIRST_LOOK: Final = 0.02
_RARELY: Final = 0.5
"""Seconds between two looks at who is still ahead: soon after somebody left, then more and more rarely."""


_PATIENCE: Final = 6
_SOON: Final = 12
"""Parts of a lease: how long one renewal may take, and how long after one that failed the next is tried."""

RENEWED_EVERY: Final = 5.0
"""Seconds between two renewals, or a third of the lease if that is less. Oftener than the lease needs, because with a renewal the run hears
whether somebody wants it to stop.
"""


class Upkeep:
    """Keeps a run going that ``claim`` says is this process's, with leases of ``lease`` seconds. ``on_cancel`` is called, maybe more than
    once, when it comes out that somebody wants the run to stop. ``has_media``: the run's entry refers, or did, to content that is stored apart.
    """

    def __init__(self, db: MongoDb, claim: Claim, lease: float, on_cancel: Callable[[], object] = lambda: None) -> None:
        self._db = db
        self.claim: Final = claim
        self._lease = lease
        self._pause = min(RENEWED_EVERY, lease / 3)
        self._on_cancel = on_cancel
        self._sent: dict[str, int] = {}
        self._send_all = False
        self._bytes = 0
        self._full = False
        self.has_media = False

    @asynccontextmanager
    async def alive(self) -> AsyncGenerator[None, None]:
        """Renew the run's lease while it goes on. A short run is over before the first renewal."""
        loop = asyncio.get_running_loop()
        renewals: list[asyncio.Task[None]] = []
        over = asyncio.Event()
        timer = loop.call_later(self._pause, lambda: renewals.append(loop.create_task(self._renew(over))))
        try:
            yield
        finally:
            timer.cancel()
            over.set()
            for renewal in renewals:
                renewal.cancel()
                await asyncio.gather(renewal, return_exceptions=True)

    async def _renew(self, over: asyncio.Event) -> None:
        while True:
            pause = self._lease / _SOON
            # A server that is away for a moment is met again soon, or by finish_run. A command that hangs must not cost the lease.
            with suppress(StoreError, asyncio.TimeoutError):
                self._heard(await asyncio.wait_for(self._db.renew_lease(self.claim, self._lease), self._lease / _PATIENCE))
                pause = self._pause
            if over.is_set():
                # Before Python 3.12 wait_for, here and within PyMongo, misses that it is cancelled in the moment in which the answer comes.
                return
            await asyncio.sleep(pause)

    def _heard(self, renewed: Renewed) -> None:
        self.has_media = self.has_media or renewed.has_media
        if renewed.cancelled:
            self._on_cancel()

    async def turn(self, ahead: Ahead, timeout: float | None) -> None:
        """Wait until all who are ahead have finished, or until their leases have run out.

        Raises SessionBusy after ``timeout`` seconds, at once without one. A look is one find of a few bytes; a server that is away is
        asked again.
        """
        if timeout is None:
            raise ahead.busy(self.claim.key.session_id)
        deadline = monotonic() + timeout
        pause = _FIRST_LOOK
        async with self.alive():
            while ahead:
                left = deadline - monotonic()
                if left <= 0:
                    raise ahead.busy(self.claim.key.session_id, timeout)
                await asyncio.sleep(min(pause, left))
                before = len(ahead)
                with suppress(StoreUnavailable):
                    ahead = await self._db.still_ahead(self.claim, ahead)
                pause = _FIRST_LOOK if len(ahead) < before else min(2 * pause, _RARELY)

    async def checkpoint(
        self,
        record: Mapping[str, Any],
        changes: Sequence[Change],
        *,
        input_changed: bool = False,
        parts: Mapping[str, Sequence[dict[str, Any]]] = MappingProxyType({}),
        fixed: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Store what the run has so far: ``record`` is the run as it would be stored, ``changes`` what it did to the state; ``input_changed`` says that
        its input is not what it was when the run began. ``parts`` are lists that grow (else :meth:`send_all_again`), ``fixed`` what stays as it is; both are encoded.

        Only what is new since the last checkpoint is sent. It may fail without harm, and then the next one sends all again; the run's
        outcome is stored by finish_run in any case. A run whose checkpoints would take more than ENTRY_BYTES keeps those that it has,
        stores no more and says so in the log. Raises SessionError if the run cannot be stored at all any more.
        """
        if self._full:
            return
        sent, self._sent, self._send_all = self._sent, {}, False
        # Runs beside may end while this is being sent; what they add is the next checkpoint's.
        parts = {name: list(part) for name, part in parts.items()}
        names = ("messages", "tools", "events") if "messages" in record else ()
        own: dict[str, list[Any]] = {name: record.get(name) or [] for name in names}
        new: dict[str, Any] = {name: listed[sent.get(name, 0) :] for name, listed in own.items()}
        given = [record["input"]] if input_changed and not sent else []
        rest = {**new, "input": given, "metrics": record.get("metrics") or {}}
        encoded, _ = values.encode_lenient(rest, path="run")
        lists = {name: encoded[name] for name in own} | {name: part[sent.get(name, 0) :] for name, part in parts.items()}
        point = Checkpoint(
            claim=self.claim,
            lease=self._lease,
            lists=lists,
            metrics=encoded["metrics"],
            changes=stored_changes(changes),
            whole=not sent,
            input=encoded["input"],
            fixed=fixed,
        )
        try:
            if await self._fits(point):
                self._heard(await self._db.checkpoint_run(point))
            else:
                self._stop_checkpoints(f"they would take more than {ENTRY_BYTES} bytes")
        except DocumentTooLarge:
            self._stop_checkpoints("the session has no room for them")
        except StoreError:
            # The server is away for a moment. Whether it has stored this one is not known.
            return
        self._sent = {} if self._send_all else {"": 1, **{name: len(listed) for name, listed in (own | parts).items()}}

    def send_all_again(self) -> None:
        """Say that a part is not what was sent of it, with something added: the next checkpoint sends all."""
        self._sent, self._send_all = {}, True

    async def _fits(self, point: Checkpoint) -> bool:
        # A large image takes its time.
        added, replaced = await asyncio.to_thread(point.sizes)
        self._bytes = added if point.whole else self._bytes + added
        return self._bytes + replaced <= ENTRY_BYTES

    def _stop_checkpoints(self, why: str) -> None:
        self._full = True
        run_id, session_id = self.claim.run_id, self.claim.key.session_id
        _log.warning("run %r of session %r goes on without further checkpoints: %s", run_id, session_id, why)

    async def give_up(self, *, paused: bool = False) -> None:
        """Take back that the run has begun, or was taken over, so that it is interrupted as before, or ``paused``. If the server is away, its
        lease runs out instead.
        """
        with suppress(StoreError):
            await self._db.leave_run(self.claim, paused=paused)
