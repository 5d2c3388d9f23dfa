"""A team's settings: those of an agent for its leader, and what is said of its members."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from agno_mongo import checks
from agno_mongo.agent.settings import AgentSettings, events_named
from agno_mongo.run.events import RunEvent
from agno_mongo.run.team_events import TeamRunEvent
from agno_mongo.team.mode import TeamMode, mode_of


def team_events_named(name: str, given: Any) -> list[Any]:
    """The events that a setting names, by TeamRunEvent, by the RunEvent that says the same of an agent, or by their names."""
    if given is None:
        return [TeamRunEvent.run_content]
    if isinstance(given, Collection) and not isinstance(given, str):
        given = [_OF_TEAMS.get(event, event) for event in given]
    return events_named(name, given, TeamRunEvent)


_OF_TEAMS: Final = {event.value: TeamRunEvent[event.name].value for event in RunEvent if event.name in TeamRunEvent.__members__}


@dataclass(kw_only=True, eq=False, repr=False)
class TeamSettings(AgentSettings):
    """What a team is made of. Every field may be given to ``Team()`` by its name, ``members`` also as the first argument."""

    members: Sequence[Any] | Callable[..., Any] = field(default=(), kw_only=False)

    # How the leader works with them: agno_mongo.team.mode.
    mode: TeamMode | str | None = None
    respond_directly: bool = False
    delegate_to_all_members: bool = False
    max_iterations: int = 10

    # What members are given: agno_mongo.team.delegating.
    determine_input_for_members: bool = True
    share_member_interactions: bool = False
    add_team_history_to_members: bool = False
    num_team_history_runs: int = 3

    # What the leader is told of them: agno_mongo.team.leading.
    add_member_tools_to_context: bool = False
    get_member_information_tool: bool = False

    # What a caller sees of them, and what is stored.
    stream_member_events: bool = True
    store_member_responses: bool = False
    store_member_sessions: bool = False
    show_members_responses: bool = False

    _checked: ClassVar[dict[str, Callable[[str, Any], Any]]] = {
        **AgentSettings._checked,  # noqa: SLF001 - the same table
        "max_iterations": lambda name, value: checks.count(name, value) or 10,
        "num_team_history_runs": lambda name, value: checks.count(name, value) or 3,
        "events_to_skip": team_events_named,
    }

    def __post_init__(self) -> None:
        # It decides which tools there are.
        self.mode = mode_of(
            self.mode, respond_directly=self.respond_directly, delegate_to_all_members=self.delegate_to_all_members
        )
        super().__post_init__()
        self.respond_directly = self.mode is TeamMode.route
        self.delegate_to_all_members = self.mode is TeamMode.broadcast
