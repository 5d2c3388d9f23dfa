"""What agent, team and workflow have in common: their sessions, and how their runs are stopped."""
