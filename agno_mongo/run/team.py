"""The outcome of a team's run."""

from __future__ import annotations

from agno_mongo.messages import ToolExecution
from agno_mongo.run.base import MessageRunOutput


class TeamRunOutput(MessageRunOutput):
    """What ``Team.run()`` returns and stores."""

    team_id: str | None = None
    team_name: str | None = None
    tools: list[ToolExecution] | None = None
