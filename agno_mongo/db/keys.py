"""Which session a command means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agno_mongo.db.base import SessionType


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
    def filter(self) -> dict[str, Any]:
        """Matches the session only if it has this type and this owner."""
        return {
            "session_id": self.session_id,
            "session_type": self.session_type.value,
            "user_id": self.user_id,
        }
