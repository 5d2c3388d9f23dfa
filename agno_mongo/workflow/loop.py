"""``Loop``: steps that run again and again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from agno_mongo import checks
from agno_mongo.errors import ConfigurationError
from agno_mongo.run.steps import StepOutput, StepType
from agno_mongo.run.workflow_events import (
    LoopExecutionCompletedEvent,
    LoopExecutionStartedEvent,
    LoopIterationCompletedEvent,
    LoopIterationStartedEvent,
)
from agno_mongo.workflow.calling import called_with_one, value_of
from agno_mongo.workflow.journal import Path
from agno_mongo.workflow.preparing import as_nodes, called
from agno_mongo.workflow.step import review_of
from agno_mongo.workflow.steps import Group, close, summarized
from agno_mongo.workflow.types import HumanReview, StepInput
from agno_mongo.workflow.walking import Walk


class Loop(Group):
    """Steps that run in order, again and again: until ``end_condition`` says True of the outputs of a round, at most ``max_iterations`` times (3).

    ``end_condition`` is a function of the list of StepOutputs; what it raises fails the run. Each round is given what the loop was given, with
    ``forward_iteration_output`` what the round before has come to.
    """

    TYPE: ClassVar[StepType] = StepType.LOOP

    def __init__(
        self,
        steps: Sequence[Any],
        name: str | None = None,
        description: str | None = None,
        max_iterations: int = 3,
        end_condition: Callable[..., Any] | None = None,
        forward_iteration_output: bool = False,
        human_review: HumanReview | None = None,
        **asked: Any,
    ) -> None:
        self.name = checks.text("name", name)
        self.description = checks.text("description", description)
        where = called("Loop", name)
        self.steps = as_nodes(where, steps)
        if max_iterations is None:
            raise ConfigurationError(f"{where} would never end: max_iterations is a whole number from 1, not None")
        self.max_iterations = checks.count(f"max_iterations of {where}", max_iterations) or 1
        if end_condition is not None:
            checks.called(f"the end_condition of {where}", end_condition)
            called_with_one(f"the end_condition of {where}", end_condition)
        self.end_condition = end_condition
        self.forward_iteration_output = checks.flag("forward_iteration_output", forward_iteration_output)
        self.human_review = review_of(self, human_review, asked)
        self.human_review.refuse("Loop", requires_user_input=True)

    async def carried_out(self, output: StepOutput, given: StepInput, walk: Walk, path: Path) -> AsyncGenerator[Any, None]:
        """Run the steps round by round."""
        event, data = walk.flow.execution.event, self.event_data(output, walk, path)
        nodes, rounds = self._nodes(self.steps), {**data, "max_iterations": self.max_iterations}
        yield event(LoopExecutionStartedEvent, **rounds)
        results: list[list[StepOutput]] = []
        for number in range(self.max_iterations):
            yield event(LoopIterationStartedEvent, **rounds, iteration=number + 1)
            inside = walk.into(output, (*path, number), iteration=number + 1)
            before = len(inside.outputs)
            async with aclosing(inside.through(nodes, given)) as events:
                async for happening in events:
                    yield happening
            made = inside.outputs[before:]
            results.append(made)
            if any(step.is_paused for step in made):
                break
            done = any(step.stop for step in made) or await self._is_over(made, walk, (*path, number))
            more = not done and number + 1 < self.max_iterations
            yield event(LoopIterationCompletedEvent, **rounds, iteration=number + 1, iteration_results=made, should_continue=more)
            if not more:
                break
            if self.forward_iteration_output:
                for step in made:
                    given = given.after(step)
        close(output)
        if not output.is_paused:
            output.content = f"{summarized(len(output.steps or ()))} of {output.step_name} completed in {len(results)} rounds"
            yield event(LoopExecutionCompletedEvent, **rounds, total_iterations=len(results), all_results=results)

    async def _is_over(self, made: list[StepOutput], walk: Walk, path: Path) -> bool:
        if self.end_condition is None:
            return False
        journal = walk.flow.journal
        before = journal.chosen(path, "is_over")
        if before is None:
            context = walk.scope.context
            offered = {"run_context": context, "session_state": context.session_state}
            before = bool(await value_of(self.end_condition, made, offered))
            journal.choose(path, is_over=before)
        return bool(before)
