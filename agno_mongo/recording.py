"""What of a run is stored: all of it, or what the component wants kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from agno_mongo import media
from agno_mongo.messages import without_media
from agno_mongo.run.base import BaseRunOutput
from agno_mongo.run.stored import OF_THE_ENTRY, without_tool_messages

E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a component wants stored of its runs.

    Without ``store_media`` a note stands in the place of images, sounds and files; without ``store_tool_messages`` nothing is stored of what
    tools were asked and answered, with ``store_history_messages`` the history that the run was shown is. With ``store_events`` its events are,
    but for those named in ``events_to_skip``. Without ``store_inner`` nothing is stored of the runs within it; without ``store_member_responses`` a
    team's run is stored without its members', which are stored beside it.
    """

    store_media: bool = True
    store_tool_messages: bool = True
    store_history_messages: bool = False
    store_events: bool = False
    events_to_skip: frozenset[str] = frozenset()
    store_inner: bool = True
    store_member_responses: bool = True

    @property
    def wishes(self) -> dict[str, bool]:
        """What a run's entry says of it, for another process that stores the run if this one does not. Nothing, as a rule."""
        return {name: False for name in ("store_tool_messages", "store_inner") if not getattr(self, name)}

    def noted(self, event: E, run: BaseRunOutput) -> E:
        """The event, which becomes part of ``run`` if its events are stored."""
        if self.store_events and getattr(event, "event", None) not in self.events_to_skip and _is_of(event, run):
            if run.events is None:
                run.events = []
            run.events.append(event)
        return event

    async def record(self, run: Any) -> dict[str, Any]:
        """The run as it is stored while it goes on."""
        return media.once(await self._plain(run))

    async def last_record(self, run: Any) -> dict[str, Any]:
        """The run as it is stored once it has ended. A paused one goes on from all that its tools said, and is shown its history anew."""
        if run.is_paused:
            return await self.record(run)
        if self.store_history_messages:
            run.keep_history()
        record = await self._plain(run)
        return media.once(record if self.store_tool_messages else without_tool_messages(record))

    async def _plain(self, run: Any) -> dict[str, Any]:
        record: dict[str, Any] = run.to_dict() if self.store_member_responses else run.own_dict()
        # They are the tools', seen by whoever is to answer.
        record.pop("requirements", None)
        # They are stored as those of runs within this one.
        record.pop("step_executor_runs", None)
        for requirement in record.get("step_requirements") or ():
            requirement.pop("executor_requirements", None)
            if output := requirement.get("step_output"):
                requirement["step_output"] = {"step_id": output.get("step_id")}
        if not self.store_media:
            record |= {name: await self.kept(record[name]) for name in _WITH_MEDIA if name in record}
            record |= await self.kept({name: record[name] for name in media.NAMES.intersection(record)})
        return record

    async def kept(self, value: Any) -> Any:
        """``value`` as far as it is wanted stored."""
        # A large image takes its time.
        return value if self.store_media else await asyncio.to_thread(without_media, value)


def _is_of(event: Any, run: BaseRunOutput) -> bool:
    """True for an event of the run itself, and not of one within it, which has its own."""
    return getattr(event, "run_id", None) in {None, "", run.run_id}


_WITH_MEDIA = ("input", "messages", "events", "step_results", "step_requirements")


def paused_entry(run: Any, record: Mapping[str, Any], *, input_changed: bool) -> dict[str, Any]:
    """What the run's entry has while it waits, beside what it had when it began."""
    rest = {name: value for name, value in record.items() if name not in OF_THE_ENTRY}
    lists = {name: record.get(name) or [] for name in ("messages", "tools") if name in type(run).model_fields}
    metrics = record.get("metrics") or {}
    own = {**lists, "metrics": metrics, "counted": metrics, "pending": run.pending_calls(), "run": rest}
    if not input_changed:
        return own
    given = record.get("input") or {}
    return {**own, "input": given.get("input_content"), **{name: given.get(name) for name in media.OF_INPUT}}
