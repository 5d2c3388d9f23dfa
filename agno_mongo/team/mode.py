"""How a team's leader works with its members."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from agno_mongo import renamed
from agno_mongo.errors import ConfigurationError


class TeamMode(str, Enum):
    """What a leader does with a request."""

    coordinate = "coordinate"
    """The leader gives tasks to members, one or several, and writes the answer."""

    route = "route"
    """The leader picks one member, whose answer is the team's."""

    broadcast = "broadcast"
    """All members get one task at once, and the leader writes the answer."""

    tasks = "tasks"
    """The leader keeps a list of tasks, which members work on, until all are done."""


_OLDER: Final = {"collaborate": TeamMode.broadcast}
"""Spellings of Agno 1."""


def mode_of(mode: Any, *, respond_directly: bool, delegate_to_all_members: bool) -> TeamMode:
    """The mode that the settings mean: ``mode`` beats both flags, and of these ``delegate_to_all_members`` the other.

    Raises ConfigurationError for a mode that is none.
    """
    if mode is None:
        return TeamMode.broadcast if delegate_to_all_members else TeamMode.route if respond_directly else TeamMode.coordinate
    if mode in _OLDER:
        renamed.older_value("Team", "mode", mode, _OLDER[mode].value)
        return _OLDER[mode]
    known = [kind.value for kind in TeamMode]
    if mode not in known:
        raise ConfigurationError(f"mode is one of {', '.join(map(repr, known))}, not {mode!r}")
    return TeamMode(mode)
