"""Giving tasks to members: each is a run within the leader's, stored with it, and its answer is the result of the leader's call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf
from typing import Any, Final, Protocol

from agno_mongo.agent.actor import RunOptions
from agno_mongo.db import values
from agno_mongo.execution import Execution
from agno_mongo.messages import text_of
from agno_mongo.resuming import is_waiting
from agno_mongo.run.base import RunStatus
from agno_mongo.run.events import RunEvent
from agno_mongo.run.team import member_run_from_dict
from agno_mongo.run.team_events import TeamRunEvent
from agno_mongo.team.interactions import Interaction, earlier_runs, interactions_so_far
from agno_mongo.team.members import Member, named, roster
from agno_mongo.team.mode import TeamMode
from agno_mongo.tools.calling import PassedOn, ended
from agno_mongo.tools.function import BadToolArgumentsError, Function, FunctionCall, ToldToModelError
from agno_mongo.tools.pausing import WaitsWithinError
from agno_mongo.tools.signature import FILLED_IN_TYPES

_CONTENT: Final = frozenset({RunEvent.run_content.value, TeamRunEvent.run_content.value})
_PASSED_ON: Final = ("dependencies", "add_dependencies_to_context", "add_session_state_to_context")


class MemberFailedError(ToldToModelError):
    """A member came to no answer; the text is for the leader."""


class Leading(Protocol):
    """What of a team says how its members are given tasks."""

    members: Sequence[Member]
    mode: TeamMode
    tool_timeout: float | None
    determine_input_for_members: bool
    share_member_interactions: bool
    add_team_history_to_members: bool
    num_team_history_runs: int
    add_member_tools_to_context: bool
    stream_member_events: bool
    store_member_sessions: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """A task for a member, one of several of a call; ``part`` tells them apart."""

    member: Member
    task: str
    part: str | None = None


@dataclass(kw_only=True, eq=False)
class Delegation:
    """What one run of a team gives to its members. ``answered`` is the run of the member that has answered last."""

    team: Leading
    execution: Execution
    options: RunOptions
    stream: bool
    output_schema: Any = None
    interactions: list[Interaction] = field(default_factory=list)
    answered: Any = None

    def __post_init__(self) -> None:
        past = self.execution.past
        # Some models use the ids of their calls again; these are the calls that the run goes on with.
        self._waiting = {tool.tool_call_id for tool in past.paused_round if tool.result is None}
        self._earlier = list(past.inner)

    def member(self, member_id: str) -> Member:
        """The member of this id. Raises BadToolArgumentsError, for the leader, if there is none."""
        for member in self.team.members:
            if member.id == member_id:
                return member
        listed = roster(self.team.members, with_tools=self.team.add_member_tools_to_context)
        raise BadToolArgumentsError(f"There is no member with the id {member_id!r}. The members are:\n{listed}")

    async def to_one(
        self, call_id: str | None, member: Member, task: str, *, part: str | None = None
    ) -> AsyncGenerator[Any, None]:
        """Have a member carry out a task. Yields its events, then its answer; in mode route the answer's pieces as they come.
        ``part`` tells the tasks of one call apart.

        Raises MemberFailedError if it came to none.
        """
        before = self._run_before(call_id, part, member)
        if before is not None and not is_waiting(before):
            yield _told_again(member, member_run_from_dict(values.decode(before)))
            return
        execution, happening = await self._begun(member, task, before)
        run, pieces = execution.run, 0
        self._note(call_id, part, run)
        routed = self.stream and self.team.mode is TeamMode.route
        try:
            async with aclosing(happening) as events:
                async for event in events:
                    if self.stream and self.team.stream_member_events:
                        yield PassedOn(event)
                    if routed and event.event in _CONTENT and event.run_id == run.run_id and isinstance(event.content, str):
                        pieces += 1
                        yield event.content
        finally:
            self._take(member, task, run)
        if run.status is RunStatus.paused:
            raise WaitsWithinError
        if run.status is not RunStatus.completed:
            raise MemberFailedError(_why(member, run))
        self.answered = run
        if not pieces:
            yield run.get_content_as_string() or f"{named(member)} gave no answer."

    async def at_once(self, call_id: str | None, jobs: Sequence[Job]) -> AsyncGenerator[Any, None]:
        """Have members carry out tasks at once. Yields their events, then the list of Outcomes, in the order of ``jobs``.

        Each may take ``tool_timeout`` seconds. Nothing of a member is taken before its last event was read.
        """
        happenings: asyncio.Queue[Any] = asyncio.Queue(1)
        tasks = [asyncio.ensure_future(self._one_of_many(happenings, call_id, job)) for job in jobs]
        try:
            unfinished = len(tasks)
            while unfinished:
                happening = await happenings.get()
                if isinstance(happening, PassedOn):
                    yield happening
                else:
                    unfinished -= 1
        finally:
            await ended(*tasks)
        outcomes = [task.result() for task in tasks]
        for outcome in outcomes:
            if outcome.failure is not None:
                raise outcome.failure
        yield outcomes

    async def _one_of_many(self, happenings: asyncio.Queue[Any], call_id: str | None, job: Job) -> Outcome:
        limit = self.team.tool_timeout
        outcome = Outcome(text=f"{named(job.member)} had not finished after {limit or 0:g} seconds.", failed=True)
        work = asyncio.ensure_future(self._outcome(happenings, call_id, job))
        try:
            await asyncio.wait((work,), timeout=limit)
            if work.done():
                outcome = work.result()
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001 - raised again where the run is read, which would wait for ever
            outcome = Outcome(text="", failure=failure)
        finally:
            await ended(work)
        await happenings.put(None)
        return outcome

    async def _outcome(self, happenings: asyncio.Queue[Any], call_id: str | None, job: Job) -> Outcome:
        texts: list[str] = []
        try:
            async with aclosing(self.to_one(call_id, job.member, job.task, part=job.part)) as parts:
                async for part in parts:
                    if isinstance(part, PassedOn):
                        await happenings.put(part)
                    else:
                        texts.append(part)
        except WaitsWithinError:
            return Outcome(text="", waits=True)
        except ToldToModelError as error:
            return Outcome(text=str(error), failed=True)
        except Exception as error:  # noqa: BLE001 - whatever a member's tools and hooks raise is for the leader to hear
            return Outcome(text=f"{named(job.member)} failed: {type(error).__name__}: {error}", failed=True)
        return Outcome(text="".join(texts))

    async def _begun(
        self, member: Member, task: str, before: Mapping[str, Any] | None
    ) -> tuple[Execution, AsyncGenerator[Any, None]]:
        """The member's run, or the one that had paused, which goes on."""
        how = {"stream": self.stream, "own_session": self.team.store_member_sessions}
        if before is None:
            return await member.begun_within(self.execution, self._given(member, task), self._options(member), **how)
        return await member.goes_on_within(self.execution, before["run_id"], self._options(member), **how)

    def _run_before(self, call_id: str | None, part: str | None, member: Member) -> Mapping[str, Any] | None:
        """What the member has stored of a run for this call, if the team's run goes on with it after a pause."""
        if call_id not in self._waiting:
            return None
        found = [
            record
            for record in self._earlier
            if record.get("parent_tool_call_id") == _of_call(call_id, part)
            and record.get("parent_run_id") == self.execution.run.run_id
            and member.id in {record.get("agent_id"), record.get("team_id")}
        ]
        return found[-1] if found else None

    # What a member is given, and what comes of it.

    def _given(self, member: Member, task: str) -> Any:
        """The task as the member gets it: with what the team shows it of what was said before."""
        run_input = self.execution.run.input
        given = task if self.team.determine_input_for_members or run_input is None else run_input.input_content
        shown = []
        if self.team.share_member_interactions and self.interactions:
            shown.append(interactions_so_far(self.interactions))
        if self.team.add_team_history_to_members:
            told = earlier_runs(self.execution.session.runs or (), member, self.team.num_team_history_runs)
            shown += [told] if told else []
        return "\n\n".join((*shown, text_of(given))) if shown else given

    def _options(self, member: Member) -> RunOptions:
        context, run_input = self.execution.context, self.execution.run.input
        options: dict[str, Any] = {name: self.options[name] for name in _PASSED_ON if name in self.options}
        if context.dependencies:
            options["dependencies"] = context.dependencies
        if context.metadata:
            options["metadata"] = context.metadata
        if self.output_schema is not None and member.output_schema is None:
            options["output_schema"] = self.output_schema
        if run_input is not None:
            given = {"images": run_input.images, "audio": run_input.audios, "videos": run_input.videos, "files": run_input.files}
            options |= {name: some for name, some in given.items() if some}
        return options  # type: ignore[return-value] # put together by name

    def _note(self, call_id: str | None, part: str | None, run: Any) -> None:
        """The leader's call names the run that it led to, and that run the call."""
        run.parent_tool_call_id = _of_call(call_id, part)
        for tool in self.execution.run.tools or ():
            if tool.tool_call_id == call_id:
                tool.child_run_id = run.run_id

    def _take(self, member: Member, task: str, run: Any) -> None:
        """The member's run, however it ended, becomes part of the team's."""
        team_run = self.execution.run
        team_run.member_responses.append(run)
        if run.status is RunStatus.completed:
            self.interactions.append(Interaction(member=named(member), task=task, answer=run.get_content_as_string()))
        team_run.take_media_of(run)


