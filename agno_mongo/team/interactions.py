"""What members are shown beside their task: what others were asked before in this run, and earlier runs of the team."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agno_mongo.history import by_themselves, team_context, turns_of
from agno_mongo.run.base import BaseRunOutput
from agno_mongo.team.members import Member, members_of


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """A task that a member was given in this run, and its answer."""

    member: str
    task: str
    answer: str


def interactions_so_far(interactions: Iterable[Interaction]) -> str:
    """What other members were asked in this run, and answered."""
    told = "\n\n".join(f"Member: {one.member}\nTask: {one.task}\nAnswer: {one.answer}" for one in interactions)
    return f"<member_interaction_context>\n{told}\n</member_interaction_context>"


def earlier_runs(runs: Sequence[BaseRunOutput], member: Member, number: int) -> str | None:
    """The newest ``number`` runs of the team that came to an answer, as text; of a member that is a team, its own. None if there are none."""
    if members_of(member) is not None:
        runs = by_themselves(run for run in runs if getattr(run, "team_id", None) == member.id)
    return team_context(turns_of(runs, number))
