"""When a session expires, and how much longer its parts are kept. Nothing is sent from here.

A session expires ``retention`` seconds after it was last used. Its parts, the documents of its archive and its media, carry a moment of
their own, since MongoDB deletes each document by itself. They are kept for a margin longer, so that a turn need not move their moment too:
the session's ``kept_until`` says for how long they are there for sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from agno_mongo.errors import ConfigurationError

LONGEST: Final = timedelta(days=200 * 365).total_seconds()
"""What a retention is at most; ``timedelta.max`` is as good as for ever."""

SHORT: Final = 600.0
"""A retention below it may be over while another run of the session shows no life, so that the end of a run looks for others."""

SOON: Final = 3600.0
"""A file that expires so soon is not referred to anew; the content is stored once more."""

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - as BSON gives it: naive, in UTC

EXPIRY_FIELDS: Final = {"retention": 1, "expires_at": 1, "kept_until": 1, "has_media": 1, "archived_runs": 1}
"""What a projection must name for the functions here."""


def seconds_of(retention: Any) -> float | None:
    """A retention in seconds; None for none. Raises ConfigurationError for what is no timedelta above zero."""
    if retention is None:
        return None
    if not isinstance(retention, timedelta) or retention <= timedelta(0):
        raise ConfigurationError(f"retention is a datetime.timedelta above zero, or None, not {retention!r}")
    return min(retention.total_seconds(), LONGEST)


def moment(seconds: float) -> datetime:
    """Unix seconds as BSON's datetime: naive, in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)


def retention_of(session: Mapping[str, Any], default: float | None) -> float | None:
    """The stored session's own retention in seconds, or the database's."""
    own: float | None = session.get("retention")
    return default if own is None else own


def with_margin(expires_at: datetime, retention: float | None) -> datetime:
    """Until when the parts of a session are kept that expires then."""
    return expires_at + timedelta(seconds=SOON if retention is None else retention)


def new_parts_until(session: Mapping[str, Any], default: float | None) -> datetime | None:
    """Until when a part is kept that is added to the stored session now; None for ever."""
    expires_at = session.get("expires_at")
    if expires_at is None:
        return None
    until = with_margin(expires_at, retention_of(session, default))
    return max(until, session.get("kept_until") or until)


def has_parts(session: Mapping[str, Any]) -> bool:
    """True if the session has an archive or media."""
    return bool(session.get("archived_runs") or session.get("has_media"))


def parts_fall_short(session: Mapping[str, Any]) -> bool:
    """True if parts of the session may go before it does."""
    expires_at, kept_until = session.get("expires_at"), session.get("kept_until")
    return expires_at is not None and has_parts(session) and (kept_until is None or kept_until < expires_at)


def margin_is_worn(session: Mapping[str, Any], default: float | None) -> bool:
    """True if less than half of the margin is left, or if parts may still expire of a session that does not any more."""
    expires_at, kept_until = session.get("expires_at"), session.get("kept_until")
    if not has_parts(session):
        return False
    if expires_at is None:
        return kept_until is not None
    return kept_until is None or kept_until < with_margin(expires_at, (retention_of(session, default) or SOON) / 2)


def last_lease(session: Mapping[str, Any], now: float) -> float:
    """Until when the session's runs hold it, in Unix seconds; ``now`` if there are none."""
    leases = [entry.get("lease_until") or 0.0 for entry in (session.get("active_runs") or {}).values()]
    return max([now, *leases])


def expiry_of_stored(retention: float, now: float) -> dict[str, Any]:
    """An expression for the moment at which a stored session expires: after its last use, or while it may have runs, not before ``now``."""
    # A difference, because mongomock adds nothing to a date.
    in_seconds = {"$ifNull": ["$updated_at", "$created_at"]}
    last_used = {"$ifNull": ["$touched_at", {"$subtract": [_EPOCH, {"$multiply": [in_seconds, -1000]}]}]}
    expires_at = {"$subtract": [last_used, -int(retention * 1000)]}
    idle = {"$eq": [{"$ifNull": ["$active_runs", {}]}, {}]}
    return {"$max": [expires_at, {"$cond": [idle, expires_at, moment(now)]}]}