def _of_call(call_id: str | None, part: str | None) -> str | None:
    return call_id if part is None else f"{call_id}/{part}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one of several members has come to."""

    text: str
    failed: bool = False
    waits: bool = False
    failure: BaseException | None = None


def _told_again(member: Member, run: Any) -> str:
    """What a member had come to before the team's run paused."""
    if run.status is RunStatus.completed:
        return str(run.get_content_as_string()) or f"{named(member)} gave no answer."
    return _why(member, run)


def _why(member: Member, run: Any) -> str:
    if run.status is RunStatus.cancelled:
        return f"{named(member)} was cancelled before it came to an answer."
    return f"{named(member)} failed: {run.get_content_as_string()}"


FILLED_IN_TYPES[Delegation] = "delegation"


async def delegate_task_to_member(delegation: Delegation, fc: FunctionCall, member_id: str, task: str) -> AsyncIterator[Any]:
    """Give a task to a member of your team. The result is the member's answer.

    Args:
        member_id: The member's id, exactly as it is listed.
        task: What the member is to do, with all that it needs to know, and what a good answer looks like.
    """
    async with aclosing(delegation.to_one(fc.call_id, delegation.member(member_id), task)) as parts:
        async for part in parts:
            yield part


async def delegate_task_to_members(delegation: Delegation, fc: FunctionCall, task: str) -> AsyncIterator[Any]:
    """Give one task to all members of your team at once. The result is all their answers.

    Args:
        task: What each member is to do, with all that it needs to know, and what a good answer looks like.
    """
    members = delegation.team.members
    async with aclosing(delegation.at_once(fc.call_id, [Job(member=member, task=task) for member in members])) as parts:
        async for part in parts:
            if isinstance(part, PassedOn):
                yield part
            else:
                yield _together(members, part)


