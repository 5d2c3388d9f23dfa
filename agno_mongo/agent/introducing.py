"""An agent's introduction: what it says first in a new session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agno_mongo.agent.settings import AgentSettings
from agno_mongo.db.keys import SessionKey
from agno_mongo.ids import new_id
from agno_mongo.messages import Message
from agno_mongo.run.base import RunStatus


def introduction(agent: AgentSettings, new_run: Callable[..., Any], key: SessionKey) -> list[dict[str, Any]]:
    """The run that a session of this agent begins with, which has no input and no model; an empty list without an introduction."""
    if not agent.introduction:
        return []
    run = new_run(
        run_id=new_id(),
        session_id=key.session_id,
        user_id=key.user_id,
        content=agent.introduction,
        messages=[Message(role="assistant", content=agent.introduction)],
        status=RunStatus.completed,
    )
    return [run.to_dict()]
