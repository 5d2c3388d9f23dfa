"""Which session a command means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from agno_mongo.db.base import SessionType


class _Caller(Enum):
    NO_USER = "no user"


NO_USER: Final = _Caller.NO_USER
"""In the place of a user: the caller names none, and counts as a user of its own, who has the sessions without an owner."""

Owner: TypeAlias = str | Literal[_Caller.NO_USER] | None
"""Whose sessions a command may touch: a user's, those of nobody (``NO_USER``), or anybody's (None)."""


def owner_of(user_id: str | None) -> Owner:
    """The owner whose sessions a caller may touch that names this user, or none."""
    return NO_USER if user_id is None else user_id


def owner_filter(owner: Owner) -> dict[str, Any]:
    """Matches the sessions of this owner; empty for anybody's."""
    return {} if owner is None else {"user_id": None if owner is NO_USER else owner}


@dataclass(frozen=True, kw_only=True)
class SessionKey:
    """Which session a command means, and on whose behalf. A session without an owner has ``user_id`` None."""

    session_id: str
    session_type: SessionType
    user_id: str | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> SessionKey:
        """The key of a stored session."""
        return cls(
            session_id=document["session_id"],
            session_type=SessionType(document["session_type"]),
            user_id=document.get("user_id"),
        )

    @property
    def owner(self) -> Owner:
        """On whose behalf, where None would mean anybody's."""
        return owner_of(self.user_id)

    @property
    def filter(self) -> dict[str, Any]:
        """Matches the session only if it has this type and this owner."""
        return {
            "session_id": self.session_id,
            "session_type": self.session_type.value,
            "user_id": self.user_id,
        }
