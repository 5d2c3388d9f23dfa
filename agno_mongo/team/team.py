"""``Team``: a leader who gives tasks to agents and other teams, with one session for all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, TypeAlias, cast

from agno_mongo import renamed
from agno_mongo.agent.actor import Actor, RunOptions
from agno_mongo.agent.called import called
from agno_mongo.agent.output_schema import StructuredAnswer
from agno_mongo.agent.tool_settings import HasTools
from agno_mongo.component.continuing import Continuation
from agno_mongo.db.base import SessionType
from agno_mongo.db.documents import TeamSession
from agno_mongo.execution import Execution
from agno_mongo.messages import ToolExecution
from agno_mongo.model_loop import AnswerForm
from agno_mongo.recording import Recording
from agno_mongo.run.agent import RunOutputEvent
from agno_mongo.run.base import RunContext
from agno_mongo.run.team import TeamRunOutput, TeamRunOutputEvent
from agno_mongo.team.delegating import Delegation, delegating_tools, member_information_tool
from agno_mongo.team.leading import company_of
from agno_mongo.team.members import check_tree, checked_members, everyone, lend_model, members_of
from agno_mongo.team.mode import TeamMode
from agno_mongo.team.settings import TeamSettings
from agno_mongo.team.task_tools import AnswerAfterTasks, begin_tasks, task_tools
from agno_mongo.tools.function import Function
from agno_mongo.tools.signature import FILLED_IN_TYPES

TeamEvent: TypeAlias = TeamRunOutputEvent | RunOutputEvent
"""What a stream of a team's run has: the team's own events, and its members'."""


