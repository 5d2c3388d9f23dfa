"""``Steps``: several steps as one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from agno_mongo import checks
from agno_mongo.run.steps import StepOutput, StepType
from agno_mongo.run.workflow_events import StepsExecutionCompletedEvent, StepsExecutionStartedEvent
from agno_mongo.workflow.alone import Executable
from agno_mongo.workflow.journal import Path
from agno_mongo.workflow.preparing import as_nodes, called
from agno_mongo.workflow.step import review_of
from agno_mongo.workflow.types import NO_REVIEW, HumanReview, StepInput
from agno_mongo.workflow.walking import Node, Walk


class Group(Executable):
    """What has steps within it."""

    steps: list[Any]

    def parts(self) -> Sequence[Node]:
        """The steps within it."""
        return self._nodes(self.steps)

    def _nodes(self, given: Sequence[Any]) -> list[Any]:
        """The steps as they are now: the list may have been added to."""
        return as_nodes(called(self.TYPE.value, self.name), given, may_be_empty=True)


def close(output: StepOutput) -> None:
    """Let the output of several steps say what they came to together."""
    steps = output.steps or []
    output.is_paused = any(step.is_paused for step in steps)
    if output.is_paused:
        output.status = "PAUSED"
    output.success = all(step.success for step in steps)
    output.stop = any(step.stop for step in steps)
    for name in ("images", "videos", "audio", "files"):
        made = [medium for step in steps for medium in getattr(step, name) or ()]
        setattr(output, name, made or None)


def summarized(steps: int) -> str:
    """How many steps that were, as text."""
    return f"{steps} step{'' if steps == 1 else 's'}"


class Steps(Group):
    """Steps that run in order, as one step. ``human_review``: ask a person before the first."""

    TYPE: ClassVar[StepType] = StepType.STEPS

    def __init__(
        self,
        name: str | None = None,
        description: str | None = None,
        steps: Sequence[Any] | None = None,
        human_review: HumanReview | None = None,
        **asked: Any,
    ) -> None:
        self.name = checks.text("name", name)
        self.description = checks.text("description", description)
        self.steps = as_nodes(called("Steps", name), steps or ())
        self.human_review = review_of(self, human_review, asked)
        self.human_review.refuse("Steps", requires_user_input=True, **NO_REVIEW)

    async def carried_out(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Run the steps in order."""
        event, data, nodes = walk.flow.execution.event, self.event_data(output, walk, path), self._nodes(self.steps)
        yield event(StepsExecutionStartedEvent, **data, steps_count=len(nodes))
        async with aclosing(walk.into(output, path).through(nodes, given)) as events:
            async for happening in events:
                yield happening
        close(output)
        executed = output.steps or []
        if not output.is_paused:
            output.content = f"{summarized(len(executed))} of {output.step_name} completed"
            yield event(
                StepsExecutionCompletedEvent, **data, steps_count=len(nodes), executed_steps=len(executed), step_results=executed
            )
