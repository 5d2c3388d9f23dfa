"""A team's members: who they are, what the leader is told of them, and which one it means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, TypeAlias

from agno_mongo.agent.actor import Actor
from agno_mongo.errors import ConfigurationError
from agno_mongo.tools.function import Function
from agno_mongo.tools.signature import name_of
from agno_mongo.tools.toolkit import Toolkit

Member: TypeAlias = Actor[Any, Any, Any]


def checked_members(team_id: str, members: Any) -> list[Member]:
    """The members as a list of one's own. Raises ConfigurationError for none at all, for what is no member, and for two of one id."""
    if isinstance(members, (str, bytes)) or not isinstance(members, Sequence):
        raise ConfigurationError(
            f"members= takes a list of agents and teams, or a function that makes one, not {type(members).__name__}: {members!r}"
        )
    if not members:
        raise ConfigurationError(f"team {team_id!r} has no members; pass members=[Agent(…), …]")
    for index, member in enumerate(members):
        if not isinstance(member, Actor):
            raise ConfigurationError(f"members[{index}] is an Agent or a Team, not {type(member).__name__}: {member!r}")
    _check_ids(team_id, members)
    return list(members)


def _check_ids(team_id: str, members: Sequence[Member]) -> None:
    known: dict[str | None, Member] = {}
    for member in members:
        if known.setdefault(member.id, member) is member and sum(other is member for other in members) == 1:
            continue
        raise ConfigurationError(
            f"team {team_id!r} has two members with the id {member.id!r}; the leader tells members apart by id: pass id= or name="
        )


def check_tree(team: Member) -> None:
    """Raise ConfigurationError for a team that is among its own members, at whatever depth, or that has none any more."""
    _walk(team, ())


def _walk(team: Member, above: tuple[Member, ...]) -> None:
    if any(other is team for other in above):
        path = " → ".join(repr(one.id) for one in (*above, team))
        raise ConfigurationError(f"team {team.id!r} is among its own members: {path}")
    members = members_of(team)
    if members is not None and not callable(getattr(team, "members", None)):
        checked_members(str(team.id), members)
    for member in members or ():
        _walk(member, (*above, team))


def lend_model(team: Member) -> None:
    """Give the team's model, if it was given one, to members that were not. They keep it."""
    for member in members_of(team) or ():
        if member.has_default_model and not team.has_default_model:
            member.model = team.model


def members_of(member: Member) -> Sequence[Member] | None:
    """The members of a team, none where a function makes them for each run; None of an agent."""
    found: Any = getattr(member, "members", None)
    return () if callable(found) else found


def everyone(team: Member) -> Iterator[Member]:
    """The members, and theirs, at any depth."""
    for member in members_of(team) or ():
        yield member
        yield from everyone(member)


def named(member: Member) -> str:
    """What a member is called where people and models read it."""
    return member.name or str(member.id)


def roster(members: Sequence[Member], *, with_tools: bool, indent: str = "") -> str:
    """The members as the leader is shown them. Those of a member that is a team stand below it without ids: its own leader calls them."""
    return "\n".join(line for member in members for line in _entry(member, indent, with_tools=with_tools))


def _entry(member: Member, indent: str, *, with_tools: bool) -> Iterator[str]:
    below = members_of(member)
    marks = [f'id="{escape(str(member.id))}"'] if not indent else []
    marks += [f'name="{escape(member.name)}"'] if member.name else []
    marks += ['type="team"'] if below is not None else []
    yield f"{indent}<member {' '.join(marks)}>".replace(" >", ">")
    if member.role:
        yield f"{indent}  Role: {member.role}"
    if member.description:
        yield f"{indent}  Description: {member.description}"
    if with_tools and (names := list(_tool_names(member.tools))):
        yield f"{indent}  Tools: {', '.join(names)}"
    if below:
        yield roster(below, with_tools=with_tools, indent=f"{indent}  ")
    yield f"{indent}</member>"


def _tool_names(tools: Any) -> Iterator[str]:
    """The names of a list of tools. What a function would make for a run is not known yet."""
    for tool in tools if isinstance(tools, Sequence) else ():
        if isinstance(tool, Toolkit):
            yield from tool.get_async_functions()
        elif isinstance(tool, Function):
            yield tool.name
        elif callable(tool):
            yield name_of(tool)
        else:
            yield str(tool.get("name") or tool.get("type"))
