"""The outcome of a workflow's run."""

from __future__ import annotations

from typing import Any

from agno_mongo.run.base import BaseRunOutput


class WorkflowRunOutput(BaseRunOutput):
    """What ``Workflow.run()`` returns and stores: every step's output, in order."""

    workflow_name: str | None = None
    step_results: list[Any] | None = None
    step_executor_runs: list[Any] | None = None
