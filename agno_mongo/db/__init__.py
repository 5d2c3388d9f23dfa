"""Everything MongoDB."""

from agno_mongo.db.base import SessionType

__all__ = ["SessionType"]
