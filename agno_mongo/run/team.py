"""The outcome of a team's run."""

from __future__ import annotations

from agno_mongo.run.message_run import MessageRunOutput


class TeamRunOutput(MessageRunOutput):
    """What ``Team.run()`` returns and stores."""

    team_id: str | None = None
    team_name: str | None = None

    def event_ids(self) -> dict[str, str]:
        """What every event of this run says of whose it is."""
        return super().event_ids() | {"team_id": self.team_id or "", "team_name": self.team_name or ""}