def _together(members: Sequence[Member], outcomes: Sequence[Outcome]) -> str:
    """The answers of all members in one text; what failed is told there. Raises MemberFailedError if none of them came to an answer."""
    if any(outcome.waits for outcome in outcomes):
        raise WaitsWithinError
    text = "\n\n".join(f"{named(member)}:\n{outcome.text}" for member, outcome in zip(members, outcomes, strict=True))
    if all(outcome.failed for outcome in outcomes):
        raise MemberFailedError(text)
    return text


async def get_member_information(delegation: Delegation) -> str:
    """List the members of your team again, with their ids."""
    return roster(delegation.team.members, with_tools=delegation.team.add_member_tools_to_context)


@cache
def delegating_tools(mode: TeamMode) -> tuple[Function, ...]:
    """The tools by which a leader gives tasks to members."""
    if mode is TeamMode.broadcast:
        # Each member has its own time; all together have any.
        return (replace(Function.from_callable(delegate_task_to_members), timeout=inf),)
    if mode is TeamMode.route:
        return (replace(Function.from_callable(delegate_task_to_member), stop_after_tool_call=True),)
    return (Function.from_callable(delegate_task_to_member),)


@cache
def member_information_tool() -> Function:
    """The tool that lists the members."""
    return Function.from_callable(get_member_information)