@renamed.older_settings_accepted
class Team(TeamSettings, Actor[TeamSession, TeamRunOutput, TeamEvent]):
    """A leader with members: agents and teams, nested to any depth, in one session.

    The leader is an agent in all but name: ``model``, ``instructions``, ``tools``, hooks, history, structured answers and all other settings of
    ``Agent`` are the leader's. A member's run is a run within the leader's: it has the same user, session and state, is stored whole in the team's
    session (``parent_run_id`` says within which run), before the leader's, in the same command. A member's own ``db`` is not used there.

    ``members``: at least one, or a function that makes the list for each run; the leader tells them apart by ``id`` (made of the name if none is given), and is told their ``role`` and
    ``description``, with ``add_member_tools_to_context`` the names of their tools, too. A member without a ``model`` has the team's, from the team's first
    run on.
    ``mode``: ``"coordinate"``: the leader gives tasks to members and writes the answer. ``"route"``: it picks a member, whose answer is the
    team's. ``"broadcast"``: all members get one task at once, then the leader writes the answer. ``"tasks"``: it keeps a list of tasks with
    dependencies in the session's state, which members work on, in ``max_iterations`` turns (10) at most. ``respond_directly=True`` is route,
    ``delegate_to_all_members=True`` broadcast.

    ``determine_input_for_members=False``: members are given the user's input in place of the leader's text. ``share_member_interactions``: they are
    shown what others were asked and answered in this run; ``add_team_history_to_members``: the team's last ``num_team_history_runs`` runs (3).
    A member with ``add_history_to_context`` is shown its own earlier runs in this session. ``get_member_information_tool``: the leader may look
    the members up.

    ``tool_timeout``: how many seconds a member may take, as any tool. What a member that fails, hangs or is cancelled came to is stored, and the
    leader told; one that pauses pauses the team.

    ``stream_member_events=False``: a stream has the leader's events only. ``store_member_responses``: the members' runs are stored a second time
    within the team's, as ``member_responses``. ``store_member_sessions``: a member that has a ``db`` and a ``session_id`` has its runs in that session, too, two commands
    more for each. ``show_members_responses``: ``print_response`` shows their answers, too.
    """

    SESSION_TYPE = SessionType.TEAM
    RUN_TYPE = TeamRunOutput

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.members):
            self.members = checked_members(str(self.id), self.members)

    async def _begun(
        self,
        given: Any,
        options: RunOptions,
        continued: Continuation[TeamRunOutput] | None,
        *,
        stream: bool,
        within: Execution | None = None,
        own_session: bool = False,
    ) -> tuple[Execution, AsyncGenerator[Any, None]]:
        team = self if not callable(self.members) else await self._with_members(self.members, options, continued, within)
        return await super(Team, team)._begun(given, options, continued, stream=stream, within=within, own_session=own_session)

    async def _with_members(
        self,
        members: Callable[..., Any],
        options: RunOptions,
        continued: Continuation[TeamRunOutput] | None,
        within: Execution | None,
    ) -> Team:
        """The team of one run, with the members that the function has made for it."""
        # A session that is made up is this team's.
        key = within.key if within is not None else self._key_of(options, continued)
        context = RunContext(
            run_id=options.get("run_id") or "" if continued is None else continued.run_id,
            session_id=key.session_id,
            user_id=key.user_id,
            session_type=key.session_type.value,
            session_state=dict(options.get("session_state") or {}) if within is None else within.context.session_state,
            metadata={**(self.metadata or {}), **(options.get("metadata") or {})} or None,
            dependencies={**(self.dependencies or {}), **(options.get("dependencies") or {})} or None,
        )
        made = await called(members, {"team": self, "run_context": context, "session_state": context.session_state})
        team = copy(self)
        team.members = checked_members(str(self.id), made)
        return team

    @property
    def as_arguments(self) -> dict[str, Any]:
        """The team, by the name under which functions of the user's ask for it."""
        return {"team": self}

    def company(self) -> str:
        """What the system message says of the members, and of how to work with them."""
        return company_of(
            members_of(self) or (),
            self._mode,
            with_tools=self.add_member_tools_to_context,
            shared=self.share_member_interactions or self.add_team_history_to_members,
            verbatim=not self.determine_input_for_members,
            may_look_up=self.get_member_information_tool,
        )

    @property
    def _mode(self) -> TeamMode:
        return cast("TeamMode", self.mode)

    @property
    def _recording(self) -> Recording:
        return replace(super()._recording, store_member_responses=self.store_member_responses)

    def _own_tools(self) -> list[Function]:
        looking_up = [member_information_tool()] if self.get_member_information_tool else []
        working = task_tools() if self._mode is TeamMode.tasks else delegating_tools(self._mode)
        return [*working, *looking_up, *super()._own_tools()]

    def _offered(self, execution: Execution, options: RunOptions, *, stream: bool) -> Mapping[str, Any]:
        schema = self._schema_of(options) if self._mode is TeamMode.route else None
        delegation = Delegation(team=cast("Any", self), execution=execution, options=options, stream=stream, output_schema=schema)
        return {**super()._offered(execution, options, stream=stream), "delegation": delegation}

    def _take_answer(self, execution: Execution, offered: Mapping[str, Any]) -> None:
        """In mode route an object that the member has answered is the team's answer."""
        answered, run = offered["delegation"].answered, execution.run
        is_last = answered is not None and run.messages[-1].role == "tool"
        if self._mode is TeamMode.route and is_last and not isinstance(answered.content, str):
            run.content, run.content_type = answered.content, answered.content_type

    def _form_of(self, schema: StructuredAnswer | None, execution: Execution) -> AnswerForm | None:
        """In mode tasks an answer ends the run only once the tasks are done."""
        if self._mode is not TeamMode.tasks:
            return schema
        begin_tasks(execution)
        return AnswerAfterTasks(context=execution.context, max_iterations=self.max_iterations, schema=schema)

    def _told(
        self, happening: AsyncGenerator[Any, None], form: AnswerForm | None, execution: Execution
    ) -> AsyncGenerator[Any, None]:
        return form.turns_told(happening, execution) if isinstance(form, AnswerAfterTasks) else happening

    def _looking_back(self, options: RunOptions) -> dict[str, Any]:
        """As the leader's own settings say, and as far as members are shown; between the runs that count stand those of the members."""
        # Before anything is stored, and before members are counted.
        check_tree(self)
        lend_model(self)
        found = super()._looking_back(options)
        wanted = found["history_runs"]
        if self.add_team_history_to_members:
            wanted = max(wanted, self.num_team_history_runs)
        of_members = [member._looking_back({})["history_runs"] for member in members_of(self) or ()]  # noqa: SLF001 - an actor as this one
        at_hand = self.runs_of_turns(max(found["runs_at_hand"], *of_members, wanted))
        return {"history_runs": wanted, "runs_at_hand": at_hand}

    def runs_of_turns(self, turns: int) -> int:
        """How many of a session's newest runs it takes to have those of so many turns, if each member has one in a turn."""
        return turns * (1 + sum(1 for _ in everyone(self)))

    def _fault_of_input(self, execution: ToolExecution, member_id: str | None = None) -> str | None:
        """What is wrong with what a person has filled in, for the leader's tools or a member's."""
        if member_id is None:
            return super()._fault_of_input(execution)
        for member in everyone(self):
            if member.id == member_id:
                return HasTools._fault_of_input(member, execution)  # noqa: SLF001 - its own tools
        return None

    def _described(self) -> dict[str, Any]:
        members = [{member.SESSION_TYPE.id_field: member.id, "name": member.name} for member in members_of(self) or ()]
        return {**super()._described(), "mode": self._mode.value, "members": members}


FILLED_IN_TYPES[Team] = "team"
