"""``WorkflowAgent``: whom a user talks to, who answers from what the workflow has done before, or has it run."""

from __future__ import annotations

from typing import Any, Final

from agno_mongo.agent import Agent
from agno_mongo.tools import tool

_INSTRUCTIONS: Final = (
    "You stand before a workflow. Whoever asks something that the earlier runs below answer, or that can be concluded or compared from them, gets the "
    "answer from you, in short. For anything else call run_workflow, once, with a clear and complete query; what it comes to is the answer."
)


class WorkflowAgent(Agent):
    """An agent that decides, of each input of a workflow, whether to answer it from the workflow's earlier runs or to run the workflow.

    ``model`` and ``instructions`` are an agent's; ``add_workflow_history`` shows it the last ``num_history_runs`` runs (5). Where it runs the workflow,
    the workflow's output is the answer.
    """

    def __init__(
        self,
        model: Any = None,
        instructions: str | None = None,
        add_workflow_history: bool = True,
        num_history_runs: int = 5,
        name: str | None = None,
    ) -> None:
        super().__init__(model=model, name=name or "workflow agent", instructions=instructions or _INSTRUCTIONS)
        self.add_workflow_history = add_workflow_history
        self.num_runs_shown = num_history_runs if add_workflow_history else 0

    def deciding(self, description: str | None, history: str | None) -> tuple[Agent, list[str]]:
        """An agent for one run, and the list that has the query if it wants the workflow to run."""
        wanted: list[str] = []

        @tool(stop_after_tool_call=True)
        def run_workflow(query: str) -> str:
            """Run the workflow.

            Args:
                query: What it is to work on.
            """
            wanted.append(query)
            return "The workflow runs."

        told = [part for part in (description, history or "The workflow has not run in this session yet.") if part]
        one_run = Agent(
            model=self.model,
            id=self.id,
            name=self.name,
            instructions=self.instructions,
            additional_context="\n\n".join(told),
            resolve_in_context=False,
            tools=[run_workflow],
            tool_call_limit=1,
        )
        return one_run, wanted
