"""What the leader of a team is told of its members, and of how to work with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agno_mongo.team.members import Member, members_of, roster
from agno_mongo.team.mode import TeamMode

_OPENING: Final = (
    "You lead a team, whose members are listed below. What is asked of you may be answered by you alone, or with their help."
)

_MODES: Final = {
    TeamMode.coordinate: (
        "Give a member a task with delegate_task_to_member when its skills are needed; call it several times at once for independent tasks.",
        "What members answer is material for you: compare it, ask again where it falls short, and write one answer of your own.",
        "Where a member fails or says nothing, say so, and do not invent what it might have said.",
    ),
    TeamMode.route: (
        "Pick the one member that fits the request best and pass the request on whole with delegate_task_to_member.",
        "The member's answer goes to the user as it is and ends your work, so write nothing beside the call.",
    ),
    TeamMode.broadcast: (
        "Put one question to all members at once with delegate_task_to_members, a question that each of them can answer; call it once.",
        "Then write one answer of your own: say once where they agree, and which side you take where they do not.",
        "Where a member fails or says nothing, say so, and do not invent what it might have said.",
    ),
    TeamMode.tasks: (
        "You keep a list of tasks. Make them with create_task, each for the member that fits it best, with depends_on where one needs another's result.",
        "Have one carried out with execute_task, or several that are independent with execute_tasks_parallel; list_tasks shows how they stand.",
        "Read each result. Where a task failed, try again, give it to somebody else or change the plan.",
        "What you did yourself, note with update_task_status; what later tasks need to know, with add_task_note.",
        "The work ends once every task has ended, or when you call mark_all_complete; then write the answer for the user.",
        "What needs no tasks you answer at once.",
    ),
}

_ALONE: Final = (
    "Members see nothing of this conversation: put all that a task needs into its text, and what a good answer looks like."
)
_SHARED: Final = (
    "Of this conversation members see only the parts that the team shows them: put all else that a task needs into its text, and what a "
    "good answer looks like."
)
_VERBATIM: Final = "Members are given the user's own words in place of your text: a short label is enough."
_IDS: Final = "A member is called by its id, exactly as it is listed."
_TEAMS: Final = " A member that is a team is given a task as a whole; its own leader calls those below it."
_LOOKING_UP: Final = "get_member_information shows the list of members again."


def company_of(
    members: Sequence[Member],
    mode: TeamMode,
    *,
    with_tools: bool,
    shared: bool,
    verbatim: bool,
    may_look_up: bool,
) -> str:
    """The part of the system message that is about the team. ``shared``: members are shown more than their task; ``verbatim``: they are given the
    user's input instead of it.
    """
    verbatim = verbatim and mode is not TeamMode.tasks
    lines = [*_MODES[mode], _VERBATIM if verbatim else _SHARED if shared else _ALONE]
    if mode is not TeamMode.broadcast:
        lines.append(_IDS + (_TEAMS if any(members_of(member) is not None for member in members) else ""))
    if may_look_up:
        lines.append(_LOOKING_UP)
    listed = f"<team_members>\n{roster(members, with_tools=with_tools)}\n</team_members>"
    return "\n".join(("<team>", _OPENING, listed, *(f"- {line}" for line in lines), "</team>"))
