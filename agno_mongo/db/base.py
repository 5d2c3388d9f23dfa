"""Words that everything about sessions shares."""

from __future__ import annotations

from enum import Enum
from importlib import import_module
from typing import Any


class SessionType(str, Enum):
    """The three kinds of session, as stored in ``session_type``."""

    AGENT = "agent"
    TEAM = "team"
    WORKFLOW = "workflow"

    @property
    def id_field(self) -> str:
        """The field that names the component: ``agent_id``, ``team_id`` or ``workflow_id``."""
        return f"{self.value}_id"

    @property
    def data_field(self) -> str:
        """The field that describes the component: ``agent_data``, ``team_data`` or ``workflow_data``."""
        return f"{self.value}_data"


def __getattr__(name: str) -> Any:
    # Agno's classes for annotations and isinstance; there is one class of databases here, which stands above this module.
    if name in {"BaseDb", "AsyncBaseDb"}:
        return import_module("agno_mongo.db.mongo").MongoDb
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
