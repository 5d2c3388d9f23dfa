"""A session in which a component keeps its runs that are part of others, a member's in its team's, beside the outermost run's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agno_mongo.db import values
from agno_mongo.db.keys import SessionKey
from agno_mongo.db.mongo import MongoDb
from agno_mongo.db.store import RunBegin, RunEnd
from agno_mongo.errors import RunAlreadyFinished
from agno_mongo.ids import new_id

_OF_THE_OUTER_RUN = frozenset({"parent_run_id", "parent_tool_call_id"})


@dataclass(frozen=True, kw_only=True)
class OwnSession:
    """Where the runs are kept. ``component`` is what the session says of whose it is."""

    db: MongoDb
    key: SessionKey
    component: Mapping[str, Any]

    async def keep(self, begin: RunBegin, records: Sequence[dict[str, Any]], counters: Mapping[str, float]) -> None:
        """Store a run that has ended, the last of ``records``, after those within it. Its state is the outer run's, and is not.

        Two commands; one if the session has the run. Raises what they raise: the session may be another user's, or of another type.
        """
        inner, own = records[:-1], {name: value for name, value in records[-1].items() if name not in _OF_THE_OUTER_RUN}
        attempt = new_id()
        begin = replace(
            begin,
            key=self.key,
            component=values.encode(
                dict(self.component), path=f"session {self.key.session_id!r} {self.key.session_type.data_field}"
            ),
            runs_wanted=0,
            reused_id=True,
            attempt=attempt,
            yields=False,
            known=None,
            answers=None,
        )
        try:
            await self.db.begin_run(begin)
        except RunAlreadyFinished:
            return
        end = RunEnd(
            key=self.key,
            run_id=begin.run_id,
            runs=[{**record, "session_id": self.key.session_id} for record in (*inner, own)],
            changes=[],
            counters=counters,
            state_revision=None,
            attempt=attempt,
        )
        await self.db.finish_run(end)
